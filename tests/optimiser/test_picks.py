"""Picks come out of the queue least key first, each once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.optimiser.construct import settle
from broker.optimiser.picks import arrange, first_of
from broker.optimiser.search import Search, new_search
from tests.optimiser.market import market

WHO = 40


@pytest.fixture(scope="module")
def search() -> Search:
    option = {"pool": "a", "devices": 1, "slots": 1, "start": [0, 0], "value": 1}
    world = market(
        {
            "format": "capacity-plan-problem/1",
            "slots": 1,
            "pools": [{"id": "a", "capacity": [[0, WHO]]}],
            "requests": [{"id": f"r{n}", "options": [option]} for n in range(WHO)],
        },
        steps=1,
    )
    calendar, total = settle(world.t, np.full(WHO, -1), np.zeros(WHO, np.int64))
    return new_search(calendar, total, seed=1)


@given(st.lists(st.floats(-1e25, 1e25), max_size=WHO))
@settings(deadline=None)
def test_picks_come_out_least_first_and_each_once(search: Search, keys: list[float]) -> None:
    n = len(keys)
    search.key[:n], search.pick[:n] = keys, np.arange(n)
    arrange(search, n)
    out = [int(first_of(search, n - k)) for k in range(n)]
    assert sorted(out) == list(range(n))
    assert [keys[who] for who in out] == sorted(keys)
