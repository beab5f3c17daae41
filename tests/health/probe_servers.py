"""Real servers for the prober's tests: one well-behaved HTTP server with a scripted answer, and raw sockets that misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Heard:
    """What a server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Serving:
    """A running server: where it is, and what it heard."""

    url: str
    heard: list[Heard] = field(default_factory=list)


class _SixServer(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def answering(
    body: bytes = b"", status: int = 200, headers: tuple[tuple[str, str], ...] = (), host: str = "127.0.0.1"
) -> Iterator[Serving]:
    """An HTTP server that answers every question the same way."""
    serving = Serving("")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length") or 0)
        sent = {name.lower(): value for name, value in handler.headers.items()}
        serving.heard.append(Heard(handler.command, handler.path, sent, handler.rfile.read(length)))
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with contextlib.suppress(OSError):  # the prober may have read enough
            handler.wfile.write(body)

    quiet = {"do_GET": answer, "do_POST": answer, "log_message": lambda *_: None}
    handler = type("Handler", (BaseHTTPRequestHandler,), quiet)
    server = (_SixServer if ":" in host else ThreadingHTTPServer)((host, 0), handler)
    shown = f"[{host}]" if ":" in host else host
    serving.url = f"http://{shown}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield serving
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def misbehaving(act: Callable[[socket.socket, threading.Event], object]) -> Iterator[str]:
    """A raw TCP server: ``act`` gets every connection once its request arrived, and an event that says to stop."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.02)

    def serve() -> None:
        while not stop.is_set():
            try:
                line, _ = listener.accept()
            except TimeoutError:
                continue
            with line, contextlib.suppress(OSError):
                line.settimeout(5)
                line.recv(65536)
                act(line, stop)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()
        listener.close()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
