"""PCI and the IOMMU: configuration space as bytes, /sys as small folders; what cannot be read is unknown."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchpad.rig.pci import Pci, iommu_of, parse_flags, redirects_requests

if TYPE_CHECKING:
    from pathlib import Path

GPU = "0000:41:00.0"
PORT = "0000:40:01.0"
VENDOR_SPECIFIC, ADVANCED_ERRORS, ACS = 0x000B, 0x0001, 0x000D


def config(*capabilities: tuple[int, int, int], size: int = 4096) -> bytes:
    """A configuration space with (offset, id, next) extended capabilities; ACS ones have request redirect on."""
    space = bytearray(size)
    for at, identity, after in capabilities:
        struct.pack_into("<I", space, at, identity | 1 << 16 | after << 20)
        if identity == ACS:
            struct.pack_into("<HH", space, at + 4, 0x1F, 0b11101)
    return bytes(space)


SWITCHED_ON = config((0x100, ADVANCED_ERRORS, 0x148), (0x148, ACS, 0))
SWITCHED_OFF = SWITCHED_ON.replace(struct.pack("<HH", 0x1F, 0b11101), struct.pack("<HH", 0x1F, 0b11001))


@pytest.mark.parametrize(
    ("space", "redirects"),
    [
        pytest.param(SWITCHED_ON, True, id="on"),
        pytest.param(SWITCHED_OFF, False, id="off"),
        pytest.param(config((0x100, ADVANCED_ERRORS, 0)), False, id="a bridge without ACS"),
        pytest.param(bytes(4096), False, id="no extended capability"),
        pytest.param(bytes(256), False, id="a bridge from before PCI Express"),
        pytest.param(SWITCHED_ON[:64], None, id="the 64 bytes that anybody may read"),
        pytest.param(SWITCHED_ON[:0x14C], None, id="cut off within ACS"),
        pytest.param(config((0x100, VENDOR_SPECIFIC, 0x200), (0x200, VENDOR_SPECIFIC, 0x100)), False, id="a circle"),
        pytest.param(b"\xff" * 4096, None, id="a device that fell off the bus"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(None, None, id="no file"),
    ],
)
def test_request_redirect_is_read_from_configuration_space(space: bytes | None, redirects: bool | None) -> None:
    assert redirects_requests(space) is redirects


@given(st.binary(max_size=4096))
def test_no_bytes_make_the_reader_fall(space: bytes) -> None:
    assert redirects_requests(space) in {True, False, None}


@pytest.mark.parametrize(
    ("kinds", "flags", "mode"),
    [
        (["DMA-FQ"], [], "translated"),
        (["DMA", "identity"], ["iommu=pt"], "translated"),
        (["identity"], [], "passthrough"),
        ([], ["amd_iommu=on", "iommu=pt"], "passthrough"),
        ([""], ["intel_iommu=on,off"], "off"),
        (["auto"], [], None),
    ],
)
def test_what_an_iommu_does_is_told_by_groups_first_and_flags_then(
    kinds: list[str], flags: list[str], mode: str | None
) -> None:
    assert iommu_of(kinds, flags) == mode


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (
            "BOOT_IMAGE=/vmlinuz root=UUID=1 quiet amd_iommu=on iommu=pt pci=noacs nvidia.NVreg_EnableResizableBar=1\n",
            ("amd_iommu=on", "iommu=pt", "pci=noacs", "nvidia.NVreg_EnableResizableBar=1"),
        ),
        ("nvidia_drm.modeset=1 password=secret", ("nvidia_drm.modeset=1",)),
        ("pci=/home/ada/x iommu=\x1b[31m", ()),
        ("iommu=pt " * 1000, ("iommu=pt",) * 64),
        ("", ()),
    ],
)
def test_only_flags_that_matter_leave_the_command_line(text: str, flags: tuple[str, ...]) -> None:
    assert parse_flags(text) == flags


def bus(root: Path, *, space: bytes | None = SWITCHED_ON, units: int = 1, group: str | None = "DMA-FQ") -> Pci:
    """A GPU behind one root port, as /sys shows them."""
    port = root / "devices/pci0000:40" / PORT
    gpu = port / GPU
    gpu.mkdir(parents=True)
    for device, files in (
        (port, {"vendor": "0x1022", "class": "0x060400"}),
        (gpu, {"vendor": "0x10de", "class": "0x030200", "numa_node": "1"}),
    ):
        for name, text in files.items():
            (device / name).write_text(text + "\n")
    if space is not None:
        (port / "config").write_bytes(space)
    (root / "bus/pci/devices").mkdir(parents=True)
    for device in (port, gpu):
        (root / "bus/pci/devices" / device.name).symlink_to(os.path.relpath(device, root / "bus/pci/devices"))
    (root / "class/iommu").mkdir(parents=True)
    for number in range(units):
        (root / f"class/iommu/ivhd{number}").mkdir()
    if group is not None:
        (root / "kernel/iommu_groups/7").mkdir(parents=True)
        (root / "kernel/iommu_groups/7/type").write_text(group + "\n")
        (gpu / "iommu_group").symlink_to(root / "kernel/iommu_groups/7")
    return Pci(root)


def test_the_bridge_above_a_gpu_that_redirects_is_named(tmp_path: Path) -> None:
    assert bus(tmp_path).acs_redirects() == (PORT,)


def test_a_bridge_that_does_not_redirect_is_not_named(tmp_path: Path) -> None:
    assert bus(tmp_path, space=SWITCHED_OFF).acs_redirects() == ()


@pytest.mark.parametrize("space", [None, SWITCHED_ON[:64]])
def test_a_bridge_that_only_root_may_read_leaves_acs_unknown(space: bytes | None, tmp_path: Path) -> None:
    assert bus(tmp_path, space=space).acs_redirects() is None


def test_the_gpus_own_group_says_what_the_iommu_does(tmp_path: Path) -> None:
    pci = bus(tmp_path, group="identity")
    (tmp_path / "kernel/iommu_groups/8").mkdir()
    (tmp_path / "kernel/iommu_groups/8/type").write_text("DMA\n")
    assert pci.iommu(()) == "passthrough"


def test_a_kernel_that_drives_no_iommu_has_it_off(tmp_path: Path) -> None:
    assert bus(tmp_path, units=0, group=None).iommu(("amd_iommu=on",)) == "off"


def test_a_sys_that_is_not_there_leaves_everything_unknown(tmp_path: Path) -> None:
    pci = Pci(tmp_path / "none")
    assert (pci.gpus(), pci.iommu(()), pci.acs_redirects(), pci.numa_node(GPU)) == (None, None, None, None)


@pytest.mark.parametrize(("text", "node"), [("1", 1), ("-1", None), ("many", None), ("", None)])
def test_a_numa_node_is_a_number_or_unknown(text: str, node: int | None, tmp_path: Path) -> None:
    pci = bus(tmp_path)
    (tmp_path / "bus/pci/devices" / GPU / "numa_node").write_text(text + "\n")
    assert pci.numa_node(GPU) == node
