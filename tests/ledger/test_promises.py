"""What plans may do to claims that were placed, and what breaks a promise; judged from the log alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from broker.domain.claim import (
    Cancelled,
    Claim,
    Committed,
    Displaced,
    Ended,
    Expired,
    Held,
    Placement,
    Planned,
    State,
    Tier,
    Waiting,
)
from broker.domain.slots import SLOT_SECONDS
from broker.domain.snapshot import Event, EventKind
from broker.ledger.books import Books
from broker.ledger.fold import violations
from tests.builders import AWAITING_PLAN, claim, fleet, placement, plan

LOST = Displaced((AWAITING_PLAN,))
RUN_1, RUN_2 = "atlas/run-1", "borealis/run-2"
LATER = placement(first=4, end=8, latest=6)


@dataclass
class Log:
    """A log that grows by what callers, operators and plans do; its fleet has two pools of eight."""

    events: list[Event] = field(default_factory=list)
    claims: dict[str, Claim] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.declare({"dc-1": 8, "dc-2": 8})

    def declare(self, pools: dict[str, int], tenants: dict[str, int | None] | None = None, *, slot: int = 0) -> None:
        """A fleet; the event names the shortfalls that it leaves."""
        made, books = fleet(pools, tenants), Books()
        books.set_limits(made.limits())
        books.replace((), [hold for one in self.claims.values() for hold in one.holds()])
        self._add(EventKind.FLEET_APPLIED, slot, fleet=made, shortfalls=books.shortfalls(from_slot=slot))

    def ask(self, name: str = RUN_1, **asked: Any) -> None:
        """A new claim, for four hours in slots 0 to 4 unless asked otherwise."""
        self.claims[name] = claim(name, **asked)
        self._change(EventKind.SUBMITTED, name, self.claims[name].state, 0)

    def plan(self, name: str, *parts: Placement, state: State | None = None, slot: int = 0, based_on: int = 0) -> None:
        """A plan that puts one claim there, or into that state."""
        self._change(EventKind.PLANNED, name, state or Planned(parts), slot, plan=plan(based_on))

    def amend(self, name: str, *parts: Placement) -> None:
        """What a caller's change leaves the claim."""
        self._change(EventKind.AMENDED, name, Planned(parts) if parts else Waiting((AWAITING_PLAN,)), 0)

    def cancel(self, name: str) -> None:
        """A claim withdrawn before it began."""
        self._change(EventKind.CANCELLED, name, Cancelled(), 0)

    def _change(self, kind: EventKind, name: str, state: State, slot: int, **fields: Any) -> None:
        changed = self.claims[name].becomes(state, at=slot * SLOT_SECONDS)
        self.claims[name] = replace(changed, revision=len(self.events) + 1)
        self._add(kind, slot, claims=(self.claims[name],), **fields)

    def _add(self, kind: EventKind, slot: int, **fields: Any) -> None:
        self.events.append(Event(len(self.events) + 1, kind, slot * SLOT_SECONDS, **fields))

    @property
    def broken(self) -> tuple[str, ...]:
        """What the judge says."""
        return violations(self.events)


def placed(*parts: Placement, committed: bool = False, **asked: Any) -> Log:
    """A log in which run-1 was given these parts."""
    log = Log()
    log.ask(**asked)
    log.plan(RUN_1, state=Committed(parts) if committed else Planned(parts))
    return log


PARTS = placement("dc-1", 4), placement("dc-2", 4, part=1)


@pytest.mark.parametrize("tier", [Tier.GUARANTEED, Tier.STANDARD])
@pytest.mark.parametrize("state", [LOST, Waiting((AWAITING_PLAN,)), Ended(())], ids=lambda s: type(s).__name__)
def test_a_plan_takes_nothing_back(tier: Tier, state: State) -> None:
    log = placed(placement(), tier=tier)
    log.plan(RUN_1, state=state)
    assert log.broken == (
        "revision 4: tenants/atlas/claims/run-1 part 0 loses its place in dc-1 Window(first=0, end=4)",
    )


def test_a_plan_takes_no_part_back() -> None:
    log = placed(*PARTS)
    log.plan(RUN_1, PARTS[0])
    assert [broken[:50] for broken in log.broken] == ["revision 4: tenants/atlas/claims/run-1 part 1 lose"]


def test_a_plan_may_add_parts_and_end_what_is_over() -> None:
    log = placed(PARTS[0])
    log.plan(RUN_1, *PARTS)
    log.plan(RUN_1, state=Committed(PARTS))
    log.plan(RUN_1, state=Ended(PARTS), slot=4)
    assert log.broken == ()


def test_spot_gives_way_until_it_is_committed() -> None:
    log = placed(placement(), tier=Tier.SPOT)
    log.plan(RUN_1, state=LOST)
    assert log.broken == ()
    log.plan(RUN_1, state=Committed((placement(),)))
    log.plan(RUN_1, state=LOST)
    assert ["loses its place" in broken for broken in violations(log.events)] == [True]


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize(
    ("new", "says"),
    [
        (replace(LATER, window=placement(first=6, end=10).window), ""),
        (placement("dc-2", first=2, end=6), ""),
        (placement(first=7, end=11), "moves to slot 7, and was told 6 at the latest"),
        (placement(first=1, end=5), "moves to slot 1, before 2"),
        (replace(LATER, latest=9), "is told slot 9 at the latest, and was told 6 before"),
    ],
    ids=["to the latest", "to the earliest", "beyond the latest", "before the earliest", "a later latest"],
)
def test_a_placement_moves_within_what_was_told(tier: Tier, new: Placement, says: str) -> None:
    log = placed(LATER, earliest=2, tier=tier)
    log.plan(RUN_1, new)
    assert list(log.broken) == ([f"revision 4: tenants/atlas/claims/run-1 part 0 {says}"] if says else [])


def test_nothing_is_placed_before_its_ask_allows() -> None:
    log = placed(placement(first=1, end=5), earliest=2)
    assert log.broken == ("revision 3: tenants/atlas/claims/run-1 part 0 starts in slot 1, before 2",)


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize(
    ("state", "says"),
    [
        (Committed((placement("dc-2", 4),)), "is committed to dc-1"),
        (Committed((placement("dc-1", 4, 1, 5),)), "is committed to dc-1"),
        (Committed((placement("dc-1", 3),)), "is committed to dc-1"),
        (Ended((placement("dc-1", 4, 0, 3),)), "is committed to dc-1"),
        (Planned(PARTS[:1]), "was committed and may move again"),
        (Committed(PARTS), ""),
        (Ended(PARTS[:1]), ""),
    ],
    ids=["another pool", "another hour", "fewer devices", "shorter", "loose", "one part more", "over"],
)
def test_a_committed_claim_stays_where_it_is(tier: Tier, state: State, says: str) -> None:
    log = placed(PARTS[0], committed=True, tier=tier)
    log.plan(RUN_1, state=state)
    assert [says in broken for broken in log.broken] == ([True] if says else [])


BREACHES: dict[str, tuple[bool, State]] = {
    "dropped": (False, LOST),
    "late": (False, Planned((placement("dc-2", first=9, end=13),))),
    "moved though committed": (True, Committed((placement("dc-2", first=9, end=13),))),
    "loose though committed": (True, Planned((placement("dc-2", first=9, end=13, latest=20),))),
    "dropped though committed": (True, LOST),
}


@pytest.mark.parametrize("breach", BREACHES)
@pytest.mark.parametrize(
    ("pools", "tenants", "excused"),
    [
        ({"dc-1": 7, "dc-2": 8}, None, True),
        ({"dc-2": 8}, None, True),
        ({"dc-1": 8, "dc-2": 8}, {"atlas": 7, "borealis": None}, True),
        ({"dc-1": 8, "dc-2": 7}, None, False),
        ({"dc-1": 8, "dc-2": 8}, {"atlas": 8, "borealis": 0}, False),
    ],
    ids=["pool short", "pool gone", "quota short", "another pool short", "another quota cut"],
)
def test_lost_supply_lifts_the_promises_made_on_it(
    breach: str, pools: dict[str, int], tenants: dict[str, int | None] | None, excused: bool
) -> None:
    committed, state = BREACHES[breach]
    log = placed(placement(), committed=committed)
    log.declare(pools, tenants)
    log.plan(RUN_1, state=state)
    # A plan that takes more than there is breaks another rule.
    promises = set(log.broken) - set(violations(log.events, promises=False))
    assert bool(promises) is not excused, log.broken


@pytest.mark.parametrize(("lost", "says"), [("dc-2", 0), ("dc-3", 2)])
def test_what_is_held_for_a_quote_ends_whole_with_the_supply_under_any_part(lost: str, says: int) -> None:
    log, whole = Log(), {"dc-1": 8, "dc-2": 8, "dc-3": 8}
    log.declare(whole)
    log.ask()
    held = Held((placement("dc-1", 4), placement("dc-2", 4, part=1)), until=9)
    log.plan(RUN_1, state=held)
    log.declare(whole | {lost: 0})
    log.plan(RUN_1, state=Expired((AWAITING_PLAN,)))
    assert len(log.broken) == says


def test_only_a_loss_in_hours_to_come_lifts_a_promise() -> None:
    log = placed(placement(end=2))
    log.declare({"dc-1": 7, "dc-2": 8}, slot=2)
    log.plan(RUN_1, state=LOST, slot=2)
    assert ["loses its place" in broken for broken in log.broken] == [True]


def test_a_loss_that_a_caller_made_up_for_meanwhile_excuses_the_plan_that_saw_it() -> None:
    log = placed(placement(devices=4))
    log.ask(RUN_2)
    log.plan(RUN_2, placement(devices=4))
    log.declare({"dc-1": 4, "dc-2": 8})
    looked = len(log.events)
    log.cancel(RUN_2)
    log.plan(RUN_1, state=LOST, based_on=looked)
    assert log.broken == ()


def test_a_loss_that_was_made_up_for_before_the_plan_looked_excuses_nothing() -> None:
    log = placed(placement())
    log.declare({"dc-1": 4, "dc-2": 8})
    log.declare({"dc-1": 8, "dc-2": 8})
    log.plan(RUN_1, state=LOST, based_on=len(log.events))
    assert ["loses its place" in broken for broken in log.broken] == [True]


def test_callers_may_give_up_what_they_have() -> None:
    log = placed(placement())
    log.amend(RUN_1)
    log.plan(RUN_1, placement(first=9, end=13))
    log.cancel(RUN_1)
    assert log.broken == ()


def test_a_ledger_is_not_blamed_for_its_planner() -> None:
    log = placed(placement())
    log.plan(RUN_1, state=LOST)
    assert violations(log.events, promises=False) == ()
