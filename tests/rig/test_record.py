"""A recorded rig reads back as what was surveyed, and carries nothing that names a machine or a person."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchpad.errors import LaunchpadError
from launchpad.rig.catalog import counted_uuid, read_rig
from launchpad.rig.facts import (
    UNLIMITED,
    ComputeMode,
    DiskFacts,
    DiskUse,
    DockerFacts,
    ForeignProcess,
    Gpu,
    GpuLink,
    Iommu,
    RigFacts,
    Topology,
)
from launchpad.rig.record import record

UUIDS = [f"GPU-0badcafe-1234-5678-9abc-00000000000{number}" for number in range(4)]
CARD = Gpu(
    0,
    UUIDS[0],
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
    compute_capability=(12, 0),
    memory_bytes=97887 << 20,
    power_default_w=600.0,
    pci_bus_id="0000:41:00.0",
    numa_node=0,
    compute_mode="default",
    ecc_current=True,
    foreign=(ForeignProcess(42, "python3", 5),),
)
RIG = RigFacts(
    gpus=(CARD, replace(CARD, index=1, uuid=UUIDS[1], pci_bus_id="0000:81:00.0", numa_node=1)),
    driver_version="580.126.09",
    driver_open=True,
    links=(GpuLink(0, 1, "system", p2p_read=False),),
    memlock_bytes=UNLIMITED,
    disks=(DiskFacts("state", "/home/ada/state", 1000, 2000),),
    docker=DockerFacts("29.1.2", ("nvidia", "runc"), (f"nvidia.com/gpu={UUIDS[1]}", "nvidia.com/gpu=0")),
    source="surveyed by launchpad",
    as_of="2026-11-23",
)
TEXT = """
format = 1
summary = "2x NVIDIA RTX PRO 6000 Blackwell Workstation Edition, driver 580.126.09"
basis = "surveyed"
source = ["surveyed by launchpad"]
as_of = 2026-11-23
driver_version = "580.126.09"
driver_open = true
memlock = -1

[docker]
version = "29.1.2"
runtimes = ["nvidia", "runc"]
cdi_devices = ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-00000000-0000-0000-0000-000000000002"]

[[disks]]
what = "state"
free = "0.9765625KiB"
total = "1.953125KiB"

[[links]]
topology = "system"
p2p_read = false
pairs = [[0, 1]]

[[gpu]]
count = 2
name = "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"
compute_capability = "12.0"
memory = "97887MiB"
power_default_w = 600.0
ecc_current = true
compute_mode = "default"
pci_bus_ids = ["0000:41:00.0", "0000:81:00.0"]
numa_nodes = [0, 1]
"""


def read_back(text: str) -> RigFacts:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rig.toml"
        path.write_text(text, encoding="utf-8")
        return read_rig(path).facts


def without_names(facts: RigFacts) -> RigFacts:
    """What is left of surveyed facts in a file."""
    gpus = facts.gpus or ()
    disks = facts.disks and tuple(replace(disk, path=None) for disk in facts.disks)
    return replace(
        facts,
        recorded="rig",
        gpus=tuple(replace(gpu, uuid=counted_uuid(gpu.index + 1, "rig"), foreign=None) for gpu in gpus),
        disks=disks,
    )


def test_a_recorded_rig_is_a_page_of_text() -> None:
    assert record(RIG).split("\n", 2)[2] == TEXT.lstrip("\n")


def test_a_recorded_rig_names_no_card_no_path_and_no_process() -> None:
    text = record(RIG)
    assert [word for word in ("badcafe", "/home", "ada", "python3", "serial =") if word in text] == []


def test_devices_of_cards_that_are_not_in_the_rig_are_left_out() -> None:
    docker = DockerFacts(cdi_devices=(f"nvidia.com/gpu={UUIDS[3]}", f"nvidia.com/mig=MIG-{UUIDS[0][4:]}"))
    assert read_back(record(replace(RIG, docker=docker))).docker == DockerFacts(cdi_devices=())


def test_cards_that_differ_keep_their_order() -> None:
    cards = tuple(
        replace(CARD, index=i, ecc_current=on, foreign=None) for i, on in enumerate((True, False, False, True))
    )
    found = read_back(record(replace(RIG, gpus=cards, links=None))).gpus or ()
    assert [gpu.ecc_current for gpu in found] == [True, False, False, True]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (replace(RIG, gpus=None, gpu_problem="NVML library not found"), "NVML library not found"),
        (replace(RIG, gpus=()), "no GPU was found"),
        (replace(RIG, recorded="2x-h200"), "it is a recorded rig"),
        (replace(RIG, as_of=None), "its facts carry no date"),
    ],
)
def test_what_cannot_be_recorded_is_said(facts: RigFacts, says: str) -> None:
    with pytest.raises(LaunchpadError, match=re.escape(says)):
        record(facts)


def test_what_the_files_form_refuses_is_unknown_and_the_rest_stays() -> None:
    odd = replace(CARD, power_limit_w=0.0, pcie_gen_max=99, pci_bus_id="nowhere", name="NVIDIA\x1b[31m\n\n")
    (gpu,) = read_back(record(replace(RIG, gpus=(odd,), links=None, acs_redirect=("x",), kernel="a\nb"))).gpus or ()
    assert (gpu.name, gpu.power_limit_w, gpu.pcie_gen_max, gpu.pci_bus_id, gpu.memory_bytes) == (
        "NVIDIA[31m",
        None,
        None,
        None,
        97887 << 20,
    )


def test_many_misfits_cost_only_themselves() -> None:
    cards = tuple(replace(CARD, index=i, uuid=UUIDS[i], pci_bus_id="nowhere", numa_node=-1) for i in range(3))
    docker = DockerFacts("29.1.2", ("\x00", "\x01"), cdi_devices=("\x00", "\x01", "nvidia.com/gpu=0"))
    odd = replace(RIG, gpus=cards, links=None, acs_redirect=("x", "y"), docker=docker, kernel_flags=("\x00", "\x01"))
    found = read_back(record(odd))
    assert (len(found.gpus or ()), found.acs_redirect, found.kernel_flags, found.driver_version, found.docker) == (
        3,
        None,
        None,
        "580.126.09",
        DockerFacts("29.1.2", (), None),
    )


def test_links_between_cards_that_are_not_there_are_said() -> None:
    with pytest.raises(LaunchpadError, match="cannot record this rig: a file cannot hold its cards and links"):
        record(replace(RIG, links=(GpuLink(0, 7, "node"),)))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


LINES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("C", "Z")), min_size=1, max_size=20
)
SIZES = st.integers(0, 2**50)
WATTS = st.floats(0.5, 2000)
BUS_IDS = st.from_regex(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", fullmatch=True)


def words(kind: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(kind))


@st.composite
def rigs(draw: st.DrawFn) -> RigFacts:
    numbers: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(("memory_bytes", "bar1_bytes"), SIZES),
        **dict.fromkeys(("power_limit_w", "power_default_w", "power_min_w", "power_max_w"), WATTS),
        **dict.fromkeys(("pcie_gen_max", "pcie_gen_now", "pcie_gpu_gen_max"), st.integers(1, 6)),
        **dict.fromkeys(("pcie_width_max", "pcie_width_now"), st.sampled_from([1, 8, 16])),
        **dict.fromkeys(("pcie_replays", "ecc_uncorrected", "numa_node"), st.integers(0, 9)),
        **dict.fromkeys(("ecc_current", "ecc_pending", "mig_enabled", "persistence"), st.booleans()),
        **dict.fromkeys(("display_active", "remapped_pending", "remapped_failure"), st.booleans()),
        "compute_mode": words(ComputeMode),
        "compute_capability": st.tuples(st.integers(0, 99), st.integers(0, 9)),
        "pci_bus_id": BUS_IDS,
        "foreign": st.just((ForeignProcess(1),)),
    }
    cards = st.builds(Gpu, st.just(0), st.just(""), LINES, **{name: maybe(kind) for name, kind in numbers.items()})
    kinds = draw(st.lists(cards, min_size=1, max_size=2))
    picked = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    gpus = tuple(replace(gpu, index=index, uuid=UUIDS[index]) for index, gpu in enumerate(picked))
    pairs = list(combinations(range(len(gpus)), 2))
    links = st.tuples(
        *(st.builds(GpuLink, st.just(a), st.just(b), words(Topology), maybe(st.booleans())) for a, b in pairs)
    )
    lists = st.lists(LINES, max_size=3).map(tuple)
    return RigFacts(
        gpus=gpus,
        links=draw(maybe(links)),
        **{name: draw(maybe(LINES)) for name in ("driver_version", "cuda_version", "kernel", "os_name", "glibc")},
        **{name: draw(maybe(SIZES)) for name in ("ram_bytes", "shm_bytes")},
        **{name: draw(maybe(st.integers(1, 2**20))) for name in ("cpu_count", "nofile")},
        **{name: draw(maybe(st.booleans())) for name in ("nvlink", "driver_open")},
        driver_loaded_version=draw(maybe(LINES)),
        memlock_bytes=draw(maybe(st.just(UNLIMITED) | SIZES)),
        iommu=draw(maybe(words(Iommu))),
        acs_redirect=draw(maybe(st.lists(BUS_IDS, max_size=2).map(tuple))),
        kernel_flags=draw(maybe(lists)),
        disks=draw(
            maybe(
                st.lists(st.builds(DiskFacts, words(DiskUse), LINES, maybe(SIZES), maybe(SIZES)), max_size=2).map(tuple)
            )
        ),
        docker=draw(
            maybe(st.builds(DockerFacts, maybe(LINES), lists, maybe(lists.map(sorted).map(tuple)), maybe(LINES)))
        ),
        circuit_w=draw(maybe(st.integers(1, 20_000))),
        source=draw(LINES),
        as_of=draw(st.dates().map(lambda day: day.isoformat())),
    )


@settings(max_examples=30)
@given(rigs())
def test_every_rig_reads_back_as_it_was_surveyed(facts: RigFacts) -> None:
    assert read_back(record(facts)) == without_names(facts)
