"""A new claim and those who make room for it change in one step, or nobody moves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.domain.claim import Claim, Placement, Planned
from broker.ledger.fold import violations
from broker.ledger.port import Ledger
from tests.builders import claim, key, placement
from tests.ledger.ledgers import Desk, granted

LATE = placement(first=4, end=6, latest=4)


async def planned(desk: Desk, name: str = "borealis/old", devices: int = 8) -> Claim:
    """A claim in slots 0 to 2 that may start in slot 4 at the latest."""
    stored = await desk.submit(name, devices=devices, slots=2)
    return await desk.place(stored, placement(devices=devices, end=2, latest=4))


def moved(before: Claim, *placements: Placement) -> Claim:
    return before.becomes(Planned(placements), at=0)


def wanted(*placements: Placement) -> Claim:
    return claim("atlas/new", slots=2, state=Planned(placements or (placement(end=2),)))


async def test_who_makes_room_and_the_new_claim_change_in_one_revision(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8})
    old = await planned(desk)
    asked = claim("atlas/new", slots=2)
    before = await ledger.revision()
    receipt = await ledger.submit(asked, key=key("r"), at=0, candidates=[wanted()], moved=[moved(old, LATE)])
    assert receipt.claim.placements == (placement(end=2),)
    assert (receipt.claim.revision, await ledger.revision()) == (before + 1, before + 1)
    after = await ledger.claim(old.name)
    assert (after.placements, after.revision, after.ask) == ((LATE,), before + 1, old.ask)
    assert await granted(ledger) == (8, 8, 0, 0, 8, 8)
    (event,) = await ledger.events(before, limit=9)
    assert event.claims == (receipt.claim, replace(after, replaced=old.revision))
    assert violations(await ledger.events(0, limit=99)) == ()

    again = await ledger.submit(asked, key=key("r"), at=0, candidates=[wanted()], moved=[moved(old, LATE)])
    assert (again.claim, again.replayed, await ledger.revision()) == (receipt.claim, True, before + 1)


async def test_nobody_moves_for_a_claim_that_fits_anyway(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8})
    old = await planned(desk)
    tries = [wanted(placement(first=2, end=4)), wanted()]
    receipt = await ledger.submit(
        claim("atlas/new", slots=2), key=key("r"), at=0, candidates=tries, moved=[moved(old, LATE)]
    )
    assert receipt.claim.placements == (placement(first=2, end=4),)
    assert await ledger.claim(old.name) == old


async def test_nobody_moves_who_has_changed_meanwhile(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8})
    old = await planned(desk)
    await ledger.amend(replace(old, ask=replace(old.ask, labels={"a": "b"})), key=key("a"), at=0)
    asked = claim("atlas/new", slots=2)
    receipt = await ledger.submit(asked, key=key("r"), at=0, candidates=[wanted()], moved=[moved(old, LATE)])
    assert receipt.claim.state == asked.state
    assert (await ledger.claim(old.name)).placements == old.placements
    assert await granted(ledger) == (8, 8, 0, 0, 0, 0)


async def test_nobody_moves_where_there_is_no_room_either(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8}, {"atlas": 4, "borealis": 8})
    old = await planned(desk)
    other = await desk.place(await desk.submit("borealis/other", slots=2), placement(first=4, end=6))
    asked = claim("atlas/new", slots=2, devices=4)
    tries = [replace(asked, state=Planned((placement(devices=4, end=2),)))]
    receipt = await ledger.submit(asked, key=key("r"), at=0, candidates=tries, moved=[moved(old, LATE)])
    assert receipt.claim.state == asked.state
    assert [await ledger.claim(one.name) for one in (old, other)] == [old, other]


async def test_several_may_move_at_once(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 16})
    few = [await planned(desk, f"borealis/old-{n}") for n in range(2)]
    asked = claim("atlas/new", slots=2, devices=16)
    tries = [replace(asked, state=Planned((placement(devices=16, end=2),)))]
    there = [moved(one, placement(first=2 + n, end=4 + n, latest=4)) for n, one in enumerate(few)]
    receipt = await ledger.submit(asked, key=key("r"), at=0, candidates=tries, moved=there)
    assert receipt.claim.placements == (placement(devices=16, end=2),)
    assert await granted(ledger) == (16, 16, 8, 16, 8, 0)
    assert violations(await ledger.events(0, limit=99)) == ()


async def test_a_move_outside_what_was_told_is_seen_in_the_log(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8})
    old = await planned(desk)
    late = moved(old, placement(first=5, end=7, latest=5))
    await ledger.submit(claim("atlas/new", slots=2), key=key("r"), at=0, candidates=[wanted()], moved=[late])
    assert any("moves to slot 5" in broken for broken in violations(await ledger.events(0, limit=99)))


async def test_a_claim_makes_no_room_for_itself(ledger: Ledger, desk: Desk) -> None:
    old = await desk.submit("atlas/new", slots=2)
    with pytest.raises(ValueError, match="twice"):
        await ledger.submit(claim("atlas/new", slots=2), key=key("r"), at=0, candidates=[wanted()], moved=[old])
