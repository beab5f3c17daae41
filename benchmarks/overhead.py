"""What launchpad adds to a bare ``docker run`` of the same container, from the command to the first completion.

In both, this process asks every 20 ms for one token from the moment the command starts, and notes the first that comes. The load
is next to nothing, so that what is left is the container's start and what launchpad does besides: plan, examine, a
supervisor, a proof, a journal.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from benchmarks.footprint import processor_s
from benchmarks.measure import Series, in_turns, timed
from benchmarks.ready_latency import start_bare, warm_up
from benchmarks.report import Result, Row
from benchmarks.stand import first_completion, remove, stand

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS: Final = 10
LOAD_SECONDS: Final = 0.1


def run() -> Result:
    """Measure."""
    bare = Series("`docker run` to first completion")
    served = Series("`launchpad rehearse` to first completion")
    returned = Series("`launchpad rehearse` to its return, READY")
    processor, supervisor = Series("processor time of `launchpad rehearse`"), Series("processor time of its supervisor")
    with stand("overhead") as place:
        warm_up(place)
        spec = place.spec()

        def launched() -> None:
            command = place.rehearse(load_seconds=LOAD_SECONDS)
            begin, (ended, answered) = _both(
                lambda: processor.samples.append(timed(command, place.environ).cpu_s),
                lambda: first_completion(place.port, spec.model),
            )
            returned.samples.append(ended - begin)
            served.samples.append(answered - begin)
            supervisor.samples.append(
                processor_s(int((place.deployment / "supervisor.lock").read_text(encoding="ascii")))
            )
            place.down()

        def plain() -> None:
            try:
                begin, (_, answered) = _both(
                    lambda: start_bare(place, spec), lambda: first_completion(place.port, spec.model)
                )
                bare.samples.append(answered - begin)
            finally:
                remove(f"{place.name}-bare")

        in_turns(ROUNDS, (plain, launched))
    over = Series("overhead: `rehearse` returned - bare first completion", returned.minus(bare).samples)
    later = Series("of it, until the server itself can answer", served.minus(bare).samples)
    return Result(
        "overhead: `up` over a bare `docker run`",
        f"{ROUNDS} rounds in turns, the same container, a load of {LOAD_SECONDS:g} s. Differences are of the same round.",
        (
            *(Row(series, "ms") for series in (bare, served, returned)),
            Row(over, "ms", 1.0),
            *(Row(series, "ms") for series in (later, processor, supervisor)),
        ),
    )


def _both(command: Callable[[], object], asking: Callable[[], float]) -> tuple[float, tuple[float, float]]:
    """Run a command while asking; when it began, when it ended, and when the answer had come."""
    answers: list[float] = []
    begin = time.time()
    asker = threading.Thread(target=lambda: answers.append(asking()))
    asker.start()
    try:
        command()
        ended = time.time()
    finally:
        asker.join()
    return begin, (ended, answers[0])
