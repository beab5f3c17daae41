"""``up`` and ``rehearse``: from a profile to a server that answers, and what is said on the way."""

from __future__ import annotations

import json
import shlex
import signal
import urllib.request
from typing import Any

import pytest

from tests.e2e.harness import NewRig, Rig, Scene, eventually


@pytest.fixture(scope="module")
def served(shared: NewRig) -> Scene:
    """One rehearsed server that several tests look at."""
    rig = shared()
    name = rig.profile()
    return Scene(rig, name, rig.rehearse(name, load=1.0).ends(0))


def post(curl: str) -> dict[str, Any]:
    """Do what a printed curl line does."""
    words = shlex.split(curl)
    body, header = words[words.index("-d") + 1], words[words.index("-H") + 1]
    key, _, value = header.partition(": ")
    request = urllib.request.Request(words[1], body.encode(), {key: value})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_up_prints_endpoint_model_time_and_a_curl_line_that_works(served: Scene) -> None:
    port = served.rig.ports[served.name]
    served.ran.ends(0, f"http://127.0.0.1:{port}/v1", "deepseek-v4-flash", "is READY after")
    curl = next(line for line in served.ran.out.splitlines() if "curl " in line)
    answer = post(curl[curl.index("curl ") :])
    assert "rehearsal" in answer["choices"][0]["message"]["content"]


def test_a_rehearsal_always_says_that_it_is_one(served: Scene) -> None:
    assert "REHEARSAL" in served.ran.err
    assert "REHEARSAL" in served.ran.out
    assert "REHEARSAL" in served.rig.run("status").ends(0).out
    assert "REHEARSAL" in served.rig.run("status", served.name).ends(0).out
    assert served.rig.status(served.name)["rehearsal"] is True
    assert served.rig.inspect(served.name)["Config"]["Labels"]["io.launchpad.rehearsal"] == "true"


def test_the_stages_of_the_load_are_told_in_order(served: Scene) -> None:
    stages = [event.reason for event in served.rig.journal(served.name) if event.event == "stage"]
    order = ["start", "distributed", "weights", "memory", "compile", "graphs", "warm-up", "serving"]
    assert stages == [stage for stage in order if stage in stages]
    assert {"weights", "compile", "graphs", "serving"} <= set(stages)


def test_ready_comes_only_after_a_real_completion(served: Scene) -> None:
    ready = [event for event in served.rig.journal(served.name) if event.to == "READY"]
    assert [event.from_ for event in ready] == ["STARTING"]
    assert "came back" in ready[0].reason


def test_status_has_the_published_names(served: Scene) -> None:
    view = served.rig.status(served.name)
    assert {"phase": view["phase"], "ready": view["ready"], "restarts": view["restarts"]} == {
        "phase": "READY",
        "ready": True,
        "restarts": 0,
    }
    assert view["supervisor"] == {"pid": served.rig.supervisor(served.name), "alive": True}
    assert [item["name"] for item in view["containers"]] == [f"launchpad-{served.name}"]
    assert set(view["containers"][0]) == {"id", "name", "image", "started_at"}
    assert [gpu["index"] for gpu in view["gpus"]] == [0, 1, 2, 3]
    assert {"name", "reason", "since", "endpoint"} <= set(view)
    assert [item["name"] for item in served.rig.run("status", "--json").ends(0).json] == [served.name]


def test_events_have_the_published_names(served: Scene) -> None:
    for event in served.rig.events(served.name):
        assert {"at", "event", "from", "to", "reason"} <= set(event)


def test_an_unchanged_up_does_nothing_and_says_why(served: Scene) -> None:
    begun = served.rig.started_at(served.name)
    again = served.rig.rehearse(served.name, load=1.0).ends(0, "already ready, spec unchanged")
    assert "curl " in again.out
    assert served.rig.started_at(served.name) == begun


def test_an_unchanged_up_with_json_is_one_object_that_says_so(served: Scene) -> None:
    told = served.rig.rehearse(served.name, load=1.0, words=["--json"]).ends(0).lines
    assert [item["event"] for item in told] == ["ready"]
    assert told[0]["unchanged"] is True


def test_a_second_supervisor_ends_at_once_and_names_the_first(served: Scene) -> None:
    pid = served.rig.supervisor(served.name)
    served.rig.run("supervise", served.name).ends(1, f"process {pid} does already")


def test_the_container_is_held_as_tightly_as_promised(served: Scene) -> None:
    held = served.rig.inspect(served.name)
    host = held["HostConfig"]
    port = str(served.rig.ports[served.name])
    assert {
        "restart policy": host["RestartPolicy"]["Name"],
        "published": {(item["HostIp"], item["HostPort"]) for items in host["PortBindings"].values() for item in items},
        "security": host["SecurityOpt"],
        "dropped": host["CapDrop"],
        "added": host["CapAdd"] or [],
        "privileged": host["Privileged"],
        "init": host["Init"],
        "ipc": host["IpcMode"],
        "network": host["NetworkMode"] in {"default", "bridge"},
    } == {
        "restart policy": "no",
        "published": {("127.0.0.1", port)},
        "security": ["no-new-privileges"],
        "dropped": ["ALL"],
        "added": [],
        "privileged": False,
        "init": True,
        "ipc": "private",
        "network": True,
    }


def test_json_gives_objects_only_and_ends_with_ready(rig: Rig) -> None:
    name = rig.profile()
    told = rig.rehearse(name, words=["--json"]).ends(0).lines
    assert all(isinstance(item, dict) for item in told)
    assert told[-1]["event"] == "ready"
    assert told[-1]["endpoint"] == f"http://127.0.0.1:{rig.ports[name]}"
    assert "READY" in [item.get("to") for item in told]


def test_ctrl_c_during_the_load_stops_following_and_not_the_server(rig: Rig) -> None:
    name = rig.profile()
    following = rig.start("rehearse", name, *rig.play(load=3.0))
    rig.await_event(name, "stage")
    following.send_signal(signal.SIGINT)
    rig.end(following).ends(130, "stopped following", "goes on starting without us", f"launchpad down {name}")
    rig.await_history(name, "STARTING", "READY")


def test_two_ups_at_once_make_one_supervisor_and_one_container(rig: Rig) -> None:
    name = rig.profile()
    both = [rig.start("rehearse", name, *rig.play()) for _ in range(2)]
    for started in both:
        rig.end(started).ends(0)
    assert len(rig.mine()) == 1
    supervisors = [line for line in rig.processes().values() if f"supervise {name}" in line]
    assert len(supervisors) == 1
    assert rig.history(name) == ["STARTING", "READY"]


def test_shards_are_counted_while_they_load(rig: Rig) -> None:
    name = rig.profile()
    started = rig.start("rehearse", name, *rig.play(load=8.0))

    def counted() -> bool:
        load = rig.status(name)["load"] if (rig.state / "deployments" / name / "state.json").exists() else None
        return load is not None and load["stage"] == "weights" and load["total"] == 46 and 0 < load["done"] < 46

    eventually(counted, 20.0)
    rig.end(started).ends(0)


def test_a_second_start_is_warm_and_has_an_estimate(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name).ends(0, "cold: kernels are compiled on this start", "no estimate (cold)")
    second = rig.run("restart", name).ends(0, "(warm)")
    assert "no estimate" not in second.err, "a cold start is a better guess than none"
    rig.run("down", name).ends(0)
    rig.rehearse(name).ends(0, "warm: an earlier start filled the cache")


def test_a_real_up_of_a_private_image_serves_and_is_no_rehearsal(rig: Rig, image: str) -> None:
    name = rig.generic(image=image)
    ran = rig.run("up", name).ends(0, f"{name} is READY")
    assert "REHEARSAL" not in ran.out + ran.err
    assert rig.ask(name) == 200
    view = rig.status(name)
    assert view["rehearsal"] is False
    assert view["gpus"] == []
    assert rig.inspect(name)["Config"]["Labels"]["io.launchpad.rehearsal"] == "false"


def test_a_rehearsal_does_not_replace_the_real_thing(rig: Rig, image: str) -> None:
    name = rig.generic(image=image)
    rig.run("up", name).ends(0)
    begun = rig.started_at(name)
    rig.rehearse(name).ends(1, "a real deployment of that name is up", f"launchpad down {name}")
    assert rig.started_at(name) == begun


def test_detached_up_returns_at_once_and_the_server_becomes_ready(rig: Rig) -> None:
    name = rig.profile()
    rig.rehearse(name, words=["--detach"]).ends(0, f"launchpad status {name}")
    rig.await_phase(name, "READY")


def test_a_reader_that_goes_away_ends_the_command_quietly(rig: Rig) -> None:
    name = rig.profile()
    following = rig.start("rehearse", name, *rig.play(), "--json")
    assert following.stdout is not None
    following.stdout.close()
    following.stdout = None
    told = rig.end(following)
    assert "Traceback" not in told.err
    assert "Exception" not in told.err
    rig.await_phase(name, "READY")
