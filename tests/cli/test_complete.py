"""Shell completion: the names that begin so, quickly, without Docker, and never an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchpad.cli import complete
from launchpad.rehearse.faults import examples
from tests.deploy.specs import RIG, SHIPPED

if TYPE_CHECKING:
    from pathlib import Path


def test_profiles_are_completed(state: Path) -> None:
    assert complete.profiles("v4-flash-s") == [name for name in SHIPPED.names() if name.startswith("v4-flash-s")]


def test_recorded_rigs_are_completed(state: Path) -> None:
    assert complete.rigs("4x-rtx-pro-6000") == [RIG, f"{RIG}-max-q"]


def test_faults_are_completed(state: Path) -> None:
    assert complete.faults("") == list(examples())


def test_hazards_are_completed_by_their_ids() -> None:
    assert complete.hazards("reasoning.") == [
        "reasoning.context-too-short",
        "reasoning.other-prompts",
        "reasoning.unsaid",
    ]


def test_modes_are_completed_short_and_in_full_where_that_is_begun() -> None:
    assert [complete.modes(begun) for begun in ("", "h", "non-", "x")] == [
        ["non", "high", "max"],
        ["high"],
        ["non-think"],
        [],
    ]


def test_deployments_are_completed(state: Path) -> None:
    for name in ("one", "other", "two"):
        folder = state / "deployments" / name
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text("{}")

    assert complete.deployments("o") == ["one", "other"]


def test_without_a_state_directory_there_is_nothing_to_complete(state: Path) -> None:
    assert complete.deployments("") == []


def test_a_state_directory_that_cannot_be_read_completes_to_nothing(state: Path) -> None:
    state.mkdir(parents=True)
    (state / "deployments").write_text("not a folder")

    assert complete.deployments("") == []
