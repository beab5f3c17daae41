"""A stand-in for the pynvml module: two GPUs whose answers a test may replace, value by value."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """As pynvml's: it carries NVML's return code."""

    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class StandInNvml:
    """``answers`` maps (function, GPU index or None) to a value, or to an NVMLError that is raised instead."""

    NVMLError = NVMLError

    def __init__(self, count: int = 1, answers: dict[tuple[str, int | None], Any] | None = None) -> None:
        self.opened = 0
        self.NVML_NVLINK_MAX_LINKS = 18
        self.nvmlMemory_v2 = 0x02000028
        self._count = count
        self._answers = answers or {}

    def _say(self, function: str, gpu: int | None, usual: Any) -> Any:
        answer = self._answers.get((function, gpu), usual)
        if isinstance(answer, NVMLError):
            raise answer
        return answer

    def nvmlInit(self) -> None:  # noqa: N802  pynvml's names
        self._say("nvmlInit", None, None)
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetNvLinkState(self, gpu: int, link: int) -> Any:  # noqa: N802
        return self._say("nvmlDeviceGetNvLinkState", gpu, NVMLError(3))

    def nvmlDeviceGetMemoryInfo(self, gpu: int, version: int | None = None) -> Any:  # noqa: N802
        usual = SimpleNamespace(total=102_641_958_912, used=1_000 if version else 600_001_000)
        return self._say("nvmlDeviceGetMemoryInfo", gpu, usual)

    def __getattr__(self, function: str) -> Any:
        def call(gpu: int | None = None, *_: Any) -> Any:
            usual: dict[str, Any] = {
                "nvmlDeviceGetCount": self._count,
                "nvmlSystemGetDriverVersion": "580.126.09",
                "nvmlSystemGetCudaDriverVersion_v2": 13000,
                "nvmlDeviceGetHandleByIndex": gpu,
                "nvmlDeviceGetUUID": f"GPU-{gpu}",
                "nvmlDeviceGetName": "NVIDIA RTX PRO 6000 Blackwell",
                "nvmlDeviceGetCudaComputeCapability": (12, 0),
                "nvmlDeviceGetEnforcedPowerLimit": 450_000,
                "nvmlDeviceGetPowerManagementDefaultLimit": 600_000,
                "nvmlDeviceGetPowerManagementLimitConstraints": [150_000, 600_000],
                "nvmlDeviceGetMaxPcieLinkGeneration": 5,
                "nvmlDeviceGetMaxPcieLinkWidth": 16,
                "nvmlDeviceGetPowerUsage": 83_250,
                "nvmlDeviceGetTemperature": 41,
                "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=7, memory=3),
                "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=42, usedGpuMemory=1_000)],
            }
            return self._say(function, gpu, usual[function])

        return call
