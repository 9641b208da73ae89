"""A neighbourhood solved exactly gains what it says, loses nothing and keeps its promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from broker.optimiser.construct import settle
from broker.optimiser.neighbourhood import Shape, reopen
from tests.optimiser.market import assert_exact, crowded_with_promises, market

Document = dict[str, Any]
SMALL = Shape(pools=2, free=16, rivals=8, columns=6, deterministic_seconds=0.05)


def test_it_gains_what_it_says_and_never_loses(crowd: Callable[..., Document]) -> None:
    priced = market(crowd(11))
    calendar, total = priced.greedy()
    rng = np.random.default_rng(0)
    for _ in range(4):
        gained = reopen(priced.t, calendar, priced.g, priced.ideal, SMALL, rng)
        assert gained >= 0
        total += gained
        assert priced.judged(calendar.row, calendar.start) == total
        assert_exact(priced.problem, priced.t, calendar)


def test_it_keeps_promises(crowd: Callable[..., Document]) -> None:
    priced = market(crowded_with_promises(crowd(5, requests=90)))
    t, rng = priced.t, np.random.default_rng(0)
    calendar, _ = settle(t, t.now_row, t.now_start)
    kept = t.promised[calendar.row >= 0].sum()
    for _ in range(3):
        reopen(t, calendar, priced.g, priced.ideal, SMALL, rng)
        now = t.promised[calendar.row >= 0].sum()
        assert now >= kept > 0
        kept = now
