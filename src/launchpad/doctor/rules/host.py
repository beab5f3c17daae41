"""Hazards of the machine around the cards: what a load reads, and what a compiler on the host would meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import AS_OF, GIB, name, older, version, weights_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchpad.doctor.case import Case

_LEAST_SHM: Final = 16 * GIB
#: An engine's image is 10 to 25 GB, and so many again while it is unpacked; logs and crash folders are small.
_LEAST_DISK: Final[Mapping[str, int]] = {"docker": 20 * GIB, "state": GIB}
_DISK_OF: Final[Mapping[str, str]] = {"docker": "Docker's images and caches", "state": "launchpad's state"}


def _ram(case: Case) -> Iterator[Seen]:
    weights = weights_bytes(case)
    ram = case.facts.ram_bytes
    if case.gpus and weights and ram is not None and ram < weights:
        yield Seen(
            f"the weights of {name(case)} are {weights / GIB:.0f} GiB and this rig has {ram / GIB:.0f} GiB of RAM: "
            "every restart reads them from disk"
        )


def _small_shm(case: Case) -> Iterator[Seen]:
    shm = case.facts.shm_bytes
    shared = case.spec is not None and len(case.gpus) > 1 and case.spec.containers[0].ipc == "host"
    if shared and shm is not None and shm < _LEAST_SHM:
        yield Seen(f"{name(case)} shares the rig's /dev/shm, which is only {shm / GIB:.1f} GiB")


def _disk(case: Case) -> Iterator[Seen]:
    for disk in case.facts.disks or ():
        least = _LEAST_DISK.get(disk.what)
        if least is not None and disk.free_bytes is not None and disk.free_bytes < least:
            yield Seen(
                f"the disk of {_DISK_OF[disk.what]} has {disk.free_bytes / GIB:.1f} GiB left",
                evidence=disk.path,
                hint=f"df -h {disk.path or ''}; docker system df".replace(" ;", ";"),
            )


def _glibc(case: Case) -> Iterator[Seen]:
    if case.spec is None and case.gpus and older(version(case.facts.glibc), "2.41") is False:
        yield Seen(f"glibc {case.facts.glibc} of this rig breaks CUDA compilers older than 13.2 outside containers")


RULES: Final = (
    Rule(
        id="host.ram-below-weights",
        severity="informs",
        title="Less RAM than weights",
        look=_ram,
        hint="no remedy but RAM or a faster disk; raise deadlines.stall if restarts are slow",
        source="Linux page cache; bench-cost figures of DeepSeek V4 Flash: 159.6 GB",
        as_of=AS_OF,
        basis="inferred",
        explain="Weights are read through the page cache. Where RAM holds them, the second start within a boot reads"
        " memory, not disk.",
    ),
    Rule(
        id="host.shm-small",
        severity="warns",
        title="ipc = host, and the rig's own /dev/shm is small",
        look=_small_shm,
        hint='set container.ipc = "private" and container.shm_size = "32GiB", or: sudo mount -o remount,size=64G '
        "/dev/shm",
        source="https://docs.sglang.ai/get_started/install.html",
        as_of=AS_OF,
        basis="inferred",
        explain="With ipc=host shm_size is void and the rig's /dev/shm is used, half of RAM by default. NCCL without"
        " peer-to-peer and both engines' workers talk through it.",
    ),
    Rule(
        id="host.disk-low",
        severity="warns",
        title="A disk that is nearly full",
        look=_disk,
        hint="df -h; docker system df",
        source="NIM of DeepSeek V4: an image of 24.3 GB; vLLM's and SGLang's are of that order",
        as_of=AS_OF,
        basis="inferred",
        explain="Pulling an image needs its size twice for a while, and JIT caches grow by gigabytes a version. A full disk ends "
        "a start with 'No space left on device', or a cache that is cut short.",
    ),
    Rule(
        id="host.glibc-cuda",
        severity="informs",
        title="Compiling CUDA on this host",
        look=_glibc,
        hint="compile in the engine's container, which brings its own glibc and nvcc",
        source="https://github.com/sgl-project/sglang/issues/39807",
        as_of=AS_OF,
        basis="reported",
        versions="glibc >= 2.41 with CUDA < 13.2",
        explain="Bare-metal installs only: nvcc before 13.2 cannot read glibc 2.41's headers, so every JIT fails. "
        "Containers are not concerned, so this is said of a rig and not of a deployment.",
    ),
)
