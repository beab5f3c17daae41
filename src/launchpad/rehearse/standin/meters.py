"""What ``/metrics`` tells, moved by real requests only; under which names is each engine's table of :class:`Series`."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.rehearse.standin.plan import Plan

_BUCKETS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


@dataclass(frozen=True, slots=True)
class Series:
    """One sample: its name, "gauge" or "counter", and a key of :meth:`Meters.values` or a constant."""

    name: str
    kind: str
    value: str | float
    labels: str = ""


@dataclass(frozen=True, slots=True)
class Exposition:
    """How an engine names its samples. ``labels`` holds ``{model}``, which is filled in."""

    prefix: str
    labels: str
    series: tuple[Series, ...]


class Histogram:
    """Counts of seconds, as Prometheus buckets them."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more observation."""
        self.total += seconds
        self.counts[sum(seconds > edge for edge in _BUCKETS)] += 1

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The exposition lines."""
        yield f"# TYPE {name} histogram"
        seen = 0
        for edge, count in zip((*map(str, _BUCKETS), "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{{labels},le="{edge}"}} {seen}'
        yield f"{name}_sum{{{labels}}} {self.total:.6f}"
        yield f"{name}_count{{{labels}}} {seen}"


class Meters:
    """Everything that is counted, and the places for requests that run at once."""

    def __init__(self, slots: int) -> None:
        self.lock = threading.Lock()
        self.slots = threading.Semaphore(slots)
        self.running = self.waiting = self.held_tokens = 0
        self.prompt = self.generated = self.requests = self.aborted = 0
        self.recent: list[tuple[float, int]] = []
        self.ttft, self.e2e = Histogram(), Histogram()

    def token(self) -> None:
        """One token was made."""
        now = time.monotonic()
        with self.lock:
            self.generated += 1
            self.held_tokens += 1
            self.recent = [(at, count) for at, count in self.recent[-2000:] if now - at < 2.0]
            self.recent.append((now, 1))

    def throughput(self) -> float:
        """Tokens per second over the last two seconds."""
        now = time.monotonic()
        return sum(count for at, count in self.recent if now - at < 2.0) / 2.0

    def values(self, plan: Plan) -> dict[str, float]:
        """Every number by the key that a :class:`Series` names."""
        return {
            "running": self.running,
            "waiting": self.waiting,
            "held": self.held_tokens,
            "usage": round(self.held_tokens / plan.pool, 6),
            "throughput": round(self.throughput(), 3),
            "prompt": self.prompt,
            "generated": self.generated,
            "requests": self.requests,
            "aborted": self.aborted,
            "pool": plan.pool,
            "context": plan.context,
        }

    def text(self, form: Exposition, plan: Plan) -> str:
        """The Prometheus exposition."""
        with self.lock:
            return "\n".join(self._lines(form, plan)) + "\n"

    def _lines(self, form: Exposition, plan: Plan) -> Iterator[str]:
        values, labels = self.values(plan), form.labels.format(model=plan.names[0])
        for each in form.series:
            name = f"{form.prefix}:{each.name}"
            value = values[each.value] if isinstance(each.value, str) else each.value
            yield f"# TYPE {name.removesuffix('_total')} {each.kind}"
            yield f"{name}{{{labels}{each.labels}}} {value}"
        yield from self.ttft.lines(f"{form.prefix}:time_to_first_token_seconds", labels)
        yield from self.e2e.lines(f"{form.prefix}:e2e_request_latency_seconds", labels)
