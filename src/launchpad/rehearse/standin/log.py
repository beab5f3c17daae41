"""The log's lines and bars, one thread at a time.

The plain form, as a generic engine writes; ``sglang.py`` and ``vllm.py`` put their own heads before it. Nothing is kept: a
line is written and flushed, because launchpad reads progress from it while it happens.
"""

from __future__ import annotations

import threading
from typing import TextIO


class Log:
    """Plain lines on two streams."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out, self._err = out, err
        self._lock = threading.Lock()
        self._bar_open = False

    def raw(self, text: str, *, out: bool = False) -> None:
        """A line with no prefix, on stderr unless told."""
        self._write(self._out if out else self._err, text + "\n")

    def say(self, text: str, *, rank: int | None = None, level: str = "INFO", where: str = "") -> None:  # noqa: ARG002
        """A log line of the server, or of one rank of it. The plain form has no head in which to tell them apart."""
        self.raw(text)

    def web(self, text: str) -> None:
        """A line of uvicorn, which both engines serve with."""
        self.raw(text)

    def bar(self, what: str, done: int, total: int, took: float) -> None:
        """A tqdm bar on stderr: a carriage return, then the bar; the last one ends its line."""
        over = done == total
        self._write(self._err, _bar(what, done, total, took) + ("\n" if over else ""), bar=not over)

    def bar_line(self, head: str, what: str, done: int, total: int, took: float) -> None:
        """The same bar behind a ``head``, on a line of its own each time."""
        self._write(self._err, f"{head}{_bar(what, done, total, took)}\n")

    def _write(self, stream: TextIO, text: str, *, bar: bool = False) -> None:
        with self._lock:
            if self._bar_open and not text.startswith("\r"):
                stream.write("\n")
            self._bar_open = bar
            stream.write(text)
            stream.flush()


def _bar(what: str, done: int, total: int, took: float) -> str:
    share = done / total
    left = took / done * (total - done) if done else 0.0
    rate = f"{done / took:5.2f}it/s" if done and took > 0 else "?it/s"
    clock = f"[{_clock(took)}<{_clock(left) if done else '?'}, {rate}]"
    if what.startswith("Capturing"):
        filled = "█" * int(share * 10)
        return f"\r{what}: {share:4.0%}|{filled:<10}| {done}/{total} {clock}"
    return f"\r{what}: {share:4.0%} Completed | {done}/{total} {clock}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
