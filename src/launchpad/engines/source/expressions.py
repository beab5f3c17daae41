"""What each kind of expression stands for; calls are ``calls``'.

It refuses to take one branch of what it does not know: a condition, a loop over unknown items, an unknown part of a display
makes the whole expression UNKNOWN.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from launchpad.engines.source.bounds import MAX_TEXT
from launchpad.engines.source.operations import binary, compared, truth, unary, unique
from launchpad.engines.source.values import (
    NOTHING,
    UNKNOWN,
    ClassRef,
    Made,
    Member,
    Module,
    Scope,
    Super,
    Symbol,
    generic,
    is_type,
    last_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchpad.engines.source.classes import Classes
    from launchpad.engines.source.names import Names
    from launchpad.engines.source.targets import Targets
    from launchpad.engines.source.values import Evaluate, Iterate


class Expressions:
    """Evaluates one expression of a kind, and by ``evaluate`` those it consists of."""

    def __init__(self, names: Names, classes: Classes, targets: Targets, evaluate: Evaluate, iterate: Iterate) -> None:
        self._names = names
        self._classes = classes
        self._targets = targets
        self._evaluate = evaluate
        self._iterate = iterate

    def by_kind(self) -> dict[type[ast.expr], Callable[..., object]]:
        """What evaluates each kind of expression, given the node and the scope; a kind that is not here is UNKNOWN."""
        return {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.List: self._sequence,
            ast.Tuple: self._sequence,
            ast.Set: self._sequence,
            ast.Dict: self._dict,
            ast.Subscript: self._subscript,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.BoolOp: self._boolean,
            ast.Compare: self._compare,
            ast.IfExp: self._conditional,
            ast.JoinedStr: self._format,
            ast.ListComp: self._comprehension,
            ast.GeneratorExp: self._comprehension,
            ast.SetComp: self._comprehension,
            ast.Lambda: self._lambda,
        }

    # --- names, attributes, constants --------------------------------------------------------------------------------------

    def _constant(self, node: ast.Constant, _scope: Scope) -> object:
        return node.value if node.value is not Ellipsis else Symbol("...")

    def _name(self, node: ast.Name, scope: Scope) -> object:
        if node.id in scope.names:
            return scope.names[node.id]
        value = self._names.get(scope.module, node.id)
        return Symbol(node.id) if value is NOTHING else value

    def _attribute(self, node: ast.Attribute, scope: Scope) -> object:
        value, name = self._evaluate(node.value, scope), node.attr
        found: object = UNKNOWN
        match value:
            case Symbol():
                found = Symbol(f"{value.dotted}.{name}")
            case Module():
                found = self._names.get(value, name)
                if found is NOTHING:
                    found = self._names.submodule(value.name, name)
            case ClassRef():
                found = self._classes.attribute(value, name)
            case Super():
                ancestors = self._classes.bases(value.owner)[1:]
                inherited = (self._classes.attribute(base, name, value.bound) for base in ancestors)
                found = next((item for item in inherited if item is not NOTHING), UNKNOWN)
            case Member() if name in {"name", "value"}:
                found = value.name if name == "name" else value.value
            case Made() if name not in value.kwargs and isinstance(value.of, ClassRef):
                found = self._classes.attribute(value.of, name)
            case Made():
                found = value.kwargs.get(name, UNKNOWN)
            case _:
                pass
        return UNKNOWN if found is NOTHING else found

    def _lambda(self, _node: ast.Lambda, _scope: Scope) -> object:
        return Symbol("lambda")

    # --- displays ----------------------------------------------------------------------------------------------------------

    def _sequence(self, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> object:
        items: list[object] = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                inner = self._iterate(self._evaluate(element.value, scope))
                if inner is None:
                    return UNKNOWN
                items.extend(inner)
            else:
                items.append(self._evaluate(element, scope))
        if isinstance(node, ast.Set):
            return unique(items)
        return items if isinstance(node, ast.List) else tuple(items)

    def _dict(self, node: ast.Dict, scope: Scope) -> object:
        found: dict[object, object] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                inner = self._evaluate(value, scope)
                if not isinstance(inner, dict):
                    return UNKNOWN
                found.update(inner)
                continue
            name = self._evaluate(key, scope)
            if not isinstance(name, (str, int, Symbol)):
                return UNKNOWN
            found[name] = self._evaluate(value, scope)
        return found

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, scope: Scope) -> object:
        if len(node.generators) != 1:
            return UNKNOWN
        loop = node.generators[0]
        items = self._iterate(self._evaluate(loop.iter, scope))
        if items is None:
            return UNKNOWN
        found = []
        inner = Scope(scope.module, dict(scope.names), scope.function)
        for item in items:
            self._targets.assign(loop.target, item, inner)
            tests = [truth(self._evaluate(test, inner)) for test in loop.ifs]
            if None in tests:
                return UNKNOWN
            if all(tests):
                found.append(self._evaluate(node.elt, inner))
        return unique(found) if isinstance(node, ast.SetComp) else found

    def _format(self, node: ast.JoinedStr, scope: Scope) -> object:
        parts = []
        for item in node.values:
            value = self._evaluate(item.value if isinstance(item, ast.FormattedValue) else item, scope)
            parts.append(str(value) if isinstance(value, (str, int)) else "…")
        return "".join(parts)[:MAX_TEXT]

    # --- operators ---------------------------------------------------------------------------------------------------------

    def _subscript(self, node: ast.Subscript, scope: Scope) -> object:
        value, index = self._evaluate(node.value, scope), self._evaluate(node.slice, scope)
        if is_type(value):
            return generic(last_name(value), index if isinstance(index, tuple) else (index,))
        if isinstance(value, dict) and isinstance(index, (str, int)):
            return value.get(index, UNKNOWN)
        if isinstance(value, (list, tuple)) and isinstance(index, int) and -len(value) <= index < len(value):
            return value[index]
        return UNKNOWN

    def _binary(self, node: ast.BinOp, scope: Scope) -> object:
        return binary(node.op, self._evaluate(node.left, scope), self._evaluate(node.right, scope))

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> object:
        return unary(node.op, self._evaluate(node.operand, scope))

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> object:
        stop = isinstance(node.op, ast.Or)
        unknown = False
        value: object = UNKNOWN
        for item in node.values:
            value = self._evaluate(item, scope)
            known = truth(value)
            if known is stop and not unknown:
                return value
            unknown = unknown or known is None
        return UNKNOWN if unknown else value

    def _compare(self, node: ast.Compare, scope: Scope) -> object:
        left, right = self._evaluate(node.left, scope), self._evaluate(node.comparators[0], scope)
        return compared(node.ops[0], left, right, self._iterate) if len(node.ops) == 1 else UNKNOWN

    def _conditional(self, node: ast.IfExp, scope: Scope) -> object:
        known = truth(self._evaluate(node.test, scope))
        if known is None:
            return UNKNOWN
        return self._evaluate(node.body if known else node.orelse, scope)
