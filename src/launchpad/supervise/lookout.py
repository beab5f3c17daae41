"""What a supervisor sees of its containers, and since when it sees nothing.

It asks the runtime, hears its events, and remembers what was there. It says that the runtime went away or came back and refuses to
judge what follows: that is the loop's and the machine's.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from launchpad.deploy.observe import ours
from launchpad.errors import LaunchpadError
from launchpad.runtime.base import LABEL_SPEC_HASH
from launchpad.supervise.machine import Body, Phase
from launchpad.supervise.watch import EventWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from launchpad.clock import Clock
    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import Container, Runtime, RuntimeEvent

#: While all is well the runtime is asked this seldom, in seconds; its events are what we rely on.
_LOOK_CALM: Final = 15.0
#: Exit codes of a server that was told to end: by itself, by SIGKILL, by SIGTERM.
_TOLD_TO_END: Final = frozenset({0, 137, 143})
#: By how much Docker's time of an end may lie outside the time in which it did not answer.
_SLACK: Final = timedelta(seconds=2)


class Lookout:
    """The containers of one deployment, newest first, as they were seen last.

    ``blind`` says why they cannot be seen now. ``away`` is the last spell in which nobody saw anything: the runtime did not
    answer, or no supervisor ran. ``hears_since`` is since when their logs can be heard.
    """

    def __init__(
        self,
        deployment: str,
        owner: str,
        runtime: Runtime,
        clock: Clock,
        wake: Callable[[], None],
        *,
        since: datetime | None,
    ) -> None:
        self._deployment, self._owner, self._runtime, self._clock, self._wake = deployment, owner, runtime, clock, wake
        now = clock.now()
        self.containers: tuple[Container, ...] = ()
        self.blind: str | None = None
        self.hears_since = now
        self.away = (since, now) if since is not None else None
        self._blind_since = now
        self._looked_at = float("-inf")
        self._look_now = threading.Event()
        self._events = EventWatch(runtime, deployment, self._hear, clock)

    def close(self) -> None:
        """Hear no more."""
        self._events.close()

    def soon(self) -> None:
        """What was seen is old news: ask the runtime at the next look."""
        self._look_now.set()

    def _hear(self) -> None:
        self._look_now.set()
        self._wake()

    def look(self, *, calm: bool) -> Literal["lost", "back"] | None:
        """Observe the containers, seldom while all is ``calm``; whether the runtime has just gone away or come back."""
        calm = calm and self._events.healthy and not self._look_now.is_set()
        if calm and self._clock.monotonic() - self._looked_at < _LOOK_CALM:
            return None
        self._look_now.clear()
        try:
            self.containers = ours(self._runtime.containers(self._deployment), self._owner)
        except LaunchpadError as error:
            self._look_now.set()
            if self.blind is not None:
                return None
            self.blind, self._blind_since = error.message, self._clock.now()
            return "lost"
        self._looked_at = self._clock.monotonic()
        if self.blind is None:
            return None
        self.blind, self.hears_since = None, self._clock.now()
        self.away = self._blind_since, self.hears_since
        return "back"

    def deaths(self) -> tuple[RuntimeEvent, ...]:
        """Deaths of containers that were seen, as the runtime told them since the last call."""
        known = {container.id for container in self.containers}
        return tuple(death for death in self._events.deaths() if death.container_id in known)

    def matches(self, spec: Spec) -> bool:
        """Whether every container was made for ``spec``."""
        return all(item.labels.get(LABEL_SPEC_HASH) == spec.hash for item in self.containers)

    def body(self, spec: Spec, phase: Phase) -> Body:
        """What is to be seen of the containers of ``spec`` in ``phase``."""
        if all(container.started_at is None for container in self.containers):
            return "absent"  # none, or created by a predecessor that did not live to start them
        alive = sum(container.running for container in self.containers)
        if phase is Phase.STOPPING and alive:
            return "running"  # of several containers the last started goes first, and the others serve it until then
        whole = len(spec.containers) if self.matches(spec) else alive
        return "running" if alive == whole == len(self.containers) else "ended"

    def ended_unseen(self) -> bool:
        """Whether a container was ended by a signal, or cleanly, while nobody saw anything."""
        found = next((item for item in self.containers if not item.running), None)
        if self.away is None or found is None or found.exit is None or found.finished_at is None:
            return False
        told_to = found.exit.code in _TOLD_TO_END and not found.exit.oom_killed and not found.exit.error
        return told_to and self.away[0] - _SLACK <= found.finished_at <= self.away[1] + _SLACK
