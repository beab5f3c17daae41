"""Looking at what a lock pins, and the lock's own file: what ``lock``, ``verify``, ``pull`` and ``up`` share. Nothing here prints.

A lock stands beside the profile it belongs to, as ``NAME.lock``; that of a shipped profile in the first profile directory of the
person's own (LAUNCHPAD_PROFILES, else the user's configuration). It is looked for beside the profile first, then along the search
path. Only ``lock`` and ``pull`` write one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launchpad import __version__
from launchpad.deploy.drift import Drift, drifts
from launchpad.deploy.lock import (
    OF_DRAFT,
    SUFFIX,
    VERSION,
    FilePin,
    ImagePin,
    Lock,
    ModelPin,
    container_pins,
    image_pins,
    lock_text,
    read_lock,
    rig_pin,
    seen_image,
)
from launchpad.deploy.spec import Spec
from launchpad.doctor.finding import Finding
from launchpad.errors import LaunchpadError, NotFoundError, StoreError
from launchpad.profiles.catalog import Loaded
from launchpad.rig.facts import RigFacts
from launchpad.runtime.base import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchpad.cli.launch import Wish
    from launchpad.cli.world import World
    from launchpad.doctor.case import ImageFacts
    from launchpad.model.checkpoint import CheckpointError
    from launchpad.model.digest import Hashed, Notes
    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import Image

#: The state directory's folder of hashes already known.
DIGESTS = "digests"


# -- the file ----------------------------------------------------------------------------------------------------------


def home(world: World, loaded: Loaded) -> Path:
    """Where the lock of this profile is written."""
    from launchpad.profiles.catalog import search_path, shipped_profiles

    beside = loaded.path.parent
    if beside.resolve() != shipped_profiles().resolve():
        return beside / f"{loaded.name}{SUFFIX}"
    return search_path(world.environ)[0] / f"{loaded.name}{SUFFIX}"


def find(world: World, loaded: Loaded) -> Path | None:
    """The lock of this profile, or None where there is none. Whatever has its name counts, though it may not be read."""
    import os

    from launchpad.profiles.catalog import search_path

    places = (loaded.path.parent, *search_path(world.environ))
    return next((path for place in places if os.path.lexists(path := place / f"{loaded.name}{SUFFIX}")), None)


def read(path: Path) -> Lock:
    """The lock in a file; raises StoreError for one that cannot be read, or is damaged."""
    try:
        if path.exists() and not path.is_file():
            what = "a directory" if path.is_dir() else "no regular file"
            raise StoreError(f"cannot read lock {path}: it is {what}", hint=f"move it away: mv {path} {path}.old")
        if path.is_symlink() and not path.exists():
            there = f"it is a link to {path.readlink()}, which is not there"
            raise StoreError(f"cannot read lock {path}: {there}", hint=f"put that back, or: rm {path}")
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read lock {path}: {error.strerror or error}", hint=f"ls -l {path}") from error
    return read_lock(data, str(path))


def found(world: World, loaded: Loaded) -> Path:
    """As :func:`find`; raises NotFoundError where there is none."""
    path = find(world, loaded)
    if path is None:
        raise NotFoundError(
            f"cannot find a lock of {loaded.name}: nothing is pinned", hint=f"launchpad lock {loaded.name}"
        )
    return path


def known(world: World, loaded: Loaded) -> Lock:
    """The lock of this profile, whatever name it was made under; raises NotFoundError where there is none."""
    return of_profile(read(found(world, loaded)), loaded)


def of_profile(lock: Lock, loaded: Loaded) -> Lock:
    """``lock`` as this profile is held to it: a profile and its lock may have been copied, or renamed, together."""
    return replace(lock, name=loaded.name)


def write(lock: Lock, path: Path) -> None:
    """Write a lock down, whole or not at all."""
    from launchpad.store.files import write_atomic

    refuse_folder(path, lock.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}", hint="name another with --output"
        ) from error
    try:
        write_atomic(path, lock_text(lock).encode())
    except StoreError as error:
        raise StoreError(error.message, hint=f"ls -ld {path.parent}; df -h {path.parent}") from error
    path.chmod(0o644)  # it holds no secret, and belongs beside a profile in version control


def refuse_folder(path: Path, name: str) -> None:
    """Raises StoreError where a lock cannot be written because a directory has its name."""
    if path.is_dir():
        raise StoreError(
            f"cannot write lock {path}: it is a directory",
            hint=f"launchpad lock {name} --output {path / f'{name}{SUFFIX}'}",
        )


def refuse_hosted(loaded: Loaded, doing: str) -> None:
    """Raises LaunchpadError for a deployment of which nothing is on this rig."""
    if loaded.profile.engine == "hosted":
        raise LaunchpadError(
            f"cannot {doing} {loaded.name}: somebody else runs it, and nothing of it is on this rig",
            hint=f"launchpad up {loaded.name} watches it, launchpad ask {loaded.name} asks it",
        )


# -- looking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Depth:
    """How closely to look. ``weights``: hash them; ``only``: those of that name alone, None for all of them.

    In ``only`` the draft model's have OF_DRAFT in front: both models may have a file of one name.
    ``afresh``: read images and files again, whatever is remembered of them: a hash that was not just read is not told.
    """

    weights: bool = False
    afresh: bool = False
    only: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: a profile, its spec, the facts the spec stands on, and the runtime (None: images are not looked at)."""

    loaded: Loaded
    spec: Spec
    facts: RigFacts
    runtime: Runtime | None


def look(world: World, subject: Subject, depth: Depth, progress: Callable[[Hashed], None]) -> Lock:
    """What is true now, as a lock. Raises CheckpointError for a model directory that cannot be read."""
    return replace(
        on_paper(world, subject, depth),
        model=model(world, subject.loaded, subject.runtime, depth, progress),
        draft_model=draft_model(world, subject.loaded, depth, progress),
    )


def looked_as_far(
    world: World, subject: Subject, depth: Depth, progress: Callable[[Hashed], None]
) -> tuple[Lock, tuple[tuple[str, CheckpointError], ...]]:
    """As :func:`look`; what cannot be read (``model`` or ``draft_model``) is left out, and told beside it."""
    from launchpad.model.checkpoint import CheckpointError

    now, unread = on_paper(world, subject, depth), []
    try:
        now = replace(now, model=model(world, subject.loaded, subject.runtime, depth, progress))
    except CheckpointError as error:
        unread.append(("model", error))
    try:
        now = replace(now, draft_model=draft_model(world, subject.loaded, depth, progress))
    except CheckpointError as error:
        unread.append(("draft_model", error))
    return now, tuple(unread)


def _image(world: World, pin: ImagePin, subject: Subject, depth: Depth) -> ImagePin:
    runtime = subject.runtime
    if runtime is None:
        return pin
    asked = next(item.image for item in subject.spec.containers if item.role in pin.roles)
    image = runtime.image(asked)
    return pin if image is None else looked_into(world, pin, image, runtime, depth)


def looked_into(world: World, pin: ImagePin, image: Image, runtime: Runtime, depth: Depth) -> ImagePin:
    """``pin`` with what is in the image; nothing of it is run."""
    from launchpad.cli.launch import image_facts

    facts = _afresh(image, runtime) if depth.afresh else image_facts(world, image, runtime)
    packages = dict(facts.packages)
    packages |= {f"deep-gemm ({item.kind})": item.version for item in facts.deep_gemm or () if item.version is not None}
    return seen_image(pin, image, engine=facts.engine, packages=packages, cuda=facts.cuda_version)


def _afresh(image: Image, runtime: Runtime) -> ImageFacts:
    from launchpad.doctor.image import inspect_image

    with runtime.files(image.id) as files:
        return inspect_image(image, files)


def model(
    world: World, loaded: Loaded, runtime: Runtime | None, depth: Depth, progress: Callable[[Hashed], None]
) -> ModelPin:
    """The model as the profile declares it, with its files where they can be looked at: in its path, or in the hub's volume."""
    pin, folder = declared(loaded.profile), model_folder(loaded.profile, runtime)
    return pin if folder is None else _directory(world, loaded.name, replace(pin, path=str(folder)), depth, progress)


def draft_model(world: World, loaded: Loaded, depth: Depth, progress: Callable[[Hashed], None]) -> ModelPin | None:
    """The checkpoint that drafts for the model; None where the profile names none."""
    pin = declared_draft(loaded.profile)
    if pin is None:
        return None
    if depth.only is not None:
        own = (name for name in depth.only if name.startswith(OF_DRAFT))
        depth = replace(depth, only=frozenset(name.removeprefix(OF_DRAFT) for name in own))
    return _directory(world, f"{loaded.name}-draft", pin, depth, progress)


def model_folder(profile: Profile, runtime: Runtime | None) -> Path | None:
    """Where the model's files are on this rig; None where they are inside the image, or not to be seen from here."""
    from launchpad.engines.base import HUB_VOLUME
    from launchpad.model.origin import snapshot

    wish = profile.model
    if wish.path is not None:
        return Path(wish.path)
    if wish.repo is None or runtime is None:
        return None
    cache = runtime.volume_path(HUB_VOLUME)
    return snapshot(cache, wish.repo, wish.revision) if cache is not None else None


def _directory(
    world: World, run_name: str, pin: ModelPin, depth: Depth, progress: Callable[[Hashed], None]
) -> ModelPin:
    """``pin`` with the files of its path: small ones hashed, weights by size, and by hash where one is known or asked for."""
    from launchpad.model.digest import Notes, digests, listing
    from launchpad.model.origin import origin

    folder = Path(pin.path or "")
    came = origin(folder)
    files = listing(folder)
    small = [file for file in files if not file.weights]
    weights = [file for file in files if file.weights]
    lasting = notes(world)
    # What is to be proved is read, whatever was noted before; what an interrupted proof has read counts.
    run = Notes(world.store.root / DIGESTS / f"verify-{run_name}") if depth.afresh else lasting
    hashes = _small_digests(folder, [file.name for file in small])
    asked = [file for file in weights if depth.weights and (depth.only is None or file.name in depth.only)]
    if asked:
        found = digests([folder / file.name for file in asked], run, progress=progress)
        hashes |= {path.relative_to(folder).as_posix(): sha256 for path, sha256 in found.items()}
        if depth.afresh:
            run.move_to(lasting)
    made = replace(
        pin,
        repo=pin.repo or came.repo,
        fetched=came.revision,
        files=tuple(FilePin(file.name, file.size_bytes, hashes.get(file.name)) for file in small),
        weights=tuple(FilePin(file.name, file.size_bytes, hashes.get(file.name)) for file in weights),
    )
    return made if depth.afresh else _recalled(lasting, made)


def recalled(world: World, now: Lock) -> Lock:
    """``now`` with the hashes of weights that are remembered, and still hold, where none was just read: what `up` compares."""
    kept = notes(world)
    return replace(
        now,
        model=None if now.model is None else _recalled(kept, now.model),
        draft_model=None if now.draft_model is None else _recalled(kept, now.draft_model),
    )


def _recalled(kept: Notes, pin: ModelPin) -> ModelPin:
    folder = Path(pin.path or "")
    current = {file.name: kept.current(folder / file.name) for file in pin.weights if file.sha256 is None}
    known = {name: note.sha256 for name, note in current.items() if note is not None}
    return replace(pin, weights=tuple(replace(file, sha256=known.get(file.name, file.sha256)) for file in pin.weights))


def declared(profile: Profile) -> ModelPin:
    """What the profile itself says of the model; a branch or a tag is no revision to hold anybody to."""
    from launchpad.model.origin import is_commit

    wish = profile.model
    repo = wish.repo or (wish.source.repo if wish.source else None)
    revision = wish.revision or (wish.source.revision if wish.source else None)
    return ModelPin(wish.path, repo, revision if is_commit(revision) else None)


def declared_draft(profile: Profile) -> ModelPin | None:
    """What the profile itself says of the model that drafts."""
    table = profile.speculative
    return ModelPin(table.draft_model) if table is not None and table.draft_model is not None else None


def pulls(profile: Profile) -> bool:
    """Whether ``pull`` knows where the model comes from."""
    return profile.model.repo is not None or profile.model.source is not None


def notes(world: World) -> Notes:
    """The hashes that are known already."""
    from launchpad.model.digest import Notes

    return Notes(world.store.root / DIGESTS)


def remember(world: World, *pins: ModelPin | None) -> None:
    """Note what the weights look like now, so that `up` notices without reading them when one is written to."""
    from launchpad.model.digest import Note

    kept = notes(world)
    for pin in pins:
        for file in pin.weights if pin is not None else ():
            path = Path(pin.path or "", file.name) if pin is not None else Path()
            if kept.current(path) is None:
                seen = path.stat()
                kept.put(path, Note(seen.st_size, seen.st_mtime_ns, seen.st_ino))


def _small_digests(folder: Path, names: list[str]) -> dict[str, str]:
    import hashlib

    from launchpad.model.checkpoint import CheckpointError

    found = {}
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(
                f"cannot hash {folder / name}: {error.strerror or error}", hint=f"ls -lL {folder / name}"
            ) from error
    return found


# -- judging -----------------------------------------------------------------------------------------------------------


def findings(world: World, wish: Wish, spec: Spec, runtime: Runtime | None) -> tuple[Finding, ...]:
    """What `up` holds against a start: every drift from the lock, where there is one. Weights by size and time alone."""
    path = find(world, wish.loaded)
    if path is None:
        return ()
    try:
        lock = of_profile(read(path), wish.loaded)
    except LaunchpadError as error:
        return (Finding("lock.unreadable", "blocks", error.message, error.hint, hazard=True),)
    subject = Subject(wish.loaded, spec, wish.facts, runtime)
    return tuple(finding(drift, lock) for drift in cheap_drifts(world, lock, subject))


def cheap_drifts(world: World, lock: Lock, subject: Subject) -> tuple[Drift, ...]:
    """The drifts that can be told in a moment."""
    here = subject.facts.recorded is None
    # That a model cannot be read is a finding of its own.
    now = looked_as_far(world, subject, Depth(), lambda _: None)[0] if here else on_paper(world, subject, Depth())
    return (*drifts(lock, now, pulls=pulls(subject.loaded.profile)), *(touched(world, lock, now) if here else ()))


def on_paper(world: World, subject: Subject, depth: Depth) -> Lock:
    """What is true now but for the models' files."""
    spec = subject.spec
    return Lock(
        VERSION,
        spec.name,
        __version__,
        world.clock.now(),
        images=tuple(_image(world, pin, subject, depth) for pin in image_pins(spec)),
        model=replace(declared(subject.loaded.profile), path=None),
        rig=rig_pin(spec, subject.facts),
        spec_hash=spec.hash,
        containers=container_pins(spec),
    )


def touched(world: World, lock: Lock, now: Lock) -> tuple[Drift, ...]:
    """Weights of the right size that were written to since they were hashed, or locked, on this rig."""
    kept, found = notes(world), []
    for of, was, is_ in (("", lock.model, now.model), (OF_DRAFT, lock.draft_model, now.draft_model)):
        if was is None or is_ is None or is_.path is None:
            continue
        sizes = {file.name: file.size_bytes for file in is_.weights}
        for pin in was.weights:
            path = Path(is_.path) / pin.name
            if sizes.get(pin.name) != pin.size_bytes or kept.get(path) is None or kept.current(path) is not None:
                continue
            prove = f"launchpad verify {lock.name} --weights" if pin.sha256 else f"launchpad lock {lock.name}"
            fix = f"look again: {prove}"
            found.append(Drift("lock.weights", of + pin.name, "as it was locked", "written to since", fix))
    return tuple(found)


def finding(drift: Drift, lock: Lock) -> Finding:
    """A drift as something that stands in the way of a launch."""
    return Finding(
        drift.id,
        "blocks",
        f"cannot keep to the lock of {lock.name}: {drift}",
        f"{drift.fix}; or go on once: --accept {drift.id}",
        evidence=f"locked {lock.at:%Y-%m-%d} by launchpad {lock.launchpad}",
        hazard=True,
    )
