"""What goes on: a container's log, its output as it is written, and the engine's events.

A stream is a context manager that ends at once, from another thread too, however long the engine is silent. It refuses to begin
again where the connection breaks: it raises, and whoever listens decides.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from urllib.parse import quote

from launchpad.errors import ContainerError, LaunchpadError, RuntimeUnavailable
from launchpad.runtime.base import LABEL_DEPLOYMENT, LogLine, RuntimeEvent
from launchpad.runtime.docker.client import Part
from launchpad.runtime.docker.documents import event_of
from launchpad.runtime.frames import Frames, Lines, json_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime
    from types import TracebackType

    from launchpad.runtime.docker.client import Answer

T = TypeVar("T")

#: Events about a container's life. Docker also reports `top` and `exec`, which our own questions cause.
LIFECYCLE: Final = ("create", "start", "oom", "kill", "die", "stop", "pause", "unpause", "rename", "destroy")


class Streams(Part):
    """Logs and events."""

    def logs(
        self, container_id: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AbstractContextManager[Iterator[LogLine]]:
        """Lines the container wrote; leaving the context ends a follow from another thread too.

        ``since`` is inclusive; ``tail`` counts lines as they were written (a progress bar's updates are one). Raises
        ContainerError where the container is gone, RuntimeUnavailable where the connection breaks.
        """
        wanted: dict[str, str | int] = {
            "stdout": 1,
            "stderr": 1,
            "timestamps": 1,
            "follow": int(follow),
            "tail": "all" if tail is None else str(tail),
        }
        if since is not None:
            wanted["since"] = f"{since.timestamp():.6f}"
        doing = f"read the log of container {container_id[:12]}"
        path = f"/containers/{quote(container_id, safe='')}/logs"
        return _Stream(
            lambda: self._client.stream(path, wanted, timeout=None if follow else self._client.timeout_s),
            lambda chunks: _log_lines(chunks, doing),
            lambda: self._client.door(doing, ContainerError),
        )

    def output(self, container_id: str) -> AbstractContextManager[Iterator[LogLine]]:
        """What a running container writes from now on, as it writes it; leaving the context ends it from another thread too."""
        doing = f"listen to container {container_id[:12]}"
        path = f"/containers/{quote(container_id, safe='')}/attach"
        wanted = {"stream": 1, "stdout": 1, "stderr": 1}
        return _Stream(
            lambda: self._client.stream(path, wanted, timeout=None, method="POST"),
            lambda chunks: _log_lines(chunks, doing),
            lambda: self._client.door(doing, ContainerError),
        )

    def events(self) -> AbstractContextManager[Iterator[RuntimeEvent]]:
        """Events from now on of labelled containers; leaving the context ends the stream from another thread too.

        The iterator never ends of itself: it raises RuntimeUnavailable where the connection breaks.
        """
        filters = json.dumps({"type": ["container"], "label": [LABEL_DEPLOYMENT], "event": list(LIFECYCLE)})

        def opened() -> Answer:
            # The engine answers before it subscribes; `since` has it send what happened in between.
            since = f"{self._client.clock.now().timestamp():.6f}"
            return self._client.stream("/events", {"filters": filters, "since": since}, timeout=None)

        doing = "follow the Docker Engine's events"
        return _Stream(
            opened,
            lambda chunks: _events(chunks, doing, self._client.host),
            lambda: self._client.door(doing, RuntimeUnavailable),
        )


def _log_lines(chunks: Iterable[bytes], doing: str) -> Iterator[LogLine]:
    frames, lines = Frames(), Lines()
    try:
        for chunk in chunks:
            for stream, payload in frames.feed(chunk):
                if stream == "error":
                    raise ContainerError(f"cannot {doing}: {payload.decode('utf-8', 'replace').strip()}")
                yield from lines.feed(stream, payload)
    except ValueError as error:
        raise ContainerError(f"cannot {doing}: {error}") from error
    yield from lines.flush()


def _events(chunks: Iterable[bytes], doing: str, host: str) -> Iterator[RuntimeEvent]:
    for message in json_lines(chunks):
        if event := event_of(message):
            yield event
    raise RuntimeUnavailable(
        f"cannot {doing}: the Docker Engine at {host} closed the connection", hint="sudo systemctl status docker"
    )


class _Stream(Generic[T]):
    """A streaming answer as a context manager whose end comes at once, also while another thread waits for a byte.

    docker-py's own CancellableStream closes the file that the other thread holds locked, and so waits for the next byte
    (docker-py 7.1, docker/types/daemon.py). Shutting the socket down first wakes the reader with an end of file.
    """

    def __init__(
        self,
        opened: Callable[[], Answer],
        decode: Callable[[Iterable[bytes]], Iterator[T]],
        door: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._opened = opened
        self._decode = decode
        self._door = door
        self._ended = threading.Event()
        self._answer: Answer | None = None

    def __enter__(self) -> Iterator[T]:
        with self._door():
            self._answer = self._opened()
        return self._items(self._answer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._answer is not None:
            with suppress(OSError, ValueError, RuntimeError):  # already at its end, or closed by the reader
                self._answer.raw.shutdown()
            with suppress(OSError, ValueError):
                self._answer.close()

    def _items(self, answer: Answer) -> Iterator[T]:
        try:
            for item in self._decode(self._chunks(answer)):
                if self._ended.is_set():
                    return
                yield item
        except LaunchpadError:
            if not self._ended.is_set():
                raise

    def _chunks(self, answer: Answer) -> Iterator[bytes]:
        with self._door():
            try:
                if answer.raw.chunked:
                    yield from answer.raw.stream(64 * 1024, decode_content=False)
                else:  # an attached container: what there is now, not what fills a buffer
                    while chunk := answer.raw.read1(64 * 1024, decode_content=False):
                        yield chunk
            except Exception:
                if not self._ended.is_set():
                    raise
