"""Profiles laid over one another: ``extends`` resolved, tables merged, and who set what.

A file may say ``extends = "name"`` at its top. Its tables are merged key by key over those of the file it names; scalars and
lists replace. What speaks of one file alone is not inherited. The first layer is the base, the last is the file that was asked
for. Pure, but for reading the files through ``source``; of the schema it knows only ``ALTERNATIVES`` and ``NOT_INHERITED``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from launchpad.profiles.source import (
    KeyPath,
    Lines,
    Source,
    Unreadable,
    lines_of,
    printable,
    quote,
    read_source,
    show_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXTENDS: Final = "extends"
MOST_LAYERS: Final = 8

_Owners = dict[str, "tuple[int, _Owners]"]


@dataclass(frozen=True)
class Layers:
    """A stack of files, base first, and the one table that they make together."""

    sources: tuple[Source, ...]

    @cached_property
    def table(self) -> dict[str, Any]:
        """The merged table, without ``extends``."""
        return self._merged[0]

    @cached_property
    def _merged(self) -> tuple[dict[str, Any], _Owners]:
        table: dict[str, Any] = {}
        owners: _Owners = {}
        for index, source in enumerate(self.sources):
            _lay_over(table, owners, {k: v for k, v in source.table.items() if k != EXTENDS}, index)
        return table, owners

    @cached_property
    def _lines(self) -> dict[int, Lines]:
        return {}

    def place(self, path: KeyPath) -> tuple[int, Source, int]:
        """Which layer set ``path`` (or would have to), as its index, its source and the line in it."""
        index, owners = len(self.sources) - 1, self._merged[1]
        for part in path:
            if not isinstance(part, str) or part not in owners:
                break
            index, owners = owners[part]
        if index not in self._lines:
            self._lines[index] = lines_of(self.sources[index].text)
        return index, self.sources[index], self._lines[index].of(path)

    def order(self, path: KeyPath) -> tuple[int, int]:
        """Where a problem at ``path`` is told: the asked file's first, then by line."""
        index, _, line = self.place(path)
        return -index, line

    def problem(self, path: KeyPath, says: str) -> str:
        """The printable line ``file:line: key: says``."""
        _, source, line = self.place(path)
        return problem_line(source.path, line, path, says)


def problem_line(path: Path, line: int, key: KeyPath, says: str) -> str:
    """``file:line: key: says`` on one line; the key is left out where the whole file is meant."""
    where = f"{printable(str(path))}:{line}: "
    return where + (f"{show_path(key)}: {says}" if key else says)


def _lay_over(
    table: dict[str, Any], owners: _Owners, over: dict[str, Any], index: int, path: tuple[str, ...] = ()
) -> None:
    for gone in _taken_back(path, over):
        table.pop(gone, None)
        owners.pop(gone, None)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            owners[key] = (index, owners[key][1])
            _lay_over(table[key], owners[key][1], value, index, (*path, key))
            continue
        table[key] = copy.deepcopy(value)
        owners[key] = (index, {})
        if isinstance(value, dict):
            _own(owners[key][1], value, index)


def _taken_back(path: tuple[str, ...], over: dict[str, Any]) -> set[str]:
    """The keys that a layer over the base takes back: what is never inherited, and what the choices in ``over`` exclude.

    ``gpus.uuids`` takes back an inherited ``gpus.count``.
    """
    from launchpad.profiles.schema import ALTERNATIVES, NOT_INHERITED

    own = set() if path else set(NOT_INHERITED)
    choices = ALTERNATIVES.get(path) or ALTERNATIVES.get((*path[:-1], "*"), ())
    made = [choice for choice in choices if choice & over.keys()]
    return own.union(*(choice for choice in choices if choice not in made)) if made else own


def _own(owners: _Owners, table: dict[str, Any], index: int) -> None:
    for key, value in table.items():
        owners[key] = (index, {})
        if isinstance(value, dict):
            _own(owners[key][1], value, index)


def read_layers(path: Path, find_parent: Callable[[str, Path], Path | str]) -> Layers:
    """``path`` and everything below it; ``find_parent(name, child)`` answers a path, or why there is none.

    Raises ``Unreadable`` with the problem at the line of the ``extends`` that went wrong.
    """
    sources = [read_source(path)]
    while (name := sources[0].table.get(EXTENDS)) is not None:
        child = sources[0]
        if not isinstance(name, str):
            raise _wrong(child, 'must be the name of a profile, such as "v4-flash-sglang-tp4"')
        if len(sources) == MOST_LAYERS:
            raise _wrong(child, f"makes more than {MOST_LAYERS} layers; extend something nearer the base")
        parent = find_parent(name, child.path)
        if isinstance(parent, str):
            raise _wrong(child, parent)
        if any(_same(parent, source.path) for source in sources):
            chain = " -> ".join(source.path.stem for source in reversed(sources))
            raise _wrong(child, f"goes round in a circle: {printable(chain)} -> {printable(name)}")
        sources.insert(0, read_source(parent))
    return Layers(tuple(sources))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _wrong(source: Source, says: str) -> Unreadable:
    return Unreadable(problem_line(source.path, lines_of(source.text).of((EXTENDS,)), (EXTENDS,), says))


def unknown_parent(name: str, suggestion: str | None) -> str:
    """Why ``extends = name`` leads nowhere."""
    meant = f"; did you mean {quote(suggestion)}?" if suggestion else "; see `launchpad profiles list`"
    return f"there is no profile {quote(name)}{meant}"
