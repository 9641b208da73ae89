"""Moments and spans on the wire, as slots."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from broker.domain.faults import Fault, FaultReason
from broker.domain.slots import SLOT_SECONDS

__all__ = [
    "check_signs",
    "duration_slots",
    "millis_of",
    "moment",
    "seconds_of",
    "slot_moment",
    "span",
    "span_of_millis",
]

# 2000-01-01 to 2100-01-01: a moment outside is a mistake of units.
EARLIEST, LATEST = 946_684_800, 4_102_444_800
DURATION_SLOTS_MAX = 26 * 168
NANOS = 1_000_000_000


def seconds_of(value: Timestamp, field: str, *, up: bool) -> int:
    """Unix seconds of a moment, rounded up or down to the second."""
    if not EARLIEST <= value.seconds < LATEST or not 0 <= value.nanos < NANOS:
        raise Fault(
            FaultReason.TIMESTAMP_OUT_OF_RANGE,
            "A moment lies between the years 2000 and 2100",
            remedy="Check its unit: seconds since 1970.",
            field=field,
        )
    return value.seconds + (1 if up and value.nanos else 0)


def duration_slots(value: Duration, field: str) -> int:
    """Whole slots of a span; it must be one slot or more, and on the grid."""
    check_signs(value, field)
    if value.seconds < 0 or value.nanos < 0 or value.seconds > DURATION_SLOTS_MAX * SLOT_SECONDS:
        raise Fault(
            FaultReason.DURATION_OUT_OF_RANGE,
            f"A duration is from 1 to {DURATION_SLOTS_MAX} hours",
            remedy="Split longer work into several claims.",
            field=field,
            facts={"max_hours": str(DURATION_SLOTS_MAX)},
        )
    if value.nanos or value.seconds % SLOT_SECONDS or not value.seconds:
        raise Fault(
            FaultReason.DURATION_GRANULARITY,
            "A duration is a whole number of hours, at least one",
            remedy="Round it up to the hour.",
            field=field,
        )
    return value.seconds // SLOT_SECONDS


def millis_of(value: Duration, field: str) -> int:
    """Milliseconds of a span, rounded up; negative for a negative one."""
    check_signs(value, field)
    return 1000 * value.seconds - -value.nanos // 1_000_000


def check_signs(value: Duration, field: str) -> None:
    """Faults: DURATION_MALFORMED."""
    if (value.seconds > 0 > value.nanos) or (value.seconds < 0 < value.nanos) or abs(value.nanos) >= NANOS:
        raise Fault(
            FaultReason.DURATION_MALFORMED,
            "Seconds and nanos of a duration have the same sign, and nanos stay below a second",
            remedy="Normalise the duration.",
            field=field,
        )


def moment(unix_seconds: int) -> Timestamp:
    """Unix seconds on the wire."""
    return Timestamp(seconds=unix_seconds)


def slot_moment(slot: int) -> Timestamp:
    """The start of a slot on the wire."""
    return Timestamp(seconds=slot * SLOT_SECONDS)


def span(slots: int) -> Duration:
    """Slots as a span on the wire."""
    return Duration(seconds=slots * SLOT_SECONDS)


def span_of_millis(millis: int) -> Duration:
    """Milliseconds, none or more, as a span on the wire."""
    return Duration(seconds=millis // 1000, nanos=millis % 1000 * 1_000_000)
