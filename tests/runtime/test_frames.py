"""Streams put back together: frames, lines, JSON lines."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchpad.runtime.frames import LINE_LIMIT, Frames, Lines, json_lines, moment

AT = "2026-11-23T00:49:55.123456789Z "


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8),
    st.lists(st.integers(min_value=0, max_value=1000), max_size=12),
)
def test_frames_do_not_depend_on_where_the_network_cut_them(sent: list[tuple[int, bytes]], places: list[int]) -> None:
    frames = Frames()
    found = [item for part in cut(b"".join(frame(*each) for each in sent), places) for item in frames.feed(part)]
    assert found == [({1: "stdout", 2: "stderr"}[stream], payload) for stream, payload in sent]


def test_a_raw_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="has a terminal"):
        list(Frames().feed(b"hello, terminal\r\n"))


def lines_of(*payloads: str | bytes, stream: Literal["stdout", "stderr"] = "stdout") -> list[str]:
    lines = Lines()
    raw = [payload if isinstance(payload, bytes) else payload.encode() for payload in payloads]
    found = [line for payload in raw for line in lines.feed(stream, AT.encode() + payload)]
    return [line.text for line in [*found, *lines.flush()]]


@pytest.mark.parametrize(
    ("payloads", "expected"),
    [
        (["one\n", "two\n"], ["one", "two"]),
        (["\n"], [""]),
        (["one\n", "\n", "two\n"], ["one", "", "two"]),
        (["part", "s of a line\n"], ["parts of a line"]),
        (["no end"], ["no end"]),
        (["dos\r\n"], ["dos"]),
        (["dos\r", "\n"], ["dos"]),
        (["\r 1%\r 2%\r 3%\n"], [" 1%", " 2%", " 3%"]),
        (["\r 1%", "\r 2%"], [" 1%", " 2%"]),
        ([b"caf\xe9\n"], ["caf\N{REPLACEMENT CHARACTER}"]),
        (["l\u00e9ger\n".encode()[:2], "l\u00e9ger\n".encode()[2:]], ["l\u00e9ger"]),
    ],
)
def test_lines(payloads: list[str | bytes], expected: list[str]) -> None:
    assert lines_of(*payloads) == expected


def test_a_line_in_pieces_has_the_time_of_its_first() -> None:
    lines = Lines()
    found = list(lines.feed("stderr", b"2026-11-23T00:00:01Z one "))
    found += lines.feed("stderr", b"2026-11-23T00:00:02Z two\n")
    assert [(line.at, line.stream, line.text) for line in found] == [
        (datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC), "stderr", "one two")
    ]


def test_the_streams_lines_do_not_mix() -> None:
    lines = Lines()
    found = [*lines.feed("stdout", AT.encode() + b"out "), *lines.feed("stderr", AT.encode() + b"err\n")]
    found += lines.feed("stdout", AT.encode() + b"more\n")
    assert [(line.stream, line.text) for line in found] == [("stderr", "err"), ("stdout", "out more")]


def test_an_endless_line_comes_in_pieces_and_nothing_is_lost() -> None:
    found = lines_of(*["x" * 16_000] * 10, "\n")
    assert [len(text) for text in found] == [LINE_LIMIT, LINE_LIMIT, 160_000 - 2 * LINE_LIMIT]


def test_a_piece_never_ends_inside_a_character() -> None:
    assert "".join(lines_of("x" + "\u00e9" * LINE_LIMIT + "\n")) == "x" + "\u00e9" * LINE_LIMIT


@given(st.lists(st.integers(min_value=0, max_value=60), max_size=6))
def test_json_lines_do_not_depend_on_cuts_and_pass_over_what_is_no_object(places: list[int]) -> None:
    data = b'{"a": 1}\r\n[2]\nnonsense\n\n{"b": "\xc3\xa9"}'
    assert list(json_lines(cut(data, places))) == [{"a": 1}, {"b": "\u00e9"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T00:49:55.123456789Z", datetime(2026, 11, 23, 0, 49, 55, 123456, tzinfo=UTC)),
        ("2026-11-23T02:49:55+02:00", datetime(2026, 11, 23, 0, 49, 55, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
        ("2026-11-23T00:49:55", None),
        ("yesterday", None),
    ],
)
def test_dockers_times(text: str | None, expected: datetime | None) -> None:
    assert moment(text) == expected
