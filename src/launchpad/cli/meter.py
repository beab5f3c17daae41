"""How far something long is: bytes, rate and the time that is left, on a terminal in place, elsewhere a line now and then."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from launchpad.units import show_bytes, show_duration

if TYPE_CHECKING:
    from types import TracebackType

    from launchpad.clock import Clock

#: Seconds between two lines where nobody watches, and between two of a terminal's.
_SELDOM, _OFTEN = 15.0, 0.2
#: Seconds and bytes below which a rate is no ground to say how long the rest takes.
_SURE_S, _SURE_BYTES = 3.0, 8 * 2**20


class Meter:
    """Tells of bytes on stderr; a context manager that ends the terminal's line.

    ``quiet`` says nothing of how far it is; ``resumes``: what Ctrl-C ends goes on another time, and that is said.
    """

    def __init__(self, verb: str, clock: Clock, *, quiet: bool = False, resumes: bool = False) -> None:
        self._verb, self._clock, self._quiet, self._resumes = verb, clock, quiet, resumes
        self._live = sys.stderr.isatty()
        self._began = clock.monotonic()
        self._last: float | None = None
        self._ended: int | None = None
        self._wide = 0

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._wide:
            print(file=sys.stderr, flush=True)
        if self._resumes and kind is KeyboardInterrupt:
            print(f"stopped {self._verb}; the same command goes on where it stopped", file=sys.stderr, flush=True)

    def tell(self, done: int, total: int | None, moved: int, what: str) -> None:
        """``done`` of ``total`` bytes, of which ``moved`` were moved in this run: the rate is theirs.

        A total that was only estimated may be passed: then what is done is the total.
        """
        now = self._clock.monotonic()
        finished = (
            total is not None and done >= total and total != self._ended
        )  # told once, however much comes after it
        if self._quiet or (self._last is not None and not finished and now - self._last < self._pace):
            return
        self._last = now
        self._ended = total if finished else self._ended
        whole = None if total is None else max(total, done)
        text = progress_text(self._verb, done, whole, moved, now - self._began, what)
        if not self._live:
            print(f"  {text}", file=sys.stderr, flush=True)
            return
        print(f"\r  {text[:110]:<{self._wide}}", end="", file=sys.stderr, flush=True)
        self._wide = min(len(text), 110)

    @property
    def _pace(self) -> float:
        return _OFTEN if self._live else _SELDOM


def progress_text(verb: str, done: int, total: int | None, moved: int, seconds: float, what: str) -> str:
    """``hashing  41.2 GiB of 160.0 GiB, 1.2 GiB/s, 1m 39s left  model-00012-of-00046.safetensors``."""
    parts = [show_bytes(done) + (f" of {show_bytes(total)}" if total is not None else "")]
    if moved and seconds > 0:
        rate = moved / seconds
        parts.append(f"{show_bytes(int(rate))}/s")
        if total is not None and total > done and seconds >= _SURE_S and moved >= _SURE_BYTES:
            parts.append(f"{show_duration(timedelta(seconds=(total - done) / rate))} left")
    return f"{verb}  {', '.join(parts)}  {what}"
