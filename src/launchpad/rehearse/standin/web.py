"""The HTTP side: a listening socket, the questions it answers, and errors in OpenAI's form.

The paths that every engine has are here, the others in the engine's own file; an unknown one is 404. It speaks HTTP/1.1
without TLS, and refuses what the engine refuses: a wrong key, a model of another name, a body that is no object.
"""

from __future__ import annotations

import json
import random
import socket
import socketserver
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from launchpad.rehearse.standin.answer import Answer, Problem

if TYPE_CHECKING:
    from launchpad.rehearse.standin.engine import Reply
    from launchpad.rehearse.standin.life import Life
    from launchpad.rehearse.standin.plan import Plan


class Doors(ThreadingHTTPServer):
    """The listening socket. Binding and listening are two steps, because vLLM takes them minutes apart."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, plan: Plan, life: Life) -> None:
        if ":" in plan.host:
            self.address_family = socket.AF_INET6
        super().__init__((plan.host, plan.port), Handler, bind_and_activate=False)
        self.life = life

    def server_bind(self) -> None:
        """Bind without asking a name server for this host's name, as HTTPServer would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are nobody's news."""


class Handler(BaseHTTPRequestHandler):
    """The endpoints of all engines; which of them exist depends on the engine."""

    protocol_version = "HTTP/1.1"
    server_version = "uvicorn"
    sys_version = ""
    disable_nagle_algorithm = True
    server: Doors

    @property
    def life(self) -> Life:
        """The server this request came to."""
        return self.server.life

    def log_request(self, code: int | str = "-", *_: object) -> None:
        """Log the request as uvicorn does."""
        status = int(code)
        phrase = self.responses.get(status, ("",))[0]
        host, port = self.client_address[:2]
        self.life.log.web(f'INFO:     {host}:{port} - "{self.command} {self.path} HTTP/1.1" {status} {phrase}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
        """Nothing else is logged."""

    def do_GET(self) -> None:
        """Health, models, metrics and what else can be asked."""
        path = self.path.partition("?")[0]
        try:
            self._authorise(path)
            answer = self._get(path)
        except Problem as problem:
            answer = (problem.status, problem.body)
        if answer is None:
            answer = (404, {"detail": "Not Found"})
        self._reply(*answer)

    def do_POST(self) -> None:
        """Completions and embeddings."""
        path = self.path.partition("?")[0]
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._authorise(path)
            self._post(self.life.engine.kind(self.life.plan, path), raw)
        except Problem as problem:
            self._reply(problem.status, problem.body)

    # -- asking

    def _get(self, path: str) -> Reply:
        life, plan = self.life, self.life.plan
        if path == "/v1/models":
            return 200, {"object": "list", "data": [self._model(name) for name in plan.names]}
        if path == "/metrics":
            return (200, life.meters.text(life.engine.exposition, plan)) if plan.metrics else None
        return life.engine.get(life, path)

    def _model(self, name: str) -> dict[str, object]:
        plan = self.life.plan
        return {
            "id": name,
            "object": "model",
            "created": int(self.life.begun),
            "owned_by": plan.engine,
            "root": plan.model,
            "max_model_len": plan.context,
        }

    def _authorise(self, path: str) -> None:
        key = self.life.plan.api_key
        if key and self.life.engine.guards(path) and self.headers.get("Authorization") != f"Bearer {key}":
            raise Problem(401, "Unauthorized", "Unauthorized")

    # -- completing

    def _post(self, kind: str | None, raw: bytes) -> None:
        life = self.life
        if kind is None:
            raise Problem(404, "Not Found", "NotFoundError")
        try:
            body = json.loads(raw)
        except ValueError as problem:
            raise Problem(
                400, f"[{{'type': 'json_invalid', 'msg': 'JSON decode error', 'error': '{problem}'}}]"
            ) from problem
        if not isinstance(body, dict):
            raise Problem(400, "the body must be a JSON object")
        self._check_model(kind, body)
        if not life.ready:
            raise Problem(503, "Loading model", "unavailable_error")
        if life.failing or (life.draining and life.engine.refuses_while_draining):
            raise Problem(500, "Internal Server Error", "InternalServerError")
        if kind == "embedding":
            self._embed(body)
        else:
            Answer(self, kind, body).give()

    def _check_model(self, kind: str, body: dict[str, Any]) -> None:
        name, names = body.get("model"), self.life.plan.names
        if kind != "generate" and name is not None and name not in names and self.life.engine.checks_model:
            raise Problem(404, f"The model `{name}` does not exist.", "NotFoundError", "model")

    def _embed(self, body: dict[str, Any]) -> None:
        given = body.get("input")
        texts = given if isinstance(given, list) else [given]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise Problem(400, "input must be a string or a list of strings", param="input")
        rows = []
        for index, text in enumerate(texts):
            dice = random.Random(str(text))  # noqa: S311 - deterministic numbers, no secret
            rows.append({"object": "embedding", "index": index, "embedding": [dice.uniform(-1, 1) for _ in range(16)]})
        used = sum(len(str(text).split()) for text in texts)
        usage = {"prompt_tokens": used, "total_tokens": used}
        self._reply(200, {"object": "list", "model": self.life.plan.names[0], "data": rows, "usage": usage})

    # -- answering

    def _reply(self, status: int, body: object) -> None:
        plain = isinstance(body, str)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8" if plain else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def reply(self, body: object) -> None:
        """A whole answer."""
        self._reply(200, body)

    def stream(self) -> None:
        """Begin an event stream."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, body: object) -> None:
        """One server-sent event; a string goes as it is."""
        data = f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def end_stream(self) -> None:
        """The last chunk."""
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
