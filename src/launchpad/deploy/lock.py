"""What a deployment was proven with, as a value that can be written down and compared: the lock.

A :class:`Lock` pins the image by what is in it, the model by the hashes of its files, the driver, and the resolved flags. What is
true now is a lock, too; :mod:`launchpad.deploy.drift` names every difference with what was expected and found, and what mends it.
Pure: it looks at nothing and writes nothing. What is not pinned (None, or empty) is not compared, and what cannot be told now is
no drift. Secrets are no part of a lock: a spec has them by name alone, and their names are not pinned either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from launchpad.clock import stamp
from launchpad.engines.speculative import draft_path
from launchpad.errors import StoreError
from launchpad.rig.facts import Gpu, RigFacts
from launchpad.store.files import decode
from launchpad.units import show_bytes

if TYPE_CHECKING:
    from launchpad.deploy.spec import Spec
    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import ContainerSpec, Image

#: Version of the lock file; a newer one is refused by name.
VERSION: Final = 1
SUFFIX: Final = ".lock"
#: What the draft model's files are called in front of their names.
OF_DRAFT: Final = "draft model's "


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
