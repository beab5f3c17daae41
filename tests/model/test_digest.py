"""Hashing: right, resumable without reading anything twice, parallel, and honest about files that change."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launchpad.model.checkpoint import CheckpointError
from launchpad.model.digest import Hashed, Note, Notes, _Mute, digest, digests, listing, passed_over

MIB = 2**20

#: Hashes one file slowly enough to be killed, noting its middle every MiB; says how much it has read.
CHILD = """
import signal, sys, time
from pathlib import Path
from launchpad.model.digest import Notes, digests

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background child is born deaf to it

def slowly(now):
    print(now.read, flush=True)
    time.sleep(0.05)

print(digests([Path(sys.argv[1])], Notes(Path(sys.argv[2])), progress=slowly, checkpoint=2**20)[Path(sys.argv[1])])
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """64 MiB, of which most is a hole: large to read, small to keep."""
    path = tmp_path / "model-00001.safetensors"
    with path.open("wb") as file:
        for place in range(0, 64, 8):
            file.seek(place * MIB)
            file.write(os.urandom(4096))
        file.truncate(64 * MIB + 12345)
    return path


def truth(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_by_this_process() -> int:
    """Bytes this process has read since it began, as the kernel counts them."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4 * MIB, 4 * MIB + 1, 9 * MIB])
def test_a_hash_is_the_plain_sha256_of_the_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    assert digest(path, Notes(tmp_path / "notes")) == truth(path)


def test_several_files_are_hashed_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(9)]
    for path in paths:
        path.write_bytes(os.urandom(100_000))
    assert digests(paths, Notes(tmp_path / "notes"), workers=4) == {path: truth(path) for path in paths}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_hash_goes_on_without_reading_the_finished_part_again(
    large: Path, tmp_path: Path, end: signal.Signals
) -> None:
    child = subprocess.Popen(
        (sys.executable, "-c", CHILD, str(large), str(tmp_path / "notes")),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    read = 0
    while read < 40 * MIB:
        read = int(child.stdout.readline())
    child.send_signal(end)
    child.communicate(timeout=30)

    seen: list[Hashed] = []
    before = read_by_this_process()
    found = digests([large], Notes(tmp_path / "notes"), progress=seen.append)
    again = read_by_this_process() - before

    assert found[large] == truth(large)
    assert child.returncode != 0
    assert again < 64 * MIB - read + 9 * MIB, f"{read} bytes were hashed, {again} were read after that"
    assert seen[-1].read < again
    assert (seen[-1].done, seen[-1].total) == (64 * MIB + 12345, 64 * MIB + 12345)


#: Ten gigabytes of zeros: SHA-256's middle after the first nine GiB, and its end, as sha256sum says it of
#: ``head -c 10000000000 /dev/zero``.
TEN_GB = 10 * 10**9
NINE_GIB = 9 * 2**30
MIDDLE = (0x46305387, 0xD8EE02B2, 0xED662077, 0xEAAFBF23, 0x7805AC24, 0x6EACE48B, 0x67D525F2, 0x0B78FAF7)
END = "1a0a850851f333647936c0a1b4576e7ab90398b9e1ae2faf4bb66ca6b72cf724"


def test_an_interrupted_hash_of_ten_gigabytes_goes_on_from_its_middle(tmp_path: Path) -> None:
    """A hole of that size; what an earlier run noted of it is planted, as computing it would take half a minute and more."""
    path, notes = tmp_path / "model.safetensors", Notes(tmp_path / "notes")
    with path.open("wb") as file:
        file.truncate(TEN_GB)
    seen = path.stat()
    notes.put(path, Note(TEN_GB, seen.st_mtime_ns, seen.st_ino, NINE_GIB, MIDDLE))
    told: list[Hashed] = []
    before = read_by_this_process()

    assert digests([path], notes, progress=told.append) == {path: END}
    assert read_by_this_process() - before < TEN_GB - NINE_GIB + MIB
    assert (told[-1].done, told[-1].read) == (TEN_GB, TEN_GB - NINE_GIB)


def test_a_finished_hash_is_not_read_again(large: Path, tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    first = digest(large, notes)
    before = read_by_this_process()
    assert digest(large, notes) == first
    assert read_by_this_process() - before < MIB


def test_a_file_that_changed_is_read_from_its_beginning(large: Path, tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    digest(large, notes)
    with large.open("r+b") as file:
        file.write(b"changed")
    os.utime(large, ns=(0, time.time_ns() + 10**9))
    assert digest(large, notes) == truth(large)


def test_a_note_holds_only_for_the_file_it_was_made_of(large: Path, tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    digest(large, notes)
    known = notes.current(large)
    os.utime(large, ns=(0, 1))
    assert known is not None
    assert known.sha256 is not None
    assert notes.current(large) is None


@pytest.mark.parametrize(
    "text", ["", "junk", "[]", "{}", '{"size":1,"mtime_ns":2,"inode":3,"offset":9,"words":[1],"sha256":null}']
)
def test_a_damaged_note_costs_time_and_nothing_else(large: Path, tmp_path: Path, text: str) -> None:
    notes = Notes(tmp_path / "notes")
    digest(large, notes)
    (note,) = (tmp_path / "notes").iterdir()
    note.write_text(text)
    assert digest(large, notes) == truth(large)


def test_notes_that_cannot_be_written_do_not_keep_a_file_from_being_hashed(large: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a file where a folder belongs")
    assert digest(large, Notes(tmp_path / "notes")) == truth(large)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot hash .*gone: No such file"):
        digest(tmp_path / "gone", Notes(tmp_path / "notes"))


def test_a_file_that_is_written_to_meanwhile_has_no_hash(large: Path, tmp_path: Path) -> None:
    def meddle(now: Hashed) -> None:
        os.utime(large, ns=(0, now.done))

    with pytest.raises(CheckpointError, match="was written to while it was read"):
        digests([large], Notes(tmp_path / "notes"), progress=meddle)


def test_the_plain_hashlib_says_the_same_and_keeps_its_middle_to_itself() -> None:
    mute = _Mute()
    mute.update(bytearray(b"abcdef"), 3)
    assert (mute.hexdigest(), mute.words()) == (hashlib.sha256(b"abc").hexdigest(), None)


def test_a_model_directory_lists_its_files_and_tells_weights_from_the_rest(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model-00001-of-00001.safetensors", "sub/extra.py", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "left.json").write_text("x")
    (tmp_path / "linked.json").symlink_to(tmp_path / "config.json")
    with (tmp_path / "big.dat").open("wb") as file:
        file.truncate(65 * MIB)
    assert [(file.name, file.weights) for file in listing(tmp_path)] == [
        ("big.dat", True),
        ("config.json", False),
        ("linked.json", False),
        ("model-00001-of-00001.safetensors", True),
        ("sub/extra.py", False),
        ("tokenizer.json", False),
    ]


def test_names_that_lead_to_nothing_that_could_be_hashed_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "fine.json").symlink_to("config.json")
    (folder / "sub" / "gone.json").symlink_to("/nonexist")
    (folder / "code").symlink_to(tmp_path)
    (folder / ".hidden").symlink_to("/nonexist")
    os.mkfifo(folder / "pipe")

    assert {(one.name, one.why, one.folder) for one in passed_over(folder)} == {
        ("sub/gone.json", "a link to /nonexist, which is not there", False),
        ("code", "a link to a folder, which is not followed", True),
        ("pipe", "no regular file", False),
    }


def test_a_directory_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read the model"):
        listing(tmp_path / "nowhere")
