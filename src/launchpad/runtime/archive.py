"""A tar stream from an image, read with suspicion.

Whoever built the image wrote the tar: names may climb, links may point at the host's secrets, a member may claim ten gigabytes.
Only regular files are taken, by their own names, within limits of bytes and members; nothing is ever written to disk or followed.
What lies behind a member of ten gigabytes is not waited for: the reading ends there, and says so.
Pure: chunks of bytes in, a mapping out.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

#: One file larger than this is named but not read.
MOST_FILE: Final = 8 * 2**20
#: All files read at once, and members looked at, before the rest is left alone.
MOST_TOTAL: Final = 64 * 2**20
MOST_MEMBERS: Final = 20_000
#: The stream is not read beyond this: members that nobody wants pass through, too (a shared object of vLLM has 0.6 GB).
MOST_STREAM: Final = 2**30
#: A long name or extended header; Linux allows paths of 4 KiB and extended attributes of 64 KiB.
MOST_HEADER: Final = 2**20


@dataclass(frozen=True, slots=True)
class Tree:
    """The regular files of one path: ``names`` of all that were seen, ``files`` those that were wanted.

    Names are relative to the path's parent, as Docker writes them. ``whole`` False: a limit ended the reading.
    """

    names: tuple[str, ...]
    files: Mapping[str, bytes]
    whole: bool = True


class _Chunks(io.RawIOBase):
    """An iterable of chunks as a file that can only be read forward."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")  # a slice of bytes would copy what is left, again and again

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is wider
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _Header(tarfile.TarInfo):
    """A member's header; what tarfile takes for the archive's end, or would read into memory however long, is an error here."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # a block of zeros is the end
            raise tarfile.ReadError(f"it is cut off or damaged ({error})") from error
        if found.size < 0 or (found.type in _DESCRIBES and found.size > MOST_HEADER):
            raise tarfile.ReadError(f"a header claims {found.size} bytes")
        return found


#: Members that only describe the next one, and are read whole.
_DESCRIBES: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def read_tree(chunks: Iterable[bytes], wanted: Callable[[str], bool]) -> Tree:
    """The regular files in a tar stream; raises ValueError where it is no tar."""
    names: list[str] = []
    files: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Chunks(chunks)), mode="r|", tarinfo=_Header) as tar:
            for count, member in enumerate(tar):
                if count >= MOST_MEMBERS:
                    return Tree(tuple(names), files, whole=False)
                if member.offset_data + member.size > MOST_STREAM:
                    if member.isreg() and not _climbs(member.name):
                        names.append(member.name)
                    return Tree(tuple(names), files, whole=False)
                if not member.isreg() or _climbs(member.name):
                    continue
                names.append(member.name)
                if member.size > MOST_FILE or not wanted(member.name):
                    continue
                total += member.size
                if total > MOST_TOTAL:
                    return Tree(tuple(names), files, whole=False)
                body = tar.extractfile(member)
                if body is not None:
                    files[member.name] = body.read(MOST_FILE)
    except (tarfile.TarError, EOFError, RecursionError) as error:
        raise ValueError(f"the engine's archive does not read: {error}") from error
    return Tree(tuple(names), files)


def _climbs(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")
