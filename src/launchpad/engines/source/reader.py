"""The reader of an engine's source: the files, what their names stand for, and what their functions would return.

It wires the rest of this package together and keeps the two questions that everything in it asks of everything else: what an
expression stands for, and what there is to loop over. It refuses to import or run anything, to know an engine (``extract_vllm``
and ``extract_sglang`` do), and to read on past its bounds.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from launchpad.engines.source.bounds import MAX_ITEMS, Budget, TooMuch
from launchpad.engines.source.calls import Calls
from launchpad.engines.source.classes import Classes
from launchpad.engines.source.expressions import Expressions
from launchpad.engines.source.modules import Modules
from launchpad.engines.source.names import Names
from launchpad.engines.source.statements import Statements
from launchpad.engines.source.targets import Targets
from launchpad.engines.source.values import UNKNOWN, ClassRef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launchpad.engines.source.values import FunctionRef, Intrinsic, Module, Scope


class Reader:
    """Reads names and simple code from a set of files.

    ``files`` maps paths below the package's parent (``vllm/envs.py``) to text. ``intrinsics`` answer calls of functions by their
    short name, before the function itself would be read. ``classes`` looks into the classes that are found. Whatever reads may
    raise TooMuch at a bound (``bounds``), and ImageError at a file that is not Python.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.intrinsics: dict[str, Intrinsic] = {}
        self.classes = Classes(self.evaluate)
        self._budget = Budget()
        self._modules = Modules(files)
        targets = Targets(self.evaluate, self.iterate)
        self._names = Names(self._modules, targets, self.evaluate, self._budget)
        statements = Statements(self._names, targets, self.evaluate, self.iterate, self._budget)
        self._calls = Calls(self.intrinsics, statements, self.evaluate, self.iterate, self._budget)
        expressions = Expressions(self._names, self.classes, targets, self.evaluate, self.iterate)
        self._by_kind: dict[type[ast.expr], Callable[..., object]] = {
            **expressions.by_kind(),
            ast.Call: self._calls.value,
        }

    @property
    def opened(self) -> tuple[str, ...]:
        """The paths of the files that were parsed."""
        return self._modules.opened

    def module(self, name: str) -> Module | None:
        """The file of a dotted module, parsed once; ``None`` where it is not among the files."""
        return self._modules.get(name)

    def get(self, module: Module, name: str) -> object:
        """What a name at the top of a file stands for; NOTHING where it is not bound there."""
        return self._names.get(module, name)

    def run(self, function: FunctionRef, args: list[object], kwargs: dict[str, object]) -> object:
        """What a function of the files returns when its body is read with these arguments."""
        return self._calls.run(function, args, kwargs)

    def evaluate(self, node: ast.expr, scope: Scope) -> object:
        """What an expression stands for, or UNKNOWN."""
        self._budget.step()
        with self._budget.deeper():
            value_of = self._by_kind.get(type(node))
            return UNKNOWN if value_of is None else value_of(node, scope)

    def iterate(self, value: object) -> list[object] | None:
        """The items of something that can be looped over; ``None`` where they are not known."""
        match value:
            case list() | tuple():
                items = list(value)
            case dict():
                items = list(value)
            case ClassRef() if self.classes.is_enum(value):
                items = list(self.classes.members(value))
            case _:
                return None
        if len(items) > MAX_ITEMS:
            raise TooMuch
        return items
