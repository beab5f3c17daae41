"""Docker's byte streams, put back together: multiplexed frames, log lines, JSON lines.

A stream arrives cut wherever the network cut it. The classes here are fed what arrived and give back what is whole; they
hold no socket, read no clock and know no container. The frame format is the Engine API's ("Attach to a container", stream
format): one byte of stream, three of zero, four of length (big endian), then that many bytes. They refuse raw streams,
which a container with a terminal would send: launchpad never gives one.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from launchpad.runtime.base import LogLine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: A line longer than this many bytes comes in pieces of this length.
LINE_LIMIT: Final = 64 * 1024

_HEADER: Final = 8
_STREAMS: Final[dict[int, Literal["stdout", "stderr", "error"]]] = {0: "stdout", 1: "stdout", 2: "stderr", 3: "error"}
_SEPARATOR = re.compile(rb"[\r\n]")


class Frames:
    """Whole frames of a multiplexed stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Literal["stdout", "stderr", "error"], bytes]]:
        """The frames that ``data`` completes, as (stream, payload); ``error`` is the engine's own complaint.

        Raises ValueError where the bytes are no frames (a container with a terminal).
        """
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _HEADER:
            head = self._buffer[start : start + _HEADER]
            if head[0] not in _STREAMS or any(head[1:4]):
                raise ValueError("the stream is not multiplexed: the container has a terminal")
            end = start + _HEADER + int.from_bytes(head[4:], "big")
            if len(self._buffer) < end:
                break
            yield _STREAMS[head[0]], bytes(self._buffer[start + _HEADER : end])
            start = end
        del self._buffer[:start]


class Lines:
    r"""Log lines out of timestamped frames.

    The engine cuts long lines into several frames, each with its own timestamp; here they are one line again, with the
    first one's. ``\r`` ends a line as ``\n`` does, because progress bars write it; what it ends is dropped where empty.
    Bytes that are not UTF-8 are replaced.
    """

    def __init__(self) -> None:
        self._tails: dict[Literal["stdout", "stderr"], _Tail] = {"stdout": _Tail(), "stderr": _Tail()}

    def feed(self, stream: Literal["stdout", "stderr"], payload: bytes) -> Iterator[LogLine]:
        """The lines that one frame's ``payload`` (``TIMESTAMP text``) completes."""
        at, text = _split_timestamp(payload)
        for line_at, line in self._tails[stream].feed(at, text):
            yield LogLine(line_at, stream, line.decode("utf-8", "replace"))

    def flush(self) -> Iterator[LogLine]:
        """What was written without a line's end, once no more will come."""
        for stream, tail in self._tails.items():
            if tail.text:
                yield LogLine(tail.at, stream, bytes(tail.text).decode("utf-8", "replace"))
                tail.text.clear()


class _Tail:
    """The unfinished line of one stream."""

    def __init__(self) -> None:
        self.at: datetime | None = None
        self.text = bytearray()
        self._after_cr = False

    def feed(self, at: datetime | None, text: bytes) -> Iterator[tuple[datetime | None, bytes]]:
        start = 0
        for separator in _SEPARATOR.finditer(text):
            yield from self._grow(at, text[start : separator.start()])
            start = separator.end()
            carriage_return = separator.group() == b"\r"
            if self.text or not (carriage_return or self._after_cr):
                yield (self.at if self.text else at), bytes(self.text)
            self._after_cr = carriage_return
            self.text.clear()
        yield from self._grow(at, text[start:])

    def _grow(self, at: datetime | None, text: bytes) -> Iterator[tuple[datetime | None, bytes]]:
        if not text:
            return
        if not self.text:
            self.at = at
        self._after_cr = False
        self.text += text
        while len(self.text) > LINE_LIMIT:
            cut = LINE_LIMIT
            while cut > LINE_LIMIT - 4 and self.text[cut] & 0xC0 == 0x80:  # never inside a UTF-8 character
                cut -= 1
            yield self.at, bytes(self.text[:cut])
            del self.text[:cut]


def json_lines(chunks: Iterable[bytes]) -> Iterator[dict[str, object]]:
    """The JSON objects, one a line, in a stream of ``chunks``; what is no object is passed over."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            yield from _json_object(line)
    yield from _json_object(bytes(buffer))


def moment(text: str | None) -> datetime | None:
    """Docker's time (nanoseconds, any offset) in UTC; None for its zero time, for none and for what is no time."""
    if not text or text.startswith("0001-"):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def _json_object(line: bytes) -> Iterator[dict[str, object]]:
    if not line.strip():
        return
    try:
        found = json.loads(line)
    except ValueError:
        return
    if isinstance(found, dict):
        yield found


def _split_timestamp(payload: bytes) -> tuple[datetime | None, bytes]:
    head, space, rest = payload.partition(b" ")
    if space and (at := moment(head.decode("ascii", "replace"))):
        return at, rest
    return None, payload
