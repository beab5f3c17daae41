"""A place of its own for each end-to-end test: a state directory, profiles, a Docker Engine's containers, and nothing left behind.

A :class:`Rig` runs the ``launchpad`` command as a person does, in processes of its own, and looks at what came of it: exit
code, stdout, stderr, ``status --json``, ``events --json``, and Docker's own account. Names, ports and volumes are never shared
between two rigs, so that any number of runs may use one Docker Engine. Nothing here waits for a fixed time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import docker
import docker.errors
import pytest
import tomlkit

from launchpad.runtime.base import LABEL_OWNER
from launchpad.store.journal import Journal
from launchpad.store.lock import holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from docker.models.containers import Container

    from launchpad.store.journal import Event

T = TypeVar("T")

#: Seconds that a command which follows a server may take here; none should need a third of it.
PATIENCE = 60.0

#: What every profile of these tests says besides: everything that waits, waits briefly.
BRISK: Mapping[str, Any] = {
    "probes": {"liveness": {"interval": "200ms", "timeout": "2s", "failures": 3}},
    "deadlines": {"startup": "30s", "stall": "20s", "stop_grace": "10s", "stable": "5m"},
    "restart": {"first_delay": "200ms", "max_delay": "400ms", "budget": 2},
}


def eventually(holds: Callable[[], T | None], seconds: float = 20.0, what: str = "it") -> T:
    """The first true answer of ``holds``; fails the test where none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        if found := holds():
            return found
        if time.monotonic() >= deadline:
            pytest.fail(f"{what} did not come true within {seconds:g} s")
        time.sleep(0.03)


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and what it printed."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """stdout as one JSON object a line; fails where any line is none."""
        return [json.loads(line) for line in self.out.splitlines()]

    def ends(self, code: int, *says: str) -> Ran:
        """Itself, once the exit code is ``code``, each of ``says`` stands on stderr or stdout, and no traceback does."""
        told = f"$ launchpad {' '.join(self.words)}\nexit {self.code}\nstdout: {self.out}\nstderr: {self.err}"
        assert self.code == code, told
        assert "Traceback" not in self.err, told
        for text in says:
            assert text in self.err + self.out, f"{text!r} is missing in\n{told}"
        return self


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel hands out by itself."""
    for _ in range(200):
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail("200 ports in a row are taken")


def layered(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base`` table by table, as profiles are; a value None takes a key out."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = layered(merged[key], value)
        else:
            merged[key] = value
    return merged


class Launchpad:
    """The command with a state directory, a home and profiles of its own."""

    def __init__(self, root: Path, environ: Mapping[str, str] = os.environ) -> None:
        self.root, self.state, self.folder = root, root / "state", root / "profiles"
        self.folder.mkdir(parents=True)
        self.environ = {
            **{key: value for key, value in environ.items() if not key.startswith(("LAUNCHPAD_", "XDG_"))},
            "HOME": str(root),
            "LAUNCHPAD_STATE_DIR": str(self.state),
            "LAUNCHPAD_PROFILES": str(self.folder),
        }
        self._started: list[subprocess.Popen[str]] = []

    def describe(self) -> str:
        """Everything that helps to understand a failure."""
        return ""

    def run(self, *words: str, env: Mapping[str, str] | None = None, timeout: float = PATIENCE) -> Ran:
        """Run ``launchpad WORDS`` to its end."""
        started = self.start(*words, env=env)
        try:
            out, err = started.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            started.kill()
            out, err = started.communicate()
            pytest.fail(
                f"launchpad {' '.join(words)} did not end within {timeout:g} s\nstdout: {out}\nstderr: {err}\n{self.describe()}"
            )
        return Ran(words, started.returncode, out, err)

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start ``launchpad WORDS`` and go on."""
        started = subprocess.Popen(
            (sys.executable, "-m", "launchpad", *words),
            env={**self.environ, **(env or {})},
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(started)
        return started


class Rig(Launchpad):
    """One launchpad with a state directory and profiles of its own."""

    def __init__(self, root: Path, client: docker.DockerClient, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__(root, environ)
        self.client = client
        self.tag = uuid.uuid4().hex[:8]
        self.ports: dict[str, int] = {}

    # -- profiles

    def profile(self, word: str = "server", *, extends: str | None = "v4-flash-sglang-tp4", **tables: Any) -> str:
        """Write a profile and return its name, which no other test has; writing it again changes it and keeps its port.

        It lies over ``extends`` and brings a free port, short deadlines, and a cache volume that is this rig's alone.
        """
        name = f"e2e-{self.tag}-{word}"
        port = self.ports.setdefault(name, free_port())
        base: dict[str, Any] = {"extends": extends} if extends else {}
        digest = "sha256:" + hashlib.sha256(self.tag.encode()).hexdigest()  # what keys the cache volume
        own = {"image": {"digest": digest}, "publish": {"port": port}}
        text = tomlkit.dumps(layered(layered({**base, **BRISK}, own), tables))
        (self.folder / f"{name}.toml").write_text(text)
        return name

    def generic(self, word: str = "server", *, image: str, load_seconds: float = 0.2, **tables: Any) -> str:
        """A profile for a real ``up`` with no GPU: the rehearsal's image as somebody's private OpenAI server."""
        told = {"engine": "generic", "load_seconds": load_seconds, "served_name": "tiny"}
        own = {
            "format": 1,
            "summary": "a private build that speaks the OpenAI API",
            "engine": "generic",
            "command": ["--port", "8000"],
            "image": {"reference": image, "pull": "never", "digest": None},
            "model": {"in_image": "/opt/model", "served_name": "tiny"},
            "env": {"LAUNCHPAD_REHEARSAL": json.dumps(told)},
            "cache": {"enabled": False},
            "probes": {"readiness": {"path": "/health"}},
        }
        return self.profile(word, extends=None, **layered(own, tables))

    # -- commands

    def rehearse(self, name: str, *faults: str, load: float = 0.4, words: Iterable[str] = ()) -> Ran:
        """``launchpad rehearse NAME`` with a short load and the given faults."""
        return self.run("rehearse", name, *self.play(*faults, load=load), *words)

    @staticmethod
    def play(*faults: str, load: float = 0.4) -> tuple[str, ...]:
        """The options of a rehearsal."""
        return ("--load-seconds", str(load), *(word for fault in faults for word in ("--fault", fault)))

    def end(self, started: subprocess.Popen[str], seconds: float = PATIENCE) -> Ran:
        """Wait for a command that :meth:`start` started."""
        out, err = started.communicate(timeout=seconds)
        return Ran(tuple(map(str, started.args[3:])), started.returncode, out or "", err or "")  # type: ignore[index] # a sequence here

    # -- what came of it

    def status(self, name: str) -> dict[str, Any]:
        """``launchpad status NAME --json``."""
        view: dict[str, Any] = self.run("status", name, "--json").ends(0).json
        return view

    def events(self, name: str) -> list[dict[str, Any]]:
        """``launchpad events NAME --json``."""
        return self.run("events", name, "--json").ends(0).lines

    def journal(self, name: str) -> list[Event]:
        """The journal, read from the file."""
        return [event for _, event in Journal(self.deployment(name) / "events.jsonl").read()]

    def history(self, name: str) -> list[str]:
        """The phases in order: ``["STARTING", "READY"]``."""
        return [event.to for event in self.journal(name) if event.event == "phase" and event.to is not None]

    def count(self, name: str, event: str) -> int:
        """How often ``event`` is in the journal."""
        return sum(item.event == event for item in self.journal(name))

    def deployment(self, name: str) -> Path:
        """The deployment's folder."""
        return self.state / "deployments" / name

    def phase(self, name: str) -> str | None:
        """The phase the supervisor last published, read from the file."""
        try:
            return str(json.loads((self.deployment(name) / "state.json").read_text())["state"]["phase"])
        except OSError:
            return None

    def crash(self, name: str) -> dict[str, Any]:
        """The newest crash folder: each file's text or JSON by its name."""
        newest = sorted((self.deployment(name) / "crashes").iterdir())[-1]
        texts = {path.name: path.read_text() for path in newest.iterdir()}
        return {key: json.loads(text) if key.endswith(".json") else text for key, text in texts.items()}

    def crashes(self, name: str) -> int:
        """How many crash folders there are."""
        folder = self.deployment(name) / "crashes"
        return len(list(folder.iterdir())) if folder.exists() else 0

    def supervisor(self, name: str) -> int | None:
        """The pid of the supervisor that runs, as the kernel knows it by its lock."""
        return holder(self.deployment(name) / "supervisor.lock")

    def await_phase(self, name: str, phase: str, seconds: float = 20.0) -> None:
        """Wait until the deployment is in ``phase``."""
        eventually(lambda: self.phase(name) == phase, seconds, f"{name} {phase}")

    def await_event(self, name: str, event: str, times: int = 1, seconds: float = 20.0) -> None:
        """Wait until ``event`` stands so often in the journal."""
        eventually(lambda: self.count(name, event) >= times, seconds, f"{event} of {name}, {times} times")

    def await_history(self, name: str, *phases: str, seconds: float = 20.0) -> None:
        """Wait until the history ends with ``phases``."""
        what = f"{name}'s history ending in {' '.join(phases)}"
        eventually(lambda: self.history(name)[-len(phases) :] == list(phases), seconds, what)

    # -- Docker's own account

    def container(self, name: str) -> Container | None:
        """The deployment's container, or None."""
        try:
            return self.client.containers.get(f"launchpad-{name}")
        except docker.errors.NotFound:
            return None

    def inspect(self, name: str) -> dict[str, Any]:
        """``docker inspect`` of the deployment's container."""
        found: dict[str, Any] = self.client.api.inspect_container(f"launchpad-{name}")
        return found

    def started_at(self, name: str) -> str:
        """Docker's StartedAt."""
        return str(self.inspect(name)["State"]["StartedAt"])

    def mine(self) -> list[Container]:
        """Every container of this rig, running or not."""
        return list(
            self.client.containers.list(all=True, ignore_removed=True, filters={"label": f"{LABEL_OWNER}={self.state}"})
        )

    # -- clients

    def ask(self, name: str, path: str = "/v1/models") -> int | None:
        """The status of a GET, None where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    # -- the end

    def processes(self) -> dict[int, str]:
        """This rig's own processes that still run, with their command lines; a deployment's name is nobody else's."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if "launchpad" in line and f"e2e-{self.tag}-" in line:
                found[int(entry.name)] = line
        return found

    def describe(self) -> str:
        """Everything that helps to understand a failure."""
        parts = []
        for folder in sorted((self.state / "deployments").glob("*")):
            name = folder.name
            parts.append(f"---- events of {name}")
            parts.extend(json.dumps(event.as_json()) for event in self.journal(name))
            for file in ("state.json", "supervisor.log"):
                path = folder / file
                parts += [f"---- {name}/{file}", path.read_text(errors="replace") if path.exists() else "(none)"]
            if container := self.container(name):
                parts += [f"---- docker logs launchpad-{name} ({container.status})", _last_words(container)]
        return "\n".join(parts)

    def close(self) -> list[str]:
        """End this rig's processes by the pids it knows and remove its containers and volumes; what is left even so, in words."""
        for started in self._started:
            if started.poll() is None:
                started.kill()
                started.wait()
            for stream in (started.stdout, started.stderr):
                if stream is not None:
                    stream.close()
        for folder in (self.state / "deployments").glob("*"):
            if pid := self.supervisor(folder.name):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(pytest.fail.Exception):
            eventually(lambda: not self.processes(), 5)
            eventually(self._removed, 10)
        for volume in self._volumes():
            with contextlib.suppress(docker.errors.NotFound):
                self.client.api.remove_volume(volume)
        left = [f"process {pid}: {line}" for pid, line in self.processes().items()]
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        left += [f"container {container.name}" for container in self.mine()]
        shutil.rmtree(self.root, ignore_errors=True)
        return left

    def _removed(self) -> bool:
        """Whether no container is left, after asking for it; one whose removal a killed supervisor began is only waited for."""
        for container in self.mine():
            with contextlib.suppress(docker.errors.APIError):
                container.remove(force=True)
        return not self.mine()

    def _volumes(self) -> set[str]:
        found = set()
        for path in (self.state / "deployments").glob("*/spec.json"):
            cache = json.loads(path.read_text())["spec"]["cache"]
            if cache is not None:
                found.add(cache["volume"])
        return found


def _last_words(container: Container) -> str:
    """The end of its log; a container that is being removed has none."""
    try:
        return str(container.logs(tail=60).decode(errors="replace").replace("\r", "\n"))
    except docker.errors.APIError as error:
        return f"(none: {error.explanation})"


@dataclass(frozen=True)
class Scene:
    """A story that has been played to its end: where, with which deployment, and what the command that played it said."""

    rig: Rig
    name: str
    ran: Ran


class NewRig(Protocol):
    """Makes one more launchpad, which the module's end takes down."""

    def __call__(self) -> Rig:
        """The next one."""
