"""SHA-256 of files so large that the hashing is interrupted: it goes on where it stopped, and several files go at once.

The hash is the plain SHA-256 of the whole file, so that ``sha256sum`` and the model hub say the same number. A tree of chunk hashes
would resume more simply, but nobody else publishes one, and comparing with the hub would mean reading everything twice. What is
written down in between is SHA-256's own middle: eight words and an offset (FIPS 180-4, section 6.2), which do not depend on any
library. hashlib keeps its middle to itself, so libcrypto's SHA256_* functions are called through ctypes, from the very library that
hashlib uses; whether that works is tried out on a known text first. Where it does not, hashlib hashes, and an interrupted file
begins anew (finished ones are still known).

Notes are kept by path and hold for one size, modification time and inode. Nothing here decides what a hash should be.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from launchpad.model.checkpoint import ENTRY_LIMIT, CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: Bytes read at once, and after how many the middle is written down: what a power cut costs at most, half a second's reading.
READ: Final = 4 * 2**20
CHECKPOINT: Final = 256 * 2**20
#: Files hashed at once: one core hashes 0.3 to 2 GB/s, a good drive reads 3 to 14.
MOST_WORKERS: Final = 8
#: A file larger than this counts as weights, whatever it is called.
LARGEST_SMALL: Final = 64 * 2**20
WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".npz", ".nemo")

_BLOCK: Final = 64  # SHA-256's own


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model directory: ``name`` relative to it, with /."""

    name: str
    size_bytes: int
    weights: bool


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A name in a model directory that :func:`listing` leaves out: ``why`` in words; ``folder`` where it is a link to one."""

    name: str
    why: str
    folder: bool


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a file's hash: ``sha256`` once it is done, else the middle after ``offset`` bytes."""

    size: int
    mtime_ns: int
    inode: int
    offset: int = 0
    words: tuple[int, ...] | None = None
    sha256: str | None = None

    def holds_for(self, found: os.stat_result) -> bool:
        """Whether the file is still the one that was looked at."""
        return (self.size, self.mtime_ns, self.inode) == (found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, slots=True)
class Hashed:
    """How far a hashing is: ``done`` of ``total`` bytes, of which ``read`` were read in this run."""

    done: int
    total: int
    read: int
    file: str


class Stopped(Exception):
    """The work was told to stop; what it knows, or has fetched, is written down."""


class Notes:
    """A folder of notes, one small file for each path. Losing one costs time, never correctness: no error is ever raised."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, path: Path) -> Note | None:
        """The note of ``path``, whether or not it still holds."""
        try:
            said = json.loads(self._file(path).read_bytes())
            words = said.pop("words")
            note = Note(**said, words=None if words is None else tuple(words))
            numbers = (note.size, note.mtime_ns, note.inode, note.offset, *(note.words or ()))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        sound = all(type(number) is int for number in numbers) and len(note.words or _FIRST) == len(_FIRST)
        return note if sound and 0 <= note.offset <= note.size else None

    def current(self, path: Path) -> Note | None:
        """The note of ``path`` where it still holds for the file that is there."""
        note = self.get(path)
        try:
            return note if note is not None and note.holds_for(path.stat()) else None
        except OSError:
            return None

    def put(self, path: Path, note: Note) -> None:
        """Remember; a note that cannot be written is none."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            file = self._file(path)
            temporary = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            temporary.write_text(json.dumps(asdict(note)))
            temporary.replace(file)

    def move_to(self, other: Notes) -> None:
        """Hand every note on and remove the folder."""
        with contextlib.suppress(OSError):
            other._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            for file in self._folder.glob("*.json"):
                file.replace(other._folder / file.name)
            self._folder.rmdir()

    def _file(self, path: Path) -> Path:
        key = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
        return self._folder / f"{key}.json"


class _Hash(Protocol):
    """A SHA-256 in the making."""

    def update(self, buffer: bytearray, count: int) -> None:
        """Take in the first ``count`` bytes of ``buffer``."""

    def words(self) -> tuple[int, ...] | None:
        """The middle, after a whole number of blocks; None where it cannot be told."""

    def hexdigest(self) -> str:
        """The end; nothing may be taken in after it."""


def is_weights(name: str, size_bytes: int) -> bool:
    """Whether a file of that name and size counts as weights."""
    return name.lower().endswith(WEIGHTS) or size_bytes > LARGEST_SMALL


def listing(folder: Path) -> tuple[ModelFile, ...]:
    """The files of a model directory by name, but for hidden ones and hidden folders (a download's own notes, git's).

    Links to files are followed: a hub's cache is made of them. Raises CheckpointError where it cannot be read.
    """
    found: list[ModelFile] = []

    def cannot(error: OSError) -> None:
        raise CheckpointError(f"cannot read the model {folder}: {error.strerror or error}", hint=f"ls -ld {folder}")

    for here, folders, names in os.walk(folder, onerror=cannot):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if name.startswith(".") or not path.is_file():
                continue
            size = path.stat().st_size
            inside = path.relative_to(folder).as_posix()
            found.append(ModelFile(inside, size, is_weights(name, size)))
            if len(found) > ENTRY_LIMIT:
                raise CheckpointError(f"cannot read the model {folder}: it holds more than {ENTRY_LIMIT} files")
    return tuple(sorted(found, key=lambda file: file.name))


def passed_over(folder: Path) -> tuple[PassedOver, ...]:
    """What has a name in ``folder`` and is nothing that could be hashed: dangling links, pipes, links to folders.

    A folder that cannot be read has none: that is for :func:`listing` to say.
    """
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(here, name) for name in (*folders, *sorted(names)) if not name.startswith(".")):
            inside, there = path.relative_to(folder).as_posix(), path.is_dir()
            if path.is_symlink() and (there or not path.exists()):
                gone = "a folder, which is not followed" if there else f"{path.readlink()}, which is not there"
                found.append(PassedOver(inside, f"a link to {gone}", there))
            elif not there and not path.is_file():
                found.append(PassedOver(inside, "no regular file", folder=False))
    return tuple(found)


def digests(
    paths: Sequence[Path],
    notes: Notes,
    *,
    progress: Callable[[Hashed], None] = lambda _: None,
    workers: int | None = None,
    checkpoint: int = CHECKPOINT,
) -> dict[Path, str]:
    """The SHA-256 of each file, in hex, several at once. What is noted and still holds is not read again.

    Ctrl-C writes down how far each file is and goes on as KeyboardInterrupt. Raises CheckpointError for a file that cannot be read
    or that changes under our hands; the others are finished, or noted, first.
    """
    stop = threading.Event()
    meter = _Meter(paths, progress)
    count = max(1, min(workers or os.cpu_count() or 1, MOST_WORKERS, len(paths)))
    with ThreadPoolExecutor(count, thread_name_prefix="digest") as pool:
        running = {pool.submit(_digest, path, notes, meter, stop, checkpoint): path for path in paths}
        try:
            found = _gathered(running)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return found


def digest(path: Path, notes: Notes, *, stop: threading.Event | None = None, checkpoint: int = CHECKPOINT) -> str:
    """The SHA-256 of one file, in hex, in this thread. Raises Stopped once ``stop`` is set, with how far it is written down."""
    return _digest(path, notes, _Meter([path], lambda _: None), stop or threading.Event(), checkpoint)


def _gathered(running: dict[Future[str], Path]) -> dict[Path, str]:
    found: dict[Path, str] = {}
    pending: Iterable[Future[str]] = set(running)
    while pending:
        # A bounded wait, so that Ctrl-C reaches this thread.
        done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        for future in done:
            found[running[future]] = future.result()
    return found


class _Meter:
    """Adds up what the threads have done."""

    def __init__(self, paths: Sequence[Path], progress: Callable[[Hashed], None]) -> None:
        self._lock = threading.Lock()
        self._total = sum(_size(path) for path in paths)
        self._done = self._read = 0
        self._progress = progress

    def add(self, path: Path, count: int, *, read: bool) -> None:
        with self._lock:
            self._done += count
            self._read += count if read else 0
            self._progress(Hashed(self._done, self._total, self._read, path.name))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _digest(path: Path, notes: Notes, meter: _Meter, stop: threading.Event, checkpoint: int) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            known = notes.get(path)
            if known is None or not known.holds_for(before):
                known = Note(before.st_size, before.st_mtime_ns, before.st_ino)
            if known.sha256 is not None:
                meter.add(path, before.st_size, read=False)
                return known.sha256
            found = _read_on(path, file.fileno(), known, notes, meter, stop, checkpoint)
            if not known.holds_for(os.fstat(file.fileno())):
                raise CheckpointError(f"cannot hash {path}: it was written to while it was read", hint="try again")
    except OSError as error:
        raise CheckpointError(f"cannot hash {path}: {error.strerror or error}", hint=f"ls -lL {path}") from error
    notes.put(path, replace(known, offset=known.size, words=None, sha256=found))
    return found


def _read_on(
    path: Path, descriptor: int, known: Note, notes: Notes, meter: _Meter, stop: threading.Event, checkpoint: int
) -> str:
    """Hash from where the note left off to the end, writing down the middle on the way."""
    hashing = _hash(known.words, known.offset)
    offset = known.offset if known.words is not None and hashing.words() is not None else 0
    if offset:
        meter.add(path, offset, read=False)
    os.posix_fadvise(descriptor, offset, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer, noted = bytearray(READ), offset
    view = memoryview(buffer)
    try:
        while count := os.preadv(descriptor, [view], offset):
            hashing.update(buffer, count)
            offset += count
            meter.add(path, count, read=True)
            if stop.is_set() or offset - noted >= checkpoint:
                _write_down(path, known, offset, hashing, notes)
                noted = offset
            if stop.is_set():
                raise Stopped
    finally:
        view.release()
    return hashing.hexdigest()


def _write_down(path: Path, known: Note, offset: int, hashing: _Hash, notes: Notes) -> None:
    words = hashing.words() if offset % _BLOCK == 0 else None
    if words is not None:
        notes.put(path, replace(known, offset=offset, words=words))


# -- SHA-256 with a middle that can be told ----------------------------------------------------------------------------

#: The first middle: SHA-256 of nothing yet (FIPS 180-4, section 5.3.3).
_FIRST: Final = (
    *(0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A),
    *(0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19),
)


class _Context(ctypes.Structure):
    """``SHA256_CTX`` of openssl/sha.h, the same since OpenSSL 0.9.8 and in LibreSSL; with room to spare."""

    _fields_ = (
        ("h", ctypes.c_uint32 * 8),
        ("bits_low", ctypes.c_uint32),
        ("bits_high", ctypes.c_uint32),
        ("data", ctypes.c_uint32 * 16),
        ("num", ctypes.c_uint),
        ("length", ctypes.c_uint),
        ("spare", ctypes.c_uint8 * 128),
    )


class _Telling:
    """libcrypto's SHA-256, begun at ``words`` after ``offset`` bytes."""

    def __init__(self, library: Any, words: tuple[int, ...], offset: int) -> None:
        self._library, self._context = library, _Context()
        library.SHA256_Init(ctypes.byref(self._context))
        self._context.h[:] = words
        self._context.bits_low, self._context.bits_high = (offset * 8) & 0xFFFFFFFF, (offset * 8) >> 32

    def update(self, buffer: bytearray, count: int) -> None:
        data = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        self._library.SHA256_Update(ctypes.byref(self._context), data, ctypes.c_size_t(count))

    def words(self) -> tuple[int, ...] | None:
        return tuple(self._context.h) if self._context.num == 0 else None

    def hexdigest(self) -> str:
        result = ctypes.create_string_buffer(32)
        self._library.SHA256_Final(result, ctypes.byref(self._context))
        return result.raw.hex()


class _Mute:
    """hashlib's SHA-256: as quick, and silent about its middle."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, buffer: bytearray, count: int) -> None:
        with memoryview(buffer) as view:
            self._hash.update(view[:count])

    def words(self) -> tuple[int, ...] | None:
        return None

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _hash(words: tuple[int, ...] | None, offset: int) -> _Hash:
    library = _library()
    if library is None:
        return _Mute()
    return _Telling(library, words or _FIRST, offset if words is not None else 0)


def _library() -> Any | None:
    """The first libcrypto that tells and takes back a middle rightly: hashlib's own, else the system's."""
    import _hashlib

    for name in (getattr(_hashlib, "__file__", None), "libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so"):
        if name is None:
            continue
        try:
            library = ctypes.CDLL(name)
            if _tells_rightly(library):
                return library
        except (OSError, AttributeError):
            continue
    return None


def _tells_rightly(library: Any) -> bool:
    text = bytearray(b"launchpad" * 64)
    first = _Telling(library, _FIRST, 0)
    first.update(text, 8 * _BLOCK)
    middle = first.words()
    if middle is None:
        return False
    second = _Telling(library, middle, 8 * _BLOCK)
    second.update(bytearray(text[8 * _BLOCK :]), len(text) - 8 * _BLOCK)
    return second.hexdigest() == hashlib.sha256(text).hexdigest()
