"""A call to a server that vanished without a word fails in time, and the next one finds the server that took over."""

from __future__ import annotations

from contextlib import ExitStack

import grpc
import pytest
from capacitybroker import Client, _connection
from capacitybroker.v1.planning_service_pb2 import RunPlanRequest, RunPlanResponse

from tests.client.broker_double import Script, answer, serving
from tests.client.half_open import line_to


def test_a_call_on_a_dead_connection_is_made_again_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"grpc.keepalive_time_ms": 500, "grpc.keepalive_timeout_ms": 1_000, "grpc.http2.ping_timeout_ms": 1_000}
    monkeypatch.setattr(_connection, "KEEPALIVE", tuple((dict(_connection.KEEPALIVE) | quick).items()))

    def vanish(_request: RunPlanRequest, context: grpc.ServicerContext) -> RunPlanResponse:
        line.cut()
        return RunPlanResponse()

    script = Script(RunPlan=[vanish, answer(RunPlanResponse())])
    with serving(script) as server, line_to(server) as line, Client(line.address) as client:
        client.run_plan(timeout=20)
        assert line.made >= 2
    assert len(script.requests) >= 2
    assert len({request.request_id for request in script.requests}) == 1


def test_calls_go_on_with_the_servers_that_are_left() -> None:
    scripts = [Script(RunPlan=[answer(RunPlanResponse())]) for _ in range(2)]
    with ExitStack() as stack:
        left = stack.enter_context(serving(scripts[0]))
        with ExitStack() as soon_gone:
            gone = soon_gone.enter_context(serving(scripts[1]))
            client = stack.enter_context(Client(f"{gone},{left}"))
            while not all(script.requests for script in scripts):
                client.run_plan(timeout=20)  # in turns, once both are connected
        before = len(scripts[0].requests)
        for _ in range(5):
            client.run_plan(timeout=20)
        assert len(scripts[0].requests) == before + 5


@pytest.mark.parametrize("address", ["broker:7070,other:7070", "127.0.0.1:7070,[::1]:7070", "127.0.0.1:7070,"])
def test_several_addresses_are_of_one_kind_and_numeric(address: str) -> None:
    with pytest.raises(ValueError, match=r"address"):
        Client(address)
