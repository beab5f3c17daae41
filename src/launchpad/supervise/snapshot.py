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
    """One GPU of the deployment and what it last said; units as in :class:`~launchpad.rig.facts.GpuSample`.

    ``ours_bytes`` is what processes inside this deployment's containers hold of its memory.
    """

    uuid: str
    index: int
    memory_used_bytes: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    utilization_percent: int | None = None
    name: str | None = None
    ours_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    reasons: tuple[str, ...] | None = None
    sm_clock_mhz: int | None = None
    fan_percent: int | None = None
    pcie_gen: int | None = None
    pcie_width: int | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the engine's own metrics say, under one set of names for all engines; None where it does not say.

    Counters (``*_total``) count since the engine started. Rates are over the time since the question before this one.
    ``kv_usage`` and ``cache_hit`` are shares, 0 to 1. ``ttft_p50_s`` and ``ttft_p95_s`` are estimated from the engine's
    histogram over what came since it started.
    """

    at: datetime
    running: float | None = None
    queued: float | None = None
    prompt_tokens_total: float | None = None
    generation_tokens_total: float | None = None
    prompt_tokens_per_s: float | None = None
    generation_tokens_per_s: float | None = None
    kv_usage: float | None = None
    cache_hit: float | None = None
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something about a GPU, power or NVML that holds now and a person should know; it never moves the machine.

    ``do`` is what helps: "restart", "drain", "reset", "reboot", "reseat", "cool", "power" or "look". ``gpu`` is an index.
    """

    id: str
    severity: str
    message: str
    hint: str
    do: str
    since: datetime
    gpu: int | None = None


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
    """A deployment as its supervisor last saw it. ``runtime_problem`` says why it cannot see it now.

    ``power_cap_w`` is the cap of each GPU that the profile asks for; ``crashes`` counts over the life of the name;
    ``boot_id`` is the kernel's name for the boot it was seen in;
    ``proven`` whether this very spec has been READY here; ``hosted`` that somebody else serves it; ``fallback`` names the hosted
    profile that a person may turn to; ``quiet_until`` is when an endpoint that asked for patience may be asked again.
    """

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
    traffic: Traffic | None = None
    alarms: tuple[Alarm, ...] = ()
    power_cap_w: float | None = None
    crashes: int = 0
    boot_id: str | None = None
    proven: bool = False
    hosted: bool = False
    fallback: str | None = None
    quiet_until: datetime | None = None
