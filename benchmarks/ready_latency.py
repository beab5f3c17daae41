"""How long after the engine could first complete anything does ``rehearse`` return, READY.

The engine's own clock is its "fired up and ready to roll" line, which the stand-in writes right after it begins to accept
completions; the time is Docker's stamp on that line, from the clock of the same host. The peer is a script that asks the same
container, started bare, every 20 ms for one token: about the least that is possible.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Series, in_turns
from benchmarks.report import Result, Row
from benchmarks.stand import Stand, docker, first_completion, ready_line_at, remove, stand
from launchpad.deploy.export import docker_run

if TYPE_CHECKING:
    from launchpad.deploy.spec import Spec

ROUNDS: Final = 12


def run() -> Result:
    """Measure."""
    ours, script = Series("ready line to `rehearse` returned"), Series("ready line to a script's first completion")
    own = Series("of it, the completion that proves READY")
    with stand("ready") as place:
        warm_up(place)
        spec = place.spec()
        loads = iter(0.6 + 0.013 * number for number in range(ROUNDS))  # so that no poll falls in step with the load

        def launched() -> None:
            begun = subprocess.Popen(
                place.rehearse(load_seconds=next(loads)),
                env=place.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if begun.wait() != 0:
                raise RuntimeError(f"rehearse ended with {begun.returncode}")
            returned = time.time()
            ours.samples.append(returned - ready_line_at(place.container))
            own.samples.append(_completion_seconds(place))
            place.down()

        def scripted() -> None:
            container = start_bare(place, spec)
            try:
                answered = first_completion(place.port, spec.model)
                script.samples.append(answered - ready_line_at(container))
            finally:
                remove(container)

        in_turns(ROUNDS, (scripted, launched))
    return Result(
        "ready_latency: from the first possible completion to `up` returning",
        f"{ROUNDS} rounds of `launchpad rehearse` with a load of 0.6 to 0.8 s, in turns with a bare `docker run` of the same "
        "container that a script asks for one token every 20 ms.",
        (Row(ours, "ms", 0.3), Row(own, "ms"), Row(script, "ms")),
        (
            "The proof is one real completion of up to 16 tokens; the stand-in takes 5 ms for each, and that is in the time.",
        ),
    )


def warm_up(place: Stand) -> None:
    """One uncounted life, which makes the stand-in's image where it is missing and leaves the spec to be read."""
    place.launchpad(*place.rehearse(load_seconds=0.1)[1:])
    place.down()


def start_bare(place: Stand, spec: Spec, **changed: str) -> str:
    """Start the deployment's container with a plain ``docker run``; its name. ``changed`` replaces options' values."""
    name = f"{place.name}-bare"
    words = list(docker_run(spec.containers[0]))
    for option, value in {"name": name, **changed}.items():
        words[words.index(f"--{option}") + 1] = value
    docker(*words[1:])
    return name


def _completion_seconds(place: Stand) -> float:
    """What the READY event says of its completion: ``a chat came back in 81ms``."""
    from launchpad.units import parse_duration

    reason = next(event["reason"] for event in reversed(place.events()) if event["to"] == "READY")
    return parse_duration(reason.rsplit(" ", 1)[1]).total_seconds()
