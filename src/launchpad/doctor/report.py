"""Findings in the formats that other tools read: SARIF 2.1.0 for code hosts, JUnit XML for CI. Pure text; nothing is judged here.

Sources: OASIS SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/), and the JUnit XML that CI systems agree on
(https://github.com/testmoapp/junitxml), both read 2026-11-23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from xml.etree import ElementTree as ET  # written, never parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launchpad.doctor.finding import Finding

_LEVEL: Final = {"blocks": "error", "warns": "warning", "informs": "note"}
_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: What RFC 3986 gives a meaning to, and is left as it stands in an address.
_OF_A_URI: Final = ":/?#[]@!$&'()*+,;=%"


def sarif(findings: Sequence[Finding], *, version: str, subject: str) -> dict[str, Any]:
    """One SARIF run; ``subject`` is what was examined (a profile's file, or the rig) and stands as the location."""
    by_id = {finding.id: finding for finding in reversed(findings)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "launchpad doctor",
                        "version": version,
                        "rules": [_rule(by_id[key]) for key in sorted(by_id)],
                    }
                },
                "results": [
                    {
                        "ruleId": finding.id,
                        "level": _LEVEL[finding.severity],
                        "message": {"text": finding.message + (f" Fix: {finding.hint}" if finding.hint else "")},
                        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(subject)}}}],
                        "properties": {"as_of": finding.as_of, "evidence": finding.evidence},
                    }
                    for finding in findings
                ],
            }
        ],
    }


def _rule(finding: Finding) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": finding.id, "defaultConfiguration": {"level": _LEVEL[finding.severity]}}
    address = (finding.source or "").partition(" ")[0]  # words may follow: which file of that repository
    if address.startswith("https://"):
        rule["helpUri"] = quote(address, safe=_OF_A_URI)
    return rule


def _uri(subject: str) -> str:
    """A path, or a rig's name, as SARIF's ``uri`` wants it (RFC 3986): spaces and what lies beyond ASCII are escaped."""
    return quote(subject.encode("utf-8", "replace"), safe="/")


def junit(findings: Sequence[Finding], *, subject: str) -> str:
    """A JUnit suite: what blocks failed, what warns or informs passed with a word; nothing found is one passed case."""
    suite = ET.Element("testsuite", name=f"launchpad doctor: {_printable(subject)}")
    for finding in findings:
        case = ET.SubElement(suite, "testcase", classname="launchpad.doctor", name=finding.id)
        text = _printable(finding.message + (f"\nhint: {finding.hint}" if finding.hint else ""))
        if finding.severity == "blocks":
            ET.SubElement(case, "failure", message=_printable(finding.message), type=finding.id).text = text
        else:
            ET.SubElement(case, "system-out").text = f"{finding.severity}: {text}"
    if not findings:
        ET.SubElement(suite, "testcase", classname="launchpad.doctor", name="nothing found")
    suite.set("tests", str(max(len(findings), 1)))
    suite.set("failures", str(sum(finding.severity == "blocks" for finding in findings)))
    ET.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode")


def _printable(text: str) -> str:
    """XML 1.0 cannot carry control characters, not even escaped."""
    return "".join(char if char >= " " or char in "\n\t" else "?" for char in text)
