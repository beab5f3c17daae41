"""Subjects, outcomes and means for tests of active checks: small, and changed by keyword."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from launchpad.doctor.deep.plan import ALL, ActiveCheck, ImageUnderTest, Subject, plan
from launchpad.doctor.deep.run import How, Outcome
from launchpad.rig.facts import Gpu, GpuLink, GpuSample

if TYPE_CHECKING:
    from pathlib import Path

BEGAN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def gpu(index: int, **changes: Any) -> Gpu:
    made = Gpu(index, f"GPU-{index}", "NVIDIA H200", power_limit_w=700.0, pcie_gen_max=5, pcie_width_max=16)
    return replace(made, **changes)


def subject(**changes: Any) -> Subject:
    made = Subject(
        "pair", "/state", (gpu(0), gpu(1)), (GpuLink(0, 1, "nvlink", True),), ImageUnderTest("img:1", "sha256:1")
    )
    return replace(made, **changes)


def with_weights(folder: Path, sizes: tuple[int, ...], **changes: Any) -> Subject:
    shards = []
    for number, size in enumerate(sizes):
        (folder / f"{number}.safetensors").write_bytes(b"w" * size)
        shards.append((f"{number}.safetensors", size))
    return subject(model_path=folder, shards=tuple(shards), **changes)


def check(name: str, of: Subject | None = None, power_s: float = 60.0) -> ActiveCheck:
    found, _ = plan(of or subject(), (name,), power_s)
    return found[0]


def every_check(of: Subject) -> tuple[ActiveCheck, ...]:
    return plan(of, ALL, 60.0)[0]


def outcome(*lines: dict[str, Any], how: How = "answered", **changes: Any) -> Outcome:
    return replace(Outcome(how, 3.0, tuple(lines)), **changes)


def reduced(bus: float, size: int = 64 * 2**20) -> dict[str, Any]:
    return {"bytes": size, "seconds": size / bus, "bus_bytes_per_s": bus}


def sample(index: int, second: float, **changes: Any) -> GpuSample:
    return replace(GpuSample(f"GPU-{index}", index, BEGAN + timedelta(seconds=second)), **changes)


@dataclass
class ToldEyes:
    """Sees what the test says."""

    now: tuple[GpuSample, ...] = ()
    links: tuple[Gpu, ...] = ()
    closed: bool = field(default=False)

    def samples(self) -> tuple[GpuSample, ...]:
        return self.now

    def gpus(self) -> tuple[Gpu, ...]:
        return self.links

    def close(self) -> None:
        self.closed = True
