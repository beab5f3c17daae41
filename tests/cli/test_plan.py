"""``plan`` and ``render``: what they print for people, and the JSON that scripts rely on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml

from launchpad.cli import launch, render
from launchpad.cli.world import World
from launchpad.deploy.export import compose, docker_line
from launchpad.deploy.observe import Observed
from launchpad.deploy.plan import make_plan
from tests.deploy.specs import SHIPPED, shipped
from tests.fakes.runtime import FakeRuntime

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Launchpad

NAME, RIG = "v4-flash-sglang-tp4", ("--rig", "4x-rtx-pro-6000")
FINDING = ["id", "severity", "message", "hint", "source", "as_of", "evidence"]


def test_a_volume_that_a_server_fills_itself_is_its_cache(launchpad: Launchpad) -> None:
    said = launchpad("plan", "v4-flash-nim", "--rig", "4x-gb300").out.splitlines()

    assert [line.split(None, 1)[1] for line in said if line.startswith("cache ")] == [
        "cold, volume launchpad-nim-deepseek-v4-flash-0731 (the weights that it fetches, and what it compiles)"
    ]


@pytest.mark.parametrize("folder", [".", "not/made/yet"])
def test_room_is_what_the_disk_has_that_dockers_volumes_are_made_on(state: Path, tmp_path: Path, folder: str) -> None:
    runtime = FakeRuntime()
    runtime.info_answer = replace(runtime.info_answer, root_dir=str(tmp_path / folder))
    room = launch._eyes(World(), None, runtime).room()

    assert room is not None
    assert room > 0


def test_a_plan_as_json_has_these_keys(launchpad: Launchpad) -> None:
    ended = launchpad("plan", NAME, *RIG, "--json")

    assert ended.code == 0
    assert list(ended.json) == ["steps", "changes", "spec", "findings", "warm"]
    assert {tuple(sorted(step)) for step in ended.json["steps"]} == {("action", "cause", "target")}
    assert [step["action"] for step in ended.json["steps"]] == ["pull", "create-volume", "create", "start"]
    assert all(set(FINDING) <= set(finding) for finding in ended.json["findings"])
    assert (ended.json["changes"], ended.json["warm"]) == ([], False)


def test_the_spec_in_a_plan_is_the_one_that_is_resolved(launchpad: Launchpad) -> None:
    spec = launchpad("plan", NAME, *RIG, "--json").json["spec"]

    assert {key: spec[key] for key in ("name", "engine", "host", "port", "model", "hash")} == {
        "name": NAME,
        "engine": "sglang",
        "host": "127.0.0.1",
        "port": 8000,
        "model": "deepseek-v4-flash",
        "hash": shipped(NAME).hash,
    }


def test_a_plan_for_people_ends_with_the_steps_and_their_causes(launchpad: Launchpad) -> None:
    ended = launchpad("plan", NAME, *RIG)

    assert [line.split()[0] for line in ended.out.splitlines()[-4:]] == ["pull", "create-volume", "create", "start"]
    assert ended.out.startswith(f"deployment  {NAME}\n")


def test_a_plan_tells_how_far_the_profile_was_proven_by_whom_and_when(launchpad: Launchpad) -> None:
    status = [line for line in launchpad("plan", NAME, *RIG).out.splitlines() if line.startswith("status")]
    said = SHIPPED.load(NAME).profile.standing

    assert said is not None
    assert status == [f"status      composed, from {said.source} as of 2026-11-22: {said.says}"]


def test_a_plan_of_a_changed_profile_says_that_nobody_vouches_for_it(launchpad: Launchpad, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "v4-flash-sglang-tp2"\n[serving]\ncontext_length = 4096\n')

    ended = launchpad("plan", str(tmp_path / "mine.toml"), *RIG)

    assert "\nstatus      yours: nobody has vouched for it\n" in ended.out


def test_a_plan_as_json_tells_status_source_and_day(launchpad: Launchpad, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "v4-flash-sglang-tp2"\n')
    shown = [
        launchpad("plan", name, *RIG, "--json").json["spec"]["standing"] for name in (NAME, str(tmp_path / "mine.toml"))
    ]

    assert (shown[0]["status"], shown[0]["as_of"], shown[0]["source"][:19]) == (
        "composed",
        "2026-11-22",
        "https://github.com/",
    )
    assert shown[1] == {"status": None, "says": None, "source": None, "as_of": None}


def test_of_a_spec_whose_standing_is_unknown_no_plan_says_that_nobody_vouches() -> None:
    old = replace(shipped(NAME), standing=None)
    plan = make_plan(old, Observed(), phase=None, before=None, warm=False)

    assert "status" not in render.plan(old, plan, warm=False)


def test_a_plan_without_a_docker_engine_says_that_it_is_on_paper(launchpad: Launchpad) -> None:
    assert "planned on paper: cannot use the Docker Engine" in launchpad("plan", NAME, *RIG).err


def test_planning_leaves_nothing_behind(launchpad: Launchpad, state: Path) -> None:
    launchpad("plan", NAME, *RIG)

    assert not state.exists()


def test_render_prints_the_docker_run_line(launchpad: Launchpad) -> None:
    assert launchpad("render", NAME, *RIG).out == docker_line(shipped(NAME).containers[0]) + "\n"


def test_render_prints_the_spec_as_the_plan_has_it(launchpad: Launchpad) -> None:
    assert launchpad("render", NAME, *RIG, "-f", "json").json == launchpad("plan", NAME, *RIG, "--json").json["spec"]


def test_render_prints_a_compose_file(launchpad: Launchpad) -> None:
    assert yaml.safe_load(launchpad("render", NAME, *RIG, "-f", "compose").out) == compose(shipped(NAME))


def test_no_secret_is_rendered_or_planned(
    launchpad: Launchpad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "very-secret-value")
    text = SHIPPED.load("demo-vllm-cpu").path.read_text()
    (tmp_path / "mine.toml").write_text(text + '\n[secrets.HF_TOKEN]\nfrom_env = "MY_TOKEN"\n')
    shown = [
        launchpad("plan", str(tmp_path / "mine.toml"), *RIG, "--json"),
        launchpad("plan", str(tmp_path / "mine.toml"), *RIG),
        *(launchpad("render", str(tmp_path / "mine.toml"), *RIG, "-f", form) for form in ("docker", "json", "compose")),
    ]

    assert ["MY_TOKEN" in ended.out for ended in shown] == [True, False, True, True, True]
    assert not [ended for ended in shown if "very-secret-value" in ended.out + ended.err]
