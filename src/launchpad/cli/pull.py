"""``pull``: a profile's image and model, fetched before they are needed: pinned, resumed, and checked."""

from __future__ import annotations

import errno
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from launchpad.cli import complete, render
from launchpad.cli.meter import Meter
from launchpad.cli.world import World
from launchpad.errors import BlockedError, LaunchpadError
from launchpad.model.hub import Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from launchpad.deploy.drift import Drift
    from launchpad.deploy.lock import FilePin, Lock, ModelPin
    from launchpad.engines import nim
    from launchpad.model.digest import Notes
    from launchpad.model.hub import RemoteFile
    from launchpad.profiles.catalog import Loaded


def pull(
    name: Annotated[str, typer.Argument(help="Profile name, or path of a profile.", autocompletion=complete.profiles)],
    image_only: Annotated[bool, typer.Option("--image-only", help="Leave the model alone.")] = False,
    model_only: Annotated[bool, typer.Option("--model-only", help="Leave the image alone.")] = False,
    allow_unpinned: Annotated[
        bool, typer.Option("--allow-unpinned", help="Take what a branch or tag means now, and write its commit down.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as one JSON document.")] = False,
) -> None:
    """Fetch a profile's image and model: pinned, resumed, and checked against the hub's hashes.

    The model goes where the profile mounts it from (model.path, with model.source naming the repository), or into the volume that
    the engine reads (model.repo). Interrupted, it goes on where it stopped. A private model needs HF_TOKEN, or the profile's secret
    of that name.

    Examples: launchpad pull v4-flash-sglang-tp4 | launchpad pull v4-flash-sglang-tp4 --model-only --allow-unpinned
    """
    if image_only and model_only:
        raise typer.BadParameter("--image-only and --model-only exclude each other", param_hint="--model-only")
    from launchpad.cli import pins

    world = World()
    loaded = world.profiles.load(name)
    pins.refuse_hosted(loaded, "pull")
    ask = _Ask(allow_unpinned, as_json)
    said: dict[str, object] = {"name": loaded.name}
    if not model_only:
        said["image"] = _pull_image(world, loaded, ask)
    if not image_only:
        said["model"] = _pull_model(world, loaded, ask)
        said["draft_model"] = _tell_draft(loaded, ask)
    if as_json:
        render.answer_json(said)


@dataclass(frozen=True, slots=True)
class _Ask:
    allow_unpinned: bool
    as_json: bool

    def out(self, text: str) -> None:
        """An answer, where no JSON is asked for."""
        if not self.as_json:
            render.out(text)


def _lock_of(world: World, loaded: Loaded) -> Lock | None:
    from launchpad.cli import pins

    path = pins.find(world, loaded)
    return pins.of_profile(pins.read(path), loaded) if path is not None else None


# -- the image ---------------------------------------------------------------------------------------------------------


def _pull_image(world: World, loaded: Loaded, ask: _Ask) -> dict[str, object]:
    from launchpad.deploy.drift import drifts
    from launchpad.deploy.lock import ImagePin
    from launchpad.engines.base import image_reference

    wish, reference = loaded.profile.own_image, image_reference(loaded.profile)
    if wish.build is not None:
        ask.out(f"image      {reference} is made here, from template {wish.build.template}: `up` builds it")
        return {"reference": reference, "id": None, "built": True}
    runtime = world.runtime
    image = runtime.image(reference) if wish.pull == "never" or "@" in reference else None
    if image is None:
        with Meter("pulling", world.clock, quiet=ask.as_json) as meter:
            image = runtime.pull(reference, lambda now: meter.tell(now.done or 0, now.total, now.done or 0, now.what))
    ask.out(f"image      {reference}  {image.id[:19]}")
    pinned = _lock_of(world, loaded)
    if pinned is not None and pinned.images:
        from launchpad.cli import pins

        pin = ImagePin(wish.reference, pinned.images[0].roles)
        now = replace(pinned, images=(pins.looked_into(world, pin, image, runtime, pins.Depth()),))
        for drift in drifts(replace(pinned, images=pinned.images[:1]), now):
            raise BlockedError(f"cannot keep to the lock of {loaded.name}: {drift}", hint=drift.fix)
    return {"reference": reference, "id": image.id, "digests": list(image.digests)}


# -- the model ---------------------------------------------------------------------------------------------------------


def _pull_model(world: World, loaded: Loaded, ask: _Ask) -> dict[str, object] | None:
    from launchpad.cli import pins
    from launchpad.engines import nim
    from launchpad.model import hub

    wish = loaded.profile.model
    if (own := nim.weights(loaded.profile)) is not None:
        return _tell_own(loaded, own, ask)
    if wish.in_image is not None:
        ask.out("model      is inside the image")
        return None
    repo = wish.repo or (wish.source.repo if wish.source is not None else None)
    if repo is None:
        raise LaunchpadError(
            f"cannot fetch the model of {loaded.name}: the profile does not say where {wish.path} comes from",
            hint='add source = { repo = "owner/name", revision = "<commit>" } under [model]',
        )
    pinned = _lock_of(world, loaded)
    asked = _revision(loaded, repo, pinned, ask)
    door = hub.connect(endpoint=world.environ.get("HF_ENDPOINT"), token=_token(world, loaded))
    remote = door.find(repo, asked)
    pin = _held_to(pinned)
    _refuse_other_commit(loaded, remote, pin, pins.find(world, loaded))
    folder = _folder(world, loaded, remote)
    _refuse_other(loaded, remote, pin, folder)
    with _alone(repo, folder):
        wanted = _wanted(remote, folder, pin, pins.notes(world))
        hub.refuse_full(wanted.remote, folder)
        with Meter("fetching", world.clock, quiet=ask.as_json, resumes=True) as meter:
            fetched = hub.fetch(
                door,
                wanted.remote,
                folder,
                pins.notes(world),
                progress=lambda now: meter.tell(now.done, now.total, now.moved, now.file),
            )
        if wish.repo is not None:
            _note_ref(folder, remote, wish.revision or "main")
        ask.out(f"model      {repo} at {remote.commit}")
        whole = len(wanted.remote.files)
        ask.out(f"files      {whole} in {folder}, {len(fetched)} of them fetched now; all match what the hub publishes")
        written = _write_down(world, loaded, wanted, pin, pinned)
    _tell_apart(loaded, wanted, written, ask)
    ask.out(f"lock       {written}")
    return {
        "repo": repo,
        "commit": remote.commit,
        "path": str(folder),
        "bytes": remote.total_bytes,
        "fetched": list(fetched),
        "kept": list(wanted.kept),
        "left_out": list(wanted.left_out),
        "lock": str(written),
    }


def _tell_apart(loaded: Loaded, wanted: _Wanted, lock: Path, ask: _Ask) -> None:
    """Where the lock and the hub's repository differ, and the lock was kept to."""
    for name in wanted.kept:
        ask.out(f"kept       {name}, as it was locked; {wanted.remote.repo} has another")
    if wanted.left_out:
        some = ", ".join(wanted.left_out[:3]) + (", ..." if len(wanted.left_out) > 3 else "")
        takes = f"to take them in: rm {lock}; launchpad pull {loaded.name}; launchpad lock {loaded.name}"
        ask.out(f"left out   {len(wanted.left_out)} that {wanted.remote.repo} has and the lock has not ({some})")
        render.say(takes)


def _tell_own(loaded: Loaded, own: nim.Weights, ask: _Ask) -> dict[str, object]:
    """Where the weights of a server that fetches them itself come from, and when; nothing is fetched here."""
    from launchpad.units import show_bytes

    size = f"up to {show_bytes(own.at_most_bytes)}" if own.at_most_bytes is not None else "how much is not known"
    ask.out(f"model      is not in the image: the first start fetches it from NVIDIA ({size}) into volume {own.volume}")
    ask.out(
        f"next       launchpad plan {loaded.name} tells whether there is room; launchpad up {loaded.name} fetches it"
    )
    return {"repo": None, "commit": None, "path": None, "bytes": own.at_most_bytes, "fetched": [], "volume": own.volume}


def _tell_draft(loaded: Loaded, ask: _Ask) -> str | None:
    """Its path: no profile says which repository a draft model comes from, so that it is the person's own to fetch."""
    table = loaded.profile.speculative
    path = table.draft_model if table is not None else None
    if path is not None:
        there = "is there" if Path(path).is_dir() else f"is missing: hf download OWNER/NAME --local-dir {path}"
        ask.out(f"draft      {path} {there}; `lock` pins its files")
    return path


def _revision(loaded: Loaded, repo: str, pinned: Lock | None, ask: _Ask) -> str:
    """The commit to fetch: the profile's, else the lock's, else, where that is allowed, what a branch means now."""
    from launchpad.model.origin import is_commit

    wish = loaded.profile.model
    said = wish.revision or (wish.source.revision if wish.source is not None else None)
    if said is not None and is_commit(said):
        return said
    if pinned is not None and pinned.model is not None and pinned.model.repo == repo:
        locked = pinned.model.revision or pinned.model.fetched
        if locked is not None and not (ask.allow_unpinned and said is not None):
            return locked
    if ask.allow_unpinned:
        return said or "main"
    raise LaunchpadError(
        f"cannot fetch {repo}: {said or 'its main branch'} is no commit, and may mean other files tomorrow",
        hint=f"launchpad pull {loaded.name} --allow-unpinned takes what it means now and writes the commit into the lock",
    )


def _token(world: World, loaded: Loaded) -> str | None:
    """The value of the profile's own secret HF_TOKEN; None leaves it to the hub's library, which knows where people keep theirs."""
    secret = loaded.profile.secrets.get("HF_TOKEN")
    if secret is None:
        return None
    if secret.from_env is not None:
        return world.environ.get(secret.from_env) or None
    try:
        return Path(secret.from_file or "").read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _held_to(lock: Lock | None) -> ModelPin | None:
    """The lock's model. Files of another commit than the lock's own hold nobody: `lock` wrote a commit down that is yet to come."""
    pin = lock.model if lock is not None else None
    if pin is not None and pin.revision is not None and pin.fetched not in {None, pin.revision}:
        return replace(pin, fetched=None, files=(), weights=())
    return pin


def _refuse(loaded: Loaded, found: Sequence[Drift]) -> NoReturn:
    told = "; ".join(str(drift) for drift in found[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    hint = "; ".join(dict.fromkeys(drift.fix for drift in found[:3]))
    raise BlockedError(f"cannot keep to the lock of {loaded.name}: {told}{more}", hint=hint)


def _refuse_other_commit(loaded: Loaded, remote: Remote, pin: ModelPin | None, path: Path | None) -> None:
    """What is locked stays what is fetched; going over to another commit is `lock`'s to say."""
    from launchpad.deploy.drift import Drift

    if pin is None:
        return
    lock, pull = f"launchpad lock {loaded.name}", f"launchpad pull {loaded.name} --model-only"
    over, folder = f"{lock}, then {pull}", loaded.profile.model.path
    if folder is not None and not Path(folder).is_dir():  # nothing is there that could be locked
        over = f"rm {path}, then {pull}, then {lock}"
    if pin.repo not in {None, remote.repo}:
        fix = f"put it back in the profile; or name the other's commit as revision there, and go over to it: {over}"
        _refuse(loaded, [Drift("lock.revision", "model repository", str(pin.repo), remote.repo, fix)])
    locked = pin.revision or pin.fetched
    if locked not in {None, remote.commit}:
        fix = f'set revision = "{locked}" in the profile; or "{remote.commit}", and go over to it: {over}'
        _refuse(loaded, [Drift("lock.revision", "commit of the model", str(locked), remote.commit, fix)])


def _refuse_other(loaded: Loaded, remote: Remote, pin: ModelPin | None, folder: Path) -> None:
    """A hub that now publishes other hashes for the very commit that was locked is not to be trusted.

    Where it publishes what it did when the file was fetched, it is the person who has changed and locked that file.
    """
    from launchpad.deploy.drift import Drift
    from launchpad.model.origin import published

    if pin is None or remote.commit not in {pin.revision, pin.fetched}:
        return
    known = {file.name: file for file in (*pin.files, *pin.weights)}
    for file in remote.files:
        one = known.get(file.name)
        if one is None or not one.sha256 or not file.sha256 or file.sha256 in {one.sha256, published(folder, one.name)}:
            continue
        what, id_ = f"{file.name}, as the hub publishes it", "lock.weights" if one in pin.weights else "lock.model-file"
        fix = "find out why before you trust it; " + (
            f"the one in {folder} has the locked size and is left alone: launchpad verify {loaded.name} --weights proves it"
            if _size(folder / one.name) == one.size_bytes
            else f"put the locked one back, or lock what is there: launchpad lock {loaded.name}"
        )
        _refuse(loaded, [Drift(id_, what, f"sha256 {one.sha256[:12]}", f"sha256 {file.sha256[:12]}", fix)])


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is fetched of a repository, and what is not by name, because the lock says otherwise.

    ``kept``: files that are as they were locked, and not as the hub has them. ``left_out``: files that the lock does not have.
    """

    remote: Remote
    published: frozenset[str]
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def _wanted(remote: Remote, folder: Path, pin: ModelPin | None, notes: Notes) -> _Wanted:
    """The files that the lock pins, where it pins any of their kind; hidden ones are nothing that it could pin."""
    from launchpad.model.digest import is_weights

    published = frozenset(file.name for file in remote.files)
    if pin is None:
        return _Wanted(remote, published)
    locked = {file.name: file for file in (*pin.files, *pin.weights)}
    wanted, kept, left_out = [], [], []
    for file in remote.files:
        of_its_kind = pin.weights if is_weights(file.name, file.size_bytes) else pin.files
        hidden = any(part.startswith(".") for part in file.name.split("/"))
        if file.name in locked and _as_locked_alone(folder / file.name, file, locked[file.name], notes):
            kept.append(file.name)
        elif file.name not in locked and of_its_kind and not hidden:
            left_out.append(file.name)
        else:
            wanted.append(file)
    return _Wanted(replace(remote, files=tuple(wanted)), published, tuple(sorted(kept)), tuple(sorted(left_out)))


def _as_locked_alone(path: Path, file: RemoteFile, pin: FilePin, notes: Notes) -> bool:
    """Whether a file is what a person changed and locked, and not what the hub has."""
    import hashlib

    from launchpad.model.digest import digest
    from launchpad.model.hub import git_blob

    size = _size(path)
    if pin.sha256 is None or size != pin.size_bytes or file.sha256 == pin.sha256:
        return False
    if file.sha256 is not None:
        return digest(path, notes) == pin.sha256
    if file.blob is None:
        return False
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        return found == pin.sha256 and git_blob(path, size) != file.blob
    except OSError:
        return False


@contextmanager
def _alone(repo: str, folder: Path, hold: Callable[..., AbstractContextManager[None]] | None = None) -> Iterator[None]:
    """One at a time into a folder: two would write into each other's half files. ``hold``: what locks a file, None for flock."""
    from launchpad.errors import StoreError
    from launchpad.model.origin import NOTES
    from launchpad.store.lock import held

    path = (folder / NOTES).parent / "launchpad.lock"
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context((hold or held)(path, f"fetch {repo} into {folder}", wait_s=0.0))
        except (OSError, StoreError) as error:
            said = (
                error.message if isinstance(error, StoreError) else f"cannot write {folder}: {error.strerror or error}"
            )
            raise LaunchpadError(said, hint=_why_not_alone(error, folder)) from error
        yield


def _why_not_alone(error: Exception, folder: Path) -> str:
    """What helps where a folder cannot be written, or locked: some network disks are mounted without locks."""
    cause = error if isinstance(error, OSError) else error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    if number in {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}:
        mounts = "mount it with file locks (Lustre: flock; NFS 3: rpc.statd running)"
        return f"findmnt -T {folder} names its disk: {mounts}, or name a model.path on another"
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return f"free some: df -h {folder}"
    return f"ls -ld {folder}; run as the user that owns it"


def _folder(world: World, loaded: Loaded, remote: Remote) -> Path:
    """Where the files go: the path that is mounted, or the hub's own layout inside the volume that the engine reads."""
    import os

    from launchpad.engines.base import HUB_VOLUME
    from launchpad.model.origin import hub_folder

    if loaded.profile.model.path is not None:
        return Path(loaded.profile.model.path)
    world.runtime.create_volume(HUB_VOLUME, {})
    place = world.runtime.volume_path(HUB_VOLUME)
    if place is None or not os.access(place, os.W_OK):
        raise LaunchpadError(
            f"cannot fetch {remote.repo} into volume {HUB_VOLUME}: {place or 'its files'} cannot be written from here",
            hint=f"sudo launchpad pull {loaded.name}, or name model.path and model.source in the profile",
        )
    return hub_folder(place, remote.repo) / "snapshots" / remote.commit


def _note_ref(folder: Path, remote: Remote, named: str) -> None:
    """The hub's cache finds a snapshot by the name that the engine asks for: ``refs/main`` holds the commit."""
    from launchpad.model.origin import is_commit

    if is_commit(named):
        return
    ref = folder.parent.parent / "refs" / named
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(remote.commit)


def _write_down(world: World, loaded: Loaded, wanted: _Wanted, pin: ModelPin | None, lock: Lock | None) -> Path:
    """The commit, and the hashes that were just checked, in the lock; a lock of the model alone where there was none.

    Only what nobody had locked yet is added, and nothing that the hub does not have. Raises BlockedError where what is there now is
    still not what is locked; a lock that pinned files stays as it was.
    """
    from launchpad import __version__
    from launchpad.cli import pins
    from launchpad.deploy.lock import VERSION, Lock

    runtime = world.runtime if loaded.profile.model.repo is not None else None
    there = pins.model(world, loaded, runtime, pins.Depth(), lambda _: None)
    there = replace(there, repo=wanted.remote.repo, revision=wanted.remote.commit)
    made = _filled(pin, there, wanted.published)
    base = lock or Lock(VERSION, loaded.name, __version__, world.clock.now())
    new = replace(base, model=made, launchpad=__version__, at=world.clock.now())
    left = _left(new, replace(new, model=there), wanted)
    path = pins.find(world, loaded) or pins.home(world, loaded)
    if not left or pin is None or not (pin.files or pin.weights):
        pins.write(new, path)
    if left:
        _refuse(loaded, left)
    checked = {file.name for file in wanted.remote.files}
    pins.remember(world, replace(made, weights=tuple(file for file in made.weights if file.name in checked)))
    return path


def _filled(pin: ModelPin | None, there: ModelPin, published: frozenset[str]) -> ModelPin:
    """``pin`` with what it did not say yet, as it is now; of files, only those that the hub has."""
    files = tuple(file for file in there.files if file.name in published)
    weights = tuple(file for file in there.weights if file.name in published)
    if pin is None:
        return replace(there, files=files, weights=weights)
    hashes = {(file.name, file.size_bytes): file.sha256 for file in weights}
    return replace(
        there,
        repo=pin.repo or there.repo,
        revision=pin.revision or there.revision,
        fetched=pin.fetched or there.fetched,
        files=pin.files or files,
        weights=tuple(
            replace(file, sha256=file.sha256 or hashes.get((file.name, file.size_bytes))) for file in pin.weights
        )
        or weights,
    )


def _left(lock: Lock, now: Lock, wanted: _Wanted) -> list[Drift]:
    """What pulling did not put right, each with what does."""
    from launchpad.deploy.drift import drifts

    model = lock.model
    locked = {file.name for file in (*model.files, *model.weights)} if model is not None else set()
    found = []
    for drift in drifts(lock, now):
        fix = drift.fix
        if drift.what in locked:
            has = "has it otherwise" if drift.what in wanted.published else "does not have it"
            fix = f"put the locked one back ({wanted.remote.repo} {has}), or lock what is there: launchpad lock {lock.name}"
        found.append(replace(drift, fix=fix))
    return found
