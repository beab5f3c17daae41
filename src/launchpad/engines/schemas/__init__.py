"""What an engine's command line and environment accept, version by version: the shipped data, and its history.

One file a version lies beside this module, written by ``python -m launchpad.engines.regenerate`` from the wheel that the file
names. Nothing here reads an engine's source (``extract`` does) or judges a command (``flags`` does).
"""

from __future__ import annotations

import functools
import gzip
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EngineName = Literal["sglang", "vllm"]

#: ``switch`` takes no value; ``pair`` is a switch with a twin that turns it off; ``value`` takes one; ``optional`` takes one or
#: none; ``list`` takes several words; ``json`` takes one JSON text, or its keys one by one (vLLM's ``--x.key value``).
Kind = Literal["switch", "pair", "value", "optional", "list", "json"]

#: What a value must read as; ``size`` is an integer that may end in k, M, Gi and the like, ``size-or-auto`` may also be ``auto``.
ValueType = Literal["str", "int", "float", "json", "size", "size-or-auto"]

FORMAT: Final = 1
DATA: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an engine's parser. ``None`` is unknown: it could not be read from the source, so it is not judged.

    ``flags`` are all option strings it answers to, the one its help shows first; empty for a positional. ``negatives`` are those
    among them that turn it off. ``default`` is JSON text where the source states a literal. ``deprecated`` is what the engine
    says about it; ``refused`` says that the parser stops with that message.
    """

    flags: tuple[str, ...]
    dest: str
    kind: Kind
    type: ValueType | None = None
    nargs: str | None = None
    choices: tuple[str, ...] | None = None
    default: str | None = None
    negatives: tuple[str, ...] = ()
    deprecated: str | None = None
    replacement: str | None = None
    refused: bool = False
    required: bool = False

    @property
    def name(self) -> str:
        """The flag people should write: the first long one, else the destination."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.dest)


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A variable the engine reads. ``declared`` is false for one that is read somewhere without being in the engine's list."""

    name: str
    declared: bool = True
    deprecated: str | None = None
    replacement: str | None = None


@dataclass(frozen=True, slots=True)
class ArgumentSchema:
    """All that one version of an engine accepts.

    ``env_complete`` is false where only the engine's own list of variables was read, not every file that may read one.
    ``source`` names the wheel (or image), ``sha256`` is of the wheel, ``extracted`` the day of reading (ISO 8601).
    """

    engine: EngineName
    version: str
    arguments: tuple[Argument, ...]
    env: tuple[EnvironmentVariable, ...]
    env_complete: bool = True
    source: str | None = None
    sha256: str | None = None
    extracted: str | None = None

    def option_strings(self) -> dict[str, Argument]:
        """Every option string and its argument. Of two that claim one string the later wins, as in argparse's ``resolve``."""
        return {flag: argument for argument in self.arguments for flag in argument.flags}

    def variables(self) -> dict[str, EnvironmentVariable]:
        """Every known environment variable by name."""
        return {variable.name: variable for variable in self.env}


EventKind = Literal["appeared", "removed", "deprecated", "refused", "choice added", "choice removed"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a flag: ``version`` is the first release that has it so, ``since`` the last that did not."""

    version: str
    kind: EventKind
    detail: str | None = None
    since: str | None = None


def known_versions(engine: str) -> tuple[str, ...]:
    """The versions whose schemas ship, oldest first."""
    pattern = re.compile(rf"{re.escape(engine)}-(.+)\.json\.gz")
    found = (pattern.fullmatch(path.name) for path in DATA.iterdir())
    return tuple(sorted((match[1] for match in found if match), key=version_key))


def load_schema(engine: str, version: str) -> ArgumentSchema | None:
    """The shipped schema of exactly that release, ``v`` and local parts (``+cpu``) aside; ``None`` where none ships."""
    wanted = version.strip().removeprefix("v").partition("+")[0]
    if wanted not in known_versions(engine):
        return None
    return _read(DATA / f"{engine}-{wanted}.json.gz")


def nearest_version(engine: str, version: str) -> str | None:
    """The newest shipped release that is not newer than ``version``, else the oldest; ``None`` where the engine is unknown."""
    known = known_versions(engine)
    older = [item for item in known if version_key(item) <= version_key(version)]
    return older[-1] if older else (known[0] if known else None)


def version_key(version: str) -> tuple[tuple[int, ...], int, int]:
    """Orders releases as their makers do: rc before the release, post after. Unreadable parts count as nothing."""
    match = re.match(r"v?(\d+(?:\.\d+)*)(.*)", version.strip()[:64])
    if match is None:
        return ((), 0, 0)
    numbers = tuple(int(part) for part in match[1].split(".")[:6])
    tail = re.match(r"\.?(post|rc|dev|a|b)(\d+)", match[2])
    rank = 0 if tail is None else (1 if tail[1] == "post" else -1)
    return (numbers, rank, int(tail[2]) if tail else 0)


def history(engine: str, flag: str) -> tuple[Event, ...]:
    """What happened to an option string over the shipped releases, oldest first; empty where none ever had it.

    A flag that the oldest release already has "appeared" there with ``since`` unknown.
    """
    past = tuple(
        (version, schema.option_strings().get(flag))
        for version in known_versions(engine)
        if (schema := load_schema(engine, version)) is not None
    )
    return tuple(_events(past)) if any(argument is not None for _, argument in past) else ()


def env_history(engine: str, name: str) -> tuple[Event, ...]:
    """As :func:`history`, for an environment variable."""
    found: list[Event] = []
    before: EnvironmentVariable | None = None
    since: str | None = None
    for version in known_versions(engine):
        schema = load_schema(engine, version)
        now = schema.variables().get(name) if schema else None
        if now is not None and before is None:
            found.append(Event(version, "appeared", since=since))
        if now is None and before is not None:
            found.append(Event(version, "removed", since=since))
        if now is not None and now.deprecated and not (before and before.deprecated):
            found.append(Event(version, "deprecated", now.replacement or now.deprecated, since))
        before, since = now, version
    return tuple(found)


def _events(past: Iterable[tuple[str, Argument | None]]) -> Iterable[Event]:
    before: Argument | None = None
    since: str | None = None
    for version, now in past:
        if now is not None:
            yield from _changes(version, since, before, now)
        elif before is not None:
            yield Event(version, "removed", before.replacement, since)
        before, since = now, version


def _changes(version: str, since: str | None, before: Argument | None, now: Argument) -> Iterable[Event]:
    if before is None:
        yield Event(version, "appeared", since=since)
    elif before.choices is not None and now.choices is not None:
        for choice in now.choices:
            if choice not in before.choices:
                yield Event(version, "choice added", choice, since)
        for choice in before.choices:
            if choice not in now.choices:
                yield Event(version, "choice removed", choice, since)
    if now.refused and not (before and before.refused):
        yield Event(version, "refused", now.replacement or now.deprecated, since)
    elif now.deprecated and not (before and before.deprecated):
        yield Event(version, "deprecated", now.replacement or now.deprecated, since)


# --- the files -------------------------------------------------------------------------------------------------------------


def dumps(schema: ArgumentSchema) -> bytes:
    """The file of a schema: gzip of JSON, the same bytes for the same schema. What equals its default is left out."""
    plain = {
        "format": FORMAT,
        **_lean(schema),
        "arguments": [_lean(item) for item in schema.arguments],
        "env": [_lean(item) for item in schema.env],
    }
    text = json.dumps(plain, indent=0, separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(), mtime=0)


def loads(data: bytes) -> ArgumentSchema:
    """The schema in a file that :func:`dumps` wrote. Only for our own files: it trusts what it reads."""
    plain = json.loads(gzip.decompress(data))
    if plain.pop("format") != FORMAT:
        message = "the schema file is of another format; run: python -m launchpad.engines.regenerate"
        raise ValueError(message)
    plain["arguments"] = tuple(Argument(**_tuples(item)) for item in plain["arguments"])
    plain["env"] = tuple(EnvironmentVariable(**item) for item in plain["env"])
    return ArgumentSchema(**plain)


@functools.lru_cache(maxsize=64)
def _read(path: Path) -> ArgumentSchema:
    return loads(path.read_bytes())


def _lean(item: Argument | EnvironmentVariable | ArgumentSchema) -> dict[str, Any]:
    default = {field.name: field.default for field in fields(item)}
    return {name: value for name, value in asdict(item).items() if value != default[name]}


def _tuples(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in item.items()}
