"""Recorded rigs: read with suspicion, and never a figure that their file does not hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from launchpad.errors import NotFoundError, ProfileError
from launchpad.rig.catalog import UUID_PREFIX, RigCatalog, counted_uuid, read_rig, recorded_samples, shipped_directory
from launchpad.rig.facts import GpuLink, GpuSample, RigFacts

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, tzinfo=UTC)
GOOD = """
format = 1
summary = "two cards"
basis = "composed"
source = ["a data sheet"]
as_of = 2026-11-23
driver_version = "580.1"
[[gpu]]
count = 2
name = "NVIDIA Test"
compute_capability = "12.0"
memory = "97887MiB"
[gpu.serving]
memory_used = "84GB"
power_w = 300.0
"""


def catalog(folder: Path, **files: str) -> RigCatalog:
    (folder / "rigs").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / "rigs" / f"{name}.toml").write_text(text, encoding="utf-8")
    return RigCatalog([folder], shipped=folder / "nothing")


def test_a_rig_becomes_facts_under_its_files_name(tmp_path: Path) -> None:
    facts = catalog(tmp_path, pair=GOOD).facts("pair")
    assert facts.title == "2x NVIDIA Test, driver 580.1 (recorded rig pair)"
    assert [(gpu.index, gpu.sm, gpu.memory_bytes) for gpu in facts.gpus or ()] == [
        (0, "120", 97887 << 20),
        (1, "120", 97887 << 20),
    ]


def test_what_a_rig_does_not_say_is_unknown(tmp_path: Path) -> None:
    facts = catalog(tmp_path, pair=GOOD).facts("pair")
    assert (facts.ram_bytes, facts.nvlink, (facts.gpus or ())[0].power_limit_w) == (None, None, None)


def test_samples_hold_what_the_file_says_for_each_state_and_none_for_the_rest(tmp_path: Path) -> None:
    rig = catalog(tmp_path, pair=GOOD).load("pair")
    cards = [GpuSample(counted_uuid(card + 1, "pair"), card, NOW) for card in (0, 1)]
    total = (rig.facts.gpus or ())[0].memory_bytes
    idle = tuple(replace(card, memory_total_bytes=total) for card in cards)
    assert recorded_samples(rig, serving=False, now=NOW) == idle
    assert recorded_samples(rig, serving=True, now=NOW) == tuple(
        replace(card, memory_used_bytes=84_000_000_000, power_w=300.0) for card in idle
    )


def test_a_recorded_card_enforces_the_limit_its_file_names() -> None:
    rig = RigCatalog([]).load("4x-rtx-pro-6000")
    assert {sample.power_limit_w for sample in recorded_samples(rig, serving=True, now=NOW)} == {600.0}


def test_the_first_directory_of_a_name_wins(tmp_path: Path) -> None:
    catalog(tmp_path / "own", pair=GOOD.replace("NVIDIA Test", "Mine"))
    catalog(tmp_path / "shipped", pair=GOOD, other=GOOD)
    rigs = RigCatalog([tmp_path / "own"], shipped=tmp_path / "shipped")
    assert (rigs.names(), (rigs.facts("pair").gpus or ())[0].name) == (("other", "pair"), "Mine")


def test_a_wrong_name_is_met_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="cannot find recorded rig '4x-rtx-6000'") as caught:
        RigCatalog([tmp_path]).load("4x-rtx-6000")
    assert "did you mean 4x-rtx-pro-6000?" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("driver_version", "driver_versoin", "driver_versoin: is no key of a recorded rig; remove it"),
        ('source = ["a data sheet"]', "", "source: is missing; it must be there"),
        ("count = 2", "count = 0", "gpu[1].count: Input should be greater than or equal to 1"),
        ("count = 2", "count = true", "gpu[1].count: Input should be a valid integer"),
        ('"97887MiB"', "97887", 'gpu[1].memory: must be a size with its unit, such as "97887MiB"'),
        ('"12.0"', "12.0", 'gpu[1].compute_capability: must be a CUDA compute capability in quotes, such as "12.0"'),
        ('basis = "composed"', 'basis = "invented"', "basis: Input should be 'surveyed' or 'composed'"),
        ("power_w = 300.0", "power_w = nan", "gpu[1].serving.power_w: Input should be"),
        ('"two cards"', '"two\\u001bcards"', "summary: String should match pattern"),
        ("format = 1", "format = 2", "format: Input should be 1"),
        ("[[gpu]]", "[gpu]", "gpu: Input should be a valid list"),
        ("format = 1", "format = ", "is no TOML"),
        (
            "count = 2",
            'count = 2\npci_bus_ids = ["0000:41:00.0"]',
            "gpu[1]: pci_bus_ids must name one for each of 2 cards",
        ),
        ("count = 2", 'count = 2\npci_bus_ids = ["41:00"]', "gpu[1].pci_bus_ids[1]: String should match pattern"),
        ("count = 2", 'count = 2\ncompute_mode = "shared"', "gpu[1].compute_mode: Input should be 'default'"),
        ("count = 2", 'count = 2\nserial = "1"', "gpu[1].serial: is no key of a recorded rig; remove it"),
        ("[[gpu]]", 'iommu = "on"\n[[gpu]]', "iommu: Input should be 'off', 'passthrough' or 'translated'"),
        ("[[gpu]]", "circuit_w = 0\n[[gpu]]", "circuit_w: Input should be greater than or equal to 1"),
        ("[[gpu]]", 'memlock = "lots"\n[[gpu]]', "memlock: 'lots' is no size"),
        ("[[gpu]]", '[[disks]]\nwhat = "state"\npath = "/home"\n[[gpu]]', "disks[1].path: is no key of a recorded rig"),
        (
            "[[gpu]]",
            '[[links]]\ntopology = "node"\npairs = [[0, 2]]\n[[gpu]]',
            "links: [0, 2] is no pair of cards, smaller number first, of 0 to 1",
        ),
    ],
)
def test_a_wrong_rig_is_refused_with_file_and_key(old: str, new: str, says: str, tmp_path: Path) -> None:
    text = GOOD.replace(old, new)
    with pytest.raises(ProfileError) as caught:
        catalog(tmp_path, pair=text).load("pair")
    assert any(
        says in line and line.startswith(f"{tmp_path / 'rigs' / 'pair.toml'}: ") for line in caught.value.problems
    )


def test_a_rig_may_say_how_its_cards_are_joined_and_what_its_circuit_carries(tmp_path: Path) -> None:
    more = 'circuit_w = 1800\n[[links]]\ntopology = "hostbridge"\np2p_read = false\npairs = "all"\n[[gpu]]'
    facts = catalog(tmp_path, pair=GOOD.replace("[[gpu]]", more)).facts("pair")
    assert (facts.circuit_w, facts.links) == (1800, (GpuLink(0, 1, "hostbridge", p2p_read=False),))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError) as caught:
        read_rig(path)
    assert caught.value.problems == (f"{path}: is no UTF-8 at byte 0",)


def test_a_huge_file_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.toml"
    path.write_text("#" * 300_000, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        read_rig(path)
    assert "is larger than 256 KiB" in caught.value.problems[0]


@pytest.mark.parametrize("path", sorted((shipped_directory() / "rigs").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_rig_reads_and_its_cards_are_plainly_synthetic(path: Path) -> None:
    rig = read_rig(path)
    assert rig.facts.gpus
    assert all(gpu.uuid.startswith(UUID_PREFIX) for gpu in rig.facts.gpus)


def test_no_card_of_one_recorded_rig_is_a_card_of_another() -> None:
    known = RigCatalog()
    uuids = [gpu.uuid for name in known.names() for gpu in known.facts(name).gpus or ()]

    assert len(uuids) == len(set(uuids))


def test_a_rigs_file_may_name_its_cards_without_knowing_what_it_is_called(tmp_path: Path) -> None:
    docker = f'[docker]\nversion = "29"\nruntimes = []\ncdi_devices = ["nvidia.com/gpu={counted_uuid(2)}"]\n[[gpu]]'
    facts = catalog(tmp_path, pair=GOOD.replace("[[gpu]]", docker)).facts("pair")

    assert facts.docker is not None
    assert facts.docker.cdi_devices == (f"nvidia.com/gpu={(facts.gpus or ())[1].uuid}",)


def test_the_shipped_rtx_pro_6000_rig_is_what_its_profiles_ask_for() -> None:
    gpus = RigCatalog().facts("4x-rtx-pro-6000").gpus or ()
    assert [(gpu.sm, gpu.memory_bytes, gpu.power_limit_w) for gpu in gpus] == [("120", 97887 << 20, 600.0)] * 4


SHIPPED = {
    "1x-h200-measured": ("surveyed", 1, "90", "700 W"),
    "2x-h200": ("composed", 2, "90", "700 W"),
    "2x-h200-measured": ("surveyed", 2, "90", "700 W"),
    "4x-a100": ("composed", 4, "80", "400 W"),
    "4x-gb300": ("composed", 4, "103", "1400 W"),
    "4x-rtx-pro-6000": ("composed", 4, "120", "600 W"),
    "4x-rtx-pro-6000-max-q": ("composed", 4, "120", "300 W"),
    "8x-rtx-pro-6000-server": ("composed", 8, "120", "600 W"),
}


def test_the_shipped_rigs_are_these() -> None:
    rigs = [RigCatalog().load(name) for name in RigCatalog().names()]
    found = {rig.name: (rig.basis, len(rig.facts.gpus or ()), *kind(rig.facts)) for rig in rigs}
    assert found == SHIPPED


def kind(facts: RigFacts) -> tuple[str | None, str | None]:
    first = (facts.gpus or ())[0]
    return first.sm, first.edition


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_rig_says_nothing_of_one_machine(name: str) -> None:
    facts = RigCatalog().facts(name)
    own = (facts.kernel, facts.os_name, facts.disks, facts.kernel_flags, facts.circuit_w, facts.ram_bytes)
    assert (own, {gpu.pci_bus_id for gpu in facts.gpus or ()}) == ((None,) * 6, {None})
