"""What this rig's facts gain from Docker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from launchpad.cli import launch
from launchpad.cli.world import World
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
