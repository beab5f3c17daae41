"""``verify``: everything a lock pins, looked at again. Needs no GPU and no network, and runs nothing of the image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launchpad.cli import complete, render
from launchpad.cli.lock import RigOption, hashing
from launchpad.cli.world import World
from launchpad.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launchpad.cli.pins import Subject
    from launchpad.deploy.drift import Drift
    from launchpad.deploy.lock import ContainerPin, FilePin, Lock
    from launchpad.deploy.spec import Spec
    from launchpad.model.digest import Hashed
    from launchpad.profiles.catalog import Loaded
    from launchpad.rig.facts import RigFacts


def verify(
    name: Annotated[str, typer.Argument(help="Profile name, or path of a profile.", autocompletion=complete.profiles)],
    weights: Annotated[
        bool, typer.Option("--weights", help="Read and hash the weight files, too: minutes; Ctrl-C and go on later.")
    ] = False,
    lock: Annotated[str | None, typer.Option(help="Lock file, instead of the profile's own.")] = None,
    rig: RigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as one JSON document.")] = False,
) -> None:
    """Check image, model, driver and flags against the lock, running nothing. Exit code 4 where something drifted.

    Works on a rig without a GPU: the flags are then resolved for cards like those of the lock, and the driver is not compared.
    The image's files are read from a container that is created without a network and never started.

    Examples: launchpad verify v4-flash-sglang-tp4 | launchpad verify v4-flash-sglang-tp4 --weights --json
    """
    from launchpad.cli import pins
    from launchpad.errors import EXIT_BLOCKED

    world = World()
    loaded = world.profiles.load(name)
    pins.refuse_hosted(loaded, "verify")
    path = Path(lock) if lock is not None else pins.found(world, loaded)
    made = pins.read(path)
    if made.name != loaded.name:
        render.say(f"{path} was made as the lock of {made.name}; it is compared with {loaded.name}")
    pinned = pins.of_profile(made, loaded)
    with hashing(world, quiet=as_json) as progress:
        now, found = compare(world, loaded, pinned, rig, weights=weights, progress=progress)
    unseen = tuple(_unseen(pinned, now))
    if as_json:
        render.answer_json(_json(pinned, found, unseen) | {"lock_of": made.name})
    else:
        _tell(pinned, now, found, unseen)
    raise typer.Exit(EXIT_BLOCKED if found else 0)


def compare(
    world: World,
    loaded: Loaded,
    pinned: Lock,
    rig: str | None,
    *,
    weights: bool,
    progress: Callable[[Hashed], None],
) -> tuple[Lock, tuple[Drift, ...]]:
    """What is true now, and every difference: all that `up` would refuse, and what it has no time to read."""
    from launchpad.cli import pins
    from launchpad.deploy.drift import drifts

    facts, pulls = world.facts(rig), pins.pulls(loaded.profile)
    subject = pins.Subject(loaded, _spec(loaded, pinned, facts), facts, world.runtime)
    now, unread = _now(world, pinned, subject, weights=weights, progress=progress)
    found = (*unread, *drifts(pinned, now, whole=True, pulls=pulls))
    # `up` refuses weights that were once read and found to differ, too: what is remembered proves nothing, but it may refute.
    known = (*drifts(pinned, pins.recalled(world, now), pulls=pulls), *pins.touched(world, pinned, now))
    # Weights whose content has just been found to differ need no second word about that, nor about when they were written to.
    named = {drift.what for drift in found}
    return now, (*found, *(drift for drift in known if drift.what not in named))


def _now(
    world: World, pinned: Lock, subject: Subject, *, weights: bool, progress: Callable[[Hashed], None]
) -> tuple[Lock, tuple[Drift, ...]]:
    """What is true now, and the model as a drift where it cannot be read. Nothing that was remembered is told."""
    from launchpad.cli import pins
    from launchpad.deploy.drift import Drift
    from launchpad.deploy.lock import OF_DRAFT

    profile = subject.loaded.profile
    # What has no locked hash proves nothing by being read, and must not pass for looked at again.
    parts = (("", pinned.model), (OF_DRAFT, pinned.draft_model))
    hashed = frozenset(of + file.name for of, part in parts if part for file in part.weights if file.sha256 is not None)
    now, unread = pins.looked_as_far(world, subject, pins.Depth(weights=weights, afresh=True, only=hashed), progress)
    missing = []
    for part, error in unread:
        pin = pinned.model if part == "model" else pinned.draft_model
        if pin is None or not pin.files:
            raise error
        locked = f"{len(pin.files) + len(pin.weights)} files"
        what, fix = f"{part.replace('_', ' ')} {pin.path}", "put it back"
        if part == "model":
            what = f"model {profile.model.path}"
            if pins.pulls(profile):
                fix = f"put it back: launchpad pull {pinned.name} --model-only"
        missing.append(Drift("lock.model-file", what, locked, error.message, fix))
    return now, tuple(missing)


def _spec(loaded: Loaded, pinned: Lock, facts: RigFacts) -> Spec:
    """The spec on this rig, else on one like the lock's: cards do not change a flag, and none may be here."""
    from launchpad.deploy.lock import locked_facts
    from launchpad.deploy.spec import resolve
    from launchpad.errors import LaunchpadError

    try:
        return resolve(loaded.name, loaded.profile, facts, taken={})
    except LaunchpadError:
        return resolve(loaded.name, loaded.profile, locked_facts(pinned, loaded.profile), taken={})


def _locked_weights(lock: Lock) -> tuple[FilePin, ...]:
    return tuple(file for part in (lock.model, lock.draft_model) if part is not None for file in part.weights)


def _unseen(pinned: Lock, now: Lock) -> Iterator[str]:
    """What the lock pins and nobody could look at here, and what it does not pin."""
    if pinned.rig is not None and pinned.rig.driver is not None and (now.rig is None or now.rig.driver is None):
        yield f"driver: none is loaded here; the lock was made with {pinned.rig.driver}"
    for target in sorted({target for one in now.containers for target in _unpinned_sources(pinned, one)}):
        yield f"source of mount {target}: the lock does not pin it; launchpad lock {pinned.name}"
    if pinned.model is None:
        yield "model: the lock does not pin it"
        return
    if now.model is None or now.model.path is None:
        yield f"model files: the server takes them from {pinned.model.repo or 'its image, or fetches them'}"
        return
    locked, found = _locked_weights(pinned), _locked_weights(now)
    unhashed = sum(pin.sha256 is None for pin in locked)
    if unhashed:
        of = f" of {unhashed} of {len(locked)} files" if unhashed < len(locked) else ""
        yield f"weights' contents: only sizes are locked{of}; launchpad lock {pinned.name} --weights"
    if unhashed < len(locked) and all(file.sha256 is None for file in found):
        yield f"weights' contents: not read, sizes alone were looked at; launchpad verify {pinned.name} --weights"
    if pinned.draft_model is None and now.draft_model is not None:
        yield f"draft model: the lock does not pin it; launchpad lock {pinned.name}"


def _unpinned_sources(pinned: Lock, now: ContainerPin) -> Iterator[str]:
    """Mounts that the lock knows, but not where from: it is older than 2026-11-23."""
    for was in pinned.containers:
        if was.role == now.role:
            yield from (at for at in now.sources if f"mount {at}" in was.settings and at not in was.sources)


def _json(pinned: Lock, found: tuple[Drift, ...], unseen: tuple[str, ...]) -> dict[str, Any]:
    from launchpad.clock import stamp
    from launchpad.store.files import builtins

    return {
        "name": pinned.name,
        "locked_at": stamp(pinned.at),
        "holds": not found,
        "drifts": [builtins(drift) for drift in found],
        "not_compared": list(unseen),
    }


def _tell(pinned: Lock, now: Lock, found: tuple[Drift, ...], unseen: tuple[str, ...]) -> None:
    for drift in found:
        render.out(f"drifted  {drift.id}: {drift}")
        render.out(f"         {drift.fix}")
    for line in unseen:
        render.say(f"not compared  {line}")
    when = f"{pinned.at:%Y-%m-%d %H:%M}Z"
    if found:
        render.out(f"{pinned.name} is not what was locked on {when}: {counted(len(found), 'difference')}")
        return
    files = sum(len(part.files) + len(part.weights) for part in (now.model, now.draft_model) if part is not None)
    layers = sum(len(image.layers) for image in now.images)
    render.out(f"{pinned.name} is what was locked on {when}: {layers} image layers, {files} model files, and its flags")
