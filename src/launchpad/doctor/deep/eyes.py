"""What is watched on the host while a container works: launchpad's own NVML sampler, and the PCIe links under load.

Both ask NVML in child processes under a deadline, because a wedged driver blocks its caller for ever. Nothing is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from launchpad.rig.nvml import NvmlProblem
from launchpad.rig.sampler import Sampler, ask_once

if TYPE_CHECKING:
    from launchpad.rig.facts import Gpu, GpuSample

#: Seconds that one look at the links may take.
LINK_DEADLINE: Final = 5.0
SAMPLE_EVERY_S: Final = 0.5


class Eyes(Protocol):
    """What a check may see of the GPUs from outside."""

    def samples(self) -> tuple[GpuSample, ...]:
        """The newest samples, at once; empty where nothing is known."""

    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs with their links as they are now, within seconds; empty where NVML does not say."""

    def close(self) -> None:
        """Stop watching."""


class NvmlEyes:
    """This machine's NVML."""

    def __init__(self) -> None:
        self._sampler = Sampler(interval=SAMPLE_EVERY_S)
        self._sampler.start()

    def samples(self) -> tuple[GpuSample, ...]:
        """The newest samples, at once."""
        return self._sampler.latest()[0]

    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs as they are now."""
        try:
            return ask_once(LINK_DEADLINE).gpus
        except NvmlProblem:
            return ()

    def close(self) -> None:
        """End the sampler's child."""
        self._sampler.close()


class NoEyes:
    """For checks that need no GPU: sees nothing."""

    def samples(self) -> tuple[GpuSample, ...]:
        """Nothing."""
        return ()

    def gpus(self) -> tuple[Gpu, ...]:
        """Nothing."""
        return ()

    def close(self) -> None:
        """Nothing to end."""
