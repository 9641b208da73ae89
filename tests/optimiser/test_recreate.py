"""What fell free goes to whoever gains most by it: those taken out, and rivals that were left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from broker.optimiser.construct import settle
from broker.optimiser.search import Ruin, Tally, new_search
from broker.optimiser.state import Calendar
from tests.optimiser.market import Market, market, only

Document = dict[str, Any]
TAKES_OUT = pytest.mark.parametrize(
    "kind", [Ruin.AROUND, Ruin.WINDOW, Ruin.SCATTER], ids=lambda kind: kind.name.lower()
)


def queue(*values: int, promised: int = -1) -> Document:
    """Requests for all of one pool, the first of them in it."""
    requests: list[Document] = []
    for n, value in enumerate(values):
        option = {"pool": "a", "devices": 4, "slots": 2, "start": [0, 1], "value": value}
        requests.append({"id": f"r{n}", "options": [option]})
        if n == promised:
            requests[-1] |= {"current": {"option": 0, "start": 0}, "promised": True}
    pools = [{"id": "a", "capacity": [[0, 4]]}]
    return {"format": "capacity-plan-problem/1", "slots": 3, "pools": pools, "requests": requests}


def after(document: Document, kind: Ruin, heat: float = 0.0) -> tuple[Market, Calendar]:
    world = market(document, steps=1)
    size = len(document["requests"])
    calendar, total = settle(world.t, np.where(np.arange(size) == 0, 0, -1), np.zeros(size, np.int64))
    search = new_search(calendar, total, seed=2, mix=only(kind))
    world.improve(calendar, search, heat, 600)
    assert world.judged(search.best_row, search.best_start) == search.tally[Tally.BEST]
    return world, calendar


@TAKES_OUT
def test_room_goes_to_the_best_rival(kind: Ruin) -> None:
    _, calendar = after(queue(10, 30, 90, 60), kind)
    assert (calendar.row >= 0).tolist() == [False, False, True, False]


@TAKES_OUT
def test_who_was_best_comes_back(kind: Ruin) -> None:
    _, calendar = after(queue(95, 30, 90, 60), kind)
    assert calendar.row[0] == 0


@TAKES_OUT
def test_a_promise_comes_back_before_any_money(kind: Ruin) -> None:
    _, calendar = after(queue(1, 10**6, 10**9, promised=0), kind, heat=1e12)
    assert calendar.row.tolist() == [0, -1, -1]
