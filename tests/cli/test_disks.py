"""What is learned of this rig from Docker: the disks that fill up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from launchpad.cli import carry, launch
from launchpad.cli.world import World
from launchpad.errors import LaunchpadError
from launchpad.rig.survey import survey
from tests.fakes.runtime import FakeRuntime

if TYPE_CHECKING:
    from pathlib import Path


def test_the_disks_that_images_and_state_fill_are_looked_at(tmp_path: Path) -> None:
    world, runtime = World({"LAUNCHPAD_STATE_DIR": str(tmp_path / "state")}), FakeRuntime()
    runtime.info_answer = replace(runtime.info_answer, root_dir=str(tmp_path / "docker"))
    found = launch.here(world, survey(), runtime).disks or ()
    assert [(disk.what, disk.path, disk.free_bytes is not None) for disk in found] == [
        ("docker", str(tmp_path / "docker"), True),
        ("state", str(tmp_path / "state"), True),
    ]


def test_the_disk_of_an_engine_elsewhere_is_unknown(tmp_path: Path) -> None:
    world = World({"LAUNCHPAD_STATE_DIR": str(tmp_path)})
    found = launch.here(world, survey(), FakeRuntime()).disks or ()
    assert [disk.what for disk in found] == ["state"]


class Full(World):
    """A machine whose Docker Engine keeps its images in a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__({"LAUNCHPAD_STATE_DIR": str(root / "state")})
        runtime = FakeRuntime()
        runtime.info_answer = replace(runtime.info_answer, root_dir=str(root))
        self.runtime = runtime


def test_images_that_no_disk_could_hold_are_not_begun_to_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(LaunchpadError, match=f"cannot load .* of images: .* are free at {tmp_path}"):
        carry.refuse_full_engine(Full(tmp_path), [carry.Item("image.tar", "0" * 64, 10**18, "sha256:1")])


def test_images_that_fit_are_loaded(tmp_path: Path) -> None:
    carry.refuse_full_engine(Full(tmp_path), [carry.Item("image.tar", "0" * 64, 1, "sha256:1")])
