"""Python times as messages."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["duration", "timestamp"]


def duration(*, days: float = 0, hours: float = 0, seconds: float = 0) -> Duration:
    """A length of time as a message."""
    out = Duration()
    out.FromTimedelta(timedelta(days=days, hours=hours, seconds=seconds))
    return out


def timestamp(moment: datetime) -> Timestamp:
    """A moment as a message; ``ValueError`` when its time zone is missing, which would make it anybody's guess."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    out = Timestamp()
    out.FromDatetime(moment)
    return out
