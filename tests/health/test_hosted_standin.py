"""The stand-in of hosted endpoints, asked by launchpad's own prober and stream reader, and as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import httpx
import pytest

from launchpad.clock import SystemClock
from launchpad.health.http import HttpProber
from launchpad.health.stream import End, Piece, StreamProblem, Usage, stream_chat
from tests.support.hosted import ANSWER, GONE, KNOWS, THOUGHT, Billed, Flavour, HostedEndpoint, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.health.probe import Answer

ROOT = Path(__file__).parents[2]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)


@pytest.fixture(params=FLAVOURS)
def endpoint(request: pytest.FixtureRequest) -> Iterator[HostedEndpoint]:
    with HostedEndpoint(request.param) as made:
        yield made


@pytest.fixture
def nvidia() -> Iterator[HostedEndpoint]:
    with HostedEndpoint("nvidia") as made:
        yield made


@pytest.fixture
def deepseek() -> Iterator[HostedEndpoint]:
    with HostedEndpoint("deepseek") as made:
        yield made


@pytest.fixture
def nim() -> Iterator[HostedEndpoint]:
    with HostedEndpoint("nim") as made:
        yield made


def complete(
    endpoint: HostedEndpoint,
    *,
    model: str | None = None,
    headers: dict[str, str] | None = None,
    max_tokens: int = 64,
    timeout: float = 20.0,
) -> Answer:
    with HttpProber(endpoint.url, endpoint.headers if headers is None else headers) as prober:
        return prober.complete("chat", model or endpoint.models[0], "Hello there", max_tokens, timeout=timeout)


def listed(
    endpoint: HostedEndpoint, headers: dict[str, str] | None = None, timeout: float = 20.0
) -> tuple[Answer, str]:
    with HttpProber(endpoint.url, endpoint.headers if headers is None else headers) as prober:
        return prober.read("/v1/models", timeout=timeout)


def stream(endpoint: HostedEndpoint, *, silence_s: float = 20.0, **more: Any) -> Iterator[Piece | End]:
    body = {
        "model": endpoint.models[0],
        "messages": [{"role": "user", "content": "Hello there"}],
        "stream": True,
    } | more
    return stream_chat(endpoint.url, body, endpoint.headers, clock=SystemClock(), silence_s=silence_s)


def problem(
    endpoint: HostedEndpoint, *, silence_s: float = 20.0, **more: Any
) -> tuple[StreamProblem, list[Piece | End]]:
    said: list[Piece | End] = []
    with pytest.raises(StreamProblem) as caught:
        said.extend(stream(endpoint, silence_s=silence_s, **more))
    return caught.value, said


def text(said: list[Piece | End], kind: str) -> str:
    return "".join(item.text for item in said if isinstance(item, Piece) and item.kind == kind)


# -- well ----------------------------------------------------------------------------------------------------------------


def test_a_whole_completion_satisfies_the_prober(endpoint: HostedEndpoint) -> None:
    assert complete(endpoint).outcome == "ok"


def test_a_completion_cut_to_one_token_satisfies_the_prober(endpoint: HostedEndpoint) -> None:
    assert complete(endpoint, max_tokens=1).outcome == "ok"


def test_the_list_of_models_is_openais(endpoint: HostedEndpoint) -> None:
    answer, page = listed(endpoint)

    assert answer.ok
    assert [item["id"] for item in json.loads(page)["data"]] == [*endpoint.models, *endpoint.gone]


def test_deepseek_streams_reasoning_first_and_counts_it_at_the_end(deepseek: HostedEndpoint) -> None:
    said = list(stream(deepseek, stream_options={"include_usage": True}))

    thought, answer = len(THOUGHT.split()), len(ANSWER.split())
    assert text(said, "reasoning") == THOUGHT
    assert text(said, "answer") == ANSWER
    assert said[-1] == End("stop", Usage(2, thought + answer, thought))


def test_without_include_usage_a_stream_counts_nothing(deepseek: HostedEndpoint) -> None:
    assert list(stream(deepseek))[-1] == End("stop", None)


def test_thinking_is_switched_as_each_api_documents_it(nvidia: HostedEndpoint, deepseek: HostedEndpoint) -> None:
    assert text(list(stream(deepseek, thinking={"type": "disabled"})), "reasoning") == ""
    assert text(list(stream(nvidia)), "reasoning") == ""
    assert text(list(stream(nvidia, chat_template_kwargs={"thinking": True})), "reasoning") == THOUGHT


def test_max_tokens_cuts_the_answer_and_the_bill(nvidia: HostedEndpoint) -> None:
    said = list(stream(nvidia, max_tokens=3))

    assert text(said, "answer") == "Hello! I am"
    assert said[-1] == End("length", None)
    assert nvidia.billed == Billed(completions=1, prompt_tokens=2, completion_tokens=3)


def test_the_openai_client_reads_both_ways_of_answering(deepseek: HostedEndpoint) -> None:
    import openai

    with openai.OpenAI(base_url=f"{deepseek.url}/v1", api_key=deepseek.key, max_retries=0) as client:
        asked: Any = {"model": "deepseek-v4-pro", "messages": [{"role": "user", "content": "Hello"}]}
        whole = client.chat.completions.create(**asked)
        with client.chat.completions.create(**asked, stream=True) as chunks:
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    assert (whole.choices[0].message.content, streamed) == (ANSWER, ANSWER)


def test_every_request_is_kept_as_it_came(nvidia: HostedEndpoint) -> None:
    before = datetime.now(UTC)
    listed(nvidia)
    complete(nvidia, max_tokens=5)

    models, completion = nvidia.seen
    assert (models.method, models.path, models.body) == ("GET", "/v1/models", b"")
    assert (completion.method, completion.path) == ("POST", "/v1/chat/completions")
    assert completion.headers["authorization"] == f"Bearer {nvidia.key}"
    assert completion.json["max_tokens"] == 5
    assert before <= models.at <= completion.at
    assert nvidia.completions_asked() == [completion]


def test_a_connection_is_used_again(nvidia: HostedEndpoint) -> None:
    with httpx.Client(trust_env=False, headers=nvidia.headers) as client:
        lines = {id(client.get(f"{nvidia.url}/v1/models").extensions["network_stream"]) for _ in range(3)}

    assert len(lines) == 1


def test_closing_ends_those_who_wait_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # other tests' servers may have left theirs
    with HostedEndpoint("nvidia") as endpoint, httpx.Client(trust_env=False) as client:
        client.get(f"{endpoint.url}/v1/models")
        endpoint.be("silent")
        waiting = threading.Thread(target=complete, args=(endpoint,))
        waiting.start()
        while not endpoint.completions_asked():
            time.sleep(0.01)
    waiting.join(timeout=10)

    assert not waiting.is_alive()
    assert [thread.name for thread in set(threading.enumerate()) - before if "process_request" in thread.name] == []


# -- keys ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flavour", "headers", "status", "words"),
    [
        ("nvidia", {}, 401, "authorization` was missing"),
        ("nvidia", {"Authorization": "Bearer nvapi-other"}, 403, "Authorization failed"),
        ("deepseek", {}, 401, "auth header format should be Bearer"),
        ("deepseek", {"Authorization": "Bearer sk-other-key-9876"}, 401, "Your api key: [removed] is invalid"),
    ],
)
def test_a_completion_demands_the_key(flavour: Flavour, headers: dict[str, str], status: int, words: str) -> None:
    with HostedEndpoint(flavour) as endpoint:
        answer = complete(endpoint, headers=headers)

    assert (answer.status, words in answer.detail) == (status, True), answer.detail


def test_nvidia_lists_models_to_anybody_and_deepseek_does_not(nvidia: HostedEndpoint, deepseek: HostedEndpoint) -> None:
    assert listed(nvidia, {})[0].status == 200
    assert listed(deepseek, {})[0].status == 401


# -- moods ---------------------------------------------------------------------------------------------------------------

REFUSALS: list[tuple[Flavour, Kind, int, str]] = [
    ("nvidia", "unauthorized", 401, "Unauthorized"),
    ("nvidia", "forbidden", 403, "Authorization failed"),
    ("nvidia", "no-balance", 402, "Payment Required"),
    ("nvidia", "unknown-model", 404, "404 page not found"),
    ("nvidia", "withdrawn", 404, "Not found for account"),
    ("nvidia", "gone", 410, "has reached its end of life on 2026-08-07T09:00:00Z and is no longer available."),
    ("nvidia", "listed-but-gone", 410, "has reached its end of life"),
    ("nvidia", "limited", 429, "Too Many Requests"),
    ("nvidia", "overloaded", 503, "ResourceExhausted"),
    ("nvidia", "failing", 500, "Internal Server Error"),
    ("nvidia", "html", 502, "<title>502 Bad Gateway</title>"),
    ("deepseek", "unauthorized", 401, "Authentication Fails"),
    ("deepseek", "no-balance", 402, "Insufficient Balance"),
    ("deepseek", "unknown-model", 400, "The supported API model names are deepseek-flash, deepseek-v4-pro"),
    ("deepseek", "limited", 429, "based on your remaining balance"),
    ("deepseek", "overloaded", 503, "Service is too busy"),
    ("deepseek", "failing", 500, "Internal Server Error"),
    ("nim", "loading", 503, "not ready"),
    ("nim", "unknown-model", 404, "does not exist"),
]


@pytest.mark.parametrize(("flavour", "kind", "status", "words"), REFUSALS)
def test_a_mood_is_a_refusal_that_bills_nothing(flavour: Flavour, kind: Kind, status: int, words: str) -> None:
    with HostedEndpoint(flavour) as endpoint:
        endpoint.be(kind)
        answer = complete(endpoint)
        streamed, _ = problem(endpoint)

    assert (answer.outcome, answer.status, words in answer.detail) == ("http", status, True), answer.detail
    assert (streamed.kind, streamed.status) == ("http", status)
    assert endpoint.billed == Billed()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_mood_unknown_to_a_flavour_is_refused_rather_than_invented(flavour: Flavour) -> None:
    endpoint = HostedEndpoint(flavour)
    with endpoint:
        for kind in set(get_args(Kind)) - KNOWS[flavour]:
            with pytest.raises(ValueError, match=f"{flavour} is not known to be"):
                endpoint.be(kind)


def test_a_mood_passes_after_so_many_requests_of_its_kind(nvidia: HostedEndpoint) -> None:
    nvidia.be("overloaded", times=2)
    listed(nvidia)

    assert [complete(nvidia).status for _ in range(3)] == [503, 503, 200]


def test_nvidias_429_names_no_time_unless_it_is_told_to(nvidia: HostedEndpoint) -> None:
    nvidia.be("limited")
    untold, _ = problem(nvidia)
    nvidia.be("limited", seconds=7)
    told, _ = problem(nvidia)

    assert (untold.retry_after, told.retry_after) == (None, "7")


def test_retry_after_may_be_a_date(deepseek: HostedEndpoint) -> None:
    deepseek.be("limited", seconds=3600, as_date=True)
    refused, _ = problem(deepseek)

    assert refused.retry_after is not None
    left = parsedate_to_datetime(refused.retry_after) - datetime.now(UTC)
    assert 3500 < left.total_seconds() <= 3600


def test_a_retired_model_is_listed_and_gone_beside_one_that_serves(nvidia: HostedEndpoint) -> None:
    page = listed(nvidia)[1]

    assert GONE["nvidia"][0] in page
    assert complete(nvidia, model=GONE["nvidia"][0]).status == 410
    assert complete(nvidia).status == 200


def test_only_a_model_that_is_gone_for_good_leaves_the_list(nvidia: HostedEndpoint) -> None:
    nvidia.be("listed-but-gone")
    kept = listed(nvidia)[1]
    nvidia.be("gone")
    left = listed(nvidia)[1]

    assert (nvidia.models[0] in kept, nvidia.models[0] in left) == (True, False)


def test_nvidias_unknown_model_is_plain_text(nvidia: HostedEndpoint) -> None:
    answer = httpx.post(
        f"{nvidia.url}/v1/chat/completions", headers=nvidia.headers, json={"model": "acme/none", "messages": [{}]}
    )

    assert (answer.status_code, answer.headers["content-type"], answer.text) == (
        404,
        "text/plain; charset=utf-8",
        "404 page not found\n",
    )


def test_deepseeks_old_name_is_served_though_it_is_not_listed(deepseek: HostedEndpoint) -> None:
    assert "deepseek-v4-flash" not in listed(deepseek)[1]
    assert complete(deepseek, model="deepseek-v4-flash").ok


def test_a_slow_deepseek_keeps_a_json_answer_alive_with_empty_lines(deepseek: HostedEndpoint) -> None:
    deepseek.be("slow", seconds=0.3)
    asked = {"model": "deepseek-flash", "messages": [{"role": "user", "content": "Hello"}]}
    raw = httpx.post(f"{deepseek.url}/chat/completions", headers=deepseek.headers, json=asked).content

    assert raw.startswith(b"\n\n")
    assert complete(deepseek).ok


def test_a_slow_deepseek_keeps_a_stream_alive_and_then_answers(deepseek: HostedEndpoint) -> None:
    deepseek.be("slow", seconds=0.3)

    assert text(list(stream(deepseek)), "answer") == ANSWER


def test_comments_alone_are_silence_to_the_reader(deepseek: HostedEndpoint) -> None:
    deepseek.be("slow", seconds=60)

    assert problem(deepseek, silence_s=0.5)[0].kind == "silent"


def test_a_slow_endpoint_is_slow_to_list_models_too(nvidia: HostedEndpoint) -> None:
    nvidia.be("slow", seconds=0.3)

    assert listed(nvidia)[0].seconds >= 0.3
    assert listed(nvidia, timeout=0.1)[0].outcome == "timeout"


def test_a_silent_endpoint_says_nothing_at_all(endpoint: HostedEndpoint) -> None:
    endpoint.be("silent")

    assert listed(endpoint, timeout=0.3)[0].outcome == "timeout"
    assert complete(endpoint, timeout=0.3).outcome == "timeout"


def test_a_stream_may_fall_silent_in_the_middle(nvidia: HostedEndpoint) -> None:
    nvidia.be("silent", after=2)
    refused, said = problem(nvidia, silence_s=0.5)

    assert (refused.kind, text(said, "answer")) == ("silent", "Hello! I")


def test_a_stream_may_be_cut_in_the_middle_and_what_was_said_is_billed(nvidia: HostedEndpoint) -> None:
    nvidia.be("cut", after=2)
    refused, said = problem(nvidia)

    assert (refused.kind, text(said, "answer")) == ("cut", "Hello! I")
    assert nvidia.billed == Billed(completions=1, prompt_tokens=2, completion_tokens=2)


def test_a_whole_answer_may_be_cut(endpoint: HostedEndpoint) -> None:
    endpoint.be("cut")

    assert (complete(endpoint).outcome, listed(endpoint)[0].outcome) == ("refused", "refused")


def test_a_proxys_page_stands_before_everything(endpoint: HostedEndpoint) -> None:
    endpoint.be("html")

    assert listed(endpoint)[0].status == 502


def test_a_revoked_key_stops_deepseeks_list_and_not_nvidias(nvidia: HostedEndpoint, deepseek: HostedEndpoint) -> None:
    for one in (nvidia, deepseek):
        one.be("unauthorized")

    assert (listed(nvidia)[0].status, listed(deepseek)[0].status) == (200, 401)


def test_a_pending_answer_is_no_completion_and_can_be_polled(nvidia: HostedEndpoint) -> None:
    nvidia.be("pending", seconds=0.3)
    asked = {"model": nvidia.models[0], "messages": [{"role": "user", "content": "Hello"}]}
    with httpx.Client(base_url=nvidia.url, headers=nvidia.headers, trust_env=False) as client:
        first = client.post("/v1/chat/completions", json=asked)
        path = f"/v1/status/{first.headers['nvcf-reqid']}"
        early = client.get(path).status_code
        time.sleep(0.4)
        late = client.get(path)

    assert (first.status_code, early, late.status_code) == (202, 202, 200)
    assert late.json()["choices"][0]["message"]["content"] == ANSWER
    assert (complete(nvidia).outcome, complete(nvidia).status) == ("http", 202)


def test_a_body_that_is_no_question_is_refused(deepseek: HostedEndpoint) -> None:
    url = f"{deepseek.url}/v1/chat/completions"

    assert httpx.post(url, headers=deepseek.headers, content=b"{").status_code == 400
    assert httpx.post(url, headers=deepseek.headers, json={"model": "deepseek-flash"}).status_code == 422


def test_a_loading_nim_is_alive_and_not_ready(nim: HostedEndpoint) -> None:
    nim.be("loading")
    with HttpProber(nim.url) as prober:
        loading = [prober.get(f"/v1/health/{name}").status for name in ("live", "ready")]
        nim.be("ok")
        loaded = [prober.get(f"/v1/{name}").status for name in ("health/live", "health/ready", "models", "metadata")]

    assert (loading, loaded) == ([200, 503], [200] * 4)


def test_deepseek_needs_no_v1_and_nvidia_does(nvidia: HostedEndpoint, deepseek: HostedEndpoint) -> None:
    found = [httpx.get(f"{one.url}/models", headers=one.headers).status_code for one in (nvidia, deepseek)]

    assert found == [404, 200]


# -- as a process --------------------------------------------------------------------------------------------------------


def test_as_a_process_it_says_where_it_is_and_is_moody_on_demand() -> None:
    command = [sys.executable, "-m", "tests.support.hosted", "--flavour", "nvidia", "--key", "nvapi-process"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            with HttpProber(url, {"Authorization": "Bearer nvapi-process"}) as prober:
                model = "deepseek-ai/deepseek-v4-flash-0731"
                well = prober.complete("chat", model, "Hello", 8)
                changed = httpx.post(f"{url}/-/mood", json={"kind": "limited", "seconds": 3})
                wrong = httpx.post(f"{url}/-/mood", json={"kind": "merry"})
                moody = prober.complete("chat", model, "Hello", 8)
            told = httpx.get(f"{url}/-/seen").json()
        finally:
            process.send_signal(signal.SIGTERM)
        left = process.wait(timeout=20)

    assert (well.status, changed.json()["kind"], wrong.status_code, moody.status, left) == (200, "limited", 400, 429, 0)
    assert [item["path"] for item in told["seen"]] == ["/v1/chat/completions"] * 2
    assert told["billed"] == {"completions": 1, "prompt_tokens": 1, "completion_tokens": 8}
