"""What has drifted from a lock: every difference between what is pinned and what is there, each with what puts it right.

Pure: two locks go in, drifts come out. It refuses to look at anything; what is there now is a :class:`~launchpad.deploy.lock.Lock`
that was just made.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from packaging.version import InvalidVersion, Version

from launchpad.deploy.lock import OF_DRAFT, ContainerPin, FilePin, ImagePin, ModelPin
from launchpad.deploy.plan import flag_map
from launchpad.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from launchpad.deploy.lock import Lock, RigPin

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
