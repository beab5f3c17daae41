"""``kill -9`` at every point: whatever call the supervisor dies at, the next one makes exactly what was wanted of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from launchpad.supervise.machine import Phase
from tests.supervise.stage import Die, Doom, Stage, changed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.supervise.stage import Run

#: How many calls of one name are killed at.
OFTEN = 2


def ended(stage: Stage, run: Run) -> bool:
    return not run.thread.is_alive()


def life_of_a_start(stage: Stage, run: Run) -> None:
    """From nothing to READY."""
    stage.until(lambda: ended(stage, run) or is_ready(stage), "READY")


def life_of_a_crash(stage: Stage, run: Run) -> None:
    """A crash, its wait, and READY again."""
    stage.runtime.exit(stage.container().id, 1)
    stage.until(lambda: ended(stage, run) or stage.runtime.containers() == (), "the crash is cleared away")
    stage.leap(11)
    stage.until(lambda: ended(stage, run) or (stage.told("container-started") > 1 and is_ready(stage)), "READY again")


def life_of_a_change(stage: Stage, run: Run) -> None:
    """READY with another spec."""
    stage.ask(spec=changed(stage.spec, "serve", "--other"))
    reach(stage, lambda: ended(stage, run) or is_ready(stage), "READY with the new spec")


def life_of_a_stop(stage: Stage, run: Run) -> None:
    """Down."""
    stage.ask(wanted=False)
    reach(stage, lambda: ended(stage, run), "STOPPED")


def nudge(stage: Stage) -> None:
    """Let a wait for the next start pass."""
    found = stage.published()
    if found is not None and found.state.phase is Phase.BACKOFF:
        stage.leap(11)


def reach(stage: Stage, true: Callable[[], bool], what: str) -> None:
    """Nudge until something holds."""

    def reached() -> bool:
        nudge(stage)
        return true()

    stage.until(reached, what)


def is_ready(stage: Stage) -> bool:
    found = stage.published()
    return (
        found is not None
        and found.state.phase is Phase.READY
        and found.state.generation == stage.generation
        and found.spec_hash == stage.spec.hash
    )


def serving(stage: Stage) -> list[bool]:
    """For each container of the deployment whether it runs."""
    return [container.running for container in stage.runtime.containers("demo")]


def journal_is_whole(stage: Stage) -> bool:
    data = (stage.deployment.folder / "events.jsonl").read_bytes()
    return data.endswith(b"\n") and all(json.loads(line)["event"] for line in data.splitlines())


def lived(root: Path, life: Callable[[Stage, Run], None], at: tuple[str, int] | None) -> tuple[Stage, Run, Doom]:
    """``life`` lived, killed at ``at``; every life but that of a start begins READY."""
    stage = Stage(root)
    stage.runtime.obedient = True
    doom = Doom(at, armed=life is life_of_a_start)
    stage.ask()
    run = stage.supervise(doom)
    if not doom.armed:
        life_of_a_start(stage, run)
        doom.armed = True
    life(stage, run)
    return stage, run, doom


def killed_at_every_call(root: Path, life: Callable[[Stage, Run], None], then: Callable[[Stage], None]) -> set[str]:
    """Live ``life`` once for each of its calls, killed at that call; ``then`` is what a new supervisor must make of it."""
    stage, _, whole = lived(root / "whole", life, None)
    stage.close()
    killed = set()
    for number, point in enumerate(whole.points):
        if point[1] > OFTEN:
            continue  # looks and samples go by the clock: the first few of each stand for all
        stage, run, _ = lived(root / str(number), life, point)
        if isinstance(run.error, Die):
            killed.add(point[0])
            then(stage)
            assert journal_is_whole(stage), f"killed {point}"
        stage.close()
    return killed


def serves_once(stage: Stage) -> None:
    """A new supervisor brings it to exactly one container that serves, having started no more than it had to."""
    run = stage.supervise()
    reach(stage, lambda: is_ready(stage) and serving(stage) == [True], "READY after the kill")
    assert run.thread.is_alive()
    (container,) = stage.runtime.containers("demo")
    assert stage.runtime.spec_of(container.id).command == stage.spec.containers[0].command


def is_gone(stage: Stage) -> None:
    """A new supervisor brings it to nothing."""
    stage.ask(wanted=False)
    run = stage.supervise()
    reach(stage, lambda: ended(stage, run), "STOPPED after the kill")
    assert (run.join(), stage.runtime.containers()) == (0, ())


@pytest.mark.parametrize("life", [life_of_a_start, life_of_a_crash, life_of_a_change])
def test_killed_at_any_call_it_ends_with_one_container_that_serves(
    tmp_path: Path, life: Callable[[Stage, Run], None]
) -> None:
    points = killed_at_every_call(tmp_path, life, serves_once)
    assert {"after create", "after start", "before state", "after state", "after line phase"} <= points


@pytest.mark.parametrize("life", [life_of_a_start, life_of_a_stop])
def test_killed_at_any_call_it_can_be_taken_down_to_nothing(tmp_path: Path, life: Callable[[Stage, Run], None]) -> None:
    points = killed_at_every_call(tmp_path, life, is_gone)
    assert {"before state", "after state", "after line phase"} <= points


def test_a_start_that_survived_its_supervisor_is_not_made_twice(tmp_path: Path) -> None:
    stage, _, _ = lived(tmp_path, life_of_a_start, ("after start", 1))
    serves_once(stage)
    stage.close()
    assert stage.runtime.asked("create") == [("create", "launchpad-demo")]
