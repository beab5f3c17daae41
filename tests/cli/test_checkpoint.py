"""The checkpoint in the rules' hands: read where it is on the rig in question, once, and never its weights."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from launchpad.cli import launch
from launchpad.cli.doctor import _of_profile as examined
from launchpad.cli.world import World
from launchpad.deploy.spec import RehearsalChoice
from launchpad.rig.catalog import RigCatalog
from tests.profiles.own_rigs import OWN_RIG

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from launchpad.rig.facts import RigFacts

FLASH: Final = 159_609_485_896
CONFIG: Final[Mapping[str, object]] = {"model_type": "deepseek_v4", "quantization_config": {"quant_method": "fp8"}}
QWEN: Final[Mapping[str, object]] = {"model_type": "qwen3", "torch_dtype": "bfloat16"}
#: Those that serve weights from a directory of the rig.
FROM_A_FOLDER: Final = [
    name
    for name, rig in OWN_RIG.items()
    if rig is not None and World().profiles.load(name).profile.model.path is not None
]
PROFILE: Final = """\
extends = "{extends}"
format = 1
summary = "the same, from a folder here"

[model]
path = "{path}"
served_name = "flash"
"""


class Surveyed(World):
    """A machine with the cards of a recorded rig, surveyed today."""

    cards = "4x-rtx-pro-6000"

    def facts(self, rig: str | None) -> RigFacts:
        return super().facts(rig) if rig is not None else replace(RigCatalog(()).facts(self.cards), recorded=None)


def weights(folder: Path, size: int, config: Mapping[str, object] = CONFIG) -> Path:
    """A whole checkpoint of that many bytes, of which the disk holds next to none: its tensors are a hole in a file."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(config)))
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    return folder


def of(tmp_path: Path, extends: str, path: Path) -> str:
    """A profile of a test's own that serves ``path``."""
    file = tmp_path / "mine.toml"
    file.write_text(PROFILE.format(extends=extends, path=path))
    return str(file)


def told(world: World, name: str, rig: str | None = None, rehearsal: RehearsalChoice | None = None) -> dict[str, str]:
    """The ids of what is found, and how grave each is."""
    drawn = launch.draft(world, launch.load(world, name, rig=rig, rehearsal=rehearsal), None)
    return {item.id: item.severity for item in drawn.findings}


@pytest.fixture
def world(state: Path) -> World:
    return Surveyed()


def test_weights_that_no_gpus_here_hold_block(world: World, tmp_path: Path) -> None:
    name = of(tmp_path, "v4-flash-sglang-tp4", weights(tmp_path / "pro", 865 * 10**9))

    found = told(world, name)

    assert (found.get("model.larger-than-gpus"), found.get("host.ram-below-weights")) == ("blocks", None)


def test_weights_that_memory_does_not_hold_are_said(tmp_path: Path, state: Path) -> None:
    class SmallRam(Surveyed):
        def facts(self, rig: str | None) -> RigFacts:
            return replace(super().facts(rig), ram_bytes=128 * 2**30)

    name = of(tmp_path, "v4-flash-sglang-tp4", weights(tmp_path / "flash", FLASH))

    assert told(SmallRam(), name).get("host.ram-below-weights") == "informs"


def test_a_model_is_known_by_its_config_json_whatever_it_is_called(world: World, tmp_path: Path) -> None:
    qwen = weights(tmp_path / "any", 30 * 10**9, QWEN)
    file = tmp_path / "mine.toml"
    file.write_text(
        PROFILE.format(extends="v4-flash-vllm-tp4", path=qwen) + '\n[image]\nreference = "vllm/vllm-openai:v0.27.1"\n'
    )
    assert "deepgemm.broken-pair" not in told(world, str(file))


def test_a_recorded_rig_has_no_checkpoint_of_this_one(world: World, tmp_path: Path) -> None:
    name = of(tmp_path, "v4-flash-sglang-tp4", weights(tmp_path / "pro", 865 * 10**9))

    assert "model.larger-than-gpus" not in told(world, name, rig="4x-rtx-pro-6000")


def test_a_rehearsal_has_no_checkpoint(world: World, tmp_path: Path) -> None:
    name = of(tmp_path, "v4-flash-sglang-tp4", weights(tmp_path / "pro", 865 * 10**9))
    played = RehearsalChoice("4x-rtx-pro-6000", (), 1.0)

    assert "model.larger-than-gpus" not in told(world, name, rehearsal=played)


def test_a_checkpoint_that_is_not_there_hides_no_other_finding(world: World, tmp_path: Path) -> None:
    name = of(tmp_path, "v4-flash-sglang-tp4", tmp_path / "nowhere")

    assert told(world, name) == told(world, name, rig="4x-rtx-pro-6000")


@pytest.mark.parametrize("name", FROM_A_FOLDER)
def test_a_shipped_profile_with_its_weights_there_is_not_blocked_on_its_rig(
    name: str, tmp_path: Path, state: Path
) -> None:
    class Own(Surveyed):
        cards = OWN_RIG[name] or ""

    embeds = name.startswith("qwen3")
    config = QWEN if embeds else CONFIG
    there = weights(tmp_path / "weights", 1_191_586_416 if embeds else FLASH, config)

    assert "blocks" not in told(Own(), of(tmp_path, name, there)).values()


def test_a_model_directory_is_read_once_for_checks_and_rules(tmp_path: Path) -> None:
    there, look = weights(tmp_path / "flash", FLASH), launch._reader()

    assert look(there) is look(there)


NAMELESS: Final = """
extends = "v4-flash-vllm-tp4"
format = 1
summary = "a V4 that no name of a directory tells"

[model]
path = "{path}"
served_name = "flash"
"""


def seat(world: World, name: str) -> str:
    """What is hinted to somebody whose rig cannot seat a profile."""
    found = examined(world, name, None, None).findings
    return next(item.hint or "" for item in found if item.id == "rig.cannot-place")


class Ampere(Surveyed):
    """A machine with four A100."""

    cards = "4x-a100"


def test_cards_before_hopper_are_told_so_by_the_weights_repository(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(NAMELESS.format(path=tmp_path / "nowhere"))

    assert "model.v4-before-hopper" in seat(Ampere(), str(file))


def test_cards_before_hopper_hear_nothing_of_v4_where_config_json_says_another_model(
    tmp_path: Path, state: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(NAMELESS.format(path=weights(tmp_path / "any", 10**9, QWEN)))

    assert "model.v4-before-hopper" not in seat(Ampere(), str(file))
