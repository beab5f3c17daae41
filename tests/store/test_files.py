"""Files that are old or new, never half: under a full disk, under kill -9, under readers who never wait."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchpad.errors import StoreError
from launchpad.store.files import builtins, decode, encode, read, sweep, write_atomic

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Thing:
    version: int
    text: str
    items: dict[str, int]


def in_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a Python of its own, where a limit or a signal hurts nobody else."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=30
    )


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomic(path, b"a much longer text than the next")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_write_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "far" / "file")
    for data in (b"new", b"newer"):
        write_atomic(link, data)
        assert (link.is_symlink(), (tmp_path / "far" / "file").read_bytes()) == (True, data)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a device", "link to itself"])
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link to a device":
            path.symlink_to("/dev/full")
        case _:
            path.symlink_to(path)
    before = path.lstat()
    with pytest.raises(StoreError, match=f"cannot write {path}: "):
        write_atomic(path, b"new")

    assert path.lstat() == before
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)  # noqa: PTH116 - the very device


@pytest.mark.parametrize("durable", [True, False])
def test_a_write_leaves_no_other_file(tmp_path: Path, durable: bool) -> None:
    write_atomic(tmp_path / "state.json", b"new", durable=durable)
    assert os.listdir(tmp_path) == ["state.json"]  # noqa: PTH208 - names alone


def test_a_disk_that_fills_up_on_the_way_leaves_the_old_text_and_no_litter(tmp_path: Path) -> None:
    """RLIMIT_FSIZE is a full disk that needs no root: a write past it fails as one past the last block does."""
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    child = in_child(
        """
        import resource, signal, sys
        from pathlib import Path
        from launchpad.errors import StoreError
        from launchpad.store.files import write_atomic
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            write_atomic(Path(sys.argv[1]), b"x" * 1000)
        except StoreError as error:
            print(error.message, error.hint)
        """,
        str(path),
    )
    assert child.stdout.startswith(f"cannot write {path}: File too large check free space")
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["state.json"])  # noqa: PTH208 - names alone


def test_a_folder_that_is_gone_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory") as caught:
        write_atomic(tmp_path / "gone" / "state.json", b"new")
    assert caught.value.hint == "check free space and permissions, or set LAUNCHPAD_STATE_DIR"


def test_a_target_that_cannot_be_replaced_keeps_what_it_is_and_leaves_no_litter(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(StoreError, match="it is there and is no regular file"):
        write_atomic(tmp_path / "state.json", b"new")
    assert os.listdir(tmp_path) == ["state.json"]  # noqa: PTH208 - names alone


def test_a_reader_never_sees_half_of_a_file_whose_writers_are_killed(tmp_path: Path) -> None:
    """Real ``kill -9`` at moments that nobody chose, a reader all the while."""
    path = tmp_path / "state.json"
    whole = {letter * 200_000 for letter in (b"a", b"b")}
    path.write_bytes(min(whole))
    code = """
        import sys
        from pathlib import Path
        from launchpad.store.files import write_atomic
        print("ready", flush=True)
        while True:
            for letter in (b"b", b"a"):
                write_atomic(Path(sys.argv[1]), letter * 200_000, durable=False)
    """
    reads = 0
    for round_ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            deadline = time.monotonic() + 0.01 + round_ * 0.007
            while time.monotonic() < deadline:
                assert path.read_bytes() in whole
                reads += 1
            child.send_signal(signal.SIGKILL)
    assert path.read_bytes() in whole
    assert reads > 6


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read(tmp_path / "state.json", Thing, stamp="now", warn=pytest.fail) is None


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b'{"version": "one"}', b"\xff\xfe", b'{"version": 1, "text": "a"}', b"[]"]
)
def test_an_unreadable_file_is_set_aside_whole_and_reported(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(data)
    warnings: list[str] = []
    assert read(path, Thing, stamp="2026", warn=warnings.append) is None
    assert (tmp_path / "state.json.unreadable-2026").read_bytes() == data
    assert [str(path) in text and "set aside as state.json.unreadable-2026" in text for text in warnings] == [True]
    assert not path.exists()


@pytest.mark.parametrize("data", [b'{"version": 2, "text": "a", "items": {}}', b'{"version": 2, "all": "is new"}'])
def test_a_file_of_a_newer_version_is_refused_by_name_and_stays_where_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(data)
    with pytest.raises(StoreError, match="written by a newer launchpad") as caught:
        read(path, Thing, stamp="now", warn=pytest.fail, newest=1)
    assert str(path) in caught.value.message
    assert path.read_bytes() == data


def test_a_path_that_cannot_be_read_is_an_error_and_not_unreadable_text(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot read .*: Is a directory"):
        read(tmp_path / "state.json", Thing, stamp="now", warn=pytest.fail)


def test_what_cannot_be_set_aside_is_reported_and_no_error(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"{")
    (tmp_path / "state.json.unreadable-now").mkdir()
    warnings: list[str] = []
    assert read(path, Thing, stamp="now", warn=warnings.append) is None
    assert warnings[0].endswith("and cannot be set aside")


THINGS = st.builds(Thing, st.integers(0, 2**53), st.text(), st.dictionaries(st.text(), st.integers(-(2**53), 2**53)))


@given(THINGS)
def test_what_is_encoded_is_decoded_as_it_was(thing: Thing) -> None:
    assert decode(encode(thing), Thing) == thing


def test_equal_values_give_equal_bytes_however_they_were_made() -> None:
    assert encode(Thing(1, "a", {"x": 1, "b": 2})) == encode(Thing(1, "a", {"b": 2, "x": 1}))
    assert encode(Thing(1, "a", {"x": 1, "b": 2})) == b'{"items":{"b":2,"x":1},"text":"a","version":1}'


def test_builtins_are_plain() -> None:
    assert builtins(Thing(1, "a", {})) == {"version": 1, "text": "a", "items": {}}


def test_what_killed_writers_left_behind_is_swept_away_once_it_is_old(tmp_path: Path) -> None:
    for name in (".state.json.abcd_123", ".spec.json.zyxwvu98"):
        (tmp_path / name).write_bytes(b"half")
    assert sweep(tmp_path, datetime.now(UTC)) == 0
    assert sweep(tmp_path, datetime.now(UTC) + timedelta(minutes=2)) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["state.json", ".state.json", ".hidden", "events.jsonl", ".x.json.SHORT", ".x.json.toolongname"]
)
def test_what_is_nobodys_temporary_file_is_never_swept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"whole")
    assert sweep(tmp_path, datetime.now(UTC) + timedelta(days=2)) == 0
    assert (tmp_path / name).read_bytes() == b"whole"


def test_a_folder_that_is_not_there_needs_no_sweeping(tmp_path: Path) -> None:
    assert sweep(tmp_path / "gone", datetime.now(UTC)) == 0
