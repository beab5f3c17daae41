"""``lock --export`` and ``--import``: image, lock and profile on a disk, to a rig that no registry reaches.

An export is a folder: ``manifest.json`` (written last: without it the export did not end) with the SHA-256 of everything else, a
tar for each image as Docker saves it, the lock, and the profile with everything it extends merged in. The model is not in it: it is
copied as it is, and ``launchpad verify NAME --weights`` proves it there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from launchpad import __version__
from launchpad.cli import pins, render
from launchpad.cli.meter import Meter
from launchpad.clock import stamp
from launchpad.deploy.drift import drifts
from launchpad.deploy.lock import SUFFIX, ImagePin, Lock, lock_text, read_lock, seen_image
from launchpad.errors import BlockedError, ImageError, LaunchpadError, StoreError
from launchpad.units import show_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from launchpad.cli.world import World
    from launchpad.profiles.catalog import Loaded
    from launchpad.runtime.base import Image, Runtime

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_CHUNK: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Item:
    """One file of an export; ``image`` is the id of the image whose tar it is."""

    file: str
    sha256: str
    size_bytes: int
    image: str | None = None


# -- out ---------------------------------------------------------------------------------------------------------------


def put_out(world: World, loaded: Loaded, folder: Path, *, as_json: bool) -> None:
    """Write an export of this profile into ``folder``."""
    pins.refuse_hosted(loaded, "export")
    lock, runtime = pins.known(world, loaded), world.runtime
    images = [(pin, _locked_image(lock, pin, runtime)) for pin in lock.images]
    _make(folder)
    _refuse_full(folder, sum(image.size_bytes for _, image in images), f"export {lock.name} into {folder}")
    items = []
    for _, image in images:
        with Meter("saving", world.clock, quiet=as_json) as meter:
            items.append(_save(runtime, image, folder, meter))
    items.append(_text(folder, f"{lock.name}{SUFFIX}", lock_text(lock)))
    items.append(_text(folder, f"{lock.name}.toml", _profile(world, loaded, lock)))
    manifest = {"format": FORMAT, "name": lock.name, "launchpad": __version__, "at": stamp(world.clock.now())}
    _text(folder, MANIFEST, json.dumps(manifest | {"files": [asdict(item) for item in items]}, indent=2) + "\n")
    if as_json:
        render.answer_json(manifest | {"path": str(folder), "files": [asdict(item) for item in items]})
        return
    for item in items:
        render.out(f"{item.sha256[:12]}  {show_bytes(item.size_bytes):>10}  {folder / item.file}")
    render.out(f"exported   {lock.name}; on the other rig: launchpad lock --import {folder}")
    for what, model in (("model", lock.model), ("draft model", lock.draft_model)):
        if model is not None and model.path is not None:
            proves = f"launchpad verify {lock.name} --weights proves it"
            render.say(f"the {what} is not in it: copy {model.path} as it is; {proves}")


def _locked_image(lock: Lock, pin: ImagePin, runtime: Runtime) -> Image:
    if pin.id is None:
        raise ImageError(
            f"cannot export {lock.name}: its lock does not pin image {pin.reference}",
            hint=f"launchpad pull {lock.name} --image-only, then launchpad lock {lock.name}",
        )
    image = runtime.image(pin.id) or runtime.image(pin.reference)
    if image is None:
        raise ImageError(
            f"cannot export {lock.name}: image {pin.reference} ({pin.id[:19]}) is not on this Docker Engine",
            hint=f"launchpad pull {lock.name} --image-only",
        )
    _refuse_other(lock, pin, image, f"export {lock.name}")
    return image


def _refuse_other(lock: Lock, pin: ImagePin, image: Image, doing: str) -> None:
    """Raises BlockedError where ``image`` is not what ``pin`` says."""
    from dataclasses import replace

    now = replace(lock, images=(seen_image(pin, image, engine=None, packages={}, cuda=None),))
    for drift in drifts(replace(lock, images=(pin,)), now):
        raise BlockedError(f"cannot {doing}: {drift}", hint=drift.fix)


def _save(runtime: Runtime, image: Image, folder: Path, meter: Meter) -> Item:
    """The image's tar, under its name only once it is whole."""
    name = f"image-{image.id.removeprefix('sha256:')[:12]}.tar"
    path, partial = folder / name, folder / f"{name}.part"
    found, size = hashlib.sha256(), 0
    try:
        with runtime.save_image(image.id) as chunks, partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                found.update(chunk)
                size += len(chunk)
                meter.tell(size, image.size_bytes, size, name)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror or error}", hint=f"df -h {folder}") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return Item(name, found.hexdigest(), size, image.id)


def _profile(world: World, loaded: Loaded, lock: Lock) -> str:
    from launchpad.profiles.writer import carried, profile_text

    remarks = (
        f"{loaded.name}, exported by launchpad {__version__} with everything it extends merged in.",
        f"Its image is loaded from the export (pull is never); {lock.name}{SUFFIX} beside it pins what that must be.",
    )
    return profile_text(carried(world.profiles.table(str(loaded.path))), remarks)


def _text(folder: Path, name: str, text: str) -> Item:
    from launchpad.store.files import write_atomic

    data = text.encode()
    write_atomic(folder / name, data)
    (folder / name).chmod(0o644)
    return Item(name, hashlib.sha256(data).hexdigest(), len(data))


# -- in ----------------------------------------------------------------------------------------------------------------


def take_in(world: World, folder: Path, *, replace_: bool, as_json: bool) -> None:
    """Load what an export holds: every file is checked first, the image is proved, profile and lock are installed last."""
    name, items = _manifest(folder)
    with Meter("checking", world.clock, quiet=as_json) as meter:
        _check(folder, items, lambda done, total, file: meter.tell(done, total, done, file))
    lock = read_lock((folder / f"{name}{SUFFIX}").read_bytes(), str(folder / f"{name}{SUFFIX}"))
    world.profiles.load(str(folder / f"{name}.toml"))
    home = _home(world)
    texts = [home / f"{name}.toml", home / f"{name}{SUFFIX}"]
    if not replace_:
        _refuse_overwriting(folder, texts)
    runtime = world.runtime
    tars = [item for item in items if item.image is not None]
    refuse_full_engine(world, [item for item in tars if runtime.image(item.image or "") is None])
    for item in tars:
        with Meter("loading", world.clock, quiet=as_json) as meter:
            _load(lock, item, folder, runtime, meter)
    _make(home)
    for path in texts:
        _text(home, path.name, (folder / path.name).read_text(encoding="utf-8"))
    if as_json:
        render.answer_json(
            {"name": name, "profile": str(texts[0]), "lock": str(texts[1]), "images": [i.image for i in tars]}
        )
        return
    render.out(f"imported   {name}: {len(tars)} image(s), {texts[0]}, {texts[1]}")
    render.out(f"next       launchpad verify {name} --weights, then launchpad up {name}")


def _manifest(folder: Path) -> tuple[str, tuple[Item, ...]]:
    from launchpad.store.files import decode

    path = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise StoreError(
            f"cannot import {folder}: it is no directory",
            hint=f"name the directory: launchpad lock --import {folder.parent}",
        )
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        if said["format"] != FORMAT:
            raise StoreError(
                f"cannot import {folder}: its format is {said['format']}, this launchpad knows {FORMAT}",
                hint=f"in a checkout of launchpad {said.get('launchpad', 'that is newer')}: pipx install --force .",
            )
        items = decode(json.dumps(said["files"]).encode(), tuple[Item, ...])
        name = str(said["name"])
    except FileNotFoundError as error:
        raise StoreError(
            f"cannot import {folder}: it has no {MANIFEST}; is it an export, and did that end?",
            hint=f"launchpad lock --export {folder} NAME, where the image is",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot import {folder}: {MANIFEST} is damaged", hint="copy the export again") from error
    wanted = {f"{name}{SUFFIX}", f"{name}.toml"}
    if not wanted <= {item.file for item in items}:
        raise StoreError(
            f"cannot import {folder}: {MANIFEST} names no profile or no lock of {name}", hint="export it again"
        )
    return name, items


def _check(folder: Path, items: tuple[Item, ...], tell: Callable[[int, int, str], None]) -> None:
    """Raises StoreError naming the first file that is not what the manifest says."""
    total, done = sum(item.size_bytes for item in items), 0
    for item in items:
        if "/" in item.file or item.file.startswith("."):
            raise StoreError(f"cannot import {folder}: {MANIFEST} names a file outside it ({item.file[:80]!r})")
        found, size = hashlib.sha256(), 0
        for chunk in _chunks(folder / item.file):
            found.update(chunk)
            size += len(chunk)
            tell(done + size, total, item.file)
        done += size
        if found.hexdigest() != item.sha256:
            cut = f"it has {size} of {item.size_bytes} bytes" if size < item.size_bytes else "its SHA-256 is another"
            raise StoreError(f"cannot import {folder}: {item.file} is damaged: {cut}", hint="copy that file again")


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}", hint="copy that file again") from error


def _load(lock: Lock, item: Item, folder: Path, runtime: Runtime, meter: Meter) -> None:
    """The image of one tar, proved to be the one that was locked, under the name the profile asks for."""

    def told() -> Iterator[bytes]:
        done = 0
        for chunk in _chunks(folder / item.file):
            done += len(chunk)
            meter.tell(done, item.size_bytes, done, item.file)
            yield chunk

    pin = next((pin for pin in lock.images if pin.id == item.image), None)
    if pin is None:
        raise StoreError(f"cannot import {folder}: {item.file} is no image of the lock", hint="export it again")
    image = runtime.load_image(told())
    _refuse_other(lock, pin, image, f"import {item.file}")
    runtime.tag(image.id, pin.reference)


def _home(world: World) -> Path:
    from launchpad.profiles.catalog import search_path

    return search_path(world.environ)[0]


def _refuse_overwriting(folder: Path, texts: list[Path]) -> None:
    for path in texts:
        if path.is_file() and path.read_bytes() != (folder / path.name).read_bytes():
            raise StoreError(
                f"cannot import {folder}: {path} is there and says something else",
                hint=f"launchpad lock --import {folder} --replace overwrites it",
            )


def _refuse_full(folder: Path, needs: int, doing: str) -> None:
    free = shutil.disk_usage(folder).free
    if needs > free:
        raise StoreError(
            f"cannot {doing}: {show_bytes(needs)} are to be written and {show_bytes(free)} are free",
            hint=f"free some (df -h {folder}), or name another directory",
        )


def refuse_full_engine(world: World, tars: list[Item]) -> None:
    """Docker unpacks what it loads; where its file system cannot be told nothing is held against it."""
    from launchpad.cli import launch

    needs = sum(item.size_bytes for item in tars)
    disk = launch.disk_of(world.runtime) if needs else None
    if disk is not None and disk.free_bytes is not None and needs > disk.free_bytes:
        raise LaunchpadError(
            f"cannot load {show_bytes(needs)} of images: {show_bytes(disk.free_bytes)} are free at {disk.path}",
            hint="docker system df tells what could go",
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {folder}: {error.strerror or error}", hint="name another directory") from error
