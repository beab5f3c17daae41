"""Patience that an endpoint asked for, as one supervisor says it and the next one keeps it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from launchpad.supervise.machine import Phase, State
from launchpad.supervise.patience import LONGEST, quiet_until, resumed
from launchpad.supervise.snapshot import Snapshot
from tests.fakes.clock import BEGINNING, ManualClock

HERE = "http://127.0.0.1:1"
NEVER = float("-inf")


def snapshot(seconds: float | None) -> Snapshot:
    """What was published of an endpoint that may be asked again after so many seconds."""
    until = None if seconds is None else BEGINNING + timedelta(seconds=seconds)
    state = State(Phase.UNREADY, BEGINNING, "429")
    made = Snapshot(1, "elsewhere", 1, BEGINNING, state, "0", "hosted", "m", HERE, rehearsal=False)
    return replace(made, quiet_until=until)


@pytest.mark.parametrize(("not_before", "says"), [(30.0, 30), (30.2, 31), (0.0, None), (-5.0, None), (NEVER, None)])
def test_it_is_published_in_whole_seconds_while_it_lasts(not_before: float, says: int | None) -> None:
    expected = None if says is None else BEGINNING + timedelta(seconds=says)
    assert quiet_until(not_before, ManualClock()) == expected


@pytest.mark.parametrize(
    ("published", "kept"),
    [(None, {}), (snapshot(None), {}), (snapshot(30.0), {HERE: 20.0}), (snapshot(86400.0), {HERE: LONGEST})],
)
def test_a_successor_ten_seconds_later_has_what_is_left_of_it(
    published: Snapshot | None, kept: dict[str, float]
) -> None:
    assert resumed(published, ManualClock(BEGINNING + timedelta(seconds=10))) == kept
