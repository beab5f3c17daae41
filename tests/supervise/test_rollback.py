"""Change on full GPUs: a version that never becomes READY gives way to the last one that was, by itself, once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from launchpad.deploy.spec import GpuSeat, Policy, Spec
from launchpad.errors import StoreError
from launchpad.store.history import Life, Version
from launchpad.store.state import VERSION, Wanted
from launchpad.supervise.machine import Phase
from launchpad.supervise.rollback import why
from launchpad.supervise.wish import ask, key
from tests.fakes.prober import bad, good
from tests.supervise.history import replay
from tests.supervise.stage import POLICY, Stage, changed

if TYPE_CHECKING:
    from pathlib import Path

#: A line that the hazard table knows for fatal.
FATAL = "launch_server.py: error: unrecognized arguments: --nonsense"


class Theatre:
    """A stage on which versions are asked for as ``up`` asks, and on which some of them die as soon as they start."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.first = replace(stage.spec, policy=replace(POLICY, budget=1))

    def version(self, word: str, policy: Policy | None = None) -> Spec:
        return changed(replace(self.first, policy=policy or self.first.policy), "serve", word)

    def ask(self, spec: Spec, *, wanted: bool = True, rollback: bool = True) -> Wanted[Spec]:
        stage = self.stage
        asked = ask(stage.deployment, spec, stage.clock.now(), wanted=wanted, rollback=rollback)
        stage.generation, stage.spec = asked.generation, spec
        stage.wake()
        return asked

    def doomed(self, spec: Spec, *, rollback: bool = True) -> None:
        """Ask for a version that completes nothing."""
        self.stage.server.completes = bad("not yet", 503)
        self.ask(spec, rollback=rollback)

    def proven(self, word: str = "--first") -> Spec:
        """A version that is READY."""
        spec = self.version(word)
        self.stage.runtime.obedient = True
        self.ask(spec)
        if not any(run.thread.is_alive() for run in self.stage.runs):
            self.stage.supervise()
        self.stage.reach(Phase.READY)
        return spec

    def runs(self) -> tuple[str, ...]:
        """The command of what runs now."""
        return self.stage.runtime.spec_of(self.stage.container().id).command

    def new_container(self, spec: Spec) -> str:
        """Wait for the container of ``spec``; its id."""

        def there() -> bool:
            found = self.stage.runtime.containers("demo")
            return [item.labels["io.launchpad.spec-hash"] for item in found if item.running] == [spec.hash]

        self.stage.until(there, "the new version's container")
        return self.stage.container().id

    def dies(self, spec: Spec, log: str = FATAL, code: int = 2) -> None:
        """The container of ``spec`` ends with ``log`` as its last words."""
        box = self.new_container(spec)
        self.stage.runtime.write_log(box, log)
        self.stage.runtime.exit(box, code)

    def rolled_back(self, times: int = 1) -> Spec:
        """Wait until an older version serves again, and what is wanted now."""
        self.stage.hears("rolled-back", times)
        self.stage.server.completes = good("hello")
        now = self.wanted()
        self.stage.reach(Phase.READY, now.generation)
        return now.spec

    def wanted(self) -> Wanted[Spec]:
        found = self.stage.deployment.read_wanted(Wanted[Spec], self.stage.clock.now())
        assert found is not None
        return found

    def lives(self) -> dict[int, str | None]:
        """How each version ended, by number."""
        return {
            number: life.ended for number, life in self.stage.deployment.history.lives(self.stage.clock.now()).items()
        }


@pytest.fixture
def theatre(stage: Stage) -> Theatre:
    return Theatre(stage)


# ---- when -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "reasons"),
    [
        ("0s up\n1s running\n5s dies for good unknown flag", ["unknown flag; trying again cannot help"]),
        ("0s up\n1s running\n5s dies exit code 1", []),
        (
            "0s up\n1s running\n31m progress\n31m same\n31m ended",
            ["not READY within 30m 00s (deadlines.startup)"],
        ),
        ("0s up\n1s running\n6m same\n6m ended", ["stalled: no progress for 6m 00s (deadlines.stall)"]),
        ("0s up\n1s running\n2s down\n3s ended", []),
    ],
)
def test_a_version_has_failed_at_a_fatal_end_a_deadline_or_a_stall_and_not_at_its_first_crash(
    story: str, reasons: list[str]
) -> None:
    found = [why(moment.before, moment.after) for moment in replay(story)]
    assert [reason for reason in found if reason is not None] == reasons


# ---- by itself ------------------------------------------------------------------------------------------------------


def test_a_new_version_that_dies_for_good_gives_way_to_the_last_good_one(theatre: Theatre) -> None:
    old, new = theatre.proven(), theatre.version("--nonsense")
    theatre.doomed(new)
    theatre.dies(new)
    assert theatre.rolled_back() == old
    assert theatre.runs() == ("serve", "--first")
    said = [item.reason for item in theatre.stage.events() if item.event == "rolled-back"]
    assert len(said) == 1
    assert said[0].startswith("version 2 never became READY here: exit code 2: ")
    assert said[0].endswith("; version 1 is put back")
    assert theatre.lives() == {1: None, 2: "rolled-back"}


def test_an_ordinary_crash_of_a_new_version_gets_its_retries_and_then_gives_way(theatre: Theatre) -> None:
    old, new = theatre.proven(), theatre.version("--unlucky")
    theatre.doomed(new)
    theatre.dies(new, "nobody knows this line", 1)
    theatre.stage.reach(Phase.BACKOFF)
    assert theatre.wanted().spec == new
    theatre.stage.leap(11)
    theatre.dies(new, "nobody knows this line", 1)
    assert theatre.rolled_back() == old


def test_a_new_version_that_passes_its_deadline_gives_way_at_once(theatre: Theatre) -> None:
    old = theatre.proven()
    new = theatre.version("--slow", replace(POLICY, startup_s=60, stall_s=50))
    theatre.doomed(new)
    theatre.new_container(new)
    theatre.stage.until(lambda: theatre.stage.told("container-started") == 2, "the new version was started")
    theatre.stage.leap(61)
    theatre.stage.hears("rolled-back")
    assert theatre.rolled_back() == old
    assert theatre.stage.told("container-started") == 3


def test_nothing_is_put_back_where_nothing_was_ever_ready(theatre: Theatre) -> None:
    new = theatre.version("--nonsense")
    theatre.doomed(new)
    run = theatre.stage.supervise()
    theatre.dies(new)
    assert run.join() == 3
    assert theatre.lives() == {1: "gave-up"}


def test_a_version_that_was_ready_once_is_not_taken_back(theatre: Theatre) -> None:
    theatre.proven("--first")
    new = theatre.proven("--second")
    theatre.dies(new)
    assert theatre.stage.runs[-1].join() == 3
    assert (theatre.wanted().spec, theatre.stage.told("rolled-back")) == (new, 0)


def test_the_version_put_back_is_never_taken_back_itself(theatre: Theatre) -> None:
    theatre.proven("--zero")
    old, new = theatre.proven("--first"), theatre.version("--nonsense")
    theatre.doomed(new)
    theatre.dies(new)
    theatre.stage.hears("rolled-back")
    theatre.dies(old)
    assert theatre.stage.runs[-1].join() == 3
    assert (theatre.wanted().spec, theatre.stage.told("rolled-back")) == (old, 1)


def test_the_one_that_was_ready_last_is_put_back_whatever_its_number(theatre: Theatre) -> None:
    first = theatre.proven("--first")
    theatre.stage.leap(5)
    theatre.proven("--second")
    theatre.stage.leap(5)
    theatre.proven("--first")
    new = theatre.version("--nonsense")
    theatre.doomed(new)
    theatre.dies(new)
    assert theatre.rolled_back() == first
    assert theatre.wanted().number == 1


@pytest.mark.parametrize("by", ["the profile", "the ask"])
def test_who_does_not_want_it_gets_a_failure_that_stays(theatre: Theatre, by: str) -> None:
    theatre.proven()
    new = theatre.version("--nonsense", replace(POLICY, rollback=by != "the profile"))
    theatre.doomed(new, rollback=by != "the ask")
    theatre.dies(new)
    assert theatre.stage.runs[-1].join() == 3
    assert theatre.wanted().spec == new
    assert theatre.lives() == {1: "replaced", 2: "gave-up"}


def test_whoever_asked_for_something_else_meanwhile_is_heard(theatre: Theatre) -> None:
    theatre.proven()
    new, other = theatre.version("--nonsense"), theatre.version("--other")
    theatre.doomed(new)
    box = theatre.new_container(new)
    theatre.stage.runtime.write_log(box, FATAL)
    asked = ask(theatre.stage.deployment, other, theatre.stage.clock.now(), wanted=True)
    theatre.stage.runtime.exit(box, 2)
    theatre.stage.server.completes = good("hello")
    theatre.stage.generation = asked.generation
    theatre.stage.reach(Phase.READY)
    assert theatre.runs() == ("serve", "--other")
    assert theatre.stage.told("rolled-back") == 0


def test_gpus_that_somebody_else_holds_now_are_not_taken_from_them(theatre: Theatre) -> None:
    stage = theatre.stage
    theatre.first = replace(theatre.first, gpus=(GpuSeat("GPU-0", 0, "card"),))
    theatre.proven()
    new = replace(theatre.version("--nonsense"), gpus=(GpuSeat("GPU-1", 1, "card"),))
    theatre.doomed(new)
    box = theatre.new_container(new)
    other = stage.store.deployment("other")
    spec = replace(theatre.first, name="other", port=9000)
    other.write_wanted(Wanted(VERSION, True, 1, stage.clock.now(), spec))
    stage.runtime.write_log(box, FATAL)
    stage.runtime.exit(box, 2)
    assert stage.runs[-1].join() == 3
    told = [item.reason for item in stage.events() if item.event == "rollback-failed"]
    assert told == ["cannot bring demo back: deployment other holds GPU 0"]


def test_a_damaged_version_is_passed_over_for_the_one_before(theatre: Theatre) -> None:
    first = theatre.proven("--first")
    theatre.stage.leap(5)
    theatre.proven("--second")
    (theatre.stage.deployment.folder / "history" / "0002.json").write_bytes(b"{")
    new = theatre.version("--nonsense")
    theatre.doomed(new)
    theatre.dies(new)
    assert theatre.rolled_back() == first


def test_a_new_supervisor_tells_of_a_rollback_that_its_predecessor_did_not_live_to_tell(theatre: Theatre) -> None:
    stage = theatre.stage
    theatre.proven()
    run = stage.runs[-1]
    run.supervisor.end("SIGTERM")
    run.join()
    failed = theatre.ask(theatre.version("--nonsense"))
    last = stage.deployment.history.version(1, Version[Spec], stage.clock.now())
    assert last is not None
    from launchpad.supervise.rollback import put_back

    assert put_back(stage.deployment, stage.store, stage.runtime, failed, last, "it died", stage.clock.now())
    stage.supervise()
    stage.reach(Phase.READY, theatre.wanted().generation)
    stage.runs[-1].supervisor.end("SIGTERM")
    stage.runs[-1].join()
    stage.supervise()
    stage.hears("adopted", 2)
    assert stage.told("rolled-back") == 1
    assert theatre.lives()[2] == "rolled-back"


# ---- what is remembered ---------------------------------------------------------------------------------------------


def test_what_is_published_says_whether_the_version_was_ever_ready(theatre: Theatre) -> None:
    theatre.proven()
    assert theatre.stage.reach(Phase.READY).proven


def test_a_version_that_another_replaced_says_so(theatre: Theatre) -> None:
    theatre.proven("--first")
    theatre.proven("--second")
    life = theatre.stage.deployment.history.lives(theatre.stage.clock.now())[1]
    assert (life.ended, life.reason) == ("replaced", "version 2 was asked for")


def test_a_version_that_serves_again_has_not_ended(theatre: Theatre) -> None:
    for word in ("--first", "--second", "--first"):
        theatre.proven(word)
    assert theatre.lives() == {1: None, 2: "replaced"}


def test_damaged_lives_cost_the_memory_and_not_the_supervisor(theatre: Theatre) -> None:
    theatre.proven()
    (theatre.stage.deployment.folder / "history" / "lives.json").write_bytes(b"\xff")
    theatre.stage.runs[-1].supervisor.end("SIGTERM")
    theatre.stage.runs[-1].join()
    theatre.stage.supervise()
    theatre.stage.until(lambda: theatre.lives() == {1: None}, "READY is noted anew")


def test_a_history_that_cannot_be_written_costs_the_memory_and_not_the_server(theatre: Theatre) -> None:
    theatre.ask(theatre.version("--first"))
    folder = theatre.stage.deployment.folder / "history"
    (folder / "lives.json").mkdir()
    theatre.stage.supervise()
    theatre.stage.reach(Phase.READY)


# ---- asking ---------------------------------------------------------------------------------------------------------


def test_words_that_only_people_read_make_no_version(theatre: Theatre) -> None:
    spec = theatre.first
    assert key(replace(spec, summary="other words", caveats=("mind the gap",), rig="renamed", standing=None)) == key(
        spec
    )


def test_another_probe_makes_a_version(theatre: Theatre) -> None:
    spec = theatre.first
    assert key(replace(spec, policy=replace(POLICY, budget=7))) != key(spec)


def test_a_wish_has_a_generation_larger_than_any_before_and_the_number_of_its_version(theatre: Theatre) -> None:
    asked = [theatre.ask(theatre.version(word)) for word in ("--first", "--second", "--first")]
    assert [(item.generation, item.number) for item in asked] == [(1, 1), (2, 2), (3, 1)]


def test_a_down_keeps_number_and_restarts_and_is_no_version(theatre: Theatre) -> None:
    stage, spec = theatre.stage, theatre.version("--first")
    theatre.ask(spec)
    ask(stage.deployment, spec, stage.clock.now(), wanted=True, renew=True)
    down = ask(stage.deployment, spec, stage.clock.now(), wanted=False)
    assert (down.wanted, down.number, down.renewal) == (False, 1, 1)


def test_a_disk_that_takes_no_version_takes_no_wish_either(theatre: Theatre, tmp_path: Path) -> None:
    theatre.stage.deployment.make()
    (theatre.stage.deployment.folder / "history").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot make state directory"):
        theatre.ask(theatre.version("--first"))
    assert not theatre.stage.deployment.spec_path.exists()


def test_an_unproven_life_stays_as_the_first_word_told_it(theatre: Theatre) -> None:
    from launchpad.supervise.rollback import Lives

    stage = theatre.stage
    theatre.ask(theatre.version("--first"))
    lives = Lives(stage.deployment, stage.clock)
    lives.ended(1, "gave-up", "it died")
    lives.ended(1, "replaced", "version 2 was asked for")
    found: Life = stage.deployment.history.lives(stage.clock.now())[1]
    assert (found.ended, found.reason) == ("gave-up", "it died")
