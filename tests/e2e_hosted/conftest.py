"""Hosted endpoints by the real path: the command, its real supervisor process, and a stand-in that speaks real HTTP on loopback.

There is no Docker Engine: ``DOCKER_HOST`` points at nothing, and nothing here may ask for one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import tomlkit

from launchpad.store.journal import Journal
from launchpad.store.lock import holder
from tests.e2e.harness import Launchpad, Ran, eventually, layered
from tests.support.hosted import HostedEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from launchpad.store.journal import Event

#: A key that nobody else says, so that it can be looked for everywhere.
KEY = "sk-never-to-be-seen-4711"
#: Asked often, so that a test need not wait as long as a person would.
BRISK: Mapping[str, Any] = {
    "probes": {"liveness": {"interval": "300ms", "timeout": "2s"}, "completion": {"max_tokens": 8, "timeout": "2s"}},
    "deadlines": {"startup": "40s", "stall": "40s", "stop_grace": "5s"},
    "restart": {"first_delay": "200ms", "max_delay": "400ms", "budget": 3},
}


class Place(Launchpad):
    """A launchpad of the test's own, which never meets a Docker Engine."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.environ |= {"DOCKER_HOST": "unix:///nonexistent/docker.sock", "HOSTED_KEY": KEY}

    def profile(self, url: str, name: str = "elsewhere", *, model: str = "deepseek-v4-flash", **tables: Any) -> str:
        """Write a profile that asks ``url``; writing it again changes it."""
        own = {
            "format": 1,
            "summary": "somebody else's API",
            "engine": "hosted",
            "hosted": {"base_url": f"{url}/v1", "key": {"from_env": "HOSTED_KEY"}},
            "model": {"served_name": model},
        }
        (self.folder / f"{name}.toml").write_text(tomlkit.dumps(layered(layered(own, BRISK), tables)))
        return name

    def up(self, name: str = "elsewhere", *words: str) -> Ran:
        """``launchpad up``, which must end well."""
        return self.run("up", name, *words).ends(0)

    def status(self, name: str = "elsewhere") -> dict[str, Any]:
        """``launchpad status NAME --json``."""
        view: dict[str, Any] = self.run("status", name, "--json").ends(0).json
        return view

    def folder_of(self, name: str = "elsewhere") -> Path:
        """The deployment's folder."""
        return self.state / "deployments" / name

    def journal(self, name: str = "elsewhere") -> list[Event]:
        """The journal, read from the file."""
        return [event for _, event in Journal(self.folder_of(name) / "events.jsonl").read()]

    def history(self, name: str = "elsewhere") -> list[str]:
        """The phases in order."""
        return [event.to for event in self.journal(name) if event.event == "phase" and event.to is not None]

    def published(self, name: str = "elsewhere") -> dict[str, Any]:
        """What the supervisor published last of the machine's state."""
        found: dict[str, Any] = json.loads((self.folder_of(name) / "state.json").read_text())["state"]
        return found

    def await_phase(self, phase: str, name: str = "elsewhere", seconds: float = 30.0) -> dict[str, Any]:
        """Wait until the deployment is in ``phase``; what was published then."""

        def there() -> dict[str, Any] | None:
            with contextlib.suppress(OSError):
                found = self.published(name)
                return found if found["phase"] == phase else None
            return None

        return eventually(there, seconds, f"{name} {phase}")

    def supervisor(self, name: str = "elsewhere") -> int | None:
        """The pid of the supervisor that runs."""
        return holder(self.folder_of(name) / "supervisor.lock")

    def describe(self) -> str:
        """Everything that helps to understand a failure."""
        parts = []
        for folder in sorted((self.state / "deployments").glob("*")):
            parts += [json.dumps(event.as_json()) for event in self.journal(folder.name)]
            parts += [
                path.read_text(errors="replace")
                for path in (folder / "state.json", folder / "supervisor.log")
                if path.exists()
            ]
        return "\n".join(parts)

    def texts(self) -> dict[str, bytes]:
        """Every file under the state directory, by its path."""
        return {str(path): path.read_bytes() for path in self.state.rglob("*") if path.is_file()}

    def close(self) -> list[str]:
        """End this place's own processes by the pids it knows; what is left even so."""
        for started in self._started:
            if started.poll() is None:
                started.kill()
                started.wait()
            for stream in (started.stdout, started.stderr):
                if stream is not None:
                    stream.close()
        names = [folder.name for folder in (self.state / "deployments").glob("*")]
        for name in names:
            if pid := self.supervisor(name):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(pytest.fail.Exception):
            eventually(lambda: not any(map(self.supervisor, names)), 10)
        return [name for name in names if self.supervisor(name)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "place")
    yield made
    assert made.close() == []


@pytest.fixture
def deepseek() -> Iterator[HostedEndpoint]:
    """api.deepseek.com's stand-in, which takes :data:`KEY` alone."""
    with HostedEndpoint("deepseek", key=KEY) as endpoint:
        yield endpoint


@pytest.fixture
def nvidia() -> Iterator[HostedEndpoint]:
    """integrate.api.nvidia.com's stand-in, which takes :data:`KEY` alone."""
    with HostedEndpoint("nvidia", key=KEY) as endpoint:
        yield endpoint
