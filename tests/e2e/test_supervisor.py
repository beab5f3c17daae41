"""Killing a supervisor never hurts the server: the next one adopts what runs."""

from __future__ import annotations

import json
import os
import signal

from tests.e2e.harness import Rig, eventually


def kill_supervisor(rig: Rig, name: str, number: signal.Signals = signal.SIGKILL) -> int:
    """Kill it, by the pid in its lock, and wait until the lock is free."""
    pid = rig.supervisor(name)
    assert pid
    os.kill(pid, number)
    eventually(lambda: rig.supervisor(name) is None, what="the lock let go")
    return pid


def test_killed_supervisors_are_followed_by_ones_that_adopt_and_lose_no_line(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    begun = rig.started_at(name)
    for times in (1, 2):
        before = rig.journal(name)
        pid = kill_supervisor(rig, name)
        assert rig.ask(name) == 200
        rig.rehearse(name).ends(0)
        assert rig.supervisor(name) not in {None, pid}
        assert rig.journal(name)[: len(before)] == before
        assert rig.count(name, "adopted") == times
    lines = (rig.deployment(name) / "events.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == len(rig.journal(name))
    assert rig.count(name, "container-started") == 1
    assert rig.started_at(name) == begun


def test_sigterm_ends_the_supervisor_and_not_the_server_and_status_says_so(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    begun = rig.started_at(name)
    kill_supervisor(rig, name, signal.SIGTERM)
    assert rig.ask(name) == 200
    assert "the server goes on" in rig.journal(name)[-1].reason
    view = rig.status(name)
    assert (view["ready"], view["supervisor"]) == (False, {"pid": None, "alive": False})
    assert "no supervisor runs" in view["reason"]
    assert "its container still runs" in view["reason"]
    assert [item["name"] for item in view["containers"]] == [f"launchpad-{name}"]
    assert rig.started_at(name) == begun


def test_a_supervisor_killed_during_the_load_is_followed_by_one_that_adopts(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name, load=4.0, words=["--detach"]).ends(0)
    rig.await_event(name, "stage")
    begun = rig.started_at(name)
    kill_supervisor(rig, name)
    rig.rehearse(name, load=4.0).ends(0)
    assert rig.started_at(name) == begun
    assert rig.count(name, "container-started") == 1
    assert rig.history(name)[-1] == "READY"


def test_a_server_that_died_while_nobody_looked_is_started_again(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    kill_supervisor(rig, name)
    rig.client.api.kill(f"launchpad-{name}")
    rig.rehearse(name).ends(0)
    assert rig.count(name, "container-started") == 2
    assert rig.ask(name) == 200


def test_a_follower_starts_a_supervisor_that_was_killed_under_it(rig: Rig) -> None:
    name = rig.profile()
    following = rig.start("rehearse", name, *rig.play(load=2.0))
    rig.await_event(name, "container-started")
    kill_supervisor(rig, name)
    rig.end(following).ends(0, "is READY")
    assert rig.count(name, "container-started") == 1
