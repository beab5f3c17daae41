"""The door for one streamed chat completion: what the server says, piece by piece, and how it ended.

It imports httpx at the first question. A stream is read as bytes and split at line feeds alone: a model may well say U+2028.
What goes wrong is a :class:`StreamProblem` that tells a server that is not there from one that refuses, errs in mid-stream (often
under HTTP 200), falls silent, or hangs up. Proxies of the environment are used for what somebody else runs, and for nothing of
ours. Refuses: redirects, compressed bodies, an event over
1 MiB, and retrying; a header's value reaches no error text.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from launchpad.health.probe import COMPLETION_PATHS, excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx

    from launchpad.clock import Clock

#: Never more of one event, or of a body that is no stream, than this, in bytes.
EVENT_LIMIT: Final = 1024 * 1024
#: Seconds for the connection itself.
CONNECT_S: Final = 10.0

#: ``unreachable`` nobody speaks HTTP there; ``http`` another status than 200; ``error`` the server's own error in the stream;
#: ``silent`` nothing said for too long; ``cut`` the connection ended before the answer did; ``invalid`` no answer of this kind;
#: ``broken`` the question could not be asked at all.
Kind = Literal["unreachable", "http", "error", "silent", "cut", "invalid", "broken"]

_ABORTED: Final = frozenset({"abort", "error"})


class StreamProblem(Exception):
    """The answer did not come, or not whole. ``says`` are the server's own words or ours, fit to print."""

    def __init__(self, kind: Kind, says: str, status: int | None = None, retry_after: str | None = None) -> None:
        super().__init__(says)
        self.kind: Kind = kind
        self.says = says
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text, never empty: of the reasoning, or of the answer."""

    kind: Literal["reasoning", "answer"]
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counts them; None where it does not."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How an answer ended. ``finish`` is the server's reason, ``usage`` its count; None where it said none."""

    finish: str | None
    usage: Usage | None


def stream_chat(
    base_url: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    clock: Clock,
    silence_s: float,
    raw: Callable[[str], None] | None = None,
    outside: bool = False,
) -> Iterator[Piece | End]:
    """Ask, and yield pieces as they come and one :class:`End`; raises StreamProblem.

    ``silence_s`` bounds the wait for the next event; comments that only keep the connection count as silence. ``raw`` is handed
    every event's data as it came. ``outside`` says that somebody else runs it, beyond the environment's proxies. Ending the
    iteration ends the request.
    """
    secrets = tuple(part for value in headers.values() for part in (value, value.split(" ", 1)[-1]))
    reader = _Reader(secrets)
    for data in _events(base_url, body, headers, secrets, clock, silence_s, outside=outside):
        if raw is not None:
            raw(data)
        yield from reader.read(data)
        if reader.over:
            break
    yield reader.end()


class _Reader:
    """Reads events of one chat completion."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._said = False
        self.over = False

    def read(self, data: str) -> Iterator[Piece]:
        if data.strip() == "[DONE]":
            self.over = True
            return
        event = self._object(data)
        if error := event.get("error") or (event if event.get("object") == "error" else None):
            raise StreamProblem("error", error_words(error, self._secrets))
        self._usage = usage_of(event.get("usage")) or self._usage
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                yield from self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Piece]:
        for piece in pieces_of(choice.get("delta") or choice.get("message")):
            self._said = True
            yield piece
        if isinstance(reason := choice.get("finish_reason"), str):
            self._finish = reason

    def _object(self, data: str) -> dict[str, Any]:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise StreamProblem("invalid", f"an event is not JSON: {self._excerpt(data)}") from error
        if not isinstance(event, dict):
            raise StreamProblem("invalid", f"an event is no object: {self._excerpt(data)}")
        return event

    def end(self) -> End:
        """The end; raises StreamProblem where it came too soon, or nothing came."""
        if self._finish in _ABORTED:
            raise StreamProblem("error", f"the server ended the answer with finish_reason {self._finish!r}")
        if self._finish is None and not self.over:
            raise StreamProblem("cut", "the connection ended before the answer did")
        counted = self._usage.completion_tokens if self._usage else None
        if not self._said and not counted and self._finish != "tool_calls":
            raise StreamProblem("invalid", "the answer has no text and counts no tokens")
        return End(self._finish, self._usage)

    def _excerpt(self, data: str) -> str:
        return excerpt(data[:4096].encode("utf-8", "replace"), self._secrets)


def pieces_of(delta: object) -> Iterator[Piece]:
    """The texts of a delta (or a whole message), reasoning first; role, tool calls and empty text are none.

    vLLM calls it ``reasoning``, SGLang, Dynamo and older vLLM ``reasoning_content`` (2026-11); one that sends both repeats itself.
    """
    if not isinstance(delta, dict):
        return
    for kind, names in (("reasoning", ("reasoning", "reasoning_content")), ("answer", ("content",))):
        text = next((text for name in names if isinstance(text := delta.get(name), str) and text), None)
        if text is not None:
            yield Piece("reasoning" if kind == "reasoning" else "answer", text)


def usage_of(usage: object) -> Usage | None:
    """The counts of a ``usage`` object; None where there is none."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("completion_tokens_details")
    inner = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return Usage(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _count(inner if inner is not None else usage.get("reasoning_tokens")),
    )


def error_words(error: object, secrets: tuple[str, ...] = ()) -> str:
    """The server's words in an error: OpenAI's ``message``, FastAPI's ``detail``, or whatever stands there."""
    if isinstance(error, dict):
        inner = next((error[key] for key in ("error", "message", "detail") if error.get(key)), None)
        if inner is not None:
            return error_words(inner, secrets)
    text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    return " ".join(excerpt(text[:4096].encode("utf-8", "replace"), secrets).split("\n")) or "nothing said"


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# -- the wire ----------------------------------------------------------------------------------------------------------


def _events(
    base_url: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    secrets: tuple[str, ...],
    clock: Clock,
    silence_s: float,
    *,
    outside: bool,
) -> Iterator[str]:
    """The data of each event; a whole JSON answer, from a server that does not stream, is one."""
    import httpx

    try:
        # Loading a CA bundle costs 20 ms and a megabyte; plain http needs none.
        secure = base_url.lower().startswith("https:")
        trust = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ours = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "User-Agent": "launchpad"}
        with (
            httpx.Client(
                verify=trust,
                timeout=httpx.Timeout(silence_s, connect=min(CONNECT_S, silence_s)),
                trust_env=outside,
                follow_redirects=False,
            ) as client,
            client.stream(
                "POST",
                base_url.rstrip("/") + COMPLETION_PATHS["chat"],
                content=json.dumps(body).encode(),
                headers={"Content-Type": "application/json", **ours, **headers},
            ) as response,
        ):
            yield from _answer(response, secrets, clock, silence_s)
    except httpx.TimeoutException as error:
        raise StreamProblem("silent", f"nothing was said for {silence_s:g} s") from error
    except httpx.ConnectError as error:
        raise StreamProblem("unreachable", excerpt(str(error).encode("utf-8", "replace"), secrets)) from error
    except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
        raise StreamProblem("cut", "the connection ended before the answer did") from error
    except httpx.ProxyError as error:  # its text is the proxy's status
        said = excerpt(str(error).encode("utf-8", "replace"), secrets)
        raise StreamProblem("broken", f"the proxy that the environment names refuses: {said}") from error
    except ImportError as error:
        raise StreamProblem("broken", "the environment names a SOCKS proxy, which is not supported") from error
    # The text of these may quote a header, so none of it is repeated.
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError, ValueError) as error:
        raise StreamProblem("broken", f"the URL or a header is malformed ({type(error).__name__})") from error


def _answer(response: httpx.Response, secrets: tuple[str, ...], clock: Clock, silence_s: float) -> Iterator[str]:
    if response.status_code != 200:
        words = _words(response, secrets)
        raise StreamProblem("http", words, response.status_code, response.headers.get("retry-after"))
    if "json" in response.headers.get("content-type", ""):
        yield _body(response).decode("utf-8", "replace")
        return
    last = clock.monotonic()
    for data in _split(response.iter_raw()):
        now = clock.monotonic()
        if data is not None:
            last = now
            yield data
        elif now - last > silence_s:
            raise StreamProblem("silent", f"nothing was said for {silence_s:g} s")


def _split(chunks: Iterator[bytes]) -> Iterator[str | None]:
    """The data of each server-sent event, None after a chunk that brought none to its end.

    See https://html.spec.whatwg.org/multipage/server-sent-events.html; a last event that no empty line ends counts, too.
    """
    rest, data = b"", b""
    for chunk in chunks:
        came = False
        *lines, rest = (rest + chunk).split(b"\n")
        for line in (line.removesuffix(b"\r") for line in lines):
            if line.startswith(b"data:"):
                data += (b"\n" if data else b"") + line[5:].removeprefix(b" ")
            elif not line and data:
                came = True
                yield data.decode("utf-8", "replace")
                data = b""
        if len(rest) + len(data) > EVENT_LIMIT:
            raise StreamProblem("invalid", f"an event is longer than {EVENT_LIMIT} bytes")
        if not came:
            yield None
    if rest.startswith(b"data:"):
        data += (b"\n" if data else b"") + rest[5:].strip()
    if data:
        yield data.decode("utf-8", "replace")


def _words(response: httpx.Response, secrets: tuple[str, ...]) -> str:
    if 300 <= response.status_code < 400:
        return "it redirects, which is not followed"
    text = _body(response).decode("utf-8", "replace")
    try:
        return error_words(json.loads(text), secrets)
    except (ValueError, RecursionError):
        return error_words(text, secrets)


def _body(response: httpx.Response) -> bytes:
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > EVENT_LIMIT:
            raise StreamProblem("invalid", f"the answer is longer than {EVENT_LIMIT} bytes")
    return bytes(content)
