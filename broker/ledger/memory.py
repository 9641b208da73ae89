"""A ledger in this process's memory: the reference for every other, and enough for a demo or a simulation.

Every mutation runs without an ``await``, so that each is one step for all tasks of the event loop.
"""

from __future__ import annotations

import asyncio
import secrets
from bisect import bisect_right, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TypeVar

from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Active, Cancelled, Claim, ClaimName, Hold
from broker.domain.fleet import Fleet
from broker.domain.plan import PlanRecord
from broker.domain.slots import Window, slot_of
from broker.domain.snapshot import Event, EventKind, Shortfall, Snapshot
from broker.ledger import refusals
from broker.ledger.books import balances, checked_holds, fleet_accounts, gains
from broker.ledger.fold import Market
from broker.ledger.lease_book import LeaseBook
from broker.ledger.port import Applied, Balance, Commit, Fence, LeaseRecord, Page, Receipt, Renewal, RequestKey

__all__ = ["MemoryLedger"]

PLANS_KEPT = 100
REPLAY_SECONDS = 25 * 3600

_A = TypeVar("_A", Receipt, Applied, int)


@dataclass(frozen=True, slots=True)
class _Replay:
    """What a mutation was, what it answered, and when that may be forgotten (monotonic seconds)."""

    method: str
    body_digest: str
    answer: Receipt | Applied | int
    until: float


class _LeaseLives(Exception):
    """It was renewed."""


class MemoryLedger:
    """Keeps every promise of `Ledger` until the process ends.

    ``monotonic`` is a clock in seconds that never goes back; it rules the planner's lease and how long answers are
    kept. The last ``log_events_max`` events are kept.
    """

    def __init__(self, *, incarnation: str, monotonic: Callable[[], float], log_events_max: int = 1_000_000) -> None:
        self.token_key = secrets.token_bytes(32)
        self._incarnation = incarnation
        self._monotonic = monotonic
        self._market = Market()
        self._keys: list[str] = []
        self._log: deque[Event] = deque(maxlen=log_events_max)
        self._plans: deque[PlanRecord] = deque(maxlen=PLANS_KEPT)
        self._prices: BidPrices | None = None
        self._replays: OrderedDict[tuple[str, str], _Replay] = OrderedDict()
        self._leader, self._epoch, self._leads_until, self._leads_seconds = "", 0, 0.0, 0.0
        self._leases = LeaseBook(lambda: int(1000 * monotonic()))
        self._grown = asyncio.Event()

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
        """See `Ledger.submit`."""
        refusals.checked_submit(claim, candidates, moved)
        if answer := self._replayed(key, Receipt):
            return replace(answer, replayed=True)
        if claim.name in self._market.claims:
            raise refusals.claim_exists(claim.name)
        others = [()] * (len(candidates) - 1) + [tuple(moved)]
        fitting = (
            (candidate, beside)
            for candidate, beside in zip(candidates, others, strict=False)  # without candidates there is nobody beside
            if self._fits(candidate, beside, at)
        )
        chosen, beside = next(fitting, (None if must_fit else claim, ()))
        if chosen is None:
            raise refusals.offer_gone()
        revision = self._market.revision + 1
        stored = replace(chosen, revision=revision)
        insort(self._keys, claim.name.key)
        after = (replace(other, revision=revision, replaced=other.revision) for other in beside)
        self._record(Event(revision, EventKind.SUBMITTED, at, claims=(stored, *after)))
        return self._remember(key, Receipt(stored))

    def _fits(self, candidate: Claim, moved: tuple[Claim, ...], at: int) -> bool:
        """Whether a new claim fits once others, who are as they are said to have been, have moved."""
        before: list[Hold] = []
        for claim in moved:
            present = self._market.claims.get(claim.name)
            if present is None or not present.live or present.revision != claim.revision:
                return False
            before += present.holds()
        after = [hold for claim in (candidate, *moved) for hold in claim.holds()]
        return self._market.books.overdrawn(before, after, from_slot=slot_of(at)) is None

    async def amend(self, claim: Claim, *, key: RequestKey, at: int) -> Receipt:
        """See `Ledger.amend`."""
        return self._replace(claim, EventKind.AMENDED, key=key, at=at)

    async def cancel(self, claim: Claim, *, key: RequestKey, at: int) -> Receipt:
        """See `Ledger.cancel`."""
        assert isinstance(claim.state, Cancelled), claim.name
        return self._replace(claim, EventKind.CANCELLED, key=key, at=at)

    async def acquire(self, claim: Claim, *, key: RequestKey, at: int, ttl_millis: int, margin_millis: int) -> Receipt:
        """See `Ledger.acquire`."""
        crowded = self._leases.find(claim.name) is None and self._leases.crowded(
            self._market.books, claim, slot_of(at), margin_millis
        )
        receipt = self._replace(
            claim, EventKind.LEASED, key=key, at=at, refusal=refusals.lease_handover(claim.name) if crowded else None
        )
        if not receipt.replayed:
            self._leases.begin(claim.name, receipt.claim.revision, ttl_millis)
        return receipt

    async def renew(self, renewals: Sequence[Renewal]) -> tuple[int | None, ...]:
        """See `Ledger.renew`."""
        return tuple(self._leases.renew(one.name, one.fence, one.ttl_millis) for one in renewals)

    async def lease(self, name: ClaimName) -> LeaseRecord | None:
        """See `Ledger.lease`."""
        return self._leases.find(name)

    async def release(self, claim: Claim, *, fence: int, key: RequestKey, at: int) -> Receipt:
        """See `Ledger.release`."""
        found = self._leases.find(claim.name)
        refusal = None if found is not None and found.fence == fence else refusals.lease_ended(claim.name)
        return self._replace(claim, EventKind.RELEASED, key=key, at=at, refusal=refusal)

    async def overdue(self, *, margin_millis: int, limit: int) -> tuple[ClaimName, ...]:
        """See `Ledger.overdue`."""
        return tuple(self._leases.overdue(margin_millis)[:limit])

    async def expire(self, claim: Claim, *, margin_millis: int, key: RequestKey, at: int) -> Receipt | None:
        """See `Ledger.expire`."""
        lives = None if self._leases.is_overdue(claim.name, margin_millis) else _LeaseLives()
        try:
            return self._replace(claim, EventKind.LEASE_EXPIRED, key=key, at=at, refusal=lives)
        except _LeaseLives:
            return None

    def _replace(
        self, claim: Claim, kind: EventKind, *, key: RequestKey, at: int, refusal: Exception | None = None
    ) -> Receipt:
        holds = checked_holds(claim)
        if answer := self._replayed(key, Receipt):
            return replace(answer, replayed=True)
        present = self._market.claims.get(claim.name)
        if present is None:
            raise refusals.claim_not_found(claim.name)
        if present.revision != claim.revision:
            raise refusals.contended(claim.name, held=claim.revision, present=present.revision)
        if not present.live:
            raise refusals.claim_closed(claim.name)
        if gains(present.holds(), holds):
            raise refusals.gains_holds(claim.name)
        if refusal is not None:
            raise refusal
        stored = replace(claim, revision=self._market.revision + 1, replaced=claim.revision)
        self._record(Event(stored.revision, kind, at, claims=(stored,)))
        if not isinstance(stored.state, Active):
            self._leases.drop(stored.name)
        return self._remember(key, Receipt(stored))

    async def apply_fleet(
        self, fleet: Fleet, *, key: RequestKey, at: int, dry_run: bool = False, expected: int | None = None
    ) -> Applied:
        """See `Ledger.apply_fleet`."""
        if answer := self._replayed(key, Applied):
            return replace(answer, replayed=True)
        if expected not in (None, self._market.fleet_revision):
            raise refusals.fleet_changed(held=expected or 0, present=self._market.fleet_revision)
        books, ruling = self._market.books, self._market.fleet
        books.set_limits(fleet.limits())
        left = books.shortfalls(from_slot=slot_of(at))
        if dry_run or fleet == ruling:
            books.set_limits(ruling.limits())
            return Applied(self._market.revision, left, ruling)
        applied = Applied(self._market.revision + 1, left, ruling)
        self._record(Event(applied.revision, EventKind.FLEET_APPLIED, at, fleet=fleet, shortfalls=left))
        return self._remember(key, applied)

    async def recall_fleet(self, key: RequestKey) -> Applied | None:
        """See `Ledger.recall_fleet`."""
        answer = self._replayed(key, Applied)
        return answer and replace(answer, replayed=True)

    async def ask_plan(self, *, key: RequestKey, at: int, time_limit_seconds: int | None) -> int:
        """See `Ledger.ask_plan`."""
        if answer := self._replayed(key, int):
            return answer
        revision = self._market.revision + 1
        self._record(Event(revision, EventKind.PLAN_ASKED, at, time_limit_seconds=time_limit_seconds))
        return self._remember(key, revision)

    async def recall(self, key: RequestKey) -> Receipt | None:
        """See `Ledger.recall`."""
        answer = self._replayed(key, Receipt)
        return answer and replace(answer, replayed=True)

    async def lead(self, planner_id: str, *, ttl_millis: int) -> Fence | None:
        """See `Ledger.lead`."""
        now = self._monotonic()
        if planner_id != self._leader:
            if now < self._leads_until:
                self._leads_until = min(self._leads_until, now + self._leads_seconds)  # if the clock was set back
                return None
            self._leader, self._epoch = planner_id, self._epoch + 1
        self._leads_seconds = ttl_millis / 1000
        self._leads_until = now + self._leads_seconds if ttl_millis else -inf
        return Fence(self._incarnation, self._epoch)

    async def commit(
        self,
        claims: Sequence[Claim],
        plan: PlanRecord,
        *,
        fence: Fence,
        at: int,
        prices: BidPrices | None = None,
    ) -> Commit:
        """See `Ledger.commit`."""
        refusals.checked_commit(claims)
        for claim in claims:
            checked_holds(claim)
        ruling = Fence(self._incarnation, self._epoch)
        if fence != ruling:
            raise refusals.fenced(fence, ruling)
        revision = self._market.revision + 1
        taken: list[Claim] = []
        skipped: list[ClaimName] = []
        for claim in claims:
            present = self._market.claims.get(claim.name)
            if present is not None and present.live and present.revision == claim.revision:
                taken.append(replace(claim, revision=revision, replaced=claim.revision))
            else:
                skipped.append(claim.name)
        if self._overdrawn(taken, at) is not None:
            taken, late = self._fitting(taken, at)
            skipped += late
        self._end_leases(taken, at)
        ruled = replace(plan, revision=revision, skipped=len(skipped))
        self._plans.append(ruled)
        if prices is not None:
            self._prices = replace(prices, revision=revision)
        self._record(Event(revision, EventKind.PLANNED, at, claims=tuple(taken), plan=ruled))
        return Commit(revision, tuple(skipped))

    def _end_leases(self, taken: Sequence[Claim], at: int) -> None:
        """Of claims that a plan ends, or whose places it takes."""
        for claim in taken:
            if not isinstance(claim.state, Active):
                self._leases.displace(self._market.claims[claim.name], slot_of(at))

    def _overdrawn(self, taken: Sequence[Claim], at: int) -> Shortfall | None:
        """The first place where replacing these claims would make or deepen a shortfall."""
        before = [hold for claim in taken for hold in self._market.claims[claim.name].holds()]
        after = [hold for claim in taken for hold in claim.holds()]
        return self._market.books.overdrawn(before, after, from_slot=slot_of(at))

    def _fitting(self, claims: Sequence[Claim], at: int) -> tuple[list[Claim], list[ClaimName]]:
        """Those that hold capacity already and, one by one, the others that fit; and the names of who does not."""
        slot = slot_of(at)
        had = {c.name for c in claims if any(slot < hold.window.end for hold in self._market.claims[c.name].holds())}
        new = {c.name for c in claims if c.holds() and c.name not in had}
        fitting = [claim for claim in claims if claim.name not in new]
        worst = self._overdrawn(fitting, at)
        if worst is not None:
            raise refusals.overcommit(worst)
        late = []
        for claim in (claim for claim in claims if claim.name in new):
            lack = self._overdrawn([*fitting, claim], at)
            worst = worst or lack
            if lack is None:
                fitting.append(claim)
            else:
                late.append(claim.name)
        if not fitting and worst is not None:
            raise refusals.overcommit(worst)
        return [claim for claim in claims if claim in fitting], late

    async def snapshot(self) -> Snapshot:
        """See `Ledger.snapshot`."""
        live = sorted((claim for claim in self._market.claims.values() if claim.live), key=lambda claim: claim.name)
        return Snapshot(self._incarnation, self._market.revision, self._market.fleet, tuple(live))

    async def claim(self, name: ClaimName) -> Claim:
        """See `Ledger.claim`."""
        found = self._market.claims.get(name)
        if found is None:
            raise refusals.claim_not_found(name)
        return found

    async def claims(self, *, tenant: str | None, after: ClaimName | None, limit: int) -> Page:
        """See `Ledger.claims`."""
        lowest, end = 0, len(self._keys)
        if tenant is not None:
            lowest, end = bisect_right(self._keys, f"{tenant}/"), bisect_right(self._keys, f"{tenant}0")
        if after is not None:
            lowest = max(lowest, bisect_right(self._keys, after.key))
        keys = self._keys[lowest : min(end, lowest + limit)]
        found = tuple(self._market.claims[ClaimName(*key.split("/", 1))] for key in keys)
        more = bool(found) and lowest + limit < end
        return Page(found, found[-1].name if more else None, self._market.revision)

    async def balances(self, window: Window) -> tuple[int, tuple[Balance, ...]]:
        """See `Ledger.balances`."""
        fleet, books = self._market.fleet, self._market.books
        accounts = books.accounts() | fleet_accounts(fleet)
        granted = {account: tuple(books.granted(account).over(window)) for account in accounts}
        return self._market.revision, balances(fleet, granted)

    async def plan(self, revision: int | None) -> PlanRecord:
        """See `Ledger.plan`."""
        for plan in reversed(self._plans):
            if revision in (None, plan.revision):
                return plan
        raise refusals.plan_not_found(revision)

    async def prices(self) -> BidPrices | None:
        """See `Ledger.prices`."""
        return self._prices

    async def fleet(self) -> Fleet:
        """See `Ledger.fleet`."""
        return self._market.fleet

    async def fleet_revision(self) -> int:
        """See `Ledger.fleet_revision`."""
        return self._market.fleet_revision

    async def revision(self) -> int:
        """See `Ledger.revision`."""
        return self._market.revision

    async def events(self, after: int, *, limit: int, wait_millis: int = 0) -> tuple[Event, ...]:
        """See `Ledger.events`."""
        present = self._market.revision
        if after > present:
            raise refusals.revision_ahead(after, present)
        if after == present:
            if wait_millis <= 0:
                return ()
            try:
                async with asyncio.timeout(wait_millis / 1000):
                    await self._grown.wait()
            except TimeoutError:
                return ()
        oldest = self._log[0].revision
        if after + 1 < oldest:
            raise refusals.compacted(after, oldest)
        first = after + 1 - oldest
        return tuple(self._log[i] for i in range(first, min(first + limit, len(self._log))))

    async def close(self) -> None:
        """See `Ledger.close`."""

    def _record(self, event: Event) -> None:
        """Make one revision, and wake whoever waits for it."""
        self._market.apply(event)
        self._log.append(event)
        self._grown.set()
        self._grown = asyncio.Event()

    def _replayed(self, key: RequestKey, kind: type[_A]) -> _A | None:
        """What this mutation answered the first time, or None; Faults: REQUEST_ID_REUSED."""
        now = self._monotonic()
        while self._replays and next(iter(self._replays.values())).until <= now:
            self._replays.popitem(last=False)
        found = self._replays.get((key.scope, key.request_id))
        if found is None:
            return None
        if (found.method, found.body_digest) != (key.method, key.body_digest) or not isinstance(found.answer, kind):
            raise refusals.request_id_reused(key)
        return found.answer

    def _remember(self, key: RequestKey, answer: _A) -> _A:
        until = self._monotonic() + REPLAY_SECONDS
        self._replays[key.scope, key.request_id] = _Replay(key.method, key.body_digest, answer, until)
        return answer
