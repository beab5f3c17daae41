"""Where a deployment's GPU samples come from, behind one small shape: ``latest()`` and ``close()``.

NVML's are read in a child process, because a wedged driver blocks its caller for ever; a rehearsal's come from its recorded rig.
No value is ever made up: a source that has nothing says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchpad.rig.facts import GpuSample

_INTERVAL_S: Final = 1.0
_DEADLINE_S: Final = 15.0


class NoSamples:
    """A deployment without GPUs."""

    def latest(self) -> tuple[tuple[GpuSample, ...], str | None]:
        """Nothing, and no problem."""
        return (), None

    def close(self) -> None:
        """Nothing to stop."""


class NvmlSamples:
    """NVML, once a second, in a child process under a deadline."""

    def __init__(self) -> None:
        from launchpad.rig.sampler import Sampler

        self._sampler = Sampler(_INTERVAL_S, _DEADLINE_S)
        self._sampler.start()

    def latest(self) -> tuple[tuple[GpuSample, ...], str | None]:
        """The newest samples, or why there are none."""
        samples, problem = self._sampler.latest()
        return samples, problem.message if problem else None

    def close(self) -> None:
        """End the child."""
        self._sampler.close()


class RecordedSamples:
    """What a recorded rig says, idle or serving."""

    def __init__(self, read: Callable[[], tuple[GpuSample, ...]]) -> None:
        self._read = read

    def latest(self) -> tuple[tuple[GpuSample, ...], str | None]:
        """The recorded samples for what the deployment does now."""
        return self._read(), None

    def close(self) -> None:
        """Nothing to stop."""
