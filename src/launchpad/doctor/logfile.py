"""An engine's log, explained: which known signatures stand in it.

The file may be anything: five gigabytes, one endless line, binary, or written to make a pattern work for hours. At most its
first 2 and its last 16 MiB are read, in lines of at most 16 KiB, for at most a few seconds each, and whoever asked is told how
much was left out. The signatures are those of the crash classifier.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from launchpad.clock import SystemClock
from launchpad.doctor.finding import Finding
from launchpad.doctor.hazards import SIGNATURES, Signature
from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from launchpad.clock import Clock

#: Flags and versions stand at the head, the cause of a death at the tail.
_HEAD: Final = 2 * 2**20
_TAIL: Final = 16 * 2**20
_LINE: Final = 16 * 2**10
#: Seconds that the head, and then the tail, may take.
_PATIENCE: Final = 3.0
_EVIDENCE: Final = 300


@dataclass(frozen=True, slots=True)
class Explained:
    """The findings of a log, and how many of its bytes were not read."""

    findings: tuple[Finding, ...]
    unread_bytes: int


def literals(pattern: str) -> tuple[str, ...]:
    """Plain texts of which every match of ``pattern`` holds one: for each alternative its longest run of ordinary characters.

    Looking for a text is a hundred times as fast as asking all patterns, and nearly no line holds any.
    """
    return tuple(max(_runs(alternative), key=len) for alternative in _alternatives(pattern))


def _alternatives(pattern: str) -> Iterator[str]:
    """The pattern's own alternatives, each with a mark in place of its groups and of its classes."""
    depth, said, in_class = 0, "", False
    for part in re.findall(r"\\.|.", pattern):
        if in_class:
            in_class = part != "]"
        elif part == "[":
            in_class = True
            said += _GAP if depth == 0 else ""
        elif part in "()":
            depth += 1 if part == "(" else -1
            said += _GAP
        elif depth == 0 and part == "|":
            yield said
            said = ""
        elif depth == 0:
            said += part
    yield said


def _runs(alternative: str) -> Iterator[str]:
    """Its runs of ordinary characters; a character that may be missing or repeated belongs to none."""
    run = ""
    for part in re.findall(r"\\.|.", alternative, re.DOTALL):
        if part in _REPEATS:
            run = run[:-1]
        if part in _ENDS or (part[0] == "\\" and part[1].isalnum()):
            yield run
            run = ""
        else:
            run += part[-1]
    yield run


_GAP: Final = "\0"
_REPEATS: Final = frozenset("?*{")
_ENDS: Final = frozenset("?*+{}.^$" + _GAP)
_LITERALS: Final = tuple(dict.fromkeys(text for row in SIGNATURES for text in literals(row.pattern.pattern)))


def explain_log(path: Path, *, clock: Clock | None = None) -> Explained:
    """Every signature that ``path`` holds, each once with the first line that shows it; raises LaunchpadError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise LaunchpadError(
                f"cannot read log {path}: it is no regular file", hint="name a file, or pipe into one first"
            )
        with path.open("rb") as file:
            reader = _Reader(file, clock or SystemClock())
            seen: dict[str, Finding] = {}
            for line in reader.lines(status.st_size):
                row = signature_of(line)
                if row is not None:
                    seen.setdefault(row.id, _finding(row, line))
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise LaunchpadError(f"cannot read log {path}: {cause}", hint=f"ls -l {path}") from error
    return Explained(tuple(seen.values()), max(0, status.st_size - reader.read_bytes))


def signature_of(line: str) -> Signature | None:
    """The first row of the hazard table that ``line`` matches."""
    if not any(text in line for text in _LITERALS):
        return None
    return next((row for row in SIGNATURES if row.pattern.search(line)), None)


class _Reader:
    """Lines of a file's head, then of its tail; tqdm's carriage returns end a line too."""

    def __init__(self, file: BinaryIO, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self.read_bytes = 0

    def lines(self, size: int) -> Iterator[str]:
        if size <= _HEAD + _TAIL:
            yield from self._window(size, 2 * _PATIENCE)
            return
        yield from self._window(_HEAD, _PATIENCE)
        self._file.seek(size - _TAIL)
        yield from self._window(_TAIL, _PATIENCE)

    def _window(self, budget: int, seconds: float) -> Iterator[str]:
        deadline = self._clock.monotonic() + seconds
        while budget > 0 and self._clock.monotonic() < deadline:
            line = self._file.readline(min(_LINE, budget))
            if not line:
                return
            budget -= len(line)
            self.read_bytes += len(line)
            yield from line.decode("utf-8", "replace").splitlines()


def _finding(row: Signature, line: str) -> Finding:
    evidence = "".join(char if char.isprintable() else " " for char in line.strip())[:_EVIDENCE]
    return Finding(
        id=row.id,
        severity="blocks" if row.verdict == "fatal" else "warns",
        message=row.message,
        hint=row.hint,
        source=row.source,
        as_of=row.as_of,
        evidence=evidence,
        hazard=True,
    )
