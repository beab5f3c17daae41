"""What Python's operators make of values that are known. Pure: no tree is walked and no name looked up.

It refuses to grow without end (a product of large numbers, a list of 20,000 items, a text of 200,000 characters) and to decide
what hangs on a value that is not known.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from launchpad.engines.source.bounds import MAX_ITEMS, MAX_TEXT, TooMuch
from launchpad.engines.source.values import UNKNOWN, Symbol, generic, is_type

if TYPE_CHECKING:
    from launchpad.engines.source.values import Iterate


def truth(value: object) -> bool | None:
    """Whether a value counts as true; ``None`` where that is not known."""
    if isinstance(value, Symbol) and value.last == "TYPE_CHECKING":
        return False
    return bool(value) if _plain(value) else None


def added(left: object, right: object) -> object:
    """``left + right``, or UNKNOWN.

    Raises:
        TooMuch: a list of more than 20,000 items.
    """
    if isinstance(left, str) and isinstance(right, str):
        return (left + right)[:MAX_TEXT]
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) + len(right) > MAX_ITEMS:
            raise TooMuch
        return [*left, *right]
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return left + right
    return UNKNOWN


def binary(operator: ast.operator, left: object, right: object) -> object:
    """What an operator between two values gives: a union of types, dictionaries as one, a sum, a product; else UNKNOWN."""
    match operator:
        case ast.BitOr() if is_type(left) or is_type(right):
            return generic("Union", (left, right))
        case ast.BitOr() if isinstance(left, dict) and isinstance(right, dict):
            return {**left, **right}
        case ast.Add():
            return added(left, right)
        case ast.Mult() if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return left * right if abs(left) < 1e12 and abs(right) < 1e12 else UNKNOWN
        case _:
            return UNKNOWN


def unary(operator: ast.unaryop, value: object) -> object:
    """What ``-`` or ``not`` before a value gives, or UNKNOWN."""
    match operator:
        case ast.USub() if isinstance(value, (int, float)):
            return -value
        case ast.Not():
            known = truth(value)
            return UNKNOWN if known is None else not known
        case _:
            return UNKNOWN


def compared(operator: ast.cmpop, left: object, right: object, iterate: Iterate) -> object:
    """What comparing two values gives, by equality or by ``in``; else UNKNOWN. ``is`` asks for equality here."""
    if not _plain(left) or not _plain(right):
        return UNKNOWN
    match operator:
        case ast.Eq() | ast.Is():
            return left == right
        case ast.NotEq() | ast.IsNot():
            return left != right
        case ast.In() | ast.NotIn():
            items = iterate(right)
            if items is None:
                return UNKNOWN
            return (left in items) is isinstance(operator, ast.In)
        case _:
            return UNKNOWN


def unique(items: list[object]) -> list[object]:
    """The items of a set, in the order in which they are written; some of them cannot be hashed."""
    found: list[object] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, list, tuple, dict))
