"""What goes wrong with a server: a crash is mended, a loop is given up, what cannot be mended is not tried again."""

from __future__ import annotations

import json

import pytest

from tests.e2e.harness import Rig


def test_a_killed_server_comes_back_after_a_backoff(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    rig.client.api.kill(f"launchpad-{name}")
    rig.await_history(name, "STARTING", "READY", "BACKOFF", "STARTING", "READY")
    view = rig.status(name)
    assert (view["phase"], view["restarts"], view["failures"]) == ("READY", 1, 1)
    assert rig.ask(name) == 200


def test_a_crash_leaves_a_folder_that_explains_it(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    killed = rig.inspect(name)["Id"]
    rig.client.api.kill(f"launchpad-{name}")
    rig.await_event(name, "crash-recorded")
    found = rig.crash(name)
    assert set(found) == {"verdict.json", "inspect.json", "gpus.json", "log.txt"}
    verdict = found["verdict.json"]
    assert (verdict["phase"], verdict["exit_code"], verdict["signal"], verdict["oom_killed"]) == ("READY", 137, 9, False)
    assert found["inspect.json"]["Id"] == killed == verdict["container"]
    assert len(found["gpus.json"]) == 4
    assert "fired up and ready to roll" in found["log.txt"]


def test_a_container_removed_behind_our_back_is_made_again(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0)
    rig.client.api.remove_container(f"launchpad-{name}", force=True)
    rig.await_history(name, "READY", "BACKOFF", "STARTING", "READY")


def test_an_exit_with_code_0_that_nobody_asked_for_is_a_crash(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name, "once:exit:0@ready+0.2").ends(0)
    rig.await_history(name, "READY", "BACKOFF", "STARTING", "READY")


def test_a_crash_loop_is_given_up_and_can_be_asked_for_again(rig: Rig) -> None:
    name = rig.profile(restart={"budget": 1})
    rig.rehearse(name, "exit:1@weights").ends(3, f"cannot keep {name} up: gave up: failed 2 times", "crash folder")
    assert rig.history(name) == ["STARTING", "BACKOFF", "STARTING", "FAILED"]
    view = rig.status(name)
    assert view["phase"] == "FAILED"
    assert "exit code 1" in view["reason"]
    assert view["supervisor"] == {"pid": None, "alive": False}
    assert rig.mine() == []
    assert rig.processes() == {}
    assert rig.crashes(name) == 2
    rig.rehearse(name).ends(0)
    view = rig.status(name)
    assert (view["phase"], view["failures"]) == ("READY", 0)


@pytest.mark.parametrize(
    ("fault", "says", "hint"),
    [
        ("fatal:deepgemm-sf@weights", "DeepGEMM in this image has no SM120 branch", "SGLang >= 0.5.16"),
        ("cuda-oom@graphs", "a GPU ran out of memory", "lower serving.memory_fraction"),
        ("unknown-flag:--moe-runner-backend", "does not know a flag", "compare engine_args"),
    ],
)
def test_what_cannot_be_mended_is_not_tried_again(rig: Rig, fault: str, says: str, hint: str) -> None:
    name = rig.profile()
    rig.rehearse(name, fault).ends(3, says, "trying again cannot help", hint)
    assert rig.count(name, "container-started") == 1
    view = rig.status(name)
    assert (view["phase"], view["restarts"]) == ("FAILED", 0)
    assert hint in view["hint"]
    assert rig.crash(name)["verdict.json"]["fatal"] is True
    assert rig.mine() == []


def test_a_server_killed_for_host_memory_is_told_as_that(rig: Rig) -> None:
    name = rig.profile(restart={"budget": 0})
    rig.rehearse(name, "host-oom@weights").ends(3, "want of host memory", "container.memory_limit")
    assert rig.crash(name)["verdict.json"]["oom_killed"] is True


def test_a_server_that_answers_500_is_unready_then_replaced(rig: Rig) -> None:
    name = rig.profile(probes={"liveness": {"failures": 4}})
    rig.rehearse(name, "once:500s@ready+0.5").ends(0)
    rig.await_history(name, "READY", "UNREADY", "STOPPING", "BACKOFF", "STARTING", "READY")
    assert "does not answer" in rig.crash(name)["verdict.json"]["reason"]


def test_a_load_that_goes_silent_is_stalled_and_started_again(rig: Rig) -> None:
    name = rig.profile(deadlines={"stall": "1s"})
    rig.rehearse(name, "once:hang@weights").ends(0)
    assert rig.history(name) == ["STARTING", "STOPPING", "BACKOFF", "STARTING", "READY"]
    verdict = rig.crash(name)["verdict.json"]
    assert "deadlines.stall" in verdict["reason"]


def test_a_load_beyond_its_deadline_is_stopped_and_counted(rig: Rig) -> None:
    name = rig.profile(deadlines={"startup": "1500ms", "stall": "1s"}, restart={"budget": 0})
    rig.rehearse(name, "slow:40").ends(3, "deadlines.startup")
    assert rig.history(name) == ["STARTING", "STOPPING", "FAILED"]
    assert rig.status(name)["failures"] == 1


def test_the_journal_tells_the_whole_story_in_words(rig: Rig) -> None:
    name = rig.profile(restart={"budget": 1})
    rig.rehearse(name, "exit:7@weights").ends(3)
    told = rig.run("events", name).ends(0).out
    for words in ("STOPPED -> STARTING", "STARTING -> BACKOFF", "exit code 7", "next start in", "BACKOFF -> FAILED"):
        assert words.replace("BACKOFF -> FAILED", "STARTING -> FAILED") in told
    assert "{" not in told


def test_every_line_of_the_journal_is_whole(rig: Rig) -> None:
    name = rig.profile(restart={"budget": 1})
    rig.rehearse(name, "exit:7@weights").ends(3)
    text = (rig.deployment(name) / "events.jsonl").read_text()
    assert text.endswith("\n")
    assert len([json.loads(line) for line in text.splitlines()]) == len(rig.events(name))
