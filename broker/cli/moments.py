"""Times as people type them. All of them are UTC, and a day stands for its first moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

__all__ = ["length", "midnight", "minutes", "moment"]

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS = {"h": 1, "d": 24, "w": 7 * 24}
PIECE = r"(\d+)\s*(h|d|w|(?:hour|day|week)s?)"
LENGTH = re.compile(rf"(?:{PIECE}\s*)+")
FRACTION = re.compile(r"[\d.,\s]+(?:[hdw]|m|s|(?:min(?:ute)?|sec(?:ond)?|hour|day|week)s?)")
WEEKS_MAX = 50 * 52
BRIEF = re.compile(r"(\d{1,6})\s*(s|m|(?:sec|min)(?:ond|ute)?s?)")


def length(text: str, *, weeks_max: int = WEEKS_MAX) -> timedelta:
    """``36h``, ``14d``, ``2 weeks`` or a sum such as ``1d12h``; ``ValueError`` that says what would do."""
    word = text.strip().lower()
    if not LENGTH.fullmatch(word):
        kind = "whole hours only" if FRACTION.fullmatch(word) else f"{text!r} is no length of time"
        raise ValueError(f"{kind}; write hours, days or weeks: 36h, 14d, 2w, 1d12h")
    hours = sum(int(number) * HOURS[unit[0]] for number, unit in re.findall(PIECE, word))
    if not 0 < hours <= weeks_max * HOURS["w"]:
        raise ValueError(f"{text!r} is not from 1 hour to {weeks_max} weeks")
    return timedelta(hours=hours)


def minutes(text: str, *, most: int) -> timedelta:
    """``10m`` or ``90s``, so many minutes at most; ``ValueError`` that says what would do."""
    found = BRIEF.fullmatch(text.strip().lower())
    seconds = int(found[1]) * (60 if found[2][0] == "m" else 1) if found else 0
    if not 0 < seconds <= most * 60:
        raise ValueError(f"{text!r} is not from 1 second to {most} minutes; write 10m or 90s")
    return timedelta(seconds=seconds)


def moment(text: str, *, now: datetime) -> datetime:
    """A moment seen from ``now``; ``ValueError`` that says what would do.

    ``now`` · ``today``, ``tomorrow`` · ``friday`` or ``fri``: the next one, never today · ``+3d``, ``+36h``, ``+2w``:
    from now on · ``2026-12-01`` · ``2026-12-01T06:00``, with ``Z`` or an offset if need be.
    """
    word = text.strip().lower()
    if word == "now":
        return now
    if word in ("today", "tomorrow"):
        return midnight(now) + timedelta(days=word == "tomorrow")
    weekday = next((n for n, day in enumerate(DAYS) if word in (day, day[:3])), None)
    if weekday is not None:
        return midnight(now) + timedelta(days=(weekday - now.astimezone(UTC).weekday() - 1) % 7 + 1)
    if word.startswith("+"):
        return now + length(word[1:])
    return _iso(text)


def midnight(now: datetime) -> datetime:
    """The first moment of the day of ``now``."""
    return datetime.combine(now.astimezone(UTC).date(), time(), UTC)


def _iso(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip().upper())
    except ValueError:
        raise ValueError(
            f"{text!r} is no moment; write one as friday, tomorrow, +3d, 2026-12-01 or 2026-12-01T06:00Z"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
