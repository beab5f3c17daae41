"""``plan`` and ``render``: what they print for people, and the JSON that scripts rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from launchpad.deploy.export import compose, docker_line
from tests.deploy.specs import SHIPPED, shipped

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Launchpad

NAME, RIG = "v4-flash-sglang-tp4", ("--rig", "4x-rtx-pro-6000")
FINDING = ["id", "severity", "message", "hint", "source", "as_of", "evidence"]


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
