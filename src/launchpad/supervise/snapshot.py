"""What a supervisor publishes: ``state.json``, read by ``status`` and ``up``.

One value holds the machine's persisted state and what a person wants to see of the replica. It is written whole, by one
writer; readers need neither Docker nor NVML. ``None`` is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from launchpad.supervise.machine import State


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container of the deployment, for people and scripts."""

    id: str
    name: str
    image: str
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class GpuView:
    """One GPU of the deployment and what it last said."""

    uuid: str
    index: int
    memory_used_bytes: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    utilization_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How far the load of a STARTING replica is. ``expected_s`` is learned from earlier starts, None for the first.

    ``warm`` says whether the cache volume had been filled before this start.
    """

    stage: str | None
    done: int | None
    total: int | None
    started_at: datetime
    expected_s: float | None
    warm: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A deployment as its supervisor last saw it. ``runtime_problem`` says why it cannot see it now."""

    version: int
    name: str
    pid: int
    updated_at: datetime
    state: State
    spec_hash: str
    engine: str
    model: str
    endpoint: str
    rehearsal: bool
    containers: tuple[ContainerView, ...] = ()
    gpus: tuple[GpuView, ...] = ()
    gpu_problem: str | None = None
    load: Load | None = None
    ready_after_s: float | None = None
    runtime_problem: str | None = None
