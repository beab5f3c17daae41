"""How far something long is, as it is told: seldom, once at its end, and never further off than anybody can know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchpad.cli.meter import Meter, progress_text
from tests.fakes.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterable

GIB = 2**30


def told(steps: Iterable[tuple[float, int, int]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that ``(seconds passed, done, total)`` make on a stderr that is no terminal."""
    clock = ManualClock()
    with Meter("saving", clock) as meter:
        for seconds, done, total in steps:
            clock.advance(seconds)
            meter.tell(done, total, done, "image.tar")
    return capsys.readouterr().err.splitlines()


def test_the_end_is_told_once_though_more_comes_than_was_expected(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [(20.0, GIB, 2 * GIB), *((0.01, 2 * GIB + more, 2 * GIB) for more in range(1500))]

    assert len(told(steps, capsys)) == 2


def test_what_is_done_is_never_more_than_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = told([(20.0, 3 * GIB, 2 * GIB)], capsys)

    assert "3.0 GiB of 3.0 GiB" in line


def test_what_goes_on_beyond_the_end_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(told([(20.0, 2 * GIB, 2 * GIB), (20.0, 3 * GIB, 2 * GIB)], capsys)) == 2


def test_a_total_that_grows_is_reached_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(told([(20.0, GIB, GIB), (0.1, 2 * GIB, 2 * GIB)], capsys)) == 2


@pytest.mark.parametrize(
    ("moved", "seconds", "sure"),
    [(512, 5.0, False), (100 * 2**20, 0.5, False), (100 * 2**20, 5.0, True)],
    ids=["hardly a byte", "hardly a second", "enough of both"],
)
def test_what_is_left_is_told_once_there_is_something_to_go_by(moved: int, seconds: float, *, sure: bool) -> None:
    assert ("left" in progress_text("saving", moved, 2 * GIB, moved, seconds, "image.tar")) is sure
