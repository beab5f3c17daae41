"""A Dockerfile, read as far as its pins ask for: what it takes from where, and which pins it puts on the image.

Instructions are read as a builder reads them: in any case, indented, over several lines, around heredocs. What a RUN line does is
no affair of this module, and it refuses nothing: :mod:`launchpad.deploy.pinned` does.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from launchpad.runtime.base import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DIRECTIVE = re.compile(r"#\s*(?P<name>[A-Za-z]+)\s*=\s*(?P<value>\S.*?)\s*")
_HEREDOC = re.compile(r"(?<!<)<<(?P<dash>-?)(?P<quote>[\"']?)(?P<word>[A-Za-z_]\w*)(?P=quote)")
#: Instructions that may hold a heredoc.
_WITH_HEREDOC: Final = frozenset({"RUN", "COPY", "ADD"})
_VARIABLE = re.compile(r"\$(?:(?P<bare>\w+)|\{(?P<name>\w+)(?::?-(?P<default>[^{}]*))?\})")
#: A URL, or git's ``user@host:path``.
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|[^/@:\s]+@[^/@:\s]+:", re.IGNORECASE)
_PIN = re.compile(
    rf'{re.escape(LABEL_PREFIX)}pin\.(?P<name>[\w.-]+)=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s"]+))'
)


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Each instruction's word in capitals and the rest of it on one line; comments and the bodies of heredocs are left out."""
    escape = _directives(dockerfile).get("escape", "\\")
    lines = iter(dockerfile.splitlines())
    whole = ""
    for line in lines:
        if line.lstrip().startswith("#") or (not line.strip() and whole):
            continue  # also in the middle of an instruction, where builders drop both
        text = line.rstrip()
        if text.endswith(escape):
            whole += text[: -len(escape)] + " "
            continue
        word, rest = _split(whole + text)
        whole = ""
        if word:
            yield word, rest
        for here in _HEREDOC.finditer(rest) if word in _WITH_HEREDOC else ():
            _skip(lines, here)
    if whole.strip():
        yield _split(whole)


def bases(dockerfile: str) -> tuple[str, ...]:
    """The images that a Dockerfile takes anything from, without its own stages and ``scratch``, each once.

    That is FROM, ``COPY --from`` and ``RUN --mount=from``. An ARG before the first FROM stands for its default; a variable
    without one stays as it is written.
    """
    found: dict[str, None] = {}
    stages, given = {"scratch"}, dict[str, str]()
    count = 0
    for word, rest in instructions(dockerfile):
        if word == "ARG" and not count:
            given |= _defaults(rest, given)
        elif word == "FROM":
            image, stage = _from(rest)
            image = expanded(image, given)
            if image.lower() not in stages:
                found[image] = None
            stages |= {str(count), *([stage.lower()] if stage else [])}
            count += 1
        else:
            own = rest if word != "ONBUILD" else _split(rest)[1]
            found |= dict.fromkeys(image for image in _taken_from(own) if image.lower() not in stages)
    return tuple(found)


def added(dockerfile: str) -> tuple[tuple[str, str | None], ...]:
    """What ADD fetches over a network, and the ``--checksum`` beside it, if any. A path of the build context is not fetched."""
    found: dict[tuple[str, str | None], None] = {}
    for word, rest in instructions(dockerfile):
        own, said = _split(rest) if word == "ONBUILD" else (word, rest)
        if own == "ADD":
            flags, words = _flags(said)
            checksum = next(
                (flag.partition("=")[2].strip("\"'") for flag in flags if flag.startswith("--checksum=")), None
            )
            sources = (source for source in _paths(words)[:-1] if _REMOTE.match(source))
            found |= dict.fromkeys((source, checksum) for source in sources)
    return tuple(found)


def frontend(dockerfile: str) -> str | None:
    """The image of the ``# syntax=`` line, which BuildKit would read the file with; None without one."""
    return _directives(dockerfile).get("syntax")


def pins(dockerfile: str) -> Mapping[str, str]:
    """What the Dockerfile's own LABEL lines pin, by the name behind ``io.launchpad.pin.``."""
    found = {}
    for word, rest in instructions(dockerfile):
        for match in _PIN.finditer(rest) if word == "LABEL" else ():
            quoted = match["quoted"]
            found[match["name"]] = match["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return found


def expanded(text: str, given: Mapping[str, str]) -> str:
    """``text`` with its variables filled in; one that has neither value nor default stays."""

    def value(match: re.Match[str]) -> str:
        default = match["default"]
        return given.get(match["bare"] or match["name"]) or (match[0] if default is None else default)

    return _VARIABLE.sub(value, text)


def _directives(dockerfile: str) -> dict[str, str]:
    """``# name=value`` lines, which count only at the very top."""
    found: dict[str, str] = {}
    for line in dockerfile.splitlines():
        matched = _DIRECTIVE.fullmatch(line.strip())
        if matched is None:
            break
        found.setdefault(matched["name"].lower(), matched["value"])
    return found


def _split(instruction: str) -> tuple[str, str]:
    """The word that an instruction begins with, in capitals, and the rest."""
    word, *rest = instruction.split(None, 1) or [""]
    return word.upper(), "".join(rest).strip()


def _skip(lines: Iterator[str], here: re.Match[str]) -> None:
    for line in lines:
        if (line.lstrip("\t") if here["dash"] else line) == here["word"]:
            return


def _flags(rest: str) -> tuple[list[str], list[str]]:
    """The ``--flags`` in front of an instruction, and the words behind them."""
    words = rest.split()
    count = next((place for place, word in enumerate(words) if not word.startswith("--")), len(words))
    return words[:count], words[count:]


def _paths(words: list[str]) -> list[str]:
    """Sources and target of an ADD in either form: words, or a JSON list of strings."""
    text = " ".join(words)
    if text.startswith("["):
        try:
            return [str(path) for path in json.loads(text)]
        except (ValueError, TypeError):
            pass  # builders read such a line as words, too
    return [word.strip("\"'") for word in words]


def _from(rest: str) -> tuple[str, str | None]:
    _, words = _flags(rest)
    named = words[2] if len(words) > 2 and words[1].upper() == "AS" else None
    return (words[0] if words else ""), named


def _taken_from(rest: str) -> Iterator[str]:
    """The images that flags name: ``--from=IMAGE``, and ``from=IMAGE`` among the parts of a ``--mount``."""
    for flag in _flags(rest)[0]:
        name, _, value = flag.partition("=")
        if name == "--from":
            yield value.strip("\"'")
        elif name == "--mount":
            parts = (part.strip("\"'").partition("=") for part in value.strip("\"'").split(","))
            yield from (said.strip("\"'") for key, _, said in parts if key.lower() == "from")


def _defaults(rest: str, given: Mapping[str, str]) -> dict[str, str]:
    parts = (word.partition("=") for word in rest.split())
    return {name: expanded(value.strip("\"'"), given) for name, equals, value in parts if equals}
