"""A Docker Engine of a row's own, to be stopped, killed and started again; and one with GPUs to give away."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import docker

from tests.e2e.harness import eventually

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

SCRIPT: Final = Path(__file__).parents[2] / "support" / "with-dockerd"


def mount(*words: str | Path) -> None:
    """Mount something; needs root, as starting a Docker Engine does."""
    done = subprocess.run(("mount", *words), capture_output=True, text=True)
    assert done.returncode == 0, f"mount needs root: {done.stderr}"


class Engine:
    """A private dockerd in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.host = f"unix://{folder}/dockerd/docker.sock"

    def client(self) -> docker.DockerClient:
        """Asks this engine."""
        return docker.DockerClient(base_url=self.host, timeout=20)

    def pid(self) -> int:
        """Its dockerd."""
        return int((self._folder / "dockerd" / "pid").read_text())

    def end(self, number: signal.Signals) -> list[str]:
        """End its dockerd by a signal and wait until it is gone; the command line that starts it again."""
        pid = self.pid()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        os.kill(pid, number)
        eventually(lambda: _gone(pid), 40, "dockerd's end")
        # A killed one leaves its pid file, and while a zombie keeps the pid the next one takes itself for a second one and ends.
        (self._folder / "dockerd" / "pid").unlink(missing_ok=True)
        # Its containerd dies with it. Where nobody reaps orphans (a container without init) a zombie keeps the pid, and the next
        # dockerd would wait for it in vain.
        for file in (self._folder / "dockerd" / "exec").glob("containerd/*.pid"):
            eventually(partial(_gone, int(file.read_text())), 20, "containerd's end")
            file.unlink()
        return words

    def begin(self, words: list[str]) -> None:
        """Start it again with the words it was started with, and wait for its answer."""
        with (self._folder / "dockerd" / "log").open("ab") as log:
            detached = ("setsid", "--fork", *words)
            subprocess.run(detached, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(self.answers, 90, "dockerd's answer")  # it ends what its predecessor left first

    def answers(self) -> bool:
        """Whether it answers."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as asked, contextlib.suppress(OSError):
            asked.settimeout(5)
            asked.connect(self.host.removeprefix("unix://"))
            asked.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in asked.recv(64)
        return False


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True


@contextlib.contextmanager
def private_engine(room: str | None = None) -> Iterator[Engine]:
    """Start an engine that leaves nothing behind; ``room`` (``80m``) is all the disk it has, None: this machine's."""
    folder = Path(tempfile.mkdtemp(prefix="lpf."))  # a socket's path must be short
    try:
        if room is not None:
            data = folder / "dockerd" / "data"
            data.mkdir(parents=True)
            mount("-t", "tmpfs", "-o", f"size={room},mode=710", "tmpfs", data)
        subprocess.run([SCRIPT, "private", folder], check=True, capture_output=True, text=True, timeout=120)
        yield Engine(folder)
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True, capture_output=True, text=True, timeout=120)
        shutil.rmtree(folder, ignore_errors=True)
