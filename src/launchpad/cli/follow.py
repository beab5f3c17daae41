"""Following a deployment's journal until it is where somebody wants it, and telling how far it is.

A follower only reads: Ctrl-C ends the following, never the server. On a terminal the load is one live line, elsewhere plain lines;
with ``--json`` every event is one object on stdout.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from launchpad.cli import render
from launchpad.deploy.spec import Spec
from launchpad.engines.hosted import ASKED
from launchpad.errors import LaunchpadError, WouldNotStayUp
from launchpad.store.state import Wanted
from launchpad.supervise import spawn
from launchpad.supervise.machine import Phase
from launchpad.supervise.snapshot import Snapshot
from launchpad.units import show_duration

if TYPE_CHECKING:
    from launchpad.cli.world import World
    from launchpad.store.journal import Event
    from launchpad.store.state import Deployment
    from launchpad.supervise.snapshot import Load

#: Seconds between two polls of two files; small beside what is waited for, and one ``stat`` is nothing.
_POLL: Final = 0.03
#: How often a supervisor that died on the way is started again before that is an error.
_RESPAWNS: Final = 2
#: Seconds a new supervisor may take until it holds its lock.
_LOCK_TAKES_S: Final = 5.0


class Reporter(Protocol):
    """Where progress goes."""

    def event(self, event: Event) -> None:
        """Something happened."""

    def load(self, load: Load, elapsed: timedelta) -> None:
        """The load is so far."""

    def close(self) -> None:
        """Nothing more will come."""


class JsonReporter:
    """One JSON object a line on stdout."""

    def event(self, event: Event) -> None:
        """Print it whole."""
        render.line_json(event.as_json())

    def load(self, load: Load, elapsed: timedelta) -> None:
        """Stages are events already."""

    def close(self) -> None:
        """Nothing to close."""


class PlainReporter:
    """Lines on stderr: every event, and the counters of a stage now and then."""

    def __init__(self) -> None:
        self._told: tuple[str | None, timedelta] = (None, timedelta(0))

    def event(self, event: Event) -> None:
        """Print it in words."""
        if event.event != "stage":
            render.say(render.event(event))

    def load(self, load: Load, elapsed: timedelta) -> None:
        """Print a new stage at once, and the same stage every half minute."""
        stage, at = self._told
        if load.stage != stage or elapsed - at >= timedelta(seconds=30):
            self._told = (load.stage, elapsed)
            render.say(f"  {load_text(load, elapsed)}")

    def close(self) -> None:
        """Nothing to close."""


class LiveReporter:
    """One line that is drawn over and over on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.status import Status

        self._console = Console(stderr=True)
        self._status = Status("waiting for the supervisor", console=self._console)
        self._status.start()

    def event(self, event: Event) -> None:
        """Print it above the live line."""
        if event.event not in {"stage", "asked", "supervisor-started"}:
            self._console.print(render.event(event), markup=False, highlight=False)

    def load(self, load: Load, elapsed: timedelta) -> None:
        """Draw the line again."""
        from rich.text import Text

        self._status.update(Text(load_text(load, elapsed)))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._status.stop()


def reporter(*, as_json: bool) -> Reporter:
    """The one that fits where the output goes."""
    if as_json:
        return JsonReporter()
    return LiveReporter() if sys.stderr.isatty() else PlainReporter()


def load_text(load: Load, elapsed: timedelta) -> str:
    """``weights 12/46, 3m 20s so far, about 9m 10s to go (warm)``."""
    if load.stage == ASKED:  # nothing of it loads here, and nothing is warm or cold
        return f"asked, {show_duration(elapsed)} so far"
    stage = load.stage or "starting the container"
    counted = f" {load.done}/{load.total}" if load.total is not None else ""
    if load.expected_s is None:
        eta = "first start of this spec, no estimate"
    else:
        left = timedelta(seconds=load.expected_s) - elapsed
        eta = (
            f"about {show_duration(left)} to go" if left > timedelta(0) else f"{show_duration(-left)} longer than usual"
        )
    return f"{stage}{counted}, {show_duration(elapsed)} so far, {eta} ({'warm' if load.warm else 'cold'})"


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a follower stops: ``phase`` reached by ``generation`` or a later one."""

    phase: Phase
    generation: int


class Follower:
    """Follows one deployment from ``offset`` of its journal."""

    def __init__(self, world: World, deployment: Deployment, told: Reporter, offset: int) -> None:
        self._world, self._deployment, self._told, self._offset = world, deployment, told, offset
        self._mtime = 0
        self._snapshot: Snapshot | None = None
        self._respawns = 0
        self._spawned_at = world.clock.monotonic()

    def follow(self, goal: Goal) -> Snapshot:
        """Follow to the goal; raises WouldNotStayUp where the deployment gives up on the way."""
        try:
            while True:
                snapshot = self._read()
                self._tell(snapshot)
                if snapshot is not None and self._reached(snapshot, goal):
                    self._tell(snapshot)
                    return snapshot
                self._keep_supervised()
                self._world.clock.sleep(_POLL)
        finally:
            self._told.close()

    def _reached(self, snapshot: Snapshot, goal: Goal) -> bool:
        """Whether this is the goal; raises WouldNotStayUp where it never will be, an older version put back in its place or not."""
        state = snapshot.state
        if state.generation < goal.generation or state.phase not in {goal.phase, Phase.FAILED}:
            return False
        back = self._rolled_back(goal)
        if back is None and state.phase is goal.phase:
            return True
        if back is not None and state.generation < back.generation:
            return False  # the older version is on its way
        self._tell(snapshot)
        raise self._gave_up(snapshot) if back is None else self._gave_way(snapshot, back)

    def _read(self) -> Snapshot | None:
        path = self._deployment.folder / "state.json"
        try:
            mtime = path.stat().st_mtime_ns
        except OSError:
            return None
        if mtime != self._mtime:
            self._mtime = mtime
            self._snapshot = self._deployment.read_state(Snapshot, self._world.clock.now())
        return self._snapshot

    def _tell(self, snapshot: Snapshot | None) -> None:
        for offset, event in self._deployment.journal.read(self._offset):
            self._offset = offset
            self._told.event(event)
        if snapshot is not None and snapshot.state.phase is Phase.STARTING and snapshot.load is not None:
            self._told.load(snapshot.load, self._world.clock.now() - snapshot.load.started_at)

    def _keep_supervised(self) -> None:
        """A supervisor that dies while we wait is started again; one that cannot live is an error with its last words."""
        if self._deployment.supervisor_pid() is not None or not self._overdue():
            return
        if spawn.coming(self._deployment, self._world.environ):
            self._spawned_at = self._world.clock.monotonic()
            return
        if self._respawns >= _RESPAWNS:
            words, more = spawn.last_words(self._deployment, self._world.environ)
            raise LaunchpadError(
                f"cannot supervise {self._deployment.name}: its supervisor ends at once: {words}", hint=more
            )
        self._respawns += 1
        self._spawned_at = self._world.clock.monotonic()
        spawn.ensure(self._deployment, self._world.environ)

    def _overdue(self) -> bool:
        """A new process needs a moment to take its lock."""
        return self._world.clock.monotonic() - self._spawned_at > _LOCK_TAKES_S

    def _rolled_back(self, goal: Goal) -> Wanted[Spec] | None:
        """The older version that the supervisor put back in place of what we follow, or None."""
        wanted = (
            self._deployment.read_wanted(Wanted[Spec], self._world.clock.now()) if goal.phase is Phase.READY else None
        )
        after = wanted is not None and wanted.generation > goal.generation
        return wanted if after and wanted is not None and wanted.rolled_back is not None else None

    def _gave_way(self, snapshot: Snapshot, wanted: Wanted[Spec]) -> WouldNotStayUp:
        name, back = self._deployment.name, wanted.rolled_back
        if back is None or snapshot.state.phase is Phase.FAILED:
            return self._gave_up(snapshot)
        return WouldNotStayUp(
            f"cannot bring {name} up as version {back.failed}: {back.reason}; version {back.to} was put back and is READY again",
            hint=f"launchpad history {name} {back.failed} says what changed; launchpad events {name} tells what happened",
        )

    def _gave_up(self, snapshot: Snapshot) -> WouldNotStayUp:
        name = self._deployment.name
        crashes = self._deployment.crash_folders()
        where = f"; crash folder {crashes[-1]}" if crashes else ""
        says, hint = f"cannot keep {name} up: {snapshot.state.reason}", snapshot.state.hint
        if snapshot.hosted:  # it has no log here, and its crash folder holds no more than its events
            return WouldNotStayUp(says, hint=hint or f"launchpad events {name} tells what it answered")
        return WouldNotStayUp(says, hint=f"{hint or 'read its log'} (launchpad logs {name} --tail 50{where})")
