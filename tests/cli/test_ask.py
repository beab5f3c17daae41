"""``ask``: what is sent, what is shown where, and what is said when no answer comes: over real HTTP."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.store.state import VERSION, Store, Wanted
from launchpad.supervise.machine import Phase
from launchpad.supervise.snapshot import Load
from tests.cli.test_status import NOW, snapshot
from tests.deploy.specs import profile, spec
from tests.health.probe_servers import answering, free_port
from tests.health.test_stream import SSE, STOP, delta, sse
from tests.rehearse.lives import READY_PATH, Life, settings_of
from tests.rehearse.lives import WORDS as ENGINE_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Launchpad

V4: dict[str, Any] = {"model": {"served_name": "deepseek-v4-flash"}}
KEY = "sk-0123456789abcdef"


@contextmanager
def deployment(
    state: Path, url: str, phase: Phase = Phase.READY, *, alive: bool = True, served: str = "small", **changes: Any
) -> Iterator[None]:
    """A deployment ``small`` at ``url`` that this process supervises; ``changes`` are its profile's."""
    published = {key: changes.pop(key) for key in ("load", "rehearsal") if key in changes}
    made = Store(state, lambda text: None).deployment("small")
    made.write_wanted(Wanted(VERSION, True, 1, NOW, spec(profile(**changes))))
    made.write_state(snapshot(phase, endpoint=url, model=served, **published), durable=False)
    lock = made.lock()
    assert not alive or lock.acquire()
    try:
        yield
    finally:
        if alive:
            lock.release()


def sent(launchpad: Launchpad, state: Path, *words: str, **changes: Any) -> dict[str, Any]:
    """The body that the server got."""
    with answering(sse(delta(content="y"), STOP), 200, SSE) as server, deployment(state, server.url, **changes):
        assert launchpad("ask", "small", *words).code == 0
        body: dict[str, Any] = json.loads(server.heard[0].body)
        return body


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_the_question_goes_out_as_one_streamed_chat(launchpad: Launchpad, state: Path) -> None:
    assert sent(launchpad, state, "Why?", "--system", "Be brief.", "--max-tokens", "7") == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 7,
    }


@pytest.mark.parametrize(
    ("words", "serving", "said"),
    [
        ((), {}, {"thinking": False}),
        ((), {"reasoning": "think-high"}, {"thinking": True, "reasoning_effort": "low"}),
        (("--think", "max"), {"reasoning": "think-high"}, {"thinking": True, "reasoning_effort": "high"}),
        (("--think", "non-think"), {"reasoning": "think-high"}, {"thinking": False}),
    ],
)
def test_the_mode_is_always_said_as_it_means_it_to_the_preview_weights_under_sglang_0_5_23(
    launchpad: Launchpad, state: Path, words: tuple[str, ...], serving: dict[str, str], said: dict[str, Any]
) -> None:
    assert sent(launchpad, state, "Why?", *words, **V4, serving=serving)["chat_template_kwargs"] == said


def test_the_weights_are_told_by_their_repository(launchpad: Launchpad, state: Path) -> None:
    model = {**V4["model"], "source": {"repo": "deepseek-ai/DeepSeek-V4-Flash-0731"}}
    body = sent(launchpad, state, "Why?", "--think", "max", model=model)

    assert body["chat_template_kwargs"] == {"thinking": True, "reasoning_effort": "max"}


def test_the_question_can_come_from_stdin(launchpad: Launchpad, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("from\nelsewhere\n"))

    assert sent(launchpad, state, "-")["messages"] == [{"role": "user", "content": "from\nelsewhere\n"}]


def test_a_key_is_named_by_its_variable_and_printed_nowhere(
    launchpad: Launchpad, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with answering(f'{{"error": "no such key: {KEY}"}}'.encode(), 401) as server, deployment(state, server.url):
        ended = launchpad("ask", "small", "Why?", "--key-env", "MY_KEY")
        authorization = server.heard[0].headers["authorization"]

    assert authorization == f"Bearer {KEY}"
    assert "it answered 401: no such key: [removed]" in ended.err
    assert KEY not in ended.out + ended.err


# -- what is shown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_the_answer_is_stdout_and_reasoning_stderr(
    launchpad: Launchpad, state: Path, tmp_path: Path, engine: str
) -> None:
    image = {"sglang": "lmsysorg/sglang:v0.5.23", "vllm": "vllm/vllm-openai:v0.33.0"}[engine]
    with Life(tmp_path, *ENGINE_WORDS[engine], **settings_of(engine, token_seconds=0.01)) as life:
        life.until_ready(READY_PATH[engine])
        changes = {**V4, "engine": engine, "image": {"reference": image}}
        with deployment(state, f"http://127.0.0.1:{life.port}", served="tiny", **changes):
            ended = launchpad("ask", "small", "Say hello.", "--think", "high")

    assert ended.code == 0, ended.err
    assert ended.out.startswith("This is a rehearsal: no model is loaded. The stand-in for ")
    assert ended.err.startswith("--- reasoning\nNothing thinks here either.\n--- answer\nthink-high, tokens in 6, out ")
    assert " tokens/s, " in ended.err
    assert ended.err.endswith(" s in all, finish: stop\n")


def test_json_is_one_document_with_everything(launchpad: Launchpad, state: Path) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    body = sse(delta(reasoning="hm"), delta(content="yes"), STOP, usage)
    with answering(body, 200, SSE) as server, deployment(state, server.url, **V4):
        made = launchpad("ask", "small", "Why?", "--json", "--think", "high").json

    timed = {key: made.pop(key) for key in ("ttft_s", "seconds", "tokens_per_s")}
    assert made == {
        "deployment": "small",
        "model": "small",
        "mode": "think-high",
        "said": {"chat_template_kwargs": {"thinking": True, "reasoning_effort": "low"}},
        "unsaid": "does not think, unless SGLANG_DEFAULT_THINKING is set",
        "answer": "yes",
        "reasoning": "hm",
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "reasoning_tokens": None,
        "pieces": 2,
    }
    assert timed["seconds"] >= timed["ttft_s"] > 0


def test_where_no_mode_can_be_said_json_says_that_what_it_does_is_unknown(launchpad: Launchpad, state: Path) -> None:
    with answering(sse(delta(content="yes"), STOP), 200, SSE) as server, deployment(state, server.url):
        made = launchpad("ask", "small", "Why?", "--json").json

    assert (made["mode"], made["said"], made["unsaid"]) == (None, {}, None)


def test_where_the_profiles_mode_cannot_be_said_it_is_told_what_happens_unsaid(
    launchpad: Launchpad, state: Path
) -> None:
    old: dict[str, Any] = {"image": {"reference": "lmsysorg/sglang:v0.5.17"}, "serving": {"reasoning": "think-max"}}
    model = {**V4["model"], "path": "/models/deepseek-v4-flash-0731"}
    with (
        answering(sse(delta(content="yes"), STOP), 200, SSE) as server,
        deployment(state, server.url, model=model, **old),
    ):
        ended = launchpad("ask", "small", "Why?", "--json")

    assert (ended.json["mode"], ended.json["said"]) == (None, {})
    assert "asked without a reasoning mode: cannot ask sglang 0.5.17 with deepseek_v4 (official) in mode" in ended.err
    assert "; unsaid, it does not think, unless" in ended.err


def test_think_max_in_a_short_context_is_remarked_upon(launchpad: Launchpad, state: Path) -> None:
    serving = {"context_length": 65_536}
    with (
        answering(sse(delta(content="yes"), STOP), 200, SSE) as server,
        deployment(state, server.url, serving=serving, **V4),
    ):
        ended = launchpad("ask", "small", "Why?", "--think", "max")
        silent = launchpad("ask", "small", "Why?", "--think", "high")

    says = "small has a context of 65536 tokens; think-max wants 393216 and may be cut off\n"
    assert (says in ended.err, says in silent.err) == (True, False)


def test_what_the_server_does_not_count_is_called_unknown(launchpad: Launchpad, state: Path) -> None:
    with answering(sse(delta(content="yes"), STOP), 200, SSE) as server, deployment(state, server.url):
        ended = launchpad("ask", "small", "Why?")

    assert ended.out == "yes\n"
    assert ended.err.startswith("tokens in unknown, out unknown (1 pieces), first after ")
    assert "tokens/s unknown" in ended.err


def test_raw_shows_the_events_as_they_came(launchpad: Launchpad, state: Path) -> None:
    with answering(sse(delta(content="y"), STOP), 200, SSE) as server, deployment(state, server.url):
        ended = launchpad("ask", "small", "Why?", "--raw")

    assert ended.out.splitlines() == [json.dumps(delta(content="y")), json.dumps(STOP), "[DONE]"]


def test_half_a_character_breaks_nothing(launchpad: Launchpad, state: Path) -> None:
    half = '{"choices": [{"delta": {"content": "a\\ud83d"}, "finish_reason": "stop"}]}'
    with answering(sse(half), 200, SSE) as server, deployment(state, server.url):
        assert launchpad("ask", "small", "Why?", "--json").json["answer"] == "a?"


# -- no answer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "headers", "says", "hint"),
    [
        (
            200,
            sse(delta(content="y"), {"error": "boom"}),
            SSE,
            "cannot hear small out: it said after 1 pieces: boom",
            "logs",
        ),
        (
            200,
            sse(delta(content="y"), done=False),
            SSE,
            "the connection ended before the answer did after 1 pieces",
            "logs",
        ),
        (
            200,
            b"<html>",
            (),
            "cannot hear small out: the connection ended before the answer did",
            "launchpad logs small",
        ),
        (401, b'{"error": "who"}', (), "it answered 401: who", "--key-env NAME"),
        (404, b'{"error": "no model"}', (), "it answered 404: no model", "it was asked for small"),
        (410, b"gone", (), "it answered 410: gone", "gone for good"),
        (429, b"slow", (("Retry-After", "9"),), "it answered 429: slow", "try again in 9 s"),
        (503, b"Loading model", (), "it answered 503: Loading model", "launchpad logs small"),
    ],
)
def test_an_answer_that_does_not_come_is_told_with_the_servers_words(
    launchpad: Launchpad,
    state: Path,
    status: int,
    body: bytes,
    headers: tuple[tuple[str, str], ...],
    says: str,
    hint: str,
) -> None:
    with answering(body, status, headers) as server, deployment(state, server.url):
        ended = launchpad("ask", "small", "Why?")

    assert ended.code == 1
    assert says in ended.err
    assert hint in ended.err


def test_a_server_that_is_not_there_is_named(launchpad: Launchpad, state: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with deployment(state, url):
        ended = launchpad("ask", "small", "Why?")

    assert (ended.code, f"cannot ask small: nobody answers at {url}: " in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("phase", "more", "says"),
    [
        (Phase.STOPPED, {}, "it is STOPPED: because\nhint: launchpad up small\n"),
        (Phase.STOPPED, {"rehearsal": True}, "it is STOPPED: because\nhint: launchpad rehearse small\n"),
        (Phase.FAILED, {}, "it is FAILED: because\nhint: launchpad logs small; mended: launchpad up small\n"),
        (Phase.UNREADY, {}, "it is UNREADY: because\nhint: launchpad status small\n"),
        (Phase.BACKOFF, {}, "it is BACKOFF: because\nhint: launchpad events small --follow\n"),
        (
            Phase.STARTING,
            {"load": Load("weights", 12, 46, NOW, None, warm=False)},
            "it is STARTING (weights 12/46)\nhint: launchpad events small --follow\n",
        ),
        (
            Phase.READY,
            {"alive": False},
            "no supervisor runs; it was READY when last seen\nhint: launchpad up small (it adopts what still runs)\n",
        ),
    ],
)
def test_one_that_is_not_ready_is_told_with_its_phase_and_what_to_type(
    launchpad: Launchpad, state: Path, phase: Phase, more: dict[str, Any], says: str
) -> None:
    with deployment(state, "http://127.0.0.1:9", phase, **more):
        ended = launchpad("ask", "small", "Why?")

    assert (ended.code, ended.err) == (1, f"error: cannot ask small: {says}")


def test_a_hosted_one_that_failed_has_no_log_to_be_pointed_to(launchpad: Launchpad, state: Path) -> None:
    elsewhere: dict[str, Any] = {
        "engine": "hosted",
        "hosted": {"base_url": "https://api.example.com/v1"},
        "model": {"path": None},
    }
    without: dict[str, Any] = dict.fromkeys(("image", "gpus", "parallel", "publish"))
    with deployment(state, "https://api.example.com", Phase.FAILED, **elsewhere, **without):
        ended = launchpad("ask", "small", "Why?")

    assert ended.err.endswith("hint: launchpad events small; mended: launchpad up small\n")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("Why?", "--think", "high"), 1, "with a model that launchpad does not know in mode think-high: "),
        (("Why?", "--think", "hard"), 2, "--think takes non, high or max, not 'hard'"),
        (("Why?", "--json", "--raw"), 2, "--json and --raw exclude each other"),
        ((" ",), 1, "the question is empty"),
        (("Why?", "--key-env", "NOT_SET_ANYWHERE"), 1, "the environment variable NOT_SET_ANYWHERE is not set"),
        (("Why?", "--key-env", KEY), 1, "--key-env takes the name of an environment variable, never the key itself"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(
    launchpad: Launchpad, state: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    with deployment(state, "http://127.0.0.1:9"):
        ended = launchpad("ask", "small", *words)

    assert ended.code == code
    assert says in ended.err
    assert KEY not in ended.err


def test_a_mode_that_there_is_none_is_refused_before_anything_else(launchpad: Launchpad, state: Path) -> None:
    with deployment(state, "http://127.0.0.1:9", Phase.STOPPED):
        ended = launchpad("ask", "small", "Why?", "--think", "deep")

    assert ended.code == 2
    assert "--think takes non, high or max, not 'deep'" in ended.err


def test_a_deployment_that_embeds_is_not_asked(launchpad: Launchpad, state: Path) -> None:
    probes = {"completion": {"kind": "embedding"}}
    with deployment(state, "http://127.0.0.1:9", probes=probes):
        ended = launchpad("ask", "small", "Why?")

    assert ended.code == 1
    assert ended.err.startswith("error: cannot ask small: it embeds texts and does not answer\nhint: curl http://127.")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_terminal_is_sent_nothing_of_the_models_that_it_would_obey(
    launchpad: Launchpad, state: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen, text = Screen(), "a\x1b[2Jb\x1b]0;title\x07c\r\x9b1md\u202ee\n\tf"
    piece = delta(content=text) if stream == "stdout" else delta(reasoning_content=text)
    with answering(sse(piece, STOP), 200, SSE) as server, deployment(state, server.url):
        monkeypatch.setattr(sys, stream, screen)
        launchpad("ask", "small", "Why?")

    assert "a[2Jb]0;titlec1mde\n\tf\n" in screen.getvalue()


def test_a_refusals_words_hold_nothing_that_a_terminal_would_obey(launchpad: Launchpad, state: Path) -> None:
    with answering(b'{"error": "no\\u001b[2J\\u009b2J\\u0007 way"}', 400) as server, deployment(state, server.url):
        ended = launchpad("ask", "small", "Why?")

    assert ended.code == 1
    assert not {"\x1b", "\x9b", "\x07"} & set(ended.err), ended.err


def test_a_file_gets_what_the_model_wrote(launchpad: Launchpad, state: Path) -> None:
    with answering(sse(delta(content="a\x1b[2Jb"), STOP), 200, SSE) as server, deployment(state, server.url):
        ended = launchpad("ask", "small", "Why?")

    assert ended.out == "a\x1b[2Jb\n"


def test_ctrl_c_ends_it_and_says_how_far_it_came(
    launchpad: Launchpad, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(io.StringIO):
        def write(self, text: str) -> int:
            if text.strip():
                raise KeyboardInterrupt
            return 0

    with answering(sse(delta(content="y"), STOP), 200, SSE) as server, deployment(state, server.url):
        monkeypatch.setattr(sys, "stdout", Impatient())
        ended = launchpad("ask", "small", "Why?")

    assert ended.code == 130
    assert ended.err.startswith("ended by Ctrl-C, tokens in unknown, out unknown (1 pieces), ")


def test_a_deployment_that_nobody_knows_is_not_found(launchpad: Launchpad, state: Path) -> None:
    assert launchpad("ask", "nobody", "Why?").code == 1
