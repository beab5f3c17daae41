"""The words of a command, taken apart as argparse would, and refused in argparse's words.

A table of flags says which ones matter; every other word that looks like a flag is let through with its values, because
which flags a version knows is for the engine's real parser to say. It never guesses what an unknown flag means.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from launchpad.rehearse.standin.settings import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

_LOOKS_LIKE_A_FLAG = re.compile(r"--?[a-z0-9][a-z0-9._+-]*", re.ASCII | re.IGNORECASE)
_SCALE = {"k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True, slots=True)
class Arity:
    """How many values a known flag takes, and of what type."""

    dest: str
    type: Callable[[str], object] = str
    least: int = 1
    most: int = 1


def count(text: str) -> int:
    """A whole number, or ``512Ki`` and ``1M`` as both engines read them."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]i?)?", text.strip(), re.ASCII | re.IGNORECASE)
    if not match:
        raise ValueError(text)
    return int(float(match[1]) * _SCALE.get((match[2] or "").lower(), 1))


def switch(dest: str) -> Arity:
    """A flag that takes no value."""
    return Arity(dest, least=0, most=0)


@dataclass(slots=True)
class Command:
    """The words of a command, taken apart as argparse would: known values by name, and the flags that were let through."""

    prog: str
    values: dict[str, list[Any]] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)
    positionals: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def one(self, dest: str) -> Any:  # the value's type is its Arity's
        """The last first-value given for ``dest``, else None."""
        found = self.values.get(dest)
        return found[0] if found else None

    def fail(self, text: str) -> NoReturn:
        """End as argparse ends: usage, then one line, exit code 2."""
        raise Refused(f"usage: {self.prog} [-h] [options]\n{self.prog}: error: {text}")


def parse_command(prog: str, known: Mapping[str, Arity], words: list[str], refused_flags: AbstractSet[str]) -> Command:
    """Take ``words`` apart. Raises Refused with argparse's own wording for what argparse would refuse."""
    command = Command(prog)
    stray: list[str] = []
    at = 0
    while at < len(words):
        word, at = words[at], at + 1
        if not _is_flag(word):
            (command.positionals if not (command.values or command.switches or command.others) else stray).append(word)
            continue
        name, equals, inline = word.partition("=")
        name = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
        values = [inline] if equals else []
        while not equals and at < len(words) and not _is_flag(words[at]):
            values.append(words[at])
            at += 1
        if name in refused_flags or not _LOOKS_LIKE_A_FLAG.fullmatch(name):
            stray.extend([word, *([] if equals else values)])
            continue
        arity = known.get(name)
        if arity is None:
            command.others.append(name)
        else:
            stray.extend(_store(command, name, arity, values))
    if stray:
        command.fail(f"unrecognized arguments: {' '.join(stray)}")
    return command


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not re.fullmatch(r"-\d+(\.\d+)?", word, re.ASCII)


def _store(command: Command, name: str, arity: Arity, values: list[str]) -> list[str]:
    """Keep what the flag takes, and give back what is left over."""
    if len(values) < arity.least:
        command.fail(f"argument {name}: expected {'one argument' if arity.most == 1 else 'at least one argument'}")
    taken, left = values[: arity.most], values[arity.most :]
    if arity.most == 0:
        command.switches.add(arity.dest)
        return left
    try:
        command.values[arity.dest] = [arity.type(value) for value in taken]
    except ValueError:
        kind = getattr(arity.type, "__name__", "value").strip("_")
        command.fail(f"argument {name}: invalid {kind} value: {taken[0]!r}")
    return left


def after_program(words: list[str], heads: tuple[tuple[str, ...], ...]) -> list[str]:
    """``words`` without the program's own: the longest head that fits, where a Python may stand for any other."""
    plain = [re.sub(r"^.*/", "", word) if index == 0 else word for index, word in enumerate(words)]
    if plain and re.fullmatch(r"python(3(\.\d+)?)?", plain[0]):
        plain[0] = "python"
    for head in sorted(heads, key=len, reverse=True):
        if tuple(plain[: len(head)]) == head:
            return words[len(head) :]
    if plain and not _is_flag(words[0]) and heads[-1] != ():
        raise Refused(f'exec: "{words[0]}": executable file not found in $PATH', 127)
    return words
