"""A plan whose moves others made impossible still serves who is new; and is refused where nothing of it fits."""

from __future__ import annotations

import pytest

from broker.domain.claim import Planned
from broker.domain.faults import Fault, FaultReason
from broker.into_force import put_into_force
from broker.ledger.port import Ledger
from broker.optimiser.outcome import Outcome
from tests.builders import placement, plan
from tests.ledger.ledgers import Desk


@pytest.mark.parametrize("taken", [False, True])
async def test_who_was_to_move_stays_where_others_took_the_room_and_who_is_new_is_served(
    ledger: Ledger, desk: Desk, taken: bool
) -> None:
    await desk.open_pools({"dc-1": 8})
    held = await desk.place(await desk.submit("atlas/held"), placement(first=0, end=4))
    new = await desk.submit("atlas/new")
    moved = held.becomes(Planned((placement(first=4, end=8),)), at=0)
    served = new.becomes(Planned((placement(first=10, end=14),)), at=0)
    if taken:
        await desk.place(await desk.submit("borealis/quick"), placement(first=6, end=9))
    decided = Outcome((moved, served), placed=2, moved=1, together=1)
    fence = await desk.lead()
    done = await put_into_force(ledger, decided, plan(moved=1), claims_max=10, fence=fence, at=0, prices=None)
    assert done.skipped == ((held.name,) if taken else ())
    now = {claim.name: claim.placements for claim in (await ledger.snapshot()).claims}
    assert now[held.name] == (held if taken else moved).placements
    assert now[new.name] == served.placements
    assert (await ledger.plan(None)).moved == (0 if taken else 1)


async def test_a_plan_of_which_nothing_fits_is_refused(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 8})
    held = await desk.place(await desk.submit("atlas/held"), placement(first=0, end=4))
    await desk.place(await desk.submit("borealis/quick"), placement(first=6, end=9))
    moved = held.becomes(Planned((placement(first=4, end=8),)), at=0)
    before, fence = await ledger.snapshot(), await desk.lead()
    decided = Outcome((moved,), placed=1, moved=1, together=1)
    with pytest.raises(Fault) as refused:
        await put_into_force(ledger, decided, plan(), claims_max=10, fence=fence, at=0, prices=None)
    assert refused.value.reason is FaultReason.OVERCOMMIT
    assert (await ledger.snapshot()).claims == before.claims
