"""No false alarm for what we ship ourselves on the rig it is meant for, the right one on a wrong rig, and no time lost over it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from launchpad.deploy.claims import Claims
from launchpad.deploy.spec import resolve
from launchpad.doctor.case import Case
from launchpad.doctor.checks import preflight
from launchpad.doctor.rule import examine
from launchpad.doctor.rules import RULES
from launchpad.errors import LaunchpadError
from launchpad.profiles.catalog import Catalog, shipped_profiles
from launchpad.profiles.schema import Gpus
from launchpad.rig.catalog import RigCatalog
from launchpad.rig.facts import RigFacts
from tests.deploy.specs import found
from tests.profiles.own_rigs import OWN_RIG

from .cases import rig, sglang, vllm

SHIPPED = Catalog((shipped_profiles(),))
RIGS = RigCatalog(())
SERVER, MAX_Q = "8x-rtx-pro-6000-server", "4x-rtx-pro-6000-max-q"
#: What doctor warns of on the profile's own rig; nothing blocks there, and of all others nothing is warned.
WARNED_OF = {
    "v4-flash-dynamo-trtllm-gb300": ["image.experimental"],
    "v4-flash-vllm-sm120-fork": ["fork.brittle"],
    "v4-flash-vllm-tp8": ["pcie.no-nvlink"],
    "v4-pro-dynamo-trtllm-gb300": ["image.experimental"],
}


def shipped(name: str, on: str | None, **changes: Any) -> Case:
    facts = RIGS.facts(on) if on else RigFacts(())
    profile = SHIPPED.load(name).profile.model_copy(update=changes)
    return Case(facts, resolve(name, profile, facts, taken={}))


def ids(case: Case, severity: str) -> list[str]:
    return [each.id for each in examine(case, RULES) if each.severity == severity]


def on_any_card(name: str) -> dict[str, Any]:
    """The change that lets ``name`` be placed on cards that its author did not mean."""
    wish = SHIPPED.load(name).profile.gpus
    assert wish is not None
    return {"gpus": Gpus(count=wish.number)}


@pytest.mark.parametrize("name", OWN_RIG)
def test_no_shipped_profile_is_blocked_on_its_own_rig(name: str) -> None:
    assert ids(shipped(name, OWN_RIG[name]), "blocks") == []


@pytest.mark.parametrize("name", OWN_RIG)
def test_a_shipped_profile_is_warned_of_only_what_is_known(name: str) -> None:
    assert ids(shipped(name, OWN_RIG[name]), "warns") == WARNED_OF.get(name, [])


@pytest.mark.parametrize("name", [name for name, own in OWN_RIG.items() if own is not None])
def test_a_shipped_profile_s_power_budget_is_what_its_rig_may_draw(name: str) -> None:
    case = shipped(name, OWN_RIG[name])
    assert case.spec is not None

    limits = [gpu.power_limit_w for gpu in case.gpus]
    assert case.spec.power_budget_w in {None, sum(limit for limit in limits if limit is not None)}


# ---- the wrong rig ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v4-flash-dynamo-trtllm-gb300", "v4-flash-trtllm-gb300"])
@pytest.mark.parametrize(("on", "why"), [("4x-rtx-pro-6000", "trtllm.sm120"), ("4x-a100", "trtllm.before-blackwell")])
def test_tensorrt_llm_is_blocked_where_it_has_no_kernels_for_the_card(name: str, on: str, why: str) -> None:
    assert ids(shipped(name, on), "blocks") == [why]


@pytest.mark.parametrize("name", ["v4-flash-sglang-tp4", "v4-flash-vllm-tp4", "v4-flash-sglang-h200-tp2"])
def test_on_a100_flash_is_blocked_by_name_where_somebody_lets_it_be_placed(name: str) -> None:
    assert ids(shipped(name, "4x-a100", **on_any_card(name)), "blocks") == ["model.v4-before-hopper"]


@pytest.mark.parametrize(
    ("name", "on", "says"),
    [
        ("v4-flash-sglang-tp4", "2x-h200", r"needs 4 GPUs and 0 of this rig's 2 will do: NVIDIA H200 has .* 9\.0, .* needs 12\.0$"),
        ("v4-flash-sglang-tp4", "4x-a100", r"NVIDIA A100-SXM4-80GB has compute capability 8\.0, the profile needs 12\.0$"),
        ("v4-flash-sglang-tp4", "4x-gb300", r"NVIDIA GB300 has compute capability 10\.3, the profile needs 12\.0$"),
        ("v4-flash-sglang-h200-tp2", "4x-rtx-pro-6000", r"has compute capability 12\.0, the profile needs 9\.0$"),
        ("v4-flash-vllm-sm120-fork", "2x-h200", r"NVIDIA H200 has compute capability 9\.0, the profile needs 12\.0$"),
        ("v4-flash-vllm-sm120-fork", "4x-a100", r"has compute capability 8\.0, the profile needs 12\.0$"),
        ("v4-flash-vllm-tp8", "4x-rtx-pro-6000", r"it needs 8 GPUs and 4 of this rig's 4 will do: this rig has 4$"),
        ("v4-flash-sglang-tp4-dp2", MAX_Q, r"it needs 8 GPUs and 4 of this rig's 4 will do: this rig has 4$"),
        ("v4-pro-dynamo-trtllm-gb300", SERVER, r"has compute capability 12\.0, the profile needs 10\.3$"),
        ("qwen3-embedding-vllm-shared", "4x-a100", r"has 80\.0 GiB, the profile needs 94\.0 GiB$"),
    ],
)  # fmt: skip
def test_a_rig_that_cannot_seat_it_is_told_why(name: str, on: str, says: str) -> None:
    with pytest.raises(LaunchpadError, match=says):
        shipped(name, on)


def test_a_max_q_card_cannot_be_given_600_w() -> None:
    profile = SHIPPED.load("v4-flash-sglang-tp4-max-q").profile
    power = profile.power.model_copy(update={"cap_w": 600})

    assert ids(shipped("v4-flash-sglang-tp4-max-q", MAX_Q, power=power), "warns") == ["power.cap-out-of-range"]


@pytest.mark.parametrize(("on", "warns"), [("4x-rtx-pro-6000", ["power.over-budget"]), (MAX_Q, [])])
def test_the_budget_of_the_max_q_profile_is_exceeded_by_600_w_cards_alone(on: str, warns: list[str]) -> None:
    case = shipped("v4-flash-sglang-tp4-max-q", on)
    assert case.spec is not None

    said = preflight(case.spec, case.facts, found(), Claims({}, {}), None)
    assert [each.id for each in said if each.severity == "warns"] == warns


def test_what_is_said_of_the_shipped_sglang_profile() -> None:
    said = [each.id for each in examine(shipped("v4-flash-sglang-tp4", "4x-rtx-pro-6000"), RULES)]
    assert said == ["pcie.no-nvlink", "power.circuit-unknown", "reasoning.other-prompts"]


@pytest.mark.parametrize("name", RIGS.names())
def test_a_recorded_rig_alone_is_never_blocked(name: str) -> None:
    assert ids(Case(RIGS.facts(name)), "blocks") == []


def test_a_hundred_profiles_on_eight_rigs_are_judged_in_two_seconds() -> None:
    rigs = [rig(ram_bytes=number) for number in range(1, 9)]
    cases = [
        (sglang if number % 2 else vllm)(facts, publish={"port": 8000 + number})
        for number in range(10)
        for facts in rigs
    ]
    start = time.process_time()
    for _ in range(10):
        for each in cases:
            examine(each, RULES)
    assert time.process_time() - start < 2.0
