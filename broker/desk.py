"""The front office: every verb a caller has, each one decision and at most one change of the ledger."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Protocol

from broker.domain.claim import Ask, Cancelled, Claim, ClaimName, Committed, Planned, Waiting
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet, FleetChange, changes
from broker.domain.options import option_of, options
from broker.domain.plan import PlanRecord
from broker.domain.reason import Because, Reason
from broker.domain.slots import Window, slot_at_or_after, slot_of
from broker.ledger.port import Applied, Balance, Ledger, Page, Receipt, RequestKey

__all__ = ["Clock", "Desk", "Market", "NewId"]

Clock = Callable[[], int]  # Unix seconds
NewId = Callable[[], str]  # unguessable, [a-z0-9-], at most 63 characters

AMEND_ATTEMPTS = 8
KNOWN_NAMED_MAX = 20  # names that a refusal lists


class Market(Protocol):
    """What the desk knows without asking the ledger; the feed keeps it warm."""

    @property
    def fleet(self) -> Fleet:
        """The fleet as of the newest event seen."""
        ...

    async def plan_on(self, revision: int) -> PlanRecord:
        """The first plan that looked at ``revision`` or later; waits for it."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """Every caller verb; Faults are refusals that changed nothing, unless UNAVAILABLE."""

    ledger: Ledger
    market: Market
    now: Clock
    new_id: NewId
    plan_seconds_max: float = 60.0  # how long RunPlan waits, beyond the time limit that it names

    async def submit(self, tenant: str, claim_id: str, ask: Ask, key: RequestKey) -> Receipt:
        """Store a claim, under ``claim_id`` or (empty) a new id; the planner places it from then on."""

        async def decide() -> Receipt:
            at = self.now()
            await self._vet(tenant, ask)
            waiting = Waiting((Because(Reason.AWAITING_PLAN, "No plan has looked at the claim yet."),))
            claim = Claim(ClaimName(tenant, claim_id or self.new_id()), self._dated(ask, at), waiting, at, at)
            return await self.ledger.submit(claim, key=key, at=at)

        return await self._once(key, decide)

    async def claim(self, name: ClaimName) -> Claim:
        """One claim, live or closed."""
        return await self.ledger.claim(name)

    async def claims(self, *, tenant: str | None, after: ClaimName | None, limit: int) -> Page:
        """A page of claims of one tenant or of all, in order of name."""
        return await self.ledger.claims(tenant=tenant, after=after, limit=limit)

    async def amend(self, name: ClaimName, edit: Callable[[Ask], Ask], *, etag: str, key: RequestKey) -> Receipt:
        """Change what a live claim asks for; a placement that the new ask does not allow is given up."""

        async def decide() -> Receipt:
            claim = await self._held(name, etag)
            return await self.ledger.amend(await self._amended(claim, edit(claim.ask)), key=key, at=self.now())

        return await self._once(key, lambda: self._settled(decide, etag))

    async def cancel(self, name: ClaimName, *, etag: str, key: RequestKey) -> Receipt:
        """Withdraw a live claim; capacity from this slot on is free at once. Cancelling again changes nothing."""

        async def decide() -> Receipt:
            claim = await self.ledger.claim(name)
            if isinstance(claim.state, Cancelled) and etag in ("", str(claim.revision)):
                return await self.ledger.recall(key) or Receipt(claim, replayed=True)
            claim, at = await self._held(name, etag), self.now()
            used = [
                replace(p, window=Window(p.window.first, min(p.window.end, slot_of(at))))
                for p in claim.placements
                if p.window.first < slot_of(at)
            ]
            return await self.ledger.cancel(claim.becomes(Cancelled(tuple(used)), at=at), key=key, at=at)

        return await self._once(key, lambda: self._settled(decide, etag))

    async def apply_fleet(
        self, fleet: Fleet, *, key: RequestKey, dry_run: bool
    ) -> tuple[Applied, tuple[FleetChange, ...]]:
        """Put a fleet into force (or only say what would change), and where live claims would hold more than it."""
        applied = await self.ledger.apply_fleet(fleet, key=key, at=self.now(), dry_run=dry_run)
        return applied, changes(applied.before, fleet)

    async def fleet(self) -> Fleet:
        """The fleet in force."""
        return await self.ledger.fleet()

    async def pools(self, window: Window | None) -> tuple[Fleet, Window, dict[str, Balance]]:
        """The fleet and each account's balance over ``window``, or over the week from now."""
        first = slot_of(self.now())
        over = window or Window(first, first + 168)
        _, balances = await self.ledger.balances(over)
        return await self.ledger.fleet(), over, {balance.account: balance for balance in balances}

    async def run_plan(self, *, key: RequestKey, time_limit_seconds: int | None) -> PlanRecord:
        """Plan everything known now; returns when that plan is in force."""
        revision = await self.ledger.ask_plan(key=key, at=self.now(), time_limit_seconds=time_limit_seconds)
        patience = (time_limit_seconds or 0) + self.plan_seconds_max
        try:
            async with asyncio.timeout(patience):
                return await self.market.plan_on(revision)
        except TimeoutError:
            raise Fault(
                FaultReason.PLANNER_SILENT,
                f"No plan came into force within {patience:.0f} s",
                remedy="See that a planner runs and what its log says, then send the same request again.",
            ) from None

    async def plan(self, revision: int | None) -> PlanRecord:
        """The plan of that revision, or the latest (None)."""
        return await self.ledger.plan(revision)

    async def _once(self, key: RequestKey, decide: Callable[[], Awaitable[Receipt]]) -> Receipt:
        """What ``decide`` does, or did the first time: a repeated request is not judged by today's state."""
        try:
            return await decide()
        except Fault:
            first = await self.ledger.recall(key)
            if first is None:
                raise
            return first

    async def _settled(self, decide: Callable[[], Awaitable[Receipt]], etag: str) -> Receipt:
        """Decide again while the planner changes the claim in between; with an etag the caller wants to know."""
        for _ in range(AMEND_ATTEMPTS):
            try:
                return await decide()
            except Fault as fault:
                if fault.reason is not FaultReason.CONTENDED:
                    raise
                if etag:
                    raise _etag_mismatch() from None
        raise Fault(FaultReason.CONTENDED, "The claim keeps changing", remedy="Send the same request again.")

    async def _held(self, name: ClaimName, etag: str) -> Claim:
        claim = await self.ledger.claim(name)
        if etag and etag != str(claim.revision):
            raise _etag_mismatch()
        if not claim.live:
            state = type(claim.state).__name__.upper()
            raise Fault(
                FaultReason.CLAIM_CLOSED,
                f"The claim is {state} and can no longer change",
                remedy="Create a new claim.",
                facts={"state": state},
            )
        return claim

    async def _amended(self, claim: Claim, ask: Ask) -> Claim:
        if isinstance(claim.state, Committed):
            if replace(claim.ask, value_microusd=ask.value_microusd, labels=ask.labels) != ask:
                raise Fault(
                    FaultReason.CLAIM_COMMITTED,
                    "The claim is committed: only value and labels may change",
                    remedy="Cancel it and create a new claim.",
                )
            return replace(claim, ask=ask)
        fleet = await self._vet(claim.name.tenant, ask)
        ask = self._dated(ask, self.now())
        kept = tuple(
            replace(placement, latest=min(placement.latest, placement.latest if way.latest is None else way.latest))
            for placement in claim.placements
            if (way := option_of(ask, fleet, placement)) is not None
        )
        changed = replace(claim, ask=ask)
        if len(kept) == len(claim.placements):
            return replace(changed, state=Planned(kept, claim.because)) if kept else changed
        because = (Because(Reason.AMENDED, "The amended claim no longer fits the placement it had."),)
        return changed.becomes(Planned(kept, because) if kept else Waiting(because), at=self.now())

    async def _vet(self, tenant: str, ask: Ask) -> Fleet:
        """The fleet, if everything that the ask names is in it and its largest pool could hold the claim."""
        problem = _unknown(tenant, ask, self.market.fleet)
        fleet = self.market.fleet
        if problem is not None:
            # The feed may be a moment behind a fleet that was just applied.
            fleet = await self.ledger.fleet()
            problem = _unknown(tenant, ask, fleet)
        if problem is not None:
            raise problem
        peaks = {pool.id: pool.supply().peak() for pool in fleet.pools}
        ways = options(ask, fleet)
        if ways and all(way.devices > peaks[way.pool] for way in ways):
            most = str(max(peaks[way.pool] for way in ways))
            raise Fault(
                FaultReason.EXCEEDS_ANY_POOL,
                f"No eligible pool ever has more than {most} devices",
                remedy="Ask for fewer devices, for other silicon, or not as a gang.",
                field="claim.devices",
                facts={"max_devices": most},
            )
        return fleet

    def _dated(self, ask: Ask, at: int) -> Ask:
        """The ask with its earliest start no earlier than now, if that leaves it any start at all."""
        earliest = max(ask.earliest, slot_at_or_after(at))
        last = [end for end in (ask.latest, ask.deadline and ask.deadline - 1) if end is not None]
        if last and min(last) < slot_of(at):
            raise Fault(
                FaultReason.DEADLINE_PASSED,
                "The last possible start has passed",
                remedy="Ask for a later deadline.",
                field="claim.deadline",
            )
        return replace(ask, earliest=min([earliest, *last]))


def _unknown(tenant: str, ask: Ask, fleet: Fleet) -> Fault | None:
    """The first thing that the ask names and the fleet does not have."""
    silicon = {silicon.id for silicon in fleet.silicon} | {silicon.family for silicon in fleet.silicon} - {""}
    tenants = {known.id for known in fleet.tenants}
    classes = {work.id for work in fleet.workload_classes}
    pools = {pool.id for pool in fleet.pools}
    named = [
        (FaultReason.TENANT_UNKNOWN, "tenant", [tenant], tenants, "parent"),
        (FaultReason.WORKLOAD_CLASS_UNKNOWN, "workload class", [ask.workload_class], classes, "claim.workload_class"),
        (FaultReason.SILICON_UNKNOWN, "silicon", [c.silicon for c in ask.silicon], silicon, "claim.silicon"),
        (FaultReason.POOL_UNKNOWN, "pool", ask.preferred_pools, pools, "claim.preferred_pools"),
        (FaultReason.POOL_UNKNOWN, "pool", ask.forbidden_pools, pools, "claim.forbidden_pools"),
    ]
    for reason, what, names, known, field in named:
        for name in names:
            if name not in known:
                return _not_declared(reason, what, name, known, field)
    return None


def _not_declared(reason: FaultReason, what: str, name: str, known: Collection[str], field: str) -> Fault:
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    some = ", ".join(sorted(known)[:KNOWN_NAMED_MAX]) or "none: apply a fleet first"
    return Fault(
        reason,
        f"The fleet declares no {what} '{name}'",
        remedy=f"{guess}It declares {some}{', …' if len(known) > KNOWN_NAMED_MAX else ''}.",
        field=field,
    )


def _etag_mismatch() -> Fault:
    return Fault(
        FaultReason.ETAG_MISMATCH, "The claim has changed since it was read", remedy="Read it again and retry."
    )
