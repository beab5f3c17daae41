"""What a failed test tells besides: everything that its fixtures saw."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import pytest


@runtime_checkable
class Witness(Protocol):
    """A fixture that can tell what went on."""

    def describe(self) -> str:
        """Everything that helps to understand a failure."""


def tell_what_was_seen(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add to the report of a failed test what its witnesses, or the rig of its fixtures, have seen."""
    if not (report.failed and report.when == "call" and isinstance(item, pytest.Function)):
        return
    seen = {
        id(one): one for value in item.funcargs.values() if isinstance(one := getattr(value, "rig", value), Witness)
    }
    for witness in seen.values():
        report.sections.append((f"what the {type(witness).__name__.lower()} saw", witness.describe()))
