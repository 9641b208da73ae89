"""What can be refused, and why: stable reasons, each of one kind, each with what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto, unique
from types import MappingProxyType

__all__ = ["Fault", "FaultReason", "Kind"]


class Kind(Enum):
    """What a refusal means to the caller; transport gives each a status code."""

    INVALID = auto()
    NOT_FOUND = auto()
    EXISTS = auto()
    PRECONDITION = auto()
    ABORTED = auto()
    OUT_OF_RANGE = auto()
    DENIED = auto()
    EXHAUSTED = auto()
    UNAVAILABLE = auto()


@unique  # two names with one number would be one reason
class FaultReason(Enum):
    """Stable names; the value is the kind. Names are part of the API: never rename one."""

    def __init__(self, kind: Kind, _number: int) -> None:
        self.kind = kind

    NAME_MALFORMED = Kind.INVALID, 1
    NAME_TOO_LONG = Kind.INVALID, 2
    NAME_RESERVED = Kind.INVALID, 3
    FIELD_REQUIRED = Kind.INVALID, 4
    QUANTITY_REQUIRED = Kind.INVALID, 5
    QUANTITY_OUT_OF_RANGE = Kind.INVALID, 6
    DURATION_REQUIRED = Kind.INVALID, 7
    DURATION_OUT_OF_RANGE = Kind.INVALID, 8
    DURATION_GRANULARITY = Kind.INVALID, 9
    DURATION_MALFORMED = Kind.INVALID, 10
    TIMESTAMP_OUT_OF_RANGE = Kind.INVALID, 11
    WINDOW_EMPTY = Kind.INVALID, 12
    WINDOW_TOO_SHORT = Kind.INVALID, 13
    ENUM_REQUIRED = Kind.INVALID, 14
    ENUM_UNKNOWN = Kind.INVALID, 15
    TEXT_TOO_LONG = Kind.INVALID, 16
    TOO_MANY_ITEMS = Kind.INVALID, 17
    FIELD_MASK_INVALID = Kind.INVALID, 18
    FIELD_IMMUTABLE = Kind.INVALID, 19
    ETAG_MALFORMED = Kind.INVALID, 20
    REQUEST_ID_REQUIRED = Kind.INVALID, 21
    REQUEST_ID_MALFORMED = Kind.INVALID, 22
    REQUEST_ID_REUSED = Kind.INVALID, 23
    PAGE_SIZE = Kind.INVALID, 24
    PAGE_TOKEN = Kind.INVALID, 25
    ELASTICITY_INVALID = Kind.INVALID, 26
    CONSTRAINT_CONFLICT = Kind.INVALID, 27
    FLEET_INVALID = Kind.INVALID, 28
    TTL_OUT_OF_RANGE = Kind.INVALID, 29
    TOKEN_REQUIRED = Kind.INVALID, 30
    MALFORMED_MESSAGE = Kind.INVALID, 31
    CLAIM_NOT_FOUND = Kind.NOT_FOUND, 40
    POOL_NOT_FOUND = Kind.NOT_FOUND, 41
    PLAN_NOT_FOUND = Kind.NOT_FOUND, 42
    DELIVERY_NOT_FOUND = Kind.NOT_FOUND, 46
    CLAIM_EXISTS = Kind.EXISTS, 50
    SLOT_CLOSED = Kind.PRECONDITION, 59
    DEADLINE_PASSED = Kind.PRECONDITION, 60
    TENANT_UNKNOWN = Kind.PRECONDITION, 61
    WORKLOAD_CLASS_UNKNOWN = Kind.PRECONDITION, 62
    SILICON_UNKNOWN = Kind.PRECONDITION, 63
    POOL_UNKNOWN = Kind.PRECONDITION, 64
    CLAIM_COMMITTED = Kind.PRECONDITION, 65
    CLAIM_CLOSED = Kind.PRECONDITION, 66
    FENCED = Kind.PRECONDITION, 67
    OVERCOMMIT = Kind.PRECONDITION, 68
    EXCEEDS_ANY_POOL = Kind.PRECONDITION, 69
    OFFER_GONE = Kind.PRECONDITION, 70
    CLAIM_HELD = Kind.PRECONDITION, 71
    NOT_HELD = Kind.PRECONDITION, 72
    CLAIM_LEASED = Kind.PRECONDITION, 73
    LEASE_TOO_EARLY = Kind.PRECONDITION, 74
    LEASE_EXPIRED = Kind.PRECONDITION, 75
    LEASE_RELEASED = Kind.PRECONDITION, 76
    LEASE_ENDED = Kind.PRECONDITION, 77
    NOT_PLACED = Kind.PRECONDITION, 78
    POOL_IN_USE = Kind.PRECONDITION, 79
    DOMAINS_UNKNOWN = Kind.PRECONDITION, 120
    ETAG_MISMATCH = Kind.ABORTED, 80
    CONTENDED = Kind.ABORTED, 81
    COMPACTED = Kind.OUT_OF_RANGE, 90
    REVISION_AHEAD = Kind.OUT_OF_RANGE, 91
    WATCH_TOO_SLOW = Kind.EXHAUSTED, 100
    WATCH_LIMIT = Kind.EXHAUSTED, 101
    HOLD_LIMIT = Kind.EXHAUSTED, 102
    OVERLOADED = Kind.EXHAUSTED, 104
    STORE_FULL = Kind.EXHAUSTED, 103
    CLAIM_LIMIT = Kind.EXHAUSTED, 140
    STREAM_LIMIT = Kind.EXHAUSTED, 141
    MESSAGE_TOO_LARGE = Kind.EXHAUSTED, 142
    LEASE_TOKEN = Kind.DENIED, 105
    STORE_UNAVAILABLE = Kind.UNAVAILABLE, 110
    SAFE_HALT = Kind.UNAVAILABLE, 111
    PLANNER_SILENT = Kind.UNAVAILABLE, 112
    LEASE_HANDOVER = Kind.UNAVAILABLE, 113


class Fault(Exception):
    """A refusal that a caller may see: it changed nothing unless its kind is UNAVAILABLE.

    ``message`` says what is wrong, ``remedy`` what to do next; ``field`` names the offending request field, if one is.
    """

    def __init__(
        self,
        reason: FaultReason,
        message: str,
        *,
        remedy: str,
        field: str = "",
        facts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(f"{message}. {remedy}")
        self.reason = reason
        self.message = message
        self.remedy = remedy
        self.field = field
        self.facts = dict(facts)
