"""What a name in the source can stand for: Python's plain values as they are, and a noun for everything else.

It refuses to read: nothing here looks into a tree. :data:`UNKNOWN` is what could not be read and :data:`NOTHING` says that
nobody binds the name; neither is ever replaced by a likely value.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable


class Unknown:
    """What could not be read from the source."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()
NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name from outside the files read, such as ``json.loads`` or ``int``."""

    dotted: str

    @property
    def last(self) -> str:
        """The last part of the name."""
        return self.dotted.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Generic:
    """A subscripted type: ``Literal["a"]``, ``Optional[int]`` (as a Union), ``Annotated[T, ...]``."""

    origin: str
    args: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """The result of calling a class or an outside function: what was called, and with what."""

    of: object
    args: tuple[object, ...]
    kwargs: dict[str, object]

    @property
    def name(self) -> str:
        """The last part of the name of what was called."""
        return last_name(self.of)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enumeration."""

    name: str
    value: object


@dataclass(slots=True, eq=False)
class Module:
    """One file: what each name at its top is bound to. Where a name is bound twice, a ``def`` or ``class`` wins, else the later."""

    name: str
    path: str
    tree: ast.Module
    bindings: dict[str, ast.stmt] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ClassRef:
    """A class that the files define."""

    module: Module
    node: ast.ClassDef


@dataclass(frozen=True, slots=True, eq=False)
class FunctionRef:
    """A function that the files define; ``owner`` is the class it stands in, ``bound`` the class it was reached through."""

    module: Module
    node: ast.FunctionDef | ast.AsyncFunctionDef
    owner: ClassRef | None = None
    bound: ClassRef | None = None


@dataclass(frozen=True, slots=True)
class Super:
    """``super()`` in a method of ``owner``, called on ``bound``."""

    owner: ClassRef
    bound: ClassRef


@dataclass(frozen=True, slots=True)
class Field:
    """An annotated attribute of a class, the file it stands in, and the text below it."""

    name: str
    module: Module
    node: ast.AnnAssign
    doc: str


@dataclass(slots=True)
class Registry:
    """Stands for an argparse parser and its groups: collects every ``add_argument``."""

    calls: list[tuple[list[object], dict[str, object]]] = field(default_factory=list)


@dataclass(slots=True)
class Scope:
    """Where code is read: its file, its local names, and the method it stands in."""

    module: Module
    names: dict[str, object] = field(default_factory=dict)
    function: FunctionRef | None = None


#: What an expression stands for where it is written, or :data:`UNKNOWN`.
Evaluate: TypeAlias = "Callable[[ast.expr, Scope], object]"
#: The items of something that can be looped over; ``None`` where they are not known.
Iterate: TypeAlias = "Callable[[object], list[object] | None]"
#: Answers a call, of these arguments by place and by name, in place of the function that is called.
Intrinsic: TypeAlias = "Callable[[list[object], dict[str, object]], object]"


def last_name(value: object) -> str:
    """The short name of a symbol, class, function or call; empty for anything else."""
    match value:
        case Symbol():
            return value.last
        case ClassRef() | FunctionRef():
            return value.node.name
        case Made():
            return value.name
        case _:
            return ""


def is_type(value: object) -> bool:
    """Whether a value can stand in a type annotation."""
    return isinstance(value, (Symbol, ClassRef, Generic))


def generic(origin: str, args: tuple[object, ...]) -> object:
    """A subscripted type in one form: Optional is a Union with None, unions and literals hold no unions and literals."""
    if origin == "Optional":
        origin, args = "Union", (*args, None)
    if origin in {"Union", "Literal"}:
        flat: list[object] = []
        for item in args:
            flat.extend(item.args if isinstance(item, Generic) and item.origin == origin else [item])
        args = tuple(flat)
    return Generic(origin, args)
