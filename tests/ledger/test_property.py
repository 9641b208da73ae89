"""Whatever is done, in whatever order and at whatever time: both ledgers answer alike, and the log keeps the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.domain.claim import Active, Cancelled, Claim, ClaimName, Displaced, Ended, Placement, Planned, Tier, Waiting
from broker.domain.faults import Fault
from broker.domain.slots import Window
from broker.ledger.fold import fold, violations
from broker.ledger.memory import MemoryLedger
from broker.ledger.port import Fence, Ledger, Renewal
from tests.builders import AWAITING_PLAN, claim, fleet, key, placement, plan
from tests.ledger.ledgers import FakeClock, open_redis

NAMES = [f"{tenant}/run-{i}" for tenant in ("atlas", "borealis") for i in range(3)]
_markets = count(1)

Operation = Callable[[Ledger, str], Any]

placements = st.builds(
    lambda pool, devices, first, slots: placement(pool, devices, first, first + slots),
    st.sampled_from(["dc-1", "dc-2"]),
    st.integers(1, 12),
    st.sampled_from([0, 1, 2, 254, 256]),
    st.integers(1, 6),
)
states = st.one_of(
    st.just(Waiting((AWAITING_PLAN,))),
    st.just(Displaced((AWAITING_PLAN,))),
    st.lists(placements, min_size=1, max_size=2).map(lambda made: Planned(tuple(made))),
    placements.map(lambda made: Ended((made,))),
    placements.map(lambda made: Active((made,))),
)
MARGIN = 1_000
passing = st.sampled_from(
    [0, 0, 500, 1_900, 1_900, 1_900, 2_500]
)  # milliseconds before a call; more than 2,000: nobody served
staleness = st.sampled_from([0, 0, 0, -1])
VERBS = ("submit", "submit", "amend", "cancel", "commit", "commit", "commit", "fleet", "ask")
LEASING = ("acquire", "acquire", "renew", "release", "expire", "overdue")


async def known(ledger: Ledger, name: str, stale: int) -> Claim:
    """The claim as it is now or, to be refused, as if it were older; an invented one when there is none."""
    try:
        found = await ledger.claim(ClaimName(*name.split("/")))
    except Fault:
        return claim(name, revision=1)
    return replace(found, revision=found.revision + stale)


@st.composite
def operations(draw: st.DrawFn) -> tuple[str, Operation]:
    """One call, and its name."""
    name, stale, at = draw(st.sampled_from(NAMES)), draw(staleness), draw(st.sampled_from([0, 3600, 7200]))
    match draw(st.sampled_from(VERBS)):
        case "submit":
            value = draw(st.sampled_from([1, 2**63 - 1]))
            tier = draw(st.sampled_from(Tier))
            lent = tier is Tier.SPOT and draw(st.booleans())
            asked = claim(name, value_microusd=value, tier=tier, on_loan=lent)
            tries = [asked.becomes(Planned((place,)), at=at) for place in draw(st.lists(placements, max_size=3))]
            return f"submit {name} {tries}", lambda ledger, r: ledger.submit(asked, key=key(r), at=at, candidates=tries)
        case "amend":
            state = draw(states)

            async def amend(ledger: Ledger, r: str) -> Any:
                return await ledger.amend((await known(ledger, name, stale)).becomes(state, at=at), key=key(r), at=at)

            return f"amend {name} {state}", amend
        case "cancel":
            used: tuple[Placement, ...] = draw(st.lists(placements, max_size=1).map(tuple))

            async def cancel(ledger: Ledger, r: str) -> Any:
                gone = (await known(ledger, name, stale)).becomes(Cancelled(used), at=at)
                return await ledger.cancel(gone, key=key(r), at=at)

            return f"cancel {name} {used}", cancel
        case "commit":
            moves = draw(st.dictionaries(st.sampled_from(NAMES), st.tuples(states, staleness), max_size=4))

            async def commit(ledger: Ledger, r: str) -> Any:
                fence = await ledger.lead("planner", ttl_millis=60_000) or Fence("", 0)
                rows = [(await known(ledger, n, old)).becomes(state, at=at) for n, (state, old) in moves.items()]
                return await ledger.commit(rows, plan(), fence=fence, at=at)

            return f"commit {moves} at {at}", commit
        case "fleet":
            pools = {pool: draw(st.integers(0, 24)) for pool in draw(st.sampled_from([["dc-1"], ["dc-1", "dc-2"]]))}
            quota, dry_run = draw(st.sampled_from([None, 10])), draw(st.booleans())
            made = fleet(pools, {"atlas": quota, "borealis": None}, draw(st.sampled_from([{}, {"atlas": 9}])))
            expected = draw(st.sampled_from([None, None, 0, 1]))

            async def declare(ledger: Ledger, r: str) -> Any:
                known = expected and await ledger.fleet_revision()
                return await ledger.apply_fleet(
                    made, key=key(r, method="ApplyFleet"), at=at, dry_run=dry_run, expected=known
                )

            return f"fleet {pools}", declare
        case _:
            return "ask", lambda ledger, r: ledger.ask_plan(
                key=key(r, method="RunPlan"), at=at, time_limit_seconds=at or None
            )


@st.composite
def leasing(draw: st.DrawFn) -> tuple[str, Operation]:
    """One call about a lease, and its name."""
    verb, name, stale = draw(st.sampled_from(LEASING)), draw(st.sampled_from(NAMES[:2])), draw(staleness)
    at, ttl = draw(st.sampled_from([0, 3600, 7200])), draw(st.sampled_from([1_000, 3_000]))
    return f"{verb} {name}", lambda ledger, r: lease(ledger, verb, name, stale, r, at, ttl)


def submitting(name: str) -> Operation:
    """A new claim, placed for a while from now on if there is room."""
    asked = claim(name)
    placed = asked.becomes(Planned((placement(devices=4, end=6),)), at=0)
    return lambda ledger, r: ledger.submit(asked, key=key(r), at=0, candidates=[placed])


async def lease(ledger: Ledger, verb: str, name: str, stale: int, request_id: str, at: int, ttl_millis: int) -> Any:
    """One of the verbs of leases, on the claim as it is now, and what is left of its lease then."""
    found, done = await known(ledger, name, stale), key(request_id)
    record = await ledger.lease(found.name)
    fence = (record.fence if record is not None else found.revision) + stale
    over = found.becomes(Ended(()), at=at)
    answer: Any
    match verb:
        case "acquire":
            active = found.becomes(Active(found.placements), at=at)
            answer = await ledger.acquire(active, key=done, at=at, ttl_millis=ttl_millis, margin_millis=MARGIN)
        case "renew":
            answer = await ledger.renew([Renewal(found.name, fence, ttl_millis % 3_000)])
        case "release":
            answer = await ledger.release(over, fence=fence, key=done, at=at)
        case "expire":
            answer = await ledger.expire(over, margin_millis=MARGIN, key=done, at=at)
        case _:
            answer = await ledger.overdue(margin_millis=MARGIN, limit=10)
    return answer, await ledger.lease(found.name)


async def outcome(ledger: Ledger, operation: Operation, request_id: str) -> Any:
    """What it answered or why it was refused."""
    try:
        return await operation(ledger, request_id)
    except Fault as fault:
        return fault.reason, fault.facts


async def state_of(ledger: Ledger) -> Any:
    """Everything that can be read."""
    return (
        await ledger.snapshot(),
        await ledger.claims(tenant=None, after=None, limit=100),
        await ledger.balances(Window(0, 264)),
        await ledger.events(0, limit=1000),
        await ledger.fleet_revision(),
    )


async def run(url: str, steps: list[tuple[str, Operation, bool, int]]) -> None:
    clock = FakeClock(1_000.0)
    redis = await open_redis(url, f"property-{next(_markets)}", lease_clock=lambda: int(1000 * clock()))
    memory = MemoryLedger(incarnation="first", monotonic=clock)
    for i, (name, operation, again, millis) in enumerate(steps):
        clock.seconds += millis / 1000
        for turn in range(1 + again):
            told = [await outcome(ledger, operation, f"r{i}") for ledger in (redis, memory)]
            assert told[0] == told[1], (name, turn)
    assert await state_of(redis) == await state_of(memory)
    events = await redis.events(0, limit=1000)
    market, snapshot = fold(events), await redis.snapshot()
    # These plans are made by chance and promise nothing.
    assert violations(events, promises=False) == ()
    assert market.revision == snapshot.revision == len(events)
    assert market.fleet == snapshot.fleet
    assert tuple(c for _, c in sorted(market.claims.items()) if c.live) == snapshot.claims
    for balance in (await redis.balances(Window(0, 264)))[1]:
        assert balance.granted == tuple(market.books.granted(balance.account).over(Window(0, 264)))
        assert balance.limit == market.books.limit(balance.account)
    await redis.close()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.one_of(operations(), leasing()), st.booleans(), passing).map(lambda s: (*s[0], s[1], s[2])),
        max_size=25,
    ),
    devices=st.integers(4, 40),
)
def test_both_ledgers_answer_alike_and_keep_the_rules(
    valkey: str, steps: list[tuple[str, Operation, bool, int]], devices: int
) -> None:
    opening = fleet({"dc-1": devices, "dc-2": devices}, loans={"atlas": 12, "borealis": 20})
    first = ("open", lambda le, r: le.apply_fleet(opening, key=key(r), at=0), False, 0)
    # The two that may be leased are there from the start.
    there = [(f"submit {n}", submitting(n), False, 0) for n in NAMES[:2]]
    asyncio.run(run(valkey, [first, *there, *steps]))
