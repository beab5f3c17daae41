"""What one HTTP question to a server came to, and whether an answer counts.

An :class:`Answer` is a value; :func:`completion_flaw` and :func:`excerpt` read bodies as data. Nothing here opens a
connection (that is ``health/http.py``'s work), and nothing here counts answers in a row: streaks belong to the machine.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: ``ok`` the answer we wanted; ``refused`` nobody speaks HTTP there (refused, reset, closed: docker-proxy accepts and
#: resets while an engine loads, so these are one); ``timeout`` not answered in full in time; ``http`` another status;
#: ``invalid`` the status was right and the body was not; ``broken`` the question could not be asked at all (a name
#: that does not resolve, a certificate that is not trusted, a malformed URL or header, a prober that was closed).
Outcome = Literal["ok", "refused", "timeout", "http", "invalid", "broken"]
CompletionKind = Literal["chat", "completion", "embedding"]

#: Where each kind of completion is asked for, below the base URL.
COMPLETION_PATHS: Final[dict[CompletionKind, str]] = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "embedding": "/v1/embeddings",
}

#: How much of a body :func:`excerpt` keeps.
EXCERPT_BYTES: Final = 512
EXCERPT_LINES: Final = 5

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BEARER = re.compile(r"(?i)\bbearer[\s:=]+[^\s\"'<>,;]+")
_SHORTEST_SECRET: Final = 4
#: How much of either end of a key a provider shows of it: "Your api key: ****rong is invalid".
_SHOWN_OF_KEY: Final = range(6, 1, -1)
_ABORTED: Final = frozenset({"error", "abort"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one question. ``seconds`` is the whole exchange; ``detail`` is fit to be printed and journalled.

    ``retry_after_s`` is how long the server asks to be left alone, None where it does not say.
    """

    ok: bool
    outcome: Outcome
    status: int | None
    detail: str
    seconds: float
    retry_after_s: float | None = None


class Prober(Protocol):
    """What asks. No method raises for anything a server does: that is an :class:`Answer`."""

    def get(self, path: str, timeout: float | None = None) -> Answer:
        """One GET; ok for any 2xx. ``timeout`` in seconds bounds the whole exchange."""

    def read(self, path: str, timeout: float | None = None) -> tuple[Answer, str]:
        """One GET and the whole text of its body; the text is empty where the answer is not ok."""

    def complete(
        self,
        kind: CompletionKind,
        model: str,
        prompt: str,
        max_tokens: int,
        extra: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One real request; ok only where something was really computed."""

    def close(self) -> None:
        """End questions in flight and refuse further ones."""


def completion_body(
    kind: CompletionKind, model: str, prompt: str, max_tokens: int, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The JSON body of one real request; ``extra`` adds fields and never replaces ours (nor turns streaming on)."""
    match kind:
        case "chat":
            asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens}
        case "completion":
            asked = {"prompt": prompt, "max_tokens": max_tokens}
        case "embedding":
            return {**(extra or {}), "model": model, "input": prompt}
    return {**(extra or {}), "model": model, **asked, "stream": False}


def completion_flaw(kind: CompletionKind, body: bytes) -> str | None:
    """Why a body under HTTP 200 is not the completion asked for, or None where it is.

    A chat or text completion counts where ``usage.completion_tokens`` >= 1 or its text (content or reasoning) is not
    empty: greedy text of a healthy model may be empty. An embedding counts where it is a non-empty vector of finite numbers.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "the answer is not JSON" if body.strip() else "the answer is empty"
    if not isinstance(answer, dict):
        return "the answer is JSON, but not an object"
    if answer.get("error") or answer.get("object") == "error":
        return "the server answered 200 with an error"
    return _vector_flaw(answer) if kind == "embedding" else _text_flaw(kind, answer)


def excerpt(body: bytes, secrets: Iterable[str] = ()) -> str:
    """The first lines of a body, fit to print: no control characters, no bearer, none of ``secrets``, <= 512 bytes.

    A secret that the server itself has masked goes, too: its last characters after two or more stars are a part of it.
    """
    text = _CONTROL.sub("", body.decode("utf-8", "replace").replace("\t", " "))
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = _masked(secret).sub("[removed]", text.replace(secret, "[removed]"))
    text = _BEARER.sub("Bearer [removed]", text)
    lines = [line.rstrip() for line in text.split("\n") if line.strip()][:EXCERPT_LINES]
    return "\n".join(lines).encode("utf-8", "replace")[:EXCERPT_BYTES].decode("utf-8", "ignore")


def _masked(secret: str) -> re.Pattern[str]:
    """``secret`` with stars for most of it: its end behind them, and its beginning before them where that is shown."""
    heads = "|".join(re.escape(secret[:shown]) for shown in _SHOWN_OF_KEY)
    tails = "|".join(re.escape(secret[-shown:]) for shown in _SHOWN_OF_KEY)
    return re.compile(rf"(?:{heads})?\*{{2,}}(?:{tails})")


def _text_flaw(kind: CompletionKind, answer: dict[str, Any]) -> str | None:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        return "the answer has no choices"
    first = choices[0]
    if not isinstance(first, dict):
        return "the first choice is not an object"
    if first.get("finish_reason") in _ABORTED:
        return f"the completion ended with finish_reason {first['finish_reason']!r}"
    usage = answer.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 1:
        return None
    holder = first.get("message") if kind == "chat" else first
    # vLLM calls the thinking part "reasoning", SGLang and older vLLM "reasoning_content" (2026-11).
    names = ("content", "reasoning_content", "reasoning") if kind == "chat" else ("text",)
    if isinstance(holder, dict) and any(isinstance(text := holder.get(name), str) and text for name in names):
        return None
    return "the completion has no text and counts no tokens"


def _vector_flaw(answer: dict[str, Any]) -> str | None:
    data = answer.get("data")
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        return "the answer has no embedding"
    vector = data[0].get("embedding")
    if not isinstance(vector, list) or not vector:
        return "the embedding is empty"
    if not all(_is_finite(number) for number in vector):
        return "the embedding holds something that is not a finite number"
    return None


def _is_finite(number: object) -> bool:
    match number:
        case bool():
            return False
        case int():
            return True
        case float():
            return math.isfinite(number)
        case _:
            return False
