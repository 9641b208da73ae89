"""Whole racks kept free by a plan: who is merely planned is moved, is told why, and a gang that comes later fits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from capacitybroker.v1 import planning_service_pb2 as api
from capacitybroker.v1.claim_pb2 import Reason as ReasonMessage

from broker.domain.claim import Ask, Cancelled, Claim, ClaimName, Committed, Planned, Waiting
from broker.domain.plan import PlanRecord
from broker.domain.reason import Reason
from broker.domain.slots import SLOT_SECONDS
from broker.ledger.fold import violations
from broker.ledger.port import Ledger
from broker.optimiser.defragment import Leeway
from broker.planner import Planner, PlannerSettings
from tests import builders
from tests.builders import ask, key
from tests.ledger.ledgers import open_redis
from tests.planner.test_domains import racks
from tests.world import NOON, InlineSolver, world

RACK = 64  # devices of a rack that are not spare
DAY = 24
_markets = count()


@dataclass
class Hall:
    """Eight racks whose calendar is on a real Valkey, and a planner."""

    ledger: Ledger
    planner: Planner
    now: int = NOON
    _ids: Callable[[], int] = field(default_factory=lambda: count().__next__)

    @property
    def slot(self) -> int:
        """The present hour."""
        return self.now // SLOT_SECONDS

    def leeway(self, moves: int) -> None:
        """So many moves from now on."""
        self.planner.settings = replace(self.planner.settings, leeway=Leeway(moves))

    async def ask(self, number: int, hours: int, after: int, *, by: int = 20 * DAY) -> ClaimName:
        """A gang of so many racks that starts so many hours from now, and at the latest by some."""
        asked: Ask = ask(RACK * number, hours, gang=True, whole_domains=True, value_microusd=6_000_000 * number * hours)
        asked = replace(asked, earliest=self.slot + after, latest=self.slot + by)
        n = self._ids()
        made = Claim(ClaimName("atlas", f"c-{n:04}"), asked, Waiting((builders.AWAITING_PLAN,)), self.now, self.now)
        return (await self.ledger.submit(made, key=key(f"r-{n}"), at=self.now)).claim.name

    async def withdraw(self, name: ClaimName) -> None:
        """A claim is gone."""
        claim = await self.ledger.claim(name)
        await self.ledger.cancel(claim.becomes(Cancelled(), at=self.now), key=key(f"w-{self._ids()}"), at=self.now)

    async def plan(self) -> PlanRecord:
        """One planning cycle, in force."""
        fence = await self.ledger.lead("test", ttl_millis=60_000)
        assert fence is not None
        return await self.planner.cycle(fence, seconds=1.0)

    async def start(self, name: ClaimName) -> int:
        """In how many hours it starts."""
        return (await self.ledger.claim(name)).placements[0].window.first - self.slot

    async def hole(self, *, hours: int = 2 * DAY, times: int = 1) -> list[ClaimName]:
        """Gangs of all racks that stand behind others which were withdrawn, so that the time before them is idle."""
        gone = [await self.ask(8, hours, DAY, by=DAY)]
        await self.plan()
        left = [await self.ask(8 // times, hours, DAY) for _ in range(times)]
        await self.plan()
        for name in gone:
            await self.withdraw(name)
        return left


@pytest.fixture
async def hall(valkey: str) -> AsyncIterator[Hall]:
    ledger = await open_redis(valkey, f"defragmentation-{next(_markets)}")
    made: Hall
    settings = PlannerSettings(horizon_slots=28 * DAY)
    made = Hall(ledger, Planner(ledger, InlineSolver(), lambda: made.now, "test", settings))
    await ledger.apply_fleet(racks(), key=key("fleet", scope="-"), at=made.now)
    yield made
    assert violations(await ledger.events(0, limit=10_000)) == ()
    await ledger.close()


async def test_who_is_merely_planned_moves_up_and_hears_why(hall: Hall) -> None:
    (behind,) = await hall.hole()
    assert await hall.start(behind) == 3 * DAY
    before = await hall.ledger.claim(behind)
    record = await hall.plan()
    assert (record.defragmented, record.moved) == (1, 1)
    assert record == replace(await hall.ledger.plan(None), skipped=record.skipped)
    (room,) = record.rooms
    assert room.before_ppm < room.after_ppm
    assert room.week_before_milli < room.week_after_milli <= 8_000
    claim = await hall.ledger.claim(behind)
    assert await hall.start(behind) == DAY
    assert isinstance(claim.state, Planned)
    assert claim.placements[0].latest == before.placements[0].latest
    assert [why.reason for why in claim.because] == [Reason.DEFRAGMENTED]
    facts = claim.because[0].facts
    assert facts["start_unix_seconds"] == str((hall.slot + 3 * DAY) * SLOT_SECONDS)
    assert facts["new_start_unix_seconds"] == str((hall.slot + DAY) * SLOT_SECONDS)


async def test_a_plan_is_told_by_what_it_was_worth_without_the_moves(hall: Hall) -> None:
    hall.leeway(0)
    await hall.hole()
    without = await hall.plan()
    hall.leeway(4)
    record = await hall.plan()
    assert (without.defragmented, record.defragmented) == (0, 1)
    assert (record.objective_microusd, record.optimal) == (without.objective_microusd, without.optimal)
    assert (await hall.plan()).objective_microusd >= record.objective_microusd


async def test_planning_again_changes_nothing(hall: Hall) -> None:
    (behind,) = await hall.hole()
    await hall.plan()
    claim = await hall.ledger.claim(behind)
    for _ in range(2):
        record = await hall.plan()
        assert (record.defragmented, record.moved) == (0, 0)
        assert all(room.before_ppm == room.after_ppm for room in record.rooms)
    assert await hall.ledger.claim(behind) == claim


@pytest.mark.parametrize("moves", [0, 4])
async def test_a_gang_of_whole_racks_that_comes_later_fits_where_it_would_not(hall: Hall, moves: int) -> None:
    hall.leeway(moves)
    await hall.hole()
    await hall.plan()
    late = await hall.ask(8, 7 * DAY, 2 * DAY, by=4 * DAY)
    await hall.plan()
    assert bool((await hall.ledger.claim(late)).placements) is (moves > 0)


async def test_no_plan_moves_more_than_it_may_and_nobody_is_moved_twice(hall: Hall) -> None:
    hall.leeway(1)
    behind = await hall.hole(times=4)
    for done in range(1, 5):
        assert (await hall.plan()).defragmented == 1
        assert [await hall.start(name) for name in behind].count(DAY) == done
    assert (await hall.plan()).defragmented == 0
    # Another hole, and they were moved before: they stay.
    first = await hall.ask(8, 2 * DAY, 0, by=DAY)
    await hall.plan()
    await hall.withdraw(first)
    assert (await hall.plan()).defragmented == 0


async def test_what_is_about_to_start_stays(hall: Hall) -> None:
    (behind,) = await hall.hole()
    hall.now += (3 * DAY - 1) * SLOT_SECONDS
    record = await hall.plan()
    assert record.defragmented == 0
    assert isinstance((await hall.ledger.claim(behind)).state, Committed)
    assert await hall.start(behind) == 1


async def test_callers_and_operators_see_it() -> None:
    async with world(serve=True) as w:
        await w.declare(racks())
        gone = await w.ask(ask(512, 48, gang=True, value_microusd=10**10, earliest=w.slot + 24, latest=w.slot + 24))
        await w.plan()
        left = await w.ask(ask(512, 48, gang=True, value_microusd=10**10, earliest=w.slot + 24, latest=w.slot + 200))
        await w.plan()
        await w.desk.cancel(gone, etag="", key=w.key())
        done = await w.plan()
        plan = (await w.planning.GetPlan(api.GetPlanRequest(name=f"plans/{done.revision}"))).plan
        assert plan.defragmented == 1
        assert plan.rooms[0].pool == "pools/r"
        assert plan.rooms[0].before_percent < plan.rooms[0].after_percent < 100
        assert plan.rooms[0].week_domains_before < plan.rooms[0].week_domains_after < 8
        changed = await w.claim(left)
        assert [why.reason for why in changed.because] == [Reason.DEFRAGMENTED]
        assert ReasonMessage.Value(f"REASON_{changed.because[0].reason}") == ReasonMessage.REASON_DEFRAGMENTED
