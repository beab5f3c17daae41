"""``lock``: write down what a deployment is proven with, and carry it to a rig that has no network."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launchpad.cli import complete, render
from launchpad.cli.meter import Meter
from launchpad.cli.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from launchpad.deploy.lock import Lock
    from launchpad.model.digest import Hashed
    from launchpad.profiles.catalog import Loaded
    from launchpad.runtime.base import Runtime

RigOption = Annotated[str | None, typer.Option(help="Recorded rig instead of this one.", autocompletion=complete.rigs)]
WeightsOption = Annotated[
    bool, typer.Option("--weights", help="Hash the weight files, too: minutes; Ctrl-C and go on later.")
]


def lock(
    name: Annotated[
        str | None, typer.Argument(help="Profile name, or path of a profile.", autocompletion=complete.profiles)
    ] = None,
    rig: RigOption = None,
    weights: WeightsOption = False,
    output: Annotated[str | None, typer.Option(help="File to write instead of NAME.lock beside the profile.")] = None,
    export: Annotated[str | None, typer.Option(help="Directory to put image, lock and profile into.")] = None,
    import_: Annotated[str | None, typer.Option("--import", help="Directory that --export made: take it in.")] = None,
    replace_: Annotated[
        bool, typer.Option("--replace", help="With --import: overwrite another profile or lock of that name.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The lock as one JSON document.")] = False,
) -> None:
    """Write down what a profile runs with: image, model, driver, flags. From then on `up` refuses what has drifted.

    The lock is NAME.lock beside the profile (a shipped profile's is in your own profile directory). Nothing is run.

    Examples: launchpad lock v4-flash-sglang-tp4 --weights | launchpad lock --export /media/usb NAME
    """
    world = World()
    if import_ is not None:
        from launchpad.cli import carry

        if name is not None or export is not None or output is not None or rig is not None or weights:
            raise typer.BadParameter("goes alone: the directory says what it holds", param_hint="--import")
        carry.take_in(world, Path(import_), replace_=replace_, as_json=as_json)
        return
    if replace_:
        raise typer.BadParameter("goes with --import; `lock NAME` replaces the lock of NAME", param_hint="--replace")
    if name is None:
        raise typer.BadParameter("name a profile", param_hint="NAME")
    if export is not None:
        if output is not None or rig is not None or weights:
            raise typer.BadParameter("carries the lock that is there: first lock NAME", param_hint="--export")
        from launchpad.cli import carry

        carry.put_out(world, world.profiles.load(name), Path(export), as_json=as_json)
        return
    from launchpad.cli import pins

    loaded = world.profiles.load(name)
    pins.refuse_hosted(loaded, "lock")
    _lock(world, loaded, _Ask(rig, output, weights, as_json))


@dataclass(frozen=True, slots=True)
class _Ask:
    """The options of a lock."""

    rig: str | None
    output: str | None
    weights: bool
    as_json: bool


def _lock(world: World, loaded: Loaded, ask: _Ask) -> None:
    from launchpad.cli import pins

    path = Path(ask.output) if ask.output else pins.home(world, loaded)
    pins.refuse_folder(path, loaded.name)  # before minutes of hashing
    before = _before(path)
    with hashing(world, quiet=ask.as_json) as progress:
        made = make(world, loaded, rig=ask.rig, weights=ask.weights, progress=progress)
    made = _with_revision(made, before)
    pins.write(made, path)
    pins.remember(world, made.model, made.draft_model)
    unknown, changed = tuple(unpinned(made)), tuple(_changes(before, made))
    if ask.as_json:
        import json

        from launchpad.deploy.lock import lock_text

        told = {"path": str(path), "changed": list(changed), "unpinned": list(unknown)}
        render.answer_json(told | {"lock": json.loads(lock_text(made))})
        return
    for line in summary(made):
        render.out(line)
    for line in changed:
        render.out(f"changed    {line}")
    render.out(f"written    {path}")
    for line in unknown:
        render.say(f"not pinned: {line}")


def make(world: World, loaded: Loaded, *, rig: str | None, weights: bool, progress: Callable[[Hashed], None]) -> Lock:
    """What the profile runs with now, on this rig or a recorded one.

    A recorded rig's driver is not pinned: nothing was proven with it, and `up` would refuse the real rig for having another.
    Raises CheckpointError where a model has a name that leads to no file: a lock without it would hold without that file, too.
    """
    from launchpad.cli import launch, pins

    runtime = runtime_for(world, rig)
    wish = launch.load(world, str(loaded.path), rig=rig)
    drawn = launch.draft(world, wish, runtime)
    subject = pins.Subject(loaded, drawn.spec, wish.facts, runtime)
    _refuse_broken(loaded, runtime)
    depth = pins.Depth(weights=weights)
    if rig is None:
        return pins.look(world, subject, depth, progress)
    made, unread = pins.looked_as_far(world, subject, depth, progress)
    away, profile = {part for part, _ in unread}, loaded.profile
    return replace(
        made,
        rig=replace(made.rig, driver=None, cuda=None) if made.rig is not None else None,
        model=pins.declared(profile) if "model" in away else made.model,
        draft_model=pins.declared_draft(profile) if "draft_model" in away else made.draft_model,
    )


def _refuse_broken(loaded: Loaded, runtime: Runtime | None) -> None:
    from launchpad.cli import pins
    from launchpad.model.checkpoint import CheckpointError
    from launchpad.model.digest import passed_over

    draft = pins.declared_draft(loaded.profile)
    places = (pins.model_folder(loaded.profile, runtime), Path(draft.path) if draft and draft.path else None)
    for folder in (place for place in places if place is not None):
        for one in passed_over(folder):
            if not one.folder:
                raise CheckpointError(
                    f"cannot lock {loaded.name}: {one.name} in {folder} is {one.why}",
                    hint=f"put back what belongs there, or: rm {shlex.quote(str(folder / one.name))}",
                )


def runtime_for(world: World, rig: str | None) -> Runtime | None:
    """The Docker Engine; on a recorded rig none is no obstacle."""
    from launchpad.errors import RuntimeUnavailable

    if rig is None:
        return world.runtime
    try:
        world.runtime.info()
    except RuntimeUnavailable as error:
        render.say(f"locked on paper: {error.message}")
        return None
    return world.runtime


class hashing:  # noqa: N801 - a context manager that reads like a verb
    """Tells how far a hashing is; hands out what :func:`launchpad.model.digest.digests` calls."""

    def __init__(self, world: World, *, quiet: bool) -> None:
        self._meter = Meter("hashing", world.clock, quiet=quiet, resumes=True)

    def __enter__(self) -> Callable[[Hashed], None]:
        return lambda now: self._meter.tell(now.done, now.total, now.read, now.file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._meter.__exit__(kind, error, traceback)


def summary(made: Lock) -> Iterator[str]:
    """What a lock pins, for people."""
    from launchpad.units import show_bytes

    yield f"locked     {made.name}"
    for image in made.images:
        told = ", ".join(f"{name} {version}" for name, version in image.packages.items())
        yield f"image      {image.reference}  {(image.id or 'not here')[:19]}" + (f"  ({told})" if told else "")
    if made.model is not None:
        model = made.model
        said = " ".join(word for word in (model.path, model.repo, model.revision or model.fetched) if word)
        hashed = sum(file.sha256 is not None for file in model.weights)
        total = show_bytes(sum(file.size_bytes for file in model.weights))
        yield f"model      {said or 'comes with the image, or is fetched by it'}"
        if model.path is not None:
            yield f"files      {len(model.files)} hashed; {len(model.weights)} weight files, {total}, {hashed} hashed"
    if made.draft_model is not None:
        draft = made.draft_model
        hashed = sum(file.sha256 is not None for file in draft.weights)
        total = show_bytes(sum(file.size_bytes for file in draft.weights))
        yield f"draft      {draft.path}: {len(draft.files)} hashed; {len(draft.weights)} weight files, {total}, {hashed} hashed"
    if made.rig is not None:
        yield f"rig        {made.rig.title}"
    flags = sum(len(container.command) + len(container.env) for container in made.containers)
    spec = f", spec {made.spec_hash}" if made.spec_hash is not None else ""
    yield f"flags      {flags} words and variables{spec}"


def unpinned(made: Lock) -> Iterator[str]:
    """What this lock cannot hold anybody to, and how it could."""
    from launchpad.engines import nim

    for image in made.images:
        if image.id is None:
            yield f"image {image.reference}: it is not on this Docker Engine; launchpad pull {made.name}, then lock again"
        elif not image.digests:
            yield f"registry digest of {image.reference}: it was built or loaded here, no registry has named it"
    if made.rig is not None and made.rig.recorded is not None and made.rig.gpus:
        yield f"the driver: {made.rig.recorded} is a recorded rig; launchpad lock {made.name} on the rig that serves pins its"
    if any(f"mount {nim.CACHE}" in container.settings for container in made.containers):
        yield "the weights: the first start of the NIM fetches them, and which ones its image decides"
    yield from _unpinned_models(made)


def _unpinned_models(made: Lock) -> Iterator[str]:
    from launchpad.model.digest import passed_over

    for part in (made.model, made.draft_model):
        if part is not None and part.path is not None:
            yield from (
                f"{part.path}/{one.name}: it is {one.why}" for one in passed_over(Path(part.path)) if one.folder
            )
    model = made.model
    if model is None:
        return
    if model.path is not None and not model.files:
        yield f"the model's files: {model.path} was not looked at"
    if model.revision is not None and model.fetched not in {None, model.revision}:
        yield (
            f"the model's files: those here are of commit {model.fetched}; launchpad pull {made.name} --model-only "
            f"fetches those of {model.revision} and pins them"
        )
    if model.repo is not None and model.revision is None and model.fetched is None:
        yield f"the commit of {model.repo}: nothing says which one the files are of; launchpad pull {made.name} notes it"
    draft = made.draft_model
    if draft is not None and not draft.files:
        yield f"the draft model's files: {draft.path} was not looked at"
    if any(file.sha256 is None for file in (*model.weights, *(draft.weights if draft is not None else ()))):
        yield f"the weights' contents: only their sizes; launchpad lock {made.name} --weights"


def _before(path: Path) -> Lock | None:
    """The lock that is about to be replaced; one that cannot be read is replaced without a word about what changed."""
    from launchpad.cli import pins
    from launchpad.errors import StoreError

    try:
        return pins.read(path) if path.is_file() else None
    except StoreError as error:
        render.say(f"{error.message}; it is replaced")
        return None


def _with_revision(made: Lock, before: Lock | None) -> Lock:
    """A commit that ``pull`` wrote down goes on, where nothing newer is known."""
    if made.model is None or before is None or before.model is None:
        return made
    if made.model.revision or made.model.fetched or made.model.repo != before.model.repo:
        return made
    return replace(made, model=replace(made.model, revision=before.model.revision))


def _changes(before: Lock | None, made: Lock) -> Iterator[str]:
    """What the earlier lock said otherwise, and what it said that this one leaves open, with how to pin that again."""
    from launchpad.deploy.drift import drifts, lost

    if before is None:
        return
    for drift in drifts(before, made):
        yield f"{drift.what}: {drift.expected} -> {drift.found}"
    for drift in lost(before, made):
        yield f"{drift.what}: {drift.expected} -> {drift.found}; {drift.fix}"
