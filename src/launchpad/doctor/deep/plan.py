"""What an active check would do: what it says first, how long it takes, its deadline, and the container it needs.

Pure. A check that cannot be run on a subject says why not; it is left out and named, never passed over in silence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from launchpad.doctor.deep.scripts import source
from launchpad.errors import LaunchpadError
from launchpad.rig.facts import Gpu, GpuLink
from launchpad.runtime.base import LABEL_GPUS, LABEL_OWNER, LABEL_ROLE, ContainerSpec

if TYPE_CHECKING:
    from collections.abc import Collection

GPU_CONTAINER: Final = "deep.gpu-container"
ALL_REDUCE: Final = "deep.all-reduce"
GPU_MEMORY: Final = "deep.gpu-memory-bandwidth"
PCIE: Final = "deep.pcie-bandwidth"
DISK: Final = "deep.disk-read"
POWER: Final = "deep.power"
#: In the order they run: what the others rest on first, what may hang and what may trip a breaker last.
ALL: Final = (DISK, GPU_CONTAINER, GPU_MEMORY, PCIE, ALL_REDUCE, POWER)

#: The role that containers of active checks carry. They carry no deployment, so that nothing takes them for one.
ROLE: Final = "deep"
#: Seconds beyond its work that a container gets: to start, to import torch (a cold image of 20 GB on a slow disk), to warm up.
START_S: Final = 90.0
#: After the deadline here, the script ends itself within this time, should nobody be left to end it.
OWN_LIMIT_S: Final = 15.0
ALL_REDUCE_SIZES: Final = tuple(4 * 1024 * 4**step for step in range(8))  # 4 KiB to 64 MiB
BANDWIDTH_S: Final = 2.0
DISK_S: Final = 20.0
DISK_BYTES: Final = 16 * 2**30
DISK_PIECE: Final = 16 * 2**20
DISK_READERS: Final = 4
SHM_BYTES: Final = 2**30
SHORTEST_S, LONGEST_S = 5.0, 600.0
#: Settings of the profile's container, and of whoever asks, that change what NCCL does.
PASSED_ON: Final = ("NCCL_", "NVSHMEM_", "TORCH_SYMM_MEM_")
#: Not those that name what is not there: a network beside loopback, files of the profile's own mounts.
NOT_THERE: Final = ("SOCKET_IFNAME", "_FILE")


@dataclass(frozen=True, slots=True)
class ImageUnderTest:
    """The image that the checks run in; ``id`` pins it."""

    reference: str
    id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: GPUs with their links, an image, a model's weight files with their sizes, and what was promised about them.

    ``startup_s`` is the profile's own deadline for coming up; watts and seconds are None where nobody declared them.
    """

    name: str
    owner: str
    gpus: tuple[Gpu, ...] = ()
    links: tuple[GpuLink, ...] | None = None
    image: ImageUnderTest | None = None
    env: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    model_path: Path | None = None
    shards: tuple[tuple[str, int], ...] = ()
    startup_s: float | None = None
    power_budget_w: int | None = None
    circuit_w: int | None = None

    @property
    def gpu_words(self) -> str:
        """``GPUs 0, 1``."""
        return f"GPU{'s' if len(self.gpus) != 1 else ''} {', '.join(str(gpu.index) for gpu in self.gpus)}"

    @property
    def total_bytes(self) -> int:
        """Bytes of the weights that a load reads."""
        return sum(size for _, size in self.shards)


@dataclass(frozen=True, slots=True)
class ActiveCheck:
    """One check, ready to run. ``does`` is said first; ``takes_s`` is what to expect, at ``deadline_s`` it is ended."""

    id: str
    does: str
    takes_s: float
    deadline_s: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_gpu(self) -> bool:
        """Whether it runs in a container on the GPUs."""
        return self.id != DISK

    @property
    def says(self) -> str:
        """What a person reads before it starts."""
        return (
            f"{self.id}: {self.does}; about {self.takes_s:.0f} s, ended after {self.deadline_s:.0f} s whatever happens"
        )


def chosen(only: Collection[str]) -> tuple[str, ...]:
    """The ids that ``only`` names (all where it is empty), with or without ``deep.``; raises LaunchpadError for any other."""
    wanted = {name if name.startswith("deep.") else f"deep.{name}" for name in only}
    if unknown := wanted - set(ALL):
        raise LaunchpadError(
            f"cannot run {', '.join(sorted(unknown))}: there is no such active check", hint=f"known: {', '.join(ALL)}"
        )
    return tuple(name for name in ALL if not wanted or name in wanted)


def plan(subject: Subject, ids: Collection[str], power_s: float) -> tuple[tuple[ActiveCheck, ...], tuple[str, ...]]:
    """The checks that can be run on ``subject``, in order, and in words those that cannot."""
    if not SHORTEST_S <= power_s <= LONGEST_S:
        raise LaunchpadError(
            f"cannot load the GPUs for {power_s:g} s: choose {SHORTEST_S:.0f} to {LONGEST_S:.0f} s",
            hint="--deep-seconds 60",
        )
    checks, left_out = [], []
    for name in ids:
        if why := why_not(name, subject):
            left_out.append(f"{name}: {why}")
        else:
            checks.append(_check(name, subject, power_s))
    return tuple(checks), tuple(left_out)


def why_not(name: str, subject: Subject) -> str | None:
    """Why that check cannot be run on this subject, or None."""
    if name == DISK:
        if subject.model_path is None:
            return "no model directory is known (name a profile whose model.path is on this machine)"
        return None if subject.total_bytes else f"{subject.model_path} holds no weights"
    if subject.image is None:
        return "no image is known (name a profile, or add --image REFERENCE)"
    if not subject.gpus:
        return f"{subject.name} uses no GPU"
    if name == ALL_REDUCE and len(subject.gpus) == 1:
        return "one GPU has nobody to exchange with"
    return None


def _check(name: str, subject: Subject, power_s: float) -> ActiveCheck:
    count, on = len(subject.gpus), subject.gpu_words
    image = subject.image.reference if subject.image else ""
    match name:
        case "deep.gpu-container":
            return _container(name, f"start {image} with {on}, compute a small product on each", 5, {"work": "see"})
        case "deep.gpu-memory-bandwidth":
            settings = {"work": "device-memory", "seconds": BANDWIDTH_S}
            return _container(name, f"copy within the memory of {on}, one after another", BANDWIDTH_S * count, settings)
        case "deep.pcie-bandwidth":
            does = f"copy between pinned host memory and {on}, one after another, both ways"
            return _container(name, does, 4 * BANDWIDTH_S * count, {"work": "pcie", "seconds": 2 * BANDWIDTH_S})
        case "deep.all-reduce":
            does = f"sum 4 KiB to 64 MiB over {on} with the image's NCCL; peer-to-peer that hangs is killed"
            settings = {
                "work": "all-reduce",
                "ranks": count,
                "sizes": ALL_REDUCE_SIZES,
                "meet": "/dev/shm/launchpad-deep-meet",  # noqa: S108 - inside a container of its own
            }
            return _container(name, does, 15, settings)
        case "deep.power":
            watts = sum(gpu.power_limit_w or 0 for gpu in subject.gpus)
            does = f"load {on} fully, up to {watts:.0f} W together by their limits, and read their power; no limit is changed"
            return _container(name, does, power_s, {"work": "full-tilt", "seconds": power_s})
        case _:
            does = f"read up to {DISK_BYTES // 2**30} GiB of {subject.model_path} past the page cache"
            return ActiveCheck(name, does, DISK_S, DISK_S + 10)


def _container(name: str, does: str, work_s: float, settings: dict[str, Any]) -> ActiveCheck:
    """A check in a container: ten seconds to come up are usual, START_S are allowed."""
    deadline = work_s + START_S
    return ActiveCheck(name, does, work_s + 10, deadline, settings | {"limit_s": deadline + OWN_LIMIT_S})


def container_name(check: ActiveCheck, owner: str) -> str:
    """The name of its container: one for each check and launchpad, so that what a killed one left is found again."""
    return f"launchpad-{check.id.replace('.', '-')}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}"


def container_spec(check: ActiveCheck, subject: Subject) -> ContainerSpec:
    """The container that ``check`` runs in: no network, no capability, nothing mounted, and the script as its only argument."""
    if subject.image is None:
        raise ValueError(f"{check.id} needs an image")
    uuids = tuple(gpu.uuid for gpu in subject.gpus)
    return ContainerSpec(
        role=ROLE,
        name=container_name(check, subject.owner),
        image=subject.image.reference,
        image_id=subject.image.id,
        entrypoint=("python3",),
        command=("-c", source("measure"), json.dumps(dict(check.settings))),
        env=(("PYTHONUNBUFFERED", "1"), *subject.env),
        gpus=uuids,
        shm_bytes=SHM_BYTES,
        init=False,
        user=subject.user,
        network="none",
        labels=((LABEL_ROLE, ROLE), (LABEL_OWNER, subject.owner), (LABEL_GPUS, ",".join(uuids))),
    )


def nccl_env(*environments: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Of those environments the settings that change what NCCL does, the last one's word first."""
    merged = {
        name: value
        for said in environments
        for name, value in said.items()
        if name.startswith(PASSED_ON) and not name.endswith(NOT_THERE)
    }
    return tuple(sorted(merged.items()))
