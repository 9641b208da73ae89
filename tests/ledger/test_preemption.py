"""What a plan may take from spot work that runs, judged from the log alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from broker.domain.claim import Claim, Committed, DomainSpan, Placement, Planned, Preemption, State, Tier, Waiting
from broker.domain.preemption import WHOLE
from broker.domain.slots import SLOT_SECONDS
from broker.domain.snapshot import Event, EventKind
from broker.ledger.fold import violations
from tests.builders import AWAITING_PLAN, claim, fleet, placement, plan

RUN, TAKER, OTHER = "atlas/run", "borealis/taker", "borealis/other"
WHERE = placement(first=0, end=10)
CUT = replace(WHERE, window=replace(WHERE.window, end=4), left_ppm=WHOLE * 6 // 10)
TAKEN = placement(first=4, end=8)
RATE = 8 * 1_000_000  # of eight devices for an hour


class Log:
    """A spot claim that runs in the only pool from slot 0 on, and who waits; then what plans make of them."""

    def __init__(self, *, tier: Tier = Tier.STANDARD, value: int = 24 * RATE, **fields: Any) -> None:
        self.events: list[Event] = []
        self.claims: dict[str, Claim] = {}
        self._add(EventKind.FLEET_APPLIED, 0, fleet=fleet({"dc-1": 8}))
        terms = {"tier": Tier.SPOT, "gang": True, "preemption": Preemption(2, 1, 2)}
        self._ask(RUN, **(terms | {"slots": 10, "value_microusd": 20 * RATE} | fields))
        self._ask(TAKER, gang=True, slots=4, tier=tier, value_microusd=value)
        self._ask(OTHER, gang=True, slots=2, tier=Tier.SPOT, value_microusd=99 * RATE)
        self.plan(0, {RUN: Committed((WHERE,))})

    def plan(self, slot: int, states: Mapping[str, State | Claim], *, skipped: int = 0) -> None:
        """A plan in force in ``slot``: new states, or claims that have other fields as well."""
        changed = []
        for name, state in states.items():
            old = self.claims[name]
            after = state if isinstance(state, Claim) else old.becomes(state, at=slot * SLOT_SECONDS)
            self.claims[name] = replace(after, revision=len(self.events) + 1, replaced=old.revision)
            changed.append(self.claims[name])
        self._add(EventKind.PLANNED, slot, claims=tuple(changed), plan=plan(len(self.events), skipped=skipped))

    @property
    def broken(self) -> tuple[str, ...]:
        return violations(self.events)

    def _ask(self, name: str, **asked: Any) -> None:
        self.claims[name] = claim(name, revision=len(self.events) + 1, **asked)
        self._add(EventKind.SUBMITTED, 0, claims=(self.claims[name],))

    def _add(self, kind: EventKind, slot: int, **fields: Any) -> None:
        self.events.append(Event(len(self.events) + 1, kind, slot * SLOT_SECONDS, **fields))


def given_way(log: Log, slot: int = 3, cut: Placement = CUT, taken: Placement = TAKEN) -> Log:
    log.plan(slot, {RUN: Committed((cut,)), TAKER: Committed((taken,))})
    return log


def test_who_runs_gives_way_to_who_is_worth_more_and_goes_on_when_its_notice_is_over() -> None:
    log = given_way(Log())
    assert log.broken == ()
    log.plan(4, {RUN: replace(log.claims[RUN], state=Waiting((AWAITING_PLAN,)), ran=(CUT,))})
    log.plan(4, {RUN: Planned((placement(first=8, end=16),))})
    assert log.broken == ()


def test_the_plan_that_tells_may_tell_domains_as_well() -> None:
    spans = (DomainSpan(0, 1, 8),)
    assert given_way(Log(), cut=replace(CUT, domains=spans)).broken == ()
    log, other = Log(gang=False, devices=16), placement(part=1, first=10, end=20)
    log.plan(0, {RUN: Committed((WHERE, other))})
    log.plan(3, {RUN: Committed((CUT, replace(other, domains=spans))), TAKER: Committed((TAKEN,))})
    assert log.broken == ()


@pytest.mark.parametrize(
    ("log", "word"),
    [
        (given_way(Log(preemption=Preemption(4, 1, 2))), "is committed to"),  # its least run was not over
        (given_way(Log(preemption=Preemption(2, 2, 2))), "is committed to"),  # notice was a slot short
        (given_way(Log(preemption=Preemption(2, 1, 0))), "is committed to"),  # more is left than it says
        (given_way(Log(), slot=4), "is committed to"),  # no notice at all
        (given_way(Log(tier=Tier.SPOT)), "gives way in"),
        (given_way(Log(value=8 * RATE)), "gives way in"),  # no more by the hour
        (given_way(Log(), taken=placement(first=10, end=14)), "gives way in"),  # it could have stayed
    ],
)
def test_on_no_other_terms_and_to_nobody_else(log: Log, word: str) -> None:
    assert log.broken != ()
    assert all(word in broken for broken in log.broken)


def test_a_spot_claim_beside_the_taker_is_no_reason() -> None:
    log = Log()
    log.plan(3, {RUN: Committed((CUT,)), OTHER: Committed((placement(first=4, end=6),))})
    assert any("gives way in" in broken for broken in log.broken)


def test_nothing_is_said_of_a_taker_who_was_gone_when_the_plan_came() -> None:
    log = Log()
    log.plan(3, {RUN: Committed((CUT,))}, skipped=1)
    assert log.broken == ()
    log = Log()
    log.plan(3, {RUN: Committed((CUT,))})
    assert log.broken != ()


def test_the_third_time_is_one_too_many() -> None:
    log = Log()
    runs = tuple(placement(first=n, end=n + 1, left_ppm=WHOLE) for n in range(2))
    log.claims[RUN] = replace(log.claims[RUN], ran=runs)
    log.events[-1] = replace(log.events[-1], claims=(log.claims[RUN],))
    assert any("is committed to" in broken for broken in given_way(log).broken)


def test_nobody_is_granted_a_place_and_loses_one_by_the_same_plan() -> None:
    log = Log(gang=False, devices=16)
    log.plan(3, {RUN: Committed((CUT, placement(part=1, first=8, end=18))), TAKER: Committed((TAKEN,))})
    assert any("is granted a place and loses one" in broken for broken in log.broken)


def test_what_ran_is_neither_forgotten_nor_made_up_nor_told_too_soon() -> None:
    soon = given_way(Log())
    soon.plan(3, {RUN: replace(soon.claims[RUN], state=Waiting((AWAITING_PLAN,)), ran=(CUT,))})
    assert any("is said to have run" in broken for broken in soon.broken)
    lost = given_way(Log())
    lost.plan(4, {RUN: Waiting((AWAITING_PLAN,))})
    assert any("loses its place" in broken for broken in lost.broken)
    forgotten = given_way(Log())
    forgotten.plan(4, {RUN: replace(forgotten.claims[RUN], state=Waiting((AWAITING_PLAN,)), ran=(CUT,))})
    forgotten.plan(5, {RUN: replace(forgotten.claims[RUN], ran=())})
    assert any("forgets what it ran" in broken for broken in forgotten.broken)
    made_up = given_way(Log())
    longer = replace(CUT, left_ppm=1)
    made_up.plan(4, {RUN: replace(made_up.claims[RUN], state=Waiting((AWAITING_PLAN,)), ran=(longer,))})
    assert any("is said to have run" in broken for broken in made_up.broken)
