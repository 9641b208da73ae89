"""Plans on the wire."""

from __future__ import annotations

from capacitybroker.v1 import plan_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from broker.domain.plan import PlanRecord
from broker.transport.claims import reason_value
from broker.transport.times import moment, slot_moment

__all__ = ["plan_message"]


def plan_message(plan: PlanRecord) -> pb.Plan:
    """What one run of the planner decided and proved."""
    spread = plan.bound_microusd - plan.objective_microusd
    return pb.Plan(
        name=f"plans/{plan.revision}",
        create_time=moment(plan.created_at),
        based_on_revision=plan.based_on_revision,
        horizon_start_time=slot_moment(plan.horizon.first),
        horizon_end_time=slot_moment(plan.horizon.end),
        status=pb.Plan.STATUS_OPTIMAL if plan.optimal else pb.Plan.STATUS_FEASIBLE,
        objective_microusd=plan.objective_microusd,
        bound_microusd=plan.bound_microusd,
        gap_percent=100 * spread / max(1, abs(plan.bound_microusd)),
        solve_duration=Duration(seconds=plan.solve_millis // 1000, nanos=plan.solve_millis % 1000 * 1_000_000),
        claims=plan.claims,
        placed=plan.placed,
        moved=plan.moved,
        skipped=plan.skipped,
        repair=plan.repair,
        defragmented=plan.defragmented,
        rooms=[
            pb.PoolRoom(
                pool=f"pools/{room.pool}",
                before_percent=room.before_ppm / 10_000,
                after_percent=room.after_ppm / 10_000,
                week_domains_before=room.week_before_milli / 1_000,
                week_domains_after=room.week_after_milli / 1_000,
            )
            for room in plan.rooms
        ],
        reasons=[
            pb.ReasonCount(reason=reason_value(reason), claims=claims)
            for reason, claims in sorted(plan.reasons.items(), key=lambda item: (-item[1], item[0]))
        ],
        prices=[
            pb.PoolPrice(
                pool=f"pools/{price.pool}", mean_microusd=price.mean_microusd, peak_microusd=price.peak_microusd
            )
            for price in plan.prices
        ],
        insurance=[
            pb.LossCost(
                insurance=cost.insurance,
                pools=[f"pools/{pool}" for pool in cost.pools],
                mean_microusd=cost.mean_microusd,
                at_most_microusd=cost.at_most_microusd,
                hit=cost.hit,
                insured=cost.insured,
                uninsurable=cost.uninsurable,
            )
            for cost in plan.insurance
        ],
    )
