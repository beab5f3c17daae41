"""What an assignment, a ``+=`` and a ``del`` change: local names, and the entries of dictionaries.

It refuses to change an attribute of anything, an item of a list, and a name outside the scope it is given.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from launchpad.engines.source.operations import added
from launchpad.engines.source.values import UNKNOWN

if TYPE_CHECKING:
    from launchpad.engines.source.values import Evaluate, Iterate, Scope


class Targets:
    """Writes to what stands left of a ``=``."""

    def __init__(self, evaluate: Evaluate, iterate: Iterate) -> None:
        self._evaluate = evaluate
        self._iterate = iterate

    def assign(self, target: ast.expr, value: object, scope: Scope) -> None:
        """``target = value``; the parts of a tuple are UNKNOWN where the value is not as many items."""
        match target:
            case ast.Name():
                scope.names[target.id] = value
            case ast.Tuple() | ast.List():
                items = self._iterate(value)
                known = items is not None and len(items) == len(target.elts)
                for place, element in enumerate(target.elts):
                    self.assign(element, items[place] if known and items is not None else UNKNOWN, scope)
            case ast.Subscript():
                holder, index = self._evaluate(target.value, scope), self._evaluate(target.slice, scope)
                if isinstance(holder, dict) and isinstance(index, (str, int)):
                    holder[index] = value
            case _:
                pass

    def augment(self, node: ast.AugAssign, scope: Scope) -> None:
        """``target += value``; any other operator is passed over."""
        if isinstance(node.target, (ast.Name, ast.Subscript)) and isinstance(node.op, ast.Add):
            before = self._evaluate(node.target, scope)
            self.assign(node.target, added(before, self._evaluate(node.value, scope)), scope)

    def delete(self, node: ast.Delete, scope: Scope) -> None:
        """``del holder[index]`` of a dictionary."""
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                holder, index = self._evaluate(target.value, scope), self._evaluate(target.slice, scope)
                if isinstance(holder, dict) and isinstance(index, (str, int)):
                    holder.pop(index, None)
