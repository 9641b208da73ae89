"""Every limit at its edge: as much as is allowed is taken, one more is refused by name, and others are served on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import fleet_pb2 as fleets
from capacitybroker.v1 import fleet_service_pb2 as fleet_service
from capacitybroker.v1 import lease_service_pb2 as leases
from google.protobuf.duration_pb2 import Duration
from google.protobuf.internal import api_implementation
from google.protobuf.timestamp_pb2 import Timestamp

from bench import wire
from bench.raw import RawConnection, Reply, framed
from broker.desk import DeskTerms
from broker.domain.faults import Fault
from broker.feed import FeedSettings
from broker.ledger.fold import violations
from broker.transport import asks, door, filters, guard, names, quotes, requests, server
from broker.transport import leases as lease_rules
from broker.transport.door import MESSAGE_BYTES_MAX, Door
from broker.transport.times import EARLIEST, LATEST, seconds_of
from tests.transport.calls import claim, create, fleet, pool, refusal
from tests.world import NOON, World, world

HOUR = 3600
EXHAUSTED, INVALID = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT
LIST = "/capacitybroker.v1.CapacityService/ListClaims"
KEEP = "/capacitybroker.v1.LeaseService/KeepLeases"
ALL = wire.text(1, b"tenants/-")


def _labels(count: int, key: int = 1, value: int = 1) -> claim_pb2.Claim:
    return claim(labels={f"{n:0{key}d}": "v" * value for n in range(count)})


def _silicon(count: int) -> claim_pb2.Claim:
    return claim(silicon=[claim_pb2.SiliconChoice(silicon="b200")] * count)


def _id(length: int) -> capacity.CreateClaimRequest:
    return create(claim_id="x" * length)


EDGES: list[tuple[str, Callable[[int], capacity.CreateClaimRequest], int, str]] = [
    ("labels", lambda n: create(_labels(n, key=2)), 32, "TOO_MANY_ITEMS"),
    ("characters of a label's key", lambda n: create(_labels(1, key=n)), 63, "TEXT_TOO_LONG"),
    ("characters of a label", lambda n: create(_labels(1, value=n)), 255, "TEXT_TOO_LONG"),
    ("kinds of silicon", lambda n: create(_silicon(n)), 32, "TOO_MANY_ITEMS"),
    ("preferred pools", lambda n: create(claim(preferred_pools=["pools/dc-1"] * n)), 32, "TOO_MANY_ITEMS"),
    ("characters of an id", _id, 63, "NAME_TOO_LONG"),
    ("characters of a request_id", lambda n: create(request_id="x" * n), 64, "REQUEST_ID_MALFORMED"),
    ("value", lambda n: create(claim(value_microusd=n)), 10**15, "QUANTITY_OUT_OF_RANGE"),
    ("hours", lambda n: create(claim(duration=Duration(seconds=n * HOUR))), 26 * 168, "DURATION_OUT_OF_RANGE"),
]


@pytest.mark.parametrize(("what", "build", "most", "reason"), EDGES, ids=[edge[0] for edge in EDGES])
async def test_a_claim_at_the_edge(
    what: str, build: Callable[[int], capacity.CreateClaimRequest], most: int, reason: str, served: World
) -> None:
    assert (await served.capacity.CreateClaim(build(most))).claim.name, what
    assert (await refusal(served.capacity.CreateClaim(build(most + 1))))[1] == reason


async def test_the_most_devices_are_judged_by_the_pools(served: World) -> None:
    for devices, reason in ((10_000_000, "EXCEEDS_ANY_POOL"), (10_000_001, "QUANTITY_OUT_OF_RANGE")):
        assert (await refusal(served.capacity.CreateClaim(create(claim(devices=devices, gang=True)))))[1] == reason


def _declared(**texts: str) -> fleets.Fleet:
    named = pool(site=texts.get("site", ""))
    made = fleet(named)
    made.tenants[0].display_name = texts.get("tenant", "")
    made.silicon[0].display_name = texts.get("silicon", "")
    made.workload_classes[0].display_name = texts.get("workload_class", "")
    return made


@pytest.mark.parametrize("where", ["site", "tenant", "silicon", "workload_class"])
async def test_text_for_people_has_a_kibibyte(where: str, served: World) -> None:
    for text in ("x" * 1_024, "🚀" * 256):
        declared = _declared(**{where: text})
        await served.fleet.ApplyFleet(
            fleet_service.ApplyFleetRequest(fleet=declared, request_id=f"{where}-{len(text)}")
        )
        assert text in str(await served.ledger.fleet())
    for text in ("x" * 1_025, "🚀" * 257):
        declared = _declared(**{where: text})
        asked = fleet_service.ApplyFleetRequest(fleet=declared, request_id="r")
        assert (await refusal(served.fleet.ApplyFleet(asked)))[:2] == (INVALID, "TEXT_TOO_LONG")


async def test_lists_and_renewals_at_the_edge(served: World) -> None:
    at_most = capacity.ListClaimsRequest(parent="tenants/-", page_size=10**9, labels={f"k{n}": "" for n in range(8)})
    await served.capacity.ListClaims(at_most)
    renewals = [leases.LeaseRenewal(name=f"tenants/atlas/claims/c-{n}/lease", token="1.x") for n in range(1_001)]
    done = await served.leases.RenewLeases(leases.RenewLeasesRequest(renewals=renewals[:1_000]))
    assert len(done.outcomes) == 1_000
    refused = await refusal(served.leases.RenewLeases(leases.RenewLeasesRequest(renewals=renewals)))
    assert refused[1] == "TOO_MANY_ITEMS"


async def test_a_thousand_renewals_of_the_longest_names_are_no_large_message() -> None:
    name = f"tenants/{'t' * 63}/claims/{{:c>63}}/lease"
    token = f"{10**17}.{'0' * 32}"
    ttl = Duration(seconds=3_500, nanos=999_999_999)
    renewals = [leases.LeaseRenewal(name=name.format(n), token=token, ttl=ttl) for n in range(1_000)]
    assert leases.RenewLeasesRequest(renewals=renewals).ByteSize() <= MESSAGE_BYTES_MAX


async def test_open_claims_of_a_tenant_are_limited() -> None:
    async with world(serve=True, claims_max=2) as w:
        await w.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=fleet(), request_id="f"))
        first = create(claim_id="one")
        made = await w.capacity.CreateClaim(first)
        await w.capacity.CreateClaim(create(claim_id="two"))
        await w.feed.reach(await w.ledger.revision())
        refused = await refusal(w.capacity.CreateClaim(create()))
        assert refused[:2] == (EXHAUSTED, "CLAIM_LIMIT")
        assert refused[2]["max_claims"] == "2"
        held = capacity.QuoteClaimRequest(
            parent="tenants/atlas", claim=claim(), hold_for=Duration(seconds=60), request_id="q"
        )
        assert (await refusal(w.capacity.QuoteClaim(held)))[1] == "CLAIM_LIMIT"
        # Who repeats what was done is told so, others are served, and what is given back makes room.
        assert (await w.capacity.CreateClaim(first)).claim == made.claim
        await w.capacity.CreateClaim(create(parent="tenants/borealis"))
        await w.capacity.CancelClaim(capacity.CancelClaimRequest(name=made.claim.name, request_id="c"))
        await w.feed.reach(await w.ledger.revision())
        await w.capacity.CreateClaim(create())
        assert violations(await w.ledger.events(0, limit=1_000)) == ()


async def test_no_tenant_takes_the_watches_of_others() -> None:
    settings = FeedSettings(watchers_max=3, tenant_watchers_max=2, progress_seconds=0.05)
    async with world(serve=True, feed_settings=settings) as w:
        await w.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=fleet(), request_id="f"))
        open_ = []

        async def watch(tenant: str) -> None:
            stream = w.capacity.WatchClaims(capacity.WatchClaimsRequest(parent=f"tenants/{tenant}"))
            messages = aiter(stream)
            await anext(messages)
            await anext(messages)  # progress: it is among the watchers
            open_.append(stream)

        for _ in range(2):
            await watch("atlas")
        assert (await refusal(watch("atlas")))[:2] == (EXHAUSTED, "WATCH_LIMIT")
        await watch("borealis")
        assert (await refusal(watch("-")))[:2] == (EXHAUSTED, "WATCH_LIMIT")
        for stream in open_:
            stream.cancel()


async def raw(w: World, act: Callable[[RawConnection], Reply]) -> Reply:
    """What a client of raw HTTP/2 gets, while the server goes on in this process."""

    def spoken() -> Reply:
        with RawConnection(w.address) as connection:
            return act(connection)

    return await asyncio.to_thread(spoken)


async def test_a_message_at_the_edge() -> None:
    fill = MESSAGE_BYTES_MAX - len(ALL + wire.text(500, b"x" * 100_000)) + 100_000
    async with world(serve=True) as w:
        allowed, refused = (ALL + wire.text(500, b"x" * size) for size in (fill, fill + 1))
        assert len(allowed) == MESSAGE_BYTES_MAX
        assert (await raw(w, lambda c: c.unary(LIST, allowed))).code == 0
        reply = await raw(w, lambda c: c.unary(LIST, refused))
        assert (reply.code, reply.reason) == (8, "MESSAGE_TOO_LARGE")


async def test_a_fleet_may_be_larger_than_other_messages(served: World) -> None:
    many = [pool(id=f"p-{n}", site="x" * 900) for n in range(500)]
    asked = fleet_service.ApplyFleetRequest(fleet=fleet(*many), request_id="large")
    assert asked.ByteSize() > MESSAGE_BYTES_MAX
    assert (await served.fleet.ApplyFleet(asked)).revision


@pytest.mark.parametrize("body", [b"", framed(ALL, length=100), framed(ALL, length=(1 << 32) - 1)])
async def test_a_call_whose_message_does_not_come_is_let_go(body: bytes) -> None:
    async with world(serve=True, door=Door(seconds=1.0)) as w:
        reply = await raw(w, lambda c: c.send_raw(LIST, body, end=False))
        assert (reply.code, reply.reason) == (4, "DEADLINE_EXCEEDED")
        assert (await w.capacity.ListClaims(capacity.ListClaimsRequest(parent="tenants/-"))).revision >= 0


async def test_streams_of_renewals_are_limited() -> None:
    async with world(serve=True, door=Door(streams_max=1)) as w:
        kept = leases.KeepLeasesRequest(renewals=[leases.LeaseRenewal(name="tenants/a/claims/b/lease", token="1.x")])

        async def requests_() -> AsyncIterator[leases.KeepLeasesRequest]:
            yield kept
            await asyncio.Event().wait()

        first = w.leases.KeepLeases(requests_())
        await anext(aiter(first))
        assert (await refusal(anext(aiter(w.leases.KeepLeases(requests_())))))[:2] == (EXHAUSTED, "STREAM_LIMIT")
        first.cancel()


async def test_what_comes_second_on_a_stream_is_checked_too() -> None:
    good = leases.KeepLeasesRequest(renewals=[leases.LeaseRenewal(name="tenants/a/claims/b/lease", token="1.x")])

    def talk(connection: RawConnection) -> Reply:
        stream = connection.open(KEEP)
        connection.data(stream, framed(good.SerializeToString()), end=False)
        connection.until(stream, lambda reply: len(reply.messages()) == 1)
        connection.data(stream, framed(b"\xff\xfe\xfd"), end=False)
        return connection.reply(stream)

    async with world(serve=True) as w:
        reply = await raw(w, talk)
        assert (reply.code, reply.reason, len(reply.messages())) == (3, "MALFORMED_MESSAGE", 1)


async def test_a_bug_is_told_as_one_and_nothing_of_it_leaves(
    served: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> Any:
        raise ZeroDivisionError("token 7.canary of /srv/secret.py")

    monkeypatch.setattr(served.ledger, "claims", broken)
    code, reason, facts = await refusal(served.capacity.ListClaims(capacity.ListClaimsRequest(parent="tenants/-")))
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "canary" not in str(facts)
    assert "canary" in caplog.text  # the log has the cause


def test_protobuf_without_its_core_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_implementation, "Type", lambda: "python")
    with pytest.raises(Fault) as refused:
        Door()
    assert refused.value.reason.name == "SAFE_HALT"


def test_the_page_tells_every_limit() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bad-input.md").read_text(encoding="utf-8")
    feed, desk, every = FeedSettings(), DeskTerms(), guard.Guard()
    for limit, number in {
        "message": f"{door.MESSAGE_BYTES_MAX // 1024} KiB",
        "fleet": f"{door.FLEET_BYTES_MAX >> 20} MiB",
        "time for a message to come": f"{door.BODY_SECONDS:.0f} s",
        "deadline, unless the caller sets one": f"{every.seconds_default:.0f} s",
        "deadline": f"{every.seconds_max:.0f} s",
        "deadline of RunPlan": f"{every.seconds_patient:.0f} s",
        "streams of renewals": f"{door.STREAMS_MAX:,}",
        "calls at once": f"{server.CALLS_MAX:,}",
        "calls at once on one connection": f"{server.STREAMS_MAX:,}",
        "watches": f"{feed.watchers_max:,}",
        "watches of one tenant": f"{feed.tenant_watchers_max:,}",
        "events a watch may be behind": f"{feed.backlog_events_max:,}",
        "open claims of one tenant": f"{desk.claims_max:,}",
        "quotes held for one tenant": f"{desk.holds_max}",
        "entries of a list in a claim": f"{asks.ITEMS_MAX}",
        "a label's key, value": f"{asks.LABEL_KEY_MAX}, {asks.LABEL_VALUE_MAX} characters",
        "text for people": f"{asks.TEXT_BYTES_MAX:,} bytes",
        "an id": f"{names.ID_MAX} characters",
        "claims on a page": f"{requests.PAGE_MAX:,}",
        "renewals in a message": f"{lease_rules.RENEWALS_MAX:,}",
        "claims that a watch names": f"{filters.CLAIMS_MAX}",
        "labels that a list asks for": f"{filters.LABELS_MAX}",
        "hold of a quote": f"{quotes.HOLD_SECONDS_MAX} s",
        "devices of a claim": f"{asks.DEVICES_MAX:,}",
    }.items():
        assert f"| {limit} | {number} |" in page, limit


def test_moments_at_the_edge() -> None:
    assert seconds_of(Timestamp(seconds=EARLIEST), "at", up=False) == EARLIEST < NOON
    assert seconds_of(Timestamp(seconds=LATEST - 1, nanos=999_999_999), "at", up=True) == LATEST
    for seconds in (EARLIEST - 1, LATEST):
        with pytest.raises(Fault):
            seconds_of(Timestamp(seconds=seconds), "at", up=False)


async def test_a_fleet_whose_money_cannot_be_counted_is_refused() -> None:
    plenty = [fleets.Delivery(devices=1_000_000_000)]  # of which one claim takes ten million at most

    def declared(price: int) -> fleets.Fleet:
        lent = pool(kind=fleets.POOL_KIND_CONTRACTED, deliveries=plenty)
        contract = fleets.Contract(id="k", pool="dc-1", committed_price_microusd=price)
        contract.committed.add(devices=1_000_000_000)
        return fleet(lent, contracts=[contract])

    async with world(serve=True, at_once=True) as served:
        await _dear(served, declared)


async def _dear(served: World, declared: Callable[[int], fleets.Fleet]) -> None:
    asked = fleet_service.ApplyFleetRequest(fleet=declared(10**12), request_id="absurd")
    assert (await refusal(served.fleet.ApplyFleet(asked)))[:2] == (INVALID, "FLEET_INVALID")
    most = 2**62 // (10_000_000 * 26 * 168)
    await served.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=declared(most), request_id="dear"))
    span = Duration(seconds=4_000 * HOUR)
    dearest = claim(devices=10_000_000, duration=span, gang=True, value_microusd=10**15)
    offered = await served.capacity.QuoteClaim(capacity.QuoteClaimRequest(parent="tenants/atlas", claim=dearest))
    assert offered.offers[0].paid_microusd == most * 10_000_000 * 4_000
    grown = fleet_service.ChangeSupplyRequest(name="pools/dc-1", request_id="g")
    grown.growth.devices = 8
    await served.fleet.ChangeSupply(grown)
    small = declared(most * 2)
    small.pools[0].deliveries[0].devices = 1_000_000
    await served.fleet.ApplyFleet(fleet_service.ApplyFleetRequest(fleet=small, request_id="small"))
    grown.request_id, grown.growth.devices = "more", 9_000_000
    assert (await refusal(served.fleet.ChangeSupply(grown)))[:2] == (INVALID, "FLEET_INVALID")
