"""Stopping rules say what share of a budget is spent."""

from __future__ import annotations

import pytest

from broker.optimiser.stop import AnyOf, Cancelled, SecondsLimit, WorkLimit


def test_work_and_seconds_are_shares() -> None:
    now = [10.0]
    seconds = SecondsLimit(4, lambda: now[0])
    work = WorkLimit(200)
    assert (seconds.spent(10**9), work.spent(50)) == (0.0, 0.25)
    now[0] = 13.0
    assert seconds.spent(0) == 0.75
    now[0] = 99.0
    assert seconds.spent(0) >= 1
    assert work.spent(200) >= 1


def test_any_of_is_the_furthest() -> None:
    asked = [False]
    rule = AnyOf(WorkLimit(100), Cancelled(lambda: asked[0]))
    assert rule.spent(30) == 0.3
    asked[0] = True
    assert rule.spent(30) == 1
    assert AnyOf().spent(10**9) == 0


@pytest.mark.parametrize("bad", [0, -1])
def test_limits_are_positive(bad: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        WorkLimit(bad)
    with pytest.raises(ValueError, match="limit"):
        SecondsLimit(bad, lambda: 0.0)
