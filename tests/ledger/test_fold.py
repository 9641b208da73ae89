"""The judge is judged: each promise, broken on purpose, is found."""

from dataclasses import replace

import pytest

from broker.domain.claim import Cancelled, Claim, Planned
from broker.domain.slots import Window
from broker.domain.snapshot import Event, EventKind, Shortfall
from broker.ledger.fold import violations
from tests.builders import ask, claim, fleet, placement

POOLS = Event(1, EventKind.FLEET_APPLIED, 0, fleet=fleet({"dc-1": 8}))


def submitted(revision: int, name: str = "atlas/run-1", **asked: object) -> Event:
    return Event(revision, EventKind.SUBMITTED, 0, claims=(claim(name, revision=revision, **asked),))  # type: ignore[arg-type]


def planned(revision: int, *claims: Claim) -> Event:
    return Event(revision, EventKind.PLANNED, 0, claims=tuple(replace(c, revision=revision) for c in claims))


PLACED = claim(state=Planned((placement(),)))

BROKEN = {
    "follows revision 1": [POOLS, submitted(3)],
    "created a second time": [POOLS, submitted(2), submitted(3)],
    "never created": [POOLS, planned(2, PLACED)],
    "after it was closed": [POOLS, submitted(2), planned(3, claim(state=Cancelled())), planned(4, PLACED)],
    "an ask that had been amended": [POOLS, submitted(2), planned(3, replace(PLACED, ask=ask(devices=9)))],
    "a claim of another time": [POOLS, submitted(2), planned(3, replace(PLACED, created_at=5))],
    "the same claim twice": [POOLS, submitted(2), planned(3, PLACED, PLACED)],
    "says revision 3": [POOLS, replace(submitted(2), claims=(claim(revision=3),))],
    "a gang in 2 parts": [
        POOLS,
        submitted(2, gang=True),
        planned(3, claim(gang=True, state=Planned((placement(devices=4), placement(devices=4, part=1))))),
    ],
    "lends 8 more than it may": [
        POOLS,
        submitted(2),
        submitted(3, "atlas/run-2"),
        planned(4, PLACED, replace(PLACED, name=replace(PLACED.name, id="run-2"))),
    ],
    "leaves shortfalls": [
        POOLS,
        submitted(2),
        planned(3, PLACED),
        Event(4, EventKind.FLEET_APPLIED, 0, fleet=fleet({"dc-1": 7})),
    ],
}


@pytest.mark.parametrize("says", BROKEN)
def test_a_broken_promise_is_named(says: str) -> None:
    assert any(says in broken for broken in violations(BROKEN[says])), violations(BROKEN[says])


def test_a_log_that_keeps_its_promises_has_no_violations() -> None:
    shrunk = Event(
        4,
        EventKind.FLEET_APPLIED,
        0,
        fleet=fleet({"dc-1": 7}),
        shortfalls=(Shortfall("pools/dc-1", Window(0, 4), 1),),
    )
    assert violations([POOLS, submitted(2), planned(3, PLACED), shrunk]) == ()
