"""A machine of all verbs drives the real ledger and the one in memory side by side; both must answer alike.

So whatever runs on memory, the simulator first of all, runs on what the store does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Claim, ClaimName, Displaced, Held, Placement, Planned, Waiting
from broker.domain.fleet import Maintenance
from broker.domain.slots import Window
from broker.domain.snapshot import EventKind
from broker.ledger.fold import fold, violations
from broker.ledger.memory import MemoryLedger
from broker.ledger.port import Fence, Ledger
from tests.builders import AWAITING_PLAN, claim, fleet, key, plan, pool
from tests.ledger.ledgers import FakeClock, open_redis
from tests.ledger.test_property import (
    MARGIN,
    NAMES,
    Operation,
    known,
    lease,
    leasing,
    operations,
    outcome,
    passing,
    placements,
    state_of,
    submitting,
)

T = TypeVar("T")
_markets = count(1)
names = st.sampled_from(NAMES)
planners = st.sampled_from(["planner-1", "planner-2"])
LEAD_MILLIS = 600_000  # both ledgers' clocks agree that it has not passed
NOWHERE = Fence("another life", 1)


class Ledgers(RuleBasedStateMachine):
    """Both ledgers; each rule does one thing to both and compares what they say."""

    store: ClassVar[str]
    fences = Bundle("fences")
    done = Bundle("done")  # what was done under which request id

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock(1_000.0)
        self.requests = count(1)
        self.redis = self.run(
            open_redis(self.store, f"machine-{next(_markets)}", lease_clock=lambda: int(1000 * self.clock()))
        )
        self.memory = MemoryLedger(incarnation="first", monotonic=self.clock)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def both(self, operation: Operation, request_id: str = "") -> Any:
        """What both ledgers say, once they say the same."""
        request_id = request_id or f"m{next(self.requests)}"
        told = [self.run(outcome(ledger, operation, request_id)) for ledger in (self.redis, self.memory)]
        assert told[0] == told[1]
        return told[0]

    @initialize(devices=st.integers(8, 40))
    def open(self, devices: int) -> None:
        opening = fleet({"dc-1": devices, "dc-2": devices})
        self.both(lambda ledger, r: ledger.apply_fleet(opening, key=key(r), at=0))
        for name in NAMES[:2]:
            self.both(submitting(name))

    @rule(target=done, step=operations())
    def do(self, step: tuple[str, Operation]) -> tuple[str, Operation]:
        """Any verb of callers, operators and planners, from a state that may be stale."""
        request_id = f"m{next(self.requests)}"
        self.both(step[1], request_id)
        return request_id, step[1]

    @rule(target=done, step=leasing(), millis=passing)
    def use(self, step: tuple[str, Operation], millis: int) -> tuple[str, Operation]:
        """Any verb of holders, some time later."""
        self.clock.seconds += millis / 1000
        request_id = f"m{next(self.requests)}"
        self.both(step[1], request_id)
        return request_id, step[1]

    @rule(earlier=done)
    def repeat(self, earlier: tuple[str, Operation]) -> None:
        """The same request again, whatever has happened since."""
        self.both(earlier[1], earlier[0])

    @rule(one=done, name=names)
    def reuse(self, one: tuple[str, Operation], name: str) -> None:
        """Another request under the id of an earlier one."""
        asked, other, plans = claim(name), key(one[0], body_digest="d2"), key(one[0], method="RunPlan")
        self.both(lambda ledger, _: ledger.submit(asked, key=other, at=0))
        self.both(lambda ledger, _: ledger.ask_plan(key=plans, at=0, time_limit_seconds=None))

    @rule(one=done, digest=st.sampled_from(["d1", "d2"]), method=st.sampled_from(["CreateClaim", "CancelClaim"]))
    def recall(self, one: tuple[str, Operation], digest: str, method: str) -> None:
        """What became of a request, as whoever sent it or somebody else asks."""
        asked = key(one[0], body_digest=digest, method=method)
        self.both(lambda ledger, _: ledger.recall(asked))
        changed = replace(asked, method="ApplyFleet")  # no other verb has that
        self.both(lambda ledger, _: ledger.recall_fleet(changed))

    @rule(
        number=st.integers(0, 10**6),
        want=st.lists(placements, max_size=2),
        last=placements,
        moves=st.dictionaries(names, placements, max_size=2),
        stale=st.sampled_from([0, 0, -1]),
        must_fit=st.booleans(),
        held=st.booleans(),
    )
    def make_room(
        self,
        number: int,
        want: list[Placement],
        last: Placement,
        moves: dict[str, Placement],
        stale: int,
        must_fit: bool,
        held: bool,
    ) -> None:
        """A new claim, held or placed, for which others move."""
        asked = claim(f"atlas/new-{number}")
        tries = [
            asked.becomes(Held((place,), until=60) if held else Planned((place,)), at=0) for place in (*want, last)
        ]

        async def submit(ledger: Ledger, r: str) -> Any:
            others = [
                (await known(ledger, name, stale)).becomes(Planned((place,)), at=0) for name, place in moves.items()
            ]
            return await ledger.submit(asked, key=key(r), at=0, candidates=tries, moved=others, must_fit=must_fit)

        self.both(submit)

    @rule(
        devices=st.integers(0, 24),
        window=st.tuples(st.integers(0, 4), st.integers(1, 4)),
        stale=st.sampled_from([0, 0, 1]),
        dry_run=st.booleans(),
    )
    def lose_supply(self, devices: int, window: tuple[int, int], stale: int, dry_run: bool) -> None:
        """Devices of the first pool are away for a while, in a fleet that is or was the one in force."""

        async def change(ledger: Ledger, r: str) -> Any:
            present, ruling = await ledger.fleet_revision(), await ledger.fleet()
            away = Maintenance(devices, 3600 * window[0], 3600 * (window[0] + window[1]))
            pools = tuple(replace(one, maintenance=(away,)) if one.id == "dc-1" else one for one in ruling.pools)
            after = replace(ruling, pools=pools or (pool(),))
            return await ledger.apply_fleet(after, key=key(r), at=0, dry_run=dry_run, expected=present - stale)

        self.both(change)

    @rule(target=fences, planner=planners)
    def lead(self, planner: str) -> Any:
        """A planner takes the lease or renews it, unless the other has it."""
        fence = self.both(lambda ledger, _: ledger.lead(planner, ttl_millis=LEAD_MILLIS))
        return multiple() if fence is None else fence

    @rule(planner=planners)
    def step_down(self, planner: str) -> None:
        """A planner lets go of the lease, if it is its own."""
        self.both(lambda ledger, _: ledger.lead(planner, ttl_millis=0))

    @rule(
        fence=st.one_of(fences, fences, fences, st.just(NOWHERE)),
        moves=st.dictionaries(names, st.one_of(placements, st.none()), max_size=4),
        stale=st.sampled_from([0, 0, 0, -1]),
        price=st.one_of(st.none(), st.integers(0, 2**40)),
    )
    def put_into_force(self, fence: Fence, moves: dict[str, Placement | None], stale: int, price: int | None) -> None:
        """A plan that places and displaces, with its prices, by a planner that may have been deposed."""
        prices = None if price is None else BidPrices(0, {"dc-1": (price, 0)}, {})

        async def commit(ledger: Ledger, _: str) -> Any:
            rows = [await moved(ledger, name, place, stale) for name, place in moves.items()]
            return await ledger.commit(rows, plan(), fence=fence, at=0, prices=prices)

        self.both(commit)
        self.both(lambda ledger, _: ledger.prices())
        self.both(lambda ledger, _: ledger.plan(None))

    @rule(name=names, ttl=st.sampled_from([1_000, 3_000]))
    def hand_over(self, name: str, ttl: int) -> None:
        """A holder loses its place by a plan, and whoever comes next asks for a lease there."""
        self.both(lambda ledger, r: lease(ledger, "acquire", name, 0, r, 0, ttl))

        async def displace(ledger: Ledger, _: str) -> Any:
            fence = await ledger.lead("planner-1", ttl_millis=LEAD_MILLIS) or NOWHERE
            return await ledger.commit([await moved(ledger, name, None, 0)], plan(), fence=fence, at=0)

        self.both(displace)
        for other in NAMES[:2]:
            self.both(lambda ledger, r, other=other: lease(ledger, "acquire", other, 0, r, 0, ttl))  # type: ignore[misc]

    @rule(millis=st.sampled_from([0, 500, 1_900, 5_000, -3_000]))
    def serve(self, millis: int) -> None:
        """Somebody looks at the clock, which may have leapt, and ends what is over."""
        self.clock.seconds += millis / 1000
        late = self.both(lambda ledger, _: ledger.overdue(margin_millis=MARGIN, limit=2))
        for name in late:
            self.both(lambda ledger, r, name=name: lease(ledger, "expire", name.key, 0, r, 0, 1_000))  # type: ignore[misc]

    @rule(
        tenant=st.sampled_from([None, "atlas", "atlas2", "borealis"]),
        after=st.one_of(st.none(), names),
        limit=st.integers(1, 4),
    )
    def read(self, tenant: str | None, after: str | None, limit: int) -> None:
        """Pages, and events from anywhere."""
        begin = None if after is None else ClaimName(*after.split("/"))
        self.both(lambda ledger, _: ledger.claims(tenant=tenant, after=begin, limit=limit))
        self.both(lambda ledger, _: ledger.events(limit, limit=limit))
        self.both(lambda ledger, _: ledger.events(10**6, limit=limit))

    @rule(fence=consumes(fences))
    def forget(self, fence: Fence) -> None:
        """A planner that is gone."""

    def teardown(self) -> None:
        """All that can be read is the same, and what the log folds to; no rule of ledgers was broken."""
        try:
            assert self.run(state_of(self.redis)) == self.run(state_of(self.memory))
            events = self.run(self.redis.events(0, limit=10_000))
            # Who makes room here does so by chance, and keeps no promise.
            by_chance = {event.revision for event in events if event.kind is EventKind.SUBMITTED and event.claims[1:]}
            broken = violations(events, promises=False)
            assert [one for one in broken if int(one.split()[1].rstrip(":")) not in by_chance] == []
            market, snapshot = fold(events), self.run(self.redis.snapshot())
            assert tuple(c for _, c in sorted(market.claims.items()) if c.live) == snapshot.claims
            for balance in self.run(self.redis.balances(Window(0, 264)))[1]:
                assert balance.granted == tuple(market.books.granted(balance.account).over(Window(0, 264)))
        finally:
            self.run(self.redis.close())
            self.loop.close()


async def moved(ledger: Ledger, name: str, place: Placement | None, stale: int) -> Claim:
    """The claim as a plan would have it: placed there, or displaced from where it was."""
    now = await known(ledger, name, stale)
    if place is not None:
        return now.becomes(Planned((place,)), at=0)
    return now.becomes(Displaced((AWAITING_PLAN,)) if now.placements else Waiting((AWAITING_PLAN,)), at=0)


@pytest.fixture(scope="module")
def machine(valkey: str) -> type[Ledgers]:
    """The machine, on a real store."""
    Ledgers.store = valkey
    return Ledgers


def test_both_ledgers_answer_alike_whatever_is_done(machine: type[Ledgers]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
