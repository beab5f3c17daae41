"""The list of commands: the help that is printed without importing them is theirs, and what they are given arrives unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from launchpad.cli.main import COMMANDS, application

if TYPE_CHECKING:
    from pathlib import Path

_HEAVY = {"pydantic", "docker", "httpx", "jinja2", "structlog", "rich", "yaml"}


def help_of(named: tuple[str, ...]) -> str:
    command = typer.main.get_command(application(named))
    return command.get_help(command.make_context("launchpad", ["status"], resilient_parsing=True))


def test_the_help_without_the_commands_is_the_help_with_them() -> None:
    assert help_of(()) == help_of(tuple(COMMANDS))


def imported_by(*words: str) -> set[str]:
    code = (
        "import contextlib, io, sys\n"
        "from launchpad.cli.main import main\n"
        f"sys.argv = {['launchpad', *words]!r}\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "print(' '.join(name for name in sys.modules if '.' not in name))\n"
    )
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("status",), ("status", "--json"), ("up", "--help")])
def test_quick_commands_import_nothing_heavy(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAUNCHPAD_STATE_DIR", str(tmp_path))
    assert not imported_by(*words) & _HEAVY


def test_a_list_of_names_arrives_as_a_list(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launchpad", "down", "one", "two"],
        env={**os.environ, "LAUNCHPAD_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.startswith("error: cannot find deployment one:")
