"""A stand-in engine run as a real process, asked over real HTTP."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from launchpad.rehearse.image import SCRIPT, sources

_IMAGE = tempfile.TemporaryDirectory(prefix="launchpad-test-standin-")
atexit.register(_IMAGE.cleanup)


def unpacked(folder: Path) -> Path:
    """The stand-in as it lies in its image, with no other part of launchpad near it; its script."""
    for name, source in sources().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source)
    return folder / Path(SCRIPT).name


ENGINE = unpacked(Path(_IMAGE.name))


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Life:
    """One run of the stand-in with no site-packages, so that it cannot lean on launchpad; ended and reaped at exit."""

    def __init__(self, folder: Path, *words: str, env: dict[str, str] | None = None, **settings: object) -> None:
        self.port = free_port()
        self.folder = folder
        told = {"load_seconds": 0.3, "token_seconds": 0.001, "shards": 4, "cached": False, **settings}
        self._out = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-S", str(ENGINE), *(word.replace("PORT", str(self.port)) for word in words)],
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env={"LAUNCHPAD_REHEARSAL": json.dumps(told), **(env or {})},
            cwd=folder,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._out.close()

    def ask(self, path: str, body: object = None, *, timeout: float = 5.0, key: str | None = None) -> tuple[int, str]:
        """Status and body; OSError where nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            connection.request("GET" if raw is None else "POST", path, raw, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self, path: str) -> int | None:
        """The status of one question, None where nothing listens."""
        try:
            return self.ask(path)[0]
        except ConnectionRefusedError:
            return None

    def json(self, path: str, body: object = None) -> Any:
        """The parsed answer of a question that must succeed."""
        status, text = self.ask(path, body)
        assert status == 200, (status, text)
        return json.loads(text)

    def chat(self, model: str = "tiny", **more: object) -> Any:
        """One chat answer."""
        return self.json("/v1/chat/completions", {"model": model, "messages": [_HELLO], **more})

    def until_said(self, text: str, within: float = 10.0) -> str:
        """Wait until the log holds ``text``; the log."""
        end = time.monotonic() + within
        while text not in (log := self.log()):
            assert time.monotonic() < end, f"never said {text!r}:\n{log}"
            assert self.process.poll() is None or text in self.log(), f"ended without saying {text!r}:\n{self.log()}"
            time.sleep(0.01)
        return log

    def until_ready(self, path: str = "/health", within: float = 10.0) -> None:
        """Wait until ``path`` says 200."""
        end = time.monotonic() + within
        while self.status(path) != 200:
            assert time.monotonic() < end, self.log()
            assert self.process.poll() is None, self.log()
            time.sleep(0.01)

    def code(self, within: float = 10.0) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(within)

    def terminate(self) -> None:
        """SIGTERM."""
        os.kill(self.process.pid, signal.SIGTERM)

    def log(self) -> str:
        """Everything it wrote, both streams."""
        return (self.folder / "log").read_bytes().decode()

    def metric(self, name: str) -> float:
        """One sample of ``/metrics``, by name."""
        found = re.search(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", self.ask("/metrics")[1], re.MULTILINE)
        assert found, name
        return float(found[1])


_HELLO = {"role": "user", "content": "Say hello."}
SGLANG = (
    *(
        "sglang",
        "serve",
        "--model-path",
        "/model",
        "--served-model-name",
        "tiny",
        "--host",
        "127.0.0.1",
        "--port",
        "PORT",
    ),
    *("--tp-size", "4", "--context-length", "4096", "--enable-metrics", "--moe-runner-backend", "flashinfer_mxfp4"),
)
VLLM = (
    *("vllm", "serve", "/model", "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", "PORT"),
    *("--tensor-parallel-size", "4", "--max-model-len", "4096", "--kv-cache-dtype", "fp8"),
)
GENERIC = ("llama-server", "-m", "/model.gguf", "--host", "127.0.0.1", "--port", "PORT")
WORDS = {"sglang": SGLANG, "vllm": VLLM, "generic": GENERIC}
READY_PATH = {"sglang": "/ready", "vllm": "/health", "generic": "/health"}


def settings_of(engine: str, **more: object) -> dict[str, Any]:
    """Settings under which that engine's words above serve the model ``tiny``."""
    return {"engine": engine, **({"served_name": "tiny"} if engine == "generic" else {}), **more}
