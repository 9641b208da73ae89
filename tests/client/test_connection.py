"""A call to a server that vanished without a word fails in time, and the next one finds the server that took over."""

from __future__ import annotations

import grpc
import pytest
from capacitybroker import Client, _connection
from capacitybroker.v1.planning_service_pb2 import RunPlanRequest, RunPlanResponse

from tests.client.broker_double import Script, answer, serving
from tests.client.half_open import line_to


def test_a_call_on_a_dead_connection_is_made_again_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"grpc.keepalive_time_ms": 100, "grpc.keepalive_timeout_ms": 100, "grpc.http2.ping_timeout_ms": 100}
    monkeypatch.setattr(_connection, "KEEPALIVE", tuple((dict(_connection.KEEPALIVE) | quick).items()))

    def vanish(_request: RunPlanRequest, context: grpc.ServicerContext) -> RunPlanResponse:
        line.cut()
        return RunPlanResponse()

    script = Script(RunPlan=[vanish, answer(RunPlanResponse())])
    with serving(script) as server, line_to(server) as line, Client(line.address) as client:
        client.run_plan(timeout=20)
        assert line.made == 2
    first, again = script.requests
    assert first.request_id == again.request_id
