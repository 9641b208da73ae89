"""The best candidate is the best of all starts, found one by one from the rules themselves."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from broker.admission.calendar import Calendar
from broker.admission.ranking import Ranking
from broker.admission.scan import Limit
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Ask, Hold, Placement, Tier
from broker.domain.fleet import (
    CommittedLevel,
    Contract,
    Delivery,
    Fleet,
    Pool,
    PoolKind,
    Silicon,
    Tenant,
    WorkloadClass,
)
from broker.domain.options import Option, option_of, options
from broker.domain.slots import Window
from broker.domain.terms import Terms, due
from tests.builders import ask

FIRST, SLOTS = 100, 60
TERMS = Terms(waiting=200)


def random_fleet(draw: random.Random) -> Fleet:
    pools = tuple(
        Pool(
            f"pool-{n}",
            PoolKind.INTERNAL,
            draw.choice(["b200", "mtia"]),
            8,
            (Delivery(draw.randint(4, 40)), Delivery(draw.randint(0, 20), 3600 * (FIRST + draw.randint(0, 40)))),
            unit_cost_microusd=draw.choice([0, 3]),
            tray_devices=draw.choice([0, 0, 2]),
            slice_trays=draw.choice([0, 1, 3]),
        )
        for n in range(draw.randint(1, 5))
    )
    contracts = tuple(
        Contract(f"c-{pool.id}", pool.id, committed=(CommittedLevel(draw.randint(0, 20)),), overage_price_microusd=7)
        for pool in pools
        if draw.random() < 0.4
    )
    return Fleet(
        silicon=(Silicon("b200", "blackwell"), Silicon("mtia")),
        workload_classes=(WorkloadClass("training", {"b200": 100, "mtia": 60}),),
        pools=pools,
        contracts=contracts,
        tenants=(Tenant("atlas", draw.choice([None, 12, 60]), "", draw.choice([None, 12, 60])), Tenant("other")),
    )


def random_calendar(draw: random.Random) -> Calendar:
    fleet = random_fleet(draw)
    holds = [
        Hold(account, Window(first, first + draw.randint(1, 20)), draw.randint(1, 12))
        for _ in range(draw.randint(0, 25))
        for first in [FIRST + draw.randint(-5, SLOTS)]
        for account in [draw.choice([*(p.account for p in fleet.pools), "tenants/atlas", "tenants/atlas/loans"])]
    ]
    prices = BidPrices(
        FIRST + draw.randint(-3, 3),
        {pool.id: tuple(draw.randint(0, 9) for _ in range(draw.randint(0, SLOTS))) for pool in fleet.pools},
        {name: tuple(draw.randint(0, 4) for _ in range(SLOTS)) for name in ("atlas", "atlas/loans")},
    )
    window = Window(FIRST, FIRST + SLOTS)
    calendar = Calendar(fleet, holds, window, draw.choice([prices, prices, None]))
    calendar.wanted = np.cumsum(np.array([draw.random() for _ in range(calendar.wanted.size)])).reshape(
        calendar.wanted.shape
    ) % draw.randint(1, 40)
    return calendar


def random_ask(draw: random.Random) -> Ask:
    earliest, tier = FIRST + draw.randint(-4, 30), draw.choice(list(Tier))
    return ask(
        devices=draw.randint(1, 20),
        slots=draw.randint(1, 12),
        earliest=earliest,
        value_microusd=draw.choice([500, 5_000, 50_000]),
        gang=True,
        tier=tier,
        on_loan=tier is Tier.SPOT and draw.random() < 0.5,
        deadline=draw.choice([None, earliest + draw.randint(1, 40)]),
        preferred_pools=draw.choice([(), ("pool-0",)]),
    )


LIMITS = st.sampled_from([Limit(), Limit(), Limit(85), Limit(50), Limit(above=0, times=0.5), Limit(above=1, times=1.4)])


def left(calendar: Calendar, silicon: str, limit: Limit, slot: int) -> float:
    """Devices that nobody is expected to want, all pools of a silicon together."""
    pools = [row for id_, row in calendar.pools.items() if (p := calendar.fleet.pool(id_)) and p.silicon == silicon]
    free = sum(int(calendar.free[row, slot]) for row in pools)
    return free - limit.times * float(calendar.wanted[limit.above, calendar.silicon[silicon], slot])


def starts(way: Option, calendar: Calendar, limit: Limit, name: str) -> Iterator[int]:
    for slot in legal_starts(way, calendar):
        row, span = calendar.pools[way.pool], calendar.span(Window(slot, slot + way.slots))
        quota = calendar.quotas.get(name)
        if quota is None and name != "atlas":
            return  # nothing may be on loan
        fits = (calendar.free[row, span] >= way.devices).all()
        used = calendar.lent[row, span].sum() + way.devices * way.slots
        fits &= limit.percent == 100 or 100 * used <= limit.percent * calendar.supply[row, span].sum()
        if limit.above >= 0:
            spare = sum(left(calendar, way.silicon, limit, slot) for slot in range(span.start, span.stop))
            fits &= spare >= way.devices * way.slots - 1e-6
        if fits and (quota is None or (calendar.room[quota, span] >= way.devices).all()):
            yield slot


def worth(way: Option, slot: int, calendar: Calendar, ways: list[Option], name: str) -> int:
    """Said once more, slot by slot."""
    prices, fleet, pool = calendar.prices, calendar.fleet, calendar.fleet.pool(way.pool)
    assert pool is not None
    contract = fleet.contract_of(way.pool)
    legal = [w for w in ways if any(True for _ in legal_starts(w, calendar))]
    punctual = due([w._replace(earliest=max(w.earliest, FIRST)) for w in legal])
    late = TERMS.late_cost(way)
    total = punctual.value(way, late) - late * max(0, slot - punctual.slot)
    for t in range(slot, slot + way.slots):
        total -= way.devices * pool.unit_cost_microusd
        if prices is not None:
            row = prices.pools.get(way.pool, ())
            total -= way.devices * (row[t - prices.first] if 0 <= t - prices.first < len(row) else 0)
            mine = prices.tenants[name]
            if name in calendar.quotas:
                total -= way.devices * (mine[t - prices.first] if 0 <= t - prices.first < len(mine) else 0)
        if contract is not None:
            lent = int(calendar.lent[calendar.pools[way.pool], t - FIRST])
            before, after = (max(0, n - contract.paid().at(t)) for n in (lent, lent + way.devices))
            total -= contract.overage_price_microusd * (after - before)
    return total


def legal_starts(way: Option, calendar: Calendar) -> range:
    last = calendar.window.end - way.slots if way.latest is None else min(way.latest, calendar.window.end - way.slots)
    return range(max(way.earliest, calendar.window.first), last + 1)


@settings(deadline=None)
@given(seed=st.integers(0, 10**9), limit=LIMITS)
def test_the_first_candidate_is_the_best_of_all_starts(seed: int, limit: Limit) -> None:
    draw = random.Random(seed)
    calendar, wanted = random_calendar(draw), random_ask(draw)
    ways, name = list(options(wanted, calendar.fleet)), wanted.quota("atlas")
    by_pool: dict[str, int] = {}
    for way in ways:
        for slot in starts(way, calendar, limit, name):
            by_pool[way.pool] = max(by_pool.get(way.pool, -(10**12)), worth(way, slot, calendar, ways, name))
    found = Ranking(calendar, name, TERMS, limit).candidates(wanted, most=9)
    assert sorted((c.placements[0].pool, c.worth_microusd) for c in found) == sorted(by_pool.items())
    assert [c.worth_microusd for c in found] == sorted((c.worth_microusd for c in found), reverse=True)
    for candidate in found:
        (place,) = candidate.placements
        row, span = calendar.pools[place.pool], calendar.span(place.window)
        assert (calendar.free[row, span] >= place.devices).all()
        assert place.window.first <= place.latest


@settings(deadline=None)
@given(seed=st.integers(0, 10**9))
def test_parts_fit_beside_each_other(seed: int) -> None:
    draw = random.Random(seed)
    calendar = random_calendar(draw)
    wanted = ask(devices=draw.randint(16, 60), slots=draw.randint(1, 9), earliest=FIRST, value_microusd=10**6)
    name = draw.choice(["atlas", "atlas/loans"])
    row = calendar.row_of(name)
    for candidate in Ranking(calendar, name, TERMS).candidates(wanted):
        assert sum(place.devices for place in candidate.placements) >= wanted.devices
        assert all(option_of(wanted, calendar.fleet, place) for place in candidate.placements)
        free, room = calendar.free.copy(), calendar.room.copy()
        for place in candidate.placements:
            span = calendar.span(place.window)
            free[calendar.pools[place.pool], span] -= place.devices
            room[row, span] -= place.devices
        assert (free[taken(calendar, candidate.placements)] >= 0).all()
        assert (room[row, used(calendar, candidate.placements)] >= 0).all()


def taken(calendar: Calendar, placements: tuple[Placement, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(calendar.free.shape, np.bool_)
    for place in placements:
        mask[calendar.pools[place.pool], calendar.span(place.window)] = True
    return mask


def used(calendar: Calendar, placements: tuple[Placement, ...]) -> NDArray[np.bool_]:
    return np.asarray(taken(calendar, placements).any(axis=0), np.bool_)


def test_costs_are_what_the_placement_adds() -> None:
    contract = Contract(
        "c",
        "pool",
        committed=(CommittedLevel(10),),
        committed_price_microusd=5,
        overage_price_microusd=8,
    )
    fleet = Fleet(
        silicon=(Silicon("b200"),),
        workload_classes=(WorkloadClass("training", {"b200": 100}),),
        pools=(Pool("pool", PoolKind.CONTRACTED, "b200", 8, (Delivery(40),), unit_cost_microusd=1),),
        contracts=(contract,),
        tenants=(Tenant("atlas"),),
    )
    calendar = Calendar(fleet, [Hold("pools/pool", Window(FIRST, FIRST + 5), 6)], Window(FIRST, FIRST + SLOTS))
    (best,) = Ranking(calendar, "atlas", Terms()).candidates(ask(devices=8, slots=2, earliest=FIRST, gang=True))
    # Worth a dollar: waiting for cheaper hours does not pay... four of eight are paid for, from both hours on.
    (place,) = best.placements
    assert place.window == Window(FIRST, FIRST + 2)
    assert (place.cost_microusd, place.paid_microusd) == (2 * (8 * 1 + 4 * 8), 2 * 4 * 5)


@settings(deadline=None)
@given(seed=st.integers(0, 10**9), limit=LIMITS)
def test_every_part_is_where_it_is_worth_most_beside_those_before_it(seed: int, limit: Limit) -> None:
    draw = random.Random(seed)
    calendar = random_calendar(draw)
    devices, slots = draw.choice([16, 24, 32, 48, 51]), draw.randint(1, 9)
    wanted = ask(devices=devices, slots=slots, earliest=FIRST, value_microusd=10**6)
    ranking = Ranking(calendar, "atlas", TERMS, limit)
    for candidate in ranking.candidates(wanted):
        whole = ranking._parts(wanted)
        with calendar.beside("atlas") as take:
            for part, place in zip(whole, candidate.placements, strict=True):
                starts = ranking._starts(part.rows, part.money)
                (chosen,) = np.flatnonzero(part.rows[:, 0] == calendar.pools[place.pool])
                assert starts.slot[chosen] + calendar.window.first == place.window.first
                # Money is rounded: the value to parts, waiting to slots.
                assert starts.worth[chosen] >= starts.worth.max() - SLOTS - 3
                take(place)
