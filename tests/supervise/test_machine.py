"""The machine, held to histories written as text, and to what no history may ever show."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from launchpad.supervise import machine
from launchpad.supervise.machine import Phase, ProbeSeen, Sighting, State, backoff, resume, step
from tests.supervise.history import BEGINNING, POLICY, UNBORN, UNSEEN, normal, read_histories, replay, tell

HISTORIES = read_histories()


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_goes_as_it_is_written(name: str) -> None:
    text = HISTORIES[name]
    assert [f"{moment.said} | {tell(moment)}".rstrip(" ") for moment in replay(text)] == normal(text)


# ---- the docstring's table ------------------------------------------------------------------------------------------

_ROW = re.compile(r"^    (?P<phase>\w+)? +--(?P<why>.+?)-*> (?P<to>.+)$", re.MULTILINE)
_PHASES = tuple(Phase)
_CRASHED = (Phase.BACKOFF, Phase.FAILED)


def table() -> list[tuple[str, str, str]]:
    """Rows of the machine's docstring: phase, when, to where and with which effect."""
    rows, phase = [], ""
    for found in _ROW.finditer(machine.__doc__ or ""):
        phase = found["phase"] or phase
        rows.append((phase, found["why"], found["to"]))
    return rows


def arrows(phase: str, to: str) -> set[tuple[Phase, Phase]]:
    """The arrows of one row; ``any`` is every phase but the goal itself, ``crashed`` is BACKOFF and FAILED."""
    named = to.partition("(")[0]
    goals = {item for item in _PHASES if re.search(rf"\b{item}\b", named)}
    goals |= set(_CRASHED) if "crashed" in to else set()
    sources = set(_PHASES) - goals - {Phase.STOPPED} if phase == "any" else {Phase(phase)}
    return {(source, goal) for source in sources for goal in goals}


def exercised() -> dict[tuple[Phase, Phase], set[str]]:
    """Every arrow that some history shows, with the effects that came with it."""
    seen: dict[tuple[Phase, Phase], set[str]] = {}
    for text in HISTORIES.values():
        for moment in replay(text):
            effects = {*moment.effects} | ({"failures"} if moment.before.failures > moment.after.failures else set())
            seen.setdefault(moment.arrow, set()).update(effects)
    return seen


#: What "any" of the table leaves out: at rest a changed spec is always asked for too, and so it is a start.
_AT_REST_DRIFT = {(phase, Phase.STARTING) for phase in _CRASHED}


def test_the_table_is_read_whole() -> None:
    assert len(table()) == 20


@pytest.mark.parametrize(("phase", "why", "to"), table(), ids=lambda item: item.strip("-"))
def test_every_row_of_the_table_is_shown_by_a_history(phase: str, why: str, to: str) -> None:
    seen = exercised()
    assert arrows(phase, to) - set(seen) == set()


@pytest.mark.parametrize(
    ("phase", "why", "to"), [row for row in table() if "(" in row[2]], ids=lambda item: item.strip("-")
)
def test_the_effect_that_a_row_names_comes_with_its_arrow(phase: str, why: str, to: str) -> None:
    effect = re.findall(r"\(([\w-]+)", to)[0]
    seen = exercised()
    assert all(effect in seen[arrow] for arrow in arrows(phase, to))


def test_no_history_shows_an_arrow_that_the_table_lacks() -> None:
    known = {arrow for phase, _, to in table() for arrow in arrows(phase, to)}
    stays = {(phase, phase) for phase in _PHASES}
    from_stopped = {(Phase.STOPPED, Phase.STOPPING)}  # "any", to which the table's other rows of STOPPED do not belong
    assert set(exercised()) - known - stays - from_stopped == set()


# ---- what is asked is answered --------------------------------------------------------------------------------------


def standing(phase: Phase) -> tuple[State, Sighting]:
    """A replica that rests in ``phase``, and the sighting that leaves it there."""
    body = machine_body(phase)
    state = replace(UNBORN, phase=phase, generation=4, retry_at=BEGINNING + timedelta(hours=1))
    sighting = replace(UNSEEN, now=BEGINNING + timedelta(seconds=1), generation=5, body=body)
    return state, replace(sighting, wanted=phase is not Phase.STOPPED)


def machine_body(phase: Phase) -> machine.Body:
    return "running" if phase in {Phase.STARTING, Phase.READY, Phase.UNREADY} else "absent"


@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.STARTING, Phase.READY])
def test_asking_for_what_is_so_already_is_acknowledged_and_changes_nothing(phase: Phase) -> None:
    state, sighting = standing(phase)
    assert step(state, sighting, POLICY)[0] == replace(state, generation=5)


def test_asking_again_while_unready_is_acknowledged() -> None:
    state, sighting = standing(Phase.UNREADY)
    after, _ = step(replace(state, bad_streak=2), sighting, POLICY)
    assert (after.phase, after.generation) == (Phase.UNREADY, 5)


@pytest.mark.parametrize("phase", [Phase.BACKOFF, Phase.FAILED])
def test_asking_again_at_rest_is_acknowledged_by_a_start(phase: Phase) -> None:
    state, sighting = standing(phase)
    after, _ = step(replace(state, failures=3), sighting, POLICY)
    assert (after.phase, after.generation, after.failures) == (Phase.STARTING, 5, 0)


@pytest.mark.parametrize("phase", [Phase.BACKOFF, Phase.FAILED])
def test_taking_down_at_rest_is_acknowledged(phase: Phase) -> None:
    state, sighting = standing(phase)
    after, _ = step(state, replace(sighting, wanted=False), POLICY)
    assert (after.phase, after.generation) == (Phase.STOPPED, 5)


@pytest.mark.parametrize("wanted", [True, False])
def test_what_was_asked_while_stopping_is_acknowledged_by_what_follows(wanted: bool) -> None:
    state, sighting = standing(Phase.STOPPING)
    assert step(state, replace(sighting, wanted=wanted), POLICY)[0].generation == 5


def test_a_start_that_failed_while_it_was_asked_again_is_not_the_last() -> None:
    state, sighting = standing(Phase.STARTING)
    fatal = machine.Verdict(fatal=True, reason="no kernel")
    failed, _ = step(state, replace(sighting, body="ended", verdict=fatal), POLICY)
    after, effects = step(failed, replace(sighting, body="absent"), POLICY)
    assert (failed.phase, after.phase, effects) == (Phase.FAILED, Phase.STARTING, ("clear", "start"))


# ---- hosted endpoints -----------------------------------------------------------------------------------------------

_GONE = machine.Verdict(fatal=True, reason="https://api answers 410: gone", hint="take another model")
_NO_RESTART = replace(POLICY, dead_after=None)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.READY, Phase.UNREADY])
def test_an_answer_that_ends_everything_fails_at_once_with_its_hint(phase: Phase) -> None:
    state, sighting = standing(phase)
    probe = machine.ProbeSeen(1, ok=False, detail="410", ends=_GONE)
    after, _ = step(state, replace(sighting, probe=probe), _NO_RESTART)
    assert (after.phase, after.hint) == (Phase.FAILED, "take another model")


def test_an_answer_that_ends_a_start_fails_it() -> None:
    state, sighting = standing(Phase.STARTING)
    probe = machine.ProbeSeen(1, ok=False, detail="401", ends_start=_GONE)
    assert step(state, replace(sighting, probe=probe), _NO_RESTART)[0].phase is Phase.FAILED


@pytest.mark.parametrize("phase", [Phase.READY, Phase.UNREADY])
def test_what_ends_a_start_is_waited_out_by_one_that_has_served(phase: Phase) -> None:
    state, sighting = standing(phase)
    for number in range(1, 50):
        probe = machine.ProbeSeen(number, ok=False, detail="402", hint="top it up", ends_start=_GONE)
        state, effects = step(state, replace(sighting, probe=probe), _NO_RESTART)
        assert effects == ()
    assert state.phase is Phase.UNREADY


def test_unready_keeps_the_hint_of_the_answer_that_made_it_so() -> None:
    state, sighting = standing(Phase.READY)
    probe = machine.ProbeSeen(9, ok=False, detail="402", hint="top it up", ends_start=_GONE)
    after, _ = step(replace(state, bad_streak=POLICY.unready_after - 1), replace(sighting, probe=probe), _NO_RESTART)
    assert (after.phase, after.hint) == (Phase.UNREADY, "top it up")


def test_an_unready_endpoint_tells_of_the_trouble_it_has_now() -> None:
    state, sighting = standing(Phase.UNREADY)
    probe = machine.ProbeSeen(9, ok=False, detail="402: no money", hint="top it up", ends_start=_GONE)
    after, effects = step(replace(state, bad_streak=2, hint="ask less"), replace(sighting, probe=probe), _NO_RESTART)
    assert (after.phase, after.reason, after.hint, effects) == (
        Phase.UNREADY,
        "probe failed: 402: no money",
        "top it up",
        (),
    )


def test_an_answer_may_count_as_a_streak_of_failures() -> None:
    state, sighting = standing(Phase.READY)
    probe = machine.ProbeSeen(9, ok=False, detail="429", counts=POLICY.unready_after)
    assert step(state, replace(sighting, probe=probe), _NO_RESTART)[0].phase is Phase.UNREADY


def test_a_start_that_waited_in_vain_says_for_what() -> None:
    state, sighting = standing(Phase.STARTING)
    late = replace(sighting, now=BEGINNING + timedelta(seconds=POLICY.startup_s + 1), waits="the moon to answer: 503")
    assert step(state, late, _NO_RESTART)[0].reason.endswith("; it waited for the moon to answer: 503")


@pytest.mark.parametrize(
    ("seconds_ago", "phase"), [(-60, Phase.STARTING), (60, Phase.STARTING), (None, Phase.STOPPING)]
)
def test_the_deadlines_of_a_start_wait_out_the_patience_that_was_asked_for(
    seconds_ago: int | None, phase: Phase
) -> None:
    state, sighting = standing(Phase.STARTING)
    late = BEGINNING + timedelta(seconds=POLICY.startup_s + POLICY.stall_s + 1)
    until = None if seconds_ago is None else late - timedelta(seconds=seconds_ago)
    assert step(state, replace(sighting, now=late, quiet_until=until), _NO_RESTART)[0].phase is phase


# ---- waiting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60), (40, 60), (100_000, 60)]
)
def test_the_wait_doubles_up_to_its_cap(failures: int, seconds: int) -> None:
    assert backoff(POLICY, failures) == timedelta(seconds=seconds)


def test_a_budget_of_none_gives_up_at_the_first_failure() -> None:
    text = "0s up\n1s dies exit code 1"
    *_, last = replay(text, replace(POLICY, budget=0))
    assert last.after.phase is Phase.FAILED


def test_the_hint_of_a_verdict_stays_with_what_it_explains() -> None:
    *_, failed, started = replay("0s up\n1s dies for good no kernel\n2s absent, up")
    assert (failed.after.hint, started.after.hint) == ("mend it", None)


def test_restarts_count_what_followed_a_crash_and_never_what_was_asked() -> None:
    *_, last = replay("0s up\n1s dies a\n11s absent\n12s dies b\n13s absent, up\n14s running, ok")
    assert (last.after.phase, last.after.restarts) == (Phase.READY, 1)


# ---- taking over ----------------------------------------------------------------------------------------------------

LATER = BEGINNING + timedelta(hours=3)


def taken_over(
    phase: Phase, body: machine.Body, *, wanted: bool = True, matches: bool = True
) -> tuple[State, Sighting]:
    state = State(phase, BEGINNING, "as it was left", generation=1, failures=2)
    sighting = Sighting(now=LATER, wanted=wanted, generation=1, body=body, matches=matches)
    return resume(state, sighting), sighting


def test_a_start_that_was_noted_and_never_made_is_made_and_not_counted() -> None:
    state, sighting = taken_over(Phase.STARTING, "absent")
    after, effects = step(state, sighting, POLICY)
    assert (after.phase, after.failures, effects) == (Phase.STARTING, 2, ("clear", "start"))


def test_a_load_that_went_on_unwatched_is_judged_from_now_on() -> None:
    state, sighting = taken_over(Phase.STARTING, "running")
    assert step(state, sighting, POLICY) == (replace(state, since=LATER), ())


def test_a_load_that_died_unwatched_is_a_crash() -> None:
    state, sighting = taken_over(Phase.STARTING, "ended")
    assert step(state, sighting, POLICY)[0].phase is Phase.BACKOFF


@pytest.mark.parametrize("phase", [Phase.BACKOFF, Phase.FAILED])
def test_a_container_that_runs_as_wanted_is_adopted_whatever_was_noted(phase: Phase) -> None:
    state, sighting = taken_over(phase, "running")
    after, effects = step(state, sighting, POLICY)
    assert (after.phase, after.reason, effects) == (Phase.STARTING, "adopted a running container", ())


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.READY, Phase.BACKOFF, Phase.FAILED, Phase.STOPPED])
def test_a_container_that_is_not_wanted_any_more_is_stopped_at_the_take_over(phase: Phase) -> None:
    state, sighting = taken_over(phase, "running", wanted=False)
    after, effects = step(state, sighting, POLICY)
    assert (after.phase, effects) == (Phase.STOPPING, ("stop",))


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.READY, Phase.STOPPED])
def test_a_container_of_another_spec_is_replaced_at_the_take_over(phase: Phase) -> None:
    state, sighting = taken_over(phase, "running", matches=False)
    after, effects = step(state, sighting, POLICY)
    assert (after.phase, after.reason, effects) == (Phase.STOPPING, "spec changed", ("stop",))


@pytest.mark.parametrize("phase", [Phase.READY, Phase.UNREADY, Phase.STOPPING])
def test_what_serves_or_stops_is_taken_over_as_it_stands(phase: Phase) -> None:
    state, _ = taken_over(phase, "running")
    assert (state.phase, state.since, state.failures) == (phase, BEGINNING, 2)


@pytest.mark.parametrize("phase", [Phase.READY, Phase.UNREADY])
def test_a_container_that_somebody_restarted_unwatched_is_one_that_loads(phase: Phase) -> None:
    state = State(phase, BEGINNING, "serves", generation=1)
    sighting = Sighting(
        now=LATER, wanted=True, generation=1, body="running", started_at=BEGINNING + timedelta(seconds=1)
    )
    after, effects = step(resume(state, sighting), sighting, POLICY)
    assert (after.phase, effects) == (Phase.STARTING, ())


def test_a_wait_that_passed_unwatched_is_over() -> None:
    state = State(Phase.BACKOFF, BEGINNING, "exit code 1", generation=1, retry_at=BEGINNING + timedelta(seconds=10))
    sighting = Sighting(now=LATER, wanted=True, generation=1, body="absent")
    assert step(resume(state, sighting), sighting, POLICY)[0].phase is Phase.STARTING


def test_an_answer_that_the_predecessor_counted_is_not_counted_again() -> None:
    state = State(Phase.READY, BEGINNING, "serves", generation=1, bad_streak=1, probe_number=7)
    stale = ProbeSeen(7, ok=False, detail="no answer")
    sighting = Sighting(now=LATER, wanted=True, generation=1, body="running", probe=stale)
    assert step(state, sighting, POLICY)[0].bad_streak == 1
