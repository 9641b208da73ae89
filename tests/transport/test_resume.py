"""A watch resumes at any revision while history is trimmed: no gap, no duplicate, an exact boundary; filters too."""

from __future__ import annotations

import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import product

import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import planning_service_pb2 as planning

from broker.domain.claim import Claim, ClaimName, Held
from broker.domain.faults import Fault, FaultReason
from broker.domain.snapshot import Event
from broker.feed import Feed, FeedSettings, Interest
from broker.ledger.memory import MemoryLedger
from broker.ledger.port import Ledger
from tests import builders
from tests.ledger.ledgers import Desk, FakeClock, open_redis
from tests.transport.calls import claim, create
from tests.world import World, until, world

KEPT = 100
EVERYTHING = Interest()
SETTINGS = FeedSettings(progress_seconds=0.02, batch_events=25)
Change = tuple[int, ClaimName]


@dataclass
class Told:
    """What one watch told, and what ended it; ``far`` is the last revision it was through with."""

    changes: list[Change]
    far: int
    fault: Fault | None = None


async def follow(
    feed: Feed,
    start: int,
    until_revision: int,
    interest: Interest = EVERYTHING,
    pause: Callable[[], Awaitable[object]] | None = None,
) -> Told:
    """Watch from ``start`` until everything up to a revision is told; ``pause`` happens after each change."""
    told = Told([], start - 1)
    watch = feed.watch(start, interest)
    try:
        async for changes in watch:
            assert changes.revision >= told.far, "never back"
            told.far = changes.revision
            told.changes += [(changes.revision, c.name) for c in changes.claims]
            if told.far >= until_revision:
                break
            if pause is not None and changes.claims:
                await pause()
    except Fault as fault:
        told.fault = fault
    finally:
        await watch.aclose()  # type: ignore[attr-defined] # it is a generator
    return told


@pytest.fixture(params=["memory", "redis"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Ledger]:
    """An empty ledger that keeps about a hundred events."""
    made: Ledger
    if request.param == "memory":
        made = MemoryLedger(incarnation="first", monotonic=FakeClock(), log_events_max=KEPT)
    else:
        market = f"resume-{random.SystemRandom().randrange(10**9)}"
        made = await open_redis(request.getfixturevalue("valkey"), market, log_events_max=KEPT)
    yield made
    await made.close()


async def oldest(ledger: Ledger) -> int:
    try:
        return (await ledger.events(0, limit=1))[0].revision
    except Fault as trimmed:
        return int(trimmed.facts["oldest_revision"])


async def test_it_resumes_at_every_revision_while_history_is_trimmed(ledger: Ledger) -> None:
    desk = Desk(ledger)
    async with Feed(ledger, SETTINGS) as feed:
        for n in range(300):
            await desk.submit(f"atlas/run-{n}")
        start = 1
        while start <= (present := await ledger.revision()):
            await until(lambda: feed.revision >= present)
            first = await oldest(ledger)
            told = await follow(feed, start, present)
            if start < first:
                assert told.fault is not None
                assert told.fault.reason is FaultReason.COMPACTED
                assert (told.fault.facts["oldest_revision"], told.changes) == (str(first), [])
            else:
                assert told.fault is None
                assert [revision for revision, _ in told.changes] == list(range(start, present + 1))
            if start % 3 == 0 and start < 300:
                await desk.submit(f"borealis/run-{start}")  # so that the boundary moves
            start += 1
        assert present == 300 + 99
        assert await oldest(ledger) > 1


async def test_history_that_is_trimmed_under_a_reader_ends_the_watch_and_leaves_no_gap(ledger: Ledger) -> None:
    desk = Desk(ledger)
    numbers: Iterator[int] = iter(range(10**6))

    async def commit() -> None:
        for _ in range(8):
            await desk.submit(f"atlas/run-{next(numbers)}")

    async with Feed(ledger, SETTINGS) as feed:
        for _ in range(15):
            await commit()
        present = await ledger.revision()
        await until(lambda: feed.revision >= present)
        start = await oldest(ledger)
        told = await follow(feed, start, present + 10**6, pause=commit)
        assert told.fault is not None
        assert told.fault.reason is FaultReason.COMPACTED
        assert [revision for revision, _ in told.changes] == list(range(start, told.far + 1))
        assert told.far + 1 < int(told.fault.facts["oldest_revision"]), "what comes next is gone indeed"


@asynccontextmanager
async def lively() -> AsyncIterator[tuple[World, list[Event]]]:
    """Two hundred events of claims that come, wait, are planned, held, changed, displaced and cancelled."""
    rng = random.Random(5)
    async with world(feed_settings=replace(SETTINGS, progress_seconds=0.001)) as w:
        await w.declare(builders.fleet({"dc-1": 64}))
        names: list[ClaimName] = []
        for turn in range(190):
            revision = await w.ledger.revision()
            await until(lambda: w.feed.revision >= revision)  # noqa: B023 - used before the next turn
            live = [name for name in names if (await w.claim(name)).live]
            match rng.randrange(8) if len(live) > 3 else 0:
                case 0 | 1 | 2:
                    names.append(
                        await w.ask(
                            builders.ask(8, earliest=w.slot + 5, latest=w.slot + 6), rng.choice(["atlas", "borealis"])
                        )
                    )
                case 3:
                    name = rng.choice(live)
                    await w.desk.cancel(name, etag="", key=w.key(name.tenant))
                case 4 | 5:
                    name = rng.choice(live)
                    if not isinstance((await w.claim(name)).state, Held):
                        edit = lambda ask, turn=turn: replace(ask, labels={"turn": str(turn)})  # noqa: E731
                        await w.desk.amend(name, edit, etag="", key=w.key(name.tenant))
                case 6:
                    ask = builders.ask(8, earliest=w.slot + 50)
                    _, receipt = await w.desk.hold("atlas", "", ask, w.key(), seconds=60, most=1)
                    names += [receipt.claim.name] if receipt is not None else []
                case _:
                    await w.declare(builders.fleet({"dc-1": rng.choice([8, 16, 32, 64])}))
                    await w.plan()
        revision = await w.ledger.revision()
        await until(lambda: w.feed.revision >= revision)
        yield w, list(await w.ledger.events(0, limit=10_000))


def expected(events: Sequence[Event], interest: Interest, start: int) -> list[Change]:
    """What a watch must tell, by following every claim from the first event on."""
    was: dict[ClaimName, str] = {}
    found: list[Change] = []
    for event in events:
        for c in event.claims:
            now, before = c.state_name, was.get(c.name, "")
            seen = not interest.states or bool({now, before} & interest.states)
            named = interest.tenant in (None, c.name.tenant) and (not interest.names or c.name in interest.names)
            if event.revision >= start and seen and named:
                found.append((event.revision, c.name))
            was[c.name] = now
    return found


async def test_filters_are_exact_at_every_revision() -> None:
    async with lively() as (w, events):
        states = {c.state_name for event in events for c in event.claims}
        assert states >= {"WAITING", "PLANNED", "DISPLACED", "CANCELLED", "HELD"}
        names = sorted({c.name for event in events for c in event.claims})
        mine = frozenset(name for name in names[::7] if name.tenant == "atlas")
        limits = [
            *(frozenset({state}) for state in sorted(states)),
            frozenset({"PLANNED", "COMMITTED"}),
            frozenset[str](),
        ]
        last = events[-1].revision
        for (tenant, few), limit in product([(None, frozenset[ClaimName]()), ("atlas", mine)], limits):
            interest = Interest(tenant, few, limit)
            for start in range(1, last + 1, 1 if limit == {"PLANNED"} else 17):
                told = await follow(w.feed, start, last, interest)
                assert (told.changes, told.fault) == (expected(events, interest, start), None), (interest, start)

        # Whoever keeps what is planned and drops the rest has the right picture all along.
        picture: set[ClaimName] = set()
        truth: dict[ClaimName, str] = {}
        shown: dict[int, tuple[Claim, ...]] = {}
        watch = w.feed.watch(1, Interest(states=frozenset({"PLANNED"})))
        async for changes in watch:
            if changes.claims:
                shown[changes.revision] = changes.claims
            if changes.revision >= events[-1].revision:
                break
        for event in events:
            truth |= {c.name: c.state_name for c in event.claims}
            for c in shown.get(event.revision, ()):
                (picture.add if c.state_name == "PLANNED" else picture.discard)(c.name)
            assert picture == {name for name, state in truth.items() if state == "PLANNED"}, event.revision


async def test_a_live_watch_tells_what_a_resumed_one_tells(served: World) -> None:
    wanted = capacity.WatchClaimsRequest(
        parent="tenants/-", start_revision=1, states=[claim_pb2.Claim.STATE_PLANNED, claim_pb2.Claim.STATE_COMMITTED]
    )
    live = served.capacity.WatchClaims(wanted)
    await anext(aiter(live))
    for n in range(12):
        await served.capacity.CreateClaim(create(claim_id=f"run-{n}", parent=f"tenants/{('atlas', 'borealis')[n % 2]}"))
    await served.planning.RunPlan(planning.RunPlanRequest(request_id="p"))
    for n in range(0, 12, 2):
        cancel = capacity.CancelClaimRequest(name=f"tenants/atlas/claims/run-{n}", request_id=f"c-{n}")
        await served.capacity.CancelClaim(cancel)
    last = await served.ledger.revision()
    told = [await _until(live, last), await _until(served.capacity.WatchClaims(wanted), last)]
    history = expected(await served.ledger.events(0, limit=1_000), _PLACED, 1)
    assert told[0] == told[1] == [(revision, str(name)) for revision, name in history]
    assert len(told[0]) > 6


_PLACED = Interest(states=frozenset({"PLANNED", "COMMITTED"}))


async def _until(call: AsyncIterable[capacity.WatchClaimsResponse], last: int) -> list[tuple[int, str]]:
    told: list[tuple[int, str]] = []
    async for message in call:
        told += [(message.revision, c.name) for c in message.claims]
        if message.revision >= last and not message.partial:
            break
    return told


async def test_single_claims_can_be_watched_before_they_exist(served: World) -> None:
    name = "tenants/atlas/claims/to-come"
    call = served.capacity.WatchClaims(
        capacity.WatchClaimsRequest(parent="tenants/atlas", start_revision=1, claims=[name])
    )
    await anext(aiter(call))
    await served.capacity.CreateClaim(create(claim_id="another"))
    made = (await served.capacity.CreateClaim(create(claim(), claim_id="to-come"))).claim
    assert (await _until(call, made.revision))[0] == (made.revision, name)


async def test_only_what_is_wanted_fills_the_backlog() -> None:
    async with world(feed_settings=replace(SETTINGS, backlog_events_max=3)) as w:
        await w.declare(builders.fleet())
        await until(lambda: w.feed.revision == 1)
        watch = w.feed.watch(2, Interest(tenant="borealis"))
        await anext(watch)
        for _ in range(20):
            await w.ask(builders.ask(), "atlas")
        for _ in range(3):
            await w.ask(builders.ask(), "borealis")
        await until(lambda: w.feed.revision == 24)
        told: list[int] = []
        while len(told) < 3:
            changes = await anext(watch)
            told += [changes.revision] if changes.claims else []  # a slow machine is told of progress in between
        assert told == [22, 23, 24]
        await watch.aclose()  # type: ignore[attr-defined] # it is a generator
