"""Messages with sensible defaults, and what a refusal says."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

import grpc
import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import fleet_pb2 as fleets
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

__all__ = ["claim", "create", "fleet", "pool", "refusal"]

_numbers = iter(range(10**9))


def claim(**fields: Any) -> claim_pb2.Claim:
    """Eight devices for four hours, standard tier."""
    defaults: dict[str, Any] = {
        "workload_class": "training",
        "devices": 8,
        "duration": Duration(seconds=4 * 3600),
        "tier": claim_pb2.TIER_STANDARD,
    }
    return claim_pb2.Claim(**(defaults | fields))


def create(message: claim_pb2.Claim | None = None, **fields: Any) -> capacity.CreateClaimRequest:
    """A request of tenant atlas with an id of its own."""
    defaults: dict[str, Any] = {"parent": "tenants/atlas", "request_id": f"t-{next(_numbers)}"}
    return capacity.CreateClaimRequest(claim=message or claim(), **(defaults | fields))


def pool(**fields: Any) -> fleets.Pool:
    """64 devices in nodes of eight."""
    defaults: dict[str, Any] = {
        "id": "dc-1",
        "kind": fleets.POOL_KIND_INTERNAL,
        "silicon": "b200",
        "domain_devices": 8,
        "deliveries": [fleets.Delivery(devices=64)],
    }
    return fleets.Pool(**(defaults | fields))


def fleet(*pools: fleets.Pool, **fields: Any) -> fleets.Fleet:
    """One kind of silicon, one workload class, two tenants, and one pool unless others are named."""
    defaults: dict[str, Any] = {
        "silicon": [fleets.Silicon(id="b200", family="blackwell")],
        "workload_classes": [
            fleets.WorkloadClass(id="training", speeds=[fleets.SiliconSpeed(silicon="b200", speed_percent=100)])
        ],
        "pools": list(pools) or [pool()],
        "tenants": [fleets.Tenant(id="atlas"), fleets.Tenant(id="borealis")],
    }
    return fleets.Fleet(**(defaults | fields))


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Status code, reason and facts of a call that must be refused, whose error must be well formed."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    error = refused.value
    status = rpc_status.from_call(cast("grpc.Call", error))  # it has what is asked of a call
    assert status is not None, error
    infos = [detail for detail in status.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    assert info.domain == "capacitybroker"
    assert info.metadata["remedy"]
    details = error.details() or ""
    assert "Traceback" not in details
    assert ".py" not in details
    return error.code(), info.reason, dict(info.metadata)
