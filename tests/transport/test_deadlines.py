"""No call waits for ever, and one that waited too long is told what to do."""

from __future__ import annotations

import grpc
import pytest
from capacitybroker.v1 import planning_service_pb2 as planning

from broker.desk import DeskTerms
from tests.transport.calls import refusal
from tests.world import world


async def test_a_plan_without_a_planner_is_refused_by_the_broker() -> None:
    async with world(serve=True) as w:
        object.__setattr__(w.desk, "terms", DeskTerms(plan_seconds_max=0.05))
        found = await refusal(w.planning.RunPlan(planning.RunPlanRequest(request_id="p")))
        assert found[:2] == (grpc.StatusCode.UNAVAILABLE, "PLANNER_SILENT")


async def test_the_callers_deadline_is_kept() -> None:
    async with world(serve=True) as w:
        call = w.planning.RunPlan(planning.RunPlanRequest(request_id="p"), timeout=0.3)
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await call
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
