"""The event journal of one deployment: append-only JSON lines, one writer, many readers.

A line is written with one ``write(2)`` and synced, so a kill between two lines loses nothing and a power cut can only tear the
last one. A torn last line is skipped by readers and closed off by the next writer. Readers poll: inotify would cost a
dependency, and a poll of one ``stat`` every twentieth of a second costs nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from launchpad.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a deployment. ``from_`` and ``to`` are phases where it is a transition, else None."""

    at: datetime
    event: str
    reason: str
    from_: str | None = None
    to: str | None = None
    detail: dict[str, str | int | float | bool | None] | None = None

    def as_json(self) -> dict[str, object]:
        """The event under its published names: ``at``, ``event``, ``from``, ``to``, ``reason``, ``detail``."""
        from launchpad.clock import stamp

        return {
            "at": stamp(self.at),
            "event": self.event,
            "from": self.from_,
            "to": self.to,
            "reason": self.reason,
            "detail": self.detail or {},
        }


class _Line(msgspec.Struct, rename={"from_": "from"}):
    at: str
    event: str
    reason: str = ""
    from_: str | None = None
    to: str | None = None
    detail: dict[str, str | int | float | bool | None] = {}


class Journal:
    """The journal at ``path``; only the deployment's supervisor calls :meth:`append`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, event: Event) -> None:
        """Add one event, durably; raises StoreError where the disk refuses."""
        # A log or an errno may carry bytes that are no text; they must not cost the line.
        line = json.dumps(event.as_json(), ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line  # close off a line that a power cut tore
                while line:  # one write(2), but for a disk that fills up: its second write says so
                    line = line[os.write(descriptor, line) :]
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror or error}", hint="check free space"
            ) from error

    def end(self) -> int:
        """The offset where the next event will be written."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, offset: int = 0) -> Iterator[tuple[int, Event]]:
        """Whole events from ``offset`` on, each with the offset after it; lines that do not decode are skipped."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"cannot read {self._path}: {error.strerror or error}") from error
        with file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written, or torn: the next read will tell
                offset += len(line)
                event = _event(line)
                if event is not None:
                    yield offset, event


def _event(line: bytes) -> Event | None:
    from launchpad.clock import moment

    try:
        found = msgspec.json.decode(line, type=_Line)
        return Event(moment(found.at), found.event, found.reason, found.from_, found.to, found.detail)
    except ValueError:
        return None
