"""The flags and variables of a spec, as a release would judge them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchpad.doctor.flags import flag_findings, version_of
from launchpad.engines.schemas import load_schema
from tests.deploy.specs import profile, spec

if TYPE_CHECKING:
    from launchpad.deploy.spec import Spec


def env_findings(made: Spec) -> list[str]:
    schema = load_schema("sglang", "0.5.16")
    assert schema is not None
    return [item.evidence or "" for item in flag_findings(made, schema) if item.id == "flags.unknown-env"]


def test_a_variable_that_moves_a_cache_onto_its_volume_is_ours_and_nobody_is_told_to_take_it_out() -> None:
    """SGLANG_JIT_CACHE_DIR came with 0.5.18, and is said to every release."""
    found = spec()
    assert "SGLANG_JIT_CACHE_DIR" in dict(found.server.env)
    assert env_findings(found) == []


def test_the_same_variable_said_by_the_profile_to_go_elsewhere_is_judged() -> None:
    found = spec(profile(cache={"enabled": False}, env={"SGLANG_JIT_CACHE_DIR": "/elsewhere"}))
    assert env_findings(found) == ["SGLANG_JIT_CACHE_DIR (sglang 0.5.16)"]


@pytest.mark.parametrize(
    ("engine", "reference", "release"),
    [
        ("sglang", "index.docker.io/lmsysorg/sglang:v0.5.12-cu130-runtime", "0.5.12"),
        ("vllm", "vllm/vllm-openai:v0.27.0-cu129-x86_64", "0.27.0"),
        ("vllm", "lmsysorg/sglang:v0.5.23", None),
    ],
)
def test_flags_are_those_of_the_release_that_the_tag_of_its_own_image_tells(
    engine: str, reference: str, release: str | None
) -> None:
    assert version_of(spec(profile(engine=engine, image={"reference": reference})), None, None) == release
