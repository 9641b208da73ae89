"""What it means for a claim to be on loan, as long as nobody decides anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.domain.claim import Planned, Tier, Waiting
from broker.domain.options import LOAN_PERCENT, options
from broker.domain.promise import amended
from broker.domain.reason import Reason
from tests.builders import ask, claim, fleet, placement

PLACED = Planned((placement(latest=9),))


@pytest.mark.parametrize(("on_loan", "account"), [(False, "tenants/atlas"), (True, "tenants/atlas/loans")])
def test_one_account_of_its_tenant_lends_to_it_beside_the_pool(on_loan: bool, account: str) -> None:
    held = claim(state=PLACED, tier=Tier.SPOT, on_loan=on_loan)
    assert [hold.account for hold in held.holds()] == ["pools/dc-1", account]
    assert held.account == account


def test_an_hour_on_loan_is_worth_a_little_less() -> None:
    def value(**fields: object) -> int:
        (way,) = options(ask(8, 4, tier=Tier.SPOT, gang=True, value_microusd=1_000, **fields), fleet())
        return way.value_microusd

    assert value() == 1_000
    assert value(on_loan=True) == 1_000 - 10 * LOAN_PERCENT
    assert value(on_loan=True, preferred_pools=("dc-1",)) == 1_000


@pytest.mark.parametrize("was", [False, True])
def test_who_changes_between_quota_and_loan_gives_its_place_up(was: bool) -> None:
    held = claim(state=PLACED, tier=Tier.SPOT, on_loan=was)
    same = amended(held, replace(held.ask, labels={"a": "b"}), fleet(), at=0)
    assert same.placements == held.placements
    other = amended(held, replace(held.ask, on_loan=not was), fleet(), at=0)
    assert isinstance(other.state, Waiting)
    assert [why.reason for why in other.because] == [Reason.AMENDED]
