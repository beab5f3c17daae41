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


def test_a_killed_supervisor_is_followed_by_one_that_adopts(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    begun, before = rig.started_at(name), rig.journal(name)
    pid = kill_supervisor(rig, name)
    assert rig.ask(name) == 200
    assert rig.status(name)["supervisor"] == {"pid": None, "alive": False}
    rig.rehearse(name).ends(0)
    assert rig.started_at(name) == begun
    assert rig.supervisor(name) not in {None, pid}
    assert rig.journal(name)[: len(before)] == before
    assert rig.count(name, "adopted") == 1
    assert rig.count(name, "container-started") == 1


def test_status_without_a_supervisor_says_so_and_what_docker_says(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    kill_supervisor(rig, name)
    view = rig.status(name)
    assert view["ready"] is False
    assert "no supervisor runs" in view["reason"]
    assert "its container still runs" in view["reason"]
    assert [item["name"] for item in view["containers"]] == [f"launchpad-{name}"]


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


def test_a_supervisor_killed_again_and_again_loses_no_line(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    begun = rig.started_at(name)
    for _ in range(3):
        kill_supervisor(rig, name)
        rig.rehearse(name).ends(0)
    lines = (rig.deployment(name) / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines].count("adopted") == 3
    assert rig.started_at(name) == begun


def test_a_server_that_died_while_nobody_looked_is_started_again(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    kill_supervisor(rig, name)
    rig.client.api.kill(f"launchpad-{name}")
    rig.rehearse(name).ends(0)
    assert rig.count(name, "container-started") == 2
    assert rig.ask(name) == 200


def test_sigterm_ends_the_supervisor_and_not_the_server(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    begun = rig.started_at(name)
    kill_supervisor(rig, name, signal.SIGTERM)
    assert rig.ask(name) == 200
    assert rig.started_at(name) == begun
    assert "the server goes on" in rig.journal(name)[-1].reason


def test_a_second_supervisor_ends_at_once_and_names_the_first(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    rig.run("supervise", name).ends(1, f"process {rig.supervisor(name)} does already")


def test_a_follower_starts_a_supervisor_that_was_killed_under_it(rig: Rig) -> None:
    name = rig.profile()
    following = rig.start("rehearse", name, *rig.play(load=2.0))
    rig.await_event(name, "container-started")
    kill_supervisor(rig, name)
    rig.end(following).ends(0, "is READY")
    assert rig.count(name, "container-started") == 1
