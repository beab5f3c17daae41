"""What is true of a rig.

*Facts* hold until reboot (:class:`RigFacts`, :class:`Gpu`); a *sample* is what NVML says now (:class:`GpuSample`). ``None``
means unknown and is said aloud; no value is ever made up. These are values: nothing here asks a driver anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU's facts. ``index`` is NVML's order (PCI bus order); ``memory_bytes`` is NVML's total, power in watts.

    ``compute_capability`` decides what a kernel needs: SM120 is (12, 0). Never use the architecture's name for that:
    NVML's "Blackwell" covers both SM100 and SM120.
    """

    index: int
    uuid: str
    name: str
    compute_capability: tuple[int, int] | None = None
    memory_bytes: int | None = None
    power_limit_w: float | None = None
    power_default_w: float | None = None
    power_min_w: float | None = None
    power_max_w: float | None = None
    pcie_gen_max: int | None = None
    pcie_width_max: int | None = None

    @property
    def sm(self) -> str | None:
        """The compute capability as kernels name it: ``120`` for 12.0."""
        return None if self.compute_capability is None else "{}{}".format(*self.compute_capability)


@dataclass(frozen=True, slots=True)
class RigFacts:
    """A rig as surveyed, or as recorded in ``profiles/rigs/*.toml`` (then ``recorded`` names the file's stem).

    ``gpus`` None means that they could not be counted, and ``gpu_problem`` says why ("NVML library not found"); an empty
    tuple means that there are none.
    """

    gpus: tuple[Gpu, ...] | None
    gpu_problem: str | None = None
    recorded: str | None = None
    driver_version: str | None = None
    cuda_version: str | None = None
    nvlink: bool | None = None
    cpu_count: int | None = None
    ram_bytes: int | None = None
    kernel: str | None = None
    os_name: str | None = None
    source: str | None = None
    as_of: str | None = None

    @property
    def title(self) -> str:
        """One line for people: ``4x NVIDIA RTX PRO 6000 Blackwell, driver 580.126.09 (recorded rig 4x-rtx-pro-6000)``."""
        if self.gpus is None:
            what = f"GPUs unknown ({self.gpu_problem or 'no reason given'})"
        elif not self.gpus:
            what = "no NVIDIA GPU"
        else:
            names = sorted({gpu.name for gpu in self.gpus})
            what = " + ".join(f"{sum(gpu.name == name for gpu in self.gpus)}x {name}" for name in names)
        driver = f", driver {self.driver_version}" if self.driver_version else ""
        return what + driver + (f" (recorded rig {self.recorded})" if self.recorded else "")


@dataclass(frozen=True, slots=True)
class GpuSample:
    """What one GPU says at one moment; None where it did not say.

    ``memory_used_bytes`` excludes what the driver reserves for itself. ``processes`` are (process id, bytes) of what computes
    on it, by the host's process ids; bytes None where NVML does not say (as inside a container).
    """

    uuid: str
    index: int
    at: datetime
    memory_used_bytes: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    utilization_percent: int | None = None
    processes: tuple[tuple[int, int | None], ...] | None = None
