"""What a deployment was proven with, as a value that can be written down and compared: the lock.

A :class:`Lock` pins the image by what is in it, the model by the hashes of its files, the driver, and the resolved flags. What is
true now is a lock, too; :func:`drifts` names every difference with what was expected, what was found, and what puts it right.
Pure: it looks at nothing and writes nothing. What is not pinned (None, or empty) is not compared, and what cannot be told now is
no drift. Secrets are no part of a lock: a spec has them by name alone, and their names are not pinned either.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from packaging.version import InvalidVersion, Version

from launchpad.clock import stamp
from launchpad.deploy.plan import flag_map
from launchpad.engines.speculative import draft_path
from launchpad.errors import StoreError
from launchpad.rig.facts import Gpu, RigFacts
from launchpad.store.files import decode
from launchpad.units import counted, show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from launchpad.deploy.spec import Spec
    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import ContainerSpec, Image

#: Version of the lock file; a newer one is refused by name.
VERSION: Final = 1
SUFFIX: Final = ".lock"
#: What the draft model's files are called in front of their names.
OF_DRAFT: Final = "draft model's "
#: What is said of what is pinned no longer.
_OPEN: Final = "not pinned"
#: Every id a drift can have, with what it speaks of: what ``up --accept`` takes.
IDS: Final[Mapping[str, str]] = {
    "lock.image": "the image: its reference, layers, or what it tells its containers",
    "lock.packages": "versions of the engine and its libraries inside the image",
    "lock.model-file": "config, tokenizer, index and every other small file of the model",
    "lock.weights": "weight files",
    "lock.revision": "the repository or commit that the model comes from",
    "lock.driver": "the NVIDIA driver",
    "lock.flags": "the server's flags and environment",
    "lock.container": "how the container is held: mounts, limits, user, capabilities",
    "lock.unreadable": "the lock file itself",
}


@dataclass(frozen=True, slots=True)
class ImagePin:
    """One image. ``roles`` are the containers made from it; ``id`` None: it was not there to look at.

    ``packages`` maps what was found inside to versions; ``digests`` are the registry's, where the image came from one.
    """

    reference: str
    roles: tuple[str, ...]
    id: str | None = None
    digests: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    config_hash: str | None = None
    engine: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    cuda: str | None = None


@dataclass(frozen=True, slots=True)
class FilePin:
    """One file of the model by its name in the directory; ``sha256`` None: not hashed."""

    name: str
    size_bytes: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ModelPin:
    """The model. ``revision`` is the commit asked for, ``fetched`` the one that a download noted beside the files."""

    path: str | None = None
    repo: str | None = None
    revision: str | None = None
    fetched: str | None = None
    files: tuple[FilePin, ...] = ()
    weights: tuple[FilePin, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuPin:
    """A GPU as the spec was resolved on it: its kind, not itself."""

    index: int
    name: str
    compute_capability: tuple[int, int] | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RigPin:
    """The rig it was locked on; ``driver`` and ``cuda`` None where no GPU is used, or the rig could not tell."""

    title: str
    driver: str | None = None
    cuda: str | None = None
    recorded: str | None = None
    gpus: tuple[GpuPin, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerPin:
    """What a container is told, and how it is held; GPUs, names and published ports are the rig's own affair.

    ``sources`` are the host's paths that the profile's own mounts show, by target; a model's files are pinned by what they hold.
    Locks from before 2026-11-23 have none: those are not compared.
    """

    role: str
    command: tuple[str, ...]
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lock:
    """Everything one deployment is pinned to. ``spec_hash`` is for people: it differs with GPUs and ports, too.

    ``draft_model`` is the checkpoint that drafts for the model, where there is one.
    """

    version: int
    name: str
    launchpad: str
    at: datetime
    images: tuple[ImagePin, ...] = ()
    model: ModelPin | None = None
    rig: RigPin | None = None
    spec_hash: str | None = None
    containers: tuple[ContainerPin, ...] = ()
    draft_model: ModelPin | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference, by name: ``what`` was pinned as ``expected`` and is ``found``; ``fix`` puts it back."""

    id: str
    what: str
    expected: str
    found: str
    fix: str

    def __str__(self) -> str:
        """For people, on one line."""
        return f"{self.what}: locked {self.expected}, found {self.found}"


# -- what is there now, as pins ----------------------------------------------------------------------------------------


def container_pins(spec: Spec) -> tuple[ContainerPin, ...]:
    """What the spec's containers are told and how they are held."""
    return tuple(
        ContainerPin(
            item.role, item.command, item.entrypoint, dict(item.env), _settings(item), _sources(item, spec.model_path)
        )
        for item in spec.containers
    )


def image_pins(spec: Spec) -> tuple[ImagePin, ...]:
    """The spec's images by reference, with nothing known of them yet."""
    references = dict.fromkeys(item.image for item in spec.containers)
    return tuple(
        ImagePin(
            spec.own_image.named if reference == spec.own_image.reference else reference.partition("@")[0],
            tuple(item.role for item in spec.containers if item.image == reference),
        )
        for reference in references
    )


def seen_image(
    pin: ImagePin, image: Image, *, engine: str | None, packages: Mapping[str, str], cuda: str | None
) -> ImagePin:
    """``pin`` with what the image is and holds."""
    return ImagePin(
        pin.reference,
        pin.roles,
        image.id,
        tuple(sorted(image.digests)),
        image.layers,
        image.config_hash,
        engine,
        dict(sorted(packages.items())),
        cuda,
    )


def rig_pin(spec: Spec, facts: RigFacts) -> RigPin:
    """The part of the rig that the spec stands on; without GPUs no driver matters."""
    chosen = {seat.uuid for seat in spec.gpus}
    return RigPin(
        facts.title,
        facts.driver_version if chosen else None,
        facts.cuda_version if chosen else None,
        facts.recorded,
        tuple(
            GpuPin(gpu.index, gpu.name, gpu.compute_capability, gpu.memory_bytes)
            for gpu in facts.gpus or ()
            if gpu.uuid in chosen
        ),
    )


def locked_facts(lock: Lock, profile: Profile) -> RigFacts:
    """A rig like the one the lock was made on, so that the flags can be resolved where there is no GPU."""
    rig = lock.rig or RigPin("unknown")
    named = (profile.gpus.uuids or []) if profile.gpus is not None else []
    gpus = tuple(
        Gpu(
            pin.index,
            named[place] if place < len(named) else f"GPU-locked-{place}",
            pin.name,
            compute_capability=pin.compute_capability,
            memory_bytes=pin.memory_bytes,
        )
        for place, pin in enumerate(rig.gpus)
    )
    return RigFacts(gpus, recorded=f"{lock.name}{SUFFIX}", driver_version=rig.driver, cuda_version=rig.cuda)


def _settings(item: ContainerSpec) -> dict[str, str]:
    """How a container is held, in words, by name; a cache volume's own name is keyed by image and driver, and left out."""
    told: dict[str, Any] = {
        "ipc": item.ipc,
        "shm": None if item.shm_bytes is None else show_bytes(item.shm_bytes),
        "init": item.init,
        "user": item.user,
        "capabilities": ",".join(item.cap_add),
        "dropped capabilities": ",".join(item.cap_drop),
        "no new privileges": item.no_new_privileges,
        "network": item.network,
        "memory": None if item.memory_bytes is None else show_bytes(item.memory_bytes),
        "read-only root": item.read_only_root,
        "stop signal": item.stop_signal,
    }
    told |= {f"ulimit {limit.name}": f"{limit.soft}:{limit.hard}" for limit in item.ulimits}
    told |= {f"mount {mount.target}": f"{mount.kind}{', read-only' * mount.read_only}" for mount in item.mounts}
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in sorted(told.items())
        if value not in {None, ""}
    }


def _sources(item: ContainerSpec, model_path: str | None) -> dict[str, str]:
    """Where the container's mounts come from, by target, but for those of the model and of its draft model."""
    return {
        mount.target: mount.source
        for mount in sorted(item.mounts, key=lambda mount: mount.target)
        if mount.kind == "bind" and mount.source != model_path and mount.target != draft_path(mount.source)
    }


# -- the difference ----------------------------------------------------------------------------------------------------


def drifts(lock: Lock, now: Lock, *, whole: bool = False, pulls: bool = True) -> tuple[Drift, ...]:
    """Every difference between what is pinned and what is there. ``whole``: an image that is not there is a drift, too.

    ``pulls``: whether the profile says where the model comes from, so that ``launchpad pull`` can fetch it.
    """
    again = f"launchpad lock {lock.name}"
    found = [
        *_images(lock, now, again, whole=whole),
        *_model(lock.model, now.model, again, pulls=pulls),
        *_draft(lock.draft_model, now.draft_model, again),
        *_driver(lock.rig, now.rig, again),
        *_containers(lock.containers, now.containers, again),
    ]
    return tuple(found)


def lost(before: Lock, made: Lock) -> tuple[Drift, ...]:
    """What ``before`` pinned and ``made`` leaves open: no drift, for nothing contradicts it, but nobody is held to it any more.

    ``fix`` is the command that pins it again; where none does, why it is open.
    """
    name = made.name
    here = {role: pin for pin in made.images for role in pin.roles}
    images = [(pin, here[role]) for pin in before.images for role in pin.roles[:1] if role in here]
    return (
        *(drift for pin, found in images for drift in _lost_image(pin, found, name)),
        *_lost_model(before.model, made.model, name),
        *_lost_model(before.draft_model, made.draft_model, name, OF_DRAFT),
        *_lost_driver(before.rig, made.rig, name),
    )


def _lost_image(pin: ImagePin, found: ImagePin, name: str) -> Iterator[Drift]:
    if found.id is None:
        if pin.id is not None:
            fix = f"launchpad pull {name} --image-only, then launchpad lock {name}"
            yield Drift("lock.image", f"image {pin.reference}", _short(pin.id), _OPEN, fix)
        return
    if pin.digests and not found.digests:
        digest = _short(pin.digests[0].rpartition("@")[2])
        why = "it was built or loaded here"
        yield Drift("lock.image", f"registry digest of {pin.reference}", digest, _OPEN, why)
    if pin.packages and not found.packages:
        versions = counted(len(pin.packages), "version")
        yield Drift("lock.packages", f"packages in {pin.reference}", versions, _OPEN, "none was found in its files")


def _lost_model(pin: ModelPin | None, made: ModelPin | None, name: str, of: str = "") -> Iterator[Drift]:
    was, is_ = pin or ModelPin(), made or ModelPin()
    again = f"launchpad lock {name}"
    commit = was.revision or was.fetched
    if commit is not None and (is_.revision or is_.fetched) is None:
        why = "nothing says which one the files are of"
        yield Drift("lock.revision", f"{of or 'model '}commit", commit, _OPEN, why)
    if is_.path is None and (was.files or was.weights):
        # Where it is looked at, each file that is gone is a drift by its name.
        files = counted(len(was.files) + len(was.weights), "file")
        yield Drift("lock.model-file", f"{of or 'model '}files", files, _OPEN, f"{again}, where they can be read")
        return
    open_ = {file.name for file in is_.weights if file.sha256 is None}
    unhashed = sum(file.sha256 is not None and file.name in open_ for file in was.weights)
    if unhashed:
        said = f"SHA-256 of {counted(unhashed, 'file')}"
        yield Drift("lock.weights", f"{of}weights' contents", said, _OPEN, f"{again} --weights")


def _lost_driver(pin: RigPin | None, made: RigPin | None, name: str) -> Iterator[Drift]:
    if pin is not None and pin.driver is not None and (made is None or made.driver is None):
        used = made is not None and made.gpus
        fix = f"launchpad lock {name} on the rig that serves" if used else "no GPU is used"
        yield Drift("lock.driver", "NVIDIA driver", pin.driver, _OPEN, fix)


def same_version(one: str, other: str) -> bool:
    """Whether two versions are one: ``1.3.0rc15post1`` is ``1.3.0rc15.post1``. What is no version is compared as text."""
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _images(lock: Lock, now: Lock, again: str, *, whole: bool) -> Iterator[Drift]:
    here = {role: pin for pin in now.images for role in pin.roles}
    for pin in lock.images:
        found = next((here[role] for role in pin.roles if role in here), None)
        if found is None:
            continue
        if not _same_name(pin, found):
            fix = f'set image.reference = "{pin.reference}" in the profile, or lock it anew: {again}'
            yield Drift("lock.image", "image reference", pin.reference, found.reference, fix)
        elif found.id is None:
            if whole and pin.id is not None:
                fix = f"launchpad pull {lock.name} --image-only, or launchpad lock --import DIR"
                yield Drift("lock.image", f"image {pin.reference}", _short(pin.id), "not on this Docker Engine", fix)
            continue
        elif pin.id is not None:
            yield from _content(pin, found, again)
        if found.id is not None:
            yield from _packages(pin, found, again)


def _same_name(pin: ImagePin, found: ImagePin) -> bool:
    return pin.reference.partition("@")[0] == found.reference.partition("@")[0]


def _content(pin: ImagePin, found: ImagePin, again: str) -> Iterator[Drift]:
    if pin.id == found.id or set(pin.digests) & set(found.digests):
        return
    fix = _put_back(pin, again)
    what = f"image {pin.reference}"
    if pin.layers and found.layers and pin.layers != found.layers:
        place = next(
            (n for n, (a, b) in enumerate(zip(pin.layers, found.layers, strict=False)) if a != b),
            min(len(pin.layers), len(found.layers)),
        )
        what += f", layer {place + 1} of {len(pin.layers)}"
        yield Drift("lock.image", what, _nth(pin.layers, place), _nth(found.layers, place), fix)
    elif pin.config_hash != found.config_hash or not pin.layers:
        # Layers alike and metadata alike is the same image under another store's id.
        said = (f"id {_short(pin.id or '')}", f"id {_short(found.id or '')}")
        if pin.layers:
            what += ", what it tells its containers (environment, entrypoint, labels)"
        yield Drift("lock.image", what, *said, fix)


def _put_back(pin: ImagePin, again: str) -> str:
    digest = next(iter(pin.digests), None)
    if digest is None:
        return f"bring the locked image back (launchpad lock --import DIR), or lock the new one: {again}"
    return (
        f'the registry\'s tag has moved: set image.digest = "{digest.rpartition("@")[2]}" in the profile to stay with the locked '
        f"image, or lock the new one: {again}"
    )


def _packages(pin: ImagePin, found: ImagePin, again: str) -> Iterator[Drift]:
    """Versions that differ. Of one image, a package that only one of the two knows is one that another launchpad can tell."""
    if not pin.packages or not found.packages:
        return
    for name in sorted(pin.packages.keys() | found.packages.keys()):
        was, is_ = pin.packages.get(name), found.packages.get(name)
        if (was is None or is_ is None) and pin.id == found.id:
            continue
        if was is None or is_ is None or not same_version(was, is_):
            said = (was or "none", is_ or "none")
            yield Drift("lock.packages", f"{name} in {pin.reference}", *said, _put_back(pin, again))


def _file_back(name: str, *, pulls: bool) -> str:
    """How a file of the model comes back: by ``launchpad pull``, where the profile says where from."""
    if pulls:
        return f"put the locked file back (launchpad pull {name} --model-only fetches it)"
    return "put the locked file back (the profile has no model.source to pull it from)"


def _model(pin: ModelPin | None, now: ModelPin | None, again: str, *, pulls: bool) -> Iterator[Drift]:
    if pin is None or now is None:
        return
    name = again.rpartition(" ")[2]
    pull = f"launchpad pull {name} --model-only"
    if pin.repo is not None and now.repo is not None and pin.repo != now.repo:
        yield Drift("lock.revision", "model repository", pin.repo, now.repo, f"put it back in the profile, or: {again}")
    locked = pin.revision or pin.fetched
    if locked is not None and now.revision not in {None, locked}:
        fix = f'set revision = "{locked}" in the profile; or go over to the other one: {again}, then {pull}'
        yield Drift("lock.revision", "model revision in the profile", locked, now.revision or "", fix)
    if locked is not None and now.fetched not in {None, locked}:
        back = f"fetch the locked one: {pull}" if pulls else "put the files of the locked one back"
        fix = f"{back}; or lock what is there: {again}"
        yield Drift(
            "lock.revision", "revision that the model's files were fetched from", locked, now.fetched or "", fix
        )
    for id_, was, is_ in (("lock.model-file", pin.files, now.files), ("lock.weights", pin.weights, now.weights)):
        if was and now.path is not None:
            yield from _files(id_, was, is_, _Mend(_file_back(name, pulls=pulls), again, now.path))


def _draft(pin: ModelPin | None, now: ModelPin | None, again: str) -> Iterator[Drift]:
    """The draft model's files. That there is one at all, and where, is a flag's and a mount's affair."""
    if pin is None or now is None or now.path is None:
        return
    mend = _Mend("put the locked file back", again, now.path)
    if pin.fetched is not None and now.fetched not in {None, pin.fetched}:
        what = f"revision that the {OF_DRAFT}files were fetched from"
        yield Drift("lock.revision", what, pin.fetched, now.fetched or "", mend.changed())
    for id_, was, is_ in (("lock.model-file", pin.files, now.files), ("lock.weights", pin.weights, now.weights)):
        if was:
            yield from _files(id_, was, is_, mend, OF_DRAFT)


@dataclass(frozen=True, slots=True)
class _Mend:
    """What puts a model's files right: ``back`` for one that is locked, and ``again`` to accept what is in ``folder``."""

    back: str
    again: str
    folder: str

    def changed(self) -> str:
        """For a file that is missing, or is another."""
        return f"{self.back}, or lock what is there: {self.again}"

    def added(self, name: str) -> str:
        """For a file that nobody locked: no download takes it away."""
        return f"rm {shlex.quote(f'{self.folder}/{name}')}, or lock what is there: {self.again}"


def _files(id_: str, pins: Iterable[FilePin], found: Iterable[FilePin], mend: _Mend, of: str = "") -> Iterator[Drift]:
    was, is_ = {pin.name: pin for pin in pins}, {pin.name: pin for pin in found}
    for name in sorted(was.keys() | is_.keys()):
        one, other = was.get(name), is_.get(name)
        if one is None or other is None:
            expected, there = (
                "no such file" if one is None else _said(one),
                "missing" if other is None else _said(other),
            )
            yield Drift(id_, of + name, expected, there, mend.added(name) if one is None else mend.changed())
        elif one.sha256 and other.sha256 and one.sha256 != other.sha256:
            yield Drift(id_, of + name, f"sha256 {one.sha256[:12]}", f"sha256 {other.sha256[:12]}", mend.changed())
        elif one.size_bytes != other.size_bytes:
            yield Drift(id_, of + name, f"{one.size_bytes} bytes", f"{other.size_bytes} bytes", mend.changed())


def _said(pin: FilePin) -> str:
    return f"sha256 {pin.sha256[:12]}" if pin.sha256 else f"{pin.size_bytes} bytes"


def _driver(pin: RigPin | None, now: RigPin | None, again: str) -> Iterator[Drift]:
    if pin is None or now is None or pin.driver is None or now.driver is None or same_version(pin.driver, now.driver):
        return
    try:
        word = "older" if Version(now.driver) < Version(pin.driver) else "newer"
    except InvalidVersion:
        word = "another"
    cuda = f" (CUDA {pin.cuda})" if pin.cuda else ""
    fix = f"install driver {pin.driver}, or prove it with this one and lock it anew: {again}"
    yield Drift("lock.driver", "NVIDIA driver", f"{pin.driver}{cuda}", f"{now.driver}, {word}", fix)


def _containers(pins: Iterable[ContainerPin], found: Iterable[ContainerPin], again: str) -> Iterator[Drift]:
    was, is_ = {pin.role: pin for pin in pins}, {pin.role: pin for pin in found}
    if not was or not is_:
        return
    fix = f"put it back in the profile, or lock the change: {again}"
    many = len(was) > 1
    for role in dict.fromkeys((*was, *is_)):
        of = f" of container {role}" if many else ""
        one, other = was.get(role), is_.get(role)
        if one is None or other is None:
            said = ("none", "there") if one is None else ("there", "none")
            yield Drift("lock.flags", f"container {role}", *said, fix)
            continue
        if one.entrypoint != other.entrypoint:
            said = (_words(one.entrypoint), _words(other.entrypoint))
            yield Drift("lock.flags", f"entrypoint{of}", *said, fix)
        yield from _mapped("lock.flags", "flag ", of, flag_map(one.command), flag_map(other.command), fix)
        yield from _mapped("lock.flags", "env ", of, one.env, other.env, fix)
        yield from _mapped("lock.container", "", of, one.settings, other.settings, fix)
        both = one.sources.keys() & other.sources.keys()  # a mount that is on one side alone has just been told
        was_from, is_from = ({target: at.sources[target] for target in both} for at in (one, other))
        yield from _mapped("lock.container", "source of mount ", of, was_from, is_from, fix)


def _mapped(id_: str, kind: str, of: str, was: Mapping[str, str], is_: Mapping[str, str], fix: str) -> Iterator[Drift]:
    for name in sorted(was.keys() | is_.keys()):
        if was.get(name) != is_.get(name):
            yield Drift(id_, f"{kind}{name}{of}", _value(was, name), _value(is_, name), fix)


def _value(values: Mapping[str, str], name: str) -> str:
    return "none" if name not in values else values[name] or "set"


def _words(entrypoint: tuple[str, ...] | None) -> str:
    return "the image's own" if entrypoint is None else " ".join(entrypoint)


def _short(id_: str) -> str:
    return id_.removeprefix("sha256:")[:12]


def _nth(layers: tuple[str, ...], place: int) -> str:
    return _short(layers[place]) if place < len(layers) else "none"


# -- the file ----------------------------------------------------------------------------------------------------------


def lock_text(lock: Lock) -> str:
    """The lock as its file holds it: JSON, two spaces deep, in the order of the fields; equal locks give equal text."""
    said = asdict(lock) | {"at": stamp(lock.at)}
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"


def read_lock(data: bytes, where: str) -> Lock:
    """The lock in ``data``; raises StoreError naming ``where`` for what is none, or of a later format."""
    try:
        said = json.loads(data)
        version = said["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot read lock {where}: it is damaged, or no lock", hint=_anew(where)) from error
    if version != VERSION:
        raise StoreError(
            f"cannot read lock {where}: its format is {version}, this launchpad knows {VERSION}",
            hint=f"in a checkout of launchpad {said.get('launchpad', 'that is newer')}: pipx install --force .",
        )
    try:
        return decode(data, Lock)
    except ValueError as error:
        raise StoreError(f"cannot read lock {where}: it is damaged ({error})", hint=_anew(where)) from error


def _anew(where: str) -> str:
    """How to come by a lock that can be read; what is not named as one may be anything, and is not to be written over."""
    name = PurePosixPath(where).name
    if not name.endswith(SUFFIX):
        return f"name a file that launchpad lock wrote: NAME{SUFFIX}, or what --output named"
    return f"lock it anew: launchpad lock {name.removesuffix(SUFFIX)}"
