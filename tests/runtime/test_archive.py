"""Tar streams from an image: what is taken of them, and what a hostile one cannot do."""

from __future__ import annotations

import gzip
import io
import random
import resource
import tarfile
import time
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchpad.runtime.archive import MOST_FILE, MOST_HEADER, MOST_MEMBERS, MOST_TOTAL, Tree, read_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK: Final = 512
GIB: Final = 2**30


def entry(name: str, data: bytes = b"", **said: object) -> bytes:
    """One member; ``said`` overrides what its header says of it (size, type, linkname, mode)."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in said.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + b"\0" * (-len(data) % BLOCK)


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + b"\0" * (2 * BLOCK)


def pax(records: bytes, *, size: int | None = None) -> bytes:
    """An extended header, as it stands before the member that it describes."""
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    info.size = len(records) if size is None else size
    return info.tobuf(tarfile.USTAR_FORMAT) + records + b"\0" * (-len(records) % BLOCK)


def read(*chunks: bytes) -> Tree:
    return read_tree(chunks, lambda _: True)


class Counted:
    """A stream that goes on for ever after ``head``, and how much of it was asked for."""

    def __init__(self, head: bytes) -> None:
        self.given = 0
        self._head = head

    def __iter__(self) -> Iterator[bytes]:
        yield from self._count(self._head)
        while True:
            yield from self._count(b"\0" * 2**20)

    def _count(self, chunk: bytes) -> Iterator[bytes]:
        self.given += len(chunk)
        yield chunk


# -- what is taken


def test_wanted_files_are_read_and_all_are_named() -> None:
    tree = read_tree([tar(entry("a/one.py", b"1"), entry("a/two.so", b"2"))], lambda name: name.endswith(".py"))
    assert tree == Tree(("a/one.py", "a/two.so"), {"a/one.py": b"1"}, whole=True)


@pytest.mark.parametrize("size", [1, 7, 512, 513, 65536])
def test_chunks_may_fall_anywhere(size: int) -> None:
    data = tar(entry("a", b"x" * 1500), entry("b", b"y"))
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert read(*chunks).files == {"a": b"x" * 1500, "b": b"y"}


def test_empty_chunks_are_no_end() -> None:
    data = tar(entry("a", b"x"))
    assert read(b"", data[:100], b"", b"", data[100:], b"").files == {"a": b"x"}


def test_a_long_name_is_read_whole() -> None:
    name = "d/" + "n" * 3000
    assert read(tar(entry(name, b"x"))).names == (name,)


def test_a_name_that_is_not_utf8_is_kept_apart() -> None:
    info = tarfile.TarInfo("bad-\udcff-name")
    info.size = 1
    data = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + b"x" + b"\0" * 511 + b"\0" * 1024
    assert list(read(data).files.values()) == [b"x"]


@pytest.mark.parametrize(
    "type_",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE],
    ids=["symbolic link", "hard link", "character device", "block device", "fifo", "directory"],
)
def test_only_regular_files_are_taken(type_: bytes) -> None:
    data = tar(entry("_version.py", type=type_, linkname="/etc/shadow"), entry("next", b"x"))
    assert read(data) == Tree(("next",), {"next": b"x"})


@pytest.mark.parametrize("name", ["../etc/passwd", "a/../../b", "/etc/shadow", "a/..", ".."])
def test_a_name_that_climbs_is_not_taken(name: str) -> None:
    assert read(tar(entry(name, b"secret"), entry("ok", b"x"))) == Tree(("ok",), {"ok": b"x"})


def test_a_file_nobody_may_read_is_read_all_the_same() -> None:
    assert read(tar(entry("a", b"x", mode=0))).files == {"a": b"x"}


# -- limits


def test_a_file_over_the_limit_is_named_and_what_follows_is_read() -> None:
    data = tar(entry("large", b"x" * (MOST_FILE + 1)), entry("small", b"y"))
    assert read(data) == Tree(("large", "small"), {"small": b"y"})


def test_all_files_together_have_a_limit() -> None:
    one = b"x" * MOST_FILE
    tree = read(tar(*(entry(f"f{number}", one) for number in range(MOST_TOTAL // MOST_FILE + 1))))
    assert (sum(map(len, tree.files.values())), tree.whole) == (MOST_TOTAL, False)


def test_members_have_a_limit() -> None:
    def stream() -> Iterable[bytes]:
        while True:
            yield entry("same", b"")

    tree = read_tree(stream(), lambda _: True)
    assert (len(tree.names), tree.whole) == (MOST_MEMBERS, False)


def test_ten_gigabytes_are_named_and_not_waited_for() -> None:
    stream = Counted(entry("small", b"y") + entry("_version.py", size=10 * GIB))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    tree = read_tree(stream, lambda _: True)

    assert (tree.names, dict(tree.files), tree.whole) == (("small", "_version.py"), {"small": b"y"}, False)
    assert stream.given < 8 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_many_large_members_end_with_the_stream_limit() -> None:
    """Each below every other limit: nobody wants them, and all pass through."""
    body = entry("x.so", size=300 * 2**20)
    sent = 0

    def stream() -> Iterable[bytes]:
        nonlocal sent
        while True:
            yield body
            for _ in range(300):
                sent += 1
                yield b"\0" * 2**20

    tree = read_tree(stream(), lambda _: False)
    assert (tree.whole, len(tree.names), sent) == (False, 4, 901)  # one more waits in a buffer


@pytest.mark.parametrize("claim", [2**40, 2**62, 2**80])
def test_a_size_that_no_disk_has_ends_the_reading_at_once(claim: int) -> None:
    begin = time.monotonic()
    assert read(entry("a", size=claim) + b"x" * 100).whole is False
    assert time.monotonic() - begin < 1


# -- what is no tar, or was made to hurt


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"hello" * 1000, b"\xff" * 5000, b"\0" * 100],
    ids=["nothing", "a byte", "text", "ones", "half a block"],
)
def test_what_is_no_tar_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="the engine's archive does not read"):
        read(data)


@pytest.mark.parametrize("cut", [1, 511, 512, 700, 1024, 1100, 1535])
def test_a_tar_that_is_cut_off_is_told(cut: int) -> None:
    data = entry("a", b"x" * 400) + entry("b", b"y")
    with pytest.raises(ValueError, match="does not read"):
        read(data[:cut])


def test_a_damaged_header_is_told_and_not_taken_for_the_end() -> None:
    data = entry("a", b"x") + b"garbage!" * 64 + tar(entry("b", b"y"))
    with pytest.raises(ValueError, match="cut off or damaged"):
        read(data)


def test_a_compressed_archive_is_not_unpacked() -> None:
    """A gzip bomb would be small here and gigabytes there."""
    with pytest.raises(ValueError, match="does not read"):
        read(gzip.compress(tar(entry("a", b"\0" * 2**20))))


def test_a_compressed_file_is_given_as_it_is() -> None:
    bomb = gzip.compress(b"\0" * 2**20)
    assert read(tar(entry("a.gz", bomb))).files == {"a.gz": bomb}


@pytest.mark.parametrize(
    "type_", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
def test_a_header_of_gigabytes_is_refused_before_it_is_read(type_: bytes) -> None:
    stream = Counted(entry("h", type=type_, size=4 * GIB))
    with pytest.raises(ValueError, match=f"a header claims {4 * GIB} bytes"):
        read_tree(stream, lambda _: True)
    assert stream.given < 8 * 2**20


def test_a_header_as_long_as_linux_allows_is_read() -> None:
    value = b"x" * (MOST_HEADER - 100)
    record = b"comment=" + value + b"\n"
    length = len(record) + 8
    assert read(tar(pax(b"%d %s" % (length, record)), entry("a", b"x"))).files == {"a": b"x"}


@pytest.mark.parametrize(
    "record",
    [
        b"size=99999999999999999999999999",
        b"size=-1",
        b"size=-99999",
        b"size=nonsense",
        b"size=" + b"9" * 5000,
        b"path=../../etc/shadow",
        b"path=/etc/shadow",
        b"mtime=nan",
        b"mtime=inf",
        b"uid=" + b"9" * 400,
        b"hdrcharset=BINARY",
        b"GNU.sparse.size=99999999999",
        b"GNU.sparse.map=1,2,3",
        b"GNU.sparse.major=1\n25 GNU.sparse.minor=0",
        b"GNU.sparse.map=" + b"x",
    ],
    ids=lambda record: record[:24].decode(),
)
def test_an_absurd_extended_header_costs_nothing(record: bytes) -> None:
    body = record + b"\n"
    length = next(n for n in range(len(body), len(body) + 9) if n == len(body) + 1 + len(str(n)))
    begin = time.monotonic()
    try:
        tree = read(tar(pax(b"%d %s" % (length, body)), entry("a", b"x" * 600), entry("b", b"y")))
    except ValueError:
        tree = Tree((), {})
    assert time.monotonic() - begin < 1
    assert not any(name.startswith("/") or ".." in name for name in tree.names)
    assert sum(map(len, tree.files.values())) <= MOST_TOTAL


def test_headers_upon_headers_are_told_and_no_recursion_error() -> None:
    with pytest.raises(ValueError, match="does not read"):
        read(pax(b"") * 5000 + tar(entry("a", b"x")))


@settings(max_examples=300)
@given(junk=st.binary(max_size=4096))
def test_no_bytes_raise_anything_else(junk: bytes) -> None:
    try:
        tree = read(junk)
    except ValueError:
        return
    assert isinstance(tree, Tree)


@settings(max_examples=400)
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 12))
def test_a_tar_with_flipped_bytes_is_read_or_told(seed: int, flips: int) -> None:
    """Headers are signed again after the damage, so that it is not only the checksum that stands in the way."""
    dice = random.Random(seed)
    data = bytearray(
        tar(
            pax(b"12 path=abc\n"),
            entry("a", b"x" * 600),
            entry("l" * 200, b"long"),
            entry("s", type=tarfile.SYMTYPE, linkname="/etc/shadow"),
            entry("b", b"y" * 10),
        )
    )
    for _ in range(flips):
        data[dice.randrange(len(data))] = dice.randrange(256)
    for at in range(0, len(data), BLOCK):
        block = data[at : at + BLOCK]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    begin = time.monotonic()
    try:
        tree = read(bytes(data))
    except ValueError:
        tree = Tree((), {})
    assert time.monotonic() - begin < 2
    assert all(len(body) <= MOST_FILE for body in tree.files.values())


def test_a_stream_is_read_forward_only_and_once() -> None:
    source = io.BytesIO(tar(entry("a", b"x"), entry("b", b"y")))
    assert read_tree(iter(lambda: source.read(100), b""), lambda _: True).files == {"a": b"x", "b": b"y"}
