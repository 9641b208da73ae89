"""Valid requests of every method, and what a careless or hostile caller could make of them; the same seed, the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from capacitybroker.v1 import (
    capacity_service_pb2,
    claim_pb2,
    fleet_service_pb2,
    lease_service_pb2,
    planning_service_pb2,
    supply_pb2,
)
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from bench import wire
from bench.served import small_fleet

__all__ = ["METHODS", "NAMES", "Sent", "sent"]

HOUR = 3600
NAME, TENANT = "tenants/atlas/claims/one", "tenants/atlas"
MODULES = (capacity_service_pb2, fleet_service_pb2, lease_service_pb2, planning_service_pb2)
INTEGERS = (0, 1, -1, 7, 64, 1_000, 2**31 - 1, 2**31, 2**32, 2**40 + 7, 2**53 + 1, 2**62, 2**63 - 1, -(2**31), -(2**63))
TEXTS = (
    "",
    "-",
    "a",
    "x" * 64,
    "tenants/-",
    NAME,
    "pools/dc-1",
    "admin",
    "../..",
    "a\nb",
    "\u202e",
    "🚀" * 300,
    "*",
    "1",
)
BYTES = (b"\xff", b"\x00", b"\x80" * 11, b"\xc3\x28", wire.tag(99, 3), wire.tag(99, 4), wire.tag(1, 7), b"\x1f\x8b\x08")


def _methods() -> dict[str, MethodDescriptor]:
    services = [service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()]
    return {f"{service.full_name}/{method.name}": method for service in services for method in service.methods}


METHODS = _methods()
NAMES = sorted(METHODS)
QUICK = [name for name in NAMES if not name.endswith("/RunPlan")]


@dataclass(frozen=True, slots=True)
class Sent:
    """One message of the sequence."""

    method: str  # full name, as in METHODS
    body: bytes


def sent(seed: int, number: int) -> Sent:
    """The message of that number, which needs none of those before it."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 - inputs, not secrets
    # RunPlan waits for a planner until its deadline: a few of those will do.
    method = rng.choice(NAMES if rng.random() < 0.02 else QUICK)
    request = valid(method.rpartition("/")[2], rng, number)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        _twist(request, rng)
    body = request.SerializeToString()
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 1, 2, 5))):
        body = rng.choice(SPOILING)(body, rng)
    return Sent(method, body)


def valid(method: str, rng: random.Random, number: int) -> Message:
    """A request that could be granted."""
    now = Timestamp(seconds=1_800_000_000)
    claim = claim_pb2.Claim(
        workload_class="training",
        devices=rng.randrange(1, 64),
        duration=Duration(seconds=HOUR),
        tier=claim_pb2.Tier.ValueType(rng.randrange(1, 4)),
    )
    request_id = f"fuzz-{number}"
    renewal = lease_service_pb2.LeaseRenewal(name=f"{NAME}/lease", token="7." + "0" * 32, ttl=Duration(seconds=60))
    made: dict[str, Callable[[], Message]] = {
        "CreateClaim": lambda: capacity_service_pb2.CreateClaimRequest(
            parent=TENANT, claim=claim, request_id=request_id, claim_id=rng.choice(("", "one", f"f-{number}"))
        ),
        "QuoteClaim": lambda: capacity_service_pb2.QuoteClaimRequest(
            parent=TENANT, claim=claim, request_id=request_id, hold_for=Duration(seconds=1), max_offers=2
        ),
        "UpdateClaim": lambda: capacity_service_pb2.UpdateClaimRequest(
            claim=_named(claim), update_mask=FieldMask(paths=["devices", "labels"]), request_id=request_id
        ),
        "ListClaims": lambda: capacity_service_pb2.ListClaimsRequest(parent=TENANT, page_size=2, labels={"a": "b"}),
        "WatchClaims": lambda: capacity_service_pb2.WatchClaimsRequest(parent=TENANT, claims=[NAME]),
        "ApplyFleet": lambda: fleet_service_pb2.ApplyFleetRequest(fleet=small_fleet(), request_id=request_id),
        "ChangeSupply": lambda: fleet_service_pb2.ChangeSupplyRequest(
            name="pools/dc-1", request_id=request_id, validate_only=True, **_change(rng, now)
        ),
        "ListPools": lambda: fleet_service_pb2.ListPoolsRequest(page_size=1, start_time=now),
        "GetPlan": lambda: planning_service_pb2.GetPlanRequest(name="plans/latest"),
        "RunPlan": lambda: planning_service_pb2.RunPlanRequest(request_id=request_id, time_limit=Duration(seconds=1)),
        "StressTest": lambda: planning_service_pb2.StressTestRequest(
            pools=["pools/dc-1"], window=Duration(seconds=HOUR)
        ),
        "AcquireLease": lambda: lease_service_pb2.AcquireLeaseRequest(claim=NAME, request_id=request_id),
        "RenewLease": lambda: lease_service_pb2.RenewLeaseRequest(renewal=renewal),
        "RenewLeases": lambda: lease_service_pb2.RenewLeasesRequest(renewals=[renewal]),
        "KeepLeases": lambda: lease_service_pb2.KeepLeasesRequest(renewals=[renewal]),
        "ReleaseLease": lambda: lease_service_pb2.ReleaseLeaseRequest(
            name=f"{NAME}/lease", token=renewal.token, request_id=request_id
        ),
    }
    return made[method]() if method in made else _by_name(method, request_id)


def _named(claim: claim_pb2.Claim) -> claim_pb2.Claim:
    claim.name = NAME
    return claim


def _change(rng: random.Random, at: Timestamp) -> dict[str, Any]:
    return rng.choice(
        (
            {"outage": supply_pb2.Outage(start_time=at, end_time=Timestamp(seconds=at.seconds + HOUR), devices=8)},
            {"recovery": supply_pb2.Recovery(start_time=at)},
            {"drain": supply_pb2.Drain(start_time=at, devices=8)},
            {"growth": supply_pb2.Growth(start_time=at, devices=8)},
            {"late_delivery": supply_pb2.LateDelivery(delivery_time=at, new_delivery_time=at)},
        )
    )


def _by_name(method: str, request_id: str) -> Message:
    """A request that says no more than of what, if that."""
    kind = next(found for name, found in METHODS.items() if name.endswith(f"/{method}")).input_type
    fields = {field.name for field in kind.fields}
    name = "pools/dc-1" if "Pool" in method else f"{NAME}/lease" if "Lease" in method else NAME
    wanted = {"name": name, "request_id": request_id}
    made: Message = GetMessageClass(kind)(**{key: value for key, value in wanted.items() if key in fields})
    return made


def _messages(message: Message) -> Iterator[Message]:
    """The message and all that are set in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for one in value if field.is_repeated else [value]:
            yield from _messages(one)


def _twist(request: Message, rng: random.Random) -> None:
    """Set some field of some message in it to something odd."""
    message = rng.choice(list(_messages(request)))
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = rng.choice(fields)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, field.name)[rng.choice(TEXTS)] = rng.choice(TEXTS)
    elif field.is_repeated:
        values = getattr(message, field.name)
        for _ in range(rng.choice((1, 1, 2, 40))):
            values.add() if field.message_type is not None else values.append(_odd(field, rng))
    elif field.message_type is not None:
        if rng.random() < 0.3:
            message.ClearField(field.name)
        else:
            getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _odd(field, rng))


def _odd(field: FieldDescriptor, rng: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return rng.choice(TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_ENUM:
            return max(-(2**31), min(2**31 - 1, rng.choice(INTEGERS)))
        case _:
            return rng.choice(INTEGERS)


def _flip(body: bytes, rng: random.Random) -> bytes:
    if not body:
        return body
    at = rng.randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]


def _drop(body: bytes, rng: random.Random) -> bytes:
    first, end = sorted(rng.randrange(len(body) + 1) for _ in range(2))
    return body[:first] + body[end:]


def _repeat(body: bytes, rng: random.Random) -> bytes:
    first, end = sorted(rng.randrange(len(body) + 1) for _ in range(2))
    return body[:end] + body[first:end] * rng.choice((1, 2, 50)) + body[end:]


def _insert(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body) + 1)
    return body[:at] + rng.choice((*BYTES, rng.randbytes(rng.randrange(1, 20)))) + body[at:]


def _cut(body: bytes, rng: random.Random) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


SPOILING = (_flip, _flip, _drop, _repeat, _insert, _cut)
