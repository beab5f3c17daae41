"""One start of a replica: its log listened to, its questions asked, its load measured.

It begins with a container that was started or adopted and ends with it. It answers how far the load is and what was said last; what
follows from that is the machine's to decide and the loop's to do.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from launchpad.engines import engine
from launchpad.engines.base import Progress
from launchpad.runtime.base import LABEL_ROLE
from launchpad.store.state import StartRecord
from launchpad.supervise.liveness import Liveness
from launchpad.supervise.machine import Phase
from launchpad.supervise.patience import LONGEST
from launchpad.supervise.snapshot import Load
from launchpad.supervise.watch import Asker, LogWatch, readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from launchpad.clock import Clock
    from launchpad.deploy.spec import Spec
    from launchpad.health.probe import Prober
    from launchpad.runtime.base import Container, Runtime
    from launchpad.supervise.watch import Asked, LogCopy

#: The engine's metrics are read at least this often while it is READY, however seldom it likes to be asked for its health.
_LOOK: Final = 5.0


class Past(NamedTuple):
    """What is known of a replica's answers before it is asked again.

    ``probe_number`` counts them over its whole life; before ``not_before``, on the steady clock, it is not to be asked (a
    Retry-After); ``doubted`` says that it was UNREADY when last seen, so that only a completion proves that it lives.
    """

    probe_number: int
    not_before: float
    doubted: bool


class Start:
    """The containers of a replica listened to from their start, or their adoption, on; given in start order.

    ``past`` is what is known of the answers before.
    """

    def __init__(
        self,
        spec: Spec,
        containers: Sequence[Container],
        runtime: Runtime,
        prober: Callable[[], Prober],
        copy: LogCopy,
        wake: Callable[[], None],
        clock: Clock,
        *,
        past: Past,
    ) -> None:
        self._spec, self._clock = spec, clock
        self._engine = engine(spec.engine)
        since = copy.last()  # asked once: what one of them writes now is no sign that the others' lines were copied
        self._logs = tuple(
            LogWatch(runtime, item.id, self._engine, copy, wake, clock, since, _prefix(item, containers))
            for item in containers
        )
        self._asker = Asker(prober, wake, clock, past.probe_number)
        self.liveness = Liveness(spec, clock, doubted=past.doubted)
        self._not_before, self._heeded = past.not_before, past.probe_number
        self._asked_at = self._looked_at = float("-inf")
        self._asked_stage: str | None = None
        self._tries = 0

    def close(self) -> None:
        """End the question in flight and listen no more."""
        self._asker.close()
        for each in self._logs:
            each.close()

    def drain(self, timeout_s: float) -> None:
        """Read the logs of ended containers to their end, at most ``timeout_s`` for all."""
        until = self._clock.monotonic() + timeout_s
        for each in self._logs:
            each.drain(max(0.0, until - self._clock.monotonic()))

    @property
    def stage(self) -> str | None:
        """The stage the load is in."""
        progress = self._progress()
        return progress.stage if progress else None

    @property
    def last_stage(self) -> bool:
        """Whether the engine says that it serves."""
        return self.stage == self._engine.stages[-1]

    @property
    def moved_at(self) -> datetime | None:
        """When its logs last said anything of their own."""
        return max((at for each in self._logs if (at := each.progress()[1]) is not None), default=None)

    def tail(self) -> tuple[str, ...]:
        """The last lines of its log, oldest first; of several containers one after the other."""
        return tuple(line for each in self._logs for line in each.tail())

    def _progress(self) -> Progress | None:
        """The furthest of what its logs show."""
        stages = self._engine.stages
        if self._spec.hosted is not None:  # nothing of it loads here
            return Progress(stages[0])
        told = [progress for each in self._logs if (progress := each.progress()[0]) is not None]
        return max(told, key=lambda progress: stages.index(progress.stage), default=None)

    def asked(self) -> Asked | None:
        """The last answered question."""
        return self._asker.last()

    @property
    def busy(self) -> bool:
        """Whether a question is in flight."""
        return self._asker.busy

    def ask_when_due(self, phase: Phase) -> None:
        """Ask what ``phase`` wants to know, one question at a time; at once where the load has reached another stage."""
        if self._clock.monotonic() < self.not_before or self._asker.busy:
            return
        now, stage, health = self._clock.monotonic(), self.stage, self._spec.health
        since = now - self._asked_at
        match phase:
            case Phase.STARTING if since >= self._start_interval_s or stage != self._asked_stage:
                self._tries += 1
                self._asker.ask(readiness(health, self._spec.completion, self._spec.model))
            case Phase.READY if since >= health.live_interval_s:
                self._asker.ask(self.liveness.question())
            case Phase.READY if self.liveness.reads_metrics and now - self._looked_at >= _LOOK:
                self._asker.ask(self.liveness.look())
                self._looked_at = now
                return
            case Phase.UNREADY if since >= min(health.unready_interval_s, health.live_interval_s):
                self._asker.ask(self.liveness.question())
            case _:
                return
        self._asked_at, self._asked_stage = now, stage
        if phase is not Phase.STARTING:  # a question of liveness looks too; the first look comes with READY
            self._looked_at = now

    @property
    def _start_interval_s(self) -> float:
        """Seconds between two questions of a start; a hosted endpoint, which may count them, is asked ever more seldom."""
        health = self._spec.health
        if self._spec.hosted is None or self._tries < 1:
            return health.start_interval_s
        return min(health.start_interval_s * 2.0 ** min(self._tries - 1, 16), health.unready_interval_s)

    @property
    def endpoint(self) -> str:
        """Who is asked."""
        return self._spec.endpoint

    @property
    def not_before(self) -> float:
        """When a hosted endpoint that asked for patience (Retry-After) may be asked again, on the steady clock."""
        last = self._asker.last()
        if self._spec.hosted is not None and last is not None and last.number != self._heeded:
            self._heeded = last.number
            if not last.answer.ok and last.answer.retry_after_s is not None:
                ago = max(0.0, (self._clock.now() - last.finished_at).total_seconds())
                self._not_before = self._clock.monotonic() - ago + min(last.answer.retry_after_s, LONGEST)
        return self._not_before

    def follow(self, load: Load) -> Load:
        """``load`` with the stage and the counter that the log shows now."""
        progress = self._progress()
        if progress is None:
            return load
        return replace(load, stage=progress.stage, done=progress.done, total=progress.total)


def _prefix(container: Container, among: Sequence[Container]) -> str:
    """What stands before each line in the copied log: the role, where there are several."""
    return f"{container.labels.get(LABEL_ROLE, container.name)}: " if len(among) > 1 else ""


class Course:
    """How the current start goes, in figures: its load, when each stage began, how long it took. Outlives an adoption."""

    def __init__(self, load: Load | None, ready_after_s: float | None) -> None:
        self.load = load
        self.ready_after_s = ready_after_s
        self._stages: dict[str, float] = {}

    def begin(self, at: datetime, *, expected_s: float | None, warm: bool) -> None:
        """A container was started just now."""
        self.load, self.ready_after_s, self._stages = Load(None, None, None, at, expected_s, warm), None, {}

    def forget(self) -> None:
        """A start is about to begin: what is remembered of the last one is not its."""
        self.load, self.ready_after_s, self._stages = None, None, {}

    def adopt(self, begun: datetime, slack_s: float = 60.0) -> None:
        """A container that began at ``begun`` was found; what is remembered of an older one is not its."""
        if self.load is None or (begun - self.load.started_at).total_seconds() > slack_s:
            self.load, self.ready_after_s = Load(None, None, None, begun, None, warm=False), None

    def follow(self, start: Start, now: datetime) -> tuple[str, float] | None:
        """Take over what the log shows; a stage reached for the first time and the seconds it took to get there."""
        if self.load is None:
            return None
        self.load = start.follow(self.load)
        stage = self.load.stage
        if stage is None or stage in self._stages:
            return None
        self._stages[stage] = round((now - self.load.started_at).total_seconds(), 3)
        return stage, self._stages[stage]

    def ready(self, spec_hash: str, now: datetime) -> StartRecord | None:
        """The record of a start that became READY now; None where it was counted already."""
        if self.load is None or self.ready_after_s is not None:
            return None
        self.ready_after_s = (now - self.load.started_at).total_seconds()
        return StartRecord(spec_hash, self.load.warm, self.load.started_at, round(self.ready_after_s, 3), self._stages)


def expected_seconds(starts: tuple[StartRecord, ...], spec_hash: str, *, warm: bool) -> float | None:
    """How long a start of this spec took before: the median of its last five, None for the first.

    Starts as cold or as warm as this one are asked first; where there are none the others are the best guess there is.
    """
    ours = [item for item in starts if item.spec_hash == spec_hash]
    known = [item.seconds for item in ([item for item in ours if item.warm == warm] or ours)][-5:]
    return round(statistics.median(known), 3) if known else None
