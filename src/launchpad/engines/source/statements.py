"""Statements, read in order, and what they return.

It refuses to drop what may happen: a branch whose condition is not known is read as if it were taken, and so is the body of a
``with`` or ``try``. It refuses to loop without a known end: ``while`` is passed over, as are ``raise`` and ``assert``.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from launchpad.engines.source.operations import truth
from launchpad.engines.source.values import NOTHING, FunctionRef

if TYPE_CHECKING:
    from launchpad.engines.source.bounds import Budget
    from launchpad.engines.source.names import Names
    from launchpad.engines.source.targets import Targets
    from launchpad.engines.source.values import Evaluate, Iterate, Scope


class Statements:
    """Reads the bodies of functions, and of what stands in them."""

    def __init__(self, names: Names, targets: Targets, evaluate: Evaluate, iterate: Iterate, budget: Budget) -> None:
        self._names = names
        self._targets = targets
        self._evaluate = evaluate
        self._iterate = iterate
        self._budget = budget

    def block(self, body: list[ast.stmt], scope: Scope) -> object:
        """Reads statements in order; what they return, or NOTHING. A branch that may be taken is read as if it were."""
        maybe: object = NOTHING
        for node in body:
            self._budget.step()
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
                return True, None if node.value is None else self._evaluate(node.value, scope)
            case ast.If():
                return self._if(node, scope)
            case ast.With() | ast.Try():
                return False, self.block(node.body, scope)
            case ast.For():
                for item in self._iterate(self._evaluate(node.iter, scope)) or ():
                    self._targets.assign(node.target, item, scope)
                    self.block(node.body, scope)
            case _:
                self._simple(node, scope)
        return False, NOTHING

    def _if(self, node: ast.If, scope: Scope) -> tuple[bool, object]:
        known = truth(self._evaluate(node.test, scope))
        if known is not None:
            value = self.block(node.body if known else node.orelse, scope)
            return value is not NOTHING, value
        first, second = self.block(node.body, scope), self.block(node.orelse, scope)
        return False, second if second is not NOTHING else first

    def _simple(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Expr():
                self._evaluate(node.value, scope)
            case ast.Assign():
                value = self._evaluate(node.value, scope)
                for target in node.targets:
                    self._targets.assign(target, value, scope)
            case ast.AnnAssign(value=ast.expr() as expression):
                self._targets.assign(node.target, self._evaluate(expression, scope), scope)
            case ast.AugAssign():
                self._targets.augment(node, scope)
            case ast.Delete():
                self._targets.delete(node, scope)
            case ast.Import() | ast.ImportFrom():
                self._names.bring_in(node, scope)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                scope.names[node.name] = FunctionRef(scope.module, node)
            case _:
                pass
