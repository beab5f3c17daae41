"""``doctor --log``: what a log betrays, and that no file, however hostile, costs more than a few seconds or a traceback."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchpad.clock import SystemClock
from launchpad.doctor.hazards import SIGNATURES, Signature
from launchpad.doctor.logfile import explain_log, literals
from launchpad.errors import LaunchpadError
from tests.doctor.test_signatures import REAL

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds that any file may take, on a slow machine with other work.
AT_MOST_S: Final = 10.0
MIB: Final = 2**20
LOST: Final = "NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus."
MEMORY: Final = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


class HurriedClock(SystemClock):
    """A clock on which every question costs a second."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 1.0
        return self._now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.fixture
def briskly() -> Iterator[None]:
    """The test's own time is bounded."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < AT_MOST_S


def ids(path: Path) -> list[str]:
    return [finding.id for finding in explain_log(path).findings]


# -- what it finds


@pytest.mark.parametrize(("id_", "line"), [(id_, line) for id_, lines in REAL.items() for line in lines])
def test_a_real_line_is_explained(path: Path, id_: str, line: str) -> None:
    path.write_text(f"INFO starting\n{line}\n")
    assert ids(path) == [id_]


def test_a_healthy_log_is_nothing_found(path: Path) -> None:
    path.write_text("INFO 11-23 Starting vLLM\nINFO error correction on\nLoading weights: 100%\n")
    assert explain_log(path).findings == ()


def test_a_cause_is_told_once_with_the_first_line_that_shows_it(path: Path) -> None:
    path.write_text("CUDA out of memory, the first\nCUDA out of memory, the second\n")
    (found,) = explain_log(path).findings
    assert found.evidence == "CUDA out of memory, the first"


def test_causes_are_told_in_the_order_of_the_log(path: Path) -> None:
    path.write_text(f"{MEMORY}\n{LOST}\n")
    assert ids(path) == ["gpu.out-of-memory", "gpu.lost"]


def test_a_fatal_cause_blocks_and_one_worth_another_try_warns(path: Path) -> None:
    path.write_text("Unknown SF transformation\nncclSystemError: System call failed\n")
    verdicts = {row.id: row.verdict for row in SIGNATURES}
    found = explain_log(path).findings
    assert [(item.severity == "blocks") for item in found] == [verdicts[item.id] == "fatal" for item in found]


def test_a_line_after_a_progress_bars_carriage_returns_is_seen(path: Path) -> None:
    path.write_bytes(b"Loading: 10%\rLoading: 20%\r" + LOST.encode() + b"\r")
    (found,) = explain_log(path).findings
    assert found.evidence == LOST


def test_a_line_with_escapes_and_bells_is_shown_without_them(path: Path) -> None:
    path.write_bytes(b"\x1b[31mCUDA out of memory\x07\x1b[0m\n")
    (found,) = explain_log(path).findings
    assert found.evidence is not None
    assert found.evidence.isprintable()


def test_the_evidence_of_a_long_line_is_cut(path: Path) -> None:
    path.write_text("CUDA out of memory " + "x" * 5000)
    (found,) = explain_log(path).findings
    assert found.evidence is not None
    assert len(found.evidence) == 300


@pytest.mark.parametrize("row", SIGNATURES, ids=lambda row: row.id)
@settings(max_examples=30)
@given(data=st.data())
def test_whatever_a_signature_matches_holds_one_of_its_literals(row: Signature, data: st.DataObject) -> None:
    """The literals are asked first; a literal that a match may lack would lose the match."""
    line = data.draw(st.from_regex(row.pattern))
    assert any(text in line for text in literals(row.pattern.pattern))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("plain text", ("plain text",)),
        (r"one\.two|three", ("one.two", "three")),
        (r"before (a|b) afterwards", (" afterwards",)),
        (r"[Ss]egmentation", ("egmentation",)),
        (r"abcdefx?yz", ("abcdef",)),
        (r"\bword\b.*end", ("word",)),
        (r"a[|]bc|d", ("bc", "d")),
        (r".*", ("",)),
    ],
)
def test_literals_of_a_pattern(pattern: str, expected: tuple[str, ...]) -> None:
    assert literals(pattern) == expected


# -- what no file may do


@pytest.mark.usefixtures("briskly")
def test_five_sparse_gigabytes_are_read_at_both_ends_only(path: Path) -> None:
    with path.open("wb") as file:
        file.write(f"{MEMORY}\n".encode())
        file.truncate(5 * 2**30)
        file.seek(0, os.SEEK_END)
        file.write(f"\n{LOST}\n".encode())
    explained = explain_log(path)
    assert [item.id for item in explained.findings] == ["gpu.out-of-memory", "gpu.lost"]
    assert path.stat().st_size - explained.unread_bytes == 18 * MIB


def test_what_is_in_the_middle_of_a_large_log_is_told_as_unread(path: Path) -> None:
    path.write_bytes(b"x" * 79 + b"\n")
    os.truncate(path, 20 * MIB)
    assert explain_log(path).unread_bytes == 2 * MIB


@pytest.mark.usefixtures("briskly")
def test_one_endless_line_is_read_in_pieces(path: Path) -> None:
    path.write_bytes(b"x" * (17 * MIB) + LOST.encode())
    assert ids(path) == ["gpu.lost"]


@pytest.mark.usefixtures("briskly")
@pytest.mark.parametrize("words", ["Assertion error ", "nvcc Segmentation", "flashinfer-cubin version ( ", "error: "])
def test_a_log_written_to_keep_a_pattern_busy_is_left_in_time(path: Path, words: str) -> None:
    path.write_bytes(words.encode() * (18 * MIB // len(words)))
    explain_log(path)


def test_what_was_not_read_for_want_of_time_is_told(path: Path) -> None:
    path.write_bytes(b"x\n" * 1000)
    assert explain_log(path, clock=HurriedClock()).unread_bytes > 1900


@pytest.mark.usefixtures("briskly")
def test_binary_junk_is_nothing_found(path: Path) -> None:
    path.write_bytes(os.urandom(2 * MIB))
    assert explain_log(path).findings == ()


@pytest.mark.parametrize("junk", [b"", b"\0" * 100, b"\xff\xfe", b"\r\r\r", b"\n" * 500, b"\xed\xa0\x80"])
def test_what_is_no_text_is_nothing_found(path: Path, junk: bytes) -> None:
    path.write_bytes(junk)
    assert (explain_log(path).findings, explain_log(path).unread_bytes) == ((), 0)


def test_a_fifo_is_refused_and_never_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(LaunchpadError, match="no regular file"):
        explain_log(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchpadError, match="no regular file"):
        explain_log(tmp_path)


def test_a_device_is_refused() -> None:
    with pytest.raises(LaunchpadError, match="no regular file"):
        explain_log(Path("/dev/zero"))


def test_a_file_that_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(LaunchpadError, match=r"cannot read log .*server\.log: No such file or directory"):
        explain_log(path)


def test_a_link_to_itself_is_told(path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(LaunchpadError, match="cannot read log"):
        explain_log(path)


def test_a_file_that_nobody_may_open_is_told(path: Path) -> None:
    """A file's mode does not keep root out; a name of more than 255 bytes keeps everybody out."""
    with pytest.raises(LaunchpadError, match=r"cannot read log .*: File name too long"):
        explain_log(path.with_name("x" * 300))


def test_a_file_whose_mode_keeps_its_reader_out_is_told(path: Path) -> None:
    path.write_text("secret")
    path.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(LaunchpadError, match="Permission denied"):
            explain_log(path)
    else:
        assert explain_log(path).findings == ()


def test_a_name_that_no_file_can_have_is_told() -> None:
    with pytest.raises(LaunchpadError, match="cannot read log"):
        explain_log(Path("a\0b"))


@settings(max_examples=150)
@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.sampled_from([line.encode() for lines in REAL.values() for line in lines]),
            st.sampled_from([b"\n", b"\r", b"\r\n", b"\x0b", b"\x85", b"\0"]),
        ),
        max_size=30,
    )
)
def test_no_bytes_raise_and_every_finding_is_whole(parts: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(b"".join(parts))
        explained = explain_log(path)
    assert explained.unread_bytes == 0
    assert all(item.id and item.message and item.source and item.as_of and item.evidence for item in explained.findings)
    assert all(item.evidence.isprintable() for item in explained.findings if item.evidence)
