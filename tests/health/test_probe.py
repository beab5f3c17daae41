"""What counts as a completion, and what of a body may be shown: data against data."""

from __future__ import annotations

import json

import pytest

from launchpad.health.probe import EXCERPT_BYTES, CompletionKind, completion_body, completion_flaw, excerpt


def chat(message: object, usage: object = None, **more: object) -> bytes:
    return json.dumps({"choices": [{"message": message, **more}], "usage": usage}).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(chat({"content": "Hi"}), id="content"),
        pytest.param(chat({"content": None, "reasoning_content": "Hm"}), id="thinking, SGLang's name"),
        pytest.param(chat({"content": None, "reasoning": "Hm"}), id="thinking, vLLM's name"),
        pytest.param(chat({"content": ""}, {"completion_tokens": 1}), id="empty text of one token"),
        pytest.param(b'{"error": null, "choices": [{"message": {"content": "Hi"}}]}', id="an error of null"),
    ],
)
def test_a_chat_counts_when_it_has_text_or_tokens(body: bytes) -> None:
    assert completion_flaw("chat", body) is None


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (b"  ", "the answer is empty"),
        (b"{", "the answer is not JSON"),
        (b"\xff\xfe", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON"),
        (b"[1]", "the answer is JSON, but not an object"),
        (b'{"error": "dead"}', "the server answered 200 with an error"),
        (b'{"object": "error", "message": "no"}', "the server answered 200 with an error"),
        (b"{}", "the answer has no choices"),
        (b'{"choices": {}}', "the answer has no choices"),
        (b'{"choices": ["x"]}', "the first choice is not an object"),
        (chat({"content": ""}), "the completion has no text and counts no tokens"),
        (chat({"content": ""}, {"completion_tokens": 0}), "the completion has no text and counts no tokens"),
        (chat({"content": ""}, {"completion_tokens": True}), "the completion has no text and counts no tokens"),
        (chat({"content": ["x"]}, "many"), "the completion has no text and counts no tokens"),
        (chat("text"), "the completion has no text and counts no tokens"),
        (chat({"content": "Hi"}, finish_reason="abort"), "the completion ended with finish_reason 'abort'"),
    ],
)
def test_anything_else_under_200_is_no_chat(body: bytes, flaw: str) -> None:
    assert completion_flaw("chat", body) == flaw


def test_a_text_completion_is_read_from_text() -> None:
    assert completion_flaw("completion", b'{"choices": [{"text": "Hi"}]}') is None


def test_an_embedding_counts_when_every_number_is_finite() -> None:
    assert completion_flaw("embedding", b'{"data": [{"embedding": [0.5, -1, 2e-3]}]}') is None


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (b'{"data": []}', "the answer has no embedding"),
        (b'{"data": [7]}', "the answer has no embedding"),
        (b'{"data": [{"embedding": []}]}', "the embedding is empty"),
        (b'{"data": [{"embedding": "AAAA"}]}', "the embedding is empty"),
        (b'{"data": [{"embedding": [1.0, NaN]}]}', "the embedding holds something that is not a finite number"),
        (b'{"data": [{"embedding": [1e999]}]}', "the embedding holds something that is not a finite number"),
        (b'{"data": [{"embedding": [null]}]}', "the embedding holds something that is not a finite number"),
        (b'{"data": [{"embedding": [true]}]}', "the embedding holds something that is not a finite number"),
    ],
)
def test_anything_else_under_200_is_no_embedding(body: bytes, flaw: str) -> None:
    assert completion_flaw("embedding", body) == flaw


@pytest.mark.parametrize("kind", ["chat", "completion", "embedding"])
def test_extra_fields_never_replace_the_model(kind: CompletionKind) -> None:
    assert completion_body(kind, "tiny", "Hi", 1, {"model": "other"})["model"] == "tiny"


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_extra_fields_never_turn_streaming_on(kind: CompletionKind) -> None:
    assert completion_body(kind, "tiny", "Hi", 1, {"stream": True})["stream"] is False


def test_an_embedding_is_asked_for_without_a_token_limit() -> None:
    assert completion_body("embedding", "tiny", "Hi", 8, None) == {"model": "tiny", "input": "Hi"}


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", ""),
        (b"one\r\n\n  \ntwo\n", "one\ntwo"),
        (b"1\n2\n3\n4\n5\n6\n7", "1\n2\n3\n4\n5"),
        (b"\x1b[31mred\x07\x00", "[31mred"),
        ("a\u202egnp.exe\u2028b".encode(), "agnp.exeb"),
        (b"caf\xe9", "caf\ufffd"),
        (b'{"authorization": "Bearer abc.def-123"}', '{"authorization": "Bearer [removed]"}'),
        (b"BEARER abc", "Bearer [removed]"),
        (b"key hunter22!", "key [removed]!"),
        (b"key hun\x00ter22", "key [removed]"),
        (b"Your api key: ****er22 is invalid", "Your api key: [removed] is invalid"),
        (b"Incorrect API key: hun**********22.", "Incorrect API key: [removed]."),
        (b"a **bold** word and ****2", "a **bold** word and ****2"),
    ],
)
def test_an_excerpt_is_fit_to_print(body: bytes, shown: str) -> None:
    assert excerpt(body, ("hunter22",)) == shown


def test_an_excerpt_is_cut_between_characters() -> None:
    assert excerpt("é".encode() * 1000) == "é" * (EXCERPT_BYTES // 2)


def test_a_secret_at_the_cut_is_removed_whole() -> None:
    assert "hunt" not in excerpt(b"x" * (EXCERPT_BYTES - 4) + b"hunter22", ("hunter22",))


def test_a_secret_too_short_to_be_one_does_not_shred_the_text() -> None:
    assert excerpt(b"a loading engine", ("a", "")) == "a loading engine"
