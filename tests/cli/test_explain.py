"""``launchpad doctor --explain`` for what is no hazard: whatever id a finding has can be asked about."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import launchpad as package
from launchpad.deploy.drift import IDS
from launchpad.doctor.deep.plan import ALL
from launchpad.doctor.explained import EXPLAINED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Ended, Launchpad

SOURCES = Path(package.__file__).parent


def written() -> Iterator[str]:
    """Every id that a finding or a drift is made with in the source, where it stands there as text."""
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id not in {"Finding", "Drift"}:
                continue
            given = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "id")]
            yield from (each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str))


EVERY = sorted({*written(), *EXPLAINED, *ALL, *IDS})


def test_the_source_is_read_for_its_ids() -> None:
    assert {"hosted.leaves-rig", "fallback.unusable", "rig.cannot-place", "lock.driver"} <= set(written())


@pytest.mark.parametrize("id_", EVERY)
def test_every_id_that_a_finding_has_is_explained_with_its_fix(launchpad: Launchpad, id_: str) -> None:
    ended = launchpad("doctor", "--explain", id_)

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"{id_}  (")
    assert re.search(r"^fix {7}\S", ended.out, re.MULTILINE)


def test_what_is_explained_is_what_findings_are_made_with() -> None:
    assert set(EXPLAINED) <= {*written(), *ALL}


@pytest.mark.parametrize("subject", ["hosted", "fallback.unusable", "power"])
def test_a_subject_of_checks_can_be_chosen(launchpad: Launchpad, subject: str) -> None:
    ended = launchpad("doctor", "v4-flash-deepseek-api", "--only", subject, "--json")

    assert {item["id"].partition(".")[0] for item in ended.json["findings"]} <= {subject.partition(".")[0]}


# -- a rig without a seat


def seat(ended: Ended) -> str:
    found = next(item for item in ended.json["findings"] if item["id"] == "rig.cannot-place")
    return f"{found['message']} | {found['hint']}"


def test_cards_before_hopper_are_told_why_the_model_does_not_run_on_them(launchpad: Launchpad) -> None:
    said = seat(launchpad("doctor", "v4-flash-sglang-tp4", "--rig", "4x-a100", "--json"))

    assert said.endswith("launchpad doctor --explain model.v4-before-hopper")


def test_cards_that_could_serve_the_model_are_not_told_so(launchpad: Launchpad) -> None:
    said = seat(launchpad("doctor", "v4-flash-sglang-tp4", "--rig", "2x-h200", "--json"))

    assert "before-hopper" not in said


def test_the_fork_on_other_cards_is_told_to_be_for_sm120_only(launchpad: Launchpad) -> None:
    said = seat(launchpad("doctor", "v4-flash-vllm-sm120-fork", "--rig", "2x-h200", "--json"))

    assert "is built from the SM120 fork of vLLM, which is for SM120 cards only |" in said


@pytest.mark.parametrize(
    "name", ["v4-pro-dynamo-trtllm-gb300", "v4-flash-dynamo-trtllm-gb300", "v4-flash-trtllm-gb300"]
)
def test_tensorrt_llm_on_sm120_is_blocked_by_name_with_or_without_a_seat(launchpad: Launchpad, name: str) -> None:
    ended = launchpad("doctor", name, "--rig", "4x-rtx-pro-6000", "--json")
    (found,) = [item for item in ended.json["findings"] if item["id"] == "trtllm.sm120"]

    assert ended.code == 4
    assert found["severity"] == "blocks"
    assert found["message"] == (f"{name} serves DeepSeek V4 with TensorRT-LLM, which has no attention kernel for SM120")


@pytest.mark.parametrize(
    ("name", "rig"), [("v4-pro-dynamo-trtllm-gb300", "2x-h200"), ("v4-flash-vllm-tp8", "4x-rtx-pro-6000")]
)
def test_a_rig_without_a_seat_hears_of_that_only_for_such_cards_and_that_engine(
    launchpad: Launchpad, name: str, rig: str
) -> None:
    ended = launchpad("doctor", name, "--rig", rig, "--json")
    ids = {item["id"] for item in ended.json["findings"]}

    assert "rig.cannot-place" in ids
    assert "trtllm.sm120" not in ids
