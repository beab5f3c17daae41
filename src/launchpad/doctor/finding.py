"""What a check saw, as a value.

A *check* is a function that looks, a *hazard* is a known bad combination, a *finding* is what was seen: id, severity, message,
hint, source. A blocking finding stops a launch: with exit 4 where it is a hazard, with exit 1 where the person can simply mend
it (a port in use, a missing model). Nothing here looks at anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from launchpad.errors import EXIT_BLOCKED, EXIT_OK, EXIT_USER

if TYPE_CHECKING:
    from collections.abc import Iterable

Severity = Literal["blocks", "warns", "informs"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing seen. ``source`` and ``as_of`` say where knowledge comes from; a plain observation has neither."""

    id: str
    severity: Severity
    message: str
    hint: str | None = None
    source: str | None = None
    as_of: str | None = None
    evidence: str | None = None
    hazard: bool = False


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Blocking findings first, then warnings, then information; by id within each."""
    order = {"blocks": 0, "warns": 1, "informs": 2}
    return tuple(sorted(findings, key=lambda finding: (order[finding.severity], finding.id)))


def exit_code(findings: Iterable[Finding]) -> int:
    """What a script is told: 0 nothing blocks, 1 something blocks and can be mended, 4 a hazard blocks."""
    blocking = [finding for finding in findings if finding.severity == "blocks"]
    if not blocking:
        return EXIT_OK
    return EXIT_BLOCKED if any(finding.hazard for finding in blocking) else EXIT_USER
