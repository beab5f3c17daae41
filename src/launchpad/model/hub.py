"""The model hub: which files a repository has at a commit, and their bytes, resumed and checked. The only module that asks it.

huggingface_hub is an extra (``pip install '.[hub]'``) and imported by :func:`connect`. It knows the hub: its URLs, tokens,
errors and sessions. Its own download is not used, because huggingface_hub 2.4.0 throws a partial file away when the process ends
(file_download.py, read 2026-11-23): files come over HTTP ranges into a partial file that outlives us. What came is hashed and
compared with what the hub publishes (SHA-256 for large files, git's blob hash for small ones) before it takes its name. Beside the
files the same notes are left as ``hf download --local-dir`` leaves.

It refuses to follow a name out of the folder, and never repeats an URL or a token in an error: a redirect's URL is a signed secret.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final

from launchpad.errors import LaunchpadError
from launchpad.model.digest import Note, Notes, Stopped, digest
from launchpad.model.origin import NOTES
from launchpad.units import show_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from huggingface_hub import HfApi

#: Files fetched at once.
JOBS: Final = 4
#: Seconds without a byte after which a line counts as broken.
TIMEOUT_S: Final = 30.0
#: Seconds between two attempts of which neither brought a byte; the longest that a hub may ask us to wait.
WAITS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
LONGEST_WAIT_S: Final = 60.0
#: What is installed by a person whose launchpad came without it: whatever is called launchpad elsewhere is not asked for.
_PACKAGE: Final = "'huggingface_hub>=1.0'"


class HubError(LaunchpadError):
    """The hub does not give what was asked for; the message says why."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the hub publishes it: ``sha256`` of a large one, ``blob`` (git's SHA-1) of a small one."""

    name: str
    size_bytes: int
    sha256: str | None = None
    blob: str | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far a download is: ``done`` of ``total`` bytes are here, of which ``moved`` came in this run."""

    done: int
    total: int
    moved: int
    file: str


def connect(*, endpoint: str | None, token: str | None, waits_s: Sequence[float] = WAITS_S) -> Hub:
    """The hub at ``endpoint``, None for the one that HF_ENDPOINT names; ``token`` None for HF_TOKEN or the file it is kept in.

    ``waits_s``: seconds between attempts that bring nothing; after the last one it gives up. Raises HubError where huggingface_hub
    is not installed, or the endpoint is no address.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise HubError(
            "cannot fetch models: huggingface_hub is not installed where launchpad is",
            hint=f"pipx inject launchpad {_PACKAGE}, or in launchpad's virtual environment: pip install {_PACKAGE}",
        ) from error
    _utils().disable_progress_bars()
    api = HfApi(endpoint=endpoint.rstrip("/") if endpoint else endpoint, token=token, library_name="launchpad")
    if _site(api.endpoint) is None:
        raise HubError(
            "cannot fetch models: HF_ENDPOINT is no address of a hub (it begins with http:// or https://)",
            hint="unset HF_ENDPOINT; or export HF_ENDPOINT=https://HOST",
        )
    return Hub(api, waits_s)


def _site(endpoint: str) -> str | None:
    """A hub's address as a person may be shown it: without a user, a password, or a query. None for what is no address."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host:
        return None
    named = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{named}" + (f":{port}" if port is not None else "") + parts.path.rstrip("/")


def _utils() -> Any:
    """huggingface_hub.utils, whose public names carry no types."""
    return import_module("huggingface_hub.utils")


class Hub:
    """A model hub; made by :func:`connect`."""

    def __init__(self, api: HfApi, waits_s: Sequence[float] = WAITS_S) -> None:
        self._api: Any = api  # what it answers is read field by field
        self._site = _site(api.endpoint) or ""
        self._waits_s = tuple(waits_s)

    def find(self, repo: str, revision: str) -> Remote:
        """The files of a repository at a revision, and the commit that it means now; raises HubError with the hub's reason."""
        try:
            said = self._api.model_info(repo, revision=revision, files_metadata=True, timeout=30)
        except _foreign() as error:
            raise _told(error, self._site, repo, revision) from None
        files = []
        for item in said.siblings or ():
            _refuse_climbing(repo, item.rfilename)
            size = item.lfs.size if item.lfs is not None else item.size
            if size is None:
                raise HubError(f"cannot fetch {repo}: the hub does not say how large {item.rfilename} is")
            files.append(
                RemoteFile(item.rfilename, size, item.lfs.sha256 if item.lfs is not None else None, item.blob_id)
            )
        if not said.sha or not files:
            raise HubError(f"cannot fetch {repo}: it has no files at {revision}")
        return Remote(repo, said.sha, tuple(sorted(files, key=lambda file: (file.size_bytes, file.name))))

    def read(self, remote: Remote, file: RemoteFile, into: Any, stop: threading.Event) -> None:
        """Write the rest of ``file`` into ``into``, from where that stands; a broken line is taken up again where it broke.

        An answer that ends too early, however politely, is a broken line, too. Raises HubError once nothing new has come for a
        while, Stopped, or what ``into`` raises.
        """
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(remote.repo, file.name, revision=remote.commit, endpoint=self._api.endpoint)
        headers = _utils().build_hf_headers(token=self._api.token, library_name="launchpad")
        waits, best = iter(self._waits_s), into.tell()
        while (begin := into.tell()) < file.size_bytes:
            if stop.is_set():
                raise Stopped
            told, error = self._attempt(url, headers, into, begin, remote, file)
            if told is None:
                return
            if into.tell() > best:  # bytes that had come before are no progress
                waits, best = iter(self._waits_s), into.tell()
            seconds = _wait_s(error, next(waits, None))
            if isinstance(told, OSError) or seconds is None:
                raise told from None
            if stop.wait(seconds):
                raise Stopped

    def _attempt(
        self, url: str, headers: dict[str, str], into: Any, begin: int, remote: Remote, file: RemoteFile
    ) -> tuple[Exception, Exception] | tuple[None, None]:
        """Ask once; what went wrong, in our words and as it came, or None twice where the file is whole."""
        try:
            self._stream(url, headers, into, begin, file.size_bytes)
        except _Other as error:
            return _not_the_file(remote, file, str(error)), error
        except _foreign() as error:
            return _told(error, self._site, remote.repo, remote.commit, file.name), error
        if (came := into.tell()) < file.size_bytes:
            short = _not_the_file(remote, file, f"the answer ended at byte {came} of {file.size_bytes}")
            return short, short
        return None, None

    @staticmethod
    def _stream(url: str, headers: dict[str, str], into: Any, begin: int, size: int) -> None:
        """One answer, written as it comes. The hub's library would wait for an hour, deaf to Ctrl-C, where the hub says so."""
        ranged = {"Range": f"bytes={begin}-"} if begin else {}
        # A compressed answer would have a length and ranges of its own.
        asked = {**headers, **ranged, "Accept-Encoding": "identity"}
        with _utils().get_session().stream("GET", url, headers=asked, timeout=TIMEOUT_S) as response:
            if response.status_code >= 400:
                response.read()
            _utils().hf_raise_for_status(response)
            if response.status_code != 206:
                _refuse_other_length(response.headers, size)
            if begin and response.status_code != 206:
                into.seek(0)
                into.truncate()
            for chunk in response.iter_bytes():
                into.write(chunk)
                if into.tell() > size:  # it cannot be right any more, and may never end
                    return


class _Other(Exception):
    """An answer that says of itself that it is not the file that was asked for."""


def _refuse_other_length(headers: Any, size: int) -> None:
    """Raises _Other for a whole answer of another length than the file's, before it costs us what has come."""
    length = str(headers.get("Content-Length", ""))
    if length.isdigit() and int(length) != size and not headers.get("Content-Encoding"):
        raise _Other(f"the answer has {length} bytes instead of {size}")


def _not_the_file(remote: Remote, file: RemoteFile, cause: str) -> HubError:
    return HubError(
        f"cannot fetch {file.name} of {remote.repo}: {cause}",
        hint=f"it may be the page of a proxy or a login: look at HF_ENDPOINT and HTTPS_PROXY; then {_AGAIN}",
    )


def _wait_s(error: Exception | None, wait_s: float | None) -> float | None:
    """Seconds until it is worth asking again; None where it is not, or where it would be too long to sit through."""
    from huggingface_hub.errors import HfHubHTTPError

    if wait_s is None or not isinstance(error, HfHubHTTPError):
        return wait_s
    status = error.response.status_code
    if status not in {408, 429} and status < 500:
        return None
    after = str(error.response.headers.get("Retry-After", ""))
    asked = float(after) if after.isdigit() else wait_s
    return asked if asked <= LONGEST_WAIT_S else None


def missing_bytes(remote: Remote, folder: Path) -> int:
    """Bytes still to be fetched: what is neither there in full size nor partly."""
    total = 0
    for file in remote.files:
        if _size(folder / file.name) == file.size_bytes:
            continue
        total += file.size_bytes - min(_size(_partial(folder, file)) or 0, file.size_bytes)
    return total


def refuse_full(remote: Remote, folder: Path, free: Callable[[Path], int] | None = None) -> None:
    """Raises HubError where the file system of ``folder`` has no room for what is still to be fetched."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    has, needs = (free or _free)(there), missing_bytes(remote, folder)
    if needs > has:
        raise HubError(
            f"cannot fetch {remote.repo} into {folder}: {show_bytes(needs)} are to come and {show_bytes(has)} are free",
            hint=f"free {show_bytes(needs - has)} there (df -h {there}), or name another model.path in the profile",
        )


def fetch(
    hub: Hub,
    remote: Remote,
    folder: Path,
    notes: Notes,
    *,
    progress: Callable[[Fetched], None] = lambda _: None,
    jobs: int = JOBS,
) -> tuple[str, ...]:
    """Make ``folder`` hold every file of ``remote``, each checked; the names of those that were fetched now.

    What is there and right is left alone, what is there in part is continued. Raises HubError; Ctrl-C keeps what has come.
    """
    stop = threading.Event()
    meter = _Meter(remote, progress)
    with ThreadPoolExecutor(max(1, jobs), thread_name_prefix="pull") as pool:
        work = _Work(hub, remote, folder, notes, meter, stop)
        running = [pool.submit(work.settle, file) for file in remote.files]
        try:
            return tuple(sorted(_gathered(running)))
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _gathered(running: Sequence[Future[str | None]]) -> Iterable[str]:
    pending: Iterable[Future[str | None]] = set(running)
    found: list[str] = []
    while pending:
        done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)  # bounded, so that Ctrl-C gets through
        found.extend(name for future in done if (name := future.result()) is not None)
    return found


class _Meter:
    def __init__(self, remote: Remote, progress: Callable[[Fetched], None]) -> None:
        self._lock = threading.Lock()
        self._total, self._done, self._moved = remote.total_bytes, 0, 0
        self._progress = progress

    def add(self, name: str, count: int, *, moved: bool) -> None:
        with self._lock:
            self._done += count
            self._moved += count if moved else 0
            self._progress(Fetched(self._done, self._total, self._moved, name))


@dataclass(frozen=True, slots=True)
class _Work:
    """Brings one file after another to where it belongs."""

    hub: Hub
    remote: Remote
    folder: Path
    notes: Notes
    meter: _Meter
    stop: threading.Event

    def settle(self, file: RemoteFile) -> str | None:
        """Fetch ``file`` unless it is there and right; its name where it was fetched."""
        target = self.folder / file.name
        try:
            if _size(target) == file.size_bytes and self._is_right(target, file):
                self.meter.add(file.name, file.size_bytes, moved=False)
                self._note(file, target)
                return None
            partial = _partial(self.folder, file)
            partial.parent.mkdir(parents=True, exist_ok=True)
            self._complete(file, partial)
            if not self._is_right(partial, file):
                partial.unlink()
                raise HubError(
                    f"cannot trust {file.name} of {self.remote.repo}: what came is not what the hub publishes "
                    f"({'SHA-256 ' + file.sha256[:12] if file.sha256 else 'git blob ' + str(file.blob)[:12]} expected)",
                    hint="pull again: the damaged file was thrown away",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
            self._note(file, target)
        except OSError as error:
            raise _local(error, target, self.remote.repo) from error
        return file.name

    def _complete(self, file: RemoteFile, partial: Path) -> None:
        begin = _size(partial) or 0
        if begin > file.size_bytes:
            partial.unlink()
            begin = 0
        with partial.open("r+b" if partial.exists() else "wb") as stream:
            stream.seek(begin)
            self.meter.add(file.name, begin, moved=False)
            if begin < file.size_bytes:
                self.hub.read(self.remote, file, _Counted(stream, self, file.name), self.stop)

    def _is_right(self, path: Path, file: RemoteFile) -> bool:
        if file.sha256 is not None:
            return digest(path, self.notes, stop=self.stop) == file.sha256
        return file.blob is None or git_blob(path, file.size_bytes, self.stop) == file.blob

    def _note(self, file: RemoteFile, target: Path) -> None:
        """What `hf download` notes (commit, ETag, time), and the hash, so that a lock need not read the file again."""
        import time

        beside = self.folder / NOTES / f"{file.name}.metadata"
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(f"{self.remote.commit}\n{file.sha256 or file.blob or ''}\n{time.time()}\n")
        if file.sha256 is not None:
            seen = target.stat()
            self.notes.put(
                target, Note(seen.st_size, seen.st_mtime_ns, seen.st_ino, file.size_bytes, sha256=file.sha256)
            )


class _Counted:
    """A file that counts what is written to it, and refuses more once the work was stopped."""

    def __init__(self, stream: IO[bytes], work: _Work, name: str) -> None:
        self._stream, self._work, self._name = stream, work, name

    def write(self, data: bytes) -> int:
        if self._work.stop.is_set():
            raise Stopped
        written = self._stream.write(data)
        self._work.meter.add(self._name, written, moved=True)
        return written

    def seek(self, place: int) -> int:
        return self._stream.seek(place)

    def truncate(self) -> int:
        """Forget what stands behind here: it does not count, either."""
        place = self._stream.tell()
        self._work.meter.add(self._name, place - self._stream.seek(0, os.SEEK_END), moved=False)
        self._stream.seek(place)
        return self._stream.truncate()

    def tell(self) -> int:
        return self._stream.tell()


def git_blob(path: Path, size: int, stop: threading.Event | None = None) -> str:
    """The SHA-1 that git knows a file's content by; the hub publishes it for files that are not in LFS. Raises Stopped."""
    found = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            if stop is not None and stop.is_set():
                raise Stopped
            found.update(chunk)
    return found.hexdigest()


def _partial(folder: Path, file: RemoteFile) -> Path:
    """Where a file is while it comes; another content has another name, so that two are never mixed."""
    return folder / NOTES / f"{file.name}.{(file.sha256 or file.blob or 'unknown')[:16]}.incomplete"


def _refuse_climbing(repo: str, name: str) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\0" in name or "\\" in name or not pure.parts:
        raise HubError(f"cannot fetch {repo}: it names a file outside its folder ({name[:80]!r})")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free


# -- what went wrong ---------------------------------------------------------------------------------------------------


def _foreign() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises. Its releases 1 speak through httpx, 2 through httpx2; both root their errors in HTTPError."""
    from huggingface_hub.errors import HfHubHTTPError

    roots = [kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError" and issubclass(kind, Exception)]
    return (*roots, OSError, ValueError)


def _told(error: Exception, site: str, repo: str, revision: str, name: str | None = None) -> Exception:
    """The error of the hub at ``site`` in our words, without its URL; an error of our own disk comes back as it is."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RevisionNotFoundError

    what = f"cannot fetch {name} of {repo}" if name else f"cannot fetch {repo}"
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"{what}: HF_HUB_OFFLINE is set", hint="unset HF_HUB_OFFLINE")
    if isinstance(error, GatedRepoError):
        hint = f"accept them at {site}/{repo}; {_TOKEN}"
        return HubError(f"{what}: its owner wants its terms accepted first", hint=hint)
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"{what}: it has no revision {revision}", hint="correct revision in the profile")
    if isinstance(error, HfHubHTTPError):
        return _status(error, what, f"{site}/{repo}")
    if isinstance(error, ValueError):
        return HubError(
            f"{what}: huggingface_hub refuses it ({type(error).__name__})", hint="hf download fetches it, too"
        )
    if isinstance(error, OSError) and error.errno is not None:
        return error
    own = "" if site == _HUB else f"; {site} is what HF_ENDPOINT names"
    return HubError(f"{what}: the connection broke ({type(error).__name__})", hint=f"{_AGAIN}{own}")


_HUB: Final = "https://huggingface.co"
_AGAIN: Final = "pull again: what has come is kept, and continued"
_TOKEN: Final = "then export HF_TOKEN=..., or: hf auth login"  # noqa: S105 - a hint, no token


def _status(error: Any, what: str, page: str) -> HubError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    match status:
        case 401 | 403:
            cause = "the hub wants a token" if status == 401 else "the hub's answer is that this token may not"
            return HubError(f"{what}: {cause}", hint=f"ask for access at {page}; {_TOKEN}")
        case 404:
            where = "the hub has no such repository or file, or keeps it from those without a token"
            return HubError(f"{what}: {where}", hint=f"look at {page}")
        case 429:
            after = response.headers.get("Retry-After", "") if response is not None else ""
            wait_s = f"{after} s" if str(after).isdigit() else "a while"
            return HubError(
                f"{what}: the hub has had too many requests from here", hint=f"wait {wait_s}, then {_AGAIN}"
            )
        case None:
            return HubError(f"{what}: the hub did not answer", hint=_AGAIN)
        case _:
            return HubError(f"{what}: the hub answered {status}", hint=_AGAIN)


def _local(error: OSError, target: Path, repo: str) -> LaunchpadError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return HubError(
            f"cannot fetch {repo}: {target.parent} is full", hint=f"free some (df -h {target.parent}), then {_AGAIN}"
        )
    return HubError(
        f"cannot write {target}: {error.strerror or error}",
        hint=f"ls -ld {target.parent}; run as the user that owns it",
    )
