"""Where SGLang keeps its parser and its environment variables, for ``extract``: three generations of ``server_args.py``."""

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
    Made,
    Registry,
    Symbol,
    last_name,
)
from launchpad.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchpad.engines.source.reader import Reader

ANCHOR: Final = "sglang/srt/server_args.py"
#: A regular expression of the files needed; the last ones hold lists of choices, which moved between releases.
WANTED: Final = (
    r"sglang/(?:srt/server_args\.py|srt/environ\.py|srt/arg_groups/(?:[a-z_0-9]+/)?[a-z_0-9]+\.py|cli/serve\.py"
    r"|srt/parser/reasoning_parser[a-z_]*\.py|srt/function_call/(?:function_call_parser|parser_names)\.py"
    r"|srt/utils/common\.py|srt/lora/[a-z_]*(?:utils|registry|constants)\.py|srt/model_executor/cuda_graph_config\.py"
    r"|srt/model_executor/runner_backend_utils/[a-z_]*\.py|(?:srt/|kernels/ops/|jit_kernel/)?kv_canary/consts?\.py"
    r"|srt/debug_utils/kv_canary/[a-z_]*\.py|srt/utils/(?:__init__|hf_transformers_utils)\.py)"
)

_MODULE: Final = "sglang.srt.server_args"


def registry(reader: Reader) -> Registry:
    """Everything ``ServerArgs.add_cli_args`` registers.

    Raises:
        ImageError: there is no ServerArgs, or it has no add_cli_args.
    """
    module = reader.module(_MODULE)
    args = NOTHING if module is None else reader.get(module, "ServerArgs")
    if not isinstance(args, ClassRef):
        raise ImageError(f"cannot read the arguments of sglang: no class ServerArgs in {ANCHOR}")
    method = reader.classes.attribute(args, "add_cli_args")
    if not isinstance(method, FunctionRef):
        raise ImageError(f"cannot read the arguments of sglang: ServerArgs in {ANCHOR} has no add_cli_args")
    found = Registry()
    members = {item.name: item for item in _fields(reader, args)}

    def from_fields(_args: list[object], _kwargs: dict[str, object]) -> object:
        for item in members.values():
            call = _registered(reader, item)
            if call is not None:
                found.calls.append(call)
        return None

    def declared(given: list[object], _kwargs: dict[str, object]) -> object:
        item = members.get(str(given[0])) if given else None
        value = NOTHING if item is None else reader.classes.default(item)
        return UNKNOWN if value is NOTHING else value

    reader.intrinsics["add_cli_args_from_dataclass"] = from_fields
    reader.intrinsics["_declared_default"] = declared
    reader.run(method, [found], {})
    return found


def _fields(reader: Reader, args: ClassRef) -> list[Field]:
    """The fields of ServerArgs: its own, and since 0.5.20 those of the classes listed in ``_INPUT_NAMESPACES``."""
    spaces = reader.get(args.module, "_INPUT_NAMESPACES")
    classes = [item for item in reader.iterate(spaces) or () if isinstance(item, ClassRef)]
    return [item for cls in [*classes, args] for item in reader.classes.annotated_fields(cls)]


def _registered(reader: Reader, item: Field) -> tuple[list[object], dict[str, object]] | None:
    """The ``add_argument`` that ``add_cli_args_from_dataclass`` makes of one field (arg_groups/arg_utils.py, 0.5.14 to 0.5.23)."""
    annotation = reader.classes.annotation(item)
    if not (isinstance(annotation, Generic) and annotation.origin in {"Annotated", "A"}):
        return None
    meta = next((_meta(part) for part in annotation.args[1:] if _meta(part) is not None), None)
    if meta is None or meta.get("no_cli") is True:
        return None
    cli = meta.get("cli_name")
    name = cli if isinstance(cli, str) else f"--{item.name.replace('_', '-')}"
    kwargs: dict[str, object] = {"dest": item.name, "help": meta.get("help", "")}
    default = reader.classes.default(item)
    if default is not NOTHING:
        kwargs["default"] = default
    kwargs.update(_shape(annotation.args[0], meta, has_default=default is not NOTHING))
    return [name, *(reader.iterate(meta.get("aliases")) or ())], kwargs


def _meta(part: object) -> dict[str, object] | None:
    if isinstance(part, str):
        return {"help": part}
    if isinstance(part, Made) and part.name == "Arg":
        return {"help": part.args[0], **part.kwargs} if part.args else part.kwargs
    return None


def _shape(annotated: object, meta: dict[str, object], *, has_default: bool) -> dict[str, object]:
    """How the value is read: the order of the questions is the engine's."""
    if meta.get("action") is not None:
        more = meta.get("action_kwargs")
        return {"action": meta["action"], **({str(k): v for k, v in more.items()} if isinstance(more, dict) else {})}
    inner = _without_none(annotated)
    given = {key: meta[key] for key in ("choices", "nargs", "const") if meta.get(key) is not None}
    parser = meta.get("type_parser")
    origin = inner.origin if isinstance(inner, Generic) else ""
    if isinstance(inner, Generic) and origin == "Literal":
        first = Symbol(type(inner.args[0]).__name__ if inner.args else "str")
        return {"choices": list(inner.args), **given, "type": parser or _scalar(first)}
    if origin in {"List", "list"} and isinstance(inner, Generic) and parser is None:
        return {"nargs": "+", **given, "type": _scalar(inner.args[0] if inner.args else Symbol("str"))}
    if last_name(inner) == "bool" and isinstance(inner, Symbol):
        return {"action": "store_true"}
    required = meta.get("required") is True or (meta.get("required") is None and not has_default)
    return {**given, "type": parser or _scalar(inner), "required": required}


def _scalar(value: object) -> object:
    return value if last_name(value) in {"str", "int", "float"} else Symbol("str")


def _without_none(value: object) -> object:
    if isinstance(value, Generic) and value.origin == "Union":
        rest = [item for item in value.args if item is not None and last_name(item) != "None"]
        if len(rest) == 1:
            return rest[0]
    return value


def unregistered(reader: Reader) -> list[Argument]:
    """What ``sglang serve`` takes before its parser sees the words: the model's path, and ``--model-type``."""
    module = reader.module("sglang.cli.serve")
    if module is None:
        return []
    names = set(module.bindings)
    found = []
    if "_normalize_positional_model_path" in names:
        found.append(Argument((), "model_path", "optional", "str", nargs="?"))
    if "--model-type" in set(strings(module.tree)):
        found.append(Argument(("--model-type",), "model_type", "value", "str"))
    return found


# --- environment variables -------------------------------------------------------------------------------------------------

_NAME: Final = re.compile(r"(?:SGLANG|SGL)_[A-Z0-9_]+")
_DECLARED: Final = re.compile(r"[A-Z][A-Z0-9_]+")
#: How files outside environ.py read a variable: os.getenv, os.environ, and SGLang's own helpers.
_READ: Final = re.compile(
    r"(?:getenv|environ\.(?:get|setdefault|pop)|get_(?:bool|int|str|float)_env_var|environ)\s{0,4}[\[(]\s{0,40}"
    r"[\"']((?:SGLANG|SGL)_[A-Z0-9_]{1,100})[\"']"
)


def environment(reader: Reader, files: Mapping[str, str]) -> list[EnvironmentVariable]:
    """The variables that environ.py declares, those it calls deprecated, and those that other files read on their own."""
    module = reader.module("sglang.srt.environ")
    found: dict[str, EnvironmentVariable] = {}
    if module is not None:
        envs = module.bindings.get("Envs")
        for name in _declared(envs) if isinstance(envs, ast.ClassDef) else ():
            found[name] = EnvironmentVariable(name)
        for variable in _deprecated(module.tree):
            found[variable.name] = variable
    for path, text in files.items():
        if path.startswith("sglang/") and path.endswith(".py") and "/test/" not in path:
            for match in _READ.finditer(text):
                found.setdefault(match[1], EnvironmentVariable(match[1], declared=False))
    return list(found.values())


def env_complete(files: Mapping[str, str]) -> bool:
    """Whether more than the wanted files were given: then every file that may read a variable was looked into."""
    return sum(path.startswith("sglang/srt/") for path in files) > 300


def _declared(envs: ast.ClassDef) -> Iterator[str]:
    for node in envs.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if (
                _DECLARED.fullmatch(name)
            ):
                yield name
            case _:
                pass


def _deprecated(tree: ast.AST) -> Iterator[EnvironmentVariable]:
    """Deprecated names in each of the ways environ.py has said it: helper calls, aliases of a field, and a table."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="_print_deprecated_env"), args=[ast.Constant(value=str() as old), *rest]):
                yield _gone(old, _text(rest[0]) if rest else None, None)
            case ast.Call(
                func=ast.Name(id="_warn_deprecated_env_to_cli_flag"), args=[ast.Constant(value=str() as old), *rest]
            ):
                yield _gone(old, None, _text(rest[0]) if rest else None)
            case ast.Assign(targets=[ast.Name(id=field)], value=ast.Call(keywords=keywords)) if _NAME.fullmatch(field):
                for keyword in keywords:
                    if keyword.arg == "deprecated_name" and (alias := _text(keyword.value)):
                        yield _gone(alias, field, None)
            case ast.Dict():
                yield from _table(node)
            case _:
                pass


def _table(node: ast.Dict) -> Iterator[EnvironmentVariable]:
    for key, value in zip(node.keys, node.values, strict=True):
        old = _text(key)
        if old is None or not _NAME.fullmatch(old):
            continue
        match value:
            case ast.Call(func=ast.Name(id="_DeprecatedEnv"), args=args, keywords=keywords):
                said = {keyword.arg: _text(keyword.value) for keyword in keywords}
                yield _gone(old, said.get("replacement") or (_text(args[0]) if args else None), said.get("note"))
            case ast.Constant(value=str() as new) if _NAME.fullmatch(new):
                yield _gone(old, new, None)
            case _:
                pass


def _gone(old: str, new: str | None, note: str | None) -> EnvironmentVariable:
    message = f"use {new} instead" if new else (note or "it has no effect any more")
    return EnvironmentVariable(old, deprecated=message, replacement=new)


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
