"""Why a claim waits, lost its place, or was closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["ALONE", "LENT", "Because", "Reason"]

ALONE = "The claim alone needs more devices than the tenant's quota."
# Why work on loan meets a limit; of other work it is the quota.
LENT = "What the tenant may have on loan is less than it needs, or in use, at every start that has room."


class Reason(StrEnum):
    """Stable names, the same as in the API."""

    AWAITING_PLAN = "AWAITING_PLAN"
    NO_ELIGIBLE_POOL = "NO_ELIGIBLE_POOL"
    EXCEEDS_CAPACITY = "EXCEEDS_CAPACITY"
    COST_EXCEEDS_VALUE = "COST_EXCEEDS_VALUE"
    QUOTA_REACHED = "QUOTA_REACHED"
    OUTBID = "OUTBID"
    NO_CONTIGUOUS_ROOM = "NO_CONTIGUOUS_ROOM"
    SUPPLY_LOST = "SUPPLY_LOST"
    WINDOW_PASSED = "WINDOW_PASSED"
    AMENDED = "AMENDED"
    BEYOND_HORIZON = "BEYOND_HORIZON"
    WINDOW_TOO_SHORT = "WINDOW_TOO_SHORT"
    QUOTE_LAPSED = "QUOTE_LAPSED"
    ROOM_KEPT = "ROOM_KEPT"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    LEASE_RELEASED = "LEASE_RELEASED"
    RESERVED = "RESERVED"
    PREEMPTED = "PREEMPTED"
    DEFRAGMENTED = "DEFRAGMENTED"
    QUARANTINED = "QUARANTINED"


@dataclass(frozen=True, slots=True)
class Because:
    """A reason, one plain sentence, and the names and numbers behind it."""

    reason: Reason
    message: str
    facts: Mapping[str, str] = field(default_factory=dict)
