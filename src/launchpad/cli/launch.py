"""The straight line that ``plan``, ``render``, ``up`` and ``rehearse`` share: load, survey, resolve, observe, examine, plan.

Each function does one of these and hands its value on. Nothing here prints, and nothing here drives a container.
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from launchpad.cli.fallback import fallback_findings
from launchpad.deploy.drift import IDS as LOCK_IDS
from launchpad.deploy.observe import Observed, Origin, observe, ours
from launchpad.deploy.plan import Plan, make_plan
from launchpad.deploy.spec import RehearsalChoice, Spec, resolve
from launchpad.doctor.checks import preflight
from launchpad.doctor.finding import Finding, worst_first
from launchpad.errors import ImageError, LaunchpadError, NotFoundError
from launchpad.profiles.catalog import Loaded
from launchpad.rig.facts import RigFacts
from launchpad.store.state import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from launchpad.cli.world import World
    from launchpad.doctor.case import ImageFacts
    from launchpad.doctor.checks import Eyes
    from launchpad.engines.schemas import ArgumentSchema
    from launchpad.model.checkpoint import Checkpoint
    from launchpad.rig.facts import DiskFacts, DiskUse
    from launchpad.runtime.base import Image, Runtime, Transfer
    from launchpad.supervise.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for, read: a profile, the facts it meets, and whether it is only rehearsed."""

    loaded: Loaded
    facts: RigFacts
    rehearsal: RehearsalChoice | None = None

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.loaded.name

    @property
    def hosted(self) -> bool:
        """Whether somebody else runs it, so that nothing is to be launched here."""
        return self.loaded.profile.hosted is not None


@dataclass(frozen=True, slots=True)
class Draft:
    """A wish resolved, examined and planned. ``flags_of`` is the engine release whose flags were compared, None: none known."""

    spec: Spec
    found: Observed
    plan: Plan
    findings: tuple[Finding, ...]
    warm: bool
    flags_of: str | None = None


def load(world: World, name: str, *, rig: str | None, rehearsal: RehearsalChoice | None = None) -> Wish:
    """Read the profile and learn the rig's facts."""
    loaded = world.profiles.load(name)
    world.store.deployment(loaded.name)  # refuse a name that cannot be a deployment before anything else
    return Wish(loaded, world.facts(rig), rehearsal)


def draft(
    world: World,
    wish: Wish,
    runtime: Runtime | None,
    *,
    fetched: bool = False,
    accept: Collection[str] = (),
    image_schema: str | None = None,
) -> Draft:
    """Everything up to the plan. ``runtime`` None plans on paper; ``fetched`` says that the image step is done.

    ``accept`` names hazards that may stand in the way no longer, ``image_schema`` the engine version whose flags count.
    """
    wish = wish if wish.hosted else replace(wish, facts=here(world, wish.facts, runtime))
    claims = world.claims(wish.name, runtime)
    before = last_wanted(world, wish.name)
    keep = tuple(gpu.uuid for gpu in before.spec.gpus) if before is not None else ()
    image = _image(wish, runtime)
    real = (
        image if wish.rehearsal is None else None
    )  # a stand-in is no part of what the real image would get, or be judged by
    profile = wish.loaded.profile
    taken = claims.taken(profile.gpus.share if profile.gpus else None)
    spec = resolve(
        wish.name,
        profile,
        wish.facts,
        taken=taken,
        keep=keep,
        image_id=real.id if real else None,
        shares=claims.shares,
    )
    look = _reader()
    there = checkpoint_of(wish, look)
    known, flags_of = ((), None) if wish.hosted else _hazards(world, wish, spec, real, runtime, image_schema, there)
    origin = None if fetched else _origin(world, wish, real)
    drifts = () if wish.hosted else (*_drifts(world, wish, spec, runtime), *_unlocked_by(world, wish, spec, origin))
    hazards = accepted((*known, *drifts), accept)
    spec = replace(spec, accepted=tuple(sorted({item.id for item in hazards if item.id in accept})))
    if wish.rehearsal is not None:
        from launchpad.rehearse.deployment import rehearse

        spec = rehearse(spec, wish.rehearsal, image.id if image else None)
    found = observe(spec, runtime, world.owner) if runtime else Observed()
    found = replace(found, origin=origin)
    warm = spec.cache is not None and found.cache_exists and world.store.cache_warmed(spec.cache.volume) is not None
    made = make_plan(
        spec, found, phase=_phase(world, wish.name), before=before.spec if before else None, warm=warm, fetched=fetched
    )
    is_here = runtime is not None and (wish.facts.recorded is None or wish.rehearsal is not None)
    published = (before.spec.host, before.spec.port) if before is not None and before.wanted else None
    checks = preflight(spec, wish.facts, found, claims, _eyes(world, published, runtime, look) if is_here else None)
    found_wrong = worst_first((*checks, *hazards, *fallback_findings(world, spec.fallback)))
    return Draft(spec, found, made, found_wrong, warm, flags_of)


def refuse_hosted(loaded: Loaded, doing: str, instead: str) -> None:
    """Raise where a hosted profile has nothing of what a command is about; ``instead`` is the hint, with ``{name}`` in it."""
    if loaded.profile.hosted is not None:
        raise LaunchpadError(
            f"cannot {doing} {loaded.name}: somebody else runs it, and nothing of it is on this rig",
            hint=instead.format(name=loaded.name),
        )


def refuse_other_kind(world: World, name: str, *, hosted: bool) -> None:
    """Raise where what is up under ``name`` runs here and what is wanted is hosted, or the other way round.

    Who looks after the one is blind for the other.
    """
    before = last_wanted(world, name)
    if before is None or (before.spec.hosted is not None) == hosted:
        return
    if before.wanted or world.store.deployment(name).supervisor_pid() is not None:
        kind = "runs here" if before.spec.hosted is None else "is hosted elsewhere"
        raise LaunchpadError(
            f"cannot bring {name} up: what is up under that name {kind}", hint=f"launchpad down {name}"
        )


def here(world: World, facts: RigFacts, runtime: Runtime | None) -> RigFacts:
    """The facts of this rig with what Docker tells besides: its runtimes, its disk, and whose the processes on the GPUs are.

    A deployment that is up is no stranger to itself. A recorded rig stays as it was recorded.
    """
    if runtime is None or facts.recorded is not None:
        return facts
    from launchpad.rig.cdi import docker_facts, read_cdi, read_toolkit_version
    from launchpad.rig.host import read_disks

    info = runtime.info()
    docker = docker_facts(
        info.version, info.runtimes, info.cgroup_version, cdi=read_cdi(), toolkit_version=read_toolkit_version()
    )
    places = [(use, Path(path)) for use, path in _places(world, info.root_dir)]
    facts = replace(facts, docker=docker, disks=read_disks(places))
    if not any(gpu.foreign for gpu in facts.gpus or ()):
        return facts
    running = [item for item in ours(runtime.containers(), world.owner) if item.running]
    known = {pid for item in running for pid in runtime.pids(item.id)}
    gpus = (
        replace(gpu, foreign=tuple(item for item in gpu.foreign if item.pid not in known)) if gpu.foreign else gpu
        for gpu in facts.gpus or ()
    )
    return replace(facts, gpus=tuple(gpus))


def _places(world: World, docker_root: str | None) -> Iterator[tuple[DiskUse, str]]:
    """What fills disks, and where it lies."""
    if docker_root is not None:
        yield "docker", docker_root
    yield "state", world.owner


def disk_of(runtime: Runtime) -> DiskFacts | None:
    """The file system of the images and volumes, None where the engine is elsewhere."""
    from launchpad.rig.host import disk_facts

    root = runtime.info().root_dir
    return disk_facts("docker", Path(root)) if root is not None else None


def accepted(findings: Iterable[Finding], accept: Collection[str]) -> tuple[Finding, ...]:
    """The findings, those that a person accepts by name as warnings; raises LaunchpadError for a name that is no hazard."""
    from launchpad.doctor.rules import RULES
    from launchpad.engines.flags import ProblemKind

    known = {*(rule.id for rule in RULES), *(f"flags.{kind}" for kind in get_args(ProblemKind)), *LOCK_IDS}
    for name in accept:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise LaunchpadError(
                f"cannot accept {name}: there is no such hazard",
                hint=f"did you mean {close[0]}?" if close else "launchpad doctor names them",
            )
    return tuple(
        replace(item, severity="warns", message=f"{item.message} (accepted)") if item.id in accept else item
        for item in findings
    )


def _reader() -> Callable[[Path], Checkpoint]:
    """Reads model directories, each of them once: what their files say and how large they are, no weights."""
    from launchpad.model.checkpoint import inspect_checkpoint

    return functools.cache(inspect_checkpoint)


def checkpoint_of(wish: Wish, look: Callable[[Path], Checkpoint] | None = None) -> Checkpoint | None:
    """The checkpoint of the very rig in question. One that cannot be read is None here, and a finding of the checks."""
    from launchpad.model.checkpoint import CheckpointError

    path = wish.loaded.profile.model.path
    if path is None or wish.rehearsal is not None or wish.facts.recorded is not None:
        return None
    try:
        return (look or _reader())(Path(path))
    except CheckpointError:
        return None


def _hazards(
    world: World,
    wish: Wish,
    spec: Spec,
    image: Image | None,
    runtime: Runtime | None,
    image_schema: str | None,
    checkpoint: Checkpoint | None,
) -> tuple[tuple[Finding, ...], str | None]:
    """What is known to go wrong with this spec on that rig, with image and checkpoint where they are here; its flags' release."""
    from launchpad.doctor.case import Case
    from launchpad.doctor.flags import flag_findings
    from launchpad.doctor.rule import examine
    from launchpad.doctor.rules import RULES

    facts = image_facts(world, image, runtime) if image is not None and runtime is not None else None
    found = examine(Case(wish.facts, spec, facts, checkpoint), RULES)
    schema = argument_schema(world, spec, image, facts, runtime, image_schema)
    if schema is None:
        return tuple(found), None
    return (*found, *flag_findings(spec, schema)), f"{schema.engine} {schema.version}"


def _drifts(world: World, wish: Wish, spec: Spec, runtime: Runtime | None) -> tuple[Finding, ...]:
    """Where this deployment is no longer what its lock says; a rehearsal has an image and a rig of its own."""
    if wish.rehearsal is not None:
        return ()
    from launchpad.cli import pins

    return pins.findings(world, wish, spec, runtime)


def refuse_drift(world: World, spec: Spec) -> None:
    """Raise BlockedError where what ``spec`` would start from is no longer what the profile's lock says, and nobody accepted it."""
    from launchpad.cli import pins
    from launchpad.cli.render import say
    from launchpad.errors import BlockedError, NotFoundError, ProfileError

    if spec.hosted is not None or spec.rehearsal is not None:
        return
    try:
        loaded = world.profiles.load(spec.profile)
    except NotFoundError:  # what was asked for once is kept up all the same
        return
    except ProfileError as error:
        say(f"not compared with a lock: {error.message}")
        return
    if loaded.profile.hosted is not None or pins.find(world, loaded) is None:
        return
    wish = Wish(loaded, here(world, world.facts(None), world.runtime))
    found = pins.findings(world, wish, spec, world.runtime)
    blocking = [item for item in found if item.severity == "blocks" and item.id not in spec.accepted]
    if blocking:
        more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
        raise BlockedError(f"cannot restart {spec.name}: {blocking[0].message}{more}", hint=blocking[0].hint)


def argument_schema(
    world: World,
    spec: Spec,
    image: Image | None,
    facts: ImageFacts | None,
    runtime: Runtime | None,
    image_schema: str | None,
) -> ArgumentSchema | None:
    """The flags of the engine release in question: shipped, or read out of an image whose release nobody knows."""
    from launchpad.doctor.flags import linted, schema_of, version_of
    from launchpad.engines.schemas import ArgumentSchema, known_versions

    name, version = linted(spec), version_of(spec, facts, image_schema)
    shipped = schema_of(spec, version)
    if shipped is not None or name is None:
        return shipped
    if image_schema is not None:
        raise NotFoundError(
            f"cannot check flags against {name} {image_schema}: no such schema ships",
            hint=f"known: {', '.join(known_versions(name))}",
        )
    if image is None or facts is None or runtime is None or facts.engine != name or version is None:
        return None
    key = f"schema-{image.id}"
    known = world.store.read_image(key, ArgumentSchema, world.clock.now())
    if known is not None:
        return known
    from launchpad.doctor.image import engine_sources
    from launchpad.engines.extract import extract

    with runtime.files(image.id) as files:
        sources = engine_sources(image, files, name)
    try:
        schema = extract(name, sources, version)
    except ImageError:
        return None  # an engine laid out in a way that nobody here has seen: its flags are not judged
    world.store.note_image(key, schema)
    return schema


def image_facts(world: World, image: Image, runtime: Runtime) -> ImageFacts:
    """What the image holds, looked up once for each image id."""
    from launchpad.doctor.case import ImageFacts
    from launchpad.doctor.image import inspect_image

    known = world.store.read_image(image.id, ImageFacts, world.clock.now())
    if known is not None:
        return replace(known, reference=image.tags[0] if image.tags else image.id)
    with runtime.files(image.id) as files:
        facts = inspect_image(image, files)
    world.store.note_image(image.id, facts)
    return facts


def fetch(world: World, wish: Wish, drawn: Draft, runtime: Runtime, progress: Callable[[Transfer], None]) -> None:
    """Carry out the plan's image step: pull it, build it from its template, or make the rehearsal's stand-in."""
    actions = {step.action for step in drawn.plan.steps}
    if wish.rehearsal is not None:
        from launchpad.rehearse.image import ensure_image

        ensure_image(runtime)
    elif "build" in actions:
        _build(world, wish.loaded, runtime, progress)
    elif "pull" in actions:
        runtime.pull(drawn.spec.own_image.reference, progress)


def last_wanted(world: World, name: str) -> Wanted[Spec] | None:
    """What was asked for last under this name."""
    return world.store.deployment(name).read_wanted(Wanted[Spec], world.clock.now())


def want(world: World, spec: Spec, *, wanted: bool, rollback: bool = True, renew: bool = False) -> int:
    """Write down what is wanted; the generation it got. ``renew`` asks for another container of what runs."""
    from launchpad.supervise.wish import ask

    deployment = world.store.deployment(spec.name)
    return ask(deployment, spec, world.clock.now(), wanted=wanted, rollback=rollback, renew=renew).generation


def _image(wish: Wish, runtime: Runtime | None) -> Image | None:
    if runtime is None or wish.hosted:
        return None
    if wish.rehearsal is not None:
        from launchpad.rehearse.image import image_tag

        return runtime.image(image_tag())
    from launchpad.engines.base import image_reference

    return runtime.image(image_reference(wish.loaded.profile))


def _phase(world: World, name: str) -> str | None:
    snapshot = _snapshot(world, name)
    return str(snapshot.state.phase) if snapshot else None


def _snapshot(world: World, name: str) -> Snapshot | None:
    from launchpad.supervise.snapshot import Snapshot

    return world.store.deployment(name).read_state(Snapshot, world.clock.now())


def _eyes(
    world: World,
    published: tuple[str, int] | None,
    runtime: Runtime | None,
    look: Callable[[Path], Checkpoint] | None = None,
) -> Eyes:
    from launchpad.doctor.checks import Eyes
    from launchpad.rig.host import Host

    def room() -> int | None:
        disk = disk_of(runtime) if runtime is not None else None
        return disk.free_bytes if disk is not None else None

    return Eyes(Host().port_is_taken, look or _reader(), world.environ, published, room)


def _build(world: World, loaded: Loaded, runtime: Runtime, progress: Callable[[Transfer], None]) -> None:
    from launchpad.cli.build import building, make, recipe_of
    from launchpad.runtime.base import Transfer

    recipe = recipe_of(world, loaded, runtime.info())
    with building(world, recipe):
        make(world, recipe, runtime, progress, lambda remark: progress(Transfer(remark)))


def _origin(world: World, wish: Wish, image: Image | None) -> Origin | None:
    """Where an image that is made here stands to what the profile would build now; None where nothing is to be compared.

    A digest in the profile says itself which image it is.
    """
    from launchpad.cli.build import recipe_of
    from launchpad.deploy.origin import origin_of

    wanted = wish.loaded.profile.image
    if (
        image is None
        or wish.rehearsal is not None
        or wanted is None
        or wanted.build is None
        or wanted.digest is not None
    ):
        return None
    try:
        recipe = recipe_of(world, wish.loaded, None)
    except NotFoundError as error:
        return Origin("unknown", (error.message,))
    return origin_of(image, recipe)


def _unlocked_by(world: World, wish: Wish, spec: Spec, origin: Origin | None) -> tuple[Finding, ...]:
    """What a build for changed pins would do to a locked image; nobody should wait for one that is refused afterwards."""
    from launchpad.cli import pins
    from launchpad.deploy.drift import Drift

    if origin is None or origin.kind != "pins" or (path := pins.find(world, wish.loaded)) is None:
        return ()
    try:
        lock = pins.of_profile(pins.read(path), wish.loaded)
    except LaunchpadError:
        return ()  # that it cannot be read is a finding of its own
    if all(pin.id is None for pin in lock.images):
        return ()
    what, found = f"what image {spec.own_image.named} is built from", ", ".join(origin.changes) or "other pins"
    fix = f"put the pins back, or make it anew and lock that: launchpad build {wish.name} && launchpad lock {wish.name}"
    return (pins.finding(Drift("lock.image", what, "as it is here", found, fix), lock),)


def refuse(drawn: Draft) -> None:
    """Raise the first blocking finding, with the exit code that all of them together ask for."""
    from launchpad.doctor.finding import exit_code
    from launchpad.errors import EXIT_BLOCKED, BlockedError

    blocking = [finding for finding in drawn.findings if finding.severity == "blocks"]
    if not blocking:
        return
    first = blocking[0]
    more = f" (and {len(blocking) - 1} more above)" if len(blocking) > 1 else ""
    kind = BlockedError if exit_code(drawn.findings) == EXIT_BLOCKED else LaunchpadError
    raise kind(first.message + more, hint=first.hint)
