"""The front office for operators: what the fleet is, what becomes of its supply, and who would be touched by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from broker.admission.displacement import Loss, losses, refuges
from broker.admission.outlook import AHEAD_SLOTS, Outlook
from broker.admission.vetting import recut, uncountable
from broker.attempts import once, settled
from broker.domain.claim import Claim
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet, FleetChange, changes
from broker.domain.slots import Window, slot_at_or_after
from broker.domain.supply import SupplyChange, supplied
from broker.domain.terms import Terms
from broker.ledger.port import Applied, Ledger, RequestKey
from broker.ledger.refusals import fleet_changed

__all__ = ["Supplied", "Supplying", "pool_not_found"]

REACH_SECONDS_MAX = 1.0
TOLD_MAX = 1_000  # claims that one answer names


class Market(Protocol):
    """What is known without asking the ledger; the feed keeps it warm."""

    @property
    def outlook(self) -> Outlook:
        """The market as of the newest event seen."""
        ...

    async def reach(self, revision: int) -> None:
        """Return once the event of that revision was seen."""
        ...


@dataclass(frozen=True, slots=True)
class Supplied:
    """What a change of supply did or would do; ``fleet_revision`` is that of the fleet in force then.

    ``touched`` are the first thousand of ``touched_count`` placements that lose their place, most guaranteed first.
    """

    applied: Applied
    fleet_revision: int
    changes: tuple[FleetChange, ...]
    touched: tuple[Loss, ...] = ()
    touched_count: int = 0


@dataclass(frozen=True, slots=True)
class Supplying:
    """Every verb that changes supply; Faults are refusals that changed nothing, unless UNAVAILABLE.

    Each names the ``etag`` of the fleet that it is meant for (empty: whichever is in force); Faults: ETAG_MISMATCH.
    """

    ledger: Ledger
    market: Market
    now: Callable[[], int]  # Unix seconds
    terms: Terms = field(default_factory=Terms)

    async def apply_fleet(self, fleet: Fleet, *, etag: str, key: RequestKey, dry_run: bool) -> Supplied:
        """Put a fleet into force, or only say what would change and who would be touched."""

        async def decide() -> Supplied:
            if problem := recut(self.market.outlook.fleet, fleet, self.market.outlook.claims.values()):
                raise problem
            known = await self._fleet_revision(etag)
            return await self._applied(fleet, known, known if etag else None, key, dry_run=dry_run)

        return await once(self._recalled, key, decide)

    async def change(self, pool: str, change: SupplyChange, *, etag: str, key: RequestKey, dry_run: bool) -> Supplied:
        """Change the supply of one pool, or only say what would change and who would be touched.

        Without an etag it is a change of whatever fleet is in force. Faults: POOL_NOT_FOUND and those of `supplied`.
        """

        async def decide() -> Supplied:
            known, fleet = await self._fleet_revision(etag), await self.ledger.fleet()
            before = fleet.pool(pool)
            if before is None:
                raise pool_not_found(pool)
            after = supplied(before, change, now=self.now())
            pools = tuple(after if one.id == pool else one for one in fleet.pools)
            return await self._applied(replace(fleet, pools=pools), known, known, key, dry_run=dry_run)

        changing = FaultReason.ETAG_MISMATCH
        return await once(self._recalled, key, decide if etag else lambda: settled(decide, over=changing))

    async def _fleet_revision(self, etag: str) -> int:
        """Of the fleet in force, if it is the one that the caller knows; read before the fleet itself."""
        known = await self.ledger.fleet_revision()
        if etag and etag != str(known):
            raise fleet_changed(held=etag, present=known)
        return known

    async def _applied(
        self, fleet: Fleet, known: int, expected: int | None, key: RequestKey, *, dry_run: bool
    ) -> Supplied:
        if problem := uncountable(fleet):
            raise problem
        with suppress(
            TimeoutError
        ):  # late or not, the change comes first: who is touched is told as far as it is known
            async with asyncio.timeout(REACH_SECONDS_MAX):
                await self.market.reach(await self.ledger.revision())
        at, claims = self.now(), tuple(self.market.outlook.claims.values())  # before the planner hears of it
        applied = await self.ledger.apply_fleet(fleet, key=key, at=at, dry_run=dry_run, expected=expected)
        made = changes(applied.before, fleet)
        told = Supplied(applied, known if dry_run or not made else applied.revision, made)
        # What is asked again changes nothing, so it must not be counted on top of itself.
        after = await self.ledger.fleet() if applied.replayed else fleet
        return await self._with_touched(told, claims, after, at)

    async def _with_touched(self, told: Supplied, claims: tuple[Claim, ...], fleet: Fleet, at: int) -> Supplied:
        if not told.applied.shortfalls:
            return told
        slot, prices = slot_at_or_after(at), self.market.outlook.prices

        def look() -> Supplied:
            lost = losses(claims, fleet, slot)
            window = Window(slot, slot + AHEAD_SLOTS)
            found = refuges(lost[:TOLD_MAX], claims, fleet, window, prices, self.terms)
            return replace(told, touched=found, touched_count=len(lost))

        return await asyncio.to_thread(look)

    async def _recalled(self, key: RequestKey) -> Supplied | None:
        """What was answered to that key, if anything was; who is still touched then is told as things are now."""
        first = await self.ledger.recall_fleet(key)
        if first is None:
            return None
        fleet = await self.ledger.fleet()
        told = Supplied(first, first.revision, changes(first.before, fleet))
        return await self._with_touched(told, tuple(self.market.outlook.claims.values()), fleet, self.now())


def pool_not_found(pool: str) -> Fault:
    """The fleet in force has no such pool."""
    return Fault(
        FaultReason.POOL_NOT_FOUND,
        f"There is no pool '{pool}'",
        remedy="List the pools to see which there are.",
        field="name",
    )
