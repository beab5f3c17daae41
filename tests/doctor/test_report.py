"""Findings for other tools: SARIF as code hosts take it, JUnit XML as CI systems do, whatever stands in a message."""

from __future__ import annotations

import json
from typing import Any, Final
from xml.etree import ElementTree as ET  # what is read here was written here

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchpad.doctor.finding import Finding
from launchpad.doctor.report import junit, sarif

BLOCKS = Finding(
    "deepgemm.broken-pair",
    "blocks",
    "it has no kernels",
    "use another image",
    source="https://example.org/issue/1",
    as_of="2026-11-22",
    evidence="vLLM 0.27.1",
    hazard=True,
)
WARNS = Finding("publish.not-loopback", "warns", "anybody may ask", source="a talk")
INFORMS = Finding("image.not-pinned", "informs", "by tag only", "pin it")
ALL = (BLOCKS, WARNS, INFORMS)

_TEXT: Final = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
_LEVEL: Final = {"enum": ["none", "note", "warning", "error"]}
#: What SARIF 2.1.0 (sections 3.13, 3.14, 3.19, 3.27, 3.49) requires of the properties that we write; nothing else may stand there.
SARIF: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri", "pattern": "sarif-schema-2.1.0.json$"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": {"$ref": "#/$defs/run"}},
    },
    "$defs": {
        "run": {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "additionalProperties": False,
                    "properties": {"driver": {"$ref": "#/$defs/driver"}},
                },
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
        },
        "driver": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "rules": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/rule"}},
            },
        },
        "rule": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "helpUri": {"type": "string", "pattern": "^https://[^ ]+$"},
                "defaultConfiguration": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"level": _LEVEL},
                },
            },
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "level": _LEVEL,
                "message": _TEXT,
                "properties": {"type": "object"},
                "locations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["physicalLocation"],
                        "properties": {
                            "physicalLocation": {
                                "type": "object",
                                "required": ["artifactLocation"],
                                "properties": {
                                    "artifactLocation": {
                                        "type": "object",
                                        "required": ["uri"],
                                        # RFC 3986: no spaces, quotes, brackets, backslashes or letters beyond ASCII
                                        "properties": {
                                            "uri": {"type": "string", "pattern": r"^[!#$&-;=?-Z_a-z~%\[\]@]+$"}
                                        },
                                    }
                                },
                            }
                        },
                    },
                },
            },
        },
    },
}


def valid(document: dict[str, Any]) -> dict[str, Any]:
    jsonschema.Draft202012Validator(SARIF).validate(json.loads(json.dumps(document)))
    return document


def test_sarif_keeps_to_its_schema() -> None:
    valid(sarif(ALL, version="0.1.0", subject="/srv/profiles/mine.toml"))


def test_sarif_of_nothing_found_is_a_run_without_results() -> None:
    assert valid(sarif((), version="0.1.0", subject="mine.toml"))["runs"][0]["results"] == []


@pytest.mark.parametrize("subject", ["this rig", "/srv/my profiles/ä.toml", "a\\b", 'a"b', "4x<rig>"])
def test_a_place_in_sarif_is_a_uri_whatever_the_file_is_called(subject: str) -> None:
    valid(sarif(ALL, version="0.1.0", subject=subject))


def test_severities_are_sarifs_levels() -> None:
    results = sarif(ALL, version="1", subject="x")["runs"][0]["results"]
    assert [result["level"] for result in results] == ["error", "warning", "note"]


def test_a_finding_twice_is_one_rule_and_two_results() -> None:
    run = sarif((BLOCKS, BLOCKS), version="1", subject="x")["runs"][0]
    assert (len(run["tool"]["driver"]["rules"]), len(run["results"])) == (1, 2)


def test_a_source_that_is_no_address_is_no_help_uri() -> None:
    rules = {rule["id"]: rule for rule in sarif(ALL, version="1", subject="x")["runs"][0]["tool"]["driver"]["rules"]}
    assert ("helpUri" in rules[BLOCKS.id], "helpUri" in rules[WARNS.id]) == (True, False)


def test_a_source_with_words_behind_its_address_still_keeps_to_the_schema() -> None:
    valid(
        sarif((Finding("a.b", "warns", "m", source="https://example.org/x (models/a.md)"),), version="1", subject="x")
    )


def test_junit_fails_what_blocks_and_passes_the_rest_with_a_word() -> None:
    suite = ET.fromstring(junit(ALL, subject="mine"))
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "3", "1")
    assert [[child.tag for child in case] for case in suite] == [["failure"], ["system-out"], ["system-out"]]


def test_a_junit_failure_says_the_message_and_the_hint() -> None:
    failure = ET.fromstring(junit((BLOCKS,), subject="mine")).find("testcase/failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == (BLOCKS.message, "it has no kernels\nhint: use another image")


def test_junit_of_nothing_found_is_one_passed_case() -> None:
    suite = ET.fromstring(junit((), subject="mine"))
    assert (suite.get("tests"), suite.get("failures"), len(list(suite))) == ("1", "0", 1)


@given(text=st.text(), name=st.text(min_size=1))
def test_no_text_breaks_either_format(text: str, name: str) -> None:
    finding = Finding("a.b", "blocks", text, text, evidence=text, source=text)
    json.loads(json.dumps(sarif((finding,), version="1", subject=name)))
    ET.fromstring(junit((finding,), subject=name).encode())
