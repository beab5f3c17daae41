"""The command run as a person runs it, in a state directory of its own and with no Docker Engine anywhere near."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from launchpad.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The answer as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Launchpad(Protocol):
    """Runs ``launchpad WORDS``."""

    def __call__(self, *words: str) -> Ended:
        """Run it to its end."""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of this test; nothing of the machine's own launchpad is seen."""
    for name in [name for name in os.environ if name.startswith(("LAUNCHPAD_", "DOCKER_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAUNCHPAD_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "state"


@pytest.fixture
def launchpad(state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Launchpad:
    """The command itself, in this process: main() and its exit code, errors and all."""

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["launchpad", *words])
        capsys.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        written = capsys.readouterr()
        return Ended(code if isinstance(code, int) else 0 if code is None else 1, written.out, written.err)

    return run
