"""Hours, windows and levels over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.slots import SLOT_SECONDS, Steps, Window, slot_at_or_after, slot_of


def test_moments_fall_into_hours() -> None:
    assert (slot_of(SLOT_SECONDS - 1), slot_of(SLOT_SECONDS)) == (0, 1)
    assert (slot_at_or_after(SLOT_SECONDS), slot_at_or_after(SLOT_SECONDS + 1)) == (1, 2)


@pytest.mark.parametrize(("first", "end"), [(3, 3), (4, 3), (-1, 2)])
def test_a_window_is_never_empty_or_negative(first: int, end: int) -> None:
    with pytest.raises(ValueError, match="empty or negative"):
        Window(first, end)


def test_back_to_back_windows_do_not_overlap() -> None:
    assert 4 in Window(2, 5)
    assert 5 not in Window(2, 5)


changes = st.lists(st.tuples(st.integers(-5, 50), st.integers(-20, 20)), max_size=12)


@given(changes=changes, first=st.integers(0, 40), slots=st.integers(1, 30))
def test_steps_are_the_running_sum_of_their_changes(changes: list[tuple[int, int]], first: int, slots: int) -> None:
    window = Window(first, first + slots)
    steps = Steps.from_changes(changes)
    wanted = [max(0, sum(c for at, c in changes if max(0, at) <= t)) for t in range(window.first, window.end)]
    assert steps.over(window) == wanted
    assert [steps.at(t) for t in range(window.first, window.end)] == wanted
    pieces = list(steps.within(window))
    assert [t for piece, _ in pieces for t in range(piece.first, piece.end)] == list(range(window.first, window.end))


def test_steps_start_at_slot_0_and_rise() -> None:
    for steps in ((), ((1, 5),), ((0, 1), (0, 2)), ((0, 1), (5, 2), (4, 3))):
        with pytest.raises(ValueError, match="steps must start"):
            Steps(steps)
