"""An engine's argument schema, read from its Python source by ``ast`` alone: nothing of the engine is imported or run.

SGLang built its parser in three ways (a list of ``add_argument``; annotated fields in ``server_args.py`` since 0.5.14; fields in
``arg_groups/fields`` since 0.5.20); vLLM derives most of it from the types of its config dataclasses. What cannot be read is
``None`` in the schema and is not judged by ``flags``. Sources: the wheels of SGLang 0.5.10.post1 to 0.5.23 and vLLM 0.19.1 to
0.33.0, read 2026-11-23.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from launchpad.engines import extract_sglang, extract_vllm
from launchpad.engines.schemas import Argument, ArgumentSchema
from launchpad.engines.source.bounds import MAX_TOTAL_CHARS, TooMuch
from launchpad.engines.source.reader import Reader
from launchpad.engines.source.values import UNKNOWN, ClassRef, FunctionRef, Made, Member, Symbol, last_name
from launchpad.errors import ImageError

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Mapping

    from launchpad.engines.schemas import EngineName, Kind, ValueType

MAX_FILES: Final = 50_000

_ENGINES: Final = {"sglang": extract_sglang, "vllm": extract_vllm}


def wanted_files(engine: EngineName) -> Callable[[str], bool]:
    """Says of a path (in a wheel, an image, a checkout) whether :func:`extract` needs that file; some tens of files an engine."""
    pattern = re.compile(rf"(?:^|/){_ENGINES[engine].WANTED}$")
    return lambda path: len(path) < 1000 and pattern.search(path) is not None


def extract(engine: EngineName, files: Mapping[str, str], version: str) -> ArgumentSchema:
    """The schema of one engine release.

    ``files`` maps paths to source text; any folder may stand before the package's own (``usr/lib/.../vllm/envs.py``). The files
    that :func:`wanted_files` names are enough; more of an SGLang tree makes its list of environment variables complete.

    Raises:
        ImageError: the parser's own file is missing, something is not Python, or it is too large or too deep to be read.
    """
    return _read(engine, files, version)[0]


def files_read(engine: EngineName, files: Mapping[str, str], version: str) -> tuple[str, ...]:
    """The paths (from the package on) that :func:`extract` opened: all that a fixture needs. Raises as it does."""
    return _read(engine, files, version)[1].opened


def _read(engine: EngineName, files: Mapping[str, str], version: str) -> tuple[ArgumentSchema, Reader]:
    reader_of = _ENGINES[engine]
    rooted = _under_root(files, reader_of.ANCHOR)
    if reader_of.ANCHOR not in rooted:
        raise ImageError(
            f"cannot read the arguments of {engine} {version}: no {reader_of.ANCHOR} among its files",
            hint=f"is {engine} installed in that image? launchpad knows the files of SGLang 0.5.10 and vLLM 0.19 and later",
        )
    if len(files) > MAX_FILES or sum(len(text) for text in files.values()) > MAX_TOTAL_CHARS:
        raise ImageError(
            f"cannot read the arguments of {engine} {version}: {len(files)} files, more than can be its source"
        )
    wanted = wanted_files(engine)
    reader = Reader({path: text for path, text in rooted.items() if wanted(path)})
    try:
        registry = reader_of.registry(reader)
        arguments = [_argument(reader, names, kwargs, reader_of) for names, kwargs in registry.calls]
        arguments += reader_of.unregistered(reader)
        env = reader_of.environment(reader, rooted)
    except (TooMuch, RecursionError) as error:
        raise ImageError(
            f"cannot read the arguments of {engine} {version}: its source is too large or nests too deeply"
        ) from error
    found = tuple(argument for argument in arguments if argument is not None)
    if not found:
        raise ImageError(
            f"cannot read the arguments of {engine} {version}: {reader_of.ANCHOR} declares none that can be read"
        )
    schema = ArgumentSchema(
        engine=engine,
        version=version,
        arguments=found,
        env=tuple(sorted(env, key=lambda variable: variable.name)),
        env_complete=reader_of.env_complete(rooted),
    )
    return schema, reader


def _under_root(files: Mapping[str, str], anchor: str) -> dict[str, str]:
    """The files beside the shortest path that ends in ``anchor``, named from the package on."""
    anchors = [path for path in files if path == anchor or path.endswith(f"/{anchor}")]
    if not anchors:
        return {}
    root = min(anchors, key=lambda path: (len(path), path)).removesuffix(anchor)
    return {path.removeprefix(root): text for path, text in files.items() if path.startswith(root)}


# --- from an add_argument call to an Argument -------------------------------------------------------------------------------


def _argument(reader: Reader, names: list[object], kwargs: dict[str, object], engine: object) -> Argument | None:
    strings = [name for name in names if isinstance(name, str)]
    if not strings or len(strings) != len(names):
        return None
    flags = [name for name in strings if name.startswith("-")]
    first = next((flag for flag in flags if flag.startswith("--")), strings[0])
    dest = kwargs.get("dest")
    kind, negatives = _kind(reader, kwargs, flags, getattr(engine, "pairs", None))
    value_type = _type(kwargs.get("type"))
    if kind == "value" and value_type == "json":
        kind = "json"
    nargs = kwargs.get("nargs")
    message, replacement, refused = _deprecation(kwargs)
    return Argument(
        flags=tuple(dict.fromkeys([*flags, *negatives])),
        dest=dest if isinstance(dest, str) else first.lstrip("-").replace("-", "_"),
        kind=kind,
        type=None if kind in {"switch", "pair"} else (value_type or ("str" if "type" not in kwargs else None)),
        nargs=str(nargs) if isinstance(nargs, (str, int)) and kind in {"list", "optional"} else None,
        choices=_choices(reader, kwargs),
        default=_literal(kwargs.get("default", UNKNOWN)),
        negatives=tuple(negatives),
        deprecated=message,
        replacement=replacement,
        refused=refused,
        required=kwargs.get("required") is True,
    )


_SWITCHES: Final = {"store_true", "store_false", "store_const", "append_const", "count", "help", "version"}


def _kind(
    reader: Reader, kwargs: dict[str, object], flags: list[str], pairs: Callable[[Reader, list[str]], list[str]] | None
) -> tuple[Kind, list[str]]:
    action = kwargs.get("action")
    name = action if isinstance(action, str) else last_name(action)
    if name == "BooleanOptionalAction":
        twins = [f"--no-{flag[2:]}" for flag in flags if flag.startswith("--")]
        return "pair", twins + (pairs(reader, flags) if pairs else [])
    if name in _SWITCHES:
        return "switch", []
    nargs = kwargs.get("nargs", _own_nargs(reader, action) if isinstance(action, ClassRef) else None)
    match nargs:
        case 0:
            return "switch", []
        case "?":
            return "optional", []
        case "+" | "*" | int():
            return "list", []
        case _:
            return "value", []


def _own_nargs(reader: Reader, action: ClassRef) -> object:
    """What an action class of the engine takes where nothing is said: the default of its ``nargs`` parameter."""
    found = reader.classes.attribute(action, "__init__")
    if not isinstance(found, FunctionRef):
        return None
    arguments = found.node.args
    pairs = [
        *zip(arguments.args[len(arguments.args) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *((name, value) for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value),
    ]
    default: ast.expr | None = next((value for name, value in pairs if name.arg == "nargs"), None)
    return getattr(default, "value", None)


_TYPES: Final[dict[str, ValueType]] = {
    "str": "str",
    "nullable_str": "str",
    "union_dict_and_str": "str",
    "int": "int",
    "float": "float",
    "loads": "json",
    "json_list_type": "json",
    "parse_dataclass": "json",
    "human_readable_int": "size",
    "human_readable_int_or_auto": "size-or-auto",
}


def _type(value: object) -> ValueType | None:
    if isinstance(value, Made) and value.name in {"optional_type", "parse_type"} and value.args:
        return _type(value.args[0])
    return _TYPES.get(last_name(value))


def _choices(reader: Reader, kwargs: dict[str, object]) -> tuple[str, ...] | None:
    found = kwargs.get("choices")
    if found is None:
        return None
    items = reader.iterate(found)
    if items is None:
        return None
    plain = [item.value if isinstance(item, Member) else item for item in items]
    if not all(item is None or isinstance(item, (str, int, float)) for item in plain):
        return None
    return tuple(str(item) for item in plain)


def _literal(value: object) -> str | None:
    if isinstance(value, Member):
        value = value.value
    if isinstance(value, (Symbol, Made, ClassRef)) or value is UNKNOWN:
        return None
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        return None
    return text if len(text) <= 200 else None


_DEPRECATED: Final = re.compile(
    r"^\W{0,3}(?:deprecated|removed)\b|\b(?:is|are)(?: now)? deprecated\b|\bno longer supported\b", re.IGNORECASE
)
_INSTEAD: Final = re.compile(
    r"\b(?:[Uu]se|alias for|favor of|replaced by)[ :]{1,2}['`\"]{0,3}(--[a-zA-Z][\w.{},=-]*[\w}])"
)


def _deprecation(kwargs: dict[str, object]) -> tuple[str | None, str | None, bool]:
    """What the engine says about a retired flag, what to write instead, and whether its parser stops."""
    text = kwargs.get("error_message") or kwargs.get("help")
    text = " ".join(text.split()) if isinstance(text, str) else ""
    action = last_name(kwargs.get("action"))
    head = text[:300]
    if not (action.startswith("Deprecated") or kwargs.get("deprecated") is True or _DEPRECATED.search(head)):
        return None, None, False
    new = kwargs.get("new_flag")
    named = _INSTEAD.search(text)
    replacement = new if isinstance(new, str) else (named[1] if named else None)
    message = text[:300] or "deprecated"
    return message, replacement, isinstance(kwargs.get("error_message"), str)
