"""What names mean in Python source, and what simple code would compute, found by reading: nothing is imported or run.

An engine's parser is built by code: constants, string lists, loops over dictionaries of keyword arguments. :class:`Reader`
walks that code as far as it is simple and says :data:`UNKNOWN` for the rest. It is bounded in size, depth and steps, so that a
hostile or broken source ends in an :class:`~launchpad.errors.ImageError`, never in a hang or a stack overflow.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from launchpad.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_FILE_CHARS: Final = 4_000_000
MAX_TOTAL_CHARS: Final = 400_000_000
MAX_STEPS: Final = 300_000  # a real release takes 8,000
MAX_DEPTH: Final = 120
MAX_ITEMS: Final = 20_000
MAX_TEXT: Final = 200_000


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


@dataclass(slots=True)
class Registry:
    """Stands for an argparse parser and its groups: collects every ``add_argument``."""

    calls: list[tuple[list[object], dict[str, object]]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Module:
    """One file: what each name at its top is bound to. Where a name is bound twice, a ``def`` or ``class`` wins, else the later."""

    name: str
    path: str
    tree: ast.Module
    bindings: dict[str, ast.stmt] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Scope:
    """Where code is read: its file, its local names, and the method it stands in."""

    module: Module
    names: dict[str, object] = field(default_factory=dict)
    function: FunctionRef | None = None


class TooMuch(Exception):
    """A bound was reached; translated to an ImageError at the door."""


def parse(path: str, text: str) -> ast.Module:
    """The syntax tree of one file.

    Raises:
        ImageError: the file is larger than 4 million characters, is not Python, or nests too deeply to be read.
    """
    if len(text) > MAX_FILE_CHARS:
        raise ImageError(f"cannot read the arguments in {path}: {len(text)} characters, more than {MAX_FILE_CHARS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes are not ours to report
            return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise ImageError(f"cannot read the arguments in {path}: not Python: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise ImageError(f"cannot read the arguments in {path}: nested too deeply") from error


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


class Reader:
    """Reads names and simple code from a set of files.

    ``files`` maps paths below the package's parent (``vllm/envs.py``) to text. ``intrinsics`` answer calls of functions by their
    short name, before the function itself would be read.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._modules: dict[str, Module | None] = {}
        self._steps = 0
        self._depth = 0
        self._busy: set[tuple[str, str]] = set()
        self.intrinsics: dict[str, Callable[[list[object], dict[str, object]], object]] = {}

    @property
    def opened(self) -> tuple[str, ...]:
        """The paths of the files that were parsed."""
        return tuple(sorted(module.path for module in self._modules.values() if module is not None))

    # --- files and names ---------------------------------------------------------------------------------------------------

    def module(self, name: str) -> Module | None:
        """The file of a dotted module, parsed once; ``None`` where it is not among the files."""
        if name not in self._modules:
            stem = name.replace(".", "/")
            path = next((item for item in (f"{stem}.py", f"{stem}/__init__.py") if item in self._files), None)
            self._modules[name] = None if path is None else self._load(name, path)
        return self._modules[name]

    def _load(self, name: str, path: str) -> Module:
        module = Module(name, path, parse(path, self._files[path]))
        _bind(module.tree.body, module.bindings)
        return module

    def get(self, module: Module, name: str) -> object:
        """What a name at the top of a file stands for; :data:`NOTHING` where it is not bound there."""
        if name in module.values:
            return module.values[name]
        key = (module.name, name)
        if key in self._busy:
            return UNKNOWN
        self._busy.add(key)
        try:
            node = module.bindings.get(name)
            value = self._starred(module, name) if node is None else self._bound(module, name, node)
            module.values[name] = value
        finally:
            self._busy.discard(key)
        return value

    def _starred(self, module: Module, name: str) -> object:
        """What ``from other import *`` at the top of a file may bring in under a name."""
        for node in module.tree.body:
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                found = self.module(_base(node, module))
                value = NOTHING if found is None else self.get(found, name)
                if value is not NOTHING:
                    return value
        return NOTHING

    def _bound(self, module: Module, name: str, node: ast.stmt) -> object:
        scope = Scope(module)
        match node:
            case ast.ClassDef():
                return ClassRef(module, node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return FunctionRef(module, node)
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope)
                return scope.names.get(name, UNKNOWN)
            case ast.Assign():
                self._assign(node.targets[0], self.eval(node.value, scope), scope)
                return scope.names.get(name, UNKNOWN)
            case ast.AnnAssign(value=ast.expr() as value):
                return self.eval(value, scope)
            case _:
                return UNKNOWN

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                target = alias.name if alias.asname else alias.name.partition(".")[0]
                scope.names[alias.asname or target] = self.module(target) or Symbol(target)
            return
        base = _base(node, scope.module)
        for alias in node.names:
            scope.names[alias.asname or alias.name] = self._imported(base, alias.name)

    def _imported(self, base: str, name: str) -> object:
        self._tick()
        found = self.module(base)
        value = NOTHING if found is None else self.get(found, name)
        if value is NOTHING:
            value = self.module(f"{base}.{name}") or Symbol(f"{base}.{name}")
        return value

    # --- classes -----------------------------------------------------------------------------------------------------------

    def bases(self, cls: ClassRef) -> list[ClassRef]:
        """The class and those it inherits from, nearest first, as far as the files define them."""
        found, queue = [cls], [cls]
        while queue and len(found) < 50:
            item = queue.pop(0)
            for node in item.node.bases:
                base = self.eval(node, Scope(item.module))
                if isinstance(base, ClassRef) and all(base.node is not seen.node for seen in found):
                    found.append(base)
                    queue.append(base)
        return found

    def base_names(self, cls: ClassRef) -> set[str]:
        """The short names of all that a class inherits from, outside classes included."""
        return {last_name(self.eval(node, Scope(item.module))) for item in self.bases(cls) for node in item.node.bases}

    def is_enum(self, cls: ClassRef) -> bool:
        """Whether a class is an enumeration."""
        return any(name.endswith("Enum") for name in self.base_names(cls))

    def members(self, cls: ClassRef) -> list[Member]:
        """The members of an enumeration, in order."""
        scope = Scope(cls.module)
        found = []
        for node in cls.node.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if not name.startswith("_"):
                    found.append(Member(name, self.eval(value, scope)))
                case _:
                    pass
        return found

    def attribute(self, cls: ClassRef, name: str, via: ClassRef | None = None) -> object:
        """What ``cls.name`` stands for, looked up through its bases; :data:`NOTHING` where nobody binds it."""
        if self.is_enum(cls):
            for member in self.members(cls):
                if member.name == name:
                    return member
        for item in self.bases(cls):
            for node in reversed(item.node.body):
                value = self._in_class(item, node, name, via or cls)
                if value is not NOTHING:
                    return value
        return NOTHING

    def _in_class(self, cls: ClassRef, node: ast.stmt, name: str, via: ClassRef) -> object:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                return FunctionRef(cls.module, node, cls, via)
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return self.eval(value, self._class_scope(cls, name))
            case ast.AnnAssign(target=ast.Name(id=target), value=value) if target == name and value is not None:
                return self.eval(value, self._class_scope(cls, name))
            case _:
                return NOTHING

    def _class_scope(self, cls: ClassRef, but: str) -> Scope:
        """Plain constants beside a class attribute, by which it may be defined (``ALL = (A, B)``)."""
        scope = Scope(cls.module)
        for node in cls.node.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)) if name != but:
                    scope.names[name] = value
                case _:
                    pass
        return scope

    def annotated_fields(self, cls: ClassRef) -> list[Field]:
        """The annotated attributes of a class and its bases, bases first, an override at its first place."""
        found: dict[str, Field] = {}
        for item in reversed(self.bases(cls)):
            for index, node in enumerate(item.node.body):
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    after = item.node.body[index + 1] if index + 1 < len(item.node.body) else None
                    found[node.target.id] = Field(node.target.id, item.module, node, _docstring(after))
        return list(found.values())

    def annotation(self, item: Field) -> object:
        """The type that a field is annotated with."""
        node: ast.expr = item.node.annotation
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = _expression(node.value)
        return self.eval(node, Scope(item.module))

    def default(self, item: Field) -> object:
        """The default of a field; :data:`NOTHING` where it has none. ``field`` and ``Field`` are looked into."""
        if item.node.value is None:
            return NOTHING
        value = self.eval(item.node.value, Scope(item.module))
        if isinstance(value, Made) and value.name in {"field", "Field"}:
            value = value.kwargs.get("default", value.args[0] if value.args else UNKNOWN)
        return value

    # --- expressions -------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TooMuch

    def eval(self, node: ast.expr, scope: Scope) -> object:
        """What an expression stands for, or :data:`UNKNOWN`."""
        self._tick()
        if self._depth >= MAX_DEPTH:
            raise TooMuch
        self._depth += 1
        try:
            method = self._EXPRESSIONS.get(type(node))
            return UNKNOWN if method is None else method(self, node, scope)
        finally:
            self._depth -= 1

    def _constant(self, node: ast.Constant, _scope: Scope) -> object:
        return node.value if node.value is not Ellipsis else Symbol("...")

    def _name(self, node: ast.Name, scope: Scope) -> object:
        if node.id in scope.names:
            return scope.names[node.id]
        value = self.get(scope.module, node.id)
        return Symbol(node.id) if value is NOTHING else value

    def _attribute(self, node: ast.Attribute, scope: Scope) -> object:
        value, name = self.eval(node.value, scope), node.attr
        found: object = UNKNOWN
        match value:
            case Symbol():
                found = Symbol(f"{value.dotted}.{name}")
            case Module():
                found = self.get(value, name)
                if found is NOTHING:
                    found = self.module(f"{value.name}.{name}") or Symbol(f"{value.name}.{name}")
            case ClassRef():
                found = self.attribute(value, name)
            case Super():
                inherited = (self.attribute(base, name, value.bound) for base in self.bases(value.owner)[1:])
                found = next((item for item in inherited if item is not NOTHING), UNKNOWN)
            case Member() if name in {"name", "value"}:
                found = value.name if name == "name" else value.value
            case Made() if name not in value.kwargs and isinstance(value.of, ClassRef):
                found = self.attribute(value.of, name)
            case Made():
                found = value.kwargs.get(name, UNKNOWN)
            case _:
                pass
        return UNKNOWN if found is NOTHING else found

    def _sequence(self, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> object:
        items: list[object] = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                inner = self.iterate(self.eval(element.value, scope))
                if inner is None:
                    return UNKNOWN
                items.extend(inner)
            else:
                items.append(self.eval(element, scope))
        if isinstance(node, ast.Set):
            return _unique(items)
        return items if isinstance(node, ast.List) else tuple(items)

    def _dict(self, node: ast.Dict, scope: Scope) -> object:
        found: dict[object, object] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                inner = self.eval(value, scope)
                if not isinstance(inner, dict):
                    return UNKNOWN
                found.update(inner)
                continue
            name = self.eval(key, scope)
            if not isinstance(name, (str, int, Symbol)):
                return UNKNOWN
            found[name] = self.eval(value, scope)
        return found

    def _subscript(self, node: ast.Subscript, scope: Scope) -> object:
        value, index = self.eval(node.value, scope), self.eval(node.slice, scope)
        if is_type(value):
            return generic(last_name(value), index if isinstance(index, tuple) else (index,))
        if isinstance(value, dict) and isinstance(index, (str, int)):
            return value.get(index, UNKNOWN)
        if isinstance(value, (list, tuple)) and isinstance(index, int) and -len(value) <= index < len(value):
            return value[index]
        return UNKNOWN

    def _binary(self, node: ast.BinOp, scope: Scope) -> object:
        left, right = self.eval(node.left, scope), self.eval(node.right, scope)
        match node.op:
            case ast.BitOr() if is_type(left) or is_type(right):
                return generic("Union", (left, right))
            case ast.BitOr() if isinstance(left, dict) and isinstance(right, dict):
                return {**left, **right}
            case ast.Add():
                return _added(left, right)
            case ast.Mult() if isinstance(left, (int, float)) and isinstance(right, (int, float)):
                return left * right if abs(left) < 1e12 and abs(right) < 1e12 else UNKNOWN
            case _:
                return UNKNOWN

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> object:
        value = self.eval(node.operand, scope)
        match node.op:
            case ast.USub() if isinstance(value, (int, float)):
                return -value
            case ast.Not():
                truth = self.truth(value)
                return UNKNOWN if truth is None else not truth
            case _:
                return UNKNOWN

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> object:
        stop = isinstance(node.op, ast.Or)
        unknown = False
        value: object = UNKNOWN
        for item in node.values:
            value = self.eval(item, scope)
            truth = self.truth(value)
            if truth is stop and not unknown:
                return value
            unknown = unknown or truth is None
        return UNKNOWN if unknown else value

    def _compare(self, node: ast.Compare, scope: Scope) -> object:
        left, right = self.eval(node.left, scope), self.eval(node.comparators[0], scope)
        if len(node.ops) > 1 or not _plain(left) or not _plain(right):
            return UNKNOWN
        match node.ops[0]:
            case ast.Eq() | ast.Is():
                return left == right
            case ast.NotEq() | ast.IsNot():
                return left != right
            case ast.In() | ast.NotIn():
                items = self.iterate(right)
                if items is None:
                    return UNKNOWN
                return (left in items) is isinstance(node.ops[0], ast.In)
            case _:
                return UNKNOWN

    def _conditional(self, node: ast.IfExp, scope: Scope) -> object:
        truth = self.truth(self.eval(node.test, scope))
        if truth is None:
            return UNKNOWN
        return self.eval(node.body if truth else node.orelse, scope)

    def _format(self, node: ast.JoinedStr, scope: Scope) -> object:
        parts = []
        for item in node.values:
            value = self.eval(item.value if isinstance(item, ast.FormattedValue) else item, scope)
            parts.append(str(value) if isinstance(value, (str, int)) else "…")
        return "".join(parts)[:MAX_TEXT]

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, scope: Scope) -> object:
        if len(node.generators) != 1:
            return UNKNOWN
        loop = node.generators[0]
        items = self.iterate(self.eval(loop.iter, scope))
        if items is None:
            return UNKNOWN
        found = []
        inner = Scope(scope.module, dict(scope.names), scope.function)
        for item in items:
            self._assign(loop.target, item, inner)
            tests = [self.truth(self.eval(test, inner)) for test in loop.ifs]
            if None in tests:
                return UNKNOWN
            if all(tests):
                found.append(self.eval(node.elt, inner))
        return _unique(found) if isinstance(node, ast.SetComp) else found

    def _lambda(self, _node: ast.Lambda, _scope: Scope) -> object:
        return Symbol("lambda")

    def _call(self, node: ast.Call, scope: Scope) -> object:
        if isinstance(node.func, ast.Name) and node.func.id == "super" and scope.function and scope.function.owner:
            return Super(scope.function.owner, scope.function.bound or scope.function.owner)
        arguments = self._arguments(node, scope)
        if arguments is None:
            return UNKNOWN
        args, kwargs = arguments
        if isinstance(node.func, ast.Attribute):
            receiver = self.eval(node.func.value, scope)
            value = self._method(receiver, node.func.attr, args, kwargs)
            if value is not NOTHING:
                return value
        return self.call(self.eval(node.func, scope), args, kwargs)

    def _arguments(self, node: ast.Call, scope: Scope) -> tuple[list[object], dict[str, object]] | None:
        args: list[object] = []
        for item in node.args:
            if isinstance(item, ast.Starred):
                inner = self.iterate(self.eval(item.value, scope))
                if inner is None:
                    return None
                args.extend(inner)
            else:
                args.append(self.eval(item, scope))
        kwargs: dict[str, object] = {}
        for keyword in node.keywords:
            value = self.eval(keyword.value, scope)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            elif isinstance(value, dict):
                kwargs.update({str(name): item for name, item in value.items()})
            else:
                kwargs["**"] = UNKNOWN
        return args, kwargs

    def call(self, function: object, args: list[object], kwargs: dict[str, object]) -> object:
        """What calling something gives, or :data:`UNKNOWN`."""
        name = last_name(function)
        if name in self.intrinsics:
            return self.intrinsics[name](args, kwargs)
        if isinstance(function, Symbol):
            value = _builtin(self, function.dotted, args)
            return Made(function, tuple(args), kwargs) if value is NOTHING else value
        if isinstance(function, ClassRef):
            return Made(function, tuple(args), kwargs)
        if isinstance(function, FunctionRef):
            return self.run(function, args, kwargs)
        return UNKNOWN

    def _method(self, receiver: object, name: str, args: list[object], kwargs: dict[str, object]) -> object:
        match receiver:
            case Registry():
                if name == "add_argument":
                    receiver.calls.append((args, kwargs))
                    return UNKNOWN
                return receiver
            case Made() if name == "get" and not args and receiver.args:
                return receiver.args[0]  # a declared setting that nobody has set gives its default
            case str():
                return _text_method(self, receiver, name, args)
            case dict():
                return _dict_method(receiver, name, args)
            case list() | tuple():
                return _list_method(self, receiver, name, args)
            case _:
                return NOTHING

    def iterate(self, value: object) -> list[object] | None:
        """The items of something that can be looped over; ``None`` where they are not known."""
        match value:
            case list() | tuple():
                items = list(value)
            case dict():
                items = list(value)
            case ClassRef() if self.is_enum(value):
                items = list(self.members(value))
            case _:
                return None
        if len(items) > MAX_ITEMS:
            raise TooMuch
        return items

    def truth(self, value: object) -> bool | None:
        """Whether a value counts as true; ``None`` where that is not known."""
        if isinstance(value, Symbol) and value.last == "TYPE_CHECKING":
            return False
        return bool(value) if _plain(value) else None

    # --- statements --------------------------------------------------------------------------------------------------------

    def run(self, function: FunctionRef, args: list[object], kwargs: dict[str, object]) -> object:
        """What a function of the files returns when its body is read with these arguments."""
        if self._depth >= MAX_DEPTH:
            raise TooMuch
        names: dict[str, object] = {}
        decorators = {last_name(self.eval(item, Scope(function.module))) for item in function.node.decorator_list}
        if "classmethod" in decorators and function.bound is not None:
            args = [function.bound, *args]
        parameters = [*function.node.args.posonlyargs, *function.node.args.args]
        defaults = function.node.args.defaults
        for parameter, default in zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True):
            names[parameter.arg] = self.eval(default, Scope(function.module))
        names.update({parameter.arg: value for parameter, value in zip(parameters, args, strict=False)})
        names.update({name: value for name, value in kwargs.items() if name != "**"})
        self._depth += 1
        try:
            value = self.block(function.node.body, Scope(function.module, names, function))
        finally:
            self._depth -= 1
        return None if value is NOTHING else value

    def block(self, body: list[ast.stmt], scope: Scope) -> object:
        """Reads statements in order; what they return, or :data:`NOTHING`. A branch that may be taken is read as if it were."""
        maybe: object = NOTHING
        for node in body:
            self._tick()
            sure, value = self._statement(node, scope)
            if value is not NOTHING:
                maybe = value
                if sure:
                    return value
        return maybe

    def _statement(self, node: ast.stmt, scope: Scope) -> tuple[bool, object]:
        """Reads one statement: whether it returns for sure, and what."""
        match node:
            case ast.Return():
                return True, None if node.value is None else self.eval(node.value, scope)
            case ast.If():
                return self._if(node, scope)
            case ast.With() | ast.Try():
                return False, self.block(node.body, scope)
            case ast.For():
                for item in self.iterate(self.eval(node.iter, scope)) or ():
                    self._assign(node.target, item, scope)
                    self.block(node.body, scope)
            case _:
                self._simple(node, scope)
        return False, NOTHING

    def _simple(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Expr():
                self.eval(node.value, scope)
            case ast.Assign():
                value = self.eval(node.value, scope)
                for target in node.targets:
                    self._assign(target, value, scope)
            case ast.AnnAssign(value=ast.expr() as expression):
                self._assign(node.target, self.eval(expression, scope), scope)
            case ast.AugAssign():
                self._augment(node, scope)
            case ast.Delete():
                self._delete(node, scope)
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                scope.names[node.name] = FunctionRef(scope.module, node)
            case _:
                pass

    def _if(self, node: ast.If, scope: Scope) -> tuple[bool, object]:
        truth = self.truth(self.eval(node.test, scope))
        if truth is not None:
            value = self.block(node.body if truth else node.orelse, scope)
            return value is not NOTHING, value
        first, second = self.block(node.body, scope), self.block(node.orelse, scope)
        return False, second if second is not NOTHING else first

    def _augment(self, node: ast.AugAssign, scope: Scope) -> None:
        if isinstance(node.target, (ast.Name, ast.Subscript)) and isinstance(node.op, ast.Add):
            before = self.eval(node.target, scope)
            self._assign(node.target, _added(before, self.eval(node.value, scope)), scope)

    def _assign(self, target: ast.expr, value: object, scope: Scope) -> None:
        match target:
            case ast.Name():
                scope.names[target.id] = value
            case ast.Tuple() | ast.List():
                items = self.iterate(value)
                known = items is not None and len(items) == len(target.elts)
                for place, element in enumerate(target.elts):
                    self._assign(element, items[place] if known and items is not None else UNKNOWN, scope)
            case ast.Subscript():
                holder, index = self.eval(target.value, scope), self.eval(target.slice, scope)
                if isinstance(holder, dict) and isinstance(index, (str, int)):
                    holder[index] = value
            case _:
                pass

    def _delete(self, node: ast.Delete, scope: Scope) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                holder, index = self.eval(target.value, scope), self.eval(target.slice, scope)
                if isinstance(holder, dict) and isinstance(index, (str, int)):
                    holder.pop(index, None)

    _EXPRESSIONS: Final[dict[type[ast.expr], Callable[..., object]]] = {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.List: _sequence,
        ast.Tuple: _sequence,
        ast.Set: _sequence,
        ast.Dict: _dict,
        ast.Subscript: _subscript,
        ast.BinOp: _binary,
        ast.UnaryOp: _unary,
        ast.BoolOp: _boolean,
        ast.Compare: _compare,
        ast.IfExp: _conditional,
        ast.JoinedStr: _format,
        ast.ListComp: _comprehension,
        ast.GeneratorExp: _comprehension,
        ast.SetComp: _comprehension,
        ast.Lambda: _lambda,
        ast.Call: _call,
    }


@dataclass(frozen=True, slots=True)
class Field:
    """An annotated attribute of a class, the file it stands in, and the text below it."""

    name: str
    module: Module
    node: ast.AnnAssign
    doc: str


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


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string constant in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _bind(body: list[ast.stmt], found: dict[str, ast.stmt], *, weak: bool = False) -> None:
    for node in body:
        for name in _bound_names(node):
            held = found.get(name)
            defined = isinstance(held, (ast.ClassDef, ast.FunctionDef)) and not isinstance(
                node, (ast.ClassDef, ast.FunctionDef)
            )
            if held is None or not (weak or defined):
                found[name] = node
        match node:
            case ast.If():
                typing_only = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
                _bind(node.orelse, found, weak=weak or not typing_only)
                _bind(node.body, found, weak=weak or typing_only)
            case ast.Try():
                _bind(node.body, found, weak=weak)
                for handler in node.handlers:
                    _bind(handler.body, found, weak=True)
            case ast.With():
                _bind(node.body, found, weak=weak)
            case _:
                pass


def _bound_names(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name
        case ast.Assign():
            for target in node.targets[:1]:
                elements = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
                yield from (element.id for element in elements if isinstance(element, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            yield name
        case ast.Import():
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        case ast.ImportFrom():
            yield from (alias.asname or alias.name for alias in node.names)
        case _:
            pass


def _base(node: ast.ImportFrom, module: Module) -> str:
    """The dotted module that a ``from ... import`` in a file names, relative or not."""
    base = node.module or ""
    if not node.level:
        return base
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + (1 if module.path.endswith("/__init__.py") else 0)]
    return ".".join([*parts, base] if base else parts)


def _docstring(node: ast.stmt | None) -> str:
    match node:
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return text.strip()
        case _:
            return ""


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text[:2000], mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Constant(value=None)


def _plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, list, tuple, dict))


def _unique(items: list[object]) -> list[object]:
    found: list[object] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _added(left: object, right: object) -> object:
    if isinstance(left, str) and isinstance(right, str):
        return (left + right)[:MAX_TEXT]
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) + len(right) > MAX_ITEMS:
            raise TooMuch
        return [*left, *right]
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return left + right
    return UNKNOWN


def _builtin(reader: Reader, dotted: str, args: list[object]) -> object:
    """What a few functions of Python itself give; :data:`NOTHING` for all others."""
    match dotted.removeprefix("typing."), args:
        case (("list" | "tuple" | "set" | "frozenset" | "sorted"), []):
            return []
        case ("list" | "tuple" | "set" | "frozenset" | "sorted") as name, [first, *_]:
            items = reader.iterate(first)
            if items is not None:
                items = sorted(items, key=str) if name == "sorted" else items
                items = _unique(items) if "set" in name else items
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


def _text_method(reader: Reader, text: str, name: str, args: list[object]) -> object:
    words = [item for item in args if isinstance(item, str)]
    match name, words:
        case "replace", [old, new] if old:
            return text.replace(old, new)[:MAX_TEXT]
        case (("lower" | "upper" | "strip" | "lstrip" | "rstrip" | "removeprefix" | "removesuffix"), _) if (
            len(words) < 2
        ):
            return str(getattr(text, name)(*words))
        case "join", _ if args:
            items = reader.iterate(args[0])
            return text.join(str(item) for item in items)[:MAX_TEXT] if items is not None else UNKNOWN
        case _:
            return UNKNOWN


def _dict_method(holder: dict[object, object], name: str, args: list[object]) -> object:
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


def _list_method(reader: Reader, holder: list[object] | tuple[object, ...], name: str, args: list[object]) -> object:
    if isinstance(holder, tuple) or not args:
        return list(holder) if name == "copy" else UNKNOWN
    match name:
        case "append" | "add":
            if args[0] not in holder:
                holder.append(args[0])
        case "remove" | "discard":
            holder[:] = [item for item in holder if item != args[0]]
        case "extend" | "update":
            holder.extend(reader.iterate(args[0]) or ())
        case _:
            return UNKNOWN
    return None
