"""PCI and IOMMU as /sys tells them: how peer traffic between GPUs is routed, and what may send it astray.

Two things make GPUs hang when they talk to each other directly over PCIe, without any error: an IOMMU that translates their
addresses, and bridges whose Access Control Services send peer requests up to the root. Parsers are functions of bytes and
text; :class:`Pci` finds them. Nothing here raises for what cannot be read: None is unknown. Nothing is ever written.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launchpad.rig.facts import Iommu

_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"
_BRIDGE_CLASS: Final = "0x0604"
_BUS_ID = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.ASCII)
_SMALL: Final = 4096
_MOST_DEVICES: Final = 4096
_CONFIG_SPACE: Final = 4096
#: Below 256 bytes the reader was not let at the whole of it (anybody but root gets 64); extended capabilities begin there.
_EXTENDED: Final = 256
_ACS: Final = 0x000D
_ACS_CONTROL: Final = 6
#: What the bus reads as where no device answers.
_NOBODY: Final = 0xFFFFFFFF
_P2P_REQUEST_REDIRECT: Final = 1 << 2

#: Words of the kernel's command line that say what a GPU rig's PCIe, driver and memory do.
_FLAGS: Final = frozenset(
    {
        "iommu",
        "intel_iommu",
        "amd_iommu",
        "iommu.passthrough",
        "iommu.strict",
        "pci",
        "pcie_aspm",
        "pcie_acs_override",
        "pcie_port_pm",
        "modprobe.blacklist",
        "module_blacklist",
        "numa_balancing",
        "transparent_hugepage",
    }
)
_NVIDIA_FLAGS: Final = ("nvidia.", "nvidia-drm.", "nvidia_drm.", "nvidia-uvm.", "nvidia_uvm.", "nouveau.")
_LONGEST_FLAG: Final = 100
_MOST_FLAGS: Final = 64
_GROUP_KINDS: Final[dict[str, Iommu]] = {"DMA": "translated", "DMA-FQ": "translated", "identity": "passthrough"}
_BY_FLAG: Final[dict[str, Iommu]] = {
    "iommu=off": "off",
    "intel_iommu=off": "off",
    "amd_iommu=off": "off",
    "iommu=pt": "passthrough",
    "iommu.passthrough=1": "passthrough",
}


class Pci:
    """The PCI bus of this machine; ``sys_root`` is where /sys is."""

    def __init__(self, sys_root: Path = Path("/sys")) -> None:
        self._sys = sys_root
        self._devices = sys_root / "bus/pci/devices"

    def gpus(self) -> tuple[str, ...] | None:
        """Bus ids of NVIDIA's display devices; None where the bus cannot be read."""
        names = _names(self._devices)
        if names is None:
            return None
        return tuple(
            name
            for name in names
            if self._word(name, "vendor") == _NVIDIA and self._word(name, "class").startswith(_DISPLAY_CLASS)
        )

    def numa_node(self, bus_id: str) -> int | None:
        """The NUMA node a device hangs on; None where there is none to tell (the kernel's -1)."""
        text = self._word(bus_id, "numa_node")
        return int(text) if text.isascii() and text.isdecimal() else None

    def iommu(self, flags: Iterable[str]) -> Iommu | None:
        """What the IOMMU does with the GPUs' addresses (with every device's, where there is no GPU).

        "off": the kernel drives none. Kernels before 5.11 do not say what a group is, and then the command line does.
        """
        units = _names(self._sys / "class/iommu")
        if units is None:
            return None
        if not units:
            return "off"
        kinds = {self._word(gpu, "iommu_group/type") for gpu in self.gpus() or ()}
        if not kinds:
            groups = self._sys / "kernel/iommu_groups"
            kinds = {(_text(groups / name / "type") or "").strip() for name in _names(groups) or ()}
        return iommu_of(kinds, flags)

    def acs_redirects(self) -> tuple[str, ...] | None:
        """The bridges above the GPUs that redirect peer requests, by bus id; None where one cannot be read (not root)."""
        gpus = self.gpus()
        bridges: set[str] = set()
        for gpu in gpus or ():
            try:
                path = (self._devices / gpu).resolve()
            except OSError:
                return None
            above = filter(_BUS_ID.fullmatch, path.parts)
            bridges.update(part for part in above if self._word(part, "class").startswith(_BRIDGE_CLASS))
        told = {bridge: redirects_requests(_bytes(self._devices / bridge / "config")) for bridge in sorted(bridges)}
        if gpus is None or None in told.values():
            return None
        return tuple(bridge for bridge, redirects in told.items() if redirects)

    def _word(self, device: str, name: str) -> str:
        return (_text(self._devices / device / name) or "").strip()


def redirects_requests(config: bytes | None) -> bool | None:
    """Whether a bridge's configuration space has ACS P2P Request Redirect on; None where too little of it was readable.

    ``config`` is /sys/bus/pci/devices/*/config: 4096 bytes of a PCIe device, 256 of an older one, 64 for all but root. Extended
    capabilities are a linked list from 0x100 (PCI Express Base Specification, 7.9.4 and 7.7.11).
    """
    if config is None or len(config) < _EXTENDED:
        return None
    at, seen = _EXTENDED, set[int]()
    while at >= _EXTENDED and at not in seen and at + 4 <= len(config):
        seen.add(at)
        (header,) = struct.unpack_from("<I", config, at)
        if header == _NOBODY:
            return None
        if header & 0xFFFF == _ACS:
            if at + _ACS_CONTROL + 2 > len(config):
                return None
            return bool(struct.unpack_from("<H", config, at + _ACS_CONTROL)[0] & _P2P_REQUEST_REDIRECT)
        at = header >> 20 & ~3
    return False


def iommu_of(kinds: Iterable[str], flags: Iterable[str]) -> Iommu | None:
    """What an IOMMU does, by the types of the groups in question (/sys/kernel/iommu_groups/*/type), else by kernel flags."""
    told = {_GROUP_KINDS[kind] for kind in kinds if kind in _GROUP_KINDS}
    if "translated" in told:
        return "translated"
    if told:
        return "passthrough"
    said = [mode for flag in flags for word in _split(flag) if (mode := _BY_FLAG.get(word)) is not None]
    return said[-1] if said else None


def parse_flags(text: str) -> tuple[str, ...]:
    """The words of /proc/cmdline that matter to a GPU rig, in their order; paths and everything else are left out."""
    found = []
    for word in text[: 1 << 16].split():
        name = word.partition("=")[0].replace("nvidia_", "nvidia-")
        if (name in _FLAGS or name.startswith(_NVIDIA_FLAGS)) and word.isprintable() and "/" not in word:
            found.append(word[:_LONGEST_FLAG])
    return tuple(found[:_MOST_FLAGS])


def _split(flag: str) -> Iterable[str]:
    """``intel_iommu=on,off`` says two things."""
    name, _, values = flag.partition("=")
    return (f"{name}={value}" for value in values.split(","))


def _names(folder: Path) -> list[str] | None:
    try:
        return sorted(entry.name for entry in folder.iterdir())[:_MOST_DEVICES]
    except OSError:
        return None


def _text(path: Path) -> str | None:
    read = _bytes(path)
    return None if read is None else read[:_SMALL].decode("utf-8", "replace")


def _bytes(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_CONFIG_SPACE)
    except OSError:
        return None
