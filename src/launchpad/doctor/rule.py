"""A hazard rule: dated knowledge about a bad combination, and the look that recognises it.

A rule is data with one pure function: ``look`` yields what it sees in a :class:`~launchpad.doctor.case.Case`, nothing where all is
well or where what it needs is unknown. Every rule says where its knowledge comes from, as of when, and how it was come by; a test
fails for a rule that does not. Rules live in ``doctor/rules/``, one file per subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from launchpad.doctor.case import Case
from launchpad.doctor.finding import Finding, Severity, worst_first

if TYPE_CHECKING:
    from collections.abc import Collection

#: How a rule's author came to know: ran into it here, measured it, concluded it from sources, or was told.
Basis = Literal["seen", "measured", "inferred", "reported"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look saw: a message naming the user's thing, the evidence, and a hint or severity where the rule's own do not fit."""

    message: str
    evidence: str | None = None
    hint: str | None = None
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``versions`` says in words which versions it is about; ``title`` is what ``doctor --explain`` opens with."""

    id: str
    severity: Severity
    title: str
    look: Callable[[Case], Iterable[Seen]]
    hint: str
    source: str
    as_of: str
    basis: Basis
    versions: str = "all"
    explain: str = ""

    def findings(self, case: Case) -> Iterator[Finding]:
        """The findings of this rule on ``case``."""
        for seen in self.look(case):
            yield Finding(
                id=self.id,
                severity=seen.severity or self.severity,
                message=seen.message,
                hint=seen.hint or self.hint,
                source=self.source,
                as_of=self.as_of,
                evidence=seen.evidence,
                hazard=True,
            )


def examine(
    case: Case, rules: Iterable[Rule], *, only: Collection[str] = (), skip: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Every finding of ``rules`` on ``case``, worst first. ``only`` and ``skip`` take ids or their first part (``gpu``)."""

    def named(rule: Rule, names: Collection[str]) -> bool:
        return rule.id in names or rule.id.split(".", 1)[0] in names

    chosen = (rule for rule in rules if (not only or named(rule, only)) and not named(rule, skip))
    return worst_first(finding for rule in chosen for finding in rule.findings(case))
