"""Collecting facts: the host's files, and NVML once, in a child under a deadline, so that no command freezes on a driver.

A survey never raises: what could not be told is None, and ``gpu_problem`` says why. It measures nothing and changes nothing.
What the container runtime says is not asked here: whoever can ask it hands :class:`DockerFacts` in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from launchpad.clock import SystemClock
from launchpad.rig.facts import RigFacts
from launchpad.rig.host import Host, read_disks
from launchpad.rig.nvml import NvmlProblem
from launchpad.rig.sampler import RigReading, ask_once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from launchpad.clock import Clock
    from launchpad.rig.facts import DiskUse, DockerFacts, Gpu
    from launchpad.rig.host import HostFacts

#: Seconds that NVML may take: waking cold GPUs is slow, a wedged driver never answers.
SURVEY_DEADLINE: Final = 10.0
NO_GPU: Final = "no NVIDIA GPU is on the PCI bus, and no NVIDIA driver is loaded"


SOURCE: Final = "surveyed by launchpad"


def survey(
    host: Host | None = None,
    ask: Callable[[float], RigReading] = ask_once,
    *,
    places: Sequence[tuple[DiskUse, Path]] = (),
    docker: DockerFacts | None = None,
    clock: Clock | None = None,
) -> RigFacts:
    """This rig's facts, within about SURVEY_DEADLINE seconds whatever the driver does.

    NVML is asked only where something hints at an NVIDIA GPU, or where that could not be told. ``places`` are the paths whose
    file systems matter. The facts carry today's date.
    """
    here = host or Host()
    traces = here.nvidia_traces()
    answer: RigReading | NvmlProblem | None = None
    if traces != ():
        try:
            answer = ask(SURVEY_DEADLINE)
        except NvmlProblem as problem:
            answer = problem
    facts = assemble(here.read_facts(), traces, answer)
    return replace(
        facts,
        gpus=None if facts.gpus is None else tuple(_placed(gpu, here) for gpu in facts.gpus),
        disks=read_disks(places) if places else None,
        docker=docker,
        source=SOURCE,
        as_of=(clock or SystemClock()).now().date().isoformat(),
    )


def _placed(gpu: Gpu, host: Host) -> Gpu:
    """The GPU with what only the host can tell: its NUMA node, and the names of the processes on it."""
    processes = gpu.foreign
    return replace(
        gpu,
        numa_node=None if gpu.pci_bus_id is None else host.pci.numa_node(gpu.pci_bus_id),
        foreign=processes and tuple(replace(process, command=host.command_of(process.pid)) for process in processes),
    )


def assemble(host: HostFacts, traces: tuple[str, ...] | None, answer: RigReading | NvmlProblem | None) -> RigFacts:
    """The facts that host and NVML amount to; ``answer`` None means that there was no reason to ask NVML."""
    gpus: tuple[Gpu, ...] | None
    match answer:
        case RigReading():
            gpus, problem = answer.gpus, None if answer.gpus else "NVML counts no GPU"
        case NvmlProblem():
            gpus, problem = None, "; ".join(filter(None, (answer.message, answer.hint)))
            if traces:
                problem += f" (seen: {', '.join(traces)})"
        case None:
            gpus, problem = (), NO_GPU
    reading = answer if isinstance(answer, RigReading) else None
    return RigFacts(
        gpus=gpus,
        gpu_problem=problem,
        driver_version=reading.driver_version if reading else None,
        cuda_version=reading.cuda_version if reading else None,
        nvlink=reading.nvlink if reading else None,
        links=reading.links if reading else None,
        cpu_count=host.cpu_count,
        ram_bytes=host.ram_bytes,
        kernel=host.kernel,
        os_name=host.os_name,
        driver_open=host.driver_open,
        driver_loaded_version=host.driver_loaded_version,
        iommu=host.iommu,
        acs_redirect=host.acs_redirect,
        shm_bytes=host.shm_bytes,
        memlock_bytes=host.memlock_bytes,
        nofile=host.nofile,
        glibc=host.glibc,
        kernel_flags=host.kernel_flags,
    )
