"""What the classes of the files hold: what they inherit from, their attributes, an enumeration's members, a dataclass's fields.

It refuses to make an instance: a class is what its body says, and no ``__init__``, decorator or metaclass is followed. What a
class inherits from outside the files is known by its name alone.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from launchpad.engines.source.values import (
    NOTHING,
    UNKNOWN,
    ClassRef,
    Field,
    FunctionRef,
    Made,
    Member,
    Scope,
    last_name,
)

if TYPE_CHECKING:
    from launchpad.engines.source.values import Evaluate


class Classes:
    """Looks into class bodies; ``evaluate`` says what an expression in one stands for."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate

    # --- inheritance and attributes ----------------------------------------------------------------------------------------

    def bases(self, cls: ClassRef) -> list[ClassRef]:
        """The class and those it inherits from, nearest first, as far as the files define them."""
        found, queue = [cls], [cls]
        while queue and len(found) < 50:
            item = queue.pop(0)
            for node in item.node.bases:
                base = self._evaluate(node, Scope(item.module))
                if isinstance(base, ClassRef) and all(base.node is not seen.node for seen in found):
                    found.append(base)
                    queue.append(base)
        return found

    def base_names(self, cls: ClassRef) -> set[str]:
        """The short names of all that a class inherits from, outside classes included."""
        return {
            last_name(self._evaluate(node, Scope(item.module))) for item in self.bases(cls) for node in item.node.bases
        }

    def attribute(self, cls: ClassRef, name: str, via: ClassRef | None = None) -> object:
        """What ``cls.name`` stands for, looked up through its bases; NOTHING where nobody binds it."""
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
                return self._evaluate(value, _class_scope(cls, name))
            case ast.AnnAssign(target=ast.Name(id=target), value=value) if target == name and value is not None:
                return self._evaluate(value, _class_scope(cls, name))
            case _:
                return NOTHING

    # --- enumerations ------------------------------------------------------------------------------------------------------

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
                    found.append(Member(name, self._evaluate(value, scope)))
                case _:
                    pass
        return found

    # --- annotated fields --------------------------------------------------------------------------------------------------

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
        return self._evaluate(node, Scope(item.module))

    def default(self, item: Field) -> object:
        """The default of a field; NOTHING where it has none. ``field`` and ``Field`` are looked into."""
        if item.node.value is None:
            return NOTHING
        value = self._evaluate(item.node.value, Scope(item.module))
        if isinstance(value, Made) and value.name in {"field", "Field"}:
            value = value.kwargs.get("default", value.args[0] if value.args else UNKNOWN)
        return value


def _class_scope(cls: ClassRef, but: str) -> Scope:
    """Plain constants beside a class attribute, by which it may be defined (``ALL = (A, B)``)."""
    scope = Scope(cls.module)
    for node in cls.node.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)) if name != but:
                scope.names[name] = value
            case _:
                pass
    return scope


def _docstring(node: ast.stmt | None) -> str:
    match node:
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return text.strip()
        case _:
            return ""


def _expression(text: str) -> ast.expr:
    """An annotation written as text; one that is not Python annotates with None."""
    try:
        return ast.parse(text[:2000], mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Constant(value=None)
