"""Two real vLLMs on one rig, each with a model of its own: a chat, and one that embeds.

Both live through the whole file, and the tests run in its order. What one of them goes through, the other must not feel: its
container, its start and its answers stay what they were.
"""

from __future__ import annotations

import math
import re
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests.e2e.harness import Ran, Rig
from tests.e2e_vllm.models import PROFILE, WIDTH, embedding_model
from tests.support.served import DOWN_SECONDS, UP_SECONDS, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import docker

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

#: Seconds without an answer after which it hangs; also how often one vector is asked for where nobody else asks.
HANG_SECONDS = 15
QUICK: dict[str, Any] = {"deadlines": {"hang": f"{HANG_SECONDS}s", "stop_grace": "5s"}}


@dataclass(frozen=True)
class Pair:
    """The two, and what the ``up`` of each said; they were started together."""

    rig: Rig
    chat: Served
    vectors: Served
    said: list[Ran] = field(default_factory=list)


@pytest.fixture(scope="module")
def pair(rig: Rig, client: docker.DockerClient, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    model = embedding_model(client, tmp_path_factory.mktemp("vectors"))
    made = Pair(
        rig,
        Served.under(rig, "chat", PROFILE, serving={"context_length": 2048}, **QUICK),
        Served.under(
            rig,
            "vectors",
            PROFILE,
            model={"path": str(model), "served_name": "vectors"},
            engine_args={"runner": "pooling"},
            probes={"completion": {"kind": "embedding"}, "liveness": {"idle": "5s"}},
            **QUICK,
        ),
    )
    both = (made.chat, made.vectors)
    try:
        made.said.extend(rig.end(started, UP_SECONDS) for started in [rig.start("up", one.name) for one in both])
        yield made
    finally:
        for one in both:
            one.down()


def say_hello(chat: Served) -> int:
    """The tokens of one chat, through the real client."""
    with chat.client() as client:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello?"}], max_tokens=8
        )
    assert answer.usage is not None
    return answer.usage.completion_tokens


def embed(vectors: Served, text: str = "Say hello.") -> list[float]:
    """The vector of one text, through the real client, which asks for base64."""
    with vectors.client() as client:
        return client.embeddings.create(model="vectors", input=text).data[0].embedding


def requests_running(served: Served) -> int:
    """How many requests vLLM itself says it is at."""
    with urllib.request.urlopen(f"{served.endpoint()}/metrics", timeout=30) as answer:
        found = re.search(r"^vllm:num_requests_running\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return round(float(found[1]))


@contextmanager
def undisturbed(served: Served, ask: Callable[[Served], object]) -> Iterator[list[float]]:
    """Meanwhile ``served`` is asked again and again: every answer comes, and its container stays as it is.

    Yields the seconds of each answer; the list grows.
    """
    before, seconds, refused = served.kept(), list[float](), list[str]()
    enough = threading.Event()

    def keep_asking() -> None:
        while not enough.is_set():
            begun = time.monotonic()
            try:
                ask(served)
            except openai.OpenAIError as error:
                refused.append(str(error))
            seconds.append(time.monotonic() - begun)
            enough.wait(0.5)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        yield seconds
    finally:
        enough.set()
        asking.join()
    assert (refused, served.kept(), served.status()["ready"]) == ([], before, True)
    print(f"{served.name} answered {len(seconds)} times meanwhile, the slowest in {max(seconds):.1f} s")


def test_two_that_are_started_at_once_are_both_ready(pair: Pair) -> None:
    for said, one in zip(pair.said, (pair.chat, pair.vectors), strict=True):
        said.ends(0, f"{one.name} is READY")
        print(said.out.splitlines()[0])


def test_each_has_its_own_container_and_its_own_port(pair: Pair) -> None:
    views = pair.rig.run("status", "--json").ends(0).json
    assert {view["phase"] for view in views} == {"READY"}
    assert len({view["endpoint"] for view in views}) == len({view["containers"][0]["id"] for view in views}) == 2


def test_one_that_embeds_was_ready_when_a_vector_came_back(pair: Pair) -> None:
    assert "an embedding came back" in pair.vectors.told("READY")[0].reason


def test_one_text_has_one_vector_of_the_models_width(pair: Pair) -> None:
    first, again = embed(pair.vectors), embed(pair.vectors)
    assert (len(first), again, all(math.isfinite(number) for number in first)) == (WIDTH, first, True)


def test_ask_is_answered_by_the_one_that_chats(pair: Pair) -> None:
    said = pair.chat.run("ask", "Hello?", "--max-tokens", "8", "--json").ends(0).json
    assert (said["model"], said["completion_tokens"], bool(said["answer"])) == ("tiny", 8, True)


def test_both_answer_at_the_same_time(pair: Pair) -> None:
    """A vector comes back while a long completion runs, by the count of the engine that makes it."""
    with pair.chat.client() as client:
        stream = client.completions.create(
            model="tiny", prompt="Go on.", max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
        )
        with stream:
            next(iter(stream))
            vector, running = embed(pair.vectors), requests_running(pair.chat)
    assert (len(vector), running) == (WIDTH, 1)


def test_the_others_port_is_refused_with_its_holder(pair: Pair) -> None:
    port = pair.rig.ports[pair.chat.name]
    third = Served.under(pair.rig, "third", PROFILE, publish={"port": port})
    third.run("up").ends(1, f"cannot publish 127.0.0.1:{port}: deployment {pair.chat.name} is published there")
    assert len(pair.rig.mine()) == 2


def test_a_killed_engine_core_comes_back_and_the_other_serves_on(pair: Pair, client: docker.DockerClient) -> None:
    with undisturbed(pair.vectors, embed):
        pair.chat.signal_engine_core(client, "SIGKILL")
        took = pair.chat.ready_again(2).at - pair.chat.await_told("BACKOFF").at
        print(f"from the crash to READY: {took.total_seconds():.1f} s")
    assert say_hello(pair.chat) == 8


def test_an_engine_core_that_embeds_and_stops_is_noticed_though_nobody_asks(
    pair: Pair, client: docker.DockerClient
) -> None:
    with undisturbed(pair.chat, say_hello):
        pair.vectors.signal_engine_core(client, "SIGSTOP")
        stopped = time.time()
        event = pair.vectors.await_told("STOPPING", seconds=300)
        print(f"from SIGSTOP to the journal: {event.at.timestamp() - stopped:.1f} s: {event.reason}")
        pair.vectors.ready_again(2)
    assert len(embed(pair.vectors)) == WIDTH


def test_one_goes_down_and_comes_up_while_the_other_stays(pair: Pair) -> None:
    with undisturbed(pair.chat, say_hello):
        pair.vectors.down().ends(0)
        assert [item.name for item in pair.rig.mine()] == [f"launchpad-{pair.chat.name}"]
        pair.vectors.up()
    assert len(embed(pair.vectors)) == WIDTH


def test_when_the_first_goes_down_the_second_is_left(pair: Pair) -> None:
    with undisturbed(pair.vectors, embed):
        pair.rig.run("down", pair.chat.name, timeout=DOWN_SECONDS).ends(0)
    assert [item.name for item in pair.rig.mine()] == [f"launchpad-{pair.vectors.name}"]
