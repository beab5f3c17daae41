"""A known hazard stands in the way of a launch: it stops it before anything is started, or is accepted by name and written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.harness import Scene

if TYPE_CHECKING:
    from tests.e2e.harness import NewRig, Rig

#: vLLM 0.27.1 declares SM120 and its DeepGEMM has no kernels for it.
HAZARD = "deepgemm.broken-pair"
BROKEN: dict[str, Any] = {
    "image": {"reference": "vllm/vllm-openai:v0.27.1", "digest": None},
    "cache": {"enabled": False},
}


def broken(rig: Rig) -> str:
    return rig.profile(extends="v4-flash-vllm-tp4", **BROKEN)


def test_a_blocking_hazard_ends_with_exit_code_4_and_starts_nothing(rig: Rig) -> None:
    name = broken(rig)
    rig.rehearse(name).ends(4, HAZARD, "hint")
    assert (rig.mine(), rig.processes(), (rig.deployment(name) / "spec.json").exists()) == ([], {}, False)


def test_an_unknown_hazard_cannot_be_accepted(rig: Rig) -> None:
    rig.rehearse(broken(rig), words=["--accept", HAZARD[:-1]]).ends(
        1, f"cannot accept {HAZARD[:-1]}", f"did you mean {HAZARD}?"
    )
    assert rig.mine() == []


def test_another_hazard_accepted_is_not_this_one(rig: Rig) -> None:
    rig.rehearse(broken(rig), words=["--accept", "pcie.no-nvlink"]).ends(4, HAZARD)
    assert rig.mine() == []


@pytest.fixture(scope="module")
def accepted(shared: NewRig) -> Scene:
    rig = shared()
    name = broken(rig)
    return Scene(rig, name, rig.rehearse(name, words=["--accept", HAZARD]))


def test_an_accepted_hazard_is_said_and_gone_past(accepted: Scene) -> None:
    accepted.ran.ends(0, "(accepted)", "is READY")


def test_accepting_one_more_leaves_the_server_alone_and_json_says_so(accepted: Scene) -> None:
    begun = accepted.rig.started_at(accepted.name)
    words = ["--accept", HAZARD, "--accept", "pcie.no-nvlink", "--json"]
    told = accepted.rig.rehearse(accepted.name, words=words).ends(0).lines
    assert accepted.rig.started_at(accepted.name) == begun
    assert [item["unchanged"] for item in told if item["event"] == "ready"] == [True]
    assert "asked" in {item["event"] for item in told}


def test_an_accepted_hazard_is_journalled(accepted: Scene) -> None:
    told = [event for event in accepted.rig.events(accepted.name) if event["event"] == "hazard-accepted"]
    assert [HAZARD in str(event) for event in told] == [True]
