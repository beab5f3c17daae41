"""The life of one replica: a pure state machine.

``step(state, sighting, policy) -> (state, effects)`` is called again and again with one look at the world. It is level-triggered: a
missed event is harmless, because the next sighting shows the same world, and adopting a running container needs no special path.
It refuses to act: effects are values, and ``loop.py`` obeys them.

::

    STOPPED   --wanted-------------------------------------------> STARTING   (start)
    STARTING  --readiness holds and one completion came back-----> READY
              --container gone-----------------------------------> crashed
              --no progress for stall_after, or past the deadline> STOPPING   (stop)
    READY     --probes fail--------------------------------------> UNREADY
              --container gone-----------------------------------> crashed
              --requests run and no token for hang---------------> STOPPING   (stop)
              --READY for stable_after---------------------------> READY      (failures := 0)
    UNREADY   --one probe passes---------------------------------> READY
              --container gone-----------------------------------> crashed
              --too many fail in a row, or it hangs--------------> STOPPING   (stop), never where nothing runs here
    STOPPING  --container gone, its GPU memory released----------> crashed if it was failing, STARTING if wanted, else STOPPED
              --older than stop_grace----------------------------> STOPPING   (kill)
    BACKOFF   --retry_at reached, GPU memory released------------> STARTING   (start)
              --asked again, GPU memory released-----------------> STARTING   (start)
    FAILED    --a person asks again------------------------------> STARTING   (start)
    any       --not wanted and running---------------------------> STOPPING   (stop)
    any       --spec changed, or restart asked for, and running--> STOPPING   (stop), then STARTING
    any       --not wanted, nothing running----------------------> STOPPED    (clear)
    any       --spec changed, nothing running--------------------> STARTING   (start)

    crashed:  failures += 1; a fatal verdict, a lost GPU, or more failures than the budget: FAILED; else BACKOFF

Of a hosted endpoint nothing runs here: it counts as running while it is asked, an answer that says that asking again is no use
(410, and before it has served 401 and the like) as its end, and no streak of failures as a reason to stop asking.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

from launchpad.units import show_duration

if TYPE_CHECKING:
    from launchpad.deploy.spec import Policy


class Phase(StrEnum):
    """Where a replica is in its life."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    READY = "READY"
    UNREADY = "UNREADY"
    STOPPING = "STOPPING"
    BACKOFF = "BACKOFF"
    FAILED = "FAILED"


#: Seconds from SIGTERM to SIGKILL for a replica that hangs or has stalled.
LAST_WORDS_S: Final = 15.0
#: Seconds after the stop grace in which GPU memory may still be on its way back; NVML is read once a second.
RELEASE_S: Final = 15.0
#: What is to be seen of the containers: none, all alive, or at least one ended.
Body = Literal["absent", "running", "ended"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a replica died, in words, and whether trying again can help. ``id`` names the hazard that explains it."""

    fatal: bool
    reason: str
    hint: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ProbeSeen:
    """The last finished probe. ``number`` grows, so that one answer is never counted twice.

    ``ends`` is the verdict of an answer after which asking again is no use, ``ends_start`` that of one after which a start is
    over, while a replica that has served may wait for it to pass. ``counts`` is how many failures it is worth.
    """

    number: int
    ok: bool
    detail: str
    hint: str | None = None
    counts: int = 1
    ends: Verdict | None = None
    ends_start: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """One look at a replica.

    ``generation`` counts a person's wishes; ``matches`` is whether what runs has the wanted spec's hash; ``progress_at``
    is when the load last moved; ``memory_released`` None means that nobody can tell, and ``memory_held`` says what is left where
    it is False. ``waits`` says what a start has to wait for, or why a hosted endpoint is asked in vain. ``stuck_since`` is
    since when requests run and no token comes, and ``stuck`` says how. ``lost`` is the verdict on a GPU that no restart brings
    back. ``renewal`` counts how often a person asked for a restart of what runs; ``rebooted`` says that the machine did since the
    last look. ``quiet_until`` is when the patience ends, or ended, that a hosted endpoint asked for; None where it did not.
    """

    now: datetime
    wanted: bool
    generation: int
    body: Body
    matches: bool = True
    started_at: datetime | None = None
    verdict: Verdict | None = None
    probe: ProbeSeen | None = None
    progress_at: datetime | None = None
    memory_released: bool | None = None
    memory_held: str | None = None
    waits: str | None = None
    stuck_since: datetime | None = None
    stuck: str = ""
    lost: Verdict | None = None
    renewal: int = 0
    rebooted: bool = False
    quiet_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the machine remembers between two sightings; persisted, so that a killed supervisor loses nothing.

    ``failing`` is the reason a STOPPING replica failed, None where it was asked to stop. ``restarts`` counts starts that followed
    a crash, for people; ``failures`` counts since the last stable spell, for the budget. ``waiting`` is what the phase waits
    for that is neither time nor the engine: a turn on the GPUs, or memory that a dead container still holds. ``renewal`` is the
    last restart asked for that was begun.
    """

    phase: Phase
    since: datetime
    reason: str
    generation: int = 0
    failures: int = 0
    restarts: int = 0
    retry_at: datetime | None = None
    bad_streak: int = 0
    probe_number: int = 0
    killed: bool = False
    failing: str | None = None
    hint: str | None = None
    waiting: str | None = None
    renewal: int = 0


Effect = Literal["start", "stop", "kill", "record-crash", "clear"]


def step(state: State, sighting: Sighting, policy: Policy) -> tuple[State, tuple[Effect, ...]]:
    """The next state and what to do for it."""
    state, sighting = _take_probe(state, sighting)
    match state.phase:
        case Phase.STOPPED:
            return _stopped(state, sighting)
        case Phase.STARTING:
            return _starting(state, sighting, policy)
        case Phase.READY | Phase.UNREADY:
            return _serving(state, sighting, policy)
        case Phase.STOPPING:
            return _stopping(state, sighting, policy)
        case Phase.BACKOFF:
            return _backoff(state, sighting, policy)
        case Phase.FAILED:
            return _failed(state, sighting)


def resume(state: State, sighting: Sighting) -> State:
    """What a new supervisor makes of the state its predecessor left, so that a kill at any moment costs nothing.

    A start that was noted and never carried out starts afresh, uncounted; a container that runs as wanted is adopted, whatever
    was noted last. A load that went on unwatched is judged from now on: it may be READY by now, and its stall and its
    deadline would otherwise have passed before the first question. Everything else stands, and :func:`step` sees to it.
    """
    if sighting.rebooted and sighting.wanted and sighting.body != "running" and state.phase is not Phase.STOPPED:
        # What the reboot ended is nobody's failure, and it may have mended what was given up.
        return replace(_to(state, Phase.STOPPED, sighting, "the machine was rebooted"), failures=0)
    if state.phase is Phase.STARTING and sighting.body == "absent":
        return _to(state, Phase.STOPPED, sighting, "the supervisor ended before the container was created")
    if sighting.body != "running" or not sighting.wanted or not sighting.matches:
        return state
    if state.phase is Phase.STARTING:
        return replace(state, since=sighting.now)
    if state.phase in {Phase.BACKOFF, Phase.FAILED}:
        return _to(state, Phase.STOPPED, sighting, "the supervisor ended after the container was started")
    if state.phase is not Phase.STOPPED and sighting.started_at is not None and sighting.started_at > state.since:
        return _to(state, Phase.STOPPED, sighting, "somebody restarted the container meanwhile")  # it loads again
    return state


def shifted(state: State, by: timedelta) -> State:
    """``state`` after the wall clock was set by ``by``: what had passed of every wait and deadline has passed still."""
    return replace(state, since=state.since + by, retry_at=None if state.retry_at is None else state.retry_at + by)


def forgiven(state: State, now: datetime, reason: str) -> State:
    """``state`` with its last failure not counted, because it was nobody's: Docker itself went down. Only from BACKOFF."""
    return replace(state, failures=max(0, state.failures - 1), retry_at=now, reason=reason, hint=None)


def _to(state: State, phase: Phase, sighting: Sighting, reason: str) -> State:
    """``state`` moved to ``phase`` now; what belongs to the phase it leaves is forgotten."""
    return replace(
        state,
        phase=phase,
        since=sighting.now,
        reason=reason,
        retry_at=None,
        killed=False,
        failing=None,
        bad_streak=0,
        hint=None,
        waiting=None,
    )


def _take_probe(state: State, sighting: Sighting) -> tuple[State, Sighting]:
    """Count a new answer once; an answer already counted is taken out of the sighting."""
    probe = sighting.probe
    if probe is None or probe.number <= state.probe_number:
        return state, replace(sighting, probe=None)
    return replace(
        state, probe_number=probe.number, bad_streak=0 if probe.ok else state.bad_streak + probe.counts
    ), sighting


def _start(state: State, sighting: Sighting, reason: str) -> tuple[State, tuple[Effect, ...]]:
    started = _to(state, Phase.STARTING, sighting, reason)
    return replace(started, generation=sighting.generation, renewal=sighting.renewal), ("clear", "start")


def _stop(
    state: State, sighting: Sighting, reason: str, *, failing: str | None = None
) -> tuple[State, tuple[Effect, ...]]:
    return replace(_to(state, Phase.STOPPING, sighting, reason), failing=failing), ("stop",)


def _crashed(state: State, sighting: Sighting, policy: Policy, verdict: Verdict) -> tuple[State, tuple[Effect, ...]]:
    failures = state.failures + 1
    if sighting.lost is not None:
        lost = sighting.lost
        verdict = replace(lost, reason=f"{verdict.reason}; {lost.reason}")
    effects: tuple[Effect, ...] = ("record-crash", "clear")
    if verdict.fatal:
        failed = _to(state, Phase.FAILED, sighting, f"{verdict.reason}; trying again cannot help")
        return replace(failed, failures=failures, hint=verdict.hint), effects
    if failures > policy.budget:
        times = f"{failures} times without {show_duration(policy.stable)} of READY between"
        failed = _to(state, Phase.FAILED, sighting, f"gave up: failed {times}; last: {verdict.reason}")
        return replace(failed, failures=failures, hint=verdict.hint), effects
    delay = backoff(policy, failures)
    waiting = _to(
        state, Phase.BACKOFF, sighting, f"{verdict.reason}; failure {failures}, next start in {show_duration(delay)}"
    )
    return replace(waiting, failures=failures, retry_at=sighting.now + delay, hint=verdict.hint), effects


def backoff(policy: Policy, failures: int) -> timedelta:
    """How long to wait before the start that follows the ``failures``-th failure: doubling, bounded."""
    return timedelta(seconds=min(policy.first_delay_s * 2.0 ** min(failures - 1, 32), policy.max_delay_s))


def _verdict(sighting: Sighting) -> Verdict:
    return sighting.verdict or Verdict(fatal=False, reason="container gone")


def _stopped(state: State, sighting: Sighting) -> tuple[State, tuple[Effect, ...]]:
    if not sighting.wanted:
        if sighting.body == "running":
            return _stop(state, sighting, "not wanted")
        return replace(state, generation=sighting.generation, renewal=sighting.renewal), (
            "clear",
        )  # also one that was created and never started
    match sighting.body:
        case "running" if sighting.matches:
            adopted = _to(state, Phase.STARTING, sighting, "adopted a running container")
            return replace(adopted, generation=sighting.generation, renewal=sighting.renewal), ()
        case "running":
            return _stop(state, sighting, "spec changed")
        case _:
            return _start(state, sighting, "wanted")


def _starting(state: State, sighting: Sighting, policy: Policy) -> tuple[State, tuple[Effect, ...]]:
    if (moved := _unwanted_or_changed(state, sighting)) is not None:
        return moved
    if sighting.body != "running" and sighting.waits is not None:
        return replace(state, waiting=sighting.waits), ()
    state = replace(state, waiting=sighting.waits)
    if sighting.body != "running":
        return _crashed(state, sighting, policy, _verdict(sighting))
    if sighting.probe is not None and (over := sighting.probe.ends or sighting.probe.ends_start) is not None:
        return _crashed(state, sighting, policy, over)
    if sighting.probe is not None and sighting.probe.ok:
        state = replace(state, generation=sighting.generation)
        ready = _to(state, Phase.READY, sighting, sighting.probe.detail)
        return ready, ()
    began = sighting.started_at  # a start that waited for its turn began later than its phase
    begun = state.since if began is None or began > sighting.now else max(state.since, began)
    begun = max(begun, sighting.quiet_until or begun)  # no deadline runs while nobody may ask
    age = sighting.now - begun
    if age.total_seconds() > policy.startup_s:
        limit = show_duration(timedelta(seconds=policy.startup_s))
        why = f"not READY within {limit} (deadlines.startup)" + (
            f"; it waited for {state.waiting}" if state.waiting else ""
        )
        return _stop(state, sighting, why, failing=why)
    quiet = sighting.now - max(begun, sighting.progress_at or begun)
    if quiet.total_seconds() > policy.stall_s:
        why = f"stalled: no progress for {show_duration(quiet)} (deadlines.stall)"
        return _stop(state, sighting, why, failing=why)
    return replace(state, generation=sighting.generation), ()


def _serving(state: State, sighting: Sighting, policy: Policy) -> tuple[State, tuple[Effect, ...]]:
    if (moved := _unwanted_or_changed(state, sighting)) is not None:
        return moved
    over = sighting.probe.ends if sighting.probe is not None else None
    if over is not None or sighting.body != "running":
        return _crashed(state, sighting, policy, over or _verdict(sighting))
    state = replace(state, generation=sighting.generation)
    detail = sighting.probe.detail if sighting.probe is not None else "no answer"
    if policy.dead_after is not None and state.bad_streak >= max(policy.dead_after, policy.unready_after + 1):
        why = f"does not answer: {state.bad_streak} probes in a row failed: {detail}"
        return _stop(state, sighting, why, failing=why)
    if sighting.stuck_since is not None and (sighting.now - sighting.stuck_since).total_seconds() >= policy.hang_s:
        quiet = show_duration(sighting.now - sighting.stuck_since)
        why = f"hangs: {sighting.stuck} and no token for {quiet} (deadlines.hang)"
        return _stop(state, sighting, why, failing=why)
    if state.phase is Phase.READY and state.bad_streak >= policy.unready_after:
        unready = _to(state, Phase.UNREADY, sighting, f"probe failed: {detail}")
        hint = sighting.probe.hint if sighting.probe is not None else None
        return replace(unready, bad_streak=state.bad_streak, hint=hint), ()
    return _steady(state, sighting, policy, detail), ()


def _steady(state: State, sighting: Sighting, policy: Policy, detail: str) -> State:
    """A serving replica that goes on as it is, or does better, or has another trouble than at first."""
    if state.phase is Phase.UNREADY and state.bad_streak == 0:
        return _to(state, Phase.READY, sighting, f"answers again: {detail}")
    if state.phase is Phase.UNREADY and sighting.probe is not None and sighting.probe.hint not in {None, state.hint}:
        return replace(state, reason=f"probe failed: {detail}", hint=sighting.probe.hint)
    if state.phase is Phase.READY and state.failures and sighting.now - state.since >= policy.stable:
        return replace(state, failures=0)
    return state


def _unwanted_or_changed(state: State, sighting: Sighting) -> tuple[State, tuple[Effect, ...]] | None:
    """The rules that hold in every phase that runs a container."""
    if not sighting.wanted:
        if sighting.body == "running":
            return _stop(state, sighting, "not wanted")
        return _unwanted_from_rest(state, sighting)
    if not sighting.matches:
        if sighting.body == "running":
            return _stop(state, sighting, "spec changed")
        return _start(replace(state, failures=0), sighting, "spec changed")
    if sighting.renewal > state.renewal and sighting.body == "running":
        return _stop(state, sighting, "restart asked for")
    return None


def _stopping(state: State, sighting: Sighting, policy: Policy) -> tuple[State, tuple[Effect, ...]]:
    age = (sighting.now - state.since).total_seconds()
    if sighting.body == "running":
        # What has failed has nothing to drain: it gets time for its last words, and no more.
        grace = min(policy.stop_grace_s, LAST_WORDS_S) if state.failing else policy.stop_grace_s
        if age > grace and not state.killed:
            limit = show_duration(timedelta(seconds=grace))
            return replace(state, killed=True, reason=f"{state.reason}; still there after {limit}, killed"), ("kill",)
        return state, ()
    if sighting.memory_released is False and not (state.failing and sighting.wanted):
        if sighting.wanted or age <= policy.stop_grace_s + RELEASE_S:
            return replace(state, waiting=_held(sighting)), ()
        return _at_rest(state, sighting, f"not wanted; GPU memory is still held: {_still(sighting)}")
    if not sighting.wanted:
        return _at_rest(state, sighting, "not wanted")
    if state.failing is not None:
        return _crashed(state, sighting, policy, Verdict(fatal=False, reason=state.failing))
    return _start(replace(state, failures=0), sighting, "spec changed" if state.reason.startswith("spec") else "wanted")


def _held(sighting: Sighting) -> str:
    return f"GPU memory to be released: {_still(sighting)}"


def _still(sighting: Sighting) -> str:
    return sighting.memory_held or "the dead container still holds some"


def _backoff(state: State, sighting: Sighting, policy: Policy) -> tuple[State, tuple[Effect, ...]]:
    if not sighting.wanted:
        return _unwanted_from_rest(state, sighting)
    left = state.retry_at - sighting.now if state.retry_at is not None else timedelta()
    # More than the longest delay is left only where the clock was set back while nobody looked.
    late = left <= timedelta() or left.total_seconds() > policy.max_delay_s
    due = late or sighting.generation > state.generation
    if due and sighting.memory_released is False:
        return replace(state, waiting=_held(sighting)), ()
    if sighting.generation > state.generation:
        return _start(replace(state, failures=0), sighting, "asked again")
    if due:
        return _start(replace(state, restarts=state.restarts + 1), sighting, f"restart after failure {state.failures}")
    return state, ()


def _failed(state: State, sighting: Sighting) -> tuple[State, tuple[Effect, ...]]:
    if not sighting.wanted:
        return _unwanted_from_rest(state, sighting)
    if sighting.generation > state.generation:
        return _start(replace(state, failures=0), sighting, "asked again")
    return state, ()


def _unwanted_from_rest(state: State, sighting: Sighting) -> tuple[State, tuple[Effect, ...]]:
    if sighting.body == "running":
        return _stop(state, sighting, "not wanted")
    return _at_rest(state, sighting, "not wanted")


def _at_rest(state: State, sighting: Sighting, reason: str) -> tuple[State, tuple[Effect, ...]]:
    stopped = _to(state, Phase.STOPPED, sighting, reason)
    return replace(stopped, failures=0, generation=sighting.generation, renewal=sighting.renewal), ("clear",)
