"""Hazards of the machine around the cards: what a load reads, and what a compiler on the host would meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import AS_OF, GIB, name, older, version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.doctor.case import Case

_LEAST_SHM: Final = 16 * GIB


def _ram(case: Case) -> Iterator[Seen]:
    weights = case.checkpoint.total_bytes if case.checkpoint is not None else 0
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
