"""Carries active checks out, one after another: say, ask, do, judge.

Each check is said before anything is done. What follows from a failure is not tried: without a GPU container no figure on GPUs,
after an all-reduce that hung nothing more. It decides no severity (``judge`` does) and drives no container itself (``run`` does).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from launchpad.clock import Clock
from launchpad.doctor.deep import judge
from launchpad.doctor.deep.eyes import Eyes
from launchpad.doctor.deep.plan import (
    ALL_REDUCE,
    DISK,
    GPU_CONTAINER,
    GPU_MEMORY,
    PCIE,
    POWER,
    ActiveCheck,
    container_spec,
)
from launchpad.doctor.deep.run import Outcome, read_disk, run_container
from launchpad.rig.facts import GpuSample
from launchpad.runtime.base import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launchpad.doctor.deep.plan import Subject
    from launchpad.doctor.finding import Finding

#: Seconds after a killed hang in which a GPU may come to rest before it counts as wedged.
REST_S: Final = 5.0
LINKS_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Means:
    """What the checks work with; ``runtime`` None serves those that need no container.

    ``say`` tells a person; ``agree`` asks one, with the text already said.
    """

    runtime: Runtime | None
    eyes: Eyes
    clock: Clock
    say: Callable[[str], None]
    agree: Callable[[ActiveCheck], bool]


def carry_out(
    checks: Iterable[ActiveCheck], subject: Subject, means: Means
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Run the checks; what was found, and in words what was not run and why."""
    found: list[Finding] = []
    left_out: list[str] = []
    stopped: str | None = None
    for check in checks:
        if stopped is not None and check.needs_gpu:
            left_out.append(f"{check.id}: not run, because {stopped}")
            continue
        means.say(check.says)
        if not means.agree(check):
            left_out.append(f"{check.id}: not run, as you said")
            continue
        seen = _one(check, subject, means)
        found.extend(seen)
        if any(item.severity == "blocks" for item in seen) and check.id in {GPU_CONTAINER, ALL_REDUCE}:
            stopped = f"{check.id} failed"
    return tuple(found), tuple(left_out)


def _one(check: ActiveCheck, subject: Subject, means: Means) -> tuple[Finding, ...]:
    if check.id == DISK:
        files = [(str(subject.model_path / name), size) for name, size in subject.shards] if subject.model_path else []
        return judge.judge_disk(check, subject, read_disk(files, check.deadline_s))
    if means.runtime is None:
        raise ValueError(f"{check.id} needs a runtime")
    watch = _Watch(means)
    spec = container_spec(check, subject)
    during = {PCIE: watch.links, POWER: watch.power}.get(check.id, lambda: None)
    outcome = run_container(means.runtime, spec, check.deadline_s, means.clock, during)
    if check.id == GPU_CONTAINER and _no_python(outcome):
        listing = replace(spec, entrypoint=("nvidia-smi",), command=("-L",))
        outcome = listed(run_container(means.runtime, listing, check.deadline_s, means.clock))
    return (*_judged(check, subject, outcome, watch), *_left(check, outcome))


def _judged(check: ActiveCheck, subject: Subject, outcome: Outcome, watch: _Watch) -> tuple[Finding, ...]:
    if check.id == GPU_CONTAINER:
        return judge.judge_gpu_container(check, subject, outcome)
    if check.id == GPU_MEMORY:
        return judge.judge_gpu_memory(check, subject, outcome)
    if check.id == PCIE:
        return judge.judge_pcie(check, subject, outcome, watch.under_load)
    if check.id == POWER:
        return judge.judge_power(check, subject, outcome, tuple(watch.seen.values()))
    return judge.judge_all_reduce(check, subject, outcome, watch.rest() if outcome.how == "hung" else ())


def _left(check: ActiveCheck, outcome: Outcome) -> tuple[Finding, ...]:
    if outcome.left_behind is None:
        return ()
    name = outcome.left_behind.partition(":")[0]
    message = f"a container could not be removed: {outcome.left_behind}"
    return (judge.finding(f"{check.id}.left-behind", "warns", message, None, hint=f"docker rm -f {name}"),)


def _no_python(outcome: Outcome) -> bool:
    return outcome.refusal is not None and "no program python3" in outcome.refusal.message


def listed(outcome: Outcome) -> Outcome:
    """The outcome of ``nvidia-smi -L`` as if the script had said it: one ``GPU n: ...`` line for each card."""
    gpus = [line for line in outcome.noise if line.startswith("GPU ")]
    if outcome.how != "silent" or outcome.exit_code != 0:
        return outcome
    return replace(outcome, how="answered", lines=({"done": True, "via": "nvidia-smi -L", "gpus": gpus},))


@dataclass(slots=True)
class _Watch:
    """What was seen from outside while a container worked."""

    means: Means
    seen: dict[tuple[str, float], GpuSample] = field(default_factory=dict)
    under_load: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    _looked: float | None = None

    def power(self) -> None:
        """Keep every sample once."""
        for item in self.means.eyes.samples():
            self.seen[item.uuid, item.at.timestamp()] = item

    def links(self) -> None:
        """Keep the best each link was seen at: an idle one lowers itself."""
        now = self.means.clock.monotonic()
        if self._looked is not None and now - self._looked < LINKS_EVERY_S:
            return
        self._looked = now
        for gpu in self.means.eyes.gpus():
            gen, width = self.under_load.get(gpu.uuid, (None, None))
            self.under_load[gpu.uuid] = (_most(gen, gpu.pcie_gen_now), _most(width, gpu.pcie_width_now))

    def rest(self) -> tuple[GpuSample, ...]:
        """The samples after a moment of rest."""
        self.means.clock.sleep(REST_S)
        return self.means.eyes.samples()


def _most(a: int | None, b: int | None) -> int | None:
    return max((value for value in (a, b) if value is not None), default=None)
