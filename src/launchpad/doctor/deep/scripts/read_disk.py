"""Reads pieces of files past the page cache and prints how fast.

It runs in a child process, because a dead disk blocks its reader for ever. Settings come as JSON on stdin:
``{"files": [[path, bytes], ...], "budget_bytes": N, "seconds": S, "piece_bytes": P, "readers": R}``. The pieces lie evenly over all
the files. O_DIRECT where the file system allows it; elsewhere the pieces are dropped from the cache first, as far as the kernel
obliges. Nothing is written anywhere.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import threading
import time
from typing import Any


def pieces(files: list[tuple[str, int]], piece: int, budget: int) -> list[tuple[str, int]]:
    """(path, offset) of at most ``budget`` bytes in all, evenly spaced; whole pieces, or a small file whole."""
    every = [(path, offset) for path, size in files for offset in range(0, size, piece)]
    wanted = max(1, budget // piece)
    if len(every) <= wanted:
        return every
    return [every[index * len(every) // wanted] for index in range(wanted)]


class Reading:
    """What the readers share: the pieces left, the bytes read, the first error."""

    def __init__(self, todo: list[tuple[str, int]], piece: int, until: float) -> None:
        self.todo = iter(todo)
        self.piece = piece
        self.until = until
        self.read_bytes = 0
        self.direct = True
        self.error: str | None = None
        self.lock = threading.Lock()

    def run(self) -> None:
        """Read piece after piece until none is left, time is up, or one cannot be read."""
        buffer = mmap.mmap(-1, self.piece)
        while time.monotonic() < self.until and self.error is None:
            with self.lock:
                found = next(self.todo, None)
            if found is None:
                return
            try:
                count, direct = read_piece(*found, buffer)
            except OSError as error:
                self.error = f"{found[0]}: {error.strerror or error}"
                return
            with self.lock:
                self.read_bytes += count
                self.direct = self.direct and direct


def read_piece(path: str, offset: int, buffer: mmap.mmap) -> tuple[int, bool]:
    """Bytes read at ``offset``, and whether past the cache for sure."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        try:
            return os.preadv(descriptor, [buffer], offset), True
        finally:
            os.close(descriptor)
    except OSError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, offset, len(buffer), os.POSIX_FADV_DONTNEED)
            return os.preadv(descriptor, [buffer], offset), False
        finally:
            os.close(descriptor)


def main() -> int:
    """Read, and say how it went."""
    asked: dict[str, Any] = json.loads(sys.stdin.read())
    files = [(str(path), int(size)) for path, size in asked["files"]]
    began = time.monotonic()
    reading = Reading(
        pieces(files, asked["piece_bytes"], asked["budget_bytes"]), asked["piece_bytes"], began + asked["seconds"]
    )
    readers = [threading.Thread(target=reading.run) for _ in range(asked["readers"])]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    said = {
        "bytes": reading.read_bytes,
        "seconds": time.monotonic() - began,
        "direct": reading.direct,
        "error": reading.error,
    }
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
