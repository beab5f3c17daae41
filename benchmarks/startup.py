"""How long the commands take that people type most: ``--help``, and ``status`` with 1, 10 and 100 deployments.

The deployments are state files written through launchpad's own store; this process holds the lock that each one's supervisor
would hold, so that ``status`` reads them as it reads living ones. No container is started.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Series, in_turns, launchpad, timed
from benchmarks.report import Result, Row
from benchmarks.stand import run as answer_of
from launchpad.deploy.spec import resolve
from launchpad.profiles.catalog import Catalog, search_path
from launchpad.rig.catalog import RigCatalog
from launchpad.store.state import VERSION, Store, Wanted
from launchpad.supervise.machine import Phase, State
from launchpad.supervise.snapshot import ContainerView, GpuView, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from launchpad.deploy.spec import Spec

ROUNDS: Final = 15
COUNTS: Final = (1, 10, 100)


def run() -> Result:
    """Measure."""
    with contextlib.ExitStack() as stack:
        folders = {count: stack.enter_context(deployments(count)) for count in COUNTS}
        commands: dict[str, tuple[Sequence[str], dict[str, str] | None]] = {
            "python3 -c 'import typer'": ((sys.executable, "-c", "import typer"), None),
            "launchpad --help": ((launchpad(), "--help"), None),
            "python3 -c 'import docker'": ((sys.executable, "-c", "import docker"), None),
            "docker ps": (("docker", "ps"), None),
            **{label(count): ((launchpad(), "status"), at(folder)) for count, folder in folders.items()},
        }
        for words, environ in commands.values():
            timed(words, environ)  # bytecode and page cache warm, as on any second use
        wall, cpu = _measured(commands)
    help_, typer = wall["launchpad --help"], wall["python3 -c 'import typer'"]
    rows = [
        *(Row(series, "ms") for series in wall.values()),
        Row(help_.ratio_to(typer), "x", 1.3),
        *_status_rows(wall),
        *_processor_rows(cpu),
    ]
    return Result(
        "startup: the commands people type most",
        f"Wall time of whole processes, {ROUNDS} rounds, with the same interpreter and installation; ratios are of the same "
        "round. The deployments read as READY, each with four GPUs.",
        tuple(rows),
    )


def _measured(
    commands: dict[str, tuple[Sequence[str], dict[str, str] | None]],
) -> tuple[dict[str, Series], dict[str, Series]]:
    wall = {name: Series(name) for name in commands}
    cpu = {name: Series(name) for name in commands}

    def turn(name: str) -> None:
        took = timed(*commands[name])
        wall[name].samples.append(took.wall_s)
        cpu[name].samples.append(took.cpu_s)

    in_turns(ROUNDS, [partial(turn, name) for name in commands])
    return wall, cpu


def _status_rows(wall: dict[str, Series]) -> Iterator[Row]:
    aims = {1: 1.0, 100: 1.5}
    for count in COUNTS:
        status = wall[label(count)]
        yield Row(status.ratio_to(wall["python3 -c 'import docker'"]), "x", aims.get(count))
    for count in COUNTS:
        yield Row(wall[label(count)].ratio_to(wall["docker ps"]), "x")


def _processor_rows(cpu: dict[str, Series]) -> Iterator[Row]:
    """The same in processor time, which a busy machine stretches less."""
    yield from (Row(Series(f"{name}: processor time", series.samples), "ms") for name, series in cpu.items())
    for mine, theirs in (
        ("launchpad --help", "python3 -c 'import typer'"),
        (label(1), "python3 -c 'import docker'"),
        (label(100), "python3 -c 'import docker'"),
    ):
        ratio = cpu[mine].ratio_to(cpu[theirs])
        yield Row(Series(f"{ratio.name}: processor time", ratio.samples), "x")


def label(count: int) -> str:
    """What `status` is called in the tables."""
    return f"launchpad status, {count} deployment{'s' if count > 1 else ''}"


def at(folder: Path) -> dict[str, str]:
    """The environment of a command that looks at this state directory."""
    return {**os.environ, "LAUNCHPAD_STATE_DIR": str(folder)}


@contextlib.contextmanager
def deployments(count: int) -> Iterator[Path]:
    """A state directory with so many deployments that are READY under supervisors that live."""
    with tempfile.TemporaryDirectory(prefix="launchpad-bench-") as folder, contextlib.ExitStack() as locks:
        root = Path(folder)
        store = Store(root, lambda text: print(text, file=sys.stderr))
        spec = _spec()
        now = datetime.now(UTC)
        for number in range(count):
            deployment = store.deployment(f"bench-{number:03}")
            own = replace(spec, name=deployment.name, port=20000 + number)
            deployment.write_wanted(Wanted(VERSION, wanted=True, generation=1, at=now, spec=own))
            deployment.write_state(_snapshot(own, now), durable=False)
            lock = deployment.lock()
            if not lock.acquire():
                raise RuntimeError(f"the lock of {deployment.name} is held by somebody else")
            locks.callback(lock.release)
        seen = json.loads(answer_of([launchpad(), "status", "--json"], at(root)))
        if [item["ready"] for item in seen] != [True] * count:
            raise RuntimeError(f"status sees {len(seen)} deployments, not {count} ready ones")
        yield root


def _spec() -> Spec:
    paths = search_path({})
    loaded = Catalog(paths).load("v4-flash-sglang-tp4")
    return resolve(loaded.name, loaded.profile, RigCatalog(paths).facts("4x-rtx-pro-6000"), taken={})


def _snapshot(spec: Spec, now: datetime) -> Snapshot:
    return Snapshot(
        version=VERSION,
        name=spec.name,
        pid=os.getpid(),
        updated_at=now,
        state=State(Phase.READY, now - timedelta(hours=3), "a chat came back in 120ms", generation=1),
        spec_hash=spec.hash,
        engine=spec.engine,
        model=spec.model,
        endpoint=spec.endpoint,
        rehearsal=False,
        containers=(
            ContainerView("0" * 64, f"launchpad-{spec.name}", spec.own_image.reference, now - timedelta(hours=3)),
        ),
        gpus=tuple(GpuView(gpu.uuid, gpu.index, 90 * 2**30, 411.0, 67, 98) for gpu in spec.gpus),
    )
