"""Expected starts: legal before anything is known, and as honest as they say once starts have come."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.admission.expected import Basis, Calibration, Expectations, Expected
from broker.domain.claim import Cancelled, Claim, Committed, Displaced, Ended, Expired, Held, Planned, State
from broker.domain.slots import SLOT_SECONDS
from broker.domain.snapshot import Event, EventKind
from tests.builders import AWAITING_PLAN, claim, placement


def told(claim: Claim, *, at: int = 0, known: Expectations | None = None) -> Expected:
    found = (known or Expectations()).of(claim, at * SLOT_SECONDS)
    assert found is not None
    return found


def event(hour: int, *claims: Claim) -> Event:
    return Event(1, EventKind.PLANNED, hour * SLOT_SECONDS, claims=claims)


def fared(known: Expectations, basis: Basis, *, waited: int = 0) -> Calibration:
    return next(each for each in known.calibration() if (each.basis, each.waited) == (basis, waited))


def firm(claim: Claim, first: int) -> Claim:
    return replace(claim, state=Committed((placement(first=first, end=first + 4),)))


def test_before_any_start_a_waiting_claim_may_start_anywhere_in_its_window() -> None:
    expected = told(claim(earliest=10, latest=30))
    assert (expected.basis, expected.starts, expected.started_percent) == (Basis.WAITING, 0, None)
    assert (expected.earliest, expected.p50, expected.p80) == (10, 20, 26)
    assert told(claim(deadline=24, slots=4), at=18).p80 == 20
    assert told(claim(), at=5).earliest == 5


def test_a_planned_start_is_expected_as_planned_and_a_firm_one_is_firm() -> None:
    expected = told(claim(state=Planned((placement(first=8, end=12, latest=20),))), at=2)
    assert (expected.basis, expected.earliest, expected.p50, expected.p80) == (Basis.PLANNED, 2, 8, 8)
    assert told(firm(claim(), 8), at=2) == Expected(Basis.FIRM, 8, 8, 8)


@pytest.mark.parametrize(
    "state",
    [
        Held((placement(first=8, end=12),), 9_999),
        Ended((placement(first=8, end=12),)),
        Cancelled(),
        Expired((AWAITING_PLAN,)),
        Committed((placement(first=1, end=12),)),
    ],
)
def test_nothing_is_expected_of_what_is_closed_or_held_or_has_started(state: State) -> None:
    assert Expectations().of(claim(state=state), 5 * SLOT_SECONDS) is None


def test_nothing_is_expected_once_the_window_has_passed() -> None:
    assert Expectations().of(claim(latest=4), 5 * SLOT_SECONDS) is None


def market(known: Expectations, wait: Callable[[random.Random, int], int], *, claims: int, seed: int) -> Iterator[int]:
    """One claim an hour, each committed just before it starts after ``wait`` hours; yields the hours."""
    draw = random.Random(seed)
    starts: dict[int, list[Claim]] = {}
    for hour in range(claims):
        asked = claim(f"atlas/run-{hour}", at=hour * SLOT_SECONDS, earliest=hour, latest=hour + 60, devices=8)
        starts.setdefault(hour + wait(draw, hour), []).append(asked)
        begin = [firm(each, hour) for each in starts.pop(hour, [])]
        known.apply(event(hour, asked, *begin))
        yield hour


@pytest.mark.parametrize("seed", range(3))
def test_four_in_five_starts_fall_inside_the_range_and_half_by_its_middle(seed: int) -> None:
    known = Expectations()
    for _ in market(known, lambda draw, _: min(60, int(draw.expovariate(1 / 12))), claims=1_500, seed=seed):
        pass
    for waited in (0, 1, 6, 24):
        told = fared(known, Basis.WAITING, waited=waited)
        assert told.starts > 100
        assert 0.75 <= told.inside / told.starts <= 0.85
        assert 0.4 <= told.by_p50 / told.starts <= 0.6


def test_a_market_that_slows_down_is_followed() -> None:
    known, waits = Expectations(), []
    for hour in market(known, lambda draw, hour: draw.randint(0, 8) + 30 * (hour > 500), claims=1_500, seed=4):
        if hour in (500, 1_400):
            waits.append(told(claim(earliest=hour, latest=hour + 60), at=hour, known=known).p80 - hour)
        if hour == 800:
            before = fared(known, Basis.WAITING)
    assert waits[0] <= 9
    assert 30 <= waits[1] <= 39
    after = fared(known, Basis.WAITING)
    assert (after.inside - before.inside) / (after.starts - before.starts) >= 0.75


def test_a_start_counts_once_its_hour_is_over_and_what_never_starts_counts_beside() -> None:
    known = Expectations()
    first, second, third = (claim(f"atlas/run-{n}", latest=20) for n in range(3))
    known.apply(event(0, first, second, third))
    known.apply(event(1, firm(first, 2)))
    known.apply(event(2))
    assert fared(known, Basis.WAITING).starts == 0
    known.apply(event(3, replace(second, state=Cancelled())))
    known.apply(event(21, replace(third, state=Expired((AWAITING_PLAN,)))))
    assert fared(known, Basis.FIRM) == Calibration(Basis.FIRM, 0, 1, 1, 1, 0, 0, 0)
    waiting = fared(known, Basis.WAITING)
    assert (waiting.starts, waiting.inside, waiting.never) == (1, 1, 2)
    # Those that never started were told again after an hour of waiting, by the first event after it.
    assert fared(known, Basis.WAITING, waited=1).never == 2


def test_what_was_told_before_an_amendment_or_a_gap_is_not_held_against_anybody() -> None:
    known = Expectations()
    known.apply(event(0, claim(latest=20)))
    known.apply(event(1, claim(latest=90)))
    known.apply(event(2, firm(claim(latest=90), 80)))
    known.resume()
    known.apply(event(99, replace(claim(latest=90), state=Ended((placement(first=80, end=84),)))))
    assert {(each.starts, each.never) for each in known.calibration()} == {(0, 0)}


def test_who_lost_a_firm_start_is_counted_with_the_start_that_came() -> None:
    known = Expectations()
    known.apply(event(0, firm(claim(), 3)))
    known.apply(event(1, claim(state=Displaced((AWAITING_PLAN,)))))
    known.apply(event(2, firm(claim(), 9)))
    known.apply(event(10))
    assert (fared(known, Basis.FIRM).starts, fared(known, Basis.FIRM).inside) == (1, 0)
    assert fared(known, Basis.FIRM).median_error == 6


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**9))
def test_estimates_are_legal_ordered_repeatable_and_forgotten_with_their_claims(seed: int) -> None:
    def run() -> tuple[Expectations, list[Expected | None]]:
        draw, known, found = random.Random(seed), Expectations(), list[Expected | None]()
        for hour in range(80):
            one = claim(f"atlas/run-{draw.randint(0, 9)}", earliest=draw.randint(0, 40), latest=draw.randint(40, 70))
            first = draw.randint(one.ask.earliest, one.ask.latest or 0)
            place = placement(first=first, end=first + 3, latest=draw.randint(first, 70))
            states: list[State] = [one.state, Planned((place,)), Committed((place,)), Cancelled(), Ended((place,))]
            one = replace(one, state=draw.choice(states))
            known.apply(event(hour, one))
            found.append(known.of(one, hour * SLOT_SECONDS))
            if (told := found[-1]) is not None:
                assert max(hour, 0) <= told.earliest <= told.p50 <= told.p80 <= 70
        return known, found

    known, found = run()
    assert run()[1] == found
    names = [claim(f"atlas/run-{n}", state=Cancelled()) for n in range(10)]
    known.apply(event(90, *names))
    assert not known._open
    assert not known._claims
    assert len(known._due) <= 64
