"""A deployment of two containers: one is not whole without the other, and the frontend outlives its worker while both drain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from launchpad.supervise.machine import Phase
from tests.supervise.stage import make_spec

if TYPE_CHECKING:
    from launchpad.runtime.base import Container
    from tests.supervise.stage import Stage


@pytest.fixture
def pair(stage: Stage) -> Stage:
    """READY, with a frontend and a worker."""
    spec = make_spec()
    frontend = replace(spec.containers[0], role="frontend")
    worker = replace(
        frontend, role="worker", name="launchpad-demo-worker", ports=(), network="container:launchpad-demo"
    )
    stage.spec = replace(spec, containers=(frontend, worker))
    stage.up()
    return stage


def named(stage: Stage, name: str) -> Container:
    (found,) = (item for item in stage.runtime.containers("demo") if item.name == name)
    return found


def signals(stage: Stage) -> list[tuple[str, ...]]:
    return [call[1:] for call in stage.runtime.asked("signal")]


def test_the_worker_is_asked_to_end_and_the_frontend_only_when_it_has(pair: Stage) -> None:
    frontend, worker = named(pair, "launchpad-demo"), named(pair, "launchpad-demo-worker")
    pair.ask(wanted=False)
    pair.until(lambda: signals(pair), "a signal")
    pair.leap(1.0)
    assert signals(pair) == [("launchpad-demo-worker", "SIGTERM")]
    pair.runtime.exit(worker.id, 0)
    pair.until(lambda: len(signals(pair)) == 2, "a second signal")
    pair.runtime.exit(frontend.id, 0)
    pair.reach(Phase.STOPPED)
    assert signals(pair) == [("launchpad-demo-worker", "SIGTERM"), ("launchpad-demo", "SIGTERM")]


def test_what_outstays_the_grace_is_killed_together(pair: Stage) -> None:
    both = {item.name for item in pair.runtime.containers("demo")}
    pair.ask(wanted=False)
    pair.until(lambda: signals(pair), "a signal")
    pair.leap(pair.spec.policy.stop_grace_s + 1)
    pair.until(lambda: pair.told("killed"), "a kill")
    pair.until(lambda: {who for who, what in signals(pair) if what == "SIGKILL"} == both, "both killed")


@pytest.mark.parametrize("dies", ["launchpad-demo", "launchpad-demo-worker"])
def test_either_death_starts_both_again(pair: Stage, dies: str) -> None:
    before = {item.id for item in pair.runtime.containers("demo")}
    pair.runtime.exit(named(pair, dies).id, 1)
    pair.reach(Phase.BACKOFF)
    pair.leap(pair.spec.policy.max_delay_s + 1)
    pair.hears("container-started", 4)
    pair.reach(Phase.READY)
    after = {item.id for item in pair.runtime.containers("demo")}
    assert (len(after), before & after) == (2, set())


@pytest.mark.parametrize("dies", ["launchpad-demo", "launchpad-demo-worker"])
def test_the_crash_folder_is_of_the_one_that_died(pair: Stage, dies: str) -> None:
    pair.runtime.write_log(named(pair, dies).id, "the last words of one")
    pair.runtime.exit(named(pair, dies).id, 1)
    pair.hears("crash-recorded")
    (folder,) = (pair.deployment.folder / "crashes").iterdir()
    assert "the last words of one" in (folder / "log.txt").read_text()


def test_each_line_of_the_copied_log_says_whose_it_is(pair: Stage) -> None:
    for name in ("launchpad-demo", "launchpad-demo-worker"):
        pair.runtime.write_log(named(pair, name).id, f"from {name}")
    log = pair.deployment.log_path
    pair.until(lambda: log.is_file() and log.read_text().count("from launchpad-demo") == 2, "both lines")
    lines = {line.split(" ", 1)[1] for line in log.read_text().splitlines()}
    assert {"frontend: from launchpad-demo", "worker: from launchpad-demo-worker"} <= lines


def test_a_running_pair_is_adopted(pair: Stage) -> None:
    before = {item.id for item in pair.runtime.containers("demo")}
    pair.runs[-1].supervisor.end("a new one comes")
    pair.runs[-1].join()
    pair.supervise()
    pair.hears("adopted")
    pair.reach(Phase.READY)
    assert {item.id for item in pair.runtime.containers("demo")} == before


def test_a_pair_gives_way_to_one_container_worker_first(pair: Stage) -> None:
    pair.ask(spec=make_spec())
    pair.until(lambda: signals(pair), "a signal")
    assert signals(pair) == [("launchpad-demo-worker", "SIGTERM")]
