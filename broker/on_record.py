"""What stays of a plan once it is in force: its record, prices for whoever answers next, and domains for good."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from broker.domain.bid_prices import BidPrices
from broker.domain.plan import PlanRecord, PoolPrice
from broker.optimiser.compile import Compiled
from broker.optimiser.outcome import Outcome
from broker.optimiser.problem import Status
from broker.optimiser.report import Solved
from broker.racks.pool import settled

__all__ = ["bid_prices", "gap", "plan_record", "with_domains"]


def gap(record: PlanRecord) -> float:
    """Share of the bound that the plan may still be missing."""
    return (record.bound_microusd - record.objective_microusd) / max(1, abs(record.bound_microusd))


def bid_prices(compiled: Compiled, solved: Solved) -> BidPrices:
    """The prices of the plan, for whoever answers before the next one."""
    problem = compiled.problem
    pools, tenants = (np.rint(rows).astype(np.int64).tolist() for rows in (solved.prices.pools, solved.prices.quotas))
    return BidPrices(
        compiled.horizon.first,
        {pool: tuple(row) for pool, row in zip(problem.pools.ids, pools, strict=True)},
        {tenant: tuple(row) for tenant, row in zip(problem.quotas.ids, tenants, strict=True)},
    )


def plan_record(
    compiled: Compiled,
    solved: Solved,
    decided: Outcome,
    millis: int,
    at: int,
) -> PlanRecord:
    """What is told of a plan that took ``millis`` to solve: how good it is, what it places, why it places no more."""
    prices = solved.prices.pools
    rows = range(len(compiled.problem.pools.ids))
    means = np.rint(prices.mean(axis=1)) if prices.size else np.zeros(len(rows))
    peaks = np.rint(prices.max(axis=1)) if prices.size else np.zeros(len(rows))
    return PlanRecord(
        based_on_revision=compiled.snapshot.revision,
        horizon=compiled.horizon,
        optimal=solved.status is Status.OPTIMAL,
        objective_microusd=solved.objective,
        bound_microusd=max(solved.objective, int(np.ceil(solved.bound))),
        solve_millis=millis,
        claims=len(compiled.snapshot.claims),
        placed=decided.placed,
        moved=decided.moved,
        created_at=at,
        reasons=decided.reasons,
        prices=tuple(
            PoolPrice(pool, int(means[row]), int(peaks[row])) for row, pool in enumerate(compiled.problem.pools.ids)
        ),
    )


def with_domains(compiled: Compiled, decided: Outcome, now: int) -> Outcome:
    """The outcome in which everything that has started has its domains, for good; no plan is needed to find them."""
    after = {claim.name: claim for claim in (*compiled.snapshot.claims, *decided.changed)}
    found = settled(compiled.snapshot.fleet, after.values(), now)
    changed = tuple(found.pop(claim.name, claim) for claim in decided.changed)
    return replace(decided, changed=(*changed, *found.values()))
