"""What every written record has in common."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from broker.domain.faults import Fault, FaultReason

__all__ = ["VERSION", "Json", "checked", "loads", "read", "write"]

VERSION = 1

Json = Any  # what `loads` returns; every use names the field it expects
_T = TypeVar("_T")

loads = orjson.loads


def write(record: Json) -> str:
    """The record as text, without spaces."""
    return orjson.dumps(record).decode()


def checked(record: Json) -> Json:
    """The record, unless a later format wrote it."""
    if record["v"] > VERSION:
        raise ValueError(f"format version {record['v']}, newest known {VERSION}")
    return record


def read(decode: Callable[[], _T], what: str) -> _T:
    """What ``decode`` returns; Faults: SAFE_HALT when it fails, as guessing could grant what somebody holds."""
    try:
        return decode()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise Fault(
            FaultReason.SAFE_HALT,
            f"the ledger holds a {what} that this broker cannot read ({type(error).__name__}: {error})",
            remedy="Run the broker release that wrote it, or a later one; if there is none, restore the store",
        ) from error
