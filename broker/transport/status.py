"""Faults as statuses: one table, and one shape of details for every error that leaves the broker."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from broker.domain.faults import Fault, FaultReason, Kind

__all__ = ["DOMAIN", "LATENESS", "internal", "overloaded", "status_of", "too_late"]

DOMAIN = "capacitybroker"
RETRY_MILLIS = 250
OVERLOAD_MILLIS, OVERLOAD_MILLIS_MAX = 50, 8_000  # in such steps
PUSHBACK = "grpc-retry-pushback-ms"
LATENESS = "capacitybroker-late-ms"  # in trailing metadata: how late an answer is because of what its tenant asks for

CODES: dict[Kind, code_pb2.Code.ValueType] = {
    Kind.INVALID: code_pb2.INVALID_ARGUMENT,
    Kind.NOT_FOUND: code_pb2.NOT_FOUND,
    Kind.EXISTS: code_pb2.ALREADY_EXISTS,
    Kind.PRECONDITION: code_pb2.FAILED_PRECONDITION,
    Kind.ABORTED: code_pb2.ABORTED,
    Kind.OUT_OF_RANGE: code_pb2.OUT_OF_RANGE,
    Kind.DENIED: code_pb2.PERMISSION_DENIED,
    Kind.EXHAUSTED: code_pb2.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: code_pb2.UNAVAILABLE,
}


def overloaded(seconds: float) -> grpc.Status:
    """The status of a call that a server has no time for, which has some for it after so many seconds."""
    millis = OVERLOAD_MILLIS * round(1000 * seconds / OVERLOAD_MILLIS)
    return _overloaded(max(OVERLOAD_MILLIS, min(OVERLOAD_MILLIS_MAX, millis)))


@lru_cache(maxsize=OVERLOAD_MILLIS_MAX // OVERLOAD_MILLIS)  # a refusal must cost little
def _overloaded(millis: int) -> grpc.Status:
    fault = Fault(
        FaultReason.OVERLOADED,
        "The server has more to do than it can; nothing was changed",
        remedy="Send it again with the same request_id, after the delay that RetryInfo names and a random one more.",
    )
    status = status_of(fault, retry_millis=millis)
    # The same delay where gRPC's own retries look for it.
    metadata = (*status.trailing_metadata, (PUSHBACK, str(millis)))
    return cast(grpc.Status, status._replace(trailing_metadata=metadata))  # type: ignore[attr-defined] # a named tuple


def status_of(fault: Fault, *, retry_millis: int = RETRY_MILLIS) -> grpc.Status:
    """The status of a fault: exactly one ErrorInfo, with facts and remedy as metadata, and what fits beside it."""
    facts = {**fault.facts, "remedy": fault.remedy}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=fault.reason.name, domain=DOMAIN, metadata=facts)]
    if fault.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=fault.field, description=fault.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if fault.reason.kind is Kind.UNAVAILABLE or fault.reason is FaultReason.OVERLOADED:
        delay = Duration()
        delay.FromMilliseconds(retry_millis)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if fault.reason.kind is Kind.EXHAUSTED:
        violated = error_details_pb2.QuotaFailure.Violation(subject=fault.reason.name, description=fault.message)
        details.append(error_details_pb2.QuotaFailure(violations=[violated]))
    return _status(CODES[fault.reason.kind], str(fault), details)


def too_late() -> grpc.Status:
    """The status of a call whose deadline passed before the broker had an answer."""
    remedy = "Send it again with the same request_id. If it was RunPlan, see whether a planner runs."
    info = error_details_pb2.ErrorInfo(reason="DEADLINE_EXCEEDED", domain=DOMAIN, metadata={"remedy": remedy})
    return _status(code_pb2.DEADLINE_EXCEEDED, f"The deadline passed before there was an answer. {remedy}", [info])


def internal() -> grpc.Status:
    """The status of a bug: nothing of it leaves the broker but that there is one."""
    info = error_details_pb2.ErrorInfo(
        reason="INTERNAL", domain=DOMAIN, metadata={"remedy": "Retry with the same request_id; report it if it stays."}
    )
    return _status(code_pb2.INTERNAL, "The broker failed; its log has the cause.", [info])


def _status(code: code_pb2.Code.ValueType, message: str, details: list[Message]) -> grpc.Status:
    packed = []
    for detail in details:
        packed.append(Any())
        packed[-1].Pack(detail)
    return rpc_status.to_status(status_pb2.Status(code=code, message=message, details=packed))
