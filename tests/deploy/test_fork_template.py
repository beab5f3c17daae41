"""The template of the SM120 fork: linted, pinned to the profile's hashes, and documented variable by variable."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from launchpad.deploy.build import build_context, dockerfile_of, template_path, template_roots
from launchpad.deploy.spec import resolve
from launchpad.doctor.case import Case
from launchpad.doctor.rule import examine
from launchpad.doctor.rules import RULES
from launchpad.errors import LaunchpadError
from launchpad.profiles.catalog import Catalog, shipped_profiles
from launchpad.rig.catalog import RigCatalog

NAME = "v4-flash-vllm-sm120-fork"
PROFILE = Catalog((shipped_profiles(),)).load(NAME).profile
FOLDER = template_path("vllm-sm120-fork", template_roots([]))
RIGS = RigCatalog(())


def dockerfile(*, buildkit: bool) -> str:
    assert PROFILE.own_image.build is not None
    return dockerfile_of(build_context(FOLDER, PROFILE.own_image.build.args, buildkit=buildkit))


@pytest.mark.parametrize("buildkit", [True, False])
def test_hadolint_finds_nothing(buildkit: bool) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    told = subprocess.run(
        [hadolint, "--no-color", "-"], input=dockerfile(buildkit=buildkit), capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout) == (0, "")


@pytest.mark.parametrize("script", sorted(path.name for path in FOLDER.glob("*.sh")))
def test_every_script_is_one_that_sh_can_read(script: str) -> None:
    told = subprocess.run(["sh", "-n", FOLDER / script], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


def test_sources_are_fetched_by_hash_alone() -> None:
    fetched = re.findall(r"fetch\.sh '(\S+)' '([0-9a-f]+)'", dockerfile(buildkit=True))
    assert fetched == [
        ("https://github.com/jasl/vllm.git", "f63bfd3d7b425b10e0b5e0e2c130fe113a85d009"),
        ("https://github.com/deepseek-ai/DeepGEMM.git", "a6b593d2826719dcf4892609af7b84ee23aaf32a"),
    ]


def test_every_variable_is_documented_at_its_top() -> None:
    from jinja2 import Environment, meta

    source = (FOLDER / "Dockerfile.j2").read_text()
    head = source.partition("-#}")[0]
    documented = {line.split()[0] for line in head.splitlines() if line.startswith("  ") and not line.startswith("   ")}
    known = meta.find_undeclared_variables(Environment(autoescape=True).parse(source))
    assert documented == known - {"buildkit"}


def findings(rig: str) -> list[tuple[str, str]]:
    facts = RIGS.facts(rig)
    found = examine(Case(facts, resolve(NAME, PROFILE, facts, taken={})), RULES)
    return [(item.severity, item.id) for item in found if item.severity != "informs"]


@pytest.mark.parametrize("rig", ["4x-rtx-pro-6000", "4x-rtx-pro-6000-max-q", "8x-rtx-pro-6000-server"])
def test_on_sm120_it_is_warned_that_a_release_does_it_too_and_nothing_blocks(rig: str) -> None:
    assert findings(rig) == [("warns", "fork.brittle")]


@pytest.mark.parametrize("rig", ["2x-h200", "4x-a100", "4x-gb300"])
def test_on_other_cards_it_is_not_placed_and_the_capability_is_named(rig: str) -> None:
    with pytest.raises(LaunchpadError, match=r"has compute capability \S+, the profile needs 12\.0"):
        findings(rig)
