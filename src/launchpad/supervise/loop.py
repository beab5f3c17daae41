"""The supervisor: look, step, act, note, sleep.

One process per deployment, the only writer of its state. It looks at the containers, the last probe and the wanted spec, lets the
machine decide, carries out the effects, and publishes. Killing it never hurts the server: the container lives under dockerd
and is adopted by its spec hash at the next start. It decides nothing that ``machine.py`` does not say.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from launchpad import log
from launchpad.clock import stamp
from launchpad.deploy import apply
from launchpad.errors import EXIT_OK, EXIT_WOULD_NOT_STAY_UP, LaunchpadError, RuntimeUnavailable, StoreError
from launchpad.store.journal import Event
from launchpad.store.state import VERSION, Wanted
from launchpad.supervise import answers, machine, record, rollback
from launchpad.supervise.crash import classify, refused
from launchpad.supervise.gpus import GpuWatch
from launchpad.supervise.hands import Hands
from launchpad.supervise.lookout import Lookout
from launchpad.supervise.machine import Body, Phase, Sighting, State, Verdict
from launchpad.supervise.memory import MemoryWatch
from launchpad.supervise.patience import ends, quiet_until, resumed
from launchpad.supervise.power import PowerCap
from launchpad.supervise.publish import Publisher, gpu_views
from launchpad.supervise.snapshot import ContainerView, Snapshot
from launchpad.supervise.start import Course, Past, Start, expected_seconds
from launchpad.supervise.turn import Turn
from launchpad.supervise.watch import LogCopy, Wake
from launchpad.supervise.wish import Wish
from launchpad.units import show_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import Container
    from launchpad.store.state import Deployment, Store
    from launchpad.supervise.machine import Effect
    from launchpad.supervise.outside import Outside

#: Seconds between two looks: often while something is about to happen, seldom while all is well and events would wake us.
_TICK_STOPPING: Final = 0.1
_TICK_SHORTEST: Final = 0.01
_TICK_YOUNG: Final = 0.1
_TICK_LOADING: Final = 0.25
_TICK_CALM: Final = 1.0
#: Seconds by which the wall clock must differ from the steady one to have been set.
_CLOCK_JUMP: Final = 5.0
#: Seconds between a container's end and Docker's own in which the one is taken for the other's cause.
_DOCKER_ENDS: Final = 20.0
_WITH_DOCKER: Final = "Docker went down and took the container with it"
#: What a start waits for while Docker does not answer.
_DOCKER: Final = "Docker to answer"
#: The phases in which a container is listened to and asked questions.
_RUNNING: Final = frozenset({Phase.STARTING, Phase.READY, Phase.UNREADY})


class Supervisor:
    """Keeps one deployment as it is wanted."""

    def __init__(self, deployment: Deployment, store: Store, outside: Outside, *, pid: int) -> None:
        runtime, clock = outside.runtime, outside.clock
        self._deployment, self._store, self._runtime, self._clock = deployment, store, runtime, clock
        self._pid, self._prober, self._environ = pid, outside.prober, outside.environ
        self._wake = Wake()
        self._ending: str | None = None
        self._host = outside.host
        self._wish = Wish(deployment, clock)
        self._lives = rollback.Lives(deployment, clock)
        self._make_samples = outside.samples
        self._notifier, self._alerts = outside.notifier, outside.alerts
        self._last: Snapshot | None = None
        self._turn = Turn(store)
        self._to_start = False
        self._watch_gpus()
        self._start_error: Verdict | None = None
        self._copy = LogCopy(deployment.log_path)
        self._started: Start | None = None
        self._key: str | None = None
        self._publisher = Publisher(deployment, clock)
        self._taken_over = False
        now = clock.now()
        self._seen_clock = now, clock.monotonic()
        snapshot = deployment.read_state(Snapshot, now)
        since = snapshot.updated_at if snapshot else None
        self._lookout = Lookout(deployment.name, str(store.root), runtime, clock, self._wake.set, since=since)
        self._hands = Hands(self._lookout, runtime, self._note)
        self._boot_id = outside.host.boot_id()
        self._asks = snapshot.spec_hash if snapshot else None
        self._rebooted = bool(snapshot and snapshot.boot_id and self._boot_id not in {None, snapshot.boot_id})
        self._state = snapshot.state if snapshot else State(Phase.STOPPED, now, "never started")
        self._course = Course(snapshot.load if snapshot else None, snapshot.ready_after_s if snapshot else None)
        self._crashes = snapshot.crashes if snapshot else 0
        self._not_before = resumed(snapshot, clock)

    # ---- the outside's handles -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look now instead of at the next tick; safe in a signal handler."""
        self._wake.set()

    def end(self, why: str) -> None:
        """Leave the loop after this tick; the server goes on. Safe in a signal handler."""
        self._ending = why
        self._wake.set()

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Supervise until the deployment is stopped, has failed for good, or :meth:`end` is called; an exit code."""
        self._deployment.sweep(self._clock.now())
        self._note("supervisor-started", f"process {self._pid}")
        while True:
            self._wake.clear()
            looked = self._tick()
            if self._ending is not None:
                self._note("supervisor-ended", f"{self._ending}; the server goes on")
                return self._close(EXIT_OK)
            if looked and (code := self._done()) is not None and not self._asked_again():
                return self._close(code)
            self._wake.wait(self._pause())

    def _done(self) -> int | None:
        """The exit code where nothing is left to do: what was asked last has been answered, and nothing is left behind."""
        if self._state.generation < self._wanted.generation:
            return None
        match self._state.phase:
            case Phase.STOPPED if not self._wanted.wanted and not self._lookout.containers:
                return EXIT_OK
            case Phase.FAILED:
                return EXIT_WOULD_NOT_STAY_UP
            case _:
                return None

    def _close(self, code: int) -> int:
        self._publish(durable=True)
        self._notifier.closing(self._ending or self._state.reason)
        self._leave_start()
        self._turn.end()
        self._lookout.close()
        self._samples.close()
        self._copy.close()
        self._alerts.close()
        return code

    def _tick(self) -> bool:
        """One look and what follows from it; False where nothing could be seen."""
        self._mind_the_clock()
        self._note_deaths()
        self._asked_again()
        self._look_at_gpus()
        if self._to_start and self._lookout.blind is None:
            self._start_after_all()
        if not self._look():
            self._publish()
            return False
        sighting = self._sighting()
        if not self._taken_over:
            self._take_over(sighting)
        if self._state.phase is Phase.STOPPING:
            self._hands.go_on("kill" if self._state.killed else "stop")
        else:
            self._hands.rest()
        before = self._state
        self._state, effects = self._step(before, sighting)
        self._lives.see(self._state, self._wanted)
        if self._state.phase is not before.phase or effects:
            self._changed(before, sighting, effects)
        elif self._state.waiting not in {None, before.waiting}:
            hint = self._memory.held(self._samples.latest()[0])
            self._note("waiting", f"waits for {self._state.waiting}", detail={"hint": hint.hint if hint else None})
        if self._started is None and self._state.phase in _RUNNING and self._body() == "running":
            self._enter_start(self._lookout.containers[::-1])
        if self._started is not None:
            self._started.ask_when_due(self._state.phase)
        self._publish(durable=self._state.generation != before.generation)  # somebody waits for that
        return True

    def _step(self, before: State, sighting: Sighting) -> tuple[State, tuple[Effect, ...]]:
        """What the machine says; an end that was Docker's, or the rig's, is waited out like a crash and counted like none."""
        policy = self._wanted.spec.policy
        state, effects = machine.step(before, sighting, policy)
        crashed = before.phase in _RUNNING and state.phase in {Phase.BACKOFF, Phase.FAILED}
        fatal = sighting.lost is not None or (sighting.verdict is not None and sighting.verdict.fatal)
        if not crashed or fatal or not self._lookout.ended_unseen():
            return state, effects
        state, effects = machine.step(replace(before, failures=before.failures - 1), sighting, policy)
        state = machine.forgiven(replace(state, failures=before.failures + 1), sighting.now, _WITH_DOCKER)
        self._note("forgiven", state.reason, detail={"failures": state.failures})
        return state, effects

    def _note_deaths(self) -> None:
        """Say at once what the runtime says at once; the look that judges it may take a while longer."""
        names = {container.id: container.name for container in self._lookout.containers}
        for death in self._lookout.deaths():
            if self._state.phase is not Phase.STOPPING:
                code = "" if death.exit_code is None else f" with exit code {death.exit_code}"
                self._note("container-ended", f"container {names[death.container_id]} ended{code}")

    def _changed(self, before: State, sighting: Sighting, effects: tuple[Effect, ...]) -> None:
        state = self._state
        if state.phase is Phase.READY and before.phase is Phase.STARTING:
            self._now_ready(sighting)
        if "start" in effects:
            self._course.forget()
        if state.phase is not Phase.STARTING:
            self._to_start = False
            self._turn.end()
        if state.phase is not before.phase:
            self._note(
                "phase",
                state.reason,
                from_=before.phase,
                to=state.phase,
                detail={
                    "generation": state.generation,
                    "failures": state.failures,
                    "hint": state.hint,
                    **self._timing(),
                },
            )
            if "record-crash" in effects:
                # Before it is published: whoever ends us between the two makes the next one do it.
                self._record_crash(before, sighting)
            self._put_back(before, sighting)
            self._publish(durable=True)
        elif "kill" in effects:
            self._note("killed", state.reason)
        for effect in effects:
            self._do(effect)
        if state.phase is not before.phase:
            self._lookout.soon()
            self._wake.set()

    def _timing(self) -> dict[str, str | int | float | bool | None]:
        """What a READY event tells besides: seconds since the start and whether it was warm."""
        course = self._course
        if self._state.phase is not Phase.READY or course.ready_after_s is None:
            return {}
        return {"seconds": round(course.ready_after_s, 3), "warm": course.load.warm if course.load else None}

    def _pause(self) -> float:
        if self._lookout.blind is not None:
            return _TICK_CALM  # nothing can be seen or done, however much is due
        match self._state.phase:
            case Phase.STARTING:
                young = self._clock.now() - self._state.since < timedelta(seconds=60)
                serving = self._started is not None and self._started.last_stage
                return _TICK_YOUNG if young or serving else _TICK_LOADING
            case Phase.STOPPING:
                return _TICK_STOPPING
            case Phase.BACKOFF if self._state.retry_at is not None:
                left = (self._state.retry_at - self._clock.now()).total_seconds()
                return min(_TICK_CALM, max(left, _TICK_SHORTEST))
            case _:
                return _TICK_CALM

    # ---- looking -----------------------------------------------------------------------------------------------------

    def _take_over(self, sighting: Sighting) -> None:
        """Make of the predecessor's state what is left of it, and say so where a container is adopted."""
        self._taken_over = True
        self._state = machine.resume(self._state, sighting)
        self._say_rolled_back()
        with contextlib.suppress(LaunchpadError):  # a value that is gone cannot be hidden, nor is it needed to adopt
            self._read_secrets()
        if self._state.phase is Phase.STOPPING:  # noted, and perhaps never sent
            self._hands.owe("kill" if self._state.killed else "stop")
        if sighting.body != "running" or not sighting.matches or not self._lookout.containers:
            return
        first = self._lookout.containers[-1]
        begun = first.started_at or sighting.now
        self._note("adopted", f"container {first.name} runs since {stamp(begun)}", detail={"container": first.id[:12]})
        self._course.adopt(begun)

    def _look(self) -> bool:
        """Observe the containers; False while the runtime does not answer, which is no crash of the server."""
        match self._lookout.look(calm=self._state.phase in {Phase.READY, Phase.BACKOFF}):
            case "lost":
                self._note("runtime-lost", self._lookout.blind or "")
                self._forgive()
            case "back":
                self._note("runtime-back", "the container runtime answers again")
            case None:
                pass
        return self._lookout.blind is None

    def _mind_the_clock(self) -> None:
        """Where somebody set the wall clock (or the rig slept), no wait may end early and none may last longer for it."""
        now, steady = self._clock.now(), self._clock.monotonic()
        by = now - self._seen_clock[0] - timedelta(seconds=steady - self._seen_clock[1])
        self._seen_clock = now, steady
        if abs(by.total_seconds()) < _CLOCK_JUMP:
            return
        self._state = machine.shifted(self._state, by)
        self._lookout.hears_since = now
        ahead = "ahead" if by > timedelta() else "back"
        self._note("clock-set", f"the wall clock was set {ahead} by {show_duration(abs(by))}; deadlines move with it")

    def _forgive(self) -> None:
        """A container that ended just before Docker stopped answering was ended by Docker: that counts against nobody."""
        state, now = self._state, self._clock.now()
        if state.phase is Phase.BACKOFF and (now - state.since).total_seconds() < _DOCKER_ENDS:
            self._state = machine.forgiven(state, now, _WITH_DOCKER)
            self._note("forgiven", self._state.reason, detail={"failures": self._state.failures})

    def _body(self) -> Body:
        if self._wanted.spec.hosted is not None:  # it runs elsewhere: here it is asked, or it is not
            return "running" if self._state.phase in _RUNNING and self._start_error is None else "absent"
        return self._lookout.body(self._wanted.spec, self._state.phase)

    def _matches(self) -> bool:
        if self._wanted.spec.hosted is not None:
            return self._asks in {None, self._wanted.spec.hash}
        return self._lookout.matches(self._wanted.spec)

    def _sighting(self) -> Sighting:
        body = self._body()
        running = self._lookout.containers[-1] if self._lookout.containers else None
        asked = self._started.asked() if self._started else None
        moved_at = self._started.moved_at if self._started else None
        liveness = self._started.liveness if self._started else None
        samples, _ = self._samples.latest()
        released = self._memory.released(samples) if body != "running" else None
        held = self._memory.held(samples) if released is False else None
        return Sighting(
            now=self._clock.now(),
            wanted=self._wanted.wanted,
            generation=self._wanted.generation,
            body=body,
            matches=self._matches(),
            started_at=running.started_at if running else None,
            verdict=self._verdict() if body != "running" else None,
            memory_released=released,
            memory_held=held.says if held else None,
            waits=(self._turn.waits or _DOCKER) if self._to_start else answers.awaited(asked, self._wanted.spec),
            stuck_since=liveness.stuck_since if liveness and self._wanted.spec.hosted is None else None,
            stuck=liveness.stuck if liveness else "",
            lost=self._gpus.lost,
            renewal=self._wanted.renewal,
            rebooted=self._rebooted,
            probe=answers.seen(asked, self._wanted.spec) if asked else None,
            quiet_until=ends(self._quiet(self._wanted.spec.endpoint), self._clock),
            progress_at=max(moved_at or self._lookout.hears_since, self._lookout.hears_since),
        )

    def _verdict(self) -> Verdict | None:
        """Why it is not running, where that matters: only a phase that runs a container asks."""
        if self._state.phase not in _RUNNING:
            return None
        if self._start_error is not None:
            return self._start_error
        ended = next((item for item in self._lookout.containers if not item.running), None)
        if ended is None:
            return classify(None, ())
        loading = self._started is not None and self._state.phase is Phase.STARTING
        return classify(ended.exit, self._last_lines(ended), self._started.stage if loading and self._started else None)

    def _last_lines(self, container: Container) -> tuple[str, ...]:
        """The end of an ended container's log, from Docker: the follower may not have read it all."""
        try:
            with self._runtime.logs(container.id, tail=400) as lines:
                return tuple(self._copy.safe(line.text) for line in lines)
        except LaunchpadError:
            return self._started.tail() if self._started else ()

    # ---- doing -------------------------------------------------------------------------------------------------------

    def _do(self, effect: Effect) -> None:
        match effect:
            case "start":
                self._start()
            case "stop" | "kill":
                self._hands.send(effect)
            case "clear":
                self._clear()
            case "record-crash":
                return  # done before the change was published

    def _read_secrets(self) -> dict[str, dict[str, str]]:
        """The secrets of the wanted spec, which no log shows from now on; raises LaunchpadError."""
        spec = self._wanted.spec
        secrets = apply.read_secrets(spec, self._environ)
        self._copy.hide(value for values in secrets.values() for value in values.values())
        self._key = apply.key_of(spec, secrets)
        return secrets

    def _start_after_all(self) -> None:
        """Start what had to wait, for its turn or for Docker."""
        if self._body() == "running":  # it came about, and only the answer was lost
            self._to_start = False
            return
        if self._lookout.containers:
            self._clear()
        if not self._lookout.containers:
            self._start()

    def _start(self) -> None:
        """Create and start the containers, as soon as it is our turn on these GPUs."""
        spec = self._wanted.spec
        self._start_error = None
        self._to_start = self._state.phase is Phase.STARTING and not self._turn.begin(spec)
        if self._to_start or self._state.phase is not Phase.STARTING:
            return
        self._memory.starts(self._samples.latest()[0])
        self._asks = spec.hash  # also where it is refused: what is wanted now has had its chance
        try:
            warm = (
                spec.cache is not None
                and self._store.cache_warmed(spec.cache.volume) is not None
                and self._runtime.volume_exists(spec.cache.volume)  # somebody may have removed it
            )
            secrets = self._read_secrets()
            containers = apply.launch(spec, self._runtime, str(self._store.root), secrets)
        except RuntimeUnavailable:
            self._to_start = True  # Docker's absence is nobody's failure; the look that follows tells of it
            self._lookout.soon()
            return
        except LaunchpadError as error:
            self._start_error = refused(error)
            self._note("start-refused", error.message, detail={"hint": error.hint})
            return
        for hazard in spec.accepted:
            self._note("hazard-accepted", hazard)
        now = self._clock.now()
        expected = expected_seconds(self._deployment.starts(), spec.hash, warm=warm)
        self._course.begin(now, expected_s=expected, warm=warm)
        for each in containers:
            self._note(
                "container-started",
                f"container {each.name} from image {each.image}",
                detail={"container": each.id[:12], "image": each.image_id, "warm": warm, "expected_s": expected},
            )
        self._enter_start(containers)

    def _enter_start(self, containers: Sequence[Container]) -> None:
        """Listen to containers, in start order, and ask questions, from their start or their adoption on."""
        self._leave_start()
        spec, key = self._wanted.spec, self._key
        self._asks = spec.hash
        self._started = Start(
            spec,
            containers,
            self._runtime,
            lambda: self._prober(spec.endpoint, key, outside=spec.hosted is not None),
            self._copy,
            self._wake.set,
            self._clock,
            past=Past(self._state.probe_number, self._quiet(spec.endpoint), self._state.phase is Phase.UNREADY),
        )

    def _leave_start(self) -> None:
        if self._started is not None:
            self._not_before[self._started.endpoint] = self._started.not_before
            self._started.close()
            self._started = None

    def _quiet(self, endpoint: str) -> float:
        """When ``endpoint`` may be asked again, on the steady clock."""
        if self._started is not None and self._started.endpoint == endpoint:
            return self._started.not_before
        return self._not_before.get(endpoint, float("-inf"))

    def _clear(self) -> None:
        if self._started is not None and self._lookout.containers and self._body() != "running":
            self._started.drain(2.0)
        self._leave_start()
        self._hands.clear()

    def _record_crash(self, before: State, sighting: Sighting) -> None:
        verdict = (
            sighting.verdict or _over(before, sighting) or Verdict(fatal=False, reason=before.failing or before.reason)
        )
        if sighting.lost is not None:
            verdict = replace(sighting.lost, reason=f"{verdict.reason}; {sighting.lost.reason}")
        ended = next(iter(sorted(self._lookout.containers, key=lambda item: item.running)), None)
        lines = self._last_lines(ended) if ended else (self._started.tail() if self._started else ())
        self._crashes += 1
        try:
            crash = record.Crash(
                at=sighting.now,
                verdict=verdict,
                phase=before.phase,
                stage=self._started.stage if self._started else None,
                container=ended,
                inspect=self._inspect_raw(ended) if ended else None,
                lines=lines,
                samples=self._samples.recent(),
                alarms=self._gpus.alarms,
                versions=record.versions_of(
                    self._wanted, ended, self._runtime, self._store, self._host.read_facts(), sighting.now
                ),
            )
            folder = record.record_crash(self._deployment, crash)
        except LaunchpadError as error:
            self._note("crash-record-failed", error.message)
            return
        self._note("crash-recorded", verdict.reason, detail={"folder": str(folder), "id": verdict.id})

    def _inspect_raw(self, container: Container) -> dict[str, object] | None:
        try:
            return self._runtime.inspect_raw(container.id)
        except LaunchpadError:
            return None  # the rest of the crash folder is worth having without it

    def _now_ready(self, sighting: Sighting) -> None:
        """Learn from a start that succeeded: how long it took, and that its cache is warm now."""
        spec = self._wanted.spec
        self._start_error = None
        record_ = self._course.ready(spec.hash, sighting.now)
        if record_ is None:
            return
        try:
            self._deployment.note_start(record_)
            if spec.cache is not None:
                self._store.note_cache_warmed(spec.cache.volume, sighting.now)
        except StoreError as error:
            log.get("supervise").warning(error.message)

    # ---- what is wanted ----------------------------------------------------------------------------------------------

    @property
    def _wanted(self) -> Wanted[Spec]:
        return self._wish.wanted

    def _asked_again(self) -> bool:
        """Whether something else is wanted than at the last look, and if so what that needs at once."""
        try:
            before = self._wish.again()
        except StoreError as error:
            self._note("spec-unreadable", error.message, detail={"hint": error.hint})
            return False
        if before is None:
            return False
        wanted = self._wanted
        watched = (wanted.spec.gpus, wanted.spec.rehearsal, wanted.spec.power_cap_w, wanted.spec.power_budget_w)
        if watched != (before.spec.gpus, before.spec.rehearsal, before.spec.power_cap_w, before.spec.power_budget_w):
            self._samples.close()
            self._watch_gpus()
        if wanted.spec.hash == before.spec.hash and _judged_by(wanted.spec) != _judged_by(before.spec):
            self._leave_start()  # what runs goes on, and is asked in the new way from the next look on
        self._lives.asked(before, wanted)
        if wanted.rolled_back is not None:
            self._say_rolled_back()
        else:
            word = "down" if not wanted.wanted else "restart" if wanted.renewal > before.renewal else "up"
            version = wanted.number or None
            spec = wanted.spec.hash
            self._note("asked", word, detail={"generation": wanted.generation, "spec": spec, "version": version})
        self._lookout.soon()
        return True

    def _put_back(self, before: State, sighting: Sighting) -> None:
        """Where this version has failed and never was READY here, ask for the last good one in its place."""
        wanted, reason = self._wanted, rollback.why(before, self._state)
        if reason is None:
            return
        allowed = wanted.wanted and wanted.rollback and wanted.spec.policy.rollback and sighting.lost is None
        good = None if self._lives.proven(wanted.number) else self._lives.last_good(wanted.number)
        kind = good is not None and (good.spec.hosted is None) == (wanted.spec.hosted is None)
        if good is not None and allowed and kind:
            args = self._deployment, self._store, self._runtime, wanted, good, reason, sighting.now
            try:
                rollback.put_back(*args)
            except LaunchpadError as error:
                self._note("rollback-failed", error.message, detail={"hint": error.hint})
            else:
                return  # the next look at what is wanted says so
        if self._state.phase is Phase.FAILED:
            self._lives.ended(wanted.number, "gave-up", reason)

    def _say_rolled_back(self) -> None:
        """Tell, once, that an older version was put back; also one that did not live to tell it itself."""
        back, generation = self._wanted.rolled_back, self._wanted.generation
        if back is None or self._state.generation >= generation:
            return
        with contextlib.suppress(StoreError):
            told = (item.detail or {} for _, item in self._deployment.journal.read() if item.event == "rolled-back")
            if any(detail.get("generation") == generation for detail in told):
                return
        self._lives.ended(back.failed, "rolled-back", back.reason)
        self._note(
            "rolled-back",
            f"version {back.failed} never became READY here: {back.reason}; version {back.to} is put back",
            detail={"generation": generation, "from": back.failed, "to": back.to, "spec": self._wanted.spec.hash},
        )

    # ---- the GPUs ----------------------------------------------------------------------------------------------------

    def _watch_gpus(self) -> None:
        """Begin to watch the cards of the wanted spec."""
        spec = self._wanted.spec
        self._samples = self._make_samples(spec, lambda: self._state.phase in {Phase.READY, Phase.UNREADY})
        self._gpus = GpuWatch(spec)
        self._cap = PowerCap(spec, self._samples)
        self._memory = MemoryWatch([gpu.uuid for gpu in spec.gpus], self._host.container_of, self._host.command_of)

    def _look_at_gpus(self) -> None:
        """Judge what the cards say, keep their power cap, and remember whose memory is on them."""
        now = self._clock.now()
        samples, trouble = self._samples.latest()
        remarks = (*self._gpus.look(samples, self._samples.xids(), trouble, now), *self._cap.look(samples, now))
        for remark in remarks:
            self._note(remark.event, remark.reason, detail=remark.detail)
        running = [item.id for item in self._lookout.containers if item.running]
        if running:
            self._memory.runs(samples, running)

    # ---- telling -----------------------------------------------------------------------------------------------------

    def _note(
        self,
        event: str,
        reason: str,
        *,
        from_: Phase | None = None,
        to: Phase | None = None,
        detail: dict[str, str | int | float | bool | None] | None = None,
    ) -> None:
        self._deployment.trim()
        told = Event(self._clock.now(), event, reason, from_, to, detail)
        self._alerts.hear(self._deployment.name, told, self._last)
        try:
            self._deployment.journal.append(told)
        except StoreError as error:
            log.get("supervise").error(error.message, told=event, reason=reason)

    def _publish(self, *, durable: bool = False) -> None:
        if self._started is not None and self._state.phase is Phase.STARTING:
            reached = self._course.follow(self._started, self._clock.now())
            if reached is not None:
                self._note("stage", reached[0], detail={"seconds": reached[1]})
        self._last = self._snapshot()
        self._publisher.publish(self._last, durable=durable)
        self._notifier.tell(self._last)

    def _snapshot(self) -> Snapshot:
        spec = self._wanted.spec
        samples, trouble = self._samples.latest()
        return Snapshot(
            version=VERSION,
            name=self._deployment.name,
            pid=self._pid,
            updated_at=self._clock.now(),
            state=self._state,
            spec_hash=spec.hash,
            engine=spec.engine,
            model=spec.model,
            endpoint=spec.endpoint,
            rehearsal=spec.rehearsal is not None,
            containers=tuple(
                ContainerView(item.id, item.name, item.image, item.started_at)
                for item in self._lookout.containers
                if item.running
            ),
            gpus=gpu_views(spec, samples, self._memory.ours),
            gpu_problem=trouble.message if trouble and spec.gpus else None,
            load=self._course.load,
            ready_after_s=self._course.ready_after_s,
            runtime_problem=self._lookout.blind,
            traffic=self._started.liveness.traffic if self._started else None,
            alarms=self._gpus.alarms,
            power_cap_w=spec.power_cap_w,
            crashes=self._crashes,
            boot_id=self._boot_id,
            proven=self._lives.proven(self._wanted.number),
            hosted=spec.hosted is not None,
            fallback=spec.fallback,
            quiet_until=quiet_until(self._quiet(spec.endpoint), self._clock),
        )


def _judged_by(spec: Spec) -> tuple[object, ...]:
    """What a replica is asked, and by what its answers are judged."""
    return spec.health, spec.completion, spec.policy


def _over(before: State, sighting: Sighting) -> Verdict | None:
    """The verdict of an answer after which asking again is no use."""
    probe = sighting.probe
    if probe is None or probe.number <= before.probe_number:
        return None
    return probe.ends or (probe.ends_start if before.phase is Phase.STARTING else None)
