"""The benchmark of insurance on the default fleet, in small."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.insurance import ANY_ONE_POOL, default_fleet, demo_claims, ordeal, planned
from broker.domain.claim import Tier
from broker.domain.options import options
from broker.domain.slots import SLOT_SECONDS

LOAD, WORK = 0.3, 600


def test_claims_make_the_load_and_no_more() -> None:
    fleet = default_fleet()
    few, more = demo_claims(fleet, 0.1, 1), demo_claims(fleet, 0.2, 1)
    assert more[: len(few)] == few
    least = [min((w.devices * w.slots for w in options(claim.ask, fleet)), default=0) for claim in more]
    first = more[0].created_at // SLOT_SECONDS
    supply = sum(sum(pool.supply().at(slot) for slot in range(first, first + 28 * 24)) for pool in fleet.pools)
    assert 0.15 * supply < sum(least) <= 0.2 * supply
    assert demo_claims(fleet, 0.1, 2) != few


@pytest.mark.parametrize("pool", ["dc-a", "silicon-r"])
async def test_insured_guaranteed_work_is_served_again_within_one_cycle(pool: str) -> None:
    fleet = default_fleet((ANY_ONE_POOL,))
    claims = [claim for claim in demo_claims(fleet, LOAD, 1) if claim.ask.tier is not Tier.SPOT]
    trial = await planned(fleet, claims, seconds=1, work=WORK)
    assert all(cost.insured + cost.uninsurable == cost.hit for cost in trial.record.insurance)
    before = (await trial.ledger.snapshot()).claims
    found = await ordeal(trial, pool, seconds=1, work=WORK)
    assert found is not None
    assert found.hit[Tier.GUARANTEED] == found.again[Tier.GUARANTEED] > 0
    assert found.lost == ()
    assert (await trial.ledger.snapshot()).claims == before, "each ordeal starts from the same plan"


async def test_a_pool_without_guaranteed_work_needs_no_ordeal() -> None:
    fleet = default_fleet()
    claims = [replace(claim, ask=replace(claim.ask, tier=Tier.SPOT)) for claim in demo_claims(fleet, 0.02, 1)]
    trial = await planned(fleet, claims, seconds=1, work=50)
    assert await ordeal(trial, "dc-a", seconds=1, work=50) is None
