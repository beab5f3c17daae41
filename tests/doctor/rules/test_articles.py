"""The commands that two articles tell people to type, as profiles: what is wrong with each is found before it is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchpad.deploy.spec import resolve
from launchpad.doctor.case import Case
from launchpad.doctor.rule import examine
from launchpad.doctor.rules import RULES
from launchpad.profiles.catalog import Catalog
from launchpad.rig.catalog import RigCatalog

from .cases import RIG, rig

if TYPE_CHECKING:
    from launchpad.rig.facts import RigFacts

ARTICLES = Path(__file__).parent / "articles"


def article(name: str, facts: RigFacts = RIG) -> Case:
    profile = Catalog((ARTICLES,)).load(name).profile
    return Case(facts, resolve(name, profile, facts, taken={}))


def seen(of: Case, severity: str) -> list[str]:
    return [found.id for found in examine(of, RULES) if found.severity == severity]


def test_the_docker_run_line_for_sglang_cannot_come_up_on_this_rig() -> None:
    assert seen(article("docker-run-sglang"), "blocks") == ["container.loopback", "image.other-card"]


def test_the_docker_run_line_for_sglang_starts_cold_every_time_and_caps_its_memory() -> None:
    assert seen(article("docker-run-sglang"), "warns") == [
        "container.cold-cache",
        "container.no-init",
        "model.trust-remote-code",
        "sglang.liveness-timeout",
        "sglang.max-total-tokens",
    ]


def test_the_docker_run_line_for_sglang_voids_its_own_shared_memory() -> None:
    assert "container.ipc-host" in seen(article("docker-run-sglang"), "informs")


def test_the_vllm_of_that_day_is_too_old() -> None:
    assert seen(article("vllm-0.20.2"), "blocks") == ["container.shm", "deepgemm.vllm-too-old", "vllm.flashinfer-old"]


def test_the_fork_is_called_brittle_and_not_too_old() -> None:
    assert seen(article("vllm-fork"), "blocks") == []


def test_the_fork_lacks_the_flags_that_its_own_recipe_has() -> None:
    assert seen(article("vllm-fork"), "warns") == [
        "deepgemm.source-dir",
        "fork.brittle",
        "fork.graphs-forced",
        "vllm.block-size",
        "vllm.ready-timeout",
        "vllm.tokenizer-mode",
    ]


def test_no_word_of_the_dynamo_command_works() -> None:
    assert seen(article("dynamo-v4-pro"), "blocks") == [
        "dynamo.serve-gone",
        "dynamo.think-modes",
        "image.dynamo-tag",
        "model.v4-pro-too-large",
        "trtllm.pip-pin",
        "trtllm.sm120",
    ]


def test_the_dynamo_image_is_experimental() -> None:
    assert "image.experimental" in seen(article("dynamo-v4-pro"), "warns")


def test_on_the_gb300_of_the_article_only_its_command_is_wrong() -> None:
    gb300 = RigCatalog(()).facts("4x-gb300")
    assert seen(article("dynamo-v4-pro", gb300), "blocks") == [
        "dynamo.serve-gone",
        "dynamo.think-modes",
        "image.dynamo-tag",
        "trtllm.pip-pin",
    ]


@pytest.mark.parametrize("name", ["docker-run-sglang", "vllm-0.20.2", "vllm-fork"])
def test_no_nvlink_at_tensor_parallel_4_is_told(name: str) -> None:
    assert "pcie.no-nvlink" in seen(article(name), "informs")


@pytest.mark.parametrize(
    ("circuit_w", "severity"),
    [
        pytest.param(15 * 120, "blocks", id="15 A at 120 V trips"),
        pytest.param(20 * 120, "warns", id="20 A at 120 V holds for minutes"),
        pytest.param(15 * 240, "informs", id="15 A at 240 V leaves little"),
    ],
)
def test_four_600_watt_cards_are_too_much_for_a_household_circuit(circuit_w: int, severity: str) -> None:
    assert "power.circuit" in seen(article("docker-run-sglang", rig(circuit_w=circuit_w)), severity)


def test_thirty_ampere_at_240_volt_as_the_article_says_are_enough() -> None:
    findings = examine(article("docker-run-sglang", rig(circuit_w=30 * 240)), RULES, only=["power"])
    assert findings == ()
