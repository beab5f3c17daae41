"""``launchpad profiles``: what there is, whether it reads well, and the words an editor needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from launchpad.profiles.catalog import json_schema
from tests.deploy.specs import SHIPPED

if TYPE_CHECKING:
    from tests.cli.conftest import Launchpad

BAD = 'format = 1\nsumary = "x"\nengine = "vlm"\n'


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Path) -> Path:
    """A profile directory of this person's own."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    monkeypatch.setenv("LAUNCHPAD_PROFILES", str(folder))
    return folder


def test_the_list_names_every_profile(launchpad: Launchpad) -> None:
    header, *rows = launchpad("profiles", "list").out.splitlines()

    assert header.split() == ["NAME", "ENGINE", "FROM", "STATUS", "SUMMARY"]
    assert tuple(row.split()[0] for row in rows) == SHIPPED.names()


def test_the_list_as_json_has_these_keys(launchpad: Launchpad) -> None:
    for entry in launchpad("profiles", "list", "--json").json:
        assert list(entry) == ["name", "path", "shipped", "summary", "engine", "standing", "error"]


def test_a_profile_that_does_not_read_is_listed_with_its_error(launchpad: Launchpad, own: Path) -> None:
    (own / "bad.toml").write_text(BAD)
    row = next(row for row in launchpad("profiles", "list").out.splitlines() if row.startswith("bad"))

    assert row.split()[1:3] == ["-", "yours"]
    assert "does not read: " in row


def test_ones_own_profile_wins_over_the_shipped_one(launchpad: Launchpad, own: Path) -> None:
    (own / "demo-vllm-cpu.toml").write_text(SHIPPED.load("demo-vllm-cpu").path.read_text())
    entries = {entry["name"]: entry for entry in launchpad("profiles", "list", "--json").json}

    assert (entries["demo-vllm-cpu"]["shipped"], entries["v4-flash-sglang-tp4"]["shipped"]) == (False, True)


def test_show_prints_the_files_base_first(launchpad: Launchpad) -> None:
    ended = launchpad("profiles", "show", "v4-flash-sglang-tp2")
    layers = SHIPPED.load("v4-flash-sglang-tp2").layers

    assert ended.err.splitlines()[:-1] == [f"# {path}" for path in layers]
    assert ended.out == "".join(path.read_text().rstrip() + "\n" for path in layers)


def test_show_ends_with_how_far_the_whole_was_proven(launchpad: Launchpad) -> None:
    last = launchpad("profiles", "show", "v4-flash-sglang-tp2").err.splitlines()[-1]

    assert last.startswith("# status: verified by upstream, https://github.com/sgl-project/sglang/")


def test_show_says_that_nobody_vouches_for_what_extends_a_verified_profile(launchpad: Launchpad, own: Path) -> None:
    (own / "mine.toml").write_text('extends = "v4-flash-sglang-tp2"\n')

    last = launchpad("profiles", "show", "mine").err.splitlines()[-1]

    assert last == "# status: yours: nobody has vouched for it"


def test_the_list_tells_the_status_of_each(launchpad: Launchpad, own: Path) -> None:
    (own / "mine.toml").write_text('extends = "v4-flash-sglang-tp2"\n')
    rows = {row.split()[0]: row.split()[3] for row in launchpad("profiles", "list").out.splitlines()[1:]}

    assert (rows["v4-flash-sglang-tp2"], rows["v4-flash-sglang-tp4"], rows["mine"]) == ("verified", "composed", "-")


def test_the_list_as_json_tells_status_source_and_day(launchpad: Launchpad, own: Path) -> None:
    (own / "mine.toml").write_text('extends = "v4-flash-sglang-tp2"\n')
    standing = {entry["name"]: entry["standing"] for entry in launchpad("profiles", "list", "--json").json}

    assert {key: standing["demo-vllm-cpu"][key] for key in ("status", "source", "as_of")} == {
        "status": "measured",
        "source": "docs/measured.md (make e2e-vllm)",
        "as_of": "2026-11-23",
    }
    assert standing["mine"] is None


def test_show_as_json_is_the_merged_profile(launchpad: Launchpad) -> None:
    shown = launchpad("profiles", "show", "v4-flash-sglang-tp2", "--json").json

    assert (shown["parallel"]["tensor"], shown["engine"], shown["image"]["reference"]) == (
        2,
        "sglang",
        "lmsysorg/sglang:v0.5.23",
    )


def test_show_explains_the_format_by_example(launchpad: Launchpad) -> None:
    assert "format = 1" in launchpad("profiles", "show", "EXAMPLE").out


def test_check_finds_nothing_wrong_with_what_is_shipped(launchpad: Launchpad) -> None:
    ended = launchpad("profiles", "check")

    assert (ended.code, ended.out, ended.err) == (0, "", "no problems\n")


def test_check_prints_every_problem_with_its_line_and_exits_1(launchpad: Launchpad, own: Path) -> None:
    (own / "bad.toml").write_text(BAD)
    ended = launchpad("profiles", "check", str(own / "bad.toml"))

    assert ended.code == 1
    assert f"{own / 'bad.toml'}:2: sumary: " in ended.out
    assert f"{own / 'bad.toml'}:3: engine: " in ended.out


def test_check_as_json_is_a_list_of_lines(launchpad: Launchpad, own: Path) -> None:
    (own / "bad.toml").write_text(BAD)
    ended = launchpad("profiles", "check", "--json")

    assert (ended.code, all(isinstance(line, str) for line in ended.json)) == (1, True)


def test_check_of_nothing_wrong_as_json_is_an_empty_list(launchpad: Launchpad) -> None:
    ended = launchpad("profiles", "check", "demo-vllm-cpu", "--json")

    assert (ended.code, ended.json) == (0, [])


def test_a_bad_profile_shows_all_its_problems_where_it_is_used(launchpad: Launchpad, own: Path) -> None:
    (own / "bad.toml").write_text(BAD)
    ended = launchpad("plan", "bad", "--rig", "4x-rtx-pro-6000")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith('error: cannot read profile "bad": ')
    assert ":2: sumary: " in ended.err
    assert ":3: engine: " in ended.err


def test_the_schema_is_json_schema(launchpad: Launchpad) -> None:
    shown = launchpad("profiles", "schema").json

    jsonschema.Draft202012Validator.check_schema(shown)
    assert shown == json_schema()


def test_paths_in_the_list_are_there(launchpad: Launchpad) -> None:
    assert all(Path(entry["path"]).is_file() for entry in launchpad("profiles", "list", "--json").json)
