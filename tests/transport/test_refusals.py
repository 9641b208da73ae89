"""Every reason that a caller can be given, and the request that earns it; a refused request changes nothing."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import fleet_pb2 as fleets
from capacitybroker.v1 import fleet_service_pb2 as fleet_service
from capacitybroker.v1 import lease_service_pb2 as leases
from capacitybroker.v1 import planning_service_pb2 as planning
from capacitybroker.v1 import supply_pb2 as supply
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis

from broker.desk import Desk
from broker.domain.faults import FaultReason
from broker.feed import Feed, FeedSettings
from broker.leasing import Leasing
from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.ledger import RedisLedger
from broker.transport.guard import Guard
from broker.transport.load import Load
from broker.transport.server import Server
from tests import builders
from tests.ledger.ledgers import open_redis
from tests.transport.calls import claim, create, fleet, pool, refusal
from tests.world import NOON, PATIENT, World

if TYPE_CHECKING:
    from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceAsyncStub

INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND = grpc.StatusCode.NOT_FOUND
HOUR = 3600


def _gives_way(**terms: Duration) -> dict[str, Any]:
    return {"tier": claim_pb2.TIER_SPOT, "preemption": claim_pb2.Preemption(**terms)}


CLAIMS: list[tuple[str, dict[str, Any], grpc.StatusCode]] = [
    ("QUANTITY_REQUIRED", {"devices": 0}, INVALID),
    ("QUANTITY_OUT_OF_RANGE", {"devices": -1}, INVALID),
    ("QUANTITY_OUT_OF_RANGE", {"devices": 2**40 + 7}, INVALID),
    ("QUANTITY_OUT_OF_RANGE", {"value_microusd": -1}, INVALID),
    ("QUANTITY_OUT_OF_RANGE", {"min_domain_devices": -72}, INVALID),
    ("DURATION_REQUIRED", {"duration": None}, INVALID),
    ("DURATION_OUT_OF_RANGE", {"duration": Duration(seconds=-HOUR)}, INVALID),
    ("DURATION_OUT_OF_RANGE", {"duration": Duration(seconds=315_576_000_000)}, INVALID),
    ("DURATION_GRANULARITY", {"duration": Duration()}, INVALID),
    ("DURATION_GRANULARITY", {"duration": Duration(nanos=1)}, INVALID),
    ("DURATION_GRANULARITY", {"duration": Duration(seconds=5000)}, INVALID),
    ("DURATION_MALFORMED", {"duration": Duration(seconds=HOUR, nanos=-1)}, INVALID),
    ("DURATION_MALFORMED", {"duration": Duration(seconds=HOUR, nanos=10**9)}, INVALID),
    ("TIMESTAMP_OUT_OF_RANGE", {"deadline": Timestamp(seconds=0)}, INVALID),
    ("TIMESTAMP_OUT_OF_RANGE", {"earliest_start_time": Timestamp(seconds=10**12)}, INVALID),
    (
        "WINDOW_EMPTY",
        {
            "earliest_start_time": Timestamp(seconds=NOON + 5 * HOUR),
            "latest_start_time": Timestamp(seconds=NOON + 4 * HOUR),
        },
        INVALID,
    ),
    (
        "WINDOW_TOO_SHORT",
        {"earliest_start_time": Timestamp(seconds=NOON), "deadline": Timestamp(seconds=NOON)},
        INVALID,
    ),
    ("ENUM_REQUIRED", {"tier": claim_pb2.TIER_UNSPECIFIED}, INVALID),
    ("ENUM_UNKNOWN", {"tier": 999}, INVALID),
    ("NAME_MALFORMED", {"workload_class": ""}, INVALID),
    ("NAME_MALFORMED", {"workload_class": "tr\u0430ining"}, INVALID),
    ("NAME_MALFORMED", {"workload_class": "training\r\nFLUSHALL"}, INVALID),
    ("NAME_MALFORMED", {"preferred_pools": ["pools/../../etc"]}, INVALID),
    ("NAME_MALFORMED", {"forbidden_pools": ["dc-1"]}, INVALID),
    ("NAME_TOO_LONG", {"workload_class": "x" * 64}, INVALID),
    ("NAME_RESERVED", {"workload_class": "admin"}, INVALID),
    ("TEXT_TOO_LONG", {"labels": {"note": "x" * 256}}, INVALID),
    ("TOO_MANY_ITEMS", {"labels": {f"k{n}": "v" for n in range(33)}}, INVALID),
    ("TOO_MANY_ITEMS", {"preferred_pools": [f"pools/p{n}" for n in range(33)]}, INVALID),
    ("ELASTICITY_INVALID", {"min_devices": 9}, INVALID),
    ("ELASTICITY_INVALID", {"max_devices": 7}, INVALID),
    ("CONSTRAINT_CONFLICT", {"preferred_pools": ["pools/dc-1"], "forbidden_pools": ["pools/dc-1"]}, INVALID),
    ("CONSTRAINT_CONFLICT", {"preemption": claim_pb2.Preemption(), "tier": claim_pb2.TIER_GUARANTEED}, INVALID),
    ("CONSTRAINT_CONFLICT", {"on_loan": True, "tier": claim_pb2.TIER_STANDARD}, INVALID),
    ("CONSTRAINT_CONFLICT", {"on_loan": True, "tier": claim_pb2.TIER_GUARANTEED}, INVALID),
    ("DURATION_GRANULARITY", _gives_way(notice=Duration()), INVALID),
    ("DURATION_OUT_OF_RANGE", _gives_way(min_run=Duration(seconds=-HOUR)), INVALID),
    ("QUANTITY_OUT_OF_RANGE", _gives_way(min_run=Duration(seconds=169 * HOUR)), INVALID),
    ("WORKLOAD_CLASS_UNKNOWN", {"workload_class": "astrology"}, PRECONDITION),
    ("SILICON_UNKNOWN", {"silicon": [claim_pb2.SiliconChoice(silicon="abacus")]}, PRECONDITION),
    ("POOL_UNKNOWN", {"preferred_pools": ["pools/nowhere"]}, PRECONDITION),
    ("EXCEEDS_ANY_POOL", {"devices": 65, "gang": True}, PRECONDITION),
    ("DEADLINE_PASSED", {"deadline": Timestamp(seconds=NOON - HOUR)}, PRECONDITION),
]


@pytest.mark.parametrize(("reason", "fields", "code"), CLAIMS)
async def test_a_claim_that_cannot_be(
    reason: str, fields: dict[str, Any], code: grpc.StatusCode, served: World
) -> None:
    before = await served.ledger.claims(tenant=None, after=None, limit=10)
    found = await refusal(served.capacity.CreateClaim(create(claim(**fields))))
    assert found[:2] == (code, reason)
    assert (await served.ledger.claims(tenant=None, after=None, limit=10)).claims == before.claims


def _create(**fields: Any) -> Callable[[World], Awaitable[object]]:
    return lambda w: w.capacity.CreateClaim(create(**fields))


def _apply(declared: fleets.Fleet | None) -> Callable[[World], Awaitable[object]]:
    return lambda w: w.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=declared, request_id="r"))


def _etagged(etag: str) -> fleet_service.ApplyFleetRequest:
    return fleet_service.ApplyFleetRequest(fleet=fleet(), etag=etag, request_id="r")


def _update(paths: list[str], **fields: Any) -> Callable[[World], Awaitable[object]]:
    return lambda w: w.capacity.UpdateClaim(
        capacity.UpdateClaimRequest(
            claim=claim(name="tenants/atlas/claims/none", **fields), update_mask=FieldMask(paths=paths), request_id="r"
        )
    )


def _list(**fields: Any) -> Callable[[World], Awaitable[object]]:
    return lambda w: w.capacity.ListClaims(capacity.ListClaimsRequest(**({"parent": "tenants/-"} | fields)))


def _watch(**fields: Any) -> Callable[[World], Awaitable[object]]:
    async def first(w: World) -> object:
        async for message in w.capacity.WatchClaims(capacity.WatchClaimsRequest(**({"parent": "tenants/-"} | fields))):
            return message
        return None

    return first


def _acquire(**fields: Any) -> Callable[[World], Awaitable[object]]:
    asked = {"claim": "tenants/atlas/claims/none", "request_id": "r"} | fields
    return lambda w: w.leases.AcquireLease(leases.AcquireLeaseRequest(**asked))


def _renew(**fields: Any) -> Callable[[World], Awaitable[object]]:
    asked = leases.LeaseRenewal(**({"name": "tenants/atlas/claims/none/lease", "token": "1.x"} | fields))
    return lambda w: w.leases.RenewLease(leases.RenewLeaseRequest(renewal=asked))


def _renew_many(*renewals: leases.LeaseRenewal) -> Callable[[World], Awaitable[object]]:
    return lambda w: w.leases.RenewLeases(leases.RenewLeasesRequest(renewals=renewals))


def _supply(**fields: Any) -> Callable[[World], Awaitable[object]]:
    asked = {"name": "pools/dc-1", "request_id": "r"} | fields
    return lambda w: w.fleet.ChangeSupply(fleet_service.ChangeSupplyRequest(**asked))


def _at(hours: float) -> Timestamp:
    return Timestamp(seconds=NOON + round(hours * HOUR))


ONE = leases.LeaseRenewal(name="tenants/atlas/claims/none/lease", token="1.x")
NEVER_AWAY = fleets.Maintenance(devices=1, start_time=Timestamp(seconds=NOON), end_time=Timestamp(seconds=NOON))

CALLS: list[tuple[str, Callable[[World], Awaitable[object]], grpc.StatusCode]] = [
    ("REQUEST_ID_REQUIRED", _create(request_id=""), INVALID),
    ("REQUEST_ID_MALFORMED", _create(request_id="a b"), INVALID),
    ("REQUEST_ID_MALFORMED", _create(request_id="x" * 65), INVALID),
    ("NAME_MALFORMED", _create(parent="atlas"), INVALID),
    ("NAME_MALFORMED", _create(claim_id="Run 1"), INVALID),
    ("TENANT_UNKNOWN", _create(parent="tenants/nobody"), PRECONDITION),
    ("FIELD_REQUIRED", _apply(None), INVALID),
    ("FLEET_INVALID", _apply(fleet(pool(), pool())), INVALID),
    ("FLEET_INVALID", _apply(fleet(pool(silicon="abacus"))), INVALID),
    ("FLEET_INVALID", _apply(fleet(pool(deliveries=[fleets.Delivery(devices=-8)]))), INVALID),
    ("FLEET_INVALID", _apply(fleet(contracts=[fleets.Contract(id="c", pool="dc-1")])), INVALID),
    ("FLEET_INVALID", _apply(fleet(pool(floors=[fleets.Floor(tenant="nobody", devices=8)]))), INVALID),
    ("FLEET_INVALID", _apply(fleet(pool(floors=[fleets.Floor(tenant="atlas", devices=8)] * 2))), INVALID),
    ("ENUM_REQUIRED", _apply(fleet(pool(kind=fleets.POOL_KIND_UNSPECIFIED))), INVALID),
    ("WINDOW_EMPTY", _apply(fleet(pool(maintenance=[NEVER_AWAY]))), INVALID),
    ("QUANTITY_OUT_OF_RANGE", _apply(fleet(tenants=[fleets.Tenant(id="t", quota_devices=-1)])), INVALID),
    ("QUANTITY_OUT_OF_RANGE", _apply(fleet(tenants=[fleets.Tenant(id="t", loan_devices=-1)])), INVALID),
    ("ETAG_MALFORMED", lambda w: w.fleet.ApplyFleet(_etagged("*")), INVALID),
    ("FIELD_REQUIRED", _supply(), INVALID),
    ("REQUEST_ID_REQUIRED", _supply(request_id=""), INVALID),
    ("NAME_MALFORMED", _supply(name="dc-1", drain=supply.Drain()), INVALID),
    ("NAME_MALFORMED", _supply(viewer="atlas", drain=supply.Drain()), INVALID),
    ("ETAG_MALFORMED", _supply(etag="W/1", drain=supply.Drain()), INVALID),
    ("POOL_NOT_FOUND", _supply(name="pools/none", drain=supply.Drain()), NOT_FOUND),
    ("FIELD_REQUIRED", _supply(outage=supply.Outage()), INVALID),
    ("WINDOW_EMPTY", _supply(outage=supply.Outage(end_time=_at(0))), INVALID),
    ("SLOT_CLOSED", _supply(outage=supply.Outage(start_time=_at(-1), end_time=_at(1))), PRECONDITION),
    ("SLOT_CLOSED", _supply(drain=supply.Drain(start_time=_at(-0.5))), PRECONDITION),
    ("SLOT_CLOSED", _supply(growth=supply.Growth(start_time=_at(-2), devices=8)), PRECONDITION),
    ("QUANTITY_OUT_OF_RANGE", _supply(outage=supply.Outage(end_time=_at(1), devices=-1)), INVALID),
    ("QUANTITY_OUT_OF_RANGE", _supply(drain=supply.Drain(devices=65)), INVALID),
    ("QUANTITY_OUT_OF_RANGE", _supply(drain=supply.Drain(devices=2**40 + 7)), INVALID),
    ("QUANTITY_OUT_OF_RANGE", _supply(growth=supply.Growth(devices=-8)), INVALID),
    ("QUANTITY_REQUIRED", _supply(growth=supply.Growth()), INVALID),
    ("FIELD_REQUIRED", _supply(late_delivery=supply.LateDelivery(delivery_time=_at(1))), INVALID),
    (
        "DELIVERY_NOT_FOUND",
        _supply(late_delivery=supply.LateDelivery(delivery_time=_at(1), new_delivery_time=_at(2))),
        NOT_FOUND,
    ),
    ("TIMESTAMP_OUT_OF_RANGE", _supply(recovery=supply.Recovery(start_time=Timestamp(seconds=1))), INVALID),
    ("FIELD_MASK_INVALID", _update([]), INVALID),
    ("FIELD_MASK_INVALID", _update(["*"]), INVALID),
    ("FIELD_MASK_INVALID", _update(["devices", "devices"]), INVALID),
    ("FIELD_IMMUTABLE", _update(["state"]), INVALID),
    ("ETAG_MALFORMED", _update(["devices"], etag="*"), INVALID),
    ("CLAIM_NOT_FOUND", _update(["devices"]), NOT_FOUND),
    ("PAGE_SIZE", _list(page_size=-1), INVALID),
    ("PAGE_TOKEN", _list(page_token="forged"), INVALID),
    ("PAGE_TOKEN", _list(page_token="x" * 100_000), INVALID),
    ("ENUM_REQUIRED", _list(states=[claim_pb2.Claim.STATE_UNSPECIFIED]), INVALID),
    ("ENUM_UNKNOWN", _list(tiers=[999]), INVALID),
    ("TOO_MANY_ITEMS", _list(states=[claim_pb2.Claim.STATE_WAITING] * 33), INVALID),
    ("TOO_MANY_ITEMS", _list(labels={f"k{n}": "v" for n in range(9)}), INVALID),
    ("TEXT_TOO_LONG", _list(labels={"note": "x" * 256}), INVALID),
    ("NAME_MALFORMED", _list(workload_class="(" * 60), INVALID),
    ("NAME_TOO_LONG", _list(workload_class="x" * 65_536), INVALID),
    ("NAME_MALFORMED", _list(parent=""), INVALID),
    ("QUANTITY_OUT_OF_RANGE", _watch(start_revision=-1), INVALID),
    ("ENUM_REQUIRED", _watch(states=[claim_pb2.Claim.STATE_UNSPECIFIED]), INVALID),
    ("ENUM_UNKNOWN", _watch(states=[99]), INVALID),
    ("TOO_MANY_ITEMS", _watch(claims=["tenants/atlas/claims/one"] * 101), INVALID),
    ("NAME_MALFORMED", _watch(claims=["atlas/one"]), INVALID),
    ("CONSTRAINT_CONFLICT", _watch(parent="tenants/atlas", claims=["tenants/borealis/claims/one"]), INVALID),
    ("REVISION_AHEAD", _watch(start_revision=10**9), grpc.StatusCode.OUT_OF_RANGE),
    ("CLAIM_NOT_FOUND", _acquire(), NOT_FOUND),
    ("NAME_MALFORMED", _acquire(claim="tenants/atlas/claims/none/lease"), INVALID),
    ("REQUEST_ID_REQUIRED", _acquire(request_id=""), INVALID),
    *(("TTL_OUT_OF_RANGE", _acquire(ttl=Duration(seconds=ttl)), INVALID) for ttl in (-1, 0, 4, 3_601, 10**9)),
    ("DURATION_MALFORMED", _acquire(ttl=Duration(seconds=60, nanos=-1)), INVALID),
    ("NAME_MALFORMED", _renew(name="tenants/atlas/claims/none"), INVALID),
    ("TOKEN_REQUIRED", _renew(token=""), INVALID),
    ("TTL_OUT_OF_RANGE", _renew(ttl=Duration(nanos=1)), INVALID),
    ("LEASE_TOKEN", _renew(), grpc.StatusCode.PERMISSION_DENIED),
    ("FIELD_REQUIRED", _renew_many(), INVALID),
    ("TOO_MANY_ITEMS", _renew_many(*[ONE] * 1_001), INVALID),
    ("CONSTRAINT_CONFLICT", _renew_many(ONE, ONE), INVALID),
    ("POOL_NOT_FOUND", lambda w: w.fleet.GetPool(fleet_service.GetPoolRequest(name="pools/none")), NOT_FOUND),
    ("NAME_MALFORMED", lambda w: w.fleet.GetPool(fleet_service.GetPoolRequest(name="none")), INVALID),
    ("PLAN_NOT_FOUND", lambda w: w.planning.GetPlan(planning.GetPlanRequest(name="plans/999")), NOT_FOUND),
    ("NAME_MALFORMED", lambda w: w.planning.GetPlan(planning.GetPlanRequest(name="plans/-1")), INVALID),
    (
        "DURATION_OUT_OF_RANGE",
        lambda w: w.planning.RunPlan(planning.RunPlanRequest(request_id="r", time_limit=Duration(seconds=601))),
        INVALID,
    ),
    (
        "WINDOW_EMPTY",
        lambda w: w.fleet.ListPools(
            fleet_service.ListPoolsRequest(start_time=Timestamp(seconds=NOON), end_time=Timestamp(seconds=NOON - HOUR))
        ),
        INVALID,
    ),
]


@pytest.mark.parametrize(("reason", "call", "code"), CALLS)
async def test_a_call_that_cannot_be(
    reason: str, call: Callable[[World], Awaitable[object]], code: grpc.StatusCode, served: World
) -> None:
    declared = await served.ledger.fleet_revision()
    found = await refusal(call(served))
    assert found[:2] == (code, reason)
    assert await served.ledger.fleet_revision() == declared


@asynccontextmanager
async def _served_from(store: EmbeddedStore) -> AsyncIterator[CapacityServiceAsyncStub]:
    """What callers reach of a broker on that store."""
    ledger = await RedisLedger.open(store.url, market="refusals", new_id=lambda: "first", now=lambda: NOON, create=True)
    async with Feed(ledger, FeedSettings(progress_seconds=0.05)) as feed:
        desk, leasing = Desk(ledger, feed, lambda: NOON, lambda: "c-1"), Leasing(ledger, feed, lambda: NOON)
        server = Server(desk, leasing, feed, Guard(load=Load(PATIENT)))
        port = await server.start("127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield CapacityServiceStub(channel)
        await server.stop(0)
    await ledger.close()


async def test_without_its_store_the_broker_says_so_and_nothing_about_the_store(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path / "store") as store:
        async with _served_from(store) as callers:
            store.kill()
            for call in (
                callers.ListClaims(capacity.ListClaimsRequest(parent="tenants/-")),
                callers.CreateClaim(create()),
            ):
                code, reason, facts = await refusal(call)
                assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
                assert facts == {"remedy": "Retry with the same request id"}


async def test_with_a_store_that_lost_its_history_the_broker_halts(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path / "store") as store:
        async with _served_from(store) as callers:
            await callers.ListClaims(capacity.ListClaimsRequest(parent="tenants/-"))
            operator = Redis.from_url(store.url)
            await operator.flushall()
            await operator.aclose()
            for call in (
                callers.ListClaims(capacity.ListClaimsRequest(parent="tenants/-")),
                callers.CreateClaim(create()),
            ):
                code, reason, facts = await refusal(call)
                assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "SAFE_HALT")
                assert "Restore the store" in facts["remedy"]


async def test_with_a_store_that_is_full_only_what_is_new_is_refused(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path / "store") as store:
        ledger = await open_redis(store.url, "refusals")
        await ledger.apply_fleet(builders.fleet(), key=builders.key("fleet", scope="-"), at=0)
        await ledger.close()
        async with _served_from(store) as callers:
            operator = Redis.from_url(store.url)
            await operator.config_set("maxmemory", 1)
            await operator.aclose()
            code, reason, facts = await refusal(callers.CreateClaim(create()))
            assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
            assert "maxmemory" in facts["remedy"]
            await callers.ListClaims(capacity.ListClaimsRequest(parent="tenants/-"))


# Told by tests of their own: they need a history, a broken store, or a planner.
ELSEWHERE = {
    "REQUEST_ID_REUSED",
    "CLAIM_EXISTS",
    "CLAIM_CLOSED",
    "CLAIM_COMMITTED",
    "CLAIM_LEASED",
    "ETAG_MISMATCH",
    "CONTENDED",
    "FENCED",
    "OVERCOMMIT",
    "COMPACTED",
    "OVERLOADED",
    "WATCH_LIMIT",
    "WATCH_TOO_SLOW",
    "STORE_FULL",
    "STORE_UNAVAILABLE",
    "PLANNER_SILENT",
    "OFFER_GONE",
    "CLAIM_HELD",
    "NOT_HELD",
    "HOLD_LIMIT",
    "CLAIM_LIMIT",
    "STREAM_LIMIT",
    "MESSAGE_TOO_LARGE",
    "MALFORMED_MESSAGE",
    "LEASE_ENDED",
    "LEASE_EXPIRED",
    "LEASE_HANDOVER",
    "LEASE_RELEASED",
    "LEASE_TOO_EARLY",
    "NOT_PLACED",
    "SAFE_HALT",
    "POOL_IN_USE",
    "DOMAINS_UNKNOWN",
}


def asserted_in(file: Path) -> set[str]:
    """Reasons that some assertion of a file names, by member or by text."""
    asserted = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Assert))
    names = [name for node in asserted for name in ast.walk(node)]
    members = {node.attr for node in names if isinstance(node, ast.Attribute)}
    texts = {str(node.value) for node in names if isinstance(node, ast.Constant)}
    return members | texts


def test_every_reason_is_told_by_some_test() -> None:
    told = {reason for reason, *_ in (*CLAIMS, *CALLS)}
    assert told | ELSEWHERE == {reason.name for reason in FaultReason}
    assert not told & ELSEWHERE
    files = [file for file in Path(__file__).parents[1].rglob("test_*.py") if "client" not in file.parts]
    missing = ELSEWHERE - set().union(*map(asserted_in, files))
    assert not missing, "no assertion names them"
