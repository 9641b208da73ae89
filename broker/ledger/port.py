"""What a ledger promises, whatever it is made of.

Every mutation is one step: its effect, its event, its replay record and its revision appear together or not at all.
Revisions are dense: the first mutation makes 1, each later one adds 1; a refused or replayed one adds nothing.

For every account (a pool, a tenant with a quota, or what a tenant may have on loan) and every slot, at every revision:
``limit + shortfall = granted + free`` with every term at least 0, where granted is the sum of the holds of all claims,
free = max(0, limit - granted) and shortfall = max(0, granted - limit). No claim ever gains a hold that makes or deepens
a shortfall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Claim, ClaimName
from broker.domain.fleet import Fleet
from broker.domain.plan import PlanRecord
from broker.domain.slots import Steps, Window
from broker.domain.snapshot import Event, Shortfall, Snapshot

__all__ = [
    "Applied",
    "Balance",
    "Commit",
    "Fence",
    "LeaseRecord",
    "Ledger",
    "Page",
    "Receipt",
    "Renewal",
    "RequestKey",
]


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Identity of one mutation: the same key with the same ``body_digest`` is the same mutation, kept for 24 hours.

    ``scope`` is the tenant, or ``-`` for operators; keys of different scopes never meet.
    """

    scope: str
    method: str
    request_id: str
    body_digest: str

    @classmethod
    def of_lapse(cls, method: str, claim: Claim) -> RequestKey:
        """Of what a server does by itself once a claim's time is over: once for each claim at a revision.

        Other claims may be of the same revision, and no tenant is called like this scope.
        """
        return cls("-lapse", method, f"{claim.revision} {claim.name.key}", claim.name.key)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A claim as the mutation left it; ``replayed`` when the mutation had been done before."""

    claim: Claim
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """A fleet in force since ``revision``, the one before it, and where live claims hold more than it gives."""

    revision: int
    shortfalls: tuple[Shortfall, ...]
    before: Fleet
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Fence:
    """Right to commit plans: only the newest epoch of the present incarnation holds it."""

    incarnation: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A plan in force since ``revision``; ``skipped`` claims had changed or lost their room, and stay as they were."""

    revision: int
    skipped: tuple[ClaimName, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """Claims in order of name as of ``revision``; ``after`` continues, None on the last page."""

    claims: tuple[Claim, ...]
    after: ClaimName | None
    revision: int


@dataclass(frozen=True, slots=True)
class Balance:
    """One account over a window: its limit (None: no limit), and the devices that claims hold, one entry per slot."""

    account: str
    limit: Steps | None
    granted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The lease of a claim; ``millis_left`` is negative once it is over and its claim not yet ended for it.

    ``fence`` is the revision that made it: of two leases for the same devices the later one has the higher fence.
    """

    fence: int
    ttl_millis: int
    millis_left: int


class Renewal(NamedTuple):
    """A lease to last for ``ttl_millis`` from now (0: as long as was asked for before)."""

    name: ClaimName
    fence: int
    ttl_millis: int = 0


class Ledger(Protocol):
    """All methods may raise Fault STORE_UNAVAILABLE (outcome unknown: retry with the same key) and SAFE_HALT."""

    @property
    def token_key(self) -> bytes:
        """What page tokens are signed with: every process on the market has it, no caller does, and it never changes.

        It is random and kept beside the market's head. The incarnation would not do: messages to callers name it.
        """
        ...

    async def submit(
        self,
        claim: Claim,
        *,
        key: RequestKey,
        at: int,
        candidates: Sequence[Claim] = (),
        moved: Sequence[Claim] = (),
        must_fit: bool = False,
    ) -> Receipt:
        """Store a new claim: as the first of ``candidates`` whose holds fit, else as ``claim``, which holds nothing.

        Candidates are the same claim with capacity, at most eight. Their holds fit where they make or deepen no
        shortfall from slot ``slot_of(at)`` on. With ``moved`` the last candidate makes room: it comes with these other
        claims where they are said to be, at most sixteen, all in one revision, and only if each of them is live and at
        the revision that it names. Faults: CLAIM_EXISTS, REQUEST_ID_REUSED; with ``must_fit`` OFFER_GONE when no
        candidate fits.
        """
        ...

    async def amend(self, claim: Claim, *, key: RequestKey, at: int) -> Receipt:
        """Replace the live claim whose revision is ``claim.revision``; it may keep or give up holds, never gain any.

        Faults: CONTENDED when its revision is another by now, CLAIM_NOT_FOUND, OVERCOMMIT when it would gain a hold,
        REQUEST_ID_REUSED.
        """
        ...

    async def cancel(self, claim: Claim, *, key: RequestKey, at: int) -> Receipt:
        """Like `amend`, for a claim whose new state is Cancelled."""
        ...

    async def acquire(self, claim: Claim, *, key: RequestKey, at: int, ttl_millis: int, margin_millis: int) -> Receipt:
        """Like `amend`, for a claim whose new state is Active, with a new lease; an earlier one of the claim is over.

        The lease's fence is the revision that this makes. Faults: LEASE_HANDOVER, unless the claim has a lease already,
        while a pool of it lacks devices for all that it granted, and for what holders of leases whose claims lost their
        places may still use, until ``margin_millis`` after these end.
        """
        ...

    async def renew(self, renewals: Sequence[Renewal]) -> tuple[int | None, ...]:
        """Let leases end later: for each, the milliseconds left now, or None where it has ended; at most 1,000.

        Makes no revision: when a lease ends is no part of the log. What is over but not expired may still be renewed.
        """
        ...

    async def lease(self, name: ClaimName) -> LeaseRecord | None:
        """The lease of a claim, None when it has none."""
        ...

    async def release(self, claim: Claim, *, fence: int, key: RequestKey, at: int) -> Receipt:
        """Like `amend`, for a claim whose holder gives its lease back; Faults: LEASE_ENDED when that is over."""
        ...

    async def overdue(self, *, margin_millis: int, limit: int) -> tuple[ClaimName, ...]:
        """Claims whose leases ended more than a margin ago, the longest ago first.

        Lease time passes while this is called several times a second by anybody, and not otherwise.
        """
        ...

    async def expire(self, claim: Claim, *, margin_millis: int, key: RequestKey, at: int) -> Receipt | None:
        """Like `amend`, for a claim whose lease is overdue; None, and nothing changes, if it no longer is."""
        ...

    async def apply_fleet(
        self, fleet: Fleet, *, key: RequestKey, at: int, dry_run: bool = False, expected: int | None = None
    ) -> Applied:
        """Put a fleet into force and record where live holds exceed it from slot ``slot_of(at)`` on.

        The fleet that is in force already makes no revision. With ``dry_run``: only say so; nothing is stored and the
        revision is the present one. ``expected`` is the `fleet_revision` that the caller knows (None: whichever).
        Faults: ETAG_MISMATCH when it is another by now, REQUEST_ID_REUSED.
        """
        ...

    async def recall_fleet(self, key: RequestKey) -> Applied | None:
        """What `apply_fleet` answered to that key, or None if it never did; Faults: REQUEST_ID_REUSED."""
        ...

    async def ask_plan(self, *, key: RequestKey, at: int, time_limit_seconds: int | None) -> int:
        """Record that a plan is wanted; returns the revision of that event (of the first one on replay)."""
        ...

    async def recall(self, key: RequestKey) -> Receipt | None:
        """What `submit`, `amend` or `cancel` answered to that key, or None if it never did.

        Faults: REQUEST_ID_REUSED when the id belongs to another body or method.
        """
        ...

    async def lead(self, planner_id: str, *, ttl_millis: int) -> Fence | None:
        """Take or renew the planner's lease; None while another planner holds it. A new holder raises the epoch."""
        ...

    async def commit(
        self,
        claims: Sequence[Claim],
        plan: PlanRecord,
        *,
        fence: Fence,
        at: int,
        prices: BidPrices | None = None,
    ) -> Commit:
        """Put a plan into force: each claim replaces the live one of the same revision, the others are skipped.

        ``prices`` rule from then on, with the plan's revision; None leaves those that do.

        Where the rest would make or deepen a shortfall from slot ``slot_of(at)`` on, those claims are skipped too that
        hold nothing from then on, and whose new room was taken meanwhile. Faults: FENCED when a newer planner
        or another incarnation rules, OVERCOMMIT when not even the claims fit that hold capacity already, or no claim is
        left (then nothing changes).
        """
        ...

    async def snapshot(self) -> Snapshot:
        """The fleet and all live claims, as of one revision."""
        ...

    async def claim(self, name: ClaimName) -> Claim:
        """One claim, live or closed; Faults: CLAIM_NOT_FOUND."""
        ...

    async def claims(self, *, tenant: str | None, after: ClaimName | None, limit: int) -> Page:
        """Up to ``limit`` claims, live or closed, of one tenant or of all, in order of ``ClaimName.key``."""
        ...

    async def balances(self, window: Window) -> tuple[int, tuple[Balance, ...]]:
        """Revision, and every account over ``window``, in order of account."""
        ...

    async def plan(self, revision: int | None) -> PlanRecord:
        """The plan of that revision, or the latest (None); the last hundred are kept. Faults: PLAN_NOT_FOUND."""
        ...

    async def prices(self) -> BidPrices | None:
        """The bid prices in force; None before the first plan that had any."""
        ...

    async def fleet(self) -> Fleet:
        """The fleet in force; an empty one before the first."""
        ...

    async def fleet_revision(self) -> int:
        """The revision that put the fleet in force there; 0 before the first, or if an older broker did."""
        ...

    async def revision(self) -> int:
        """The present revision."""
        ...

    async def events(self, after: int, *, limit: int, wait_millis: int = 0) -> tuple[Event, ...]:
        """Up to ``limit`` events with revisions above ``after``, in order; waits up to ``wait_millis`` for the first.

        Faults: COMPACTED (fact ``oldest_revision``) when events after ``after`` are no longer kept, REVISION_AHEAD when
        ``after`` lies beyond the present revision.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; nothing is lost."""
        ...
