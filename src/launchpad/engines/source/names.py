"""What a name at the top of a file stands for, followed through imports into other files and remembered there.

It refuses to go round in circles: a name that is asked for while it is being worked out is UNKNOWN. A name that the files do not
hold is a Symbol by its dotted name; no installed package is ever looked into.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from launchpad.engines.source.modules import base_of
from launchpad.engines.source.values import NOTHING, UNKNOWN, ClassRef, FunctionRef, Scope, Symbol

if TYPE_CHECKING:
    from launchpad.engines.source.bounds import Budget
    from launchpad.engines.source.modules import Modules
    from launchpad.engines.source.targets import Targets
    from launchpad.engines.source.values import Evaluate, Module


class Names:
    """The names at the top of each of some files."""

    def __init__(self, modules: Modules, targets: Targets, evaluate: Evaluate, budget: Budget) -> None:
        self._modules = modules
        self._targets = targets
        self._evaluate = evaluate
        self._budget = budget
        self._busy: set[tuple[str, str]] = set()

    def get(self, module: Module, name: str) -> object:
        """What a name at the top of a file stands for; NOTHING where it is not bound there."""
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

    def submodule(self, base: str, name: str) -> Module | Symbol:
        """The file ``base.name``, or the outside name."""
        return self._modules.get(f"{base}.{name}") or Symbol(f"{base}.{name}")

    def bring_in(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        """Binds in ``scope`` what an import statement brings in."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                target = alias.name if alias.asname else alias.name.partition(".")[0]
                scope.names[alias.asname or target] = self._modules.get(target) or Symbol(target)
            return
        base = base_of(node, scope.module)
        for alias in node.names:
            scope.names[alias.asname or alias.name] = self._imported(base, alias.name)

    def _imported(self, base: str, name: str) -> object:
        self._budget.step()
        found = self._modules.get(base)
        value = NOTHING if found is None else self.get(found, name)
        return self.submodule(base, name) if value is NOTHING else value

    def _starred(self, module: Module, name: str) -> object:
        """What ``from other import *`` at the top of a file may bring in under a name."""
        for node in module.tree.body:
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                found = self._modules.get(base_of(node, module))
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
                self.bring_in(node, scope)
                return scope.names.get(name, UNKNOWN)
            case ast.Assign():
                self._targets.assign(node.targets[0], self._evaluate(node.value, scope), scope)
                return scope.names.get(name, UNKNOWN)
            case ast.AnnAssign(value=ast.expr() as value):
                return self._evaluate(value, scope)
            case _:
                return UNKNOWN
