"""``doctor --deep``: what the active checks are run on, and the asking before each.

It refuses what would harm somebody: a GPU that a deployment holds, or that a process computes on, is never loaded. One launchpad
runs active checks once at a time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launchpad.cli import render
from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.cli.world import World
    from launchpad.deploy.spec import Spec
    from launchpad.doctor.deep.plan import ActiveCheck, ImageUnderTest, Subject
    from launchpad.doctor.finding import Finding
    from launchpad.rig.facts import Gpu, RigFacts
    from launchpad.runtime.base import ContainerSpec


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for beside ``--deep``."""

    yes: bool
    only: tuple[str, ...]
    seconds: float
    image: str | None


def deepen(
    world: World, facts: RigFacts, spec: Spec | None, wanted: Wanted
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Run the active checks on what ``spec`` names, or on the whole rig; what was found and what was not run."""
    from launchpad.doctor.deep.plan import DISK, chosen, plan
    from launchpad.store.lock import held

    ids = chosen(wanted.only)
    if not wanted.yes and not sys.stdin.isatty():
        raise LaunchpadError(
            "cannot ask before the active checks: there is no terminal", hint="add --yes to run them unasked"
        )
    if facts.recorded is not None:
        raise LaunchpadError(
            f"cannot run active checks on recorded rig {facts.recorded}: they need the real one", hint="leave --rig out"
        )
    subject = subject_of(world, facts, spec, wanted.image, in_container=set(ids) != {DISK})
    checks, left_out = plan(subject, ids, wanted.seconds)
    if not checks:
        hint = "launchpad doctor --deep --image REFERENCE, or name a profile" if spec is None else None
        raise LaunchpadError(f"cannot run any active check: {'; '.join(left_out)}", hint=hint)
    if any(check.needs_gpu for check in checks):
        refuse_busy(world, subject.gpus)
    world.store.root.mkdir(parents=True, exist_ok=True)
    with held(world.store.root / "deep.lock", "run active checks", wait_s=0.0):
        found, not_run = _carry_out(world, checks, subject, yes=wanted.yes)
    return found, (*left_out, *not_run)


def _carry_out(
    world: World, checks: tuple[ActiveCheck, ...], subject: Subject, *, yes: bool
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    import signal

    from launchpad.doctor.deep.carry import Means, carry_out
    from launchpad.doctor.deep.eyes import NoEyes, NvmlEyes

    def agree(_check: ActiveCheck) -> bool:
        import typer

        return yes or typer.confirm("run it?", default=False, err=True)

    # An end that is asked for unwinds like Ctrl-C does: the container is removed on the way out.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    on_gpus = any(check.needs_gpu for check in checks)
    eyes = NvmlEyes() if on_gpus else NoEyes()
    try:
        runtime = world.runtime if on_gpus else None
        return carry_out(checks, subject, Means(runtime, eyes, world.clock, render.say, agree))
    finally:
        eyes.close()
        signal.signal(signal.SIGTERM, before)


def subject_of(world: World, facts: RigFacts, spec: Spec | None, image: str | None, *, in_container: bool) -> Subject:
    """The GPUs, image, weights and promises of ``spec``, or the whole rig with ``image``.

    ``in_container`` False leaves the image out: reading the disk needs none, so it need not be here.
    """
    from launchpad.doctor.deep.plan import Subject, nccl_env
    from launchpad.model.checkpoint import inspect_checkpoint

    reference = image or (spec.own_image.reference if spec is not None else None)
    under_test = _image(world, reference) if reference is not None and in_container else None
    if spec is None:
        gpus, server, checkpoint = facts.gpus or (), None, None
    else:
        uuids = {gpu.uuid for gpu in spec.gpus}
        gpus = tuple(gpu for gpu in facts.gpus or () if gpu.uuid in uuids)
        server = spec.server
        checkpoint = inspect_checkpoint(Path(spec.model_path)) if spec.model_path is not None else None
    shards = checkpoint.shards if checkpoint is not None else ()
    return Subject(
        name=spec.name if spec is not None else "this rig",
        owner=world.owner,
        gpus=gpus,
        links=facts.links,
        image=under_test,
        env=nccl_env(_env(server), world.environ),
        user=server.user if server is not None else None,
        model_path=checkpoint.path if checkpoint is not None else None,
        shards=tuple((shard.name, shard.size_bytes) for shard in shards if shard.size_bytes),
        startup_s=spec.policy.startup_s if spec is not None else None,
        power_budget_w=spec.power_budget_w if spec is not None else None,
        circuit_w=facts.circuit_w,
    )


def refuse_busy(world: World, gpus: tuple[Gpu, ...]) -> None:
    """Raise LaunchpadError where a deployment holds one of them (also the one that is examined), or a process computes on it."""
    holders = world.claims("", world.runtime).gpus
    for gpu in gpus:
        if holder := holders.get(gpu.uuid):
            raise LaunchpadError(
                f"cannot load GPU {gpu.index}: deployment {holder} holds it",
                hint=f"launchpad down {holder}, or --deep-only disk-read, which needs no GPU",
            )
        for process in gpu.foreign or ():
            raise LaunchpadError(
                f"cannot load GPU {gpu.index}: process {process.pid} ({process.command or 'unknown'}) computes on it",
                hint=f"end it first: ps -fp {process.pid}",
            )


def _env(server: ContainerSpec | None) -> Mapping[str, str]:
    return dict(server.env) if server is not None else {}


def _image(world: World, reference: str) -> ImageUnderTest:
    from launchpad.doctor.deep.plan import ImageUnderTest
    from launchpad.errors import ImageError

    found = world.runtime.image(reference)
    if found is None:
        raise ImageError(
            f"cannot run active checks in {reference}: it is not on this Docker Engine", hint=f"docker pull {reference}"
        )
    return ImageUnderTest(reference, found.id)
