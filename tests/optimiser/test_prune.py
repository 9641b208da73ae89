"""Pruning drops only what no plan can use, and leaves only legal starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser.check import check
from broker.optimiser.files import problem_from
from broker.optimiser.problem import Problem
from broker.optimiser.prune import prune
from broker.optimiser.tables import plan_of, rows_of, tables

Document = dict[str, Any]


def alone(problem: Problem) -> Problem:
    """The same market without promises, so that a plan of one placement can be judged."""
    nobody = np.zeros(len(problem.requests.ids), np.bool_)
    return replace(problem, requests=replace(problem.requests, promised=nobody))


@given(seed=st.integers(0, 10**9))
@settings(deadline=None)
def test_every_kept_start_is_legal_and_every_dropped_one_is_not(
    seed: int,
    tiny: Callable[[int], Document],
    choices: Callable[[Document, Document], list[tuple[int, int] | None]],
    chosen: Callable[[list[tuple[int, int] | None]], Any],
) -> None:
    document = tiny(seed)
    problem = alone(problem_from(document))
    pruned = prune(problem)
    o = pruned.options
    kept = {(int(pruned.origin[k]), s) for k in range(len(o.pool)) for s in range(o.earliest[k], o.latest[k] + 1)}
    assert len(kept) == int((o.latest - o.earliest + 1).sum())  # runs do not overlap
    nothing: list[tuple[int, int] | None] = [None] * len(document["requests"])
    base = check(problem, chosen(nothing)).objective
    for n, request in enumerate(document["requests"]):
        for choice in choices(document, request)[1:]:
            assert choice is not None
            verdict = check(problem, chosen([*nothing[:n], choice, *nothing[n + 1 :]]))
            column = (int(problem.options.first[n]) + choice[0], choice[1])
            # What is legal alone and dropped is worth nothing alone.
            assert verdict.ok if column in kept else not verdict.ok or verdict.objective <= base


def test_plans_keep_their_original_numbers(medium: Problem) -> None:
    pruned = prune(medium)
    t = tables(medium, pruned)
    row = np.where(np.diff(t.first) > 0, t.first[1:] - 1, -1)
    start = np.where(row >= 0, t.high[row], 0)
    plan = plan_of(medium, pruned, row, start)
    assert np.array_equal(rows_of(medium, pruned, plan), row)
    option = medium.options.first[:-1] + plan.option
    placed = row >= 0
    assert np.array_equal(medium.options.pool[option[placed]], t.pool[row[placed]])
