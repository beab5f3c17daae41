"""Stamps and moments: text and back, in UTC or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchpad.clock import SystemClock, moment, stamp
from tests.fakes.clock import BEGINNING, LeapingClock, ManualClock

NOON = datetime(2026, 11, 23, 12, 0, 0, 120_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (NOON, "2026-11-23T12:00:00.120Z"),
        (NOON.replace(microsecond=0), "2026-11-23T12:00:00.000Z"),
        (NOON.replace(microsecond=999), "2026-11-23T12:00:00.000Z"),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), "2026-11-23T12:00:00.120Z"),
    ],
)
def test_a_stamp_is_utc_with_milliseconds(at: datetime, text: str) -> None:
    assert stamp(at) == text


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match="a naive datetime reached the clock"):
        stamp(datetime(2026, 11, 23, 12, 0))  # noqa: DTZ001 - that is the case


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-23T12:00:00",
        "2026-11-23",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_what_is_no_moment_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        moment(text)


@pytest.mark.parametrize("text", ["2026-11-23T12:00:00.12Z", "2026-11-23T13:00:00.120+01:00", "20261123T120000.120Z"])
def test_a_moment_is_read_however_iso_8601_spells_it(text: str) -> None:
    assert moment(text) == NOON


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_stamp_read_back_is_the_moment_to_the_millisecond(at: datetime) -> None:
    assert moment(stamp(at)) == at.replace(microsecond=at.microsecond // 1000 * 1000)


@given(st.text())
def test_any_text_is_a_moment_or_a_value_error(text: str) -> None:
    try:
        found = moment(text)
    except ValueError:
        return
    assert found.utcoffset() == timedelta(0)


def test_stamps_sort_as_their_moments_do() -> None:
    moments = [NOON + timedelta(milliseconds=step * 337) for step in range(50)]
    assert sorted(moments) == [moment(text) for text in sorted(stamp(at) for at in reversed(moments))]


def test_the_system_clock_tells_utc_and_never_goes_back() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    clock.sleep(0)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() >= first


def test_the_manual_clock_moves_when_it_is_told_to() -> None:
    clock = ManualClock()
    clock.advance(60)
    clock.sleep(30)
    assert (clock.now() - BEGINNING, clock.monotonic()) == (timedelta(seconds=90), 90.0)


def test_the_leaping_clock_leaps_on_top_of_the_real_one() -> None:
    clock = LeapingClock()
    before = clock.now()
    clock.advance(3600)
    assert timedelta(hours=1) <= clock.now() - before < timedelta(hours=1, seconds=5)
