"""Leases: who has the right to use what was granted, until when, and who had it before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from broker.domain.claim import (
    Active,
    Cancelled,
    Claim,
    Committed,
    Displaced,
    DomainSpan,
    Ended,
    Expired,
    Placement,
    Tier,
)
from broker.domain.faults import Fault, FaultReason
from broker.ledger.fold import violations
from broker.ledger.lease_book import AWAY_MILLIS, RETURN_MILLIS
from broker.ledger.memory import MemoryLedger
from broker.ledger.port import Ledger, Receipt, Renewal
from tests.builders import AWAITING_PLAN, placement, plan
from tests.ledger.ledgers import Desk, FakeClock, granted, open_redis

TTL, MARGIN = 10_000, 2_000
PLACE = placement(devices=64, end=4)


@dataclass
class Leased:
    """A ledger with a pool of 64, and short ways to lease what is granted; ``clock`` is the only one there is."""

    desk: Desk
    clock: FakeClock
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = self.desk.ledger

    async def committed(self, name: str = "atlas/run-1", place: Placement = PLACE, tier: Tier = Tier.STANDARD) -> Claim:
        """A claim with a place that no longer changes."""
        stored = await self.desk.submit(name, tier=tier)
        await self.commit(stored.becomes(Committed((place,)), at=0))
        return await self.ledger.claim(stored.name)

    async def commit(self, *claims: Claim, at: int = 0) -> None:
        """A plan of these claims."""
        await self.ledger.commit(claims, plan(), fence=await self.desk.lead(), at=at)

    async def acquire(self, claim: Claim, *, at: int = 0) -> Claim:
        """The claim with a lease."""
        active = claim.becomes(Active(claim.placements), at=at)
        key = self.desk.key(method="AcquireLease")
        done = await self.ledger.acquire(active, key=key, at=at, ttl_millis=TTL, margin_millis=MARGIN)
        return done.claim

    async def renew(self, claim: Claim, *, fence: int | None = None, ttl_millis: int = 0) -> int | None:
        """What is left of its lease then."""
        (left,) = await self.ledger.renew([Renewal(claim.name, claim.revision if fence is None else fence, ttl_millis)])
        return left

    async def expire(self, claim: Claim) -> Receipt | None:
        """The claim ended for want of renewal, if it is."""
        over = replace(claim, state=Ended(()))
        return await self.ledger.expire(over, margin_millis=MARGIN, key=self.desk.key(), at=0)

    async def overdue(self) -> list[str]:
        """Ids of claims whose leases are."""
        return [name.id for name in await self.ledger.overdue(margin_millis=MARGIN, limit=10)]

    async def served(self, millis: int) -> None:
        """Time that passes while servers look at the clock twice a second."""
        end = self.clock.seconds + millis / 1000
        while self.clock.seconds < end:
            self.clock.seconds = min(end, self.clock.seconds + 0.5)
            await self.overdue()


@pytest.fixture(params=["memory", "redis"])
async def leased(request: pytest.FixtureRequest, market: str) -> AsyncIterator[Leased]:
    clock = FakeClock(1_000.0)
    ledger: Ledger
    if request.param == "memory":
        ledger = MemoryLedger(incarnation="first", monotonic=clock)
    else:
        url = request.getfixturevalue("valkey")
        ledger = await open_redis(url, market, lease_clock=lambda: int(1000 * clock()))
    desk = Desk(ledger)
    await desk.open_pools({"dc-1": 64})
    yield Leased(desk, clock)
    events = await ledger.events(0, limit=1000)
    # Plans of these tests take places away to see what becomes of leases.
    assert violations(events, promises=False) == ()
    await ledger.close()


async def left(leased: Leased, claim: Claim) -> int | None:
    """Milliseconds until its lease ends."""
    record = await leased.ledger.lease(claim.name)
    return None if record is None else record.millis_left


async def test_a_lease_lasts_its_ttl_from_the_last_renewal(leased: Leased) -> None:
    claim = await leased.acquire(await leased.committed())
    assert claim.state_name == "ACTIVE"
    await leased.served(6_000)
    assert await left(leased, claim) == 4_000
    assert await leased.renew(claim) == TTL
    assert await leased.renew(claim, ttl_millis=30_000) == 30_000
    await leased.served(1_000)
    assert await leased.renew(claim) == 30_000


async def test_what_a_lease_is_for_is_not_lost_before_the_margin_is_over(leased: Leased) -> None:
    claim = await leased.acquire(await leased.committed())
    await leased.served(TTL + MARGIN)
    assert await leased.overdue() == []
    assert await leased.expire(claim) is None
    assert await granted(leased.ledger, end=4) == (64, 64, 64, 64)
    await leased.served(1)
    assert await leased.overdue() == ["run-1"]
    done = await leased.expire(claim)
    assert done is not None
    assert done.claim.state_name == "ENDED"
    assert await granted(leased.ledger, end=4) == (0, 0, 0, 0)
    assert await leased.renew(claim) is None
    assert await left(leased, claim) is None


async def test_a_late_renewal_counts_as_long_as_nothing_was_given_away(leased: Leased) -> None:
    claim = await leased.acquire(await leased.committed())
    await leased.served(TTL + 2 * MARGIN)
    assert await leased.overdue() == ["run-1"]
    assert await leased.renew(claim) == TTL
    assert await leased.overdue() == []
    assert await leased.expire(claim) is None


@pytest.mark.parametrize("leap", [AWAY_MILLIS + 1, 600_000, -600_000], ids=["moments", "ten minutes", "clock set back"])
async def test_time_in_which_nobody_served_does_not_count(leased: Leased, leap: int) -> None:
    claim = await leased.acquire(await leased.committed())
    await leased.served(6_000)
    leased.clock.seconds += leap / 1000
    assert await left(leased, claim) == 4_000
    assert await leased.overdue() == []
    # Holders first have to find whoever serves again.
    await leased.served(RETURN_MILLIS)
    assert await left(leased, claim) == 4_000
    await leased.served(3_000)
    assert await left(leased, claim) == 1_000


async def test_another_lease_of_the_same_claim_ends_the_first(leased: Leased) -> None:
    first = await leased.acquire(await leased.committed())
    second = await leased.acquire(first)
    assert second.revision > first.revision
    assert await leased.renew(second, fence=first.revision) is None
    assert await leased.renew(second) == TTL
    over = replace(second, state=Ended(()))
    with pytest.raises(Fault) as refused:
        await leased.ledger.release(over, fence=first.revision, key=leased.desk.key(), at=0)
    assert refused.value.reason is FaultReason.LEASE_ENDED


async def test_what_is_given_back_is_free_at_once(leased: Leased) -> None:
    claim = await leased.acquire(await leased.committed())
    over = claim.becomes(Ended(()), at=0)
    key = leased.desk.key()
    done = await leased.ledger.release(over, fence=claim.revision, key=key, at=0)
    assert await granted(leased.ledger, end=4) == (0, 0, 0, 0)
    again = await leased.ledger.release(over, fence=claim.revision, key=key, at=0)
    assert (again.replayed, again.claim) == (True, done.claim)
    assert await leased.renew(claim) is None
    await leased.acquire(await leased.committed("atlas/run-2"))


async def test_a_repeated_acquire_makes_one_lease(leased: Leased) -> None:
    claim = await leased.committed()
    active, key = claim.becomes(Active(claim.placements), at=0), leased.desk.key()
    first = await leased.ledger.acquire(active, key=key, at=0, ttl_millis=TTL, margin_millis=MARGIN)
    await leased.served(3_000)
    again = await leased.ledger.acquire(active, key=key, at=0, ttl_millis=TTL, margin_millis=MARGIN)
    assert (again.claim, again.replayed) == (first.claim, True)
    assert await left(leased, first.claim) == TTL - 3_000


async def test_an_amendment_or_a_plan_that_keeps_it_active_keeps_the_lease(leased: Leased) -> None:
    claim = await leased.acquire(await leased.committed())
    fence = claim.revision
    amended = replace(claim, ask=replace(claim.ask, labels={"x": "y"}))
    claim = (await leased.ledger.amend(amended, key=leased.desk.key(), at=0)).claim
    await leased.commit(claim.becomes(Active(claim.placements, (AWAITING_PLAN,)), at=0))
    assert await leased.renew(claim, fence=fence) == TTL


async def test_the_lease_of_a_closed_claim_is_over(leased: Leased) -> None:
    claim = await leased.acquire(await leased.committed())
    await leased.ledger.cancel(claim.becomes(Cancelled(()), at=0), key=leased.desk.key(), at=0)
    assert await leased.renew(claim) is None
    other = await leased.acquire(await leased.committed("atlas/run-2"))
    await leased.commit(other.becomes(Ended(other.placements), at=0), at=4 * 3600)
    assert await leased.renew(other) is None


async def test_devices_of_a_claim_that_lost_its_place_are_leased_again_only_once_its_holder_has_stopped(
    leased: Leased,
) -> None:
    half = placement(devices=32, end=4)
    lost = await leased.acquire(await leased.committed(place=half))
    kept = await leased.acquire(await leased.committed("atlas/run-2", half))
    await leased.served(4_000)
    await leased.commit(lost.becomes(Displaced((AWAITING_PLAN,)), at=0))
    assert await leased.renew(lost) is None
    assert await leased.renew(kept) == TTL
    newcomer = await leased.committed("atlas/run-3", half)
    with pytest.raises(Fault) as refused:
        await leased.acquire(newcomer)
    assert refused.value.reason is FaultReason.LEASE_HANDOVER
    # Its lease would have ended 6 seconds from now, and its holder may be wrong about the time by a margin.
    await leased.served(6_000 + MARGIN - 500)
    with pytest.raises(Fault):
        await leased.acquire(newcomer)
    await leased.served(500)
    assert (await leased.acquire(newcomer)).state_name == "ACTIVE"


async def test_room_beside_what_may_still_be_in_use_is_leased_at_once(leased: Leased) -> None:
    third = placement(devices=20, end=4)
    lost = await leased.acquire(await leased.committed(place=third))
    await leased.commit(lost.becomes(Displaced((AWAITING_PLAN,)), at=0))
    for number in (2, 3):
        await leased.acquire(await leased.committed(f"atlas/run-{number}", third))
    with pytest.raises(Fault) as refused:
        await leased.acquire(await leased.committed("atlas/run-4", third))
    assert refused.value.reason is FaultReason.LEASE_HANDOVER


async def test_all_that_a_claim_had_in_a_pool_counts_until_its_holder_has_stopped(leased: Leased) -> None:
    """Two parts of it are alike, to the number of devices."""
    stored = await leased.desk.submit("atlas/run-1", devices=32)
    parts = tuple(placement(devices=16, end=4, part=part) for part in range(2))
    await leased.commit(stored.becomes(Committed(parts), at=0))
    lost = await leased.acquire(await leased.ledger.claim(stored.name))
    await leased.commit(lost.becomes(Displaced((AWAITING_PLAN,)), at=0))
    newcomer = await leased.committed("atlas/run-2", placement(devices=48, end=4))
    with pytest.raises(Fault) as refused:
        await leased.acquire(newcomer)
    assert refused.value.reason is FaultReason.LEASE_HANDOVER


async def test_a_holder_that_lost_its_place_counts_as_long_though_the_claim_loses_a_shorter_lease_as_well(
    leased: Leased,
) -> None:
    half = placement(devices=32, end=4)
    lost = await leased.acquire(await leased.committed(place=half))
    await leased.renew(lost, ttl_millis=60_000)
    await leased.commit(lost.becomes(Displaced((AWAITING_PLAN,)), at=0))
    lost = await leased.ledger.claim(lost.name)
    await leased.commit(lost.becomes(Committed((half,)), at=0))
    lost = await leased.acquire(await leased.ledger.claim(lost.name))
    await leased.commit(lost.becomes(Displaced((AWAITING_PLAN,)), at=0))
    newcomer = await leased.committed("atlas/run-2", placement(devices=48, end=4))
    await leased.served(TTL + 2 * MARGIN)
    with pytest.raises(Fault) as refused:
        await leased.acquire(newcomer)
    assert refused.value.reason is FaultReason.LEASE_HANDOVER
    await leased.served(60_000)
    assert (await leased.acquire(newcomer)).state_name == "ACTIVE"


async def test_what_a_closed_claim_had_before_its_time_was_over_may_still_be_in_use(leased: Leased) -> None:
    """A plan finds no time any more for one part, and takes the place of the other."""
    lost = await leased.acquire(await leased.committed())
    await leased.commit(lost.becomes(Expired((AWAITING_PLAN,)), at=0))
    assert await leased.renew(lost) is None
    newcomer = await leased.committed("atlas/run-2")
    with pytest.raises(Fault) as refused:
        await leased.acquire(newcomer)
    assert refused.value.reason is FaultReason.LEASE_HANDOVER


async def test_a_claim_does_not_wait_for_its_own_holder_where_it_stays(leased: Leased) -> None:
    """One part of it is lost, and the lease of both ends by that; the other fills the pool."""
    await leased.desk.open_pools({"dc-1": 64, "dc-2": 64})
    stored = await leased.desk.submit("atlas/run-1", devices=128)
    stays, goes = PLACE, placement("dc-2", 64, end=4, part=1)
    await leased.commit(stored.becomes(Committed((stays, goes)), at=0))
    lost = await leased.acquire(await leased.ledger.claim(stored.name))
    await leased.commit(lost.becomes(Committed((stays,), (AWAITING_PLAN,)), at=0))
    assert (await leased.acquire(await leased.ledger.claim(stored.name))).state_name == "ACTIVE"
    with pytest.raises(Fault) as refused:
        await leased.acquire(await leased.committed("atlas/run-2", placement("dc-2", 64, end=4)))
    assert refused.value.reason is FaultReason.LEASE_HANDOVER


async def test_domains_that_may_still_be_in_use_are_not_leased_to_others_though_there_are_devices(
    leased: Leased,
) -> None:
    def on(*domains: int) -> Placement:
        return placement(devices=16, end=4, domains=tuple(DomainSpan(first, 2, 8) for first in domains))

    lost = await leased.acquire(await leased.committed(place=on(2)))
    beside = await leased.committed("atlas/run-2", on(4))
    same, untold = await leased.committed("atlas/run-3", on(1)), await leased.committed("atlas/run-4", on())
    await leased.commit(lost.becomes(Displaced((AWAITING_PLAN,)), at=0))
    for other in (same, untold):
        with pytest.raises(Fault) as refused:
            await leased.acquire(other)
        assert refused.value.reason is FaultReason.LEASE_HANDOVER
    assert (await leased.acquire(beside)).state_name == "ACTIVE"
    await leased.served(TTL + MARGIN)
    for other in (same, untold):
        assert (await leased.acquire(other)).state_name == "ACTIVE"
