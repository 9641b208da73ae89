"""PlanningService: decode, one call, encode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from capacitybroker.v1 import planning_service_pb2 as pb
from capacitybroker.v1 import planning_service_pb2_grpc as pb_grpc
from grpc.aio import ServicerContext

from broker.desk import Desk
from broker.domain.faults import Fault, FaultReason
from broker.transport.asks import ITEMS_MAX, at_most
from broker.transport.expected import calibration_message
from broker.transport.names import plan_revision, pool_id
from broker.transport.plans import plan_message
from broker.transport.requests import replay_key
from broker.transport.stress import stress_message
from broker.transport.times import check_signs, duration_slots

__all__ = ["PlanningService"]

Context = ServicerContext[Any, Any]

TIME_LIMIT_SECONDS_MAX = 600
OUTAGE_SLOTS = 24


@dataclass(frozen=True, slots=True)
class PlanningService(pb_grpc.PlanningServiceServicer):
    """Plan now, and see how good a plan is."""

    desk: Desk

    async def RunPlan(self, request: pb.RunPlanRequest, context: Context) -> pb.RunPlanResponse:
        """Plan everything known now."""
        key = replay_key(request, None)
        check_signs(request.time_limit, "time_limit")
        limit = request.time_limit.seconds if request.HasField("time_limit") else None
        if limit is not None and not 1 <= limit <= TIME_LIMIT_SECONDS_MAX:
            raise Fault(
                FaultReason.DURATION_OUT_OF_RANGE,
                f"time_limit is from 1 to {TIME_LIMIT_SECONDS_MAX} seconds",
                remedy="Correct it, or leave it out.",
                field="time_limit",
            )
        plan = await self.desk.run_plan(key=key, time_limit_seconds=limit)
        return pb.RunPlanResponse(plan=plan_message(plan))

    async def GetPlan(self, request: pb.GetPlanRequest, context: Context) -> pb.GetPlanResponse:
        """One plan of the last hundred."""
        return pb.GetPlanResponse(plan=plan_message(await self.desk.plan(plan_revision(request.name))))

    async def GetCalibration(self, request: pb.GetCalibrationRequest, context: Context) -> pb.GetCalibrationResponse:
        """How expected starts fared."""
        return pb.GetCalibrationResponse(calibrations=map(calibration_message, self.desk.calibration()))

    async def StressTest(self, request: pb.StressTestRequest, context: Context) -> pb.StressTestResponse:
        """What would happen if each pool were lost from now on."""
        at_most(ITEMS_MAX, request.pools, "pools")
        pools = [pool_id(pool, "pools") for pool in request.pools]
        slots = duration_slots(request.window, "window") if request.HasField("window") else OUTAGE_SLOTS
        return stress_message(await self.desk.stress(pools, slots))
