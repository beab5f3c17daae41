"""Files that survive a power cut.

A write goes to a temporary file beside its target, is synced, and is renamed over it: a reader sees the old text or the new,
never half of either. A file that cannot be decoded is set aside as ``NAME.unreadable-<UTC>`` and reported, never fatal and
never deleted. Values are frozen dataclasses; msgspec turns them into JSON and back, checking every type on the way in.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from launchpad.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

T = TypeVar("T")


def encode(value: object) -> bytes:
    """``value`` as canonical JSON: sorted keys, no white space. Equal values give equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def decode(data: bytes, type_: type[T]) -> T:
    """The value of ``type_`` that ``data`` holds; raises ValueError naming the path of what is wrong."""
    return msgspec.json.decode(data, type=type_)


def builtins(value: object) -> Any:
    """``value`` as plain dicts, lists and strings, ready for any JSON printer."""
    return msgspec.to_builtins(value, order="sorted")


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace ``path`` by ``data``; ``durable`` syncs file and folder first. Raises StoreError.

    A link is followed and stays; what is neither a file nor absent (a folder, a device) is refused.
    """
    path = _written_to(path)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105 - the pair of mkstemp's string
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108 - the pair of mkstemp's string
            raise
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check free space and permissions, or set LAUNCHPAD_STATE_DIR",
        ) from error


def _written_to(path: Path) -> Path:
    """Where a write to ``path`` ends; StoreError where that is no regular file."""
    try:
        target = path.resolve() if path.is_symlink() else path
        fit = target.is_file() or not target.exists()
    except (OSError, RuntimeError) as error:  # RuntimeError is Python 3.11's word for a link to itself
        raise StoreError(f"cannot write {path}: {error}", hint="name a file that can be written") from error
    if not fit:
        raise StoreError(f"cannot write {path}: it is there and is no regular file", hint="name a file, or a new name")
    return target


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


#: Seconds after which a temporary file has lost its writer: no write takes as long.
_ORPHANED: Final = 60.0
#: What :func:`write_atomic` calls its temporary files.
_TEMPORARY: Final = re.compile(r"\..+\.[a-z0-9_]{8}")


def sweep(folder: Path, now: datetime) -> int:
    """Remove from ``folder`` the temporary files of writers that were killed a while ago; how many there were."""
    removed = 0
    try:
        found = [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]
    except OSError:
        return 0
    for path in found:
        with contextlib.suppress(OSError):
            seen = path.lstat()
            if stat.S_ISREG(seen.st_mode) and now.timestamp() - seen.st_mtime > _ORPHANED:
                path.unlink()
                removed += 1
    return removed


@dataclass(frozen=True, slots=True)
class _Versioned:
    version: int = 0


def read(path: Path, type_: type[T], *, stamp: str, warn: Callable[[str], None], newest: int | None = None) -> T | None:
    """The value in ``path``, or None where there is none; an unreadable file is set aside under ``stamp`` and reported.

    ``newest`` is the newest ``version`` that can be read: a file of a later one is refused by name and stays where it is.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}", hint="run as the user that owns the state directory"
        ) from error
    if newest is not None and (version := _version(data)) > newest:
        raise StoreError(
            f"cannot read {path}: it was written by a newer launchpad (format {version}, this one knows {newest})",
            hint="install that version again: pip install --upgrade launchpad",
        )
    try:
        return decode(data, type_)
    except ValueError as error:
        aside = path.with_name(f"{path.name}.unreadable-{stamp}")
        try:
            path.rename(aside)
            warn(f"{path} is unreadable ({error}); set aside as {aside.name}")
        except OSError:
            warn(f"{path} is unreadable ({error}) and cannot be set aside")
        return None


def _version(data: bytes) -> int:
    """The ``version`` that ``data`` names, 0 where it names none that is a number."""
    try:
        return decode(data, _Versioned).version
    except ValueError:
        return 0
