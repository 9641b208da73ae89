"""The whole live market at one revision, and what happens to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker.domain.claim import Claim
from broker.domain.fleet import Fleet
from broker.domain.plan import PlanRecord
from broker.domain.slots import Window

__all__ = ["Event", "EventKind", "Shortfall", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The fleet and every live claim, in order of name, as revision ``revision`` left them."""

    incarnation: str
    revision: int
    fleet: Fleet
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Devices that claims hold and an account can no longer give: ``devices`` at most, somewhere in ``window``."""

    account: str
    window: Window
    devices: int


class EventKind(StrEnum):
    """What changed the market.

    SUBMITTED: the first claim is new; any others made room for it within what they had been told. LEASED: somebody
    holds the claim's lease since then; RELEASED: and gave it back; LEASE_EXPIRED: and did not renew it in time.
    """

    SUBMITTED = "SUBMITTED"
    AMENDED = "AMENDED"
    CANCELLED = "CANCELLED"
    PLANNED = "PLANNED"
    FLEET_APPLIED = "FLEET_APPLIED"
    PLAN_ASKED = "PLAN_ASKED"
    LEASED = "LEASED"
    RELEASED = "RELEASED"
    LEASE_EXPIRED = "LEASE_EXPIRED"


@dataclass(frozen=True, slots=True)
class Event:
    """One revision: everything it changed. Folding all events from the first gives the market."""

    revision: int
    kind: EventKind
    at: int  # Unix seconds
    claims: tuple[Claim, ...] = ()
    fleet: Fleet | None = None
    shortfalls: tuple[Shortfall, ...] = ()
    plan: PlanRecord | None = None
    time_limit_seconds: int | None = None  # of PLAN_ASKED
