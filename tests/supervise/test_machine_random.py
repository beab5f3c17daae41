"""The machine under sequences that nobody thought of: what must hold after every step, and where it must end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from launchpad.supervise.machine import Body, Effect, Phase, ProbeSeen, Sighting, State, Verdict, resume, step
from tests.supervise.history import BEGINNING, POLICY, UNBORN

VERDICTS = st.none() | st.builds(Verdict, fatal=st.booleans(), reason=st.just("exit code 1"))
AGES = st.none() | st.integers(0, 4000).map(lambda seconds: BEGINNING + timedelta(seconds=seconds))


@st.composite
def sightings(draw: st.DrawFn) -> list[Sighting]:
    """Any sequence whose time and counters do not go back."""
    seconds, generation, number, found = 0, 0, 0, []
    for _ in range(draw(st.integers(1, 12))):
        seconds += draw(st.sampled_from([0, 1, 7, 30, 61, 301, 700, 1900]))
        generation += draw(st.integers(0, 1))
        number += draw(st.integers(0, 1))
        found.append(
            Sighting(
                now=BEGINNING + timedelta(seconds=seconds),
                wanted=draw(st.booleans()),
                generation=generation,
                body=draw(st.sampled_from(["absent", "running", "ended"])),
                matches=draw(st.booleans()),
                verdict=draw(VERDICTS),
                probe=draw(st.none() | st.builds(ProbeSeen, st.just(number), st.booleans(), st.just("detail"))),
                progress_at=draw(AGES),
                memory_released=draw(st.sampled_from([None, True, False])),
            )
        )
    return found


@settings(max_examples=40)
@given(sightings())
def test_no_sequence_breaks_what_always_holds(seen: list[Sighting]) -> None:
    state = UNBORN
    cleared = True
    for sighting in seen:
        before = state
        state, effects = step(state, sighting, POLICY)
        for effect in effects:
            assert effect != "start" or (sighting.wanted and cleared)
            cleared = {"clear": True, "start": False}.get(effect, cleared)
        assert state.failures >= 0
        assert state.reason or state.phase is not Phase.FAILED
        assert (state.retry_at is not None) == (state.phase is Phase.BACKOFF)
        assert before.generation <= state.generation <= sighting.generation
        assert len(effects) == len(set(effects))
        assert "record-crash" not in effects or state.phase in {Phase.BACKOFF, Phase.FAILED}


Happening = Literal["crash", "fatal", "hang", "heal", "up", "down", "drift", "vanish", "takeover", "wait", "long"]


@dataclass
class World:
    """A replica and a person, as simple as they can be: effects are obeyed, at once or after a grace."""

    state: State = UNBORN
    seconds: float = 0
    wanted: bool = False
    generation: int = 0
    body: Body = "absent"
    spec: int = 0
    runs: int = 0
    verdict: Verdict | None = None
    number: int = 0
    answers: bool = True
    obeys: bool = True
    effects: list[Effect] = field(default_factory=list)

    def sighting(self) -> Sighting:
        probe = None
        if self.body == "running":
            self.number += 1
            probe = ProbeSeen(self.number, ok=self.answers, detail="detail")
        now = BEGINNING + timedelta(seconds=self.seconds)
        return Sighting(
            now=now,
            wanted=self.wanted,
            generation=self.generation,
            body=self.body,
            matches=self.body == "absent" or self.runs == self.spec,
            verdict=self.verdict,
            probe=probe,
            progress_at=now,
        )

    def tick(self, seconds: float = 5) -> None:
        self.seconds += seconds
        self.state, effects = step(self.state, self.sighting(), POLICY)
        for effect in effects:
            self.effects.append(effect)
            match effect:
                case "clear":
                    self.body, self.verdict = "absent", None
                case "start":
                    self.body, self.runs = "running", self.spec
                case "stop" if self.obeys:
                    self.body = "ended"
                case "kill":
                    self.body = "ended"

    def happen(self, what: Happening) -> None:
        match what:
            case "crash" | "fatal" if self.body == "running":
                self.body, self.verdict = "ended", Verdict(fatal=what == "fatal", reason="exit code 1")
            case "vanish":
                self.body = "absent"
            case "hang" | "heal":
                self.answers = self.obeys = what == "heal"
            case "up" | "down" | "drift":
                self.wanted, self.generation = what != "down", self.generation + 1
                self.spec += what == "drift"
            case "takeover":
                self.state = resume(self.state, self.sighting())
        self.tick(1900 if what == "long" else 5)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world after anything may have happened to it."""
    world = World()
    happenings: list[Happening] = ["crash", "fatal", "hang", "heal", "up", "down", "drift", "vanish", "takeover"]
    for what in draw(st.lists(st.sampled_from([*happenings, "wait", "long"]), max_size=15)):
        world.happen(what)
    return world


@settings(max_examples=50)
@given(worlds())
def test_a_world_that_is_well_and_wanted_always_ends_ready(world: World) -> None:
    world.happen("heal")
    world.happen("up")
    for _ in range(60):
        world.tick()
    assert (world.state.phase, world.body, world.runs) == (Phase.READY, "running", world.spec)
    assert world.state.generation == world.generation


@settings(max_examples=50)
@given(worlds(), st.booleans())
def test_a_world_that_is_not_wanted_always_ends_stopped_with_nothing_left(world: World, obeys: bool) -> None:
    world.obeys = obeys
    world.happen("down")
    for _ in range(60):
        world.tick()
    assert (world.state.phase, world.body, world.state.generation) == (Phase.STOPPED, "absent", world.generation)


@settings(max_examples=50)
@given(worlds())
def test_a_server_that_always_dies_is_given_up_after_its_budget(world: World) -> None:
    world.happen("heal")
    world.happen("up")
    world.effects.clear()
    for _ in range(200):
        world.happen("crash")
        world.verdict = replace(world.verdict, fatal=False) if world.verdict else None
    assert world.state.phase is Phase.FAILED
    assert world.effects.count("start") <= POLICY.budget + 2
