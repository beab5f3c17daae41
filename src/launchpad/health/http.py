"""The HTTP door: the only module that imports httpx, and it does so at the first question.

One question, one connection, one deadline over the whole exchange. httpx's own timeouts bound each read, so a server that
drips a byte a second holds its caller for ever; here a timer shuts the socket down when the time is up, headers or body.
A server of ours is asked directly, one that somebody else runs through the proxies of the environment (HTTPS_PROXY, NO_PROXY) as
every other client there would. Refuses: redirects, compressed bodies, more than 1 MiB of body (4 MiB of a page that is read
for its text), and retrying.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from launchpad.clock import Clock, SystemClock
from launchpad.health.probe import (
    COMPLETION_PATHS,
    Answer,
    CompletionKind,
    Outcome,
    completion_body,
    completion_flaw,
    excerpt,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import httpx

#: Never more of a body than this is read, in bytes.
BODY_LIMIT: Final = 1024 * 1024
#: Never more of a page than this, in bytes: SGLang serves 172 metrics, times ranks and buckets.
PAGE_LIMIT: Final = 4 * 1024 * 1024
#: An excerpt is made of no more than these characters of a body: it keeps five lines of them.
_EXCERPT_FROM: Final = 64 * 1024
#: Seconds a question may take where nobody says otherwise.
GET_TIMEOUT: Final = 5.0
COMPLETION_TIMEOUT: Final = 120.0


class HttpProber:
    """Asks one server questions over HTTP; safe to use from several threads.

    ``base_url`` is scheme, host and port (``http://127.0.0.1:30000``); ``headers`` go with every question and their values
    never reach an :class:`Answer`. ``timeout`` and ``completion_timeout`` are seconds over a whole exchange. A name is
    resolved by the system's resolver, whose own time is not bounded here: give an address where that matters. ``outside`` says
    that it is somebody else's, beyond the proxies that the environment names.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = GET_TIMEOUT,
        completion_timeout: float = COMPLETION_TIMEOUT,
        clock: Clock | None = None,
        outside: bool = False,
    ) -> None:
        self._outside = outside
        self._base = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._secrets = tuple(part for value in self._headers.values() for part in (value, value.split(" ", 1)[-1]))
        self._timeout = timeout
        self._completion_timeout = completion_timeout
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._closed = False
        self._in_flight: set[_Exchange] = set()

    def __enter__(self) -> HttpProber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, path: str, timeout: float | None = None) -> Answer:
        """One GET; ok for any 2xx. ``timeout`` in seconds bounds the whole exchange."""
        return self._ask("GET", path, None, None, self._timeout if timeout is None else timeout)

    def read(self, path: str, timeout: float | None = None) -> tuple[Answer, str]:
        """One GET and the text of its body; empty where the answer is not ok, and a page over ``PAGE_LIMIT`` bytes is not."""
        limit = self._timeout if timeout is None else timeout
        answer, content, whole = self._asked("GET", path, None, None, limit, PAGE_LIMIT)
        if answer.ok and not whole:
            detail = f"the answer is longer than {PAGE_LIMIT} bytes"
            answer = replace(answer, ok=False, outcome="invalid", detail=detail)
        return answer, content.decode("utf-8", "replace") if answer.ok else ""

    def complete(
        self,
        kind: CompletionKind,
        model: str,
        prompt: str,
        max_tokens: int,
        extra: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One real request; ok only for status 200 and a body in which something was computed (see ``completion_flaw``)."""
        body = completion_body(kind, model, prompt, max_tokens, extra)
        return self._ask(
            "POST", COMPLETION_PATHS[kind], kind, body, self._completion_timeout if timeout is None else timeout
        )

    def close(self) -> None:
        """End questions in flight (they come back as ``broken``) and refuse further ones; more than once is no error."""
        with self._lock:
            self._closed = True
            exchanges, client, self._client = tuple(self._in_flight), self._client, None
        for exchange in exchanges:
            exchange.cut()
        if client is not None:
            client.close()

    def _ask(
        self, method: str, path: str, kind: CompletionKind | None, body: dict[str, Any] | None, timeout: float
    ) -> Answer:
        return self._asked(method, path, kind, body, timeout, BODY_LIMIT)[0]

    def _asked(
        self,
        method: str,
        path: str,
        kind: CompletionKind | None,
        body: dict[str, Any] | None,
        timeout: float,
        limit: int,
    ) -> tuple[Answer, bytes, bool]:
        """The answer, at most ``limit`` bytes of the body, and whether that is all of it."""
        begin = self._clock.monotonic()
        content, whole, wait_s = b"", False, None
        with _Exchange(timeout) as exchange:
            with self._lock:
                self._in_flight.add(exchange)
            try:
                code, content, whole, wait_s = self._exchange(method, path, body, timeout, limit, exchange)
            except _Unanswered as error:
                outcome, detail = error.outcome, error.detail
                status = None
            else:
                status = code
                outcome, detail = _judged(kind, code, content, whole=whole)
                detail = excerpt(detail[:_EXCERPT_FROM].encode("utf-8", "replace"), self._secrets)
            finally:
                with self._lock:
                    self._in_flight.discard(exchange)
        seconds = self._clock.monotonic() - begin
        if self._closed and outcome != "ok":
            outcome, status, detail = "broken", None, "the prober was closed"
        elif exchange.expired:
            outcome, status, detail = "timeout", None, f"no whole answer within {timeout:g} s"
        return (
            Answer(outcome == "ok", outcome, status, detail, seconds, wait_s),
            content,
            whole,
        )

    def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None, timeout: float, limit: int, exchange: _Exchange
    ) -> tuple[int, bytes, bool, float | None]:
        """Status, at most ``limit`` bytes of the body, whether that is all of it, and Retry-After; raises _Unanswered."""
        import httpx

        try:
            client = self._ready_client()
            with client.stream(
                method,
                self._base + (path if path.startswith("/") else f"/{path}"),
                content=None if body is None else json.dumps(body).encode(),
                headers=None if body is None else {"Content-Type": "application/json"},
                timeout=timeout,
                extensions={"trace": exchange.trace},
            ) as response:
                content, whole = _read(response, limit)
                if 300 <= response.status_code < 400:
                    content = b"redirects, which are not followed, to " + response.headers.get("location", "?").encode()
                return (
                    response.status_code,
                    content,
                    whole,
                    retry_after_s(response.headers.get("retry-after"), self._clock),
                )
        except httpx.TimeoutException as error:
            raise _Unanswered("timeout", f"no whole answer within {timeout:g} s") from error
        except (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
            raise self._unanswered(error) from error
        except httpx.ProxyError as error:  # its text is the proxy's status
            said = excerpt(str(error).encode("utf-8", "replace"), self._secrets)
            raise _Unanswered("broken", f"the proxy that the environment names refuses: {said}") from error
        # The text of these may quote a header, so none of it is repeated.
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise _Unanswered("broken", f"the URL or a header is malformed ({type(error).__name__})") from error
        except ImportError as error:
            raise _Unanswered("broken", "the environment names a SOCKS proxy, which is not supported") from error
        # A client closed by another thread raises RuntimeError; a body that JSON cannot say raises TypeError or ValueError;
        # no free descriptor raises OSError.
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            raise _Unanswered("broken", f"the request cannot be made ({type(error).__name__})") from error

    def _unanswered(self, error: Exception) -> _Unanswered:
        said = excerpt(str(error).encode("utf-8", "replace"), self._secrets)
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, socket.gaierror):
                host = urlsplit(self._base).hostname
                host = f"{host}, or its proxy's," if self._proxied() else host
                return _Unanswered("broken", f"the name {host} cannot be resolved: {said}")
            if isinstance(cause, ssl.SSLError):
                return _Unanswered("broken", f"no trusted TLS connection: {said}")
            cause = cause.__cause__ or cause.__context__
        return _Unanswered("refused", f"{said} (the environment names a proxy)" if self._proxied() else said)

    def _proxied(self) -> bool:
        """Whether a proxy of the environment may stand in between; which one is not said, as its URL may hold a password."""
        from urllib.request import getproxies_environment

        return self._outside and bool(getproxies_environment())

    def _ready_client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._closed:
                raise _Unanswered("broken", "the prober was closed")
            if self._client is None:
                # Loading a CA bundle costs 20 ms and a megabyte; plain http needs none.
                secure = self._base.lower().startswith("https:")
                context = ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                ours = {b"accept-encoding": b"identity", b"connection": b"close", b"user-agent": b"launchpad"}
                self._client = httpx.Client(
                    verify=context,
                    headers=ours | {name.encode(): value.encode() for name, value in self._headers.items()},
                    trust_env=self._outside,
                    follow_redirects=False,
                    limits=httpx.Limits(max_keepalive_connections=0),
                )
            return self._client


class _Unanswered(Exception):
    """The exchange ended without a status; ``outcome`` and ``detail`` go into the Answer."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome: Outcome = outcome
        self.detail = detail


class _Exchange:
    """One exchange's deadline: after ``timeout`` seconds its connection is shut down, wherever it stands."""

    def __init__(self, timeout: float) -> None:
        self.expired = False
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._cut = False
        self._timer = threading.Timer(timeout, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> _Exchange:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._line is not None:
                self._line.close()

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Take hold of the connection (httpcore's ``trace`` extension).

        A duplicate of the descriptor, because TLS detaches the socket that we are shown; shutting a duplicate down ends both.
        """
        if event == "connection.connect_tcp.complete":
            with self._lock:
                self._line = info["return_value"].get_extra_info("socket").dup()
                if self._cut:
                    _shut(self._line)

    def cut(self) -> None:
        """Shut the connection down, now or as soon as there is one."""
        with self._lock:
            self._cut = True
            if self._line is not None:
                _shut(self._line)

    def _expire(self) -> None:
        self.expired = True
        self.cut()


def retry_after_s(said: str | None, clock: Clock) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or as a date (RFC 9110, 10.2.3); None where it says neither."""
    if said is None:
        return None
    if said.strip().isascii() and said.strip().isdigit():
        return float(said.strip()[:9])
    from email.utils import parsedate_to_datetime

    try:
        until = parsedate_to_datetime(said)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (until - clock.now()).total_seconds()) if until.tzinfo is not None else None


def _shut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was faster
        line.shutdown(socket.SHUT_RDWR)


def _read(response: httpx.Response, limit: int) -> tuple[bytes, bool]:
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > limit:
            return bytes(content[:limit]), False
    return bytes(content), True


def _judged(kind: CompletionKind | None, status: int, content: bytes, *, whole: bool) -> tuple[Outcome, str]:
    said = content.decode("utf-8", "replace")
    if kind is None:
        return ("ok" if 200 <= status < 300 else "http"), said
    if status != 200:
        return "http", said
    flaw = completion_flaw(kind, content) if whole else f"the answer is longer than {BODY_LIMIT} bytes"
    return ("ok", "") if flaw is None else ("invalid", f"{flaw}: {said}" if content else flaw)
