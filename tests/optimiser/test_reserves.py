"""Insurance as rows of the problem: who covers, how much a device of theirs is worth, and when a row says nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from broker.domain.fleet import Delivery, Fleet
from broker.domain.insurance import Insurance, LossKind
from broker.domain.slots import Window
from broker.optimiser.check import check
from broker.optimiser.files import ProblemFileError, problem_document, problem_from
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.reserves import reserves
from broker.optimiser.tables import tables, uncut
from tests.builders import fleet, pool

ANY = Insurance("any", LossKind.ANY_ONE_POOL)
DAY = Window(0, 24)


def rows(
    made: Fleet, wants: list[dict[str, int]], load: dict[str, int] | None = None, horizon: Window = DAY
) -> list[tuple[int, tuple[int, ...], int, int, tuple[int, ...]]]:
    capacity = np.array([p.supply().over(horizon) for p in made.pools], np.int64)
    held = np.zeros_like(capacity)
    for row, p in enumerate(made.pools):
        held[row, :12] = (load or {}).get(p.id, 0)
    found, lost = reserves(made, horizon, wants, capacity, held)
    assert len(found) == len(lost)
    return [(r.lost, r.covers, r.first_slot, r.end_slot, r.beside) for r in found]


def insured(pools: dict[str, int], *insurance: Insurance) -> Fleet:
    return replace(fleet(pools), insurance=insurance or (ANY,))


def test_pools_cover_each_other_where_a_guaranteed_claim_could_run_in_both() -> None:
    made = insured({"a": 8, "b": 8, "c": 8})
    assert rows(made, [{"a": 4, "b": 4}]) == [(0, (1,), 0, 24, ()), (1, (0,), 0, 24, ())]
    assert rows(made, []) == []


def test_a_device_covers_as_many_as_it_replaces_for_whoever_it_may_be() -> None:
    made = insured({"a": 8, "b": 8})
    assert rows(made, [{"a": 12, "b": 4}]) == [(0, (1, 1, 1), 0, 24, ())]
    assert rows(made, [{"a": 12, "b": 4}, {"a": 8, "b": 4}]) == [(0, (1, 1), 0, 24, ())]


def test_pools_lost_together_share_a_row() -> None:
    both = Insurance("both", LossKind.POOLS_TOGETHER, ("a", "b"))
    assert rows(insured({"a": 8, "b": 8, "c": 8}, both), [{"a": 4, "b": 4, "c": 4}]) == [(0, (2,), 0, 24, (1,))]


def test_only_named_pools_cover() -> None:
    made = insured({"a": 8, "b": 8, "c": 8}, replace(ANY, covers=("c",)))
    assert rows(made, [{"a": 4, "b": 4, "c": 4}]) == [(0, (2,), 0, 24, ()), (1, (2,), 0, 24, ())]


def test_a_row_says_nothing_where_what_is_promised_breaks_it() -> None:
    made = insured({"a": 8, "b": 8})
    assert rows(made, [{"a": 4, "b": 4}], {"a": 5, "b": 3})[0] == (0, (1,), 0, 24, ())
    assert rows(made, [{"a": 4, "b": 4}], {"a": 5, "b": 4}) == [(0, (1,), 12, 24, ()), (1, (0,), 12, 24, ())]


def test_a_late_pool_has_a_row_only_while_all_of_it_is_missing() -> None:
    late = pool("late", deliveries=(Delivery(8, 3600), Delivery(8, 3600 * 30)))
    made = replace(
        fleet((late, pool("b", 8))), insurance=(Insurance("slow", LossKind.LATE_DELIVERY, ("late",), late_days=1),)
    )
    assert rows(made, [{"late": 4, "b": 4}], horizon=Window(0, 48)) == [(0, (1,), 1, 25, ())]


def together(devices: int, other: int) -> Problem:
    """A guaranteed claim in each of two pools that are lost together, and a pool that covers them."""
    return problem_from(
        {
            "format": "capacity-plan-problem/1",
            "slots": 4,
            "slot_hours": 1,
            "pools": [{"id": name, "capacity": [[0, 8]]} for name in "abc"],
            "quotas": [],
            "requests": [
                {
                    "id": name,
                    "guaranteed": True,
                    "options": [{"pool": name, "devices": count, "slots": 2, "start": [0, 0], "value": 10}],
                }
                for name, count in (("a", devices), ("b", other))
            ],
            "reserves": [{"lost": "a", "beside": ["b"], "covers": ["c"]}],
        }
    )


def test_what_is_lost_together_counts_together() -> None:
    both = Plan(np.array([0, 0]), np.array([0, 0]))
    assert check(together(4, 4), both).ok
    assert not check(together(5, 4), both).ok
    assert check(together(5, 4), Plan(np.array([0, -1]), np.array([0, 0]))).ok
    made = tables(together(5, 4), uncut(together(5, 4)))
    assert made.times.tolist() == [1, 1, 1]


def test_a_file_carries_what_is_lost_together() -> None:
    problem = together(4, 4)
    assert problem_from(problem_document(problem)).reserves == problem.reserves
    assert problem.reserves[0].beside == (1,)
    document = problem_document(problem)
    document["reserves"][0]["beside"] = ["nowhere"]  # type: ignore[index]
    with pytest.raises(ProblemFileError, match=r"reserves\[0\].beside"):
        problem_from(document)
