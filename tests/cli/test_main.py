"""The command line as such: help with an example for every command, errors in words, exit codes a script can use."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from launchpad import __version__
from launchpad.cli.main import COMMANDS, application

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Launchpad


def commands() -> list[tuple[str, ...]]:
    """Every command there is, and every group of them, as words."""
    root = typer.main.get_command(application())
    found: list[tuple[str, ...]] = []
    for name, command in getattr(root, "commands", {}).items():
        found.extend([(name,), *((name, each) for each in getattr(command, "commands", {}))])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_every_command_has_an_example_of_it(words: tuple[str, ...], launchpad: Launchpad) -> None:
    ended = launchpad(*words, "--help")

    assert ended.code == 0
    assert f"launchpad {' '.join(words)}" in ended.out.split("Example", 1)[1]


def test_the_one_line_of_a_command_is_the_first_line_of_its_own_help(launchpad: Launchpad) -> None:
    root = typer.main.get_command(application())
    said = {name: (command.help or "").splitlines()[0] for name, command in getattr(root, "commands", {}).items()}

    assert said == {name: command.says for name, command in COMMANDS.items()}


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["profiles", "--help"]])
def test_help_is_an_answer(words: list[str], launchpad: Launchpad) -> None:
    ended = launchpad(*words)

    assert (ended.code, "Usage: " in ended.out, ended.err) == (0, True, "")


def test_the_help_tells_the_exit_codes(launchpad: Launchpad) -> None:
    assert "Exit codes: 0 ok, 1 you can mend it, 2 usage, 3 would not stay up, 4 blocked" in launchpad("--help").out


def test_the_version_is_the_packages(launchpad: Launchpad) -> None:
    assert launchpad("--version").out == f"launchpad {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["plan"],
        ["plan", "demo-vllm-cpu", "--no-such-option"],
        ["render", "demo-vllm-cpu", "--format", "yaml"],
        ["logs", "x", "--tail", "-1"],
        ["logs", "x", "--tail", "many"],
        ["rehearse", "demo-vllm-cpu", "--load-seconds", "0"],
        ["rehearse", "demo-vllm-cpu", "--fault", "exti:1@weights"],
        ["rehearse", "v4-flash-sglang-tp4", "--fault", "gpu-lost:4"],
        ["rehearse", "v4-flash-sglang-tp4", "--fault", "gpu-lost:one"],
        ["profiles", "no-such-command"],
    ],
    ids=" ".join,
)
def test_a_wrong_use_is_exit_code_2_with_usage(words: list[str], launchpad: Launchpad) -> None:
    ended = launchpad(*words)

    assert (ended.code, "Usage: " in ended.err, ended.out) == (2, True, "")


#: What a person gets wrong, the message's beginning and the hint.
WRONG: list[tuple[list[str], str, str]] = [
    (["plan", "v4-flash-sglang-tp"], 'cannot find profile "v4-flash-sglang-tp"', "did you mean v4-flash-sglang-tp"),
    (["render", "demo-vllm-gpu"], 'cannot find profile "demo-vllm-gpu"', "did you mean demo-vllm-cpu?"),
    (["up", "qqq"], 'cannot find profile "qqq"', "launchpad profiles list"),
    (["plan", "./nowhere.toml"], 'cannot find profile "./nowhere.toml": there is no such file', ""),
    (["profiles", "show", "qqq"], 'cannot find profile "qqq"', "launchpad profiles list"),
    (
        ["plan", "demo-vllm-cpu", "--rig", "4x-rtx-6000"],
        "cannot find recorded rig '4x-rtx-6000'",
        "did you mean 4x-rtx-pro-6000?",
    ),
    (["status", "qqq"], "cannot find deployment qqq: it was never brought up here", "deployments here: none"),
    (["logs", "qqq"], "cannot find deployment qqq", "deployments here: none"),
    (["events", "qqq"], "cannot find deployment qqq", "deployments here: none"),
    (["down", "qqq"], "cannot find deployment qqq", "deployments here: none"),
    (["restart", "qqq"], "cannot find deployment qqq", "deployments here: none"),
    (["supervise", "qqq"], "cannot find deployment qqq", "deployments here: none"),
    (["status", "../x"], "cannot use deployment name '../x'", "use a-z"),
    (
        ["plan", "demo-vllm-cpu"],
        "cannot use the Docker Engine: unix:///nonexistent.sock is not there",
        "DOCKER_HOST or the docker context names unix:///nonexistent.sock: ",
    ),
    (["up", "demo-vllm-cpu"], "cannot use the Docker Engine: unix:///nonexistent.sock is not there", ""),
    (["rehearse", "demo-vllm-cpu"], "cannot use the Docker Engine: unix:///nonexistent.sock is not there", ""),
]


@pytest.mark.parametrize(("words", "message", "hint"), WRONG, ids=[" ".join(words) for words, _, _ in WRONG])
def test_what_a_person_can_mend_is_exit_code_1_in_words(
    words: list[str], message: str, hint: str, launchpad: Launchpad
) -> None:
    ended = launchpad(*words)

    assert (ended.code, ended.out) == (1, "")
    assert f"error: {message}" in ended.err
    assert f"hint: {hint}" in ended.err or not hint
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("name", "rig", "plainly"),
    [("v4-flash-sglang-tp4", "4x-rtx-pro-6000", False), ("v4-flash-trtllm-gb300", "4x-gb300", True)],
)
def test_a_rehearsal_says_where_the_stand_in_does_not_play_the_engine(
    name: str, rig: str, plainly: bool, launchpad: Launchpad
) -> None:
    said = launchpad("rehearse", name, "--rig", rig).err

    assert "REHEARSAL: a stand-in engine on recorded rig" in said
    assert ("is played as a plain OpenAI server" in said) is plainly


def test_a_mistyped_deployment_is_met_with_the_nearest(launchpad: Launchpad, state: Path) -> None:
    folder = state / "deployments" / "demo-vllm-cpu"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text("{}")

    assert "hint: did you mean demo-vllm-cpu?" in launchpad("status", "demo-vlm-cpu").err


def test_a_bug_keeps_its_traceback() -> None:
    program = "import launchpad.cli.main as cli; cli.application = lambda named: 1 / 0; cli.main()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (ended.returncode, "ZeroDivisionError" in ended.stderr, "Traceback" in ended.stderr) == (1, True, True)


def test_a_reader_that_has_seen_enough_is_no_error(state: Path) -> None:
    command = f"{sys.executable} -m launchpad profiles schema | head -1"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True)

    assert (ended.stdout, ended.stderr) == ("{\n", "")


def test_errors_name_no_colour_where_nobody_sees_it(launchpad: Launchpad) -> None:
    assert "\x1b[" not in launchpad("status", "qqq").err
