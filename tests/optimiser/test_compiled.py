"""Machine code is made once: the size of a market does not change the types that hot loops see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from numba import typeof

from broker.optimiser.problem import Problem
from broker.optimiser.state import empty_calendar
from tests.optimiser.market import Market, market

Document = dict[str, Any]


def machine_type(value: object) -> Any:
    """What numba takes a value for."""
    return typeof(value)  # type: ignore[no-untyped-call]


def one(*options: Document) -> Document:
    """A market of a single request."""
    pools = [{"id": "a", "capacity": [[0, 4]]}]
    requests = [{"id": "r", "options": [{"pool": "a", "devices": 1, "slots": 1, "start": [0, 1]} | o for o in options]}]
    return {"format": "capacity-plan-problem/1", "slots": 2, "pools": pools, "requests": requests}


@pytest.mark.parametrize(
    "document", [one({"value": 5}), one({"value": 5}, {"value": 6}), one(), one() | {"requests": [], "pools": []}]
)
def test_the_smallest_markets_need_no_code_of_their_own(document: Document, medium: Problem) -> None:
    small, large = market(document, steps=0), Market(medium, steps=0)
    assert machine_type(small.t) == machine_type(large.t)
    assert machine_type(empty_calendar(small.t)) == machine_type(empty_calendar(large.t))


def test_a_copy_of_the_books_needs_no_code_of_its_own(crowd: Callable[..., Document]) -> None:
    calendar, _ = market(crowd(1), steps=0).greedy()
    copied = calendar._replace(**{name: part.copy() for name, part in calendar._asdict().items()})
    assert machine_type(copied) == machine_type(calendar)
