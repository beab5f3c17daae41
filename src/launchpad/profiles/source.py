"""One profile file read with suspicion: bytes off the disk, TOML made of them, and where in the text each key stands.

Whatever the file holds, the answer is a ``Source`` or an ``Unreadable`` with one printable problem: never a traceback, never
a hang. Parsing is the standard library's; the scanner here only finds line numbers, runs only once something is wrong, and
reads only text whose syntax ``tomllib`` has accepted. This module refuses to know what a profile means.
"""

from __future__ import annotations

import errno
import math
import os
import re
import stat
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

KeyPath = tuple[str | int, ...]
"""Where a value stands: table keys and list indices from the top of the file."""

LARGEST_FILE: Final = 1 << 20
DEEPEST: Final = 32
LONGEST_SHOWN: Final = 80

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_DOTTED_RUN = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")
"""As many dotted keys as ``DEEPEST``, found before parsing: tomllib takes quadratic time over half a million of them."""
_OPEN_RUN = re.compile(r"(?:[\[{][ \t\r\n]*+){32}")
_LONG_NUMBER = re.compile(r"\d[\d_]{639,}")
_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_BIGGEST_INTEGER: Final = 2**63

_CAUSES: Final[Mapping[int, str]] = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "a part of its path is a file, not a directory",
    errno.EACCES: "may not be read by this user; check its permissions",
    errno.EPERM: "may not be read by this user; check its permissions",
    errno.ELOOP: "is a symbolic link that goes round in a circle",
    errno.ENAMETOOLONG: "has a name that is too long",
}

_SYNTAX: Final = (
    ("Expected '=' after a key", "a key without a value; write key = value"),
    ("Expected newline or end of document", "something follows the value; put each key on a line of its own"),
    ("Invalid value", 'has no value that TOML knows; text goes in "quotes", true and false are lower-case'),
    ("Invalid statement", "is neither a key, a [table] nor a comment"),
    ("Unterminated string", "a string that never ends; close its quotes"),
    (
        "Illegal character '\\n'",
        "a string that does not end on its line; close its quotes, or use three for many lines",
    ),
    ("Unclosed array", "a list that goes wrong here; put commas between its values and close it with ]"),
    ("Unclosed inline table", "an inline table that goes wrong here; put commas between its pairs and close it with }"),
    ("Unescaped '\\' in a string", "a backslash that starts no escape; double it, or use 'single quotes'"),
    (
        "Cannot mutate immutable namespace",
        "adds to an inline table or list that is already closed; write it in one place",
    ),
    ("Expected ']' at the end of a table", "a table header that is not closed; write [name]"),
    ("Expected ']]' at the end of an array", "a table header that is not closed; write [[name]]"),
    (
        "Invalid initial character for a key part",
        "has no valid key here; keys are letters, digits, _ and -, or in quotes",
    ),
    ("Invalid date or datetime", "is no date that exists"),
)


class Unreadable(Exception):
    """One file cannot be read; ``problem`` is the whole line to print."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is well-formed TOML: its path, its text and its table."""

    path: Path
    text: str
    table: dict[str, Any]


def unfit(table: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Values that no profile may hold anywhere, with what is wrong: too deep, too large, not finite, or with a NUL."""
    todo: list[tuple[KeyPath, Any]] = [((), table)]
    while todo:
        path, value = todo.pop()
        if isinstance(value, dict):
            todo.extend(((*path, key), inner) for key, inner in value.items())
        elif isinstance(value, list):
            todo.extend(((*path, index), inner) for index, inner in enumerate(value))
        elif wrong := _unfit_scalar(value):
            yield path, wrong
        if path and isinstance(path[-1], str) and "\0" in path[-1]:
            yield path, "has a NUL character in its name; remove it"


def _too_deep(table: Mapping[str, Any]) -> KeyPath | None:
    """The first place that is nested deeper than ``DEEPEST``."""
    todo: list[tuple[KeyPath, Any]] = [((), table)]
    while todo:
        path, value = todo.pop()
        if len(path) > DEEPEST:
            return path
        if isinstance(value, dict):
            todo.extend(((*path, key), inner) for key, inner in value.items())
        elif isinstance(value, list):
            todo.extend(((*path, index), inner) for index, inner in enumerate(value))
    return None


def _unfit_scalar(value: object) -> str | None:
    if isinstance(value, str) and "\0" in value:
        return "holds a NUL character; remove it"
    if isinstance(value, int) and not -_BIGGEST_INTEGER <= value < _BIGGEST_INTEGER:
        return "is larger than the 64 bits that TOML gives a whole number"
    if isinstance(value, float) and not math.isfinite(value):
        return "is not finite; write a number"
    return None


def read_source(path: Path) -> Source:
    """The file at ``path``, parsed; raises ``Unreadable``."""
    where = printable(str(path))
    text = _decode(_read_bytes(path, where), where)
    if _DOTTED_RUN.search(text):
        raise Unreadable(f"{where}:{_line_of(_DOTTED_RUN, text)}: is nested deeper than {DEEPEST} levels")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"{where}:{_syntax(str(error), text)}") from error
    except RecursionError:
        raise Unreadable(f"{where}:{_line_of(_OPEN_RUN, text)}: is nested deeper than {DEEPEST} levels") from None
    except ValueError as error:  # int() refuses to read more than sys.get_int_max_str_digits() digits
        raise Unreadable(f"{where}:{_line_of(_LONG_NUMBER, text)}: a number of too many digits; shorten it") from error
    if deep := _too_deep(table):
        raise Unreadable(
            f"{where}:{lines_of(text).of(deep)}: {show_path(deep[:1])}: is nested deeper than {DEEPEST} levels"
        )
    return Source(path, text, table)


def _line_of(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.search(text)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def _read_bytes(path: Path, where: str) -> bytes:
    """At most ``LARGEST_FILE`` bytes of a regular file; never opens a device and never waits on a pipe."""
    try:
        _must_be_regular(path.stat().st_mode, where)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _must_be_regular(os.fstat(descriptor).st_mode, where)
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise Unreadable(f"{where}: {_CAUSES.get(error.errno or 0) or error.strerror or error}") from error
    except ValueError as error:  # a NUL in the path
        raise Unreadable(f"{where}: is no path; remove the NUL character") from error
    if len(data) > LARGEST_FILE:
        raise Unreadable(f"{where}: is larger than 1 MiB, which no profile is")
    return data


def _must_be_regular(mode: int, where: str) -> None:
    if stat.S_ISDIR(mode):
        raise Unreadable(f"{where}: is a directory; name a file in it")
    if not stat.S_ISREG(mode):
        raise Unreadable(f"{where}: is a pipe, socket or device, not a regular file")


def _decode(data: bytes, where: str) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise Unreadable(f"{where}:1: starts with a byte order mark; save it as UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(
            f"{where}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise Unreadable(f"{where}:{line}: holds a NUL character; remove it")
    return text


def _syntax(message: str, text: str) -> str:
    """``LINE: what is wrong`` for tomllib's ``message``."""
    match = _AT.search(message)
    end = text.rstrip().count("\n") + 1
    line = int(match[1]) if match and match[1] else end
    said = _AT.sub("", message)
    if said.startswith(("Cannot overwrite a value", "Cannot declare", "Duplicate inline table key")):
        if twice := next(_Scanner(text).repeated(), None):
            path, first, second = twice
            return f"{second}: {show_path(path)}: is given twice, first on line {first}; keep one"
        return f"{line}: is given twice; keep one"
    for start, words in _SYNTAX:
        if said.startswith(start):
            return f"{line}: {words}"
    return f"{line}: {printable(said[:1].lower() + said[1:])}"


# -- where things stand ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lines:
    """The line of every key and list item of one file."""

    known: Mapping[KeyPath, int]

    def of(self, path: KeyPath) -> int:
        """Line of ``path``, or of the nearest thing around it that was written; the first line if there is none."""
        for length in range(len(path), 0, -1):
            if line := self.known.get(path[:length]):
                return line
        return 1


def lines_of(text: str) -> Lines:
    """Where each key of well-formed TOML ``text`` stands."""
    scanner = _Scanner(text)
    scanner.scan()
    return Lines(scanner.lines)


class _Lost(Exception):
    """The scanner met something it does not know."""


class _Scanner:
    """Walks TOML that ``tomllib`` has read (or refused only for a repeated key) and notes the line of every key path."""

    _SPACE = re.compile(r"[ \t]*")
    _BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
    _STRING = re.compile(
        r'"""(?:[^"\\]++|\\.|"{1,2}+(?!"))*+"{3,5}'
        r"|'''(?:[^']++|'{1,2}+(?!'))*+'{3,5}"
        r'|"(?:[^"\\\n]++|\\.)*+"'
        r"|'[^'\n]*+'",
        re.DOTALL,
    )
    _PLAIN = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]*|[^\s,\]}#]+")

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.lines: dict[KeyPath, int] = {}
        self.twice: list[tuple[KeyPath, int, int]] = []
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._arrays: dict[KeyPath, int] = {}
        self._declared: dict[KeyPath, int] = {}

    def scan(self) -> None:
        """Fill ``lines``; what comes after something unknown is left out."""
        try:
            header: KeyPath = ()
            while self._skip(self._BLANK) < len(self.text):
                if self.text[self.pos] == "[":
                    header = self._header()
                else:
                    self._pair(header)
        except (_Lost, RecursionError):
            return

    def repeated(self) -> Iterator[tuple[KeyPath, int, int]]:
        """Key paths given more than once, with the first and the later line."""
        self.scan()
        yield from self.twice

    def _line(self) -> int:
        return bisect_right(self._starts, self.pos)

    def _skip(self, blank: re.Pattern[str]) -> int:
        match = blank.match(self.text, self.pos)
        self.pos = match.end() if match else self.pos
        return self.pos

    def _take(self, token: str) -> None:
        if not self.text.startswith(token, self.pos):
            raise _Lost
        self.pos += len(token)

    def _note(self, path: KeyPath, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    def _declare(self, path: KeyPath, line: int) -> None:
        if path in self._declared:
            self.twice.append((path, self._declared[path], line))
        self._declared.setdefault(path, line)

    def _header(self) -> KeyPath:
        line = self._line()
        brackets = 2 if self.text.startswith("[[", self.pos) else 1
        self.pos += brackets
        *parents, last = self._key()
        self._take("]" * brackets)
        path: KeyPath = ()
        for part in parents:
            path = (*path, part)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        path = (*path, last)
        if brackets == 2:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            path = (*path, self._arrays[path])
        else:
            self._declare(path, line)
        self._note(path, line)
        self.lines[path] = line
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = (*table, *self._key())
        self._take("=")
        self._note(path, line)
        self._declare(path, line)
        self._value(path)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(self._SPACE)
            match = _BARE_KEY.match(self.text, self.pos)
            quoted = None if match else self._STRING.match(self.text, self.pos)
            if match:
                parts.append(match[0])
            elif quoted:
                parts.append(tomllib.loads(f"key = {quoted[0]}")["key"])
            else:
                raise _Lost
            self.pos = (match or quoted or _never()).end()
            self._skip(self._SPACE)
            if not self.text.startswith(".", self.pos):
                return parts
            self.pos += 1

    def _value(self, path: KeyPath) -> None:
        self._skip(self._SPACE)
        self._note(path, self._line())
        start = self.text[self.pos : self.pos + 1]
        if start in ("[", "{"):
            self._items(path, close="]" if start == "[" else "}")
            return
        match = (self._STRING if start in ('"', "'") else self._PLAIN).match(self.text, self.pos)
        if not match:
            raise _Lost
        self.pos = match.end()

    def _items(self, path: KeyPath, *, close: str) -> None:
        self.pos += 1
        index = 0
        while self._skip(self._BLANK) < len(self.text) and self.text[self.pos] != close:
            if close == "]":
                self._value((*path, index))
            else:
                self._pair(path)
            index += 1
            self._skip(self._BLANK)
            if self.text.startswith(",", self.pos):
                self.pos += 1
        self._take(close)


def _never() -> re.Match[str]:
    raise _Lost


# -- how things are shown ----------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """``text`` on one line with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def shorten(text: str) -> str:
    """``text`` cut to what fits in a message."""
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def quote(text: str) -> str:
    """``text`` in double quotes, printable and short."""
    return '"' + printable(shorten(text)).replace('"', '\\"') + '"'


def show_path(path: KeyPath) -> str:
    """``mounts[0].source``, with quotes around keys that TOML wants quoted."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + (shorten(part) if _BARE_KEY.fullmatch(part) else quote(part))
    return shown
