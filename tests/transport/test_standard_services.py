"""Health and reflection, so that a tool that knows nothing of us can find and call everything."""

from __future__ import annotations

from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.world import World

# The stubs of these packages are thinner than what they describe.
reflection: Any = reflection_pb2

SERVICES = {
    "capacitybroker.v1.CapacityService",
    "capacitybroker.v1.FleetService",
    "capacitybroker.v1.PlanningService",
}


async def test_health_answers_for_the_server_and_each_service(served: World) -> None:
    health: Any = health_pb2_grpc.HealthStub(served.channel)
    for service in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_can_be_watched(served: World) -> None:
    health: Any = health_pb2_grpc.HealthStub(served.channel)
    call = health.Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await anext(aiter(call))).status == health_pb2.HealthCheckResponse.SERVING
    call.cancel()


async def test_reflection_describes_every_service(served: World) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", served.channel))
    asks = [
        reflection.ServerReflectionRequest(list_services=""),
        *(reflection.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(SERVICES)),
    ]
    call = stub.ServerReflectionInfo(iter(asks))
    answers = [answer async for answer in call]
    listed = {service.name for service in answers[0].list_services_response.service}
    assert listed >= SERVICES
    for name, answer in zip(sorted(SERVICES), answers[1:], strict=True):
        files = [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]
        assert any(f"{f.package}.{service.name}" == name for f in files for service in f.service)


async def test_an_unknown_method_is_unimplemented(served: World) -> None:
    call: Any = served.channel.unary_unary("/capacitybroker.v1.CapacityService/Divine")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
