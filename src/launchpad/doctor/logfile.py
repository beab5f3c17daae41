"""An engine's log, explained: which known signatures stand in it.

The file may be anything: five gigabytes, one endless line, binary. At most its first 2 and its last 16 MiB are read
(some five seconds of work), in lines of at most 64 KiB, and whoever asked is told how much was left out. The signatures are those
of the crash classifier.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from launchpad.doctor.finding import Finding
from launchpad.doctor.hazards import SIGNATURES, Signature
from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Flags and versions stand at the head, the cause of a death at the tail.
_HEAD: Final = 2 * 2**20
_TAIL: Final = 16 * 2**20
_LINE: Final = 64 * 2**10
_EVIDENCE: Final = 300
#: One pass over a line that says nothing, which is nearly every line; the rows are asked only about the others.
_ANY: Final = re.compile("|".join(f"(?:{row.pattern.pattern})" for row in SIGNATURES))


@dataclass(frozen=True, slots=True)
class Explained:
    """The findings of a log, and how many of its bytes were not read."""

    findings: tuple[Finding, ...]
    unread_bytes: int


def explain_log(path: Path) -> Explained:
    """Every signature that ``path`` holds, each once with the first line that shows it; raises LaunchpadError."""
    try:
        if not path.is_file():
            raise LaunchpadError(
                f"cannot read log {path}: it is no regular file", hint="name a file, or pipe into one first"
            )
        size = path.stat().st_size
        with path.open("rb") as file:
            seen: dict[str, Finding] = {}
            for line in _lines(file, size):
                row = next((row for row in SIGNATURES if row.pattern.search(line)), None) if _ANY.search(line) else None
                if row is not None:
                    seen.setdefault(row.id, _finding(row, line))
    except OSError as error:
        raise LaunchpadError(f"cannot read log {path}: {error.strerror or error}") from error
    return Explained(tuple(seen.values()), max(0, size - _HEAD - _TAIL))


def _lines(file: BinaryIO, size: int) -> Iterator[str]:
    """Lines of the head, then of the tail; tqdm's carriage returns end a line too."""
    if size <= _HEAD + _TAIL:
        yield from _window(file, size)
        return
    yield from _window(file, _HEAD)
    file.seek(size - _TAIL)
    yield from _window(file, _TAIL)


def _window(file: BinaryIO, budget: int) -> Iterator[str]:
    while budget > 0:
        line = file.readline(min(_LINE, budget))
        if not line:
            return
        budget -= len(line)
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
