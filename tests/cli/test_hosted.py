"""What each command says of a hosted endpoint before anything is asked: rightly, or a refusal with what to do instead."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from launchpad.supervise.machine import Phase
from tests.cli.test_status import Files, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from launchpad.store.state import Deployment
    from tests.cli.conftest import Launchpad

NAME = "v4-flash-deepseek-api"
KEY = ("DEEPSEEK_API_KEY", "sk-never-seen")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("render", NAME), f"launchpad plan {NAME} --json"),
        (("render", NAME, "-f", "compose"), f"launchpad plan {NAME} --json"),
        (("rehearse", NAME), f"launchpad up {NAME}"),
        (("lock", NAME), "launchpad up"),
        (("verify", NAME), "launchpad up"),
        (("pull", NAME), "launchpad up"),
        (("build", NAME), f"launchpad up {NAME}"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_needs_something_here_is_refused_in_a_sentence(
    launchpad: Launchpad, words: tuple[str, ...], hint: str
) -> None:
    ended = launchpad(*words)

    assert ended.code == 1
    assert ended.err.startswith(f"error: cannot {'render' if words[0] == 'render' else words[0]} {NAME}")
    assert "somebody else runs it, and nothing of it is on this rig" in ended.err
    assert hint in ended.err


def test_plan_needs_no_docker_engine_and_says_what_leaves_the_rig(
    launchpad: Launchpad, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*KEY)
    ended = launchpad("plan", NAME)

    assert ended.code == 0
    assert ended.out.endswith("hosted elsewhere: one short completion, and nothing is started here\n")
    assert "leaves this rig for api.deepseek.com, and is paid for" in ended.err
    assert KEY[1] not in ended.out + ended.err


def test_plan_as_json_has_one_step_and_no_key(launchpad: Launchpad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*KEY)
    ended = launchpad("plan", NAME, "--json")

    assert [step["action"] for step in ended.json["steps"]] == ["ask"]
    assert ended.json["spec"]["hosted"]["key"]["from_env"] == KEY[0]
    assert KEY[1] not in ended.out


def test_plan_misses_a_key_that_is_not_set(launchpad: Launchpad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY[0], raising=False)
    ended = launchpad("plan", NAME)

    assert ended.code == 1
    assert f"environment variable {KEY[0]} is not set" in ended.err


def test_doctor_looks_at_nothing_of_this_rig(launchpad: Launchpad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*KEY)
    ended = launchpad("doctor", NAME)

    assert ended.code == 0
    assert "0 blocking" in ended.out


def test_a_key_over_plain_http_is_warned_of(
    launchpad: Launchpad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*KEY)
    path = tmp_path / "plain.toml"
    path.write_text(f'extends = "{NAME}"\n[hosted]\nbase_url = "http://api.example.com/v1"\n')

    assert "crosses the network unencrypted" in launchpad("plan", str(path)).err


@pytest.mark.parametrize(
    ("fallback", "why"),
    [("nobody-has-this", "nobody-has-this"), ("v4-flash-vllm-tp4", "it is not hosted")],
)
def test_a_fallback_that_is_none_is_warned_of(launchpad: Launchpad, tmp_path: Path, fallback: str, why: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "v4-flash-sglang-tp4"\nfallback = "{fallback}"\n')
    ended = launchpad("plan", str(path), "--rig", "4x-rtx-pro-6000")

    assert f"fallback {fallback} cannot be turned to" in ended.err
    assert why in ended.err


def test_a_fallback_is_for_people_and_plan_says_so(launchpad: Launchpad, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "v4-flash-sglang-tp4"\nfallback = "{NAME}"\n')

    assert (
        f"{NAME}, for people: nothing is sent there by itself"
        in launchpad("plan", str(path), "--rig", "4x-rtx-pro-6000").out
    )


def test_a_hosted_endpoint_does_not_take_the_name_of_what_runs_here(
    launchpad: Launchpad, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*KEY)
    Files(state).deployment(NAME)
    ended = launchpad("up", NAME)

    assert ended.code == 1
    assert ended.err.startswith(f"error: cannot bring {NAME} up: what is up under that name runs here\n")
    assert f"hint: launchpad down {NAME}" in ended.err


def test_of_several_that_cannot_go_down_each_is_told(launchpad: Launchpad, state: Path) -> None:
    ended = launchpad("down", "nobody", "never")

    assert ended.code == 1
    assert ended.err.count("error: cannot find deployment ") == 2


def test_an_up_that_is_refused_before_its_start_names_the_fallback(launchpad: Launchpad, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "v4-flash-sglang-tp4"\nfallback = "{NAME}"\n')
    ended = launchpad("up", str(path))

    assert ended.code != 0
    assert (
        f"  fallback  {NAME}, not up: launchpad up {NAME} (what is asked there leaves this rig)\nerror: " in ended.err
    )


# -- the fallback in status ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def supervised(deployment: Deployment) -> Iterator[None]:
    """As if its supervisor lived: this process holds its lock."""
    lock = deployment.lock()
    assert lock.acquire()
    yield
    lock.release()


def test_status_names_a_fallback_that_is_not_up_with_the_line_that_brings_it_up(
    launchpad: Launchpad, state: Path
) -> None:
    Files(state).deployment(state=snapshot(Phase.FAILED, fallback=NAME))
    said = launchpad("status", "small").out

    assert f"fallback    {NAME}, not up: launchpad up {NAME} (what is asked there leaves this rig)\n" in said
    assert launchpad("status", "small", "--json").json["fallback"] == {
        "name": NAME,
        "phase": None,
        "endpoint": None,
        "model": None,
    }


def test_status_names_a_fallback_that_is_up_with_its_phase_and_address(launchpad: Launchpad, state: Path) -> None:
    files = Files(state)
    files.deployment(state=snapshot(Phase.FAILED, fallback=NAME))
    there = snapshot(Phase.READY, NAME, endpoint="https://api.deepseek.com", model="deepseek-v4-flash", hosted=True)
    with supervised(files.deployment(NAME, state=there)):
        said = launchpad("status", "small").out

    assert (
        f"{NAME}: READY, deepseek-v4-flash at https://api.deepseek.com/v1 (what is asked there leaves this rig)" in said
    )


def test_status_says_that_a_fallback_has_failed_for_good(launchpad: Launchpad, state: Path) -> None:
    files = Files(state)
    files.deployment(state=snapshot(Phase.FAILED, fallback=NAME))
    files.deployment(NAME, state=snapshot(Phase.FAILED, NAME, hosted=True))  # no supervisor lives on after FAILED

    assert f"{NAME}: FAILED; launchpad status {NAME} tells why\n" in launchpad("status", "small").out
    assert launchpad("status", "small", "--json").json["fallback"]["phase"] == "FAILED"


def test_a_fallback_that_nobody_looks_after_is_not_up(launchpad: Launchpad, state: Path) -> None:
    files = Files(state)
    files.deployment(state=snapshot(Phase.FAILED, fallback=NAME))
    files.deployment(NAME, state=snapshot(Phase.READY, NAME, hosted=True))

    assert f"{NAME}, not up: launchpad up {NAME}" in launchpad("status", "small").out


@pytest.mark.parametrize(("phase", "told"), [(Phase.READY, False), (Phase.UNREADY, True), (Phase.STARTING, True)])
def test_status_of_one_names_it_only_while_it_is_needed_and_as_json_always(
    launchpad: Launchpad, state: Path, phase: Phase, told: bool
) -> None:
    with supervised(Files(state).deployment(state=snapshot(phase, fallback=NAME))):
        said, view = launchpad("status", "small").out, launchpad("status", "small", "--json").json

    assert (("fallback  " in said), view["fallback"]["name"]) == (told, NAME)


@pytest.mark.parametrize(("phase", "told"), [(Phase.READY, False), (Phase.UNREADY, True), (Phase.STARTING, True)])
def test_the_table_names_it_only_while_it_is_needed(
    launchpad: Launchpad, state: Path, phase: Phase, told: bool
) -> None:
    with supervised(Files(state).deployment(state=snapshot(phase, fallback=NAME))):
        assert (f"fallback {NAME}" in launchpad("status").out) is told
