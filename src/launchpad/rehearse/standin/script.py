"""A load stage as data: its lines in order, and the share of the stage that is over between them.

A share (0 to 1) is when the lines after it come; lines before the first come at once. :func:`play` writes and yields, and
leaves the waiting, and what goes wrong meanwhile, to ``life.py``.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.rehearse.standin.life import Life

#: Who a line is by: a rank's number, None for the server itself, or one of these: every rank in turn, vLLM's engine core.
EACH: Final = -2
CORE: Final = -1
Condition = Literal["graphs", "warmup"]


@dataclass(frozen=True, slots=True)
class Line:
    """A log line, and the source file that vLLM says it is ``where``.

    ``text`` and ``where`` are formats over ``plan``, ``seconds`` (of each stage), ``took`` (by the last bar), ``pid``, the
    engine's own fields, and ``rank`` where the line is EACH rank's. ``when`` names a switch of the plan that it needs.
    """

    text: str
    rank: int | None = None
    where: str = ""
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Web:
    """A log line of uvicorn; ``text`` and ``when`` as in :class:`Line`."""

    text: str
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A tqdm bar that counts the settings' shards, for the ``span`` of the stage that comes after ``first``.

    Where it has ``names``, it counts those, and ``label`` may hold ``{name}``, the one in work.
    """

    label: str
    first: float
    span: float
    names: tuple[object, ...] = ()
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """From here on connections are taken."""

    when: None = None


Step = Line | Web | Bar | Listen | float
Script = dict[str, tuple[Step, ...]]


def play(life: Life, steps: tuple[Step, ...]) -> Iterator[float]:
    """Write the lines one by one; what is yielded is the share of the stage that is over by then."""
    took = 0.0
    for step in steps:
        if isinstance(step, float):
            yield step
        elif step.when is not None and not getattr(life.plan, step.when):
            continue
        elif isinstance(step, Listen):
            life.listen()
        elif isinstance(step, Bar):
            begun = time.monotonic()
            yield from _count(life, step, begun)
            took = time.monotonic() - begun
        else:
            _write(life, step, took)


def _count(life: Life, bar: Bar, begun: float) -> Iterator[float]:
    total = len(bar.names) or life.settings.shards
    names = bar.names or range(total)
    label = bar.label.format(name=names[0])
    life.log.bar(label, 0, total, 0.0)
    for done in range(1, total + 1):
        yield bar.first + bar.span * done / total
        label = bar.label.format(name=names[min(done, total - 1)])
        life.log.bar(label, done, total, time.monotonic() - begun)


def _write(life: Life, line: Line | Web, took: float) -> None:
    fields = {"plan": life.plan, "seconds": life.seconds, "took": took, "pid": os.getpid(), **life.engine.fields(life)}
    if isinstance(line, Web):
        life.log.web(line.text.format(**fields))
        return
    for rank in range(life.plan.ranks) if line.rank == EACH else (line.rank,):
        text = line.text.format(**fields, rank=rank, hundredths=13 + (rank or 0))
        life.log.say(text, rank=rank, where=line.where.format(**fields))
