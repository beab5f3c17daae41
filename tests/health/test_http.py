"""The HTTP door against real servers, well-behaved and not."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from launchpad.health.http import BODY_LIMIT, PAGE_LIMIT, HttpProber, retry_after_s
from tests.fakes.clock import ManualClock
from tests.health.probe_servers import answering, free_port, misbehaving

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchpad.health.probe import Answer

CHAT = json.dumps({"choices": [{"message": {"content": "Hello"}}], "usage": {"completion_tokens": 2}}).encode()


def ask(url: str, path: str = "/health", timeout: float = 5.0, headers: dict[str, str] | None = None) -> Answer:
    with HttpProber(url, headers, timeout=timeout) as prober:
        return prober.get(path)


def chat(url: str, timeout: float = 5.0) -> Answer:
    with HttpProber(url) as prober:
        return prober.complete("chat", "tiny", "Say hello.", 8, {"ignore_eos": True}, timeout)


def reset(line: socket.socket, _: threading.Event) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def drip(head: bytes, drop: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def act(line: socket.socket, stop: threading.Event) -> None:
        line.sendall(head)
        while not stop.wait(0.05):
            line.sendall(drop)

    return act


@pytest.mark.parametrize("status", [200, 204])
def test_any_2xx_is_ok(status: int) -> None:
    with answering(status=status) as server:
        answer = ask(server.url)
    assert (answer.ok, answer.outcome, answer.status) == (True, "ok", status)


@pytest.mark.parametrize("status", [404, 500, 503])
def test_another_status_is_an_http_answer_with_the_first_lines_of_its_body(status: int) -> None:
    with answering(b"loading\nshards", status) as server:
        answer = ask(server.url)
    assert (answer.ok, answer.outcome, answer.status, answer.detail) == (False, "http", status, "loading\nshards")


def test_a_port_nobody_listens_on_is_refused() -> None:
    answer = ask(f"http://127.0.0.1:{free_port()}")
    assert (answer.outcome, answer.status) == ("refused", None)


def test_a_reset_connection_is_refused_as_docker_proxy_does_while_an_engine_loads() -> None:
    with misbehaving(reset) as url:
        assert ask(url).outcome == "refused"


def test_a_closed_connection_is_refused() -> None:
    with misbehaving(lambda line, stop: None) as url:
        assert ask(url).outcome == "refused"


def test_something_that_speaks_no_http_is_refused() -> None:
    with misbehaving(lambda line, stop: line.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as url:
        assert ask(url).outcome == "refused"


def test_a_body_cut_short_is_refused() -> None:
    with misbehaving(lambda line, stop: line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")) as url:
        assert ask(url).outcome == "refused"


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        pytest.param(b"", b"", id="silence"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-Drip: 1\r\n", id="headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", id="body of a known length"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x", id="body until close"),
    ],
)
def test_a_server_that_drips_cannot_hold_the_prober_past_its_deadline(head: bytes, drop: bytes) -> None:
    with misbehaving(drip(head, drop)) as url:
        begin = time.monotonic()
        answer = ask(url, timeout=0.4)
        took = time.monotonic() - begin
    assert (answer.outcome, answer.status, took < 1.5) == ("timeout", None, True), (answer, took)


def test_the_answer_says_how_long_the_exchange_took() -> None:
    with misbehaving(lambda line, stop: stop.wait(2)) as url:
        assert 0.2 <= ask(url, timeout=0.2).seconds < 1.0


def test_a_redirect_is_not_followed() -> None:
    with answering(b"", 307, (("Location", "http://example.invalid/x"),)) as server:
        answer = ask(server.url)
    assert answer.detail == "redirects, which are not followed, to http://example.invalid/x"
    assert [heard.path for heard in server.heard] == ["/health"]


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, dead)
    with answering() as server:
        assert ask(server.url).ok


def test_ipv6_is_asked_like_any_other() -> None:
    with answering(host="::1") as server:
        assert ask(server.url).ok


def test_headers_are_sent_and_never_come_back_in_the_detail() -> None:
    with answering(b"bad key sk-verysecret, Bearer sk-verysecret", 401) as server:
        answer = ask(server.url, headers={"Authorization": "Bearer sk-verysecret"})
    assert server.heard[0].headers["authorization"] == "Bearer sk-verysecret"
    assert (answer.status, "verysecret" in answer.detail) == (401, False)


def test_every_question_has_its_own_connection() -> None:
    with answering() as server:
        ask(server.url)
    assert server.heard[0].headers["connection"] == "close"


@pytest.mark.parametrize("secret", ["sk-sécret\n", "sk-\x00sécret", "sk-sécret\r\nX: y"])
def test_a_header_that_cannot_be_sent_is_broken_and_not_repeated(secret: str) -> None:
    with answering() as server:
        answer = ask(server.url, headers={"Authorization": f"Bearer {secret}"})
    assert (answer.outcome, "cret" in answer.detail) == ("broken", False)


@pytest.mark.parametrize("url", ["http://[::1", "ftp://127.0.0.1", "127.0.0.1:80"])
def test_a_malformed_url_is_broken_not_an_exception(url: str) -> None:
    assert ask(url).outcome == "broken"


def test_a_name_that_does_not_resolve_is_broken() -> None:
    assert ask("http://name.invalid").outcome == "broken"


def test_tls_against_a_plain_server_is_broken() -> None:
    with answering() as server:
        assert ask(server.url.replace("http:", "https:")).outcome == "broken"


def test_a_tls_handshake_that_never_ends_is_cut_at_the_deadline() -> None:
    with misbehaving(lambda line, stop: stop.wait(5)) as url:
        assert ask(url.replace("http:", "https:"), timeout=0.3).outcome == "timeout"


def test_one_real_completion_is_ok() -> None:
    with answering(CHAT) as server:
        answer = chat(server.url)
    assert (answer.ok, answer.status, answer.detail) == (True, 200, "")


def test_a_completion_asks_the_model_by_name_without_streaming() -> None:
    with answering(CHAT) as server:
        chat(server.url)
    heard = server.heard[0]
    assert (heard.method, heard.path, json.loads(heard.body)) == (
        "POST",
        "/v1/chat/completions",
        {
            "ignore_eos": True,
            "model": "tiny",
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": 8,
            "stream": False,
        },
    )


@pytest.mark.parametrize("status", [201, 202, 400, 503])
def test_a_completion_under_any_status_but_200_is_an_http_answer(status: int) -> None:
    with answering(CHAT, status) as server:
        assert chat(server.url).outcome == "http"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the answer is empty"),
        (b"<html>", "the answer is not JSON: <html>"),
        (b'data: {"choices": [{"delta": {"content": "x"}}]}\n\ndata: [DONE]\n\n', "the answer is not JSON: data:"),
        (b'{"error": {"message": "engine dead"}}', "the server answered 200 with an error: {"),
        (b'{"choices": []}', "the answer has no choices: {"),
    ],
)
def test_a_200_without_a_completion_is_invalid_with_its_reason(body: bytes, reason: str) -> None:
    with answering(body) as server:
        answer = chat(server.url)
    assert (answer.outcome, answer.detail.startswith(reason)) == ("invalid", True), answer


def test_a_completion_longer_than_the_limit_is_invalid_and_not_read_to_its_end() -> None:
    with answering(b" " * (8 * BODY_LIMIT) + CHAT) as server:
        answer = chat(server.url)
    assert answer.detail.startswith(f"the answer is longer than {BODY_LIMIT} bytes")


def test_a_compressed_body_is_invalid_because_none_was_asked_for() -> None:
    with answering(gzip.compress(CHAT), headers=(("Content-Encoding", "gzip"),)) as server:
        assert chat(server.url).outcome == "invalid"


def test_closing_ends_a_question_in_flight() -> None:
    found: list[Answer] = []
    with misbehaving(lambda line, stop: stop.wait(10)) as url:
        prober = HttpProber(url, timeout=10)
        asking = threading.Thread(target=lambda: found.append(prober.get("/health")))
        asking.start()
        time.sleep(0.3)
        prober.close()
        asking.join(2)
    assert [(answer.outcome, answer.detail) for answer in found] == [("broken", "the prober was closed")]


def test_a_closed_prober_refuses_questions() -> None:
    prober = HttpProber("http://127.0.0.1:9")
    prober.close()
    prober.close()
    assert prober.get("/health").detail == "the prober was closed"


def test_a_prober_may_be_used_from_several_threads() -> None:
    with answering() as server, HttpProber(server.url) as prober:
        found: list[bool] = []
        threads = [threading.Thread(target=lambda: found.append(prober.get("/health").ok)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [True] * 8


def test_many_questions_leave_no_descriptor_behind() -> None:
    code = (
        "import os, sys; sys.path[:0] = sys.argv[1:]\n"
        "from tests.health.probe_servers import answering\nfrom launchpad.health.http import HttpProber\n"
        "with answering() as server, HttpProber(server.url) as prober:\n"
        "    prober.get('/'); before = len(os.listdir('/proc/self/fd'))\n"
        "    for _ in range(20): prober.get('/')\n"
        "    import time; time.sleep(0.2); print(len(os.listdir('/proc/self/fd')) - before)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, *sys.path], capture_output=True, text=True, check=True)
    assert int(ran.stdout) <= 0


def test_httpx_is_not_imported_before_the_first_question() -> None:
    code = "import sys, launchpad.health.http; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- pages ----------------------------------------------------------------------------------------------------------


def read(url: str, timeout: float = 5.0) -> tuple[Answer, str]:
    with HttpProber(url) as prober:
        return prober.read("/metrics", timeout)


def test_a_page_over_the_limit_of_other_bodies_is_read_whole() -> None:
    page = b"vllm:x 1.0\n" * (3 * BODY_LIMIT // 11)
    with answering(page) as server:
        answer, text = read(server.url)
    assert (answer.outcome, text) == ("ok", page.decode())


def test_a_page_that_does_not_end_is_left_where_the_limit_is() -> None:
    with answering(b"x" * (PAGE_LIMIT + 1)) as server:
        answer, text = read(server.url)
    assert (answer.ok, answer.outcome, text) == (False, "invalid", "")


def test_a_page_that_is_not_there_has_no_text() -> None:
    with answering(b"Not Found", 404) as server:
        answer, text = read(server.url)
    assert (answer.outcome, answer.status, text) == ("http", 404, "")


def test_a_page_that_drips_ends_at_the_deadline() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with misbehaving(drip(head, b"x")) as url:
        answer, text = read(url, 0.4)
    assert (answer.outcome, text) == ("timeout", "")


# -- what somebody else runs ---------------------------------------------------------------------------------------------


def test_what_somebody_else_runs_is_asked_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with answering() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with HttpProber("http://api.example.invalid", outside=True) as prober:
            assert prober.get("/v1/models").ok
    assert proxy.heard[0].path == "http://api.example.invalid/v1/models"


def test_no_proxy_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering() as server, HttpProber(server.url, outside=True) as prober:
        assert prober.get("/v1/models").ok


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "gopher://127.0.0.1:70"])
def test_a_proxy_that_cannot_be_used_is_broken_and_its_password_unsaid(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", proxy.replace("//", "//u:hunter2@"))
    with HttpProber("http://api.example.invalid", outside=True) as prober:
        answer = prober.get("/v1/models")
    assert (answer.outcome, "hunter2" in answer.detail) == ("broken", False)


def test_a_proxy_that_refuses_is_told_from_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//u:hunter2@"))
        with HttpProber("https://api.example.invalid", outside=True) as prober:
            answer = prober.get("/v1/models")
    assert answer.detail.startswith("the proxy that the environment names refuses: 501")
    assert "hunter2" not in answer.detail


def test_a_proxy_that_is_away_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://u:hunter2@127.0.0.1:{free_port()}")
    with HttpProber("https://api.example.invalid", outside=True) as prober:
        answer = prober.get("/v1/models")
    assert answer.outcome == "refused"
    assert answer.detail.endswith("(the environment names a proxy)")


def test_a_name_that_does_not_resolve_is_named() -> None:
    assert ask("http://name.invalid").detail.startswith("the name name.invalid cannot be resolved: ")


def test_tls_that_is_not_trusted_is_said_to_be_that() -> None:
    with answering() as server:
        assert ask(server.url.replace("http:", "https:")).detail.startswith("no trusted TLS connection: ")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("999999999999999", 999999999.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Mon, 23 Nov 2026 12:01:30 GMT", 90.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 12:01:30", None),
        ("Mon, 99 Nov 2026 12:01:30 GMT", None),
        ("Mon, 23 Nov 999999999999999999999999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(said: str | None, seconds: float | None) -> None:
    assert retry_after_s(said, ManualClock()) == seconds
