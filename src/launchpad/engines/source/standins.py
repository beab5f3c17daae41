"""What a few functions of Python itself give, and the methods of plain values: the ones that parsers are built with.

It refuses to call what it was not taught: everything else is NOTHING (a function) or UNKNOWN (a method of a plain value). The
only thing that it lets code change is a list or dictionary which that code made, and the registry of arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchpad.engines.source.bounds import MAX_TEXT
from launchpad.engines.source.operations import unique
from launchpad.engines.source.values import NOTHING, UNKNOWN, Generic, Made, Registry

if TYPE_CHECKING:
    from launchpad.engines.source.values import Iterate


def function(iterate: Iterate, dotted: str, args: list[object]) -> object:
    """What a few functions of Python itself give; NOTHING for all others."""
    match dotted.removeprefix("typing."), args:
        case (("list" | "tuple" | "set" | "frozenset" | "sorted"), []):
            return []
        case ("list" | "tuple" | "set" | "frozenset" | "sorted") as name, [first, *_]:
            items = iterate(first)
            if items is not None:
                items = sorted(items, key=str) if name == "sorted" else items
                items = unique(items) if "set" in name else items
            return UNKNOWN if items is None else items
        case "get_args", [Generic() as first]:
            return list(first.args)
        case (("cast" | "copy.deepcopy" | "copy.copy"), [*_, last]):
            return last
        case "sys.modules.get", _:
            return None
        case "str", [(str() | int() | float()) as first]:
            return str(first)
        case _:
            return NOTHING


def method(iterate: Iterate, receiver: object, name: str, args: list[object], kwargs: dict[str, object]) -> object:
    """What a method of a plain value gives, or of a parser; NOTHING where ``receiver`` is neither."""
    match receiver:
        case Registry():
            if name == "add_argument":
                receiver.calls.append((args, kwargs))
                return UNKNOWN
            return receiver
        case Made() if name == "get" and not args and receiver.args:
            return receiver.args[0]  # a declared setting that nobody has set gives its default
        case str():
            return _of_text(iterate, receiver, name, args)
        case dict():
            return _of_dict(receiver, name, args)
        case list() | tuple():
            return _of_list(iterate, receiver, name, args)
        case _:
            return NOTHING


def _of_text(iterate: Iterate, text: str, name: str, args: list[object]) -> object:
    words = [item for item in args if isinstance(item, str)]
    match name, words:
        case "replace", [old, new] if old:
            return text.replace(old, new)[:MAX_TEXT]
        case (("lower" | "upper" | "strip" | "lstrip" | "rstrip" | "removeprefix" | "removesuffix"), _) if (
            len(words) < 2
        ):
            return str(getattr(text, name)(*words))
        case "join", _ if args:
            items = iterate(args[0])
            return text.join(str(item) for item in items)[:MAX_TEXT] if items is not None else UNKNOWN
        case _:
            return UNKNOWN


def _of_dict(holder: dict[object, object], name: str, args: list[object]) -> object:
    fallback = args[1] if len(args) > 1 else None
    match name:
        case "keys":
            return list(holder)
        case "values":
            return list(holder.values())
        case "items":
            return list(holder.items())
        case "get" if args and isinstance(args[0], (str, int)):
            return holder.get(args[0], fallback)
        case "pop" if args and isinstance(args[0], (str, int)):
            return holder.pop(args[0], fallback)
        case "copy":
            return dict(holder)
        case "update" if args and isinstance(args[0], dict):
            holder.update(args[0])
            return None
        case _:
            return UNKNOWN


def _of_list(iterate: Iterate, holder: list[object] | tuple[object, ...], name: str, args: list[object]) -> object:
    if isinstance(holder, tuple) or not args:
        return list(holder) if name == "copy" else UNKNOWN
    match name:
        case "append" | "add":
            if args[0] not in holder:
                holder.append(args[0])
        case "remove" | "discard":
            holder[:] = [item for item in holder if item != args[0]]
        case "extend" | "update":
            holder.extend(iterate(args[0]) or ())
        case _:
            return UNKNOWN
    return None
