"""The files of a package, each parsed once when somebody asks for it, and the statement that binds each name at its top.

It refuses to evaluate (``names`` does), to look for a file outside the mapping it was given, and to read a file that is too
large or is not Python.
"""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING

from launchpad.engines.source.bounds import MAX_FILE_CHARS
from launchpad.engines.source.values import Module
from launchpad.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Modules:
    """Files by dotted name. ``files`` maps paths below the package's parent (``vllm/envs.py``) to text."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._found: dict[str, Module | None] = {}

    @property
    def opened(self) -> tuple[str, ...]:
        """The paths of the files that were parsed."""
        return tuple(sorted(module.path for module in self._found.values() if module is not None))

    def get(self, name: str) -> Module | None:
        """The file of a dotted module, parsed once; ``None`` where it is not among the files. Raises as :func:`parse` does."""
        if name not in self._found:
            stem = name.replace(".", "/")
            path = next((item for item in (f"{stem}.py", f"{stem}/__init__.py") if item in self._files), None)
            self._found[name] = None if path is None else self._load(name, path)
        return self._found[name]

    def _load(self, name: str, path: str) -> Module:
        module = Module(name, path, parse(path, self._files[path]))
        _bind(module.tree.body, module.bindings)
        return module


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


def base_of(node: ast.ImportFrom, module: Module) -> str:
    """The dotted module that a ``from ... import`` in a file names, relative or not."""
    base = node.module or ""
    if not node.level:
        return base
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + (1 if module.path.endswith("/__init__.py") else 0)]
    return ".".join([*parts, base] if base else parts)


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string constant in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _bind(body: list[ast.stmt], found: dict[str, ast.stmt], *, weak: bool = False) -> None:
    """Notes what statements bind; a weak one (of a branch that is rather not taken) gives way to any other."""
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
