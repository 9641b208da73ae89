"""A small real gRPC server that answers from a script, for tests of the client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceServicer, add_CapacityServiceServicer_to_server
from capacitybroker.v1.fleet_service_pb2_grpc import FleetServiceServicer, add_FleetServiceServicer_to_server
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceServicer, add_LeaseServiceServicer_to_server
from capacitybroker.v1.planning_service_pb2_grpc import PlanningServiceServicer, add_PlanningServiceServicer_to_server
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

Step = Callable[[Any, grpc.ServicerContext], Any]


class Script:
    """What the server does, call by call, and the requests it got; the last step of a method repeats."""

    def __init__(self, **steps: list[Step]) -> None:
        self.steps = steps
        self.requests: list[Any] = []

    def play(self, method: str, request: Message, context: grpc.ServicerContext) -> Any:
        """The next scripted answer of ``method``."""
        copy = type(request)()
        copy.CopyFrom(request)
        self.requests.append(copy)
        steps = self.steps[method]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        return step(request, context)


class Scripted(CapacityServiceServicer, FleetServiceServicer, LeaseServiceServicer, PlanningServiceServicer):
    """All services, answering from one script."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def CreateClaim(self, request: Any, context: Any) -> Any:
        return self.script.play("CreateClaim", request, context)

    def GetClaim(self, request: Any, context: Any) -> Any:
        return self.script.play("GetClaim", request, context)

    def ListClaims(self, request: Any, context: Any) -> Any:
        return self.script.play("ListClaims", request, context)

    def CancelClaim(self, request: Any, context: Any) -> Any:
        return self.script.play("CancelClaim", request, context)

    def UpdateClaim(self, request: Any, context: Any) -> Any:
        return self.script.play("UpdateClaim", request, context)

    def QuoteClaim(self, request: Any, context: Any) -> Any:
        return self.script.play("QuoteClaim", request, context)

    def RedeemQuote(self, request: Any, context: Any) -> Any:
        return self.script.play("RedeemQuote", request, context)

    def ExplainClaim(self, request: Any, context: Any) -> Any:
        return self.script.play("ExplainClaim", request, context)

    def WatchClaims(self, request: Any, context: Any) -> Any:
        yield from self.script.play("WatchClaims", request, context)

    def ApplyFleet(self, request: Any, context: Any) -> Any:
        return self.script.play("ApplyFleet", request, context)

    def ChangeSupply(self, request: Any, context: Any) -> Any:
        return self.script.play("ChangeSupply", request, context)

    def GetFleet(self, request: Any, context: Any) -> Any:
        return self.script.play("GetFleet", request, context)

    def GetPool(self, request: Any, context: Any) -> Any:
        return self.script.play("GetPool", request, context)

    def GetPoolLayout(self, request: Any, context: Any) -> Any:
        return self.script.play("GetPoolLayout", request, context)

    def ListPools(self, request: Any, context: Any) -> Any:
        return self.script.play("ListPools", request, context)

    def ListTenants(self, request: Any, context: Any) -> Any:
        return self.script.play("ListTenants", request, context)

    def AcquireLease(self, request: Any, context: Any) -> Any:
        return self.script.play("AcquireLease", request, context)

    def GetLease(self, request: Any, context: Any) -> Any:
        return self.script.play("GetLease", request, context)

    def RenewLease(self, request: Any, context: Any) -> Any:
        return self.script.play("RenewLease", request, context)

    def RenewLeases(self, request: Any, context: Any) -> Any:
        return self.script.play("RenewLeases", request, context)

    def KeepLeases(self, request_iterator: Any, context: Any) -> Any:
        for request in request_iterator:
            yield self.script.play("KeepLeases", request, context)

    def ReleaseLease(self, request: Any, context: Any) -> Any:
        return self.script.play("ReleaseLease", request, context)

    def RunPlan(self, request: Any, context: Any) -> Any:
        return self.script.play("RunPlan", request, context)

    def GetPlan(self, request: Any, context: Any) -> Any:
        return self.script.play("GetPlan", request, context)

    def GetCalibration(self, request: Any, context: Any) -> Any:
        return self.script.play("GetCalibration", request, context)

    def StressTest(self, request: Any, context: Any) -> Any:
        return self.script.play("StressTest", request, context)


@contextlib.contextmanager
def serving(script: Script, threads: int = 4) -> Iterator[str]:
    """The address of a server that plays the script."""
    server = grpc.server(ThreadPoolExecutor(threads))
    scripted = Scripted(script)
    add_CapacityServiceServicer_to_server(scripted, server)
    add_FleetServiceServicer_to_server(scripted, server)
    add_LeaseServiceServicer_to_server(scripted, server)
    add_PlanningServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def answer(message: Any) -> Step:
    """A step that answers."""
    return lambda _request, _context: message


def refuse(
    code: grpc.StatusCode, reason: str, text: str = "no", *details: Message, remedy: str = "", **facts: str
) -> Step:
    """A step that refuses the way the broker does."""

    def step(_request: Any, context: grpc.ServicerContext) -> None:
        info = ErrorInfo(reason=reason, domain="capacitybroker", metadata={"remedy": remedy, **facts})
        status = Status(code=code.value[0], message=text)
        for detail in (info, *details):
            packed = Packed()
            packed.Pack(detail)
            status.details.append(packed)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, text)

    return step


def unavailable(seconds: float | None = None) -> Step:
    """A step that says: not now; try again after so many seconds."""
    if seconds is None:
        return refuse(grpc.StatusCode.UNAVAILABLE, "DRAINING", "draining", remedy="Try again.")
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(int(seconds * 1000))
    return refuse(grpc.StatusCode.UNAVAILABLE, "DRAINING", "draining", info, remedy="Try again.")


def overloaded(seconds: float) -> Step:
    """A step that says: too much to do; try again after so many seconds."""
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(int(seconds * 1000))
    return refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "busy", info, remedy="Try again.")


def stream(*messages: capacity.WatchClaimsResponse, then: Step | None = None) -> Step:
    """A step that streams, then does ``then`` (by default: ends well)."""

    def step(request: Any, context: grpc.ServicerContext) -> Iterator[capacity.WatchClaimsResponse]:
        yield from messages
        if then is not None:
            then(request, context)

    return step
