"""Judges a command line and the names of environment variables against an argument schema, as the engine's parser would.

Severity: ``blocks`` where the parser would exit with code 2 (or the engine refuses at once), ``warns`` where it starts but the
release after may not, or the setting has no effect, ``informs`` otherwise. Values the schema does not know are not judged, nor
are variables of other software (``NCCL_``, ``CUDA_``). It reads nothing and knows no image: the caller brings the schema.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from launchpad.engines import flags_known as known
from launchpad.engines.schemas import Argument, ArgumentSchema, env_history, history, version_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from launchpad.engines.schemas import EngineName, Event

    Past = Callable[[str, str], tuple[Event, ...]]

Severity = Literal["blocks", "warns", "informs"]
ProblemKind = Literal[
    "unknown",
    "other-engine",
    "renamed",
    "removed",
    "too-new",
    "refused",
    "deprecated",
    "deprecated-value",
    "abbreviated",
    "ambiguous",
    "choice",
    "type",
    "missing-value",
    "needless-value",
    "stray-word",
    "twice",
    "contradiction",
    "missing-argument",
    "unknown-env",
    "removed-env",
    "deprecated-env",
    "other-engine-env",
    "fork-env",
]

#: Words longer than this are not compared for likeness, commands longer than that are cut: nobody types them.
_MAX_WORD: Final = 200
_MAX_WORDS: Final = 5_000


@dataclass(frozen=True, slots=True)
class FlagProblem:
    """One thing wrong with a command: ``flag`` is what the user wrote, ``hint`` what to write, ``source`` who says so."""

    kind: ProblemKind
    severity: Severity
    flag: str
    message: str
    hint: str | None = None
    version: str | None = None
    source: str | None = None


@dataclass(slots=True)
class _Given:
    """What was read so far: values by destination, and the words as they were written."""

    values: dict[str, list[str]] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    positionals: list[str] = field(default_factory=list)


def lint(
    engine: EngineName,
    words: Sequence[str],
    env: Iterable[str],
    schema: ArgumentSchema,
    past: Past = history,
    env_past: Past = env_history,
) -> tuple[FlagProblem, ...]:
    """Every problem of a command, in the order of its words, then of its environment.

    ``words`` may begin with what starts the engine (``vllm serve``, ``python3 -m sglang.launch_server``); a shell's command
    (``bash -c``) is not looked into. ``env`` are names only: values may be secrets.
    """
    return (*_Linter(engine, schema, past).command(arguments_of(words)), *_environment(schema, env, env_past))


def arguments_of(words: Sequence[str]) -> tuple[str, ...]:
    """The engine's own arguments in a container's command; empty where a shell or an unknown program is started."""
    items = [str(word) for word in words[:_MAX_WORDS]]
    names = [item.rpartition("/")[2] for item in items]
    for index in range(min(len(items), 8)):
        if names[index] in {"sglang", "vllm"} and names[index + 1 : index + 2] == ["serve"]:
            return tuple(items[index + 2 :])
        if items[index] == "-m" and names[index + 1 : index + 2] and known.MODULES.match(items[index + 1]):
            return tuple(items[index + 2 :])
    programs = re.compile(r"(?:bash|sh|dash|python[\d.]*|env|tini|exec)")
    return () if items and programs.fullmatch(names[0]) else tuple(items)


class _Linter:
    def __init__(self, engine: EngineName, schema: ArgumentSchema, past: Past) -> None:
        self._engine = engine
        self._schema = schema
        self._past = past
        self._strings = schema.option_strings()
        self._room = sum(not argument.flags for argument in schema.arguments)
        self._given = _Given()

    def command(self, words: tuple[str, ...]) -> list[FlagProblem]:
        if not words:
            return []
        found: list[FlagProblem] = []
        index = 0
        while index < len(words):
            word = words[index]
            if word == "--":
                self._given.positionals.extend(words[index + 1 :])
                break
            if not _looks_like_option(word):
                self._given.positionals.append(word)
                index += 1
                continue
            used, problems = self._option(word, words[index + 1 :])
            found.extend(problems)
            index += 1 + used
        found.extend(self._positionals())
        found.extend(self._whole())
        return found

    # --- one option --------------------------------------------------------------------------------------------------------

    def _option(self, word: str, rest: Sequence[str]) -> tuple[int, list[FlagProblem]]:
        """How many of the words after it belong to it, and what is wrong with them."""
        if self._engine == "vllm" and re.fullmatch(r"-O=?\w*", word):
            return (1 if word == "-O" and rest[:1] and not _looks_like_option(rest[0]) else 0), []
        name, equals, inline = word.partition("=")
        name, path = self._spelled(name)
        argument, problems = self._resolved(name)
        values = _values(argument, path, inline if equals else None, rest)
        used = 0 if equals else len(values)
        if argument is None:
            return used, problems
        problems += self._retired(argument, name)
        problems += self._counted(argument, name, path, values, equals=bool(equals))
        if path:
            problems += self._dotted(argument, name, path)
        else:
            problems += [problem for value in values for problem in self._value(argument, name, value)]
        key = argument.dest + path
        if key in self._given.values and not path.endswith("+"):
            problems.append(
                FlagProblem(
                    "twice", "warns", name, f"{name + path} is given twice; the last one wins", "keep one of them"
                )
            )
        self._given.values[key] = values
        self._given.written[argument.dest] = name
        return used, problems

    def _spelled(self, name: str) -> tuple[str, str]:
        """The flag as the parser sees it, and the dotted path behind it (vLLM: underscores are dashes before the first dot)."""
        if self._engine != "vllm":
            return name, ""
        head, dot, tail = name.partition(".")
        return (head.replace("_", "-") if head.startswith("--") else head), dot + tail

    def _resolved(self, name: str) -> tuple[Argument | None, list[FlagProblem]]:
        if name in self._strings:
            return self._strings[name], []
        likely = sorted(flag for flag in self._strings if name.startswith("--") and flag.startswith(name))
        if not likely:
            return None, [self._unknown(name)]
        arguments = {id(self._strings[flag]) for flag in likely}
        if len(arguments) > 1:
            shown = ", ".join(likely[:6])
            now = self._replacement(name)
            return None, [
                FlagProblem(
                    "ambiguous",
                    "blocks",
                    name,
                    f"{name} is not an argument of {self._release()}; as an abbreviation it could mean {shown}",
                    f"write {now or likely[0]}",
                    source=_PARSER,
                )
            ]
        argument = self._strings[likely[0]]
        return argument, [
            FlagProblem(
                "abbreviated",
                "warns",
                name,
                f"{name} works only as an abbreviation of {likely[0]}; the next release may make it ambiguous",
                f"write {likely[0]}",
                source=_PARSER,
            )
        ]

    def _replacement(self, name: str) -> str | None:
        events = self._past(self._engine, name)
        return next(
            (event.detail for event in reversed(events) if event.kind in {"removed", "deprecated"} and event.detail),
            None,
        )

    def _unknown(self, name: str) -> FlagProblem:
        """Why a flag is unknown: gone, not there yet, the other engine's, or misspelt; in this order."""
        release, events = self._release(), self._past(self._engine, name)
        here = version_key(self._schema.version)
        gone = next(
            (event for event in reversed(events) if event.kind == "removed" and version_key(event.version) <= here),
            None,
        )
        if gone is not None:
            now = self._replacement(name)
            if now:
                message = f"{name} is now {now}: {self._engine} {gone.version} took the old name away"
                return FlagProblem("renamed", "blocks", name, message, f"write {now}", gone.version, _SHIPPED)
            message = f"{name} was removed in {self._engine} {gone.version}"
            return FlagProblem("removed", "blocks", name, message, "take it out", gone.version, _SHIPPED)
        coming = next(
            (event for event in events if event.kind == "appeared" and version_key(event.version) > here), None
        )
        if coming is not None:
            message = f"{name} is not an argument of {release}; it came with {coming.version}"
            hint = f"use an image of {self._engine} {coming.version} or newer"
            return FlagProblem("too-new", "blocks", name, message, hint, coming.version, _SHIPPED)
        if (old := known.LONG_GONE.get((self._engine, name))) is not None:
            return FlagProblem(
                "removed",
                "blocks",
                name,
                f"{name} is not an argument of {release} any more",
                old.hint,
                None,
                old.source,
            )
        if (other := known.OTHER_ENGINE.get((self._engine, name))) is not None:
            message = (
                f"{name} is {'vLLM' if self._engine == 'sglang' else 'SGLang'}'s name, not an argument of {release}"
            )
            return FlagProblem("other-engine", "blocks", name, message, other.hint, None, other.source)
        near = _near(name, self._strings)
        hint = f"did you mean {near}?" if near else f"take it out, or see what {self._engine} serve --help lists"
        return FlagProblem("unknown", "blocks", name, f"{name} is not an argument of {release}", hint, source=_PARSER)

    def _retired(self, argument: Argument, name: str) -> list[FlagProblem]:
        if argument.deprecated is None:
            return []
        since = next(
            (
                event.version
                for event in self._past(self._engine, argument.name)
                if event.kind in {"deprecated", "refused"}
            ),
            None,
        )
        hint = f"write {argument.replacement}" if argument.replacement else None
        if argument.refused:
            return [
                FlagProblem(
                    "refused", "blocks", name, f"{name} is retired: {argument.deprecated}", hint, since, _PARSER
                )
            ]
        return [
            FlagProblem(
                "deprecated", "warns", name, f"{name} is deprecated: {argument.deprecated}", hint, since, _PARSER
            )
        ]

    # --- its values --------------------------------------------------------------------------------------------------------

    def _counted(
        self, argument: Argument, name: str, path: str, values: list[str], *, equals: bool
    ) -> list[FlagProblem]:
        if argument.kind in {"switch", "pair"} and equals and not path:
            message = f"{name} takes no value, but one is given after ="
            return [FlagProblem("needless-value", "blocks", name, message, f"write {name} alone", source=_PARSER)]
        needs = bool(path) or argument.kind in {"value", "json"} or (argument.kind == "list" and argument.nargs != "*")
        if needs and not values:
            return [
                FlagProblem(
                    "missing-value",
                    "blocks",
                    name,
                    f"{name + path} needs a value",
                    _example(argument, name),
                    source=_PARSER,
                )
            ]
        return []

    def _value(self, argument: Argument, name: str, value: str) -> list[FlagProblem]:
        if argument.choices is not None and not _chosen(argument, value):
            return [self._choice(argument, name, value)]
        if not _reads_as(argument, value):
            wanted = {
                "int": "a whole number",
                "float": "a number",
                "json": "JSON",
                "size": "a whole number such as 4096 or 4k",
            }
            what = wanted.get(argument.type or "", "a whole number, such as 4096 or 4k, or auto")
            message = f"{name} takes {what}, not {value[:80]!r}"
            return [FlagProblem("type", "blocks", name, message, _example(argument, name), source=_PARSER)]
        old = known.OLD_VALUES.get((self._engine, argument.name, value))
        if old is not None and old.now in (argument.choices or ()):
            message = f"{name} {value} is a deprecated name of {old.now}"
            return [
                FlagProblem("deprecated-value", "warns", name, message, f"write {name} {old.now}", None, old.source)
            ]
        return []

    def _choice(self, argument: Argument, name: str, value: str) -> FlagProblem:
        choices = [choice for choice in argument.choices or () if choice != "None"]
        here = version_key(self._schema.version)
        changes = [event for event in self._past(self._engine, argument.name) if event.detail == value]
        gone = next(
            (event for event in changes if event.kind == "choice removed" and version_key(event.version) <= here), None
        )
        coming = next(
            (event for event in changes if event.kind == "choice added" and version_key(event.version) > here), None
        )
        message = f"{name} {value[:80]} is not a choice of {self._release()}"
        message += f"; removed in {gone.version}" if gone else f"; it came with {coming.version}" if coming else ""
        near = _near(value, choices)
        hint = (f"did you mean {near}? " if near else "") + f"choose from: {', '.join(choices[:40])}"
        event = gone or coming
        return FlagProblem("choice", "blocks", name, message, hint, event.version if event else None, _PARSER)

    def _dotted(self, argument: Argument, name: str, path: str) -> list[FlagProblem]:
        """As vLLM turns ``--x.key value`` into JSON for ``--x``; an argument that takes no JSON then refuses it."""
        if argument.kind not in {"switch", "pair"} and argument.type not in {"int", "float", "size", "size-or-auto"}:
            return []
        message = f"{name} takes no JSON, so {name + path} cannot set a part of it"
        return [FlagProblem("type", "blocks", name, message, _example(argument, name), source=_PARSER)]

    # --- the whole command -------------------------------------------------------------------------------------------------

    def _positionals(self) -> list[FlagProblem]:
        hint = "put quotes around a value with spaces, or take the word out"
        return [
            FlagProblem(
                "stray-word", "blocks", word[:80], f"{word[:80]!r} belongs to no argument", hint, source=_PARSER
            )
            for word in self._given.positionals[self._room :]
        ]

    def _whole(self) -> list[FlagProblem]:
        given = {name.partition(".")[0] for name in self._given.values}
        if self._given.positionals:
            given |= {argument.dest for argument in self._schema.arguments if not argument.flags}
        found = [
            FlagProblem(
                "missing-argument",
                "blocks",
                argument.name,
                f"{argument.name} is required",
                _example(argument, argument.name),
                source=_PARSER,
            )
            for argument in self._schema.arguments
            if argument.required and argument.dest not in given
        ]
        pairs = (self._contradicts(pair) for pair in known.CONTRADICTIONS if pair.engine == self._engine)
        return [*found, *(problem for problem in pairs if problem is not None)]

    def _contradicts(self, pair: known.Contradiction) -> FlagProblem | None:
        values = self._given.values
        if not pair.matches(values):
            return None
        flag = self._given.written.get(pair.about, pair.about)
        return FlagProblem(
            "contradiction", pair.severity, flag, pair.message, pair.hint, None, f"{pair.source}, {pair.as_of}"
        )

    def _release(self) -> str:
        return f"{self._engine} {self._schema.version}"


_PARSER: Final = "the parser of that release"
_SHIPPED: Final = "the parsers of the releases before and after, as shipped with launchpad"

_NUMBER: Final = re.compile(r"-\d+|-\d*\.\d+")
_SIZE: Final = re.compile(r"\s*-?\d+(?:\.\d+)?\s*(?:[kKmMgGtT]i?)?\s*")


def _looks_like_option(word: str) -> bool:
    """As argparse sees it: a dash in front, not a negative number, no space inside."""
    return len(word) > 1 and word.startswith("-") and not _NUMBER.fullmatch(word) and " " not in word.partition("=")[0]


def _values(argument: Argument | None, path: str, inline: str | None, rest: Sequence[str]) -> list[str]:
    """The words that an argument takes; for an unknown one, as many as follow."""
    if inline is not None:
        return [inline]
    follow: list[str] = []
    for word in rest:
        if _looks_like_option(word):
            break
        follow.append(word)
    if argument is None or (argument.kind == "list" and not path):
        return follow
    return follow[:1] if path or argument.kind in {"value", "json", "optional"} else []


def _chosen(argument: Argument, value: str) -> bool:
    choices = argument.choices or ()
    folded = (
        value.lower().replace("-", "_") if argument.type is None else value
    )  # unknown converters may fold the spelling
    return value in choices or folded in choices or (value == "" and "None" in choices)


def _reads_as(argument: Argument, value: str) -> bool:
    match argument.type:
        case "int":
            return _is(int, value) or value in {"", "None"}
        case "float":
            return _is(float, value) or value in {"", "None"}
        case "size":
            return _SIZE.fullmatch(value) is not None or value in {"", "None"}
        case "size-or-auto":
            return _SIZE.fullmatch(value) is not None or value.strip().lower() in {"auto", "", "none"}
        case "json":
            return _is_json(value)
        case _:
            return True


def _is(kind: type[int | float], value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


def _is_json(value: str) -> bool:
    """JSON, in which vLLM also reads bare 80m and 1Ki; very long texts are believed."""
    if len(value) > 100_000 or value in {"", "None"}:
        return True
    try:
        json.loads(re.sub(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b", "0", value))
    except (ValueError, RecursionError):
        return False
    return True


def _near(name: str, names: Iterable[str]) -> str | None:
    if len(name) > _MAX_WORD:
        return None
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.75)), None)


def _example(argument: Argument, name: str) -> str | None:
    if argument.choices:
        return f"for instance: {name} {argument.choices[0]}"
    examples = {"int": "8", "float": "0.9", "json": "'{\"key\": 1}'", "size": "4096", "size-or-auto": "auto"}
    value = examples.get(argument.type or "")
    return f"for instance: {name} {value}" if value else None


# --- environment -----------------------------------------------------------------------------------------------------------

_PREFIXES: Final = {"sglang": ("SGLANG_", "SGL_"), "vllm": ("VLLM_",)}


def _environment(schema: ArgumentSchema, names: Iterable[str], past: Past) -> list[FlagProblem]:
    variables = schema.variables()
    other = "vllm" if schema.engine == "sglang" else "sglang"
    found = []
    for name in names:
        if name.startswith(_PREFIXES[other]):
            message = (
                f"{name} is a variable of {'vLLM' if other == 'vllm' else 'SGLang'}; {schema.engine} does not read it"
            )
            found.append(FlagProblem("other-engine-env", "informs", name, message, "take it out"))
        elif name.startswith(_PREFIXES[schema.engine]):
            variable = variables.get(name) or variables.get(
                name.replace("SGL_", "SGLANG_", 1) if name.startswith("SGL_") else name
            )
            if variable is None:
                found.append(_unknown_variable(schema, name, past))
            elif variable.deprecated:
                message = f"{name} is deprecated in {schema.engine} {schema.version}: {variable.deprecated}"
                hint = f"set {variable.replacement}" if variable.replacement else None
                found.append(FlagProblem("deprecated-env", "warns", name, message, hint, None, _LIST))
    return found


_LIST: Final = "the list of variables in that release"


def _unknown_variable(schema: ArgumentSchema, name: str, past: Past) -> FlagProblem:
    release = f"{schema.engine} {schema.version}"
    severity: Severity = "warns" if schema.env_complete else "informs"
    if (fork := next((item for item in known.FORK_VARIABLES if name.startswith(item.prefix)), None)) is not None:
        message = f"{name} is read by {fork.fork}; {release} ignores it"
        return FlagProblem("fork-env", severity, name, message, fork.hint, None, f"{fork.source}, {fork.as_of}")
    events, here = past(schema.engine, name), version_key(schema.version)
    gone = next(
        (event for event in reversed(events) if event.kind == "removed" and version_key(event.version) <= here), None
    )
    if gone is not None:
        said = next((event.detail for event in reversed(events) if event.kind == "deprecated"), None)
        message = f"{name} was removed in {schema.engine} {gone.version}; {release} ignores it"
        return FlagProblem(
            "removed-env",
            severity,
            name,
            message,
            f"instead: {said}" if said else "take it out",
            gone.version,
            _SHIPPED,
        )
    coming = next((event for event in events if event.kind == "appeared" and version_key(event.version) > here), None)
    if coming is not None:
        message = f"{release} does not read {name}; it came with {coming.version}"
        return FlagProblem(
            "unknown-env", severity, name, message, "take it out, or use a newer image", coming.version, _SHIPPED
        )
    near = _near(name, schema.variables())
    hint = f"did you mean {near}?" if near else "take it out"
    return FlagProblem("unknown-env", severity, name, f"{release} does not read {name}", hint, None, _LIST)
