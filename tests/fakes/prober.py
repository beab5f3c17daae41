"""A server that answers as the test says, asked through probers as the supervisor makes them: one a start."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from launchpad.health.probe import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launchpad.health.probe import CompletionKind


def good(detail: str = "200") -> Answer:
    return Answer(ok=True, outcome="ok", status=200, detail=detail, seconds=0.001)


def bad(detail: str = "503", status: int | None = 503) -> Answer:
    return Answer(ok=False, outcome="http", status=status, detail=detail, seconds=0.001)


class FakeServer:
    """``gets`` and ``completes`` are what it answers next; while ``hanging`` is set it answers nothing."""

    def __init__(self) -> None:
        self.gets = good("200 OK")
        self.by_path: dict[str, Answer] = {}
        #: The text of a page by its path; a path that has none is 404.
        self.pages: dict[str, str] = {}
        self.completes = good("hello")
        self.hanging = False
        #: Called with the kind before a completion is answered: what happens on the server meanwhile.
        self.on_complete: Callable[[str], None] = lambda _: None
        #: What was asked, in order: paths, and kinds of completion; how long each completion might take, and how many tokens.
        self.asked: list[str] = []
        self.patience: list[float | None] = []
        self.most_tokens: list[int] = []
        self.urls: list[str] = []
        self.hung = threading.Event()

    def prober(self, base_url: str, key: str | None = None, *, outside: bool = False) -> FakeProber:
        self.urls.append(base_url)
        return FakeProber(self)


class FakeProber:
    """Asks a :class:`FakeServer`; closing it ends a question that hangs."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._closed = threading.Event()

    def get(self, path: str, timeout: float | None = None) -> Answer:
        return self._ask(path, self._server.by_path.get(path, self._server.gets))

    def read(self, path: str, timeout: float | None = None) -> tuple[Answer, str]:
        page = self._server.pages.get(path)
        answer = self._ask(path, self._server.by_path.get(path, good() if page is not None else bad("Not Found", 404)))
        return answer, (page or "") if answer.ok else ""

    def complete(
        self,
        kind: CompletionKind,
        model: str,
        prompt: str,
        max_tokens: int,
        extra: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        self._server.patience.append(timeout)
        self._server.most_tokens.append(max_tokens)
        self._server.on_complete(kind)
        return self._ask(kind, self._server.completes)

    def close(self) -> None:
        self._closed.set()

    def _ask(self, what: str, answer: Answer) -> Answer:
        self._server.asked.append(what)
        if self._server.hanging:
            self._server.hung.set()
            self._closed.wait(10.0)
            return Answer(ok=False, outcome="broken", status=None, detail="closed while it hung", seconds=10.0)
        return answer
