"""What counts as a promise, and what as breaking it."""

from __future__ import annotations

import pytest
from capacitybroker import TIER_SPOT, Claim, timestamp

from broker.cli.promises import Promises
from tests.cli.messages import at, claim, placement

PLANNED = claim("t/c", placement("a", 64, 5, 10, latest=8))
FIRM = claim("t/c", placement("a", 64, 5, 10), state=Claim.STATE_COMMITTED)


def broken(*states: Claim) -> list[str]:
    promises = Promises()
    for state in states:
        promises.observe(state)
    return promises.broken


@pytest.mark.parametrize(
    "kept",
    [
        (claim("t/c"), PLANNED, FIRM, claim("t/c", placement("a", 64, 5, 10), state=Claim.STATE_ENDED)),
        (PLANNED, claim("t/c", placement("b", 64, 8, 13, latest=8))),
        (PLANNED, claim("t/c", state=Claim.STATE_CANCELLED)),
        (claim("t/c"), claim("t/c", state=Claim.STATE_EXPIRED)),
        (claim("t/s", placement("a", 64, 5, 10), tier=TIER_SPOT), claim("t/s", tier=TIER_SPOT)),
    ],
)
def test_kept(kept: tuple[Claim, ...]) -> None:
    assert broken(*kept) == []


@pytest.mark.parametrize(
    ("states", "says"),
    [
        ((PLANNED, claim("t/c")), "held 64 devices, then it was waiting"),
        ((FIRM, claim("t/c", state=Claim.STATE_DISPLACED)), "then it was displaced"),
        ((PLANNED, claim("t/c", state=Claim.STATE_EXPIRED)), "then it was expired"),
        ((PLANNED, claim("t/c", placement("a", 32, 5, 10, latest=8))), "held 64 devices, then 32"),
        ((PLANNED, claim("t/c", placement("b", 64, 9, 14, latest=9))), "was to start by"),
        ((FIRM, claim("t/c", placement("b", 64, 5, 10), state=Claim.STATE_COMMITTED)), "moved after it was committed"),
    ],
)
def test_broken(states: tuple[Claim, ...], says: str) -> None:
    (fault,) = broken(*states)
    assert fault.startswith("tenants/t/claims/c: ")
    assert says in fault


def test_a_promise_once_tightened_stays_tight() -> None:
    later = claim("t/c", placement("a", 64, 6, 11, latest=6))
    again = claim("t/c", placement("a", 64, 8, 13, latest=8))
    assert len(broken(PLANNED, later, again)) == 1


def test_no_start_before_the_claim_allows_it() -> None:
    early = claim("t/c", placement("a", 64, 2, 7, latest=8))
    early.earliest_start_time.CopyFrom(timestamp(at(4)))
    assert len(broken(PLANNED, early)) == 1
