"""What later comers are expected to use is what such comers, one after the other, would use on average."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from broker.admission.demand import ABOVE, KNOWN_SLOTS, Demand
from broker.domain.claim import Ask, Cancelled, ClaimName, Held, Planned, State, Tier
from broker.domain.fleet import Fleet, WorkloadClass
from broker.domain.slots import SLOT_SECONDS
from broker.domain.snapshot import Event, EventKind
from tests.builders import ask, claim, fleet, placement, pool

AHEAD = 60


def asked(slot: int, *asks: Ask) -> Event:
    at = slot * SLOT_SECONDS
    claims = tuple(replace(claim(f"atlas/run-{n}"), ask=one) for n, one in enumerate(asks))
    return Event(1, EventKind.SUBMITTED, at, claims)


def used_by_later_comers(seen: list[tuple[int, Ask]], hours: int, tier: Tier) -> NDArray[np.float64]:
    """Each hour again somebody comes like each of those who came, with an ``hours``-th of the devices."""
    ranks = list(Tier)
    use = np.zeros(AHEAD)
    for slot, one in seen:
        if ranks.index(one.tier) < ranks.index(tier):
            for comes in range(1, AHEAD):
                first = comes + one.earliest - slot
                use[first : first + one.slots] += one.devices / hours
    return use


@settings(deadline=None)
@given(seed=st.integers(0, 10**9))
def test_it_is_what_the_same_would_use_again(seed: int) -> None:
    draw = random.Random(seed)
    demand, seen = Demand(fleet()), list[tuple[int, Ask]]()
    slot, hours = 240, 24 - 1  # within one day, so that nothing fades
    demand.apply(asked(slot))
    for later in sorted(draw.randint(0, hours) for _ in range(draw.randint(0, 12))):
        first = slot + later + draw.choice([0, 0, 3, 20, 90])
        one = ask(draw.randint(1, 64), draw.randint(1, 40), earliest=first, tier=draw.choice(list(Tier)))
        demand.apply(asked(slot + later, one))
        seen.append((slot + later, one))
    demand.apply(asked(slot + hours))
    use = demand.use(("b200",), AHEAD)
    for tier, row in ABOVE.items():
        assert np.allclose(use[row, 0], used_by_later_comers(seen, hours, tier))


def test_nothing_is_expected_before_a_day_was_seen() -> None:
    demand = Demand(fleet())
    demand.apply(asked(0))
    demand.apply(asked(KNOWN_SLOTS - 1))
    assert not demand.known
    demand.apply(asked(KNOWN_SLOTS))
    assert demand.known


def test_time_that_nobody_saw_does_not_count() -> None:
    demand = Demand(fleet())
    demand.apply(asked(0))
    demand.resume(1)
    demand.apply(asked(10 * KNOWN_SLOTS))
    assert not demand.known


def test_a_claim_counts_once_and_a_quote_only_once_it_is_redeemed() -> None:
    new = replace(claim(), ask=ask(8, 4, tier=Tier.GUARANTEED))
    held = replace(new, state=Held((placement(),), 9), revision=4)
    redeemed = replace(held.becomes(new.state, at=0), revision=5, replaced=4)
    steps = (
        (replace(new, revision=1), 1),
        (replace(new, revision=2, replaced=1), 1),
        (held, 1),
        (redeemed, 2),
        (replace(redeemed, revision=6, replaced=5), 2),
        (replace(new, ask=ask(8, 4, tier=Tier.SPOT)), 2),
    )
    for n, (_, count) in enumerate(steps):
        demand = Demand(fleet())
        for changed, _ in steps[: n + 1]:
            demand.apply(Event(1, EventKind.SUBMITTED, 0, (changed,)))
        demand.apply(asked(1))
        assert demand.use(("b200",), 2)[ABOVE[Tier.STANDARD], 0].tolist() == [0, 8 * count]


def test_who_withdraws_while_waiting_wanted_nothing() -> None:
    demand = Demand(fleet())
    demand.apply(asked(0))
    new = replace(claim(), ask=ask(8, 4, tier=Tier.GUARANTEED))
    demand.apply(Event(1, EventKind.SUBMITTED, 0, (new,)))
    gone = replace(new.becomes(Cancelled(), at=0), revision=2, replaced=1)
    demand.apply(Event(2, EventKind.CANCELLED, 30 * SLOT_SECONDS, (gone,)))
    assert np.allclose(demand.use(("b200",), AHEAD), 0)
    placed = replace(new, name=ClaimName("atlas", "placed"))
    demand.apply(Event(3, EventKind.SUBMITTED, 30 * SLOT_SECONDS, (placed,)))
    states: list[State] = [Planned((placement(),)), Cancelled((placement(),))]
    for n, state in enumerate(states):
        demand.apply(Event(4 + n, EventKind.PLANNED, 30 * SLOT_SECONDS, (replace(placed, state=state, replaced=3),)))
    assert demand.use(("b200",), AHEAD).max() > 0, "who had a place and gave it up may come again"


def test_nobody_counts_for_more_than_could_be_had() -> None:
    demand = Demand(fleet({"dc-1": 64}, {"atlas": 10}))
    demand.apply(asked(0, ask(40, 4, tier=Tier.GUARANTEED), ask(900, 4, tier=Tier.GUARANTEED)))
    demand.apply(asked(1))
    assert demand.use(("b200",), 2)[ABOVE[Tier.STANDARD], 0].tolist() == [0, 10]


def test_old_arrivals_fade() -> None:
    demand = Demand(fleet())
    demand.apply(asked(0, ask(60, 24, tier=Tier.GUARANTEED)))
    demand.apply(asked(24))
    soon = demand.use(("b200",), AHEAD)
    demand.apply(asked(24 * 60))
    assert demand.use(("b200",), AHEAD).max() < soon.max() / 60, "a day's claims were averaged over sixty, and faded"


@pytest.mark.parametrize("tier", [Tier.GUARANTEED, Tier.STANDARD])
def test_who_may_run_on_two_kinds_of_silicon_is_expected_on_both(tier: Tier) -> None:
    pools = (pool("dc-1", 300), pool("mtia-1", 100, silicon="mtia"))
    both = WorkloadClass("training", {"b200": 100, "mtia": 50})
    made: Fleet = replace(fleet(pools), workload_classes=(both,))
    demand = Demand(made)
    demand.apply(asked(0, ask(40, 4, tier=tier)))
    demand.apply(asked(24))
    use = demand.use(("b200", "mtia"), AHEAD)[ABOVE[Tier.SPOT]]
    assert np.isclose(use[0, 30], 30 * 4 / 24 * 0.5 ** (1 / 14), rtol=0.1)
    assert np.isclose(use[1, 30], 10 * 8 / 24 * 0.5 ** (1 / 14), rtol=0.1), "half as fast takes twice as long"
    assert (demand.use(("b200",), AHEAD)[ABOVE[Tier.STANDARD]] > 0).any() == (tier is Tier.GUARANTEED)
