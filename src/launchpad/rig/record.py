"""A surveyed rig as a file: the TOML that ``--rig`` and ``rehearse`` read back.

What may name a machine or a person stays out: no UUIDs (counted ones stand in for them), no paths, no processes, and there
never was a serial number or a host name. PCI bus ids stay, because findings speak of them. What the file's form does not hold
is left out too, so that every file written here can be read. This module refuses to write a recorded rig under a new date.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from launchpad.errors import LaunchpadError
from launchpad.rig.catalog import counted_uuid, misfits
from launchpad.rig.facts import Gpu

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from launchpad.rig.facts import DockerFacts, GpuLink, RigFacts

_HEAD: Final = """\
# A rig as launchpad surveyed it. UUIDs are counted, and no serial number, host name, path or process is in here.
# What is not stated could not be told, and launchpad then says "unknown".
"""
_LONGEST: Final = 500
_MIB: Final = 1 << 20
_UUID = re.compile(r"[A-Za-z]{3,5}-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
#: Facts whose key in a file is another than their name.
_KEYS: Final = {
    "memory_bytes": "memory",
    "bar1_bytes": "bar1",
    "ram_bytes": "ram",
    "shm_bytes": "shm",
    "memlock_bytes": "memlock",
}
_RIG_FACTS: Final = (
    "driver_version",
    "driver_open",
    "driver_loaded_version",
    "cuda_version",
    "nvlink",
    "iommu",
    "acs_redirect",
    "cpu_count",
    "ram_bytes",
    "shm_bytes",
    "memlock_bytes",
    "nofile",
    "kernel",
    "kernel_flags",
    "os_name",
    "glibc",
    "circuit_w",
)
#: A card's own, which its file tells apart from its group's, or not at all.
_NOT_SHARED: Final = frozenset({"index", "uuid", "name", "compute_capability", "pci_bus_id", "numa_node", "foreign"})


def record(facts: RigFacts) -> str:
    """The TOML text of a surveyed rig; :func:`launchpad.rig.catalog.read_rig` reads the same facts back from it.

    Raises LaunchpadError where there is no GPU to record, no date, or where the rig is a recorded one.
    """
    if facts.recorded is not None:
        raise LaunchpadError(f"cannot record rig {facts.recorded}: it is a recorded rig", hint="leave out --rig")
    if not facts.gpus:
        raise LaunchpadError(
            f"cannot record this rig: {facts.gpu_problem or 'no GPU was found'}",
            hint="run it where `nvidia-smi` lists the GPUs",
        )
    if facts.as_of is None:
        raise LaunchpadError("cannot record this rig: its facts carry no date", hint="survey it first")
    return _HEAD + _toml(_fitting(_table(facts, facts.gpus)))


def _table(facts: RigFacts, gpus: tuple[Gpu, ...]) -> dict[str, Any]:
    """The file's table; a key whose value is None is left out when it is written."""
    return {
        "format": 1,
        "summary": _line(facts.title),
        "basis": "surveyed",
        "source": [_line(facts.source or "") or "surveyed by launchpad"],
        "as_of": date.fromisoformat(facts.as_of or ""),
        **{_KEYS.get(name, name): _value(name, getattr(facts, name)) for name in _RIG_FACTS},
        "docker": None if facts.docker is None else _docker(facts.docker, gpus),
        "disks": None
        if facts.disks is None
        else [
            {"what": disk.what, "free": _size(disk.free_bytes), "total": _size(disk.total_bytes)}
            for disk in facts.disks
        ],
        "links": None if facts.links is None else _links(facts.links),
        "gpu": [_cards(list(group)) for _, group in groupby(gpus, _alike)],
    }


def _alike(gpu: Gpu) -> tuple[Gpu, bool, bool]:
    """What cards of one table have in common."""
    common = replace(gpu, index=0, uuid="", pci_bus_id=None, numa_node=None, foreign=None)
    return common, gpu.pci_bus_id is None, gpu.numa_node is None


def _cards(gpus: list[Gpu]) -> dict[str, Any]:
    first = gpus[0]
    capability = first.compute_capability
    shared = [field.name for field in fields(Gpu) if field.name not in _NOT_SHARED]
    return {
        "count": len(gpus),
        "name": _line(first.name) or "unnamed NVIDIA GPU",
        "compute_capability": None if capability is None else "{}.{}".format(*capability),
        **{_KEYS.get(name, name): _value(name, getattr(first, name)) for name in shared},
        "pci_bus_ids": None if first.pci_bus_id is None else [gpu.pci_bus_id for gpu in gpus],
        "numa_nodes": None if first.numa_node is None else [gpu.numa_node for gpu in gpus],
    }


def _links(links: Iterable[GpuLink]) -> list[dict[str, Any]]:
    """One table for all pairs that are joined alike."""
    alike: dict[tuple[str, bool | None], list[list[int]]] = {}
    for link in sorted(links, key=lambda link: (link.a, link.b)):
        alike.setdefault((link.topology, link.p2p_read), []).append([link.a, link.b])
    return [{"topology": how, "p2p_read": read, "pairs": pairs} for (how, read), pairs in alike.items()]


def _docker(docker: DockerFacts, gpus: tuple[Gpu, ...]) -> dict[str, Any]:
    counted = {gpu.uuid: counted_uuid(number) for number, gpu in enumerate(gpus, 1)}
    found = {field.name: _value(field.name, getattr(docker, field.name)) for field in fields(docker)}
    if docker.cdi_devices is not None:
        known = (name for name in docker.cdi_devices if all(uuid in counted for uuid in _UUID.findall(name)))
        found["cdi_devices"] = sorted(_line(_UUID.sub(lambda uuid: counted[uuid[0]], name)) for name in known)
    return found


def _value(name: str, value: Any) -> Any:
    """A fact as a file spells it."""
    if name == "memlock_bytes" and value == -1:
        return value
    if name.endswith("_bytes"):
        return _size(value)
    if isinstance(value, tuple):
        return [_line(text) for text in value]
    return _line(value) if isinstance(value, str) else value


def _size(count: int | None) -> str | int | None:
    if not count:
        return count
    return f"{count // _MIB}MiB" if count % _MIB == 0 else f"{Decimal(count) / 1024:f}KiB"


def _line(text: str) -> str:
    """Text that fits a line of the file; what a hostile driver or file put into it is cut away."""
    return "".join(filter(str.isprintable, text))[:_LONGEST].strip()


def _fitting(table: dict[str, Any]) -> dict[str, Any]:
    """The table without what the file's form refuses: a power limit of 0 W is no news, and no reason to write no file."""
    while places := misfits(_stated(table)):
        place = places[0]  # one at a time: what is unknown then may mend the rest
        if not _drop(table, place):
            where = ".".join(map(str, place)) or "its cards and links"
            raise LaunchpadError(f"cannot record this rig: a file cannot hold {where}")
    return table


def _stated(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stated(held) for key, held in value.items() if held is not None}
    return [_stated(held) for held in value] if isinstance(value, list) else value


def _drop(table: Any, place: tuple[int | str, ...]) -> bool:
    """Make unknown the fact that a place leads to; False where it leads to none."""
    holder: Any = table
    last: tuple[Any, Any] | None = None
    for key in place:
        if isinstance(holder, dict) and holder.get(str(key)) is not None:
            last, holder = (holder, str(key)), holder[str(key)]
        elif isinstance(holder, list) and isinstance(key, int) and key < len(holder):
            holder = holder[key]
        else:
            break
    if last is None or last[1] in {"gpu", "format", "basis", "source", "as_of", "count", "name"}:
        return False
    last[0][last[1]] = None
    return True


def _toml(table: Mapping[str, Any]) -> str:
    stated = _stated(table)
    parts = {key: held for key, held in stated.items() if isinstance(held, dict) or _is_tables(held)}
    lines = [f"{key} = {_spelled(held)}" for key, held in stated.items() if key not in parts]
    for key, held in parts.items():
        for part in held if isinstance(held, list) else [held]:
            title = f"[[{key}]]" if isinstance(held, list) else f"[{key}]"
            lines += ["", title, *(f"{name} = {_spelled(value)}" for name, value in part.items())]
    return "\n".join(lines) + "\n"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _spelled(value: Any) -> str:
    """A TOML value. JSON's strings, numbers, true and false are TOML's too, once control characters are gone."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
