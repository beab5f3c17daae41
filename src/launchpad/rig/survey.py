"""Collecting facts: the host's files, and NVML once, in a child under a deadline, so that no command freezes on a driver.

A survey never raises: what could not be told is None, and ``gpu_problem`` says why. It measures nothing and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.rig.facts import RigFacts
from launchpad.rig.host import Host
from launchpad.rig.nvml import NvmlProblem
from launchpad.rig.sampler import RigReading, ask_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchpad.rig.facts import Gpu
    from launchpad.rig.host import HostFacts

#: Seconds that NVML may take: waking cold GPUs is slow, a wedged driver never answers.
SURVEY_DEADLINE: Final = 10.0
NO_GPU: Final = "no NVIDIA GPU is on the PCI bus, and no NVIDIA driver is loaded"


def survey(host: Host | None = None, ask: Callable[[float], RigReading] = ask_once) -> RigFacts:
    """This rig's facts, within about SURVEY_DEADLINE seconds whatever the driver does.

    NVML is asked only where something hints at an NVIDIA GPU, or where that could not be told.
    """
    here = host or Host()
    traces = here.nvidia_traces()
    if traces == ():
        return assemble(here.read_facts(), traces, None)
    try:
        answer: RigReading | NvmlProblem = ask(SURVEY_DEADLINE)
    except NvmlProblem as problem:
        answer = problem
    return assemble(here.read_facts(), traces, answer)


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
        cpu_count=host.cpu_count,
        ram_bytes=host.ram_bytes,
        kernel=host.kernel,
        os_name=host.os_name,
    )
