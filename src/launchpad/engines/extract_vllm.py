"""Where vLLM keeps its parser and its environment variables, for ``extract``.

``vllm serve`` registers the fields of config dataclasses through ``get_kwargs``, which turns a field's type into argparse's
keywords; :func:`_keywords` asks the same questions in the same order. Read in the wheels 0.19.1 to 0.33.0, 2026-11-23.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from launchpad.engines.schemas import Argument, EnvironmentVariable
from launchpad.engines.source.modules import strings
from launchpad.engines.source.values import (
    NOTHING,
    UNKNOWN,
    ClassRef,
    Field,
    FunctionRef,
    Generic,
    Registry,
    Symbol,
    last_name,
)
from launchpad.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.engines.source.reader import Reader

ANCHOR: Final = "vllm/engine/arg_utils.py"
#: A regular expression of the files needed: the parser, the configs, and where the types of a few fields are named.
WANTED: Final = (
    r"vllm/(?:engine/arg_utils\.py|envs\.py|config/[a-z_0-9]+\.py|utils/argparse_utils\.py|sampling_params\.py"
    r"|entrypoints/(?:[a-z_]+/){0,3}(?:cli_args|constants|chat_utils|protocol)\.py|entrypoints/(?:constants|chat_utils)\.py"
    r"|renderers/(?:chat_utils/)?(?:__init__|chat_utils|types|params|protocol)\.py|tool_parsers/(?:tool_strict_level|structural_tag_registry)\.py"
    r"|transformers_utils/(?:[a-z_]+/)?(?:config|types|chat_templates)\.py|v1/attention/backends/registry\.py"
    r"|v1/structured_output/[a-z_]+\.py|model_executor/model_loader/__init__\.py|platforms/interface\.py"
    r"|model_executor/layers/quantization/__init__\.py|tokenizers/(?:__init__|registry|protocol)\.py)"
)

_PARSERS: Final = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
)


def registry(reader: Reader) -> Registry:
    """Everything that ``make_arg_parser`` registers for ``vllm serve``.

    Raises:
        ImageError: no make_arg_parser where any known release has it.
    """
    reader.intrinsics["get_kwargs"] = lambda args, _kwargs: _keywords_of(reader, args[0]) if args else UNKNOWN
    for name in ("optional_type", "parse_type"):
        reader.intrinsics[name] = lambda args, _kwargs: args[0] if args else UNKNOWN
    for name in _PARSERS:
        module = reader.module(name)
        function = NOTHING if module is None else reader.get(module, "make_arg_parser")
        if isinstance(function, FunctionRef):
            found = Registry()
            reader.run(function, [found], {})
            return found
    raise ImageError(
        "cannot read the arguments of vllm: no make_arg_parser in vllm/entrypoints/{common,launchers,openai}/cli_args.py"
    )


def pairs(reader: Reader, flags: list[str]) -> list[str]:
    """The further opposites of an on-off flag: since 0.30 ``--enable-x`` and ``--disable-x`` undo each other."""
    module = reader.module("vllm.utils.argparse_utils")
    if module is None or "EnableDisableAction" not in module.bindings:
        return []
    swap = {"--enable-": "--disable-", "--disable-": "--enable-"}
    return [new + flag.removeprefix(old) for flag in flags for old, new in swap.items() if flag.startswith(old)]


def unregistered(_reader: Reader) -> list[Argument]:
    """``-O3``, ``-O 3`` and ``-O=3`` are read before argparse sees the words; nothing else is."""
    return []


# --- get_kwargs ------------------------------------------------------------------------------------------------------------


def _keywords_of(reader: Reader, cls: object) -> object:
    if not isinstance(cls, ClassRef):
        return UNKNOWN
    engine = reader.module("vllm.engine.arg_utils")
    rules = None if engine is None else engine.bindings.get("_compute_kwargs")
    names = set(strings(rules)) if rules is not None else set()
    optional = rules is not None and any(isinstance(node, ast.Compare) and _sets(node) for node in ast.walk(rules))
    subclasses = engine is not None and "is_dict_subclass" in engine.bindings
    found: dict[object, object] = {}
    for item in reader.classes.annotated_fields(cls):
        hint = reader.classes.annotation(item)
        if isinstance(hint, Generic) and hint.origin in {"ClassVar", "InitVar"}:
            continue
        hints = _flat(hint)
        if subclasses:
            hints = [Symbol("dict") if _dict_subclass(reader, hint) else hint for hint in hints]
        keywords = _keywords(reader, item, hints, names, optional_text=optional)
        default = reader.classes.default(item)
        found[item.name] = {"help": item.doc, **({} if default is NOTHING else {"default": default}), **keywords}
    return found


def _sets(node: ast.Compare) -> bool:
    return any(isinstance(item, ast.Set) for item in node.comparators)


def _flat(hint: object) -> list[object]:
    """The members of a union, what is annotated in an Annotated."""
    if isinstance(hint, Generic) and hint.origin in {"Annotated", "SkipValidation"}:
        return _flat(hint.args[0])
    if isinstance(hint, Generic) and hint.origin == "Union":
        return [part for item in hint.args for part in _flat(item)]
    return [hint]


def _keywords(
    reader: Reader, item: Field, hints: list[object], sizes: set[str], *, optional_text: bool
) -> dict[str, object]:
    """What argparse is told of a field of these types. ``sizes`` names the fields that also read 1k and 1Ki."""
    origins = [_origin(hint) for hint in hints]
    none = None in hints or "None" in origins
    if any(isinstance(hint, ClassRef) and _is_dataclass(reader, hint) for hint in hints):
        return {"type": Symbol("parse_dataclass")}
    if optional_text and sorted(origins) == ["", "bool", "str"] and none:
        return {"type": Symbol("str"), "nargs": "?", "const": True}
    if "bool" in origins:
        return {"action": Symbol("argparse.BooleanOptionalAction")}
    found = _by_origin(item.name, hints, origins, sizes)
    element = found.get("type")
    if isinstance(element, Generic) and element.origin == "Literal":
        found |= _literal([element], text=False)
    choices = found.get("choices")
    if none and isinstance(choices, list):
        choices.append(None)
    return found


def _by_origin(name: str, hints: list[object], origins: list[str], sizes: set[str]) -> dict[str, object]:
    if "Literal" in origins:
        return _literal([hint for hint in hints if _origin(hint) == "Literal"], text="str" in origins)
    for origin in ("tuple", "list", "set"):
        if origin in origins:
            return _collection(hints[origins.index(origin)])
    if "int" in origins:
        if name == "max_model_len":
            return {"type": Symbol("human_readable_int_or_auto")}
        return {"type": Symbol("human_readable_int" if name in sizes else "int")}
    if "float" in origins:
        return {"type": Symbol("float")}
    if "dict" in origins:
        others = set(origins) - {"dict", "", "int", "float"}
        outside = any(_outside(hint) for hint in hints)
        return {"type": Symbol("str" if "str" in others or outside else "json.loads")}
    return {"type": Symbol("str")}


def _literal(hints: list[object], *, text: bool) -> dict[str, object]:
    options = [option for hint in hints if isinstance(hint, Generic) for option in hint.args]
    known = all(isinstance(option, (str, int)) for option in options) and bool(options)
    kind = Symbol(type(options[0]).__name__) if known else Symbol("str")
    return {"type": kind} if text or not known else {"type": kind, "choices": sorted(options, key=str)}


def _collection(hint: object) -> dict[str, object]:
    args = hint.args if isinstance(hint, Generic) else ()
    element: object = args[0] if args else Symbol("str")
    if isinstance(element, Generic) and element.origin == "Union":
        element = Symbol("str")
    open_ended = not (isinstance(hint, Generic) and hint.origin.lower() == "tuple") or Symbol("...") in args
    return {"type": element, "nargs": "+" if open_ended else len(args)}


def _origin(hint: object) -> str:
    """``list`` for ``list[int]`` and ``List[int]`` alike; empty for None; the name of a class or symbol else."""
    name = hint.origin if isinstance(hint, Generic) else last_name(hint)
    return (
        name if name == "Literal" else {"List": "list", "Dict": "dict", "Tuple": "tuple", "Set": "set"}.get(name, name)
    )


def _outside(hint: object) -> bool:
    """Whether a type is not one of Python's builtins, as ``is_not_builtin`` asks of its ``__module__``."""
    if hint is None:
        return False
    if isinstance(hint, Generic):
        return hint.origin not in {"dict", "list", "tuple", "set"}
    return last_name(hint) not in {
        "str",
        "int",
        "float",
        "bool",
        "dict",
        "list",
        "tuple",
        "set",
        "None",
        "bytes",
        "object",
    }


def _is_dataclass(reader: Reader, cls: ClassRef) -> bool:
    names = [
        node.func if isinstance(node, ast.Call) else node
        for item in reader.classes.bases(cls)
        for node in item.node.decorator_list
    ]
    words = {
        node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        for node in names
    }
    return bool(words & {"config", "dataclass", "pydantic_dataclass"})


def _dict_subclass(reader: Reader, hint: object) -> bool:
    return isinstance(hint, ClassRef) and "dict" in reader.classes.base_names(hint)


# --- environment variables -------------------------------------------------------------------------------------------------

_NAME: Final = re.compile(r"VLLM_[A-Z0-9_]+")


def environment(reader: Reader, _files: Mapping[str, str]) -> list[EnvironmentVariable]:
    """The keys of ``environment_variables`` in envs.py (vLLM warns of any other ``VLLM_`` name), and those it only reads."""
    module = reader.module("vllm.envs")
    if module is None:
        return []
    found: dict[str, EnvironmentVariable] = {}
    for node in ast.walk(module.tree):
        match node:
            case (
                ast.AnnAssign(target=ast.Name(id="environment_variables"), value=ast.Dict(keys=keys))
                | ast.Assign(targets=[ast.Name(id="environment_variables")], value=ast.Dict(keys=keys))
            ):
                for key in keys:
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        found[key.value] = EnvironmentVariable(key.value)
            case _:
                pass
    for text in strings(module.tree):
        if _NAME.fullmatch(text):
            found.setdefault(text, EnvironmentVariable(text, declared=False))
    return list(found.values())


def env_complete(_files: Mapping[str, str]) -> bool:
    """envs.py is the whole list: vLLM warns of what is not in it."""
    return True
