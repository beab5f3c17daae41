"""How long an endpoint that asked to be left alone (Retry-After) is left alone, over the life of more than one supervisor.

A supervisor waits by the steady clock, which its successor does not share; ``state.json`` says it by the wall clock. Pure.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from launchpad.clock import Clock
    from launchpad.supervise.snapshot import Snapshot

#: The longest that a server's own Retry-After keeps us from asking, in seconds.
LONGEST: Final = 3600.0


def ends(not_before: float, clock: Clock) -> datetime | None:
    """When the patience ends, or ended, that lasts to ``not_before`` on the steady clock; None where none was asked for."""
    return clock.now() + timedelta(seconds=not_before - clock.monotonic()) if not_before > float("-inf") else None


def quiet_until(not_before: float, clock: Clock) -> datetime | None:
    """The same as it is published: in whole seconds, rounded up; None where it is over."""
    end = ends(not_before, clock)
    return (end + timedelta(seconds=0.999)).replace(microsecond=0) if end is not None and end > clock.now() else None


def resumed(snapshot: Snapshot | None, clock: Clock) -> dict[str, float]:
    """What the supervisor that published ``snapshot`` kept to: endpoint, and when it may be asked on the steady clock.

    That is :data:`LONGEST` from now at the latest.
    """
    if snapshot is None or snapshot.quiet_until is None:
        return {}
    left = (snapshot.quiet_until - clock.now()).total_seconds()
    return {snapshot.endpoint: clock.monotonic() + min(left, LONGEST)}
