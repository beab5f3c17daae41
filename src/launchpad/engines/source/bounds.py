"""How much of a source is read: characters, steps, depth, items, text.

A source comes out of an image that anybody may have built; with these bounds a hostile or broken one ends in :class:`TooMuch`.
It refuses to give back a part: a reading that goes over a bound is none at all. Only a long text is cut short instead.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILE_CHARS: Final = 4_000_000
MAX_TOTAL_CHARS: Final = 400_000_000
MAX_STEPS: Final = 300_000  # a real release takes 8,000
MAX_DEPTH: Final = 120
MAX_ITEMS: Final = 20_000
MAX_TEXT: Final = 200_000  # characters of a text that was put together; the rest is cut off


class TooMuch(Exception):
    """A bound was reached; translated to an ImageError at the door."""


class Budget:
    """The steps taken by one reading, and how deep it stands; both only count."""

    def __init__(self) -> None:
        self._steps = 0
        self._depth = 0

    def step(self) -> None:
        """Counts one step.

        Raises:
            TooMuch: it was one more than 300,000.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TooMuch

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """One level down, until the block is left.

        Raises:
            TooMuch: that would be level 121.
        """
        if self._depth >= MAX_DEPTH:
            raise TooMuch
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
