"""Large gangs come in where the relaxation has them stand; the rest follows, and promises come first."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.optimiser.apart import Apart
from broker.optimiser.check import check
from broker.optimiser.columns import guide
from broker.optimiser.files import problem_from
from broker.optimiser.prices import Pricing
from broker.optimiser.problem import Problem
from broker.optimiser.prune import prune
from broker.optimiser.report import Prices
from broker.optimiser.rounding import rounded
from broker.optimiser.search import rivals
from broker.optimiser.sides import new_wishes
from broker.optimiser.state import Calendar
from broker.optimiser.tables import plan_of, tables

Document = dict[str, Any]
OUT = np.full(4, -1)


def market(**extra: object) -> Problem:
    """Two pools of ten, three gangs of six for either and all of the time, and a small request."""

    def request(name: str, devices: int, value: int) -> Document:
        options = [{"pool": p, "devices": devices, "slots": 4, "start": [0, 0], "value": value} for p in "ab"]
        return {"id": name, "quota": None, "options": options}

    requests = [request("r0", 6, 900), request("r1", 6, 800), request("r2", 6, 700), request("r3", 2, 10)]
    requests[2] |= extra
    pools = [{"id": p, "capacity": [[0, 10]]} for p in "ab"]
    return problem_from(
        {"format": "capacity-plan-problem/1", "slots": 4, "pools": pools, "quotas": [], "requests": requests}
    )


def plans(problem: Problem, stands: NDArray[np.float64], count: int, row: NDArray[np.int64] = OUT) -> list[Calendar]:
    pruned = prune(problem)
    t = tables(problem, pruned)
    g = guide(t, Prices.zero(problem))
    wishes = new_wishes(t, g, rivals(t), lambda: False)
    made = rounded(t, g, wishes, row, np.zeros(4, np.int64), stands, np.random.default_rng(1), lambda: False)
    found = []
    for calendar, total in islice(made, count):
        verdict = check(problem, plan_of(problem, pruned, calendar.row, calendar.start))
        assert verdict.ok
        assert verdict.objective == total
        found.append(calendar)
    return found


def test_a_gang_comes_in_where_it_stands_and_others_take_what_is_left() -> None:
    stands = np.array([[0.0, 0.9, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    for calendar in plans(market(), stands, 20):
        assert calendar.pool.tolist()[:3] == [-1, 0, 1]
        assert calendar.pool[3] >= 0


def test_who_half_stands_comes_in_now_and_then() -> None:
    stands = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    first = {int(np.flatnonzero(calendar.pool == 0)[0]) for calendar in plans(market(), stands, 40)}
    assert first == {0, 1}


def test_who_hardly_stands_waits_for_the_others() -> None:
    stands = np.array([[0.2, 0.9, 0.0, 0.0], [0.0, 0.0, 0.8, 0.0]])
    assert all(calendar.pool[0] < 0 for calendar in plans(market(), stands, 40))


def test_promised_requests_stay_where_they_are() -> None:
    problem = market(current={"option": 0, "start": 0}, promised=True)
    t = tables(problem, prune(problem))
    row = np.array([-1, -1, t.now_row[2], -1])
    stands = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    for calendar in plans(problem, stands, 20, row):
        assert calendar.pool.tolist()[:3] == [-1, 1, 0]


def test_pools_taken_apart_say_who_stands_where() -> None:
    """Of three gangs two stand in the end, one in each pool: those worth most."""
    problem = market()
    t = tables(problem, prune(problem))
    pricing = Pricing(t, Prices.zero(problem))
    for _ in range(100):
        pricing.step(1_700)
    pools = Apart(t, pricing.prices, pricing.best)
    assert not pools.stands.any()
    for _ in range(200):
        pools.step(1_700, lambda: False)
    assert pools.stands.min() >= 0
    first, second, third, _ = pools.stands.sum(axis=0).tolist()
    assert min(first, second) > 0.5
    assert third < min(first, second)
