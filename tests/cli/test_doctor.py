"""``launchpad doctor``: what it prints for people, scripts, code hosts and CI, and the exit codes that they rely on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET  # what is read here was written here

import pytest

from launchpad.cli.doctor import _record as record_rig
from launchpad.cli.world import World
from launchpad.doctor.hazards import SIGNATURES
from launchpad.doctor.rules import RULES
from launchpad.errors import LaunchpadError
from launchpad.rig.catalog import RigCatalog

if TYPE_CHECKING:
    from pathlib import Path

    from launchpad.rig.facts import RigFacts
    from tests.cli.conftest import Ended, Launchpad

RIG = ("--rig", "4x-rtx-pro-6000")
NAME = "v4-flash-vllm-tp4"
FINDING = ["id", "severity", "message", "hint", "source", "as_of", "evidence"]
BROKEN = """\
extends = "v4-flash-vllm-tp4"
format = 1
summary = "The release that lost its kernels"
engine = "vllm"

[image]
reference = "vllm/vllm-openai:v0.27.1"
"""


@pytest.fixture
def folder(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Profiles and rigs of the test's own."""
    found = tmp_path / "profiles"
    (found / "rigs").mkdir(parents=True)
    (found / "broken.toml").write_text(BROKEN)
    monkeypatch.setenv("LAUNCHPAD_PROFILES", str(found))
    return found


def ids(ended: Ended) -> list[str]:
    return [item["id"] for item in ended.json["findings"]]


# -- the release whose flags count


@pytest.mark.parametrize("name", ["v4-flash-nim", "v4-flash-trtllm-gb300", "v4-flash-dynamo-trtllm-gb300"])
def test_a_schema_of_an_engine_that_has_none_is_refused(launchpad: Launchpad, name: str) -> None:
    ended = launchpad("doctor", name, "--rig", "4x-gb300", "--image-schema", "1.3.0")

    assert ended.code == 1
    assert f"cannot check flags of {name} against 1.3.0: no schema of engine" in ended.err


def test_flags_of_an_engine_without_schemas_are_not_said_to_be_a_schema_away(launchpad: Launchpad) -> None:
    said = launchpad("doctor", "v4-flash-nim", "--rig", "4x-gb300", "--json").json["unseen"]

    assert "flags: no schema of engine nim ships" in said


def test_a_schema_goes_with_a_profile(launchpad: Launchpad) -> None:
    assert launchpad("doctor", *RIG, "--image-schema", "0.5.23").code == 2


# -- what is looked at


def test_a_shipped_profile_on_its_rig_is_not_blocked(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", NAME, *RIG, "--json")
    assert (ended.code, ended.json["blocked"]) == (0, False)


def test_a_hazard_that_blocks_ends_with_exit_code_4(launchpad: Launchpad, folder: Path) -> None:
    ended = launchpad("doctor", "broken", *RIG, "--json")
    assert (ended.code, ended.json["blocked"], ids(ended)[0]) == (4, True, "deepgemm.broken-pair")


def test_a_rig_that_cannot_seat_the_profile_ends_with_exit_code_1(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", NAME, "--rig", "2x-h200", "--json")
    assert (ended.code, ids(ended)[0]) == (1, "rig.cannot-place")


def test_a_profile_may_be_named_by_its_option(launchpad: Launchpad) -> None:
    assert launchpad("doctor", "--profile", NAME, *RIG, "--json").json == launchpad("doctor", NAME, *RIG, "--json").json


def test_a_rig_alone_is_examined_without_any_profile(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", *RIG, "--json")
    assert (ended.code, ended.json["subject"]) == (0, "4x-rtx-pro-6000")
    assert not any(id_.startswith(("vllm.", "sglang.", "deepgemm.", "image.")) for id_ in ids(ended))


def test_this_machine_alone_is_surveyed(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", "--json")
    assert ended.code in {0, 1, 4}  # whatever this machine is
    assert ended.json["subject"] == "this rig"
    assert ended.json["rig"] is not None


def test_looking_leaves_nothing_behind(launchpad: Launchpad, state: Path) -> None:
    launchpad("doctor", NAME, *RIG)
    assert not state.exists()


def test_a_docker_engine_that_does_not_answer_is_said_and_no_obstacle(launchpad: Launchpad) -> None:
    unseen = launchpad("doctor", NAME, *RIG, "--json").json["unseen"]
    assert unseen[0].startswith("containers and images: cannot use the Docker Engine: unix:///nonexistent.sock")


def test_an_unknown_profile_is_told_with_the_right_one(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", "v4-flash-vllm-tp44", *RIG)
    assert ended.code == 1
    assert NAME in ended.err


def test_an_unknown_rig_is_told_with_the_right_one(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", NAME, "--rig", "4x-rtx-pro-600")
    assert ended.code == 1
    assert "4x-rtx-pro-6000" in ended.err


# -- how it is told


def test_the_json_has_these_keys(launchpad: Launchpad) -> None:
    answer = launchpad("doctor", NAME, *RIG, "--json").json
    assert list(answer) == ["subject", "findings", "blocked", "unseen", "rig"]
    assert [list(item) for item in answer["findings"]] == [FINDING] * len(answer["findings"])
    assert [gpu["compute_capability"] for gpu in answer["rig"]["gpus"]] == [[12, 0]] * 4


def test_format_json_is_the_same_as_json(launchpad: Launchpad) -> None:
    assert launchpad("doctor", NAME, *RIG, "--format", "json").json == launchpad("doctor", NAME, *RIG, "--json").json


def test_people_read_the_worst_first_with_its_fix_and_a_count(launchpad: Launchpad, folder: Path) -> None:
    out = launchpad("doctor", "broken", *RIG).out
    assert re.search(r"what blocks \(1\)\n  deepgemm\.broken-pair: .*\n      fix: use vllm", out)
    assert out.index("what blocks") < out.index("good to know") < out.index("not looked at")
    assert re.fullmatch(r"1 blocking, \d+ warnings?, \d+ remarks?", out.splitlines()[-1])


def test_sarif_holds_what_a_code_host_asks_of_it(launchpad: Launchpad, folder: Path) -> None:
    ended = launchpad("doctor", "broken", *RIG, "--format", "sarif")
    (run,) = ended.json["runs"]
    rules = {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}
    assert (ended.code, ended.json["version"]) == (4, "2.1.0")
    assert [result["ruleId"] in rules for result in run["results"]] == [True] * len(run["results"])
    assert run["results"][0]["level"] == "error"


def test_junit_counts_what_blocks_as_failures(launchpad: Launchpad, folder: Path) -> None:
    ended = launchpad("doctor", "broken", *RIG, "--format", "junit")
    suite = ET.fromstring(ended.out)
    assert (ended.code, suite.get("failures")) == (4, "1")
    assert len(suite.findall("testcase")) == int(suite.get("tests", "0"))


def test_an_unknown_format_is_a_mistake_of_usage(launchpad: Launchpad) -> None:
    assert launchpad("doctor", *RIG, "--format", "yaml").code == 2


# -- only and skip


def test_only_one_hazard(launchpad: Launchpad, folder: Path) -> None:
    ended = launchpad("doctor", "broken", *RIG, "--json", "--only", "deepgemm.broken-pair")
    assert (ended.code, ids(ended)) == (4, ["deepgemm.broken-pair"])


def test_only_a_kind_of_hazards(launchpad: Launchpad, folder: Path) -> None:
    ended = launchpad("doctor", "broken", *RIG, "--json", "--only", "pcie", "--only", "power")
    assert {id_.split(".")[0] for id_ in ids(ended)} == {"pcie", "power"}
    assert ended.code == 0


def test_what_is_skipped_does_not_block(launchpad: Launchpad, folder: Path) -> None:
    ended = launchpad("doctor", "broken", *RIG, "--json", "--skip", "deepgemm")
    assert (ended.code, ended.json["blocked"]) == (0, False)
    assert "pcie.no-nvlink" in ids(ended)


def test_skip_goes_before_only(launchpad: Launchpad, folder: Path) -> None:
    ended = launchpad("doctor", "broken", *RIG, "--json", "--only", "pcie", "--skip", "pcie.no-nvlink")
    assert "pcie.no-nvlink" not in ids(ended)


# -- explain


@pytest.mark.parametrize("id_", sorted({*(rule.id for rule in RULES), *(row.id for row in SIGNATURES)}))
def test_every_hazard_is_explained_with_its_fix_and_where_it_is_known_from(launchpad: Launchpad, id_: str) -> None:
    ended = launchpad("doctor", "--explain", id_)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{id_}  (")
    assert re.search(r"^fix {7}\S", ended.out, re.MULTILINE)
    assert re.search(r"^known {5}(seen|measured|inferred|reported), as of 20\d\d-\d\d-\d\d$", ended.out, re.MULTILINE)
    assert re.search(r"^source {4}\S", ended.out, re.MULTILINE)


def test_a_hazard_that_is_unknown_is_told_with_the_right_one(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", "--explain", "deepgemm.broken-pear")
    assert ended.code == 1
    assert "did you mean deepgemm.broken-pair?" in ended.err


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [
        ("pcie.nvlnk", "pcie.no-nvlink"),
        ("image.experimantal", "image.experimental"),
        ("experimental", "image.experimental"),
        ("IMAGE.EXPERIMENTAL", "image.experimental"),
        ("nccl.sockets", "p2p.sockets"),
        ("too-old", "trtllm.too-old"),
        ("flags.to-new", "flags.too-new"),
        ("p2p", "p2p.acs"),
    ],
)
def test_a_typo_is_answered_with_what_is_nearest_and_where_all_are_listed(
    launchpad: Launchpad, typo: str, nearest: str
) -> None:
    ended = launchpad("doctor", "--explain", typo)

    assert ended.code == 1
    assert re.search(rf"did you mean (\S+ or )*{re.escape(nearest)}[? ]", ended.err)
    assert "launchpad doctor --explain all lists all" in ended.err


def test_a_hazard_like_none_is_told_where_all_are_listed(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", "--explain", "zzzzzzzz")

    assert ended.code == 1
    assert "hint: launchpad doctor --explain all lists them" in ended.err
    assert len(ended.err.splitlines()) == 2


def test_all_hazards_are_listed_each_with_what_it_is_about(launchpad: Launchpad) -> None:
    ended = launchpad("doctor", "--explain", "all")
    listed = dict(line.split("  ", 1) for line in ended.out.splitlines())

    assert ended.code == 0
    assert {*(rule.id for rule in RULES), *(row.id for row in SIGNATURES), "flags.too-new"} <= set(listed)
    assert all(about.strip() for about in listed.values())


# -- log


def test_a_log_is_explained(launchpad: Launchpad, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("INFO\nRuntimeError: Assertion error (csrc/apis/layout.hpp:60): Unknown SF transformation\n")
    ended = launchpad("doctor", "--log", str(log), "--json")
    assert (ended.code, ids(ended), ended.json["rig"]) == (4, ["deepgemm.sf-transformation"], None)


def test_a_log_that_tells_nothing_ends_well(launchpad: Launchpad, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("INFO all is well\n")
    assert (launchpad("doctor", "--log", str(log)).code, launchpad("doctor", "--log", str(log)).err) == (0, "")


def test_what_was_left_out_of_a_large_log_is_said(launchpad: Launchpad, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("wb") as file:
        file.truncate(20 * 2**20)
    assert "2.0 MiB in the middle of" in launchpad("doctor", "--log", str(log)).out


@pytest.mark.parametrize("where", ["nowhere.log", "."])
def test_a_log_that_cannot_be_read_is_told(launchpad: Launchpad, tmp_path: Path, where: str) -> None:
    ended = launchpad("doctor", "--log", str(tmp_path / where))
    assert ended.code == 1
    assert "cannot read log" in ended.err


# -- record


class RtxRig(World):
    """A machine with the four cards of the recorded rig, surveyed today."""

    def facts(self, rig: str | None) -> RigFacts:
        if rig is not None:
            return super().facts(rig)
        return replace(RigCatalog(()).facts("4x-rtx-pro-6000"), recorded=None, as_of="2026-11-23")


def test_a_recorded_rig_is_read_back_by_its_name(launchpad: Launchpad, folder: Path) -> None:
    record_rig(RtxRig(), folder / "rigs" / "mine.toml")
    ended = launchpad("doctor", NAME, "--rig", "mine", "--json")
    shipped = launchpad("doctor", NAME, *RIG, "--json")
    assert (ended.code, ids(ended)) == (0, ids(shipped))
    assert {gpu["name"] for gpu in ended.json["rig"]["gpus"]} == {gpu["name"] for gpu in shipped.json["rig"]["gpus"]}


def test_a_machine_without_gpus_is_not_recorded(launchpad: Launchpad, tmp_path: Path) -> None:
    """Whatever this machine is: with GPUs it is recorded, without it is told why not, and no file is left."""
    path = tmp_path / "mine.toml"
    ended = launchpad("doctor", "--record", str(path))
    assert (ended.code, path.exists()) in {(0, True), (1, False)}
    assert "recorded; use it as" in ended.err or "cannot record this rig" in ended.err


def test_a_file_that_is_there_is_not_recorded_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("kept")
    with pytest.raises(LaunchpadError, match=f"cannot write {path}: File exists"):
        record_rig(RtxRig(), path)
    assert path.read_text() == "kept"


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(LaunchpadError, match=r"cannot write .*: No such file or directory"):
        record_rig(RtxRig(), tmp_path / "no" / "mine.toml")


def test_a_kind_of_flag_problem_is_explained_too(launchpad: Launchpad) -> None:
    ran = launchpad("doctor", "--explain", "flags.too-new")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "flags.too-new  (flag lint)")
