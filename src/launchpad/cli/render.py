"""Everything launchpad prints: tables, text and JSON.

stdout carries answers, stderr carries progress and errors. JSON is one document (or one object a line for events) with stable
names. Nothing here asks or decides anything; no table library is imported, because ``status`` must be quick.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TextIO

from launchpad.units import show_bytes, show_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from launchpad.deploy.plan import Plan
    from launchpad.deploy.spec import Spec, Standing
    from launchpad.doctor.finding import Finding
    from launchpad.errors import LaunchpadError
    from launchpad.rig.facts import RigFacts
    from launchpad.store.journal import Event


def out(text: str = "") -> None:
    """An answer, on stdout."""
    print(text, flush=True)


def say(text: str = "") -> None:
    """Progress or a remark, on stderr."""
    print(text, file=sys.stderr, flush=True)


def answer_json(value: Any) -> None:
    """One JSON document on stdout."""
    out(json.dumps(value, indent=2, ensure_ascii=False))


def line_json(value: Any) -> None:
    """One JSON object on one line of stdout."""
    out(json.dumps(value, ensure_ascii=False))


def error(problem: LaunchpadError) -> None:
    """An error as a person reads it: what, every problem, and what to do."""
    mark = _paint("31;1", "error", sys.stderr)
    say(f"{mark}: {problem.message}")
    for line in getattr(problem, "problems", ()):
        say(f"  {line}")
    if problem.hint:
        say(f"{_paint('36', 'hint', sys.stderr)}: {problem.hint}")


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Left-aligned columns, two spaces apart, no trailing white space."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def findings(found: Iterable[Finding]) -> None:
    """Findings on stderr, each with its hint."""
    colours = {"blocks": "31;1", "warns": "33", "informs": "36"}
    for finding in found:
        say(f"{_paint(colours[finding.severity], finding.severity, sys.stderr)}  {finding.id}: {finding.message}")
        if finding.hint:
            say(f"        {finding.hint}")


def diagnosis(subject: str, facts: RigFacts | None, found: Sequence[Finding], unseen: Sequence[str]) -> str:
    """What doctor says to a person: what was looked at, findings worst first under their severity, and a count."""
    lines = [f"{subject}" + (f"  on  {facts.title}" if facts is not None else "")]
    titles = {"blocks": "what blocks", "warns": "warnings", "informs": "good to know"}
    for severity, title in titles.items():
        of_these = [finding for finding in found if finding.severity == severity]
        if of_these:
            lines.extend(["", f"{title} ({len(of_these)})"])
        for finding in of_these:
            lines.append(f"  {finding.id}: {finding.message}")
            if finding.hint:
                lines.append(f"      fix: {finding.hint}")
            if finding.evidence:
                lines.append(f"      seen: {finding.evidence}")
    if unseen:
        lines.extend(["", "not looked at", *(f"  {item}" for item in unseen)])
    counts = {key: sum(finding.severity == key for finding in found) for key in _COUNTED}
    words = (f"{counts[key]} {one if counts[key] == 1 else many}" for key, (one, many) in _COUNTED.items())
    return "\n".join([*lines, "", ", ".join(words)])


_COUNTED = {"blocks": ("blocking", "blocking"), "warns": ("warning", "warnings"), "informs": ("remark", "remarks")}


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding under its published names."""
    return {
        "id": finding.id,
        "severity": finding.severity,
        "message": finding.message,
        "hint": finding.hint,
        "source": finding.source,
        "as_of": finding.as_of,
        "evidence": finding.evidence,
    }


def plan(spec: Spec, made: Plan, *, warm: bool) -> str:
    """A spec's essentials and the steps to it."""
    essentials = [
        ("deployment", spec.name + (f"  (REHEARSAL on recorded rig {spec.rehearsal.rig})" if spec.rehearsal else "")),
        ("profile", spec.summary),
        ("engine", spec.engine + (f", image {spec.image.reference}" if spec.image is not None else "")),
        ("model", spec.model + (f" from {spec.model_path}" if spec.model_path else "")),
        *([("rig", spec.rig), ("gpus", gpus_text(spec))] if spec.hosted is None else []),
        ("endpoint", f"{spec.endpoint}/v1"),
        *([("cache", _cache(spec, warm=warm))] if spec.hosted is None else []),
        *([("fallback", f"{spec.fallback}, for people: nothing is sent there by itself")] if spec.fallback else []),
        ("spec", spec.hash),
    ]
    width = max(len(name) for name, _ in essentials)
    lines = [f"{name:<{width}}  {value}" for name, value in essentials]
    if spec.standing is not None:
        lines.append(f"{'status':<{width}}  {standing(spec.standing)}")
    lines.extend(f"{'caveat':<{width}}  {caveat}" for caveat in spec.caveats)
    lines.extend(f"{'changed':<{width}}  {change}" for change in made.changes)
    return "\n".join([*lines, "", str(made)])


def gpus_text(spec: Spec) -> str:
    """``4x NVIDIA RTX PRO 6000 Blackwell (0, 1, 2, 3)``."""
    names = sorted({gpu.name for gpu in spec.gpus})
    groups = ((name, [str(gpu.index) for gpu in spec.gpus if gpu.name == name]) for name in names)
    return " + ".join(f"{len(indices)}x {name} ({', '.join(indices)})" for name, indices in groups) or "none"


_VOUCHED = {"verified": "verified by upstream, ", "measured": "measured by us, ", "composed": "composed, from "}


def standing(said: Standing) -> str:
    """``composed, from https://... as of 2026-11-22: not run by us``; of what says nothing, that nobody vouches for it."""
    if said.status is None:
        return "yours: nobody has vouched for it"
    return f"{_VOUCHED.get(said.status, said.status + ', ')}{said.source} as of {said.as_of}: {said.says}"


def _cache(spec: Spec, *, warm: bool) -> str:
    if spec.cache is None:
        return "none: every start is cold"
    return f"{'warm' if warm else 'cold'}, volume {spec.cache.volume} ({spec.cache.keyed_by})"


def event(item: Event) -> str:
    """An event in words, with its local time of day left in UTC: ``2026-11-23 00:49:55Z  STARTING -> READY  ...``."""
    when = item.at.strftime("%Y-%m-%d %H:%M:%SZ")
    what = f"{item.from_} -> {item.to}" if item.to else item.event
    hint = (item.detail or {}).get("hint")
    return f"{when}  {what:<22}  {item.reason}" + (f"\n{'':46}hint: {hint}" if hint else "")


def gpu_text(index: int, used: int | None, power: float | None) -> str:
    """One GPU in a few words; what is unknown is said."""
    memory = show_bytes(used) if used is not None else "memory unknown"
    watts = f"{power:.0f} W" if power is not None else "power unknown"
    return f"GPU {index}: {memory}, {watts}"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, in words."""
    return "unknown" if moment is None else show_duration(now - moment)


def colour(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that wants colour (https://no-color.org)."""
    import os

    return stream.isatty() and "NO_COLOR" not in os.environ


def _paint(code: str, text: str, stream: TextIO) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour(stream) else text
