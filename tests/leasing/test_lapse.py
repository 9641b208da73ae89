"""Leases that nobody renews end, whatever else happened to their claims."""

from __future__ import annotations

from broker.domain.claim import Ended
from tests.builders import ask, fleet, plan
from tests.world import world


async def test_leases_of_claims_that_one_plan_changed_both_end() -> None:
    """A plan writes many claims in one revision; whoever ends the lease of one has not ended that of another."""
    async with world() as w:
        await w.declare(fleet({"dc-1": 64}))
        names = [await w.ask(ask(8, 6, earliest=w.slot)) for _ in range(2)]
        await w.plan()
        w.now += 3_600
        leases = [await w.leasing.acquire(name, ttl_millis=5_000, key=w.key()) for name in names]
        assert len({lease.claim.revision for lease in leases}) == 2
        fence = await w.ledger.lead("test", ttl_millis=60_000)
        assert fence is not None
        await w.ledger.commit([lease.claim for lease in leases], plan(), fence=fence, at=w.now)
        claims = [await w.claim(name) for name in names]
        assert len({claim.revision for claim in claims}) == 1
        await w.serve_for(60)
        assert [isinstance((await w.claim(name)).state, Ended) for name in names] == [True, True]
