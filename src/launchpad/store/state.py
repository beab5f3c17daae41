"""The state directory: where each deployment's files are, and what they hold.

``spec.json`` (what is wanted) and ``history/`` (what was) are written by ``up`` and ``down``; all else is written by the
deployment's supervisor alone, which puts an older spec back where a new one never became READY.
The directory is ``$LAUNCHPAD_STATE_DIR``, else ``/var/lib/launchpad`` for root, else ``$XDG_STATE_HOME/launchpad``. Our files
remember only what Docker cannot: labels on containers are the truth about what runs.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from launchpad import __version__
from launchpad.clock import stamp
from launchpad.errors import NotFoundError, StoreError
from launchpad.store import files
from launchpad.store.history import History
from launchpad.store.journal import Journal
from launchpad.store.lock import Lock, holder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Version of the files below; a newer one is refused by name, never guessed at.
VERSION: Final = 1
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_KEEP_CRASHES: Final = 10
_KEEP_STARTS: Final = 200
_STARTS_BYTES: Final = 256 * 2**10
_SUPERVISOR_LOG_BYTES: Final = 4 * 2**20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A version that never became READY, the one put back in its place, and why."""

    failed: int
    to: int
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted(Generic[T]):
    """What a person asked for: ``spec`` up or down, asked ``generation`` times.

    ``renewal`` counts how often a restart of what runs was asked for: one wish, which a Ctrl-C cannot cut in two. ``number`` is
    the spec's version in the deployment's history, 0 where it has none. ``rollback`` says whether the supervisor may put the
    last good version back by itself; ``rolled_back`` is set where it did, and this is what it put back.
    """

    version: int
    wanted: bool
    generation: int
    at: datetime
    spec: T
    renewal: int = 0
    number: int = 0
    rollback: bool = True
    rolled_back: RolledBack | None = None


def root(environ: Mapping[str, str], *, uid: int, home: Path) -> Path:
    """The state directory of this person on this machine."""
    if given := environ.get("LAUNCHPAD_STATE_DIR"):
        return Path(given).absolute()
    if uid == 0:
        return Path("/var/lib/launchpad")
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else home / ".local" / "state") / "launchpad"


class Store:
    """The state directory at ``root``. Making one touches nothing; folders appear with the first write."""

    def __init__(self, root: Path, warn: Callable[[str], None]) -> None:
        self.root = root
        self._warn = warn

    @property
    def rig_lock(self) -> Path:
        """Held while GPUs are chosen, so that two ``up`` at once never choose the same."""
        self._make(self.root)
        return self.root / "rig.lock"

    def gpu_lock(self, uuid: str) -> Lock:
        """Held while a model loads on that GPU."""
        folder = self.root / "gpus"
        self._make(folder)
        return Lock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '-', uuid)[:80]}.lock")

    def deployment(self, name: str) -> Deployment:
        """The files of ``name``, which need not exist yet; raises StoreError for a name that could leave the folder."""
        if not NAME.fullmatch(name):
            raise StoreError(
                f"cannot use deployment name {name!r}: it must match {NAME.pattern}",
                hint="use a-z, 0-9, dot, dash and underscore, starting with a letter or digit, 63 at most",
            )
        return Deployment(name, self.root / "deployments" / name, self._warn)

    def known(self, name: str) -> Deployment:
        """The files of a deployment that exists; raises NotFoundError naming those that do."""
        import difflib

        found = self.deployment(name)
        if found.exists():
            return found
        names = [item.name for item in self.deployments()]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"deployments here: {', '.join(names) or 'none'}"
        raise NotFoundError(f"cannot find deployment {name}: it was never brought up here ({self.root})", hint=hint)

    def deployments(self) -> tuple[Deployment, ...]:
        """Every deployment that has files here, by name."""
        try:
            folders = sorted((self.root / "deployments").iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(
                f"cannot read {self.root}: {error.strerror or error}",
                hint="run as the user that owns it, or set LAUNCHPAD_STATE_DIR",
            ) from error
        found = (Deployment(path.name, path, self._warn) for path in folders if NAME.fullmatch(path.name))
        return tuple(deployment for deployment in found if deployment.exists())

    def cache_warmed(self, volume: str) -> datetime | None:
        """When a start that filled the cache volume last became READY, or None."""
        found = files.read(self.root / "caches" / f"{volume}.json", _Warmed, stamp="old", warn=self._warn)
        return found.at if found else None

    def note_cache_warmed(self, volume: str, at: datetime) -> None:
        """Remember that the cache volume has been filled by a start that became READY."""
        folder = self.root / "caches"
        self._make(folder)
        files.write_atomic(folder / f"{volume}.json", files.encode(_Warmed(at)))

    def read_image(self, image_id: str, type_: type[T], now: datetime) -> T | None:
        """What this launchpad found when it looked into this image before, or None; content never changes under an image's id.

        Another launchpad may find more, or read it otherwise: each version looks for itself.
        """
        return files.read(self._image_path(image_id), type_, stamp=stamp(now), warn=self._warn)

    def note_image(self, image_id: str, facts: object) -> None:
        """Remember what a look into an image found."""
        path = self._image_path(image_id)
        self._make(path.parent)
        files.write_atomic(path, files.encode(facts), durable=False)

    def _image_path(self, image_id: str) -> Path:
        return self.root / "images" / __version__ / f"{re.sub(r'[^A-Za-z0-9]', '-', image_id)[:80]}.json"

    @staticmethod
    def _make(folder: Path) -> None:
        make_folder(folder)


@dataclass(frozen=True, slots=True)
class _Warmed:
    at: datetime


def make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents, readable by their owner alone; raises StoreError with the fix."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise StoreError(
            f"cannot make state directory {folder}: {error.strerror or error}",
            hint="set LAUNCHPAD_STATE_DIR to a folder you can write, e.g. export LAUNCHPAD_STATE_DIR=$HOME/.launchpad",
        ) from error


@dataclass(frozen=True, slots=True)
class StartRecord:
    """How one start went, for the next one's ETA: ``stages`` maps a stage to seconds since the container started."""

    spec_hash: str
    warm: bool
    at: datetime
    seconds: float
    stages: dict[str, float]


class Deployment:
    """One deployment's files."""

    def __init__(self, name: str, folder: Path, warn: Callable[[str], None]) -> None:
        self.name = name
        self.folder = folder
        self.journal = Journal(folder / "events.jsonl")
        self.history = History(folder / "history", warn)
        self._warn = warn

    def exists(self) -> bool:
        """Whether it was ever brought up here."""
        return (self.folder / "spec.json").exists() or (self.folder / "state.json").exists()

    def make(self) -> None:
        """Make the folder."""
        make_folder(self.folder)

    @property
    def spec_path(self) -> Path:
        """Where the wanted spec is; its mtime tells a supervisor that somebody asked."""
        return self.folder / "spec.json"

    @property
    def wanted_lock(self) -> Path:
        """Held while what is wanted is read and written again."""
        return self.folder / "wanted.lock"

    @property
    def supervisor_log(self) -> Path:
        """What the detached supervisor says on stderr."""
        return self.folder / "supervisor.log"

    def lock(self) -> Lock:
        """The lock whose holder is this deployment's one supervisor."""
        self.make()
        return Lock(self.folder / "supervisor.lock")

    def supervisor_pid(self) -> int | None:
        """The pid of the supervisor that runs now, or None."""
        return holder(self.folder / "supervisor.lock")

    def read_wanted(self, type_: type[Wanted[T]], now: datetime) -> Wanted[T] | None:
        """What was asked for last, or None; raises StoreError for a file that a newer launchpad wrote."""
        return files.read(self.spec_path, type_, stamp=stamp(now), warn=self._warn, newest=VERSION)

    def write_wanted(self, wanted: Wanted[T]) -> None:
        """Ask for something."""
        self.make()
        files.write_atomic(self.spec_path, files.encode(wanted))

    def read_state(self, type_: type[T], now: datetime) -> T | None:
        """What the supervisor last published, or None; raises StoreError for a file that a newer launchpad wrote."""
        return files.read(self.folder / "state.json", type_, stamp=stamp(now), warn=self._warn, newest=VERSION)

    def write_state(self, state: object, *, durable: bool) -> None:
        """Publish; ``durable`` for what must survive a power cut (phases), not for samples."""
        files.write_atomic(self.folder / "state.json", files.encode(state), durable=durable)

    def starts(self) -> tuple[StartRecord, ...]:
        """Earlier starts, oldest first; lines that do not decode are skipped."""
        found = []
        try:
            lines = (self.folder / "starts.jsonl").read_bytes().splitlines()
        except OSError:
            return ()
        for line in lines[-_KEEP_STARTS:]:
            try:
                found.append(files.decode(line, StartRecord))
            except ValueError:
                continue
        return tuple(found)

    def note_start(self, record: StartRecord) -> None:
        """Remember how a start went."""
        try:
            with (self.folder / "starts.jsonl").open("ab+", buffering=0) as file:
                size = file.tell()
                file.seek(max(0, size - 1))
                torn = b"\n" if size and file.read(1) != b"\n" else b""  # close off a line that a power cut tore
                file.write(torn + files.encode(record) + b"\n")
            if size > _STARTS_BYTES:
                kept = (self.folder / "starts.jsonl").read_bytes().splitlines(keepends=True)[-_KEEP_STARTS:]
                files.write_atomic(self.folder / "starts.jsonl", b"".join(kept))
        except OSError as error:
            raise StoreError(f"cannot write {self.folder / 'starts.jsonl'}: {error.strerror or error}") from error

    def new_crash_folder(self, at: datetime) -> Path:
        """An empty folder for one crash; only the last ten are kept."""
        import shutil

        crashes = self.folder / "crashes"
        folder = crashes / stamp(at).replace(":", "").replace("-", "")
        make_folder(folder)
        for old in sorted(crashes.iterdir())[:-_KEEP_CRASHES]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    def crash_folders(self) -> tuple[Path, ...]:
        """Crash folders, oldest first."""
        try:
            return tuple(sorted(path for path in (self.folder / "crashes").iterdir() if path.is_dir()))
        except OSError:
            return ()

    def sweep(self, now: datetime) -> int:
        """Remove the temporary files that writers killed on the way left behind; how many there were."""
        folders = (self.folder, self.folder / "history", *self.crash_folders())
        return sum(files.sweep(folder, now) for folder in folders)

    def trim(self, most_bytes: int = _SUPERVISOR_LOG_BYTES) -> None:
        """Keep the supervisor's own log small: what is there moves to ``supervisor.log.1``; its writers append, and go on."""
        try:
            if self.supervisor_log.stat().st_size <= most_bytes:
                return
            with self.supervisor_log.open("rb") as file:
                file.seek(-most_bytes, 2)
                kept = file.read()
            files.write_atomic(self.folder / "supervisor.log.1", kept, durable=False)
            os.truncate(self.supervisor_log, 0)
        except (OSError, StoreError):
            return  # a log that grows is no reason to stop supervising

    def forget(self) -> None:
        """Remove every file of this deployment; raises StoreError for what cannot be. Nobody may hold its locks."""
        import shutil

        # What makes it exist goes first: a removal that is cut short leaves a folder that nobody lists.
        try:
            for name in ("spec.json", "state.json"):
                (self.folder / name).unlink(missing_ok=True)
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"cannot forget {self.name}: {error.strerror or error}", hint=f"rm -r {self.folder}"
            ) from error

    @property
    def log_path(self) -> Path:
        """The copy of the server's log that outlives its container."""
        return self.folder / "server.log"
