"""The template of the SM120 fork: linted, pinned to the profile's hashes, and documented variable by variable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launchpad.deploy.build import _environment, build_context, dockerfile_of, template_path, template_roots
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
    fetched = re.findall(r"fetch\.sh (\S+) ([0-9a-f]+) /src", dockerfile(buildkit=True))
    assert fetched == [
        ("https://github.com/jasl/vllm.git", "f63bfd3d7b425b10e0b5e0e2c130fe113a85d009"),
        ("https://github.com/deepseek-ai/DeepGEMM.git", "a6b593d2826719dcf4892609af7b84ee23aaf32a"),
    ]


def documented() -> set[str]:
    head = (FOLDER / "Dockerfile.j2").read_text().partition("-#}")[0]
    return {line.split()[0] for line in head.splitlines() if line.startswith("  ") and not line.startswith("   ")}


def test_every_variable_is_documented_at_its_top() -> None:
    from jinja2 import meta

    source = (FOLDER / "Dockerfile.j2").read_text()
    known = meta.find_undeclared_variables(_environment(FOLDER).parse(source))
    assert documented() == known - {"buildkit"}


def test_every_pin_stands_on_the_image() -> None:
    labels = dict(
        re.findall(r'(\S+)="([^"]*)"', dockerfile(buildkit=True).partition("\nLABEL ")[2].partition("\nENV ")[0])
    )
    pinned = {name.removeprefix("io.launchpad.pin.").replace("-", "_") for name in labels if ".pin." in name}
    # The version is OCI's own label; what the base image was is found out when it is built, digest or none.
    assert pinned == documented() - {"version", "base_digest"} | {"uv"}


def test_the_label_of_uv_is_the_release_that_is_installed() -> None:
    asked = (FOLDER / "requirements-uv.txt").read_text().strip().removeprefix("uv==")
    assert f'io.launchpad.pin.uv="{asked}"' in dockerfile(buildkit=True)


@pytest.mark.parametrize(
    "base",
    ["cuda", "cuda:13.0", "registry.example:5000/cuda", "registry.example:5000/cuda:13", "cuda:13@sha256:" + "0" * 64],
)
def test_a_digest_takes_the_place_of_the_base_images_tag(base: str) -> None:
    assert PROFILE.own_image.build is not None
    digest = "sha256:" + "a" * 64
    args = {**PROFILE.own_image.build.args, "base_image": base, "base_digest": digest}
    first = dockerfile_of(build_context(FOLDER, args)).splitlines()[0]
    assert first == f"FROM {base.partition(':13')[0]}@{digest} AS base"


# -- the scripts ---------------------------------------------------------------------------------------------------------

HASH = "0123456789" * 4


def programs(folder: Path, scripts: dict[str, str]) -> dict[str, str]:
    """An environment in which those programs come before all others."""
    folder.mkdir()
    for name, text in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("script", "words"),
    [("check_tag.sh", ("v1", HASH)), ("fetch.sh", (HASH, "src"))],
)
def test_git_is_told_that_a_repository_is_no_option(tmp_path: Path, script: str, words: tuple[str, ...]) -> None:
    """A stand-in of git notes its words, and knows nothing."""
    environ = programs(tmp_path / "bin", {"git": f'echo "$*" >> {tmp_path}/asked; mkdir -p src; echo {HASH}'})
    evil = "--upload-pack=evil"
    subprocess.run(["sh", FOLDER / script, evil, *words], env=environ, cwd=tmp_path, capture_output=True, check=False)
    asked = [line for line in (tmp_path / "asked").read_text().splitlines() if evil in line]
    assert asked
    assert all(" -- " in line.partition(evil)[0] for line in asked)


@pytest.mark.parametrize(("release", "code"), [("0.13.9", 0), ("0.9.1", 3)])
def test_a_uv_of_the_base_image_is_taken_where_it_is_the_pinned_one(tmp_path: Path, release: str, code: int) -> None:
    """Python's stand-in fails, so that installing one goes no further than its first step."""
    environ = programs(tmp_path / "bin", {"uv": f"echo uv {release} '(c0ffee 2026-11-01)'", "python3": "exit 3"})
    told = subprocess.run(["sh", FOLDER / "uv.sh", "bootstrap"], env=environ, capture_output=True, check=False)
    assert told.returncode == code


# -- what doctor says ----------------------------------------------------------------------------------------------------


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
