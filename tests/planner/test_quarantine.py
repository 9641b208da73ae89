"""Who is set aside, and who is not: the search by halves, on a planner that fails as it is told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from broker.domain.claim import Claim, Planned, Waiting
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet
from broker.domain.reason import Because, Reason
from broker.domain.snapshot import Snapshot
from broker.ledger.memory import MemoryLedger
from broker.optimiser.worker import SolverLost
from broker.quarantine import Quarantine
from tests.builders import claim, placement

NAMES = [f"atlas/run-{n:02}" for n in range(40)]


class _Ledger(MemoryLedger):
    """One whose market is what the test says."""

    def __init__(self, claims: tuple[Claim, ...]) -> None:
        super().__init__(incarnation="test", monotonic=lambda: 0.0)
        self.claims_now = claims

    async def snapshot(self) -> Snapshot:
        return Snapshot("test", 99, Fleet(), self.claims_now)


def market(**states: Claim) -> _Ledger:
    return _Ledger(tuple(claim(name, revision=n + 1) for n, name in enumerate(NAMES)))


async def searched(ledger: _Ledger, fails: Callable[[set[str]], bool]) -> tuple[Quarantine, list[int]]:
    """What is set aside where planning fails as ``fails`` says of the claims it is given; how many each attempt had."""
    quarantine, attempts = Quarantine(), []

    async def attempt(snapshot: Snapshot, _seconds: float) -> None:
        names = {one.name.key for one in snapshot.claims}
        attempts.append(len(names))
        if fails(names):
            raise SolverLost("died")

    await quarantine.search(ledger, attempt)
    return quarantine, attempts


def out(quarantine: Quarantine, ledger: _Ledger) -> tuple[set[str], set[str]]:
    """Who is left out, and who of them is to be told so."""
    before = Snapshot("test", 99, Fleet(), ledger.claims_now)
    left = {one.name.key for one in quarantine.without(before).claims}
    return {one.name.key for one in before.claims} - left, {one.name.key for one in quarantine.untold(0)}


@pytest.mark.parametrize("culprits", [{NAMES[0]}, {NAMES[39]}, {NAMES[7], NAMES[8], NAMES[31]}])
async def test_those_of_whom_planning_fails_are_found_and_nobody_else(culprits: set[str]) -> None:
    ledger = market()
    quarantine, attempts = await searched(ledger, lambda names: bool(names & culprits))
    assert out(quarantine, ledger) == (culprits, culprits)
    assert len(attempts) <= 3 + 20 * len(culprits)
    assert all(one.because[0].reason is Reason.QUARANTINED for one in quarantine.untold(0))


async def test_two_that_are_harmless_alone_are_parted_and_not_blamed() -> None:
    ledger, pair = market(), {NAMES[3], NAMES[20]}
    quarantine, _ = await searched(ledger, lambda names: pair <= names)
    left_out, told = out(quarantine, ledger)
    assert len(left_out) == 1
    assert left_out < pair
    assert told == set()


async def test_who_was_not_blamed_is_tried_again_after_a_while_and_who_was_is_not() -> None:
    ledger, pair = market(), {NAMES[3], NAMES[20]}
    quarantine, _ = await searched(ledger, lambda names: pair <= names or NAMES[30] in names)
    assert out(quarantine, ledger)[0] > {NAMES[30]}
    for _ in range(20):
        quarantine.planned()
    assert out(quarantine, ledger) == ({NAMES[30]}, {NAMES[30]})


@pytest.mark.parametrize("seed", range(20))
async def test_nobody_is_blamed_where_a_solver_gets_no_time(seed: int) -> None:
    chance, ledger = Random(seed), market()
    quarantine, _ = await searched(ledger, lambda _names: chance.random() < 0.3)
    assert out(quarantine, ledger)[1] == set()


async def test_nobody_is_blamed_for_what_fails_without_him_or_no_more() -> None:
    ledger = market()
    for fails in (lambda _names: True, lambda _names: False):
        quarantine, attempts = await searched(ledger, fails)
        assert out(quarantine, ledger) == (set(), set())
        assert len(attempts) <= 2


async def test_who_holds_capacity_is_never_set_aside() -> None:
    ledger = market()
    first, *others = ledger.claims_now
    ledger.claims_now = (replace(first, state=Planned((placement(),))), *others)
    quarantine, _ = await searched(ledger, lambda names: NAMES[0] in names)
    assert out(quarantine, ledger) == (set(), set())


async def test_a_claim_that_was_changed_is_looked_at_again() -> None:
    ledger = market()
    quarantine, _ = await searched(ledger, lambda names: NAMES[5] in names)
    assert out(quarantine, ledger) == ({NAMES[5]}, {NAMES[5]})
    (told,) = quarantine.untold(0)
    ledger.claims_now = (replace(told, revision=100),)
    assert out(Quarantine(), ledger) == ({NAMES[5]}, set()), "any planner knows, and tells nobody twice"
    amended = Waiting((Because(Reason.AMENDED, "Changed."),))
    ledger.claims_now = (replace(told, revision=101, state=amended),)
    assert out(quarantine, ledger) == (set(), set())


async def test_a_store_that_is_away_is_nobodys_fault() -> None:
    ledger = market()

    async def attempt(_snapshot: Snapshot, _seconds: float) -> None:
        raise Fault(FaultReason.STORE_UNAVAILABLE, "away", remedy="Wait")

    quarantine = Quarantine()
    with pytest.raises(Fault):
        await quarantine.search(ledger, attempt)
    assert out(quarantine, ledger) == (set(), set())


def test_only_failures_in_a_row_that_are_not_the_stores_make_anybody_suspect() -> None:
    quarantine, away = Quarantine(), Fault(FaultReason.STORE_UNAVAILABLE, "away", remedy="Wait")
    assert [quarantine.suspects(error) for error in (away, away, away, away)] == [False] * 4
    assert [quarantine.suspects(SolverLost("died")) for _ in range(2)] == [False, False]
    quarantine.planned()
    assert [quarantine.suspects(SolverLost("died")) for _ in range(3)] == [False, False, True]
