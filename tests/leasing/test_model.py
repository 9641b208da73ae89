"""Two servers, a planner and a real store, in virtual time: whatever happens, no device has two holders.

The model knows true time. Holders behave as they are told to: they stop a margin before their lease ends, counted from
when they sent what was answered. The clock that times leases leaps about, servers are away for hours, supply comes and
goes, holders forget to renew, and spot work that runs is told to give way to what cannot wait.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import count

import pytest

from broker.desk import Desk
from broker.domain.claim import Active, Ask, Claim, ClaimName, Preemption, Tier
from broker.domain.faults import Fault, FaultReason
from broker.domain.preemption import PREEMPTIONS_MAX, preemptions
from broker.domain.slots import SLOT_SECONDS, slot_of
from broker.domain.snapshot import Event, EventKind
from broker.feed import Feed
from broker.leasing import Lease, LeaseTerms, Leasing
from broker.ledger.fold import violations
from broker.ledger.port import RequestKey
from broker.ledger.redis import RedisLedger
from broker.planner import Planner, PlannerSettings
from tests import builders
from tests.ledger.ledgers import open_redis
from tests.world import NOON, InlineSolver, until

STEPS = 160
LOANS = {"atlas": 48}
TERMS = LeaseTerms(ttl=20_000)
REFUSED = {
    *(FaultReason.LEASE_ENDED, FaultReason.LEASE_EXPIRED, FaultReason.LEASE_RELEASED, FaultReason.LEASE_TOO_EARLY),
    *(FaultReason.LEASE_HANDOVER, FaultReason.NOT_PLACED, FaultReason.CLAIM_CLOSED, FaultReason.CONTENDED),
}
_markets = count(1)


@dataclass
class Holder:
    """Who uses devices of pools until ``stop`` (true milliseconds)."""

    lease: Lease
    stop: int

    def uses(self, now: int) -> dict[str, int]:
        """Devices by pool that it may be using."""
        slot = slot_of(now // 1000)
        if now >= self.stop:
            return {}
        return {place.pool: place.devices for place in self.lease.claim.placements if slot in place.window}


@dataclass
class Model:
    """What is true; times in milliseconds."""

    rng: random.Random
    ledgers: tuple[RedisLedger, RedisLedger]
    desks: tuple[Desk, ...] = ()
    servers: tuple[Leasing, ...] = ()
    feeds: tuple[Feed, ...] = ()
    planner: Planner | None = None
    now: int = NOON * 1000
    leap: int = 0
    hurried: int = 0
    supply: dict[str, int] = field(default_factory=lambda: {"dc-1": 64, "dc-2": 32})
    names: list[ClaimName] = field(default_factory=list)
    holders: list[Holder] = field(default_factory=list)
    keys: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    seen: dict[str, int] = field(default_factory=dict)
    crowded: bool = False

    def key(self, tenant: str = "atlas") -> RequestKey:
        return RequestKey(tenant, "Test", f"r-{self.keys()}", "digest")

    async def told(self) -> None:
        """Once both feeds have seen all."""
        revision = await self.ledgers[0].revision()
        await until(lambda: all(feed.revision >= revision for feed in self.feeds))

    async def step(self) -> None:
        """One thing that happens, and what must be true then."""
        await self.do(self.rng.choices(list(self.chances()), list(self.chances().values()))[0])

    async def do(self, happens: Callable[[], Awaitable[str | None]]) -> None:
        """This, and what must be true then."""
        outcome = "nothing"
        try:
            outcome = await happens() or happens.__name__
        except Fault as fault:
            outcome = fault.reason.name
            if fault.reason not in REFUSED:
                raise
        self.seen[outcome] = self.seen.get(outcome, 0) + 1
        await self.told()
        self.assert_terms()

    def chances(self) -> dict[Callable[[], Awaitable[str | None]], int]:
        """What may happen, and how often."""
        return {
            self.ask: 4,
            self.plan: 3,
            self.acquire: 6,
            self.renew: 6,
            self.release: 1,
            self.serve: 5,
            self.leave: 2,
            self.set_clock: 1,
            self.hurry_clock: 2,
            self.change_supply: 1,
            **({self.crowd: 6, self.urge: 6, self.pass_an_hour: 10, self.acquire: 12} if self.crowded else {}),
        }

    async def ask(self) -> None:
        asked = builders.ask(
            self.rng.choice([8, 16, 32]), self.rng.choice([1, 2, 4]), gang=True, tier=self.rng.choice(list(Tier))
        )
        await self.submit(asked)

    async def crowd(self) -> None:
        """Spot work that takes long, on terms of its own; some of it on loan."""
        terms = Preemption(*(self.rng.choice(most) for most in ((0, 0, 1, 3), (1, 1, 2), (0, 1, 1))))
        devices, hours = self.rng.choice([16, 24, 40]), self.rng.choice([6, 12, 24])
        asked = builders.ask(
            *(devices, hours),
            gang=True,
            tier=Tier.SPOT,
            preemption=terms,
            on_loan=self.rng.random() < 0.4,
            value_microusd=2_000_000 * devices * hours,
        )
        await self.submit(asked)

    async def urge(self) -> None:
        """Work of a higher tier that has to begin soon."""
        devices, hours = self.rng.choice([16, 24, 40]), self.rng.choice([1, 2])
        asked = builders.ask(
            *(devices, hours),
            gang=True,
            tier=self.rng.choice([Tier.STANDARD, Tier.GUARANTEED]),
            latest=slot_of(self.now // 1000) + self.rng.choice([2, 3]),
            value_microusd=60_000_000 * devices * hours,
        )
        await self.submit(asked)

    async def submit(self, asked: Ask) -> None:
        receipt = await self.rng.choice(self.desks).submit("atlas", "", asked, self.key())
        self.names.append(receipt.claim.name)

    async def pass_an_hour(self) -> None:
        """Nobody serves until shortly before the next hour; most holders renew until it begins; then it is planned."""
        end = (slot_of(self.now // 1000) + 1) * SLOT_SECONDS * 1000
        self.now = max(self.now, end - TERMS.ttl // 2)
        kept = [holder for holder in self.holders if self.rng.random() < 0.9]
        while self.now < end:
            self.now += min(500, end - self.now)
            await self.rng.choice(self.servers).lapse()
            for holder in kept:
                if holder.stop - self.now < TERMS.ttl // 2:
                    with suppress(Fault):  # given back, taken over, or at the end of its time
                        await self.prolong(holder)
        await self.told()
        await self.plan()

    async def plan(self) -> None:
        assert self.planner is not None
        fence = await self.ledgers[0].lead("test", ttl_millis=600_000)
        assert fence is not None
        await self.planner.cycle(fence, seconds=1.0)

    async def acquire(self) -> str | None:
        due = [c.name for c in self.feeds[0].outlook.claims.values() if c.placements and self.started(c)]
        if not due + self.names:
            return "nothing"
        name, sent = self.rng.choice(due or self.names), self.now
        known = self.feeds[0].outlook.claims.get(name)
        lease = await self.rng.choice(self.servers).acquire(name, ttl_millis=0, key=self.key())
        self.hold(lease, sent)
        if known is None or not isinstance(known.state, Active):
            # Who takes over from another holder uses no more than that one did.
            self.assert_room({place.pool for place in lease.claim.placements})
        return None

    def started(self, claim: Claim) -> bool:
        return claim.placements[0].window.first * SLOT_SECONDS * 1000 <= self.now

    async def renew(self) -> str | None:
        using = [holder for holder in self.holders if holder.uses(self.now)]
        if not using:
            return "nothing"
        await self.prolong(self.rng.choice(using))
        return None

    async def prolong(self, holder: Holder) -> None:
        sent, token = self.now, holder.lease.token
        lease = await self.rng.choice(self.servers).renew(holder.lease.claim.name, token, ttl_millis=0)
        assert lease.fence == holder.lease.fence
        holder.lease, holder.stop = replace(lease, token=token), sent + lease.millis_left - TERMS.skew

    async def release(self) -> None:
        if self.holders:
            holder = self.rng.choice(self.holders)
            holder.stop = self.now
            await self.rng.choice(self.servers).release(holder.lease.claim.name, holder.lease.token, key=self.key())

    async def serve(self) -> None:
        """Time passes while one server or the other looks at the clock twice a second."""
        for _ in range(2 * self.rng.choice([1, 5, 15, 25])):
            self.now += 500
            await self.rng.choice(self.servers).lapse()

    async def leave(self) -> None:
        """Nobody serves for a while."""
        self.now += self.rng.choice([3_000, 60_000, *[SLOT_SECONDS * 1000] * 2])

    async def set_clock(self) -> None:
        """The clock that times leases is set forward or back."""
        self.leap += self.rng.choice([-3_600_000, -1_000, 3_000, 3_600_000])

    async def hurry_clock(self) -> None:
        """That clock runs ahead by as much as it may within a ttl."""
        if self.now - self.hurried > TERMS.ttl + 2 * TERMS.margin:
            self.leap, self.hurried = self.leap + TERMS.skew, self.now

    async def change_supply(self) -> None:
        """Devices go, or come back."""
        self.supply["dc-1"] = 64 if self.supply["dc-1"] < 64 else 40
        made = builders.fleet(self.supply, loans=LOANS)
        await self.ledgers[0].apply_fleet(made, key=self.key("-"), at=self.now // 1000)

    def hold(self, lease: Lease, sent: int) -> None:
        """Another holder; whoever had the lease before is fenced off by its pools, which know the later token."""
        self.holders = [one for one in self.holders if one.lease.claim.name != lease.claim.name]
        self.holders.append(Holder(lease, sent + lease.millis_left - TERMS.skew))

    def assert_terms(self) -> None:
        """Nobody was told more often than may be, and no lease outlasts what its claim still has."""
        claims = self.feeds[0].outlook.claims
        for claim in claims.values():
            assert preemptions(claim) <= PREEMPTIONS_MAX, claim.name
        for holder in self.holders:
            present = claims.get(holder.lease.claim.name)
            if present is not None and isinstance(present.state, Active) and holder.uses(self.now):
                end = max(place.window.end for place in present.placements) * SLOT_SECONDS * 1000
                assert holder.stop <= end, (present.name, holder.stop, end)

    def assert_room(self, pools: Iterable[str]) -> None:
        """What holders may be using is there: checked where somebody begins, as what is lost meanwhile is lost."""
        for pool in pools:
            devices = self.supply[pool]
            used = sum(holder.uses(self.now).get(pool, 0) for holder in self.holders)
            assert used <= devices, (pool, used, devices)


@pytest.fixture
async def model(valkey: str, seed: int) -> AsyncIterator[Model]:
    market = f"leases-{next(_markets)}"
    made: Model
    async with AsyncExitStack() as stack:
        ledgers = []
        for number in range(2):
            opened = await open_redis(
                valkey, market, create=number == 0, lease_clock=lambda: made.now + made.leap
            )  # both read the same clock
            stack.push_async_callback(opened.close)
            ledgers.append(opened)
        made = Model(random.Random(seed), (ledgers[0], ledgers[1]))
        made.feeds = tuple([await stack.enter_async_context(Feed(ledger)) for ledger in ledgers])

        def seconds() -> int:
            return made.now // 1000

        ids = map("c-{:04d}".format, count())
        pairs = list(zip(ledgers, made.feeds, strict=True))
        made.desks = tuple(Desk(ledger, feed, seconds, ids.__next__) for ledger, feed in pairs)
        made.servers = tuple(Leasing(ledger, feed, seconds, TERMS) for ledger, feed in pairs)
        settings = PlannerSettings(horizon_slots=3 * 24)
        made.planner = Planner(ledgers[0], InlineSolver(work=50), seconds, "test", settings)
        fleet = builders.fleet(made.supply, loans=LOANS)
        await ledgers[0].apply_fleet(fleet, key=made.key("-"), at=seconds())
        await made.told()
        yield made
        # Every revision kept every rule, promises of the planner included.
        events = await ledgers[0].events(0, limit=100_000)
        assert violations(events) == ()
        assert_nothing_granted_and_taken(events)


def assert_nothing_granted_and_taken(events: Iterable[Event]) -> None:
    """Whoever is told by a plan to give way gains nothing by it, and had its place before."""
    known: dict[ClaimName, Claim] = {}
    for event in events:
        for claim in event.claims:
            before = known.get(claim.name)
            had = before.placements if before is not None else ()
            cut = {(p.part, p.window.first) for p in claim.placements if p.left_ppm} - {
                (p.part, p.window.first) for p in had if p.left_ppm
            }
            if cut and event.kind is EventKind.PLANNED:
                assert {(p.part, p.window.first) for p in claim.placements} <= {(p.part, p.window.first) for p in had}
            known[claim.name] = claim


@pytest.mark.parametrize("run", range(3))
async def test_no_device_ever_has_two_holders(model: Model, run: int) -> None:
    for first in (model.ask, model.ask, model.plan, model.acquire):
        await model.do(first)
    assert model.seen == {"ask": 2, "plan": 1, "acquire": 1}
    for _ in range(STEPS):
        await model.step()


@pytest.mark.parametrize("run", range(2))
async def test_who_is_told_to_give_way_has_stopped_when_its_place_is_taken(model: Model, run: int) -> None:
    model.crowded = True
    model.supply |= {"dc-2": 0}
    await model.do(model.change_supply)
    await model.do(model.change_supply)
    long = builders.ask(64, 24, gang=True, tier=Tier.SPOT, value_microusd=64 * 24 * 2_000_000)
    await model.submit(long)
    for happens in (model.plan, model.acquire, model.pass_an_hour):
        await model.do(happens)
    urgent = builders.ask(64, 1, gang=True, latest=slot_of(model.now // 1000) + 2, value_microusd=64 * 99_000_000)
    await model.submit(urgent)
    await model.do(model.plan)
    (told,) = [claim for claim in model.feeds[0].outlook.claims.values() if preemptions(claim)]
    assert isinstance(told.state, Active)
    model.supply |= {"dc-2": 32}
    await model.do(model.change_supply)
    await model.do(model.change_supply)
    for _ in range(STEPS):
        await model.step()
    everyone = await model.ledgers[0].claims(tenant=None, after=None, limit=1_000)
    counts = [preemptions(claim) for claim in everyone.claims]
    assert 1 <= max(counts) <= PREEMPTIONS_MAX
