"""Every rule speaks where it must, in the words of ``messages.txt``, and is silent beside it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from launchpad.doctor.case import Case
from launchpad.doctor.hazards import SIGNATURES
from launchpad.doctor.rule import Rule, examine
from launchpad.doctor.rules import RULES, rule
from launchpad.rig.facts import Gpu, RigFacts

from .cases import RIG, sglang, vllm
from .examples import EXAMPLES

#: id -> "severity: message", as a person would read it.
SAYS = dict(line.split(" ", 1) for line in (Path(__file__).parent / "messages.txt").read_text().splitlines())
ANYBODY = RigFacts((Gpu(0, "GPU-0", "a card"), Gpu(1, "GPU-1", "a card")))


def wanting(found: Rule) -> list[str]:
    """What a rule lacks of what every rule must have."""
    lacks = [
        key
        for key in ("title", "hint", "source", "explain", "versions")
        if not str(getattr(found, key)).strip() or getattr(found, key) != getattr(found, key).strip()
    ]
    if found.basis not in {"seen", "measured", "inferred", "reported"}:
        lacks.append("basis")
    if found.severity not in {"blocks", "warns", "informs"}:
        lacks.append("severity")
    try:
        date.fromisoformat(found.as_of)
    except ValueError:
        lacks.append("as_of")
    if not re.fullmatch(r"[a-z0-9]+(\.[a-z0-9-]+)+", found.id):
        lacks.append("id")
    if found.id not in EXAMPLES:
        lacks.append("examples")
    if found.id not in SAYS:
        lacks.append("message")
    return lacks


@pytest.mark.parametrize("found", RULES, ids=lambda found: found.id)
def test_a_rule_has_a_source_a_date_a_hint_an_explanation_and_examples(found: Rule) -> None:
    assert wanting(found) == []


def test_a_rule_without_a_source_or_an_example_would_be_noticed() -> None:
    bare = replace(RULES[0], id="gpu.of-no-example", source=" ", as_of="lately", hint="", explain="")
    assert wanting(bare) == ["hint", "source", "explain", "as_of", "examples", "message"]


@pytest.mark.parametrize("found", RULES, ids=lambda found: found.id)
def test_a_rule_says_what_it_sees(found: Rule) -> None:
    said = [f"{each.severity}: {each.message}" for each in found.findings(EXAMPLES[found.id].hits)]
    assert said == [SAYS[found.id]]


@pytest.mark.parametrize("found", RULES, ids=lambda found: found.id)
def test_a_rule_spares_the_case_beside_it(found: Rule) -> None:
    assert list(found.findings(EXAMPLES[found.id].spares)) == []


@pytest.mark.parametrize("found", RULES, ids=lambda found: found.id)
def test_a_rule_is_silent_about_a_rig_of_which_nothing_is_known(found: Rule) -> None:
    said = [each.severity for each in found.findings(Case(ANYBODY))]
    assert said == (["informs"] if found.id == "driver.version-unknown" else [])


def test_rules_have_ids_of_their_own() -> None:
    assert [id_ for id_, times in Counter(found.id for found in RULES).items() if times > 1] == []


def test_an_example_or_a_message_of_no_rule_is_noticed() -> None:
    known = {found.id for found in RULES}
    assert (set(EXAMPLES) - known, set(SAYS) - known) == (set(), set())


def test_a_rule_and_a_log_signature_of_one_id_are_one_hazard() -> None:
    """They are explained together; a new pair is added here on purpose or not at all."""
    assert {found.id for found in RULES} & {row.id for row in SIGNATURES} == {
        "sglang.dsv4-backend",
        "sglang.speculation",
        "sglang.warm-up",
        "sglang.watchdog",
        "trtllm.sm120",
        "vllm.attention-backend",
        "vllm.fp4-indexer",
        "vllm.ready-timeout",
    }


@pytest.mark.parametrize("found", RULES, ids=lambda found: found.id)
def test_hints_and_sources_hold_no_placeholder(found: Rule) -> None:
    text = f"{found.hint} {found.source} {found.explain}"
    assert re.findall(r"TODO|FIXME|XXX|TBD|\bIMAGE\b", text) == []


def test_a_rule_is_found_by_its_id() -> None:
    found = rule("deepgemm.broken-pair")
    assert found is not None
    assert found.title == "vLLM declares SM120, its DeepGEMM lacks the kernels"


def test_no_rule_has_an_id_that_nobody_gave() -> None:
    assert rule("deepgemm") is None


def test_rules_are_chosen_by_their_first_part() -> None:
    bad = vllm(image={"reference": "vllm/vllm-openai:v0.27.1"}, engine_args={"block-size": 64})
    assert [found.id for found in examine(bad, RULES, only=["deepgemm"])] == ["deepgemm.broken-pair"]


def test_the_worst_comes_first() -> None:
    bad = sglang(container={"shm_size": None, "init": False})
    assert [found.severity for found in examine(bad, RULES, only=["container"])] == ["blocks", "warns"]


def test_findings_of_rules_are_hazards() -> None:
    assert {found.hazard for found in examine(Case(RIG), RULES)} == {True}
