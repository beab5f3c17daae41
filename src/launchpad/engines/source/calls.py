"""Calls: the files' own functions by reading their bodies, intrinsics and stand-ins by their answer, anything else as Made.

It refuses to run anything: calling a class or an outside function gives only the note of what was called and with what.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from launchpad.engines.source import standins
from launchpad.engines.source.values import (
    NOTHING,
    UNKNOWN,
    ClassRef,
    FunctionRef,
    Made,
    Scope,
    Super,
    Symbol,
    last_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.engines.source.bounds import Budget
    from launchpad.engines.source.statements import Statements
    from launchpad.engines.source.values import Evaluate, Intrinsic, Iterate


class Calls:
    """Answers calls. ``intrinsics`` answer by a function's short name, before the function itself would be read."""

    def __init__(
        self,
        intrinsics: Mapping[str, Intrinsic],
        statements: Statements,
        evaluate: Evaluate,
        iterate: Iterate,
        budget: Budget,
    ) -> None:
        self._intrinsics = intrinsics
        self._statements = statements
        self._evaluate = evaluate
        self._iterate = iterate
        self._budget = budget

    def value(self, node: ast.Call, scope: Scope) -> object:
        """What a call expression stands for, or UNKNOWN."""
        if isinstance(node.func, ast.Name) and node.func.id == "super" and scope.function and scope.function.owner:
            return Super(scope.function.owner, scope.function.bound or scope.function.owner)
        arguments = self._arguments(node, scope)
        if arguments is None:
            return UNKNOWN
        args, kwargs = arguments
        if isinstance(node.func, ast.Attribute):
            receiver = self._evaluate(node.func.value, scope)
            value = standins.method(self._iterate, receiver, node.func.attr, args, kwargs)
            if value is not NOTHING:
                return value
        return self._call(self._evaluate(node.func, scope), args, kwargs)

    def _arguments(self, node: ast.Call, scope: Scope) -> tuple[list[object], dict[str, object]] | None:
        """The arguments by place and by name; ``**`` stands among the names for some that are not known."""
        args: list[object] = []
        for item in node.args:
            if isinstance(item, ast.Starred):
                inner = self._iterate(self._evaluate(item.value, scope))
                if inner is None:
                    return None
                args.extend(inner)
            else:
                args.append(self._evaluate(item, scope))
        kwargs: dict[str, object] = {}
        for keyword in node.keywords:
            value = self._evaluate(keyword.value, scope)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            elif isinstance(value, dict):
                kwargs.update({str(name): item for name, item in value.items()})
            else:
                kwargs["**"] = UNKNOWN
        return args, kwargs

    def _call(self, function: object, args: list[object], kwargs: dict[str, object]) -> object:
        name = last_name(function)
        if name in self._intrinsics:
            return self._intrinsics[name](args, kwargs)
        if isinstance(function, Symbol):
            value = standins.function(self._iterate, function.dotted, args)
            return Made(function, tuple(args), kwargs) if value is NOTHING else value
        if isinstance(function, ClassRef):
            return Made(function, tuple(args), kwargs)
        if isinstance(function, FunctionRef):
            return self.run(function, args, kwargs)
        return UNKNOWN

    def run(self, function: FunctionRef, args: list[object], kwargs: dict[str, object]) -> object:
        """What a function of the files returns when its body is read with these arguments.

        Raises:
            TooMuch: the call stands too deep.
        """
        names: dict[str, object] = {}
        decorators = {last_name(self._evaluate(item, Scope(function.module))) for item in function.node.decorator_list}
        if "classmethod" in decorators and function.bound is not None:
            args = [function.bound, *args]
        parameters = [*function.node.args.posonlyargs, *function.node.args.args]
        defaults = function.node.args.defaults
        for parameter, default in zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True):
            names[parameter.arg] = self._evaluate(default, Scope(function.module))
        names.update({parameter.arg: value for parameter, value in zip(parameters, args, strict=False)})
        names.update({name: value for name, value in kwargs.items() if name != "**"})
        with self._budget.deeper():
            value = self._statements.block(function.node.body, Scope(function.module, names, function))
        return None if value is NOTHING else value
