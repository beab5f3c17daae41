"""``logs`` and ``events``: of what runs, what crashed and what is gone."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.harness import NewRig, Scene, eventually


@pytest.fixture(scope="module")
def running(shared: NewRig) -> Scene:
    rig = shared()
    name = rig.profile()
    return Scene(rig, name, rig.rehearse(name).ends(0))


def test_logs_show_what_a_running_server_says(running: Scene) -> None:
    eventually(lambda: "fired up" in running.rig.run("logs", running.name).ends(0).out)


def test_logs_take_a_tail_and_a_since(running: Scene) -> None:
    rig = running.rig
    assert len(rig.run("logs", running.name, "--tail", "3").ends(0).out.splitlines()) == 3
    assert rig.run("logs", running.name, "--since", "2099-01-01T00:00:00Z").ends(0).out == ""
    assert rig.run("logs", running.name, "--since", "yesterday").code == 2


def test_logs_with_timestamps_put_dockers_time_first(running: Scene) -> None:
    for line in running.rig.run("logs", running.name, "-t", "--tail", "2").ends(0).out.splitlines():
        assert line.startswith("20")
        assert line.split()[0].endswith("Z")


def test_following_a_log_shows_what_is_said_next_and_ends_on_ctrl_c(running: Scene) -> None:
    following = running.rig.start("logs", running.name, "-f", "--tail", "0")
    assert following.stdout is not None
    running.rig.ask(running.name, "/v1/models?e2e-was-here")
    assert "GET" in following.stdout.readline()
    following.send_signal(signal.SIGINT)
    running.rig.end(following).ends(0)


def test_following_events_tells_what_was_and_ends_on_ctrl_c(running: Scene) -> None:
    following = running.rig.start("events", running.name, "-f")
    assert following.stdout is not None
    assert any("STARTING -> READY" in line for line in iter(following.stdout.readline, ""))
    following.send_signal(signal.SIGINT)
    running.rig.end(following).ends(0)


def test_the_log_outlives_the_container(running: Scene) -> None:
    running.rig.run("down", running.name).ends(0)
    assert running.rig.mine() == []
    said = running.rig.run("logs", running.name).ends(0).out
    assert "fired up and ready to roll" in said
    assert "SIGTERM received" in said
