"""Times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.cli.moments import length, minutes, moment

NOW = datetime(2026, 11, 25, 15, 40, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("1h", 1),
        ("36h", 36),
        ("14d", 336),
        ("2w", 336),
        ("1d12h", 36),
        ("2W", 336),
        ("2 weeks", 336),
        ("1 day 12 hours", 36),
    ],
)
def test_lengths(text: str, hours: int) -> None:
    assert length(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "14", "d", "0h", "-3d", "1.5d", "30m", "2 months", "99999999999d"])
def test_lengths_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"36h, 14d, 2w|from 1 hour to"):
        length(text)


def test_less_than_an_hour_is_named_as_such() -> None:
    with pytest.raises(ValueError, match="whole hours only"):
        length("30m")


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("now", "2026-11-25T15:40:00"),
        ("today", "2026-11-25T00:00:00"),
        ("tomorrow", "2026-11-26T00:00:00"),
        ("friday", "2026-11-27T00:00:00"),
        ("Fri", "2026-11-27T00:00:00"),
        ("thursday", "2026-11-26T00:00:00"),
        ("tuesday", "2026-12-01T00:00:00"),
        ("wednesday", "2026-12-02T00:00:00"),
        ("+3d", "2026-11-28T15:40:00"),
        ("+36h", "2026-11-27T03:40:00"),
        ("+2w", "2026-12-09T15:40:00"),
        ("2026-12-01", "2026-12-01T00:00:00"),
        ("2026-12-01T06:00Z", "2026-12-01T06:00:00"),
        ("2026-12-01t06:00z", "2026-12-01T06:00:00"),
        ("2026-12-01T06:00", "2026-12-01T06:00:00"),
        ("2026-12-01 06:00", "2026-12-01T06:00:00"),
        ("2026-12-01T06:00+02:00", "2026-12-01T04:00:00"),
    ],
)
def test_moments(text: str, iso: str) -> None:
    assert moment(text, now=NOW) == datetime.fromisoformat(iso).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "someday", "3d", "+3", "2026-13-01", "01.12.2026", "frid"])
def test_moments_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"friday|36h"):
        moment(text, now=NOW)


def test_a_day_is_a_day_of_utc_wherever_the_clock_stands() -> None:
    there = datetime.fromisoformat("2026-11-26T01:00:00+05:00")  # still Wednesday in UTC
    assert moment("thursday", now=there) == datetime(2026, 11, 26, tzinfo=UTC)


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90s", 90), ("15 min", 900), (" 1 Minute ", 60)])
def test_minutes(text: str, seconds: int) -> None:
    assert minutes(text, most=15).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "0m", "16m", "1h", "10", "soon"])
def test_what_is_no_few_minutes_says_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="write 10m or 90s"):
        minutes(text, most=15)
