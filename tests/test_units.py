"""Sizes and durations as people write them: tables, and round trips where they hold."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchpad.units import counted, parse_bytes, parse_duration, show_bytes, show_duration


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1KiB", 1024),
        ("1KB", 1000),
        ("32GiB", 32 * 2**30),
        ("96GB", 96_000_000_000),
        ("1.5 TiB", 3 * 2**39),
        (" 512MiB ", 512 * 2**20),
        ("0GiB", 0),
        ("4.35GB", 4_350_000_000),
        ("1.1TB", 1_100_000_000_000),
        ("0.1KB", 100),
        ("999999999999999999TB", 999_999_999_999_999_999 * 10**12),
    ],
)
def test_a_size_is_read_exactly(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "32", "32G", "32gb", "GiB", "-1GiB", "1,5GiB", "1e3GiB", "32 Gi B", "1.GiB", ".5GiB", "32B", "٣GiB", "nanGB"],
)
def test_what_is_no_size_is_refused_with_the_right_spelling(text: str) -> None:
    with pytest.raises(ValueError, match='is no size; write it as "32GiB"'):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("20m", 1200),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("1d2h3m4s5ms", 93_784.005),
        ("0s", 0),
        (" 5s ", 5),
        ("366d", 366 * 86400),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "90", "s", "-5s", "5 seconds", "5S", "1h30", "1:30", "1,5h", "5µs", "٣s", "5s!", "1w", "inf", "1e3s"]
)
def test_what_is_no_duration_is_refused_with_the_right_spelling(text: str) -> None:
    with pytest.raises(ValueError, match='is no duration; write it as "90s"'):
        parse_duration(text)


@pytest.mark.parametrize("text", ["367d", "8785h", "9" * 400 + "s"])
def test_a_duration_beyond_a_year_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is longer than a year"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (2**20, "1.0 MiB"),
        (101_163_000_000, "94.2 GiB"),
        (2**40, "1.0 TiB"),
        (5000 * 2**40, "5000.0 TiB"),
        (-1024, "-1.0 KiB"),
    ],
)
def test_a_size_is_shown_in_the_unit_a_person_would_use(count: int, text: str) -> None:
    assert show_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0004, "0ms"),
        (0.85, "850ms"),
        (0.9994, "999ms"),
        (0.9996, "1.0s"),
        (1, "1.0s"),
        (4.21, "4.2s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (200, "3m 20s"),
        (3599.6, "1h 00m"),
        (7500, "2h 05m"),
        (86400, "1d 00h"),
        (3 * 86400 + 4 * 3600 + 59 * 60, "3d 04h"),
        (-200, "-3m 20s"),
    ],
)
def test_a_duration_is_shown_as_a_person_says_it(seconds: float, text: str) -> None:
    assert show_duration(timedelta(seconds=seconds)) == text


@given(st.integers(0, 3599))
def test_whole_seconds_below_an_hour_come_back_as_they_were(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(show_duration(duration)) == duration


@given(st.timedeltas(timedelta(0), timedelta(days=366)))
def test_what_is_shown_is_off_by_less_than_a_twentieth_or_a_millisecond(duration: timedelta) -> None:
    shown = parse_duration(show_duration(duration))
    assert abs(shown - duration) <= max(duration * 0.05, timedelta(milliseconds=1))


@given(st.integers(1024, 2**50))
def test_a_shown_size_is_off_by_less_than_a_twentieth(count: int) -> None:
    assert abs(parse_bytes(show_bytes(count)) - count) <= count * 0.05


@given(st.integers(0, 10**12), st.sampled_from(["KiB", "MiB", "GiB", "TiB", "KB", "MB", "GB", "TB"]))
def test_a_whole_number_of_any_unit_is_exact(number: int, unit: str) -> None:
    base = 1024 if "i" in unit else 1000
    assert parse_bytes(f"{number}{unit}") == number * base ** " KMGT".index(unit[0])


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        assert parse_bytes(text) >= 0
    except ValueError:
        return


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert parse_duration(text) >= timedelta(0)
    except ValueError:
        return


@pytest.mark.parametrize(("number", "said"), [(0, "0 restarts"), (1, "1 restart"), (2, "2 restarts")])
def test_one_of_a_kind_is_singular(number: int, said: str) -> None:
    assert counted(number, "restart") == said
