"""Recorded rigs: facts of machines that are not here, from ``rigs/*.toml``.

A recorded rig stands in for a survey: ``doctor --rig``, ``plan --rig``, ``rehearse --rig``. Its name is its file's stem. It
is looked for in a ``rigs`` folder under each directory of a path list, first wins, and last among the shipped ones. Every
figure is one that the file states; what it does not state is None, and no sample is ever made up. GPU UUIDs are counted from
one under a prefix that no driver gives out and a mark of the rig's name, so a recorded card can never be taken for a real one, nor
for one of another recorded rig. This module refuses to ask a driver anything.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from launchpad.errors import NotFoundError, ProfileError
from launchpad.rig.facts import (
    ComputeMode,
    DiskFacts,
    DiskUse,
    DockerFacts,
    Gpu,
    GpuLink,
    GpuSample,
    Iommu,
    RigFacts,
    Topology,
)
from launchpad.shipped import shipped as shipped_folder
from launchpad.units import counted, parse_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

FOLDER: Final = "rigs"
LARGEST_FILE: Final = 1 << 18
#: The start of every recorded GPU's UUID; a mark of its rig's name follows, then the card's number in it, counted from 1.
UUID_PREFIX: Final = "GPU-00000000-"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


def _size(value: object) -> object:
    if isinstance(value, str):
        return parse_bytes(value)
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
        return value
    raise ValueError('must be a size with its unit, such as "97887MiB"')


def _amount(value: object) -> object:
    return value if isinstance(value, int) and value == -1 else _size(value)


def _capability(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{1,2}\.\d", value, re.ASCII):
        return value
    raise ValueError('must be a CUDA compute capability in quotes, such as "12.0"')


Line = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]
Size = Annotated[int, BeforeValidator(_size)]
Watts = Annotated[float, Field(gt=0, le=10_000)]
Room = Annotated[int, BeforeValidator(_amount)]
Whole = Annotated[int, Field(ge=1, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Yes = Annotated[bool, Field(strict=True)]
BusId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")]
Generation = Annotated[int, Field(ge=1, le=8, strict=True)]
Lanes = Annotated[int, Field(ge=1, le=32, strict=True)]
Day = Annotated[date, Field()]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _State(_Part):
    """What one card says in a state (idle, serving); leave out what nobody measured or published."""

    memory_used: Size | None = None
    power_w: Annotated[float, Field(ge=0, le=10_000)] | None = None
    temperature_c: Annotated[int, Field(ge=0, le=150, strict=True)] | None = None
    utilization_percent: Annotated[int, Field(ge=0, le=100, strict=True)] | None = None


class _Gpu(_Part):
    count: Annotated[int, Field(ge=1, le=64, strict=True)]
    name: Line
    compute_capability: Annotated[str, BeforeValidator(_capability)] | None = None
    memory: Size | None = None
    power_limit_w: Watts | None = None
    power_default_w: Watts | None = None
    power_min_w: Watts | None = None
    power_max_w: Watts | None = None
    pcie_gen_max: Generation | None = None
    pcie_width_max: Lanes | None = None
    pcie_gen_now: Generation | None = None
    pcie_width_now: Lanes | None = None
    pcie_gpu_gen_max: Generation | None = None
    pcie_replays: Count | None = None
    bar1: Size | None = None
    ecc_current: Yes | None = None
    ecc_pending: Yes | None = None
    ecc_uncorrected: Count | None = None
    mig_enabled: Yes | None = None
    compute_mode: ComputeMode | None = None
    persistence: Yes | None = None
    display_active: Yes | None = None
    remapped_pending: Yes | None = None
    remapped_failure: Yes | None = None
    pci_bus_ids: list[BusId] | None = None
    numa_nodes: list[Count] | None = None
    idle: _State = Field(default_factory=_State)
    serving: _State = Field(default_factory=_State)

    @model_validator(mode="after")
    def _one_of_each_card(self) -> _Gpu:
        for name, values in (("pci_bus_ids", self.pci_bus_ids), ("numa_nodes", self.numa_nodes)):
            if values is not None and len(values) != self.count:
                raise ValueError(f"{name} must name one for each of {self.count} cards")
        return self


class _Links(_Part):
    """Pairs of cards that are joined alike, by their numbers from 0; "all" for every pair of the rig."""

    topology: Topology
    p2p_read: Yes | None = None
    pairs: Literal["all"] | list[Annotated[list[Count], Field(min_length=2, max_length=2)]]


class _Disk(_Part):
    what: DiskUse
    free: Size | None = None
    total: Size | None = None


class _Docker(_Part):
    version: Line | None = None
    runtimes: list[Line] = Field(default_factory=list)
    cdi_devices: list[Line] | None = None
    cdi_spec_driver: Line | None = None
    toolkit_version: Line | None = None
    cgroup_version: Line | None = None


class RigFile(_Part):
    """A rig's file: everything but the GPUs, their source and their date may be left out."""

    format: Literal[1]
    summary: Line
    basis: Literal["surveyed", "composed"]
    source: Annotated[list[Line], Field(min_length=1)]
    as_of: Day
    driver_version: Line | None = None
    cuda_version: Line | None = None
    nvlink: Annotated[bool, Field(strict=True)] | None = None
    cpu_count: Whole | None = None
    ram: Size | None = None
    kernel: Line | None = None
    os_name: Line | None = None
    driver_open: Yes | None = None
    driver_loaded_version: Line | None = None
    iommu: Iommu | None = None
    acs_redirect: list[BusId] | None = None
    shm: Size | None = None
    memlock: Room | None = None
    nofile: Annotated[int, Field(ge=-1, strict=True)] | None = None
    glibc: Line | None = None
    kernel_flags: list[Line] | None = None
    circuit_w: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = None
    docker: _Docker | None = None
    disks: list[_Disk] | None = None
    links: list[_Links] | None = None
    gpu: Annotated[list[_Gpu], Field(min_length=1)]

    @model_validator(mode="after")
    def _links_join_two_cards(self) -> RigFile:
        cards = sum(card.count for card in self.gpu)
        for links in self.links or ():
            for a, b in () if links.pairs == "all" else links.pairs:
                if not a < b < cards:
                    raise ValueError(
                        f"links: [{a}, {b}] is no pair of cards, smaller number first, of 0 to {cards - 1}"
                    )
        return self


@dataclass(frozen=True, slots=True)
class State:
    """What one card says in one state, as its rig's file tells; None where it does not."""

    memory_used_bytes: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    utilization_percent: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedRig:
    """A recorded rig: its facts, and per card what it says ``idle`` and ``serving``, in the order of ``facts.gpus``.

    ``basis`` is "surveyed" where launchpad recorded a real machine, "composed" where a person put it together from documents.
    """

    name: str
    path: Path
    summary: str
    basis: Literal["surveyed", "composed"]
    facts: RigFacts
    idle: tuple[State, ...]
    serving: tuple[State, ...]


def shipped_directory() -> Path:
    """Where the profiles and rigs that come with launchpad are: inside the wheel, else the checkout's own."""
    return shipped_folder("profiles")


class RigCatalog:
    """The recorded rigs of a path list. ``directories`` are profile directories; each may hold a ``rigs`` folder."""

    def __init__(self, directories: Sequence[Path] = (), *, shipped: Path | None = None) -> None:
        self.directories = (*directories, shipped if shipped is not None else shipped_directory())

    def names(self) -> tuple[str, ...]:
        """Every name that :meth:`load` knows, sorted; no file is read."""
        return tuple(sorted(self._files()))

    def load(self, name: str) -> RecordedRig:
        """The recorded rig of that name. Raises NotFoundError, or ProfileError with every problem its file has."""
        path = self._files().get(name)
        if path is None:
            raise self._unknown(name)
        return read_rig(path)

    def facts(self, name: str) -> RigFacts:
        """The facts of that recorded rig, ``recorded`` set to its name. Raises as :meth:`load` does."""
        return self.load(name).facts

    def _files(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for directory in self.directories:
            try:
                paths = sorted((directory / FOLDER).glob("*.toml"))
            except OSError:
                continue
            for path in paths:
                if _NAME.fullmatch(path.stem):
                    found.setdefault(path.stem, path)
        return found

    def _unknown(self, name: str) -> NotFoundError:
        names = self.names()
        near = difflib.get_close_matches(name[:100], names, n=1, cutoff=0.5)
        known = f"recorded rigs: {', '.join(names)}" if names else "there are no recorded rigs"
        hint = f"did you mean {near[0]}? {known}" if near else known
        return NotFoundError(f"cannot find recorded rig {name[:100]!r}: no {FOLDER} folder holds it", hint=hint)


def read_rig(path: Path) -> RecordedRig:
    """The recorded rig in a file; raises ProfileError with one line for each problem."""
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise _wrong(path, [f"{path}: is larger than {LARGEST_FILE >> 10} KiB; a rig is a page of text"])
        table = tomllib.loads(data.decode("utf-8"))
    except OSError as problem:
        raise _wrong(path, [f"{path}: cannot be read: {problem.strerror}"]) from problem
    except UnicodeDecodeError as problem:
        raise _wrong(path, [f"{path}: is no UTF-8 at byte {problem.start}"]) from problem
    except (tomllib.TOMLDecodeError, RecursionError) as problem:
        raise _wrong(path, [f"{path}: is no TOML: {problem}"]) from problem
    try:
        rig = RigFile.model_validate(table)
    except ValidationError as problem:
        lines = [f"{path}: {_where(error['loc'])}{_what(error['msg'])}" for error in problem.errors()]
        raise _wrong(path, lines) from problem
    return _recorded(path, rig)


def misfits(table: Mapping[str, object]) -> tuple[tuple[str | int, ...], ...]:
    """Where a table is no recorded rig's: a path of keys and positions for each problem; none where it is one."""
    try:
        RigFile.model_validate(table)
    except ValidationError as problem:
        return tuple(error["loc"] for error in problem.errors())
    return ()


def counted_uuid(number: int, rig: str | None = None) -> str:
    """The UUID of card ``number``, counted from 1, of the recorded rig ``rig``; None: as a rig's own file spells it.

    A file knows no name but its own file's, which a person may change.
    """
    return f"{_counted(rig)}{number:012d}"


def _counted(rig: str | None) -> str:
    mark = "00000000" if rig is None else hashlib.sha256(rig.encode()).hexdigest()[:8]
    return f"{UUID_PREFIX}{mark[:4]}-{mark[4:]}-0000-"


def recorded_samples(rig: RecordedRig, *, serving: bool, now: datetime) -> tuple[GpuSample, ...]:
    """What the rig's cards say at ``now`` in place of NVML; None wherever the rig's file does not say."""
    states = rig.serving if serving else rig.idle
    return tuple(
        GpuSample(
            uuid=gpu.uuid,
            index=gpu.index,
            at=now,
            memory_used_bytes=state.memory_used_bytes,
            power_w=state.power_w,
            temperature_c=state.temperature_c,
            utilization_percent=state.utilization_percent,
            memory_total_bytes=gpu.memory_bytes,
            power_limit_w=gpu.power_limit_w,
        )
        for gpu, state in zip(rig.facts.gpus or (), states, strict=True)
    )


def _recorded(path: Path, rig: RigFile) -> RecordedRig:
    cards = [(card, number) for card in rig.gpu for number in range(card.count)]
    facts = RigFacts(
        gpus=tuple(
            _gpu(index, counted_uuid(index + 1, path.stem), card, number) for index, (card, number) in enumerate(cards)
        ),
        recorded=path.stem,
        driver_version=rig.driver_version,
        cuda_version=rig.cuda_version,
        nvlink=rig.nvlink,
        cpu_count=rig.cpu_count,
        ram_bytes=rig.ram,
        kernel=rig.kernel,
        os_name=rig.os_name,
        source="; ".join(rig.source),
        as_of=rig.as_of.isoformat(),
        driver_open=rig.driver_open,
        driver_loaded_version=rig.driver_loaded_version,
        links=_links(rig, len(cards)),
        iommu=rig.iommu,
        acs_redirect=_maybe_tuple(rig.acs_redirect),
        shm_bytes=rig.shm,
        memlock_bytes=rig.memlock,
        nofile=rig.nofile,
        glibc=rig.glibc,
        kernel_flags=_maybe_tuple(rig.kernel_flags),
        disks=None if rig.disks is None else tuple(DiskFacts(d.what, None, d.free, d.total) for d in rig.disks),
        docker=None if rig.docker is None else _docker(rig.docker, path.stem),
        circuit_w=rig.circuit_w,
    )
    idle, serving = (tuple(_state(getattr(card, name)) for card, _ in cards) for name in ("idle", "serving"))
    return RecordedRig(path.stem, path, rig.summary, rig.basis, facts, idle, serving)


def _gpu(index: int, uuid: str, card: _Gpu, number: int) -> Gpu:
    """Card ``number`` of its group, as GPU ``index`` of its rig."""
    capability = card.compute_capability
    major, _, minor = (capability or "").partition(".")
    return Gpu(
        index=index,
        uuid=uuid,
        name=card.name,
        compute_capability=(int(major), int(minor)) if capability else None,
        memory_bytes=card.memory,
        power_limit_w=card.power_limit_w,
        power_default_w=card.power_default_w,
        power_min_w=card.power_min_w,
        power_max_w=card.power_max_w,
        pcie_gen_max=card.pcie_gen_max,
        pcie_width_max=card.pcie_width_max,
        pci_bus_id=None if card.pci_bus_ids is None else card.pci_bus_ids[number],
        ecc_current=card.ecc_current,
        ecc_pending=card.ecc_pending,
        mig_enabled=card.mig_enabled,
        compute_mode=card.compute_mode,
        persistence=card.persistence,
        bar1_bytes=card.bar1,
        pcie_gen_now=card.pcie_gen_now,
        pcie_width_now=card.pcie_width_now,
        pcie_gpu_gen_max=card.pcie_gpu_gen_max,
        pcie_replays=card.pcie_replays,
        display_active=card.display_active,
        remapped_pending=card.remapped_pending,
        remapped_failure=card.remapped_failure,
        ecc_uncorrected=card.ecc_uncorrected,
        numa_node=None if card.numa_nodes is None else card.numa_nodes[number],
    )


def _links(rig: RigFile, cards: int) -> tuple[GpuLink, ...] | None:
    if rig.links is None:
        return None
    found: dict[tuple[int, int], GpuLink] = {}
    for links in rig.links:
        pairs = [list(pair) for pair in combinations(range(cards), 2)] if links.pairs == "all" else links.pairs
        for a, b in pairs:
            found.setdefault((a, b), GpuLink(a, b, links.topology, links.p2p_read))
    return tuple(found[pair] for pair in sorted(found))


def _docker(docker: _Docker, rig: str) -> DockerFacts:
    devices = _maybe_tuple(docker.cdi_devices)
    return DockerFacts(
        version=docker.version,
        runtimes=tuple(docker.runtimes),
        cdi_devices=devices and tuple(name.replace(_counted(None), _counted(rig)) for name in devices),
        cdi_spec_driver=docker.cdi_spec_driver,
        toolkit_version=docker.toolkit_version,
        cgroup_version=docker.cgroup_version,
    )


def _maybe_tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _state(state: _State) -> State:
    return State(state.memory_used, state.power_w, state.temperature_c, state.utilization_percent)


def _where(location: tuple[str | int, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return f"{text[:100]!r}: " if not text.isprintable() else f"{text[:100]}: "


def _what(message: str) -> str:
    plain = message.removeprefix("Value error, ")
    known = {
        "Extra inputs are not permitted": "is no key of a recorded rig; remove it",
        "Field required": "is missing; it must be there",
    }
    return known.get(plain, plain)


def _wrong(path: Path, problems: list[str]) -> ProfileError:
    return ProfileError(
        f"cannot read recorded rig {path.stem!r}: {counted(len(problems), 'problem')}", problems=tuple(problems)
    )
