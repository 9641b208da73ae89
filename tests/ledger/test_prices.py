"""Bid prices come with a plan and rule until the next ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.domain.bid_prices import BidPrices
from broker.domain.faults import Fault, FaultReason
from broker.ledger.codec import decode_prices, encode_prices
from broker.ledger.port import Fence, Ledger
from tests.builders import plan
from tests.ledger.ledgers import Desk

PRICES = BidPrices(7, {"dc-1": (0, 2**62, 3), "dc-2": ()}, {"atlas": (1, 2, 3, 4)})


async def test_there_are_none_before_the_first_plan(ledger: Ledger) -> None:
    assert await ledger.prices() is None


async def test_they_rule_from_their_plan_on(ledger: Ledger, desk: Desk) -> None:
    first = await ledger.commit([], plan(), fence=await desk.lead(), at=0, prices=PRICES)
    assert await ledger.prices() == replace(PRICES, revision=first.revision)
    await ledger.commit([], plan(), fence=await desk.lead(), at=0)
    assert await ledger.prices() == replace(PRICES, revision=first.revision)
    later = BidPrices(8, {"dc-1": (5,)})
    third = await ledger.commit([], plan(), fence=await desk.lead(), at=0, prices=later)
    assert await ledger.prices() == replace(later, revision=third.revision)


async def test_a_deposed_planner_sets_no_prices(ledger: Ledger, desk: Desk) -> None:
    fence = await desk.lead()
    with pytest.raises(Fault):
        await ledger.commit([], plan(), fence=Fence(fence.incarnation, fence.epoch - 1), at=0, prices=PRICES)
    assert await ledger.prices() is None


def test_what_is_packed_unpacks() -> None:
    assert decode_prices(encode_prices(PRICES), revision=9) == replace(PRICES, revision=9)


@pytest.mark.parametrize("damaged", [b"", b"x", encode_prices(PRICES)[:-3], encode_prices(PRICES)[3:]])
def test_what_cannot_be_read_halts(damaged: bytes) -> None:
    with pytest.raises(Fault) as refused:
        decode_prices(damaged, revision=1)
    assert refused.value.reason is FaultReason.SAFE_HALT
