"""A real Dynamo, frontend and mocker, as one deployment of two containers: served, bereft of its worker, drained, taken down.

One deployment lives through the whole file, and the tests run in its order: that is what happens to a server.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker
    from tests.e2e.harness import Rig

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

#: Slow enough that a long answer takes some seconds, and quick to notice what hangs.
PROFILE: dict[str, Any] = {
    "engine_args": {"speedup-ratio": 1},
    "probes": {"completion": {"timeout": "5s"}},
    "deadlines": {"hang": "10s"},
}


def worker(served: Served) -> str:
    """The name of the worker's container."""
    return f"launchpad-{served.name}-worker"


def chat(served: Served, tokens: int, timeout: float = 60) -> int:
    """How many tokens a chat of so many brings; raises urllib's own errors."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens}
    request = urllib.request.Request(
        f"{url(served)}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return int(json.load(answer)["usage"]["completion_tokens"])


def url(served: Served) -> str:
    """Where it is served, also when it is not: by the profile's port."""
    return f"http://127.0.0.1:{served.rig.ports[served.name]}"


def status_of(served: Served, path: str) -> int:
    with urllib.request.urlopen(f"{url(served)}{path}", timeout=5) as answer:
        return int(answer.status)


@pytest.fixture(scope="module")
def served(rig: Rig) -> Iterator[Served]:
    made = Served.under(rig, "dynamo", "demo-dynamo-mocker", **PROFILE)
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_frontend_and_worker_run_and_answer(served: Served) -> None:
    assert (len(served.rig.mine()), chat(served, 5)) == (2, 5)


def test_both_logs_are_followed_each_under_its_name(served: Served) -> None:
    said = served.run("logs", "--tail", "2000").ends(0).out
    assert ("worker: " in said, "frontend: " in said) == (True, True)


def test_the_load_is_told_by_stages(served: Served) -> None:
    assert [event.reason for event in served.told("stage")][-1:] == ["serving"]


def test_a_worker_that_dies_takes_the_pair_with_it_into_a_restart(served: Served, client: docker.DockerClient) -> None:
    before = {item.id for item in served.rig.mine()}
    client.containers.get(worker(served)).kill("SIGKILL")
    served.ready_again(2)
    after = served.rig.mine()
    assert (before & {item.id for item in after}, len(after), chat(served, 3)) == (set(), 2, 3)


def test_the_crash_is_counted_once_and_is_the_workers(served: Served) -> None:
    crashes = served.told("crash-recorded")
    lines = (Path(str((crashes[0].detail or {})["folder"])) / "log.txt").read_text()
    assert (len(crashes), "dynamo_llm::mocker" in lines) == (1, True)


def test_a_worker_that_hangs_behind_a_healthy_frontend_is_noticed(served: Served, client: docker.DockerClient) -> None:
    """The frontend's /health says 200 all the while."""
    client.containers.get(worker(served)).pause()
    begun = time.monotonic()
    healthy = []
    while not served.told("STOPPING"):
        assert time.monotonic() - begun < 90, served.run("events").out
        try:
            healthy.append(status_of(served, "/health"))
        except OSError:
            break
        time.sleep(0.5)
    print(f"noticed after {time.monotonic() - begun:.1f} s: {served.told('STOPPING')}")
    assert set(healthy) == {200}
    served.ready_again(3)


def test_a_restart_lets_a_long_answer_end(served: Served) -> None:
    """The worker goes first, and the frontend serves it until then."""
    tokens: list[int] = []
    asking = threading.Thread(target=lambda: tokens.append(chat(served, 400)))
    asking.start()
    time.sleep(1.0)
    served.run("restart").ends(0)
    asking.join(60)
    assert tokens == [400]


def test_down_drains_the_worker_before_the_frontend_and_leaves_nothing(served: Served) -> None:
    tokens: list[int] = []
    asking = threading.Thread(target=lambda: tokens.append(chat(served, 400)))
    asking.start()
    time.sleep(1.0)
    down = served.down()
    asking.join(60)
    assert (down.code, tokens, served.rig.mine()) == (0, [400], [])


def test_nobody_serves_after_down(served: Served) -> None:
    with pytest.raises(urllib.error.URLError):
        status_of(served, "/health")
