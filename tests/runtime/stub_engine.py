"""A Docker Engine that answers what a test says, on a Unix socket: for answers that a real one gives only on a bad day."""

from __future__ import annotations

import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VERSION = {"ApiVersion": "1.41", "Version": "20.10.24"}


class Answers:
    """Says what it was told for a path's end; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {"/version": self.json(200, VERSION)}

    def at(self, path_end: str, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self._routes[path_end] = answer

    def json(self, status: int, body: object) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(request: BaseHTTPRequestHandler) -> None:
            data = json.dumps(body).encode()
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)

        return answer

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.asked.append(f"{request.command} {path}")
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        for end, answer in self._routes.items():
            if path.endswith(end):
                return answer(request)
        return self.json(404, {"message": "no such thing"})(request)


def chunked(*chunks: bytes, whole: bool) -> Callable[[BaseHTTPRequestHandler], None]:
    """A streaming answer; where it is not ``whole`` the connection breaks after the last chunk."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for chunk in chunks:
            request.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if whole:
            request.wfile.write(b"0\r\n\r\n")
        request.close_connection = True

    return answer


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """Close the connection without a word."""
    request.close_connection = True


def once(
    first: Callable[[BaseHTTPRequestHandler], None], *, then: Callable[[BaseHTTPRequestHandler], None]
) -> Callable[[BaseHTTPRequestHandler], None]:
    """One answer the first time, another ever after."""
    times: list[int] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        times.append(1)
        return first(request) if len(times) == 1 else then(request)

    return answer


@contextmanager
def stub_engine(socket: Path) -> Iterator[Answers]:
    """Listens on ``socket`` until the context ends."""
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "socket"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's own word)
            return

        def do_GET(self) -> None:
            answers.handle(self)

        do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 (http.server looks these names up)

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    server = Server(str(socket), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
