"""Where time comes from.

Nothing else in launchpad reads the wall clock, so that a test can hand in hours. Datetimes are UTC-aware; durations are
``timedelta``. ``monotonic`` is for measuring, ``now`` for telling. This module refuses naive datetimes.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time that can be replaced."""

    def now(self) -> datetime:
        """The time of day, UTC-aware."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The time of day, UTC-aware."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def stamp(moment: datetime) -> str:
    """``moment`` as ISO 8601 in UTC with milliseconds: ``2026-11-23T00:49:55.120Z``."""
    if moment.tzinfo is None:
        raise ValueError("a naive datetime reached the clock")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The datetime that :func:`stamp` wrote; raises ValueError for anything that carries no offset."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} carries no UTC offset")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is no moment in UTC") from error
