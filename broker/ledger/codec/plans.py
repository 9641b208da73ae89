"""Plans, without what the ledger adds to them: their revision and the number of skipped claims."""

from __future__ import annotations

from broker.domain.plan import LossCost, PlanRecord, PoolPrice, PoolRoom
from broker.domain.slots import Window
from broker.ledger.codec.text import VERSION, Json, checked

__all__ = ["plan_of", "plan_record"]


def plan_record(plan: PlanRecord) -> dict[str, Json]:
    """The plan as the planner made it."""
    return {
        "v": VERSION,
        "based_on_revision": plan.based_on_revision,
        "horizon": [plan.horizon.first, plan.horizon.end],
        "optimal": plan.optimal,
        "objective_microusd": plan.objective_microusd,
        "bound_microusd": plan.bound_microusd,
        "solve_millis": plan.solve_millis,
        "claims": plan.claims,
        "placed": plan.placed,
        "moved": plan.moved,
        "created_at": plan.created_at,
        "reasons": dict(plan.reasons),
        "prices": [[p.pool, p.mean_microusd, p.peak_microusd] for p in plan.prices],
        **({"repair": True} if plan.repair else {}),
        "defragmented": plan.defragmented,
        "rooms": [[r.pool, r.before_ppm, r.after_ppm, r.week_before_milli, r.week_after_milli] for r in plan.rooms],
        "insurance": [
            [c.insurance, list(c.pools), c.mean_microusd, c.at_most_microusd, c.hit, c.insured, c.uninsurable]
            for c in plan.insurance
        ],
    }


def plan_of(record: Json, revision: int, skipped: int) -> PlanRecord:
    """The plan that a record describes, as the ledger put it into force."""
    checked(record)
    return PlanRecord(
        based_on_revision=record["based_on_revision"],
        horizon=Window(*record["horizon"][:2]),
        optimal=record["optimal"],
        objective_microusd=record["objective_microusd"],
        bound_microusd=record["bound_microusd"],
        solve_millis=record["solve_millis"],
        claims=record["claims"],
        placed=record["placed"],
        moved=record["moved"],
        created_at=record["created_at"],
        reasons=record["reasons"],
        prices=tuple(PoolPrice(p[0], p[1], p[2]) for p in record["prices"]),
        insurance=tuple(LossCost(c[0], tuple(c[1]), *c[2:7]) for c in record.get("insurance", ())),
        rooms=tuple(PoolRoom(*r[:5]) for r in record.get("rooms", ())),
        defragmented=record.get("defragmented", 0),
        skipped=skipped,
        revision=revision,
        repair=record.get("repair", False),
    )
