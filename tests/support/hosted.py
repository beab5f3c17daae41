"""A stand-in of hosted OpenAI-compatible endpoints, and of a NIM container, on loopback: real HTTP.

``HostedEndpoint("nvidia")`` speaks as integrate.api.nvidia.com does, ``("deepseek")`` as api.deepseek.com,
``("nim")`` as the container ``nvcr.io/nim/...``. A *mood* makes it misbehave and may change while it runs, from the
test (``be``) or, for a process, by ``POST /-/mood`` from loopback. A mood that a flavour does not know in life is
refused rather than invented. It refuses to be a model: what it says is fixed, and a token is a word.

    with HostedEndpoint("nvidia", key="nvapi-test") as endpoint:
        endpoint.be("limited", seconds=7)                    # 429, Retry-After: 7
        HttpProber(endpoint.url, endpoint.headers).complete("chat", endpoint.models[0], "Hello", 8)
        endpoint.be("ok")
        assert endpoint.seen[-1].json["max_tokens"] == 8 and endpoint.billed.completions == 0

As a process: ``python -m tests.support.hosted --flavour deepseek --port 0 --key sk-test``; its first line is its URL.

Sources; all looked up on 2026-11-23 in stored copies, none of it asked of the real services. D documented by the
provider, R reported by users, A assumed.

nvidia (https://integrate.api.nvidia.com/v1)
- R ``GET /v1/models`` asks for no key (sepandhaghighi/mytext#113, 2026-08-27): listing models proves nothing about a
  key.
- R no Authorization header: 401 "Header of type `authorization` was missing" (OmniRoute#6242, 2026-07-05; its JSON is
  A). A wrong key: 403 ``{"status":403,"title":"Forbidden","detail":"Authorization failed"}`` (oh-my-pi#499, 2026-03;
  OpenHarness#233, 2026-05). A malformed one: 401 with ``WWW-Authenticate: Bearer error="invalid_token"``
  (NVIDIA/GenerativeAIExamples#135, 2024-06; its body is A).
- R unknown model: 404, plain text "404 page not found" (janhq/jan#3000, 2024-06). Withdrawn: 404 "Function 'ID': Not
  found for account 'ID'" (free-claude-code#1021, 2026-07-08). Retired: 410 about:blank with the date, while
  ``/v1/models`` still lists it (NVIDIA/NemoClaw#11902, 2026-09-16; OmniRoute#9824, 2026-08-08; 9router#3397): the two
  ids in ``GONE`` are those, with their date.
- R 429 ``{"status":429,"title":"Too Many Requests"}`` (free-claude-code#690, 2026-06-03), with **no Retry-After** (a
  user's measurement, 2026-10-07): none is sent unless ``seconds`` says so. About 40 requests a minute.
- R 503 "ResourceExhausted: Worker local total request limit reached" (NVIDIA/NemoClaw#5844, 2026-06-29). 500: A.
- A 402: credits ended, limits replaced them (NVIDIA's staff, quoted in steipete/CodexBar#2498); a "payment required"
  was reported for *pulling* from nvcr.io (NVIDIA/k8s-nim-operator#491, 2025-05).
- R 202 with ``NVCF-REQID``, to be polled at ``/v2/nvcf/pexec/status/ID`` (NVIDIA's samples for cloud functions);
  ``/v1/status/ID`` on integrate is A. No report of a 202 for chat completions there was found: whoever meets it here
  tests caution, not a known case.

deepseek (https://api.deepseek.com, with and without ``/v1``)
- D codes 400, 401, 402, 422, 429, 500, 503 and their titles (api-docs.deepseek.com/quick_start/error_codes).
- R bodies: 401 (py-gpt#112, 2025-05-11; a key's last four characters are quoted back; ``/v1/models`` answers it too,
  nextcloud integration_openai#182, 2025-01), 402 "Insufficient Balance", type unknown_error (a public test quotes it
  from 2026-09-16), 429 "Your current concurrency is 26, which exceeds your concurrency limit of 25 based on your
  remaining balance", type rate_limit_error (a translator's notes; the same words in jobfetcher#42, 2026-09-02, which
  saw no x-ratelimit headers): it comes *before* the 402 as the balance runs down. 503 "Service is too busy", type
  service_unavailable_error (several logs, last 2026-09-15). 500 and Retry-After: A.
- R unknown model: 400 "The supported API model names are ..., but you passed ..." (interview-coder-cn#87,
  2026-09-20). No 410.
- D ``deepseek-v4-flash`` is retired but accepted, and answered by ``deepseek-flash`` (quick_start/pricing, 2026-10);
  that ``/v1/models`` does not list it is A, and so is the ``model`` an answer to it names.
- D under load a connection is held: empty lines before a JSON body, ": keep-alive" comments in a stream; closed after
  10 minutes without a start (quick_start/rate_limit). The stand-in sends one every ``keepalive_s``; the real interval
  is not documented.
- D thinking is on unless ``thinking: {"type": "disabled"}``. Usage counts prompt_cache_hit_tokens and _miss_tokens.

nim (a container; no key over HTTP; NGC_API_KEY is for its download)
- D ``/v1/health/live`` at once, ``/v1/health/ready`` 503 while the model loads, ``/v1/models``, ``/v1/metadata``
  (docs.nvidia.com/nim/large-language-models/latest: api-reference, architecture, support-and-faq). The words of the
  bodies are those of other NIMs (Cosmos 3, NemoGuard): A for LLMs. 503 for the other paths while loading, and
  ``/v1/manifest`` at all (remembered of NIM 1.x; no page was found): A.
- R without a key a container **exits with code 0** after 11 s, "Authentication Error" in its log
  (NVIDIA/NemoClaw#3333, 2026-05-11); the whole line and the code with a *wrong* key were not found. Nothing here
  stands in for that: it is a container's end, not an answer.

All: ``stream_options.include_usage`` adds a chunk with no choices before ``[DONE]`` (D, OpenAI's reference). An
interrupted answer bills what it said (A).
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import select
import signal
import socket
import sys
import threading
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

Flavour = Literal["nvidia", "deepseek", "nim"]
#: ``unauthorized`` 401, ``forbidden`` 403 (the key was withdrawn), ``no-balance`` 402, ``unknown-model`` 404, ``withdrawn`` 404 in
#: JSON, ``gone`` 410 and not listed, ``listed-but-gone`` 410 and listed, ``limited`` 429, ``overloaded`` 503, ``failing`` 500,
#: ``slow`` waits ``seconds``, ``silent`` says nothing more, ``cut`` hangs up, ``html`` a proxy's 502, ``pending`` 202, to be polled
#: for ``seconds``, ``loading`` a NIM that is not ready.
Kind = Literal[
    "ok", "unauthorized", "forbidden", "no-balance", "unknown-model", "withdrawn", "gone", "listed-but-gone", "limited",
    "overloaded", "failing", "slow", "silent", "cut", "html", "pending", "loading",
]  # fmt: skip

_COMMON: frozenset[str] = frozenset({"ok", "failing", "slow", "silent", "cut", "html"})
#: What each flavour is known, or assumed (see above), to do.
KNOWS: dict[Flavour, frozenset[str]] = {
    "nvidia": frozenset(get_args(Kind)) - {"loading"},
    "deepseek": _COMMON | {"unauthorized", "no-balance", "unknown-model", "limited", "overloaded"},
    "nim": _COMMON | {"loading", "overloaded", "unknown-model"},
}
#: Moods of the whole way to the endpoint, not of completions alone.
_EVERYWHERE = frozenset({"slow", "silent", "cut", "html", "loading"})

MODELS: dict[Flavour, tuple[str, ...]] = {
    "nvidia": ("deepseek-ai/deepseek-v4-flash-0731", "deepseek-ai/deepseek-v4-pro-0813"),
    "deepseek": ("deepseek-flash", "deepseek-v4-pro"),
    "nim": ("deepseek-ai/deepseek-v4-flash",),
}
#: Still listed, and answered 410.
GONE: dict[Flavour, tuple[str, ...]] = {
    "nvidia": ("deepseek-ai/deepseek-v4-pro", "deepseek-ai/deepseek-v4-flash"),
    "deepseek": (),
    "nim": (),
}
END_OF_LIFE = "2026-08-07T09:00:00Z"
#: Accepted, not listed, and answered by another.
ALIASES: dict[Flavour, dict[str, str]] = {
    "nvidia": {},
    "deepseek": {"deepseek-v4-flash": "deepseek-flash"},
    "nim": {},
}
KEYS: dict[Flavour, str | None] = {
    "nvidia": "nvapi-stand-in-0123456789",
    "deepseek": "sk-standin0123456789",
    "nim": None,
}

THOUGHT = "The person greets me. I greet back."
ANSWER = "Hello! I am a stand-in and I know nothing."
_HTML = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True, slots=True)
class Mood:
    """What goes wrong. ``seconds``: Retry-After of ``limited`` (None: no such header), the wait of ``slow`` and ``pending``.

    ``as_date`` says Retry-After as an HTTP date. ``after``: pieces of a stream said before ``silent`` or ``cut`` (``silent`` at 0
    says not even a status). ``times``: so many requests, then ok.
    """

    kind: Kind = "ok"
    seconds: float | None = None
    as_date: bool = False
    after: int = 0
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One request, as it came; header names in lower case. Keys are in it: use no real one."""

    at: datetime
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Billed:
    """What the account was charged for: whole or interrupted completions, and tokens."""

    completions: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A whole answer that is no completion."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class HostedEndpoint:
    """See the module. ``models`` are listed and served, ``gone`` listed and answered 410; ``token_s`` seconds between tokens."""

    def __init__(
        self,
        flavour: Flavour,
        *,
        key: str | None = None,
        models: tuple[str, ...] | None = None,
        gone: tuple[str, ...] | None = None,
        answer: str = ANSWER,
        thought: str = THOUGHT,
        token_s: float = 0.0,
        keepalive_s: float = 0.1,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if gone and "gone" not in KNOWS[flavour]:
            raise ValueError(f"{flavour} is not known to list a model and answer 410")
        self.flavour: Flavour = flavour
        self.key = KEYS[flavour] if key is None else key
        self.models = MODELS[flavour] if models is None else models
        self.gone = GONE[flavour] if gone is None else gone
        self.answer, self.thought = answer, thought
        self.token_s, self.keepalive_s = token_s, keepalive_s
        self.seen: list[Seen] = []
        self.billed = Billed()
        self.stopping = threading.Event()
        self._mood = Mood()
        self._pending: dict[str, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._server = _Server(self, host, port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> HostedEndpoint:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Scheme, host and port; ``/v1`` is not part of it."""
        return f"http://{self._server.server_address[0]!s}:{self._server.server_port}"

    @property
    def headers(self) -> dict[str, str]:
        """What a client with the right key sends."""
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    @property
    def mood(self) -> Mood:
        with self._lock:
            return self._mood

    def be(
        self,
        kind: Kind,
        *,
        seconds: float | None = None,
        as_date: bool = False,
        after: int = 0,
        times: int | None = None,
    ) -> None:
        """Be in this mood from the next request on; ValueError where this flavour knows no such mood."""
        if kind not in KNOWS[self.flavour]:
            raise ValueError(
                f"{self.flavour} is not known to be {kind!r}; choose from {', '.join(sorted(KNOWS[self.flavour]))}"
            )
        with self._lock:
            self._mood = Mood(kind, seconds, as_date, after, times)

    def completions_asked(self) -> list[Seen]:
        """The requests for a completion, in order."""
        return [item for item in self.seen if item.method == "POST" and item.path.endswith("/chat/completions")]

    # -- for the handler -----------------------------------------------------------------------------------------------

    def note(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def bill(self, prompt: int, completion: int) -> None:
        with self._lock:
            old = self.billed
            self.billed = Billed(old.completions + 1, old.prompt_tokens + prompt, old.completion_tokens + completion)

    def mood_for(self, *, completion: bool) -> Mood:
        """The mood that this request meets; counts ``times`` down."""
        with self._lock:
            mood = self._mood
            if mood.kind == "ok" or not (completion or mood.kind in _EVERYWHERE or self._keyed(mood.kind)):
                return Mood()
            if mood.times is not None:
                self._mood = replace(mood, times=mood.times - 1) if mood.times > 1 else Mood()
            return mood

    def _keyed(self, kind: Kind) -> bool:
        return kind == "unauthorized" and self.flavour == "deepseek"

    def listed(self) -> list[str]:
        hidden = self.models if self.mood.kind == "gone" else ()
        return [name for name in (*self.models, *self.gone) if name not in hidden]

    def later(self, seconds: float, answer: dict[str, Any]) -> str:
        """Keep an answer for who polls; its request id."""
        name = str(uuid.uuid4())
        with self._lock:
            self._pending[name] = (time.monotonic() + seconds, answer)
        return name

    def polled(self, name: str) -> dict[str, Any] | Literal[False] | None:
        """The answer, None where it is not ready, False where there is none."""
        with self._lock:
            ready, answer = self._pending.get(name, (0.0, None))
        if answer is None:
            return False
        return answer if time.monotonic() >= ready else None


# -- what each one says when it says no --------------------------------------------------------------------------------


def _problem(status: int, title: str, detail: str | None = None, **more: str) -> Refusal:
    """NVIDIA's: after RFC 9457, or what is left of it."""
    said: dict[str, Any] = {**more, "status": status, "title": title} | ({"detail": detail} if detail else {})
    return Refusal(status, json.dumps(said).encode(), "application/problem+json" if more else "application/json")


def _error(status: int, message: str, kind: str, code: str | int = "invalid_request_error") -> Refusal:
    """OpenAI's shape, as DeepSeek sends it."""
    said = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Refusal(status, json.dumps(said).encode())


def _nvidia(kind: str, model: str) -> Refusal:
    match kind:
        case "no-key":
            return _problem(401, "Unauthorized", "Header of type `authorization` was missing")
        case "unauthorized":
            refusal = _problem(401, "Unauthorized", "Bearer token is malformed")
            challenge = 'Bearer error="invalid_token", error_description="Bearer token is malformed"'
            return replace(refusal, headers={"WWW-Authenticate": challenge})
        case "wrong-key" | "forbidden":
            return _problem(403, "Forbidden", "Authorization failed")
        case "no-balance":
            return _problem(402, "Payment Required", "Account has no credits left")
        case "unknown-model" | "no-such-path":
            return Refusal(404, b"404 page not found\n", "text/plain; charset=utf-8")
        case "withdrawn":
            function = uuid.uuid5(uuid.NAMESPACE_URL, model)
            return _problem(404, "Not Found", f"Function '{function}': Not found for account 'stand-in'")
        case "gone" | "listed-but-gone":
            detail = f"The model '{model}' has reached its end of life on {END_OF_LIFE} and is no longer available."
            return _problem(410, "Gone", detail, type="about:blank")
        case "limited":
            return _problem(429, "Too Many Requests")
        case "overloaded":
            said = {"message": "ResourceExhausted: Worker local total request limit reached (163/32)"}
            return Refusal(503, json.dumps({"error": {**said, "type": "Service Unavailable", "code": 503}}).encode())
        case "malformed" | "invalid":
            return _problem(
                400 if kind == "malformed" else 422, "Bad Request", "The body is no chat completion request"
            )
        case _:
            return _problem(500, "Internal Server Error", "Inference error")


def _deepseek(kind: str, model: str, key: str = "") -> Refusal:
    match kind:
        case "no-key":
            return _error(
                401, "Authentication Fails (auth header format should be Bearer sk-...)", "authentication_error"
            )
        case "wrong-key" | "unauthorized":
            return _error(401, f"Authentication Fails, Your api key: ****{key[-4:]} is invalid", "authentication_error")
        case "no-balance":
            return _error(402, "Insufficient Balance", "unknown_error")
        case "unknown-model":
            names = ", ".join(MODELS["deepseek"])
            said = f"The supported API model names are {names}, but you passed {model}."
            return _error(400, said, "invalid_request_error")
        case "no-such-path":
            return Refusal(404, b"", "text/plain")
        case "limited":
            said = (
                "Too many requests. Your current concurrency is 26, which exceeds your concurrency limit of 25 based on your "
                "remaining balance. Please top up your balance to restore your concurrency."
            )
            return _error(429, said, "rate_limit_error")
        case "overloaded":
            said = (
                "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers."
            )
            return _error(503, said, "service_unavailable_error", "service_unavailable_error")
        case "malformed" | "invalid":
            said = "Failed to parse the request body as JSON" if kind == "malformed" else "missing field `messages`"
            return _error(400 if kind == "malformed" else 422, said, "invalid_request_error")
        case _:
            return _error(500, "Internal Server Error", "server_error", "server_error")


def _nim(kind: str, model: str) -> Refusal:
    match kind:
        case "loading" | "overloaded":
            said = {
                "object": "error",
                "message": "Service is not ready to receive requests.",
                "type": "ServiceUnavailable",
            }
            return Refusal(503, json.dumps({**said, "param": None, "code": 503}).encode())
        case "unknown-model":  # vLLM's words
            return _error(404, f"The model `{model}` does not exist.", "NotFoundError", 404)
        case "no-such-path":
            return Refusal(404, b'{"detail":"Not Found"}')
        case "malformed" | "invalid":
            return _error(400, "The body is no chat completion request", "BadRequestError", 400)
        case _:
            return _error(500, "Internal Server Error", "InternalServerError", 500)


# -- the wire ----------------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    """One endpoint's port; it knows its connections, so that closing leaves no thread behind."""

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, endpoint: HostedEndpoint, host: str, port: int) -> None:
        self.endpoint = endpoint
        self._lines: set[socket.socket] = set()
        self._lines_lock = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lines_lock:
            self._lines.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lines_lock:
            self._lines.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # a client that leaves is no news; a bug here is

    def hang_up(self) -> None:
        with self._lines_lock:
            for line in self._lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    @property
    def _endpoint(self) -> HostedEndpoint:
        return self.server.endpoint

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith("/-/"):
            self._control(path, body)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._endpoint.note(Seen(datetime.now(UTC), self.command, self.path, headers, body))
        asked = self._asked(path)
        mood = self._endpoint.mood_for(completion=asked == "chat")
        if asked == "live" and mood.kind == "loading":
            mood = Mood()
        if not self._met(mood, asked):
            self._serve(asked, path, body, mood)

    def _asked(self, path: str) -> str:
        """What is asked for: chat, models, status, live, ready, metadata, manifest or nothing."""
        flavour = self._endpoint.flavour
        bare = path.removeprefix("/v1") if path.startswith("/v1/") or flavour == "deepseek" else ""
        known = {("POST", "/chat/completions"): "chat", ("GET", "/models"): "models"}
        if flavour == "nim":
            known |= {("GET", f"/health/{name}"): name for name in ("live", "ready")}
            known |= {("GET", f"/{name}"): name for name in ("metadata", "manifest")}
        if flavour == "nvidia" and path.startswith(("/v1/status/", "/v2/nvcf/pexec/status/")):
            return "status"
        return known.get((self.command, bare), "nothing")

    def _met(self, mood: Mood, asked: str) -> bool:
        """Whether the way to the endpoint answered instead of it."""
        if mood.kind == "html":
            self._send(Refusal(502, _HTML.encode(), "text/html", {"Server": "nginx"}))
        elif mood.kind == "silent" and (asked != "chat" or mood.after == 0):
            self._hush()
        elif mood.kind == "loading":
            self._refuse("loading")
        elif mood.kind == "slow" and asked != "chat":
            self._endpoint.stopping.wait(mood.seconds or 0.0)
            return False
        else:
            return False
        return True

    def _serve(self, asked: str, path: str, body: bytes, mood: Mood) -> None:
        if asked == "nothing":
            self._refuse("no-such-path")
        elif (flaw := self._key_flaw(asked)) is not None:
            self._refuse(flaw)
        elif mood.kind == "unauthorized" and asked != "chat":
            self._refuse("unauthorized")
        elif asked == "chat":
            self._chat(body, mood)
        elif asked == "status":
            self._status(path.rsplit("/", 1)[-1])
        else:
            self._say_json(self._page(asked), cut=mood.kind == "cut")

    def _key_flaw(self, asked: str) -> str | None:
        key = self._endpoint.key
        if key is None or (asked == "models" and self._endpoint.flavour == "nvidia"):
            return None
        sent = self.headers.get("Authorization")
        if sent is None:
            return "no-key"
        return None if sent == f"Bearer {key}" else "wrong-key"

    def _page(self, asked: str) -> dict[str, Any]:
        endpoint = self._endpoint
        if asked in {"live", "ready"}:
            return {"object": "health.response", "message": f"Service is {asked}", "status": asked}
        if asked == "metadata":
            model = {"shortName": endpoint.models[0], "modelUrl": ""}
            licence = {"name": "stand-in", "path": "", "sha": "", "size": 0, "url": "", "type": "file", "content": ""}
            made = {"version": "0.0.0", "selectedModelProfileId": "0" * 64, "repository_override": ""}
            return {"assetInfo": [], "licenseInfo": licence, "modelInfo": [model], **made}
        if asked == "manifest":
            return {"manifest_file": "/opt/nim/etc/default/model_manifest.yaml", "repository": "ngc"}
        owner = {"nvidia": "nvidia", "deepseek": "deepseek", "nim": "system"}[endpoint.flavour]
        born: dict[str, Any] = {} if endpoint.flavour == "deepseek" else {"created": 735790403}
        models = [{"id": name, "object": "model", **born, "owned_by": owner} for name in endpoint.listed()]
        return {"object": "list", "data": models}

    # -- completions ---------------------------------------------------------------------------------------------------

    def _chat(self, body: bytes, mood: Mood) -> None:
        try:
            asked = json.loads(body)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            self._refuse("malformed")
            return
        name = str(asked.get("model"))
        if (flaw := self._chat_flaw(asked, name, mood)) is not None:
            self._refuse(flaw, name, mood)
            return
        speech = _Speech.of(self._endpoint, asked)
        if mood.kind == "pending":
            self._pend(speech, mood.seconds or 0.0)
        elif asked.get("stream"):
            self._stream(speech, mood, usage=bool((asked.get("stream_options") or {}).get("include_usage")))
        else:
            self._whole(speech, mood)

    def _chat_flaw(self, asked: dict[str, Any], name: str, mood: Mood) -> str | None:
        if mood.kind not in {"ok", "slow", "silent", "cut", "pending"}:
            return mood.kind
        if name in self._endpoint.gone:
            return "listed-but-gone"
        if name not in self._endpoint.models and name not in ALIASES[self._endpoint.flavour]:
            return "unknown-model"
        return None if asked.get("messages") and isinstance(asked["messages"], list) else "invalid"

    def _pend(self, speech: _Speech, seconds: float) -> None:
        self._endpoint.bill(speech.prompt, len(speech.pieces))
        name = self._endpoint.later(seconds, speech.whole())
        self._send(Refusal(202, b"{}", headers={"NVCF-REQID": name, "NVCF-STATUS": "pending-evaluation"}))

    def _status(self, name: str) -> None:
        answer = self._endpoint.polled(name)
        if answer is False:
            self._refuse("no-such-path")
        elif answer is None:
            self._send(Refusal(202, b"{}", headers={"NVCF-REQID": name, "NVCF-STATUS": "pending-evaluation"}))
        else:
            self._say_json(answer)

    def _whole(self, speech: _Speech, mood: Mood) -> None:
        slow = mood.kind == "slow"
        if mood.kind == "silent":
            self._hush()
            return
        self._endpoint.bill(speech.prompt, len(speech.pieces))  # before the answer leaves: who has it may look
        if slow and self._endpoint.flavour == "deepseek":
            self._start("application/json")
            self._hold(mood.seconds or 0.0, b"\n")
            self._chunk(json.dumps(speech.whole()).encode())
            self._chunk(b"")
        else:
            self._endpoint.stopping.wait((mood.seconds or 0.0) if slow else self._endpoint.token_s * len(speech.pieces))
            self._say_json(speech.whole(), cut=mood.kind == "cut")

    def _stream(self, speech: _Speech, mood: Mood, *, usage: bool) -> None:
        said = 0
        try:
            if mood.kind == "slow" and self._endpoint.flavour != "deepseek":
                self._endpoint.stopping.wait(mood.seconds or 0.0)
            self._start("text/event-stream; charset=utf-8")
            if mood.kind == "slow" and self._endpoint.flavour == "deepseek":
                self._hold(mood.seconds or 0.0, b": keep-alive\n\n")
            self._event(speech.chunk({"role": "assistant", "content": ""}, usage=usage))
            for kind, text in speech.pieces:
                if mood.kind in {"silent", "cut"} and said == mood.after:
                    break
                self._event(speech.chunk({kind: text}, usage=usage))
                said += 1
                self._endpoint.stopping.wait(self._endpoint.token_s)
        finally:
            self._endpoint.bill(speech.prompt, said)
        if mood.kind == "silent":
            self._hush()
        elif mood.kind == "cut":
            self._hang_up()
        else:
            self._event(speech.chunk({}, finish=speech.finish, usage=usage))
            if usage:
                self._event(speech.last())
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def _refuse(self, kind: str, model: str = "", mood: Mood | None = None) -> None:
        match self._endpoint.flavour:
            case "nvidia":
                refusal = _nvidia(kind, model)
            case "deepseek":
                refusal = _deepseek(kind, model, (self.headers.get("Authorization") or "").removeprefix("Bearer "))
            case "nim":
                refusal = _nim(kind, model)
        if kind == "limited" and mood is not None and mood.seconds is not None:
            refusal = replace(refusal, headers={"Retry-After": _retry_after(mood.seconds, as_date=mood.as_date)})
        self._send(refusal)

    def _send(self, refusal: Refusal) -> None:
        self.send_response(refusal.status)
        for name, value in refusal.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", refusal.content_type)
        self.send_header("Content-Length", str(len(refusal.body)))
        self.end_headers()
        self.wfile.write(refusal.body)

    def _say_json(self, said: object, *, cut: bool = False) -> None:
        data = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._hang_up()

    def _start(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _event(self, said: object) -> None:
        self._chunk(b"data: " + json.dumps(said, ensure_ascii=False).encode() + b"\n\n")

    def _hold(self, seconds: float, sign: bytes) -> None:
        """Hold the line for so long, with a sign of life now and then; the first at once."""
        end = time.monotonic() + seconds
        while not self._endpoint.stopping.is_set() and (left := end - time.monotonic()) > 0:
            self._chunk(sign)
            self._endpoint.stopping.wait(min(left, self._endpoint.keepalive_s))

    def _hush(self) -> None:
        """Say nothing until the other side leaves, or we do."""
        while not self._endpoint.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.05)
            if readable and not self.connection.recv(4096):
                break
        self.close_connection = True

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    # -- the control path ----------------------------------------------------------------------------------------------

    def _control(self, path: str, body: bytes) -> None:
        endpoint = self._endpoint
        if not ipaddress.ip_address(self.client_address[0]).is_loopback:
            self._send(Refusal(403, b'{"error": "the control path is for loopback"}'))
        elif path == "/-/seen" and self.command == "GET":
            seen = [
                asdict(item) | {"at": item.at.isoformat(), "body": item.body.decode("utf-8", "replace")}
                for item in list(endpoint.seen)
            ]
            self._say_json({"seen": seen, "billed": asdict(endpoint.billed)})
        elif path == "/-/mood" and self.command == "GET":
            self._say_json(asdict(endpoint.mood))
        elif path == "/-/mood":
            try:
                endpoint.be(**json.loads(body))
            except (ValueError, TypeError) as error:
                self._send(Refusal(400, json.dumps({"error": str(error)}).encode()))
            else:
                self._say_json(asdict(endpoint.mood))
        else:
            self._send(Refusal(404, b'{"error": "there are /-/mood and /-/seen"}'))


def _retry_after(seconds: float, *, as_date: bool) -> str:
    """RFC 9110, 10.2.3: whole seconds, or a date."""
    if as_date:
        return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    return str(int(seconds))


@dataclass(frozen=True, slots=True)
class _Speech:
    """What is said to one question: pieces of a token each, reasoning first."""

    flavour: Flavour
    model: str
    name: str
    created: int
    prompt: int
    pieces: tuple[tuple[str, str], ...]
    finish: str

    @classmethod
    def of(cls, endpoint: HostedEndpoint, asked: dict[str, Any]) -> _Speech:
        thinks = endpoint.thought if _thinks(endpoint.flavour, asked) else ""
        pieces = (*_pieces("reasoning_content", thinks), *_pieces("content", endpoint.answer))
        limit = asked.get("max_tokens") or asked.get("max_completion_tokens")
        cut = isinstance(limit, int) and limit < len(pieces)
        said = pieces[:limit] if cut else pieces
        prompt = max(1, len(" ".join(str(item.get("content", "")) for item in asked["messages"]).split()))
        model = ALIASES[endpoint.flavour].get(asked["model"], asked["model"])
        name = f"chatcmpl-{uuid.uuid4()}"
        return cls(endpoint.flavour, model, name, int(time.time()), prompt, said, "length" if cut else "stop")

    def usage(self) -> dict[str, Any]:
        thought = sum(kind == "reasoning_content" for kind, _ in self.pieces)
        count = {"prompt_tokens": self.prompt, "completion_tokens": len(self.pieces)}
        usage: dict[str, Any] = {**count, "total_tokens": self.prompt + len(self.pieces)}
        if self.flavour == "deepseek":
            usage |= {"prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 0}
            usage |= {"prompt_cache_miss_tokens": self.prompt}
        return usage | ({"completion_tokens_details": {"reasoning_tokens": thought}} if thought else {})

    def _text(self, wanted: str) -> str:
        return "".join(text for kind, text in self.pieces if kind == wanted)

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._text("content")}
        message["reasoning_content"] = self._text("reasoning_content") or None
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self.usage()}

    def chunk(self, delta: dict[str, str], *, usage: bool, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        head = self._head("chat.completion.chunk")
        return {**head, "choices": [choice]} | ({"usage": None} if usage else {})

    def last(self) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage()}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.name, "object": kind, "created": self.created, "model": self.model}


def _thinks(flavour: Flavour, asked: dict[str, Any]) -> bool:
    """Whether reasoning is asked for; DeepSeek's API reasons unless told not to, the others only where told (A)."""
    if flavour == "deepseek":
        thinking = asked.get("thinking")
        return not (isinstance(thinking, dict) and thinking.get("type") == "disabled")
    template = asked.get("chat_template_kwargs")
    return isinstance(template, dict) and template.get("thinking") is True


def _pieces(kind: str, text: str) -> Iterator[tuple[str, str]]:
    for index, word in enumerate(text.split()):
        yield kind, word if index == 0 else f" {word}"


# -- as a process ------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None, say: Callable[[str], object] = print) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.hosted", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--flavour", choices=get_args(Flavour), default="nvidia")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", help="the bearer key it demands; each flavour has one of its own")
    parser.add_argument("--model", action="append", help="a model it lists and serves; may be repeated")
    parser.add_argument("--mood", choices=get_args(Kind), default="ok")
    parser.add_argument("--seconds", type=float, help="of the mood")
    parser.add_argument("--token-s", type=float, default=0.0, help="seconds between tokens")
    asked = parser.parse_args(arguments)
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    models = tuple(asked.model) if asked.model else None
    with HostedEndpoint(
        asked.flavour, key=asked.key, models=models, token_s=asked.token_s, host=asked.host, port=asked.port
    ) as endpoint:
        endpoint.be(asked.mood, seconds=asked.seconds)
        say(endpoint.url)
        sys.stdout.flush()
        stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
