"""What a tenant has on loan is in books of its own, and there is none unless the fleet says so."""

from __future__ import annotations

import pytest

from broker.domain.claim import Claim, Placement, Planned, Tier
from broker.domain.faults import Fault, FaultReason
from broker.domain.slots import Steps, Window
from broker.domain.snapshot import Shortfall
from broker.ledger.port import Balance, Ledger
from tests.builders import claim, fleet, key, placement, plan
from tests.ledger.ledgers import Desk


async def lend(desk: Desk, name: str, *places: Placement) -> Claim:
    """A claim that is placed on loan."""
    return await desk.place(await desk.submit(name, tier=Tier.SPOT, on_loan=True), *places)


async def test_a_loan_is_beside_the_quota_and_within_its_own_limit(ledger: Ledger, desk: Desk) -> None:
    declared = fleet({"dc-1": 64, "dc-2": 64}, {"atlas": 8}, loans={"atlas": 12})
    await ledger.apply_fleet(declared, key=desk.key(), at=0)
    await desk.place(await desk.submit("atlas/own"), placement("dc-1"))
    await lend(desk, "atlas/lent-1", placement("dc-1"))
    with pytest.raises(Fault) as refused:
        await lend(desk, "atlas/lent-2", placement("dc-2"))
    assert refused.value.facts["account"] == "tenants/atlas/loans"
    await lend(desk, "atlas/lent-3", placement("dc-2", devices=4))
    assert [balance for balance in (await ledger.balances(Window(3, 5)))[1] if "tenants" in balance.account] == [
        Balance("tenants/atlas", Steps.level(8), (8, 0)),
        Balance("tenants/atlas/loans", Steps.level(12), (12, 0)),
    ]


@pytest.mark.parametrize("loans", [{}, {"atlas": 0}, {"borealis": 99}])
async def test_who_may_have_nothing_on_loan_gets_nothing_so(ledger: Ledger, desk: Desk, loans: dict[str, int]) -> None:
    await ledger.apply_fleet(fleet({"dc-1": 64}, {"atlas": None, "borealis": None}, loans), key=desk.key(), at=0)
    with pytest.raises(Fault) as refused:
        await lend(desk, "atlas/lent", placement(devices=1))
    assert (refused.value.reason, refused.value.facts["account"]) == (FaultReason.OVERCOMMIT, "tenants/atlas/loans")


async def test_an_answer_at_once_takes_a_loan_only_where_there_is_one(ledger: Ledger, desk: Desk) -> None:
    await ledger.apply_fleet(fleet({"dc-1": 64}, {"atlas": 0}, {"atlas": 8}), key=desk.key(), at=0)
    for number, got in (("1", 8), ("2", 0)):
        asked = claim(f"atlas/lent-{number}", tier=Tier.SPOT, on_loan=True)
        tries = [asked.becomes(Planned((placement(),)), at=0)]
        receipt = await ledger.submit(asked, key=key(f"r{number}"), at=0, candidates=tries)
        assert sum(place.devices for place in receipt.claim.placements) == got


@pytest.mark.parametrize("loans", [{}, {"atlas": 3}])
async def test_less_to_lend_is_told_as_a_shortfall(ledger: Ledger, desk: Desk, loans: dict[str, int]) -> None:
    await ledger.apply_fleet(fleet({"dc-1": 64}, {"atlas": 0}, {"atlas": 8}), key=desk.key(), at=0)
    await lend(desk, "atlas/lent", placement(first=2, end=6))
    short = await ledger.apply_fleet(fleet({"dc-1": 64}, {"atlas": 0}, loans), key=desk.key(), at=3 * 3600)
    assert short.shortfalls == (Shortfall("tenants/atlas/loans", Window(3, 6), 8 - loans.get("atlas", 0)),)


async def test_what_moves_from_loan_to_quota_needs_room_there(ledger: Ledger, desk: Desk) -> None:
    await ledger.apply_fleet(fleet({"dc-1": 64}, {"atlas": 8}, {"atlas": 8}), key=desk.key(), at=0)
    await desk.place(await desk.submit("atlas/own"), placement())
    lent = await lend(desk, "atlas/lent", placement())
    bought = claim("atlas/lent", state=lent.state, tier=Tier.SPOT, revision=lent.revision)
    with pytest.raises(Fault) as refused:
        await ledger.amend(bought, key=desk.key(), at=0)
    assert refused.value.reason is FaultReason.OVERCOMMIT
    with pytest.raises(Fault):
        await ledger.commit([bought], plan(), fence=await desk.lead(), at=0)
