"""The catalogue of bad input, byte by byte, against a real broker: it is refused well and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_service_pb2, lease_service_pb2, planning_service_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from bench import wire
from bench.raw import RawConnection, framed
from tests.faults import rows_claims, rows_wire
from tests.faults.bad_input import PAGE, ROWS, written
from tests.faults.catalogue import fault
from tests.faults.target import OK, Row, Target, broker_to_attack, claim, create

CREATE = "CapacityService/CreateClaim"
RSS_GROWTH_MAX = 64 << 20
MODULES = (capacity, fleet_service_pb2, lease_service_pb2, planning_service_pb2)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One broker for all rows: what one of them does to it, the next would see."""
    with broker_to_attack(tmp_path_factory.mktemp("broker")) as target:
        for row in rows_wire.ROWS[:3]:
            row.send(target)
        target.facts["rss"] = str(target.rss())
        yield target


@fault("B", injected="every row of bad-input.md as raw bytes", expected="its code and reason; no new revision")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.id} {row.what}")
def test_bad_input_is_refused_well(row: Row, target: Target) -> None:
    target.facts["revision"] = str(target.revision())
    reply = row.send(target)
    assert (reply.code, reply.reason) == (row.code, row.reason), reply.message
    if row.reason:
        assert reply.infos == 1
        assert reply.info is not None
        assert reply.info.domain == "capacitybroker"
        assert reply.remedy
        assert "Traceback" not in reply.message
        assert ".py" not in reply.message
    if row.field:
        assert reply.field == row.field
    if row.code != OK:
        assert target.revision() == int(target.facts["revision"])
    assert target.alive()
    assert target.rss() < int(target.facts["rss"]) + RSS_GROWTH_MAX


def test_what_was_thrown_at_it_left_no_line_in_the_log(target: Target) -> None:
    log = target.server.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert "ERROR" not in log


@fault("B29", injected="protocol text, format strings and Lua as labels", expected="stored as they are")
@pytest.mark.parametrize(
    "text",
    ["\r\n*1\r\n$8\r\nFLUSHALL\r\n", "%s%n%x", "{0.__class__}", "return redis.call('FLUSHALL')", "a\x00b", "🚀é\u202e"],
)
def test_text_is_stored_byte_by_byte(text: str, target: Target) -> None:
    name = b"text-%d" % (hash(text) % 10**9)
    labels = rows_claims.label(b"note", text.encode())
    made = target.call(CREATE, create(claim(labels=labels), claim_id=wire.text(3, name)))
    assert made.code == OK
    read = target.call("CapacityService/GetClaim", wire.text(1, b"tenants/atlas/claims/" + name))
    found = capacity.GetClaimResponse.FromString(read.messages()[0])
    assert dict(found.claim.labels) == {"note": text}


@fault("B67", injected="output-only fields set by the caller", expected="ignored")
def test_nobody_grants_a_claim_to_himself(target: Target) -> None:
    forged = claim(
        name=wire.text(1, b"tenants/borealis/claims/mine"),
        state=wire.field(32, 3),
        placements=wire.text(34, wire.text(1, b"pools/dc-1") + wire.field(2, 64)),
        revision=wire.field(35, 1 << 40),
    )
    reply = target.call(CREATE, create(forged, claim_id=wire.text(3, b"mass")))
    made = capacity.CreateClaimResponse.FromString(reply.messages()[0]).claim
    assert made.name == "tenants/atlas/claims/mass"
    assert made.revision < 1 << 40
    assert not made.placements or made.placements[0].devices == 8


@fault("B46", injected="a second message on a unary call", expected="no second effect")
def test_a_second_message_has_no_effect(target: Target) -> None:
    before = target.revision()
    with RawConnection(target.server.address) as connection:
        reply = connection.send_raw(f"/capacitybroker.v1.{CREATE}", framed(create()) + framed(create()))
    assert reply.code == OK
    assert target.revision() == before + 1


def fields(message: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """All fields of a message and of the messages in it."""
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for one in message.fields:
        yield one
        if one.message_type is not None:
            yield from fields(one.message_type, seen)


def requests() -> list[Descriptor]:
    """What the methods of the API take."""
    services = [service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()]
    return [method.input_type for service in services for method in service.methods]


def test_no_request_has_a_number_that_may_not_be_finite() -> None:
    floating = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
    seen: set[str] = set()
    asked = [one for request in requests() for one in fields(request, seen)]
    assert asked
    assert not [one.full_name for one in asked if one.type in floating]


def test_every_method_is_asked_with_an_empty_message() -> None:
    asked = {row.what for row in rows_wire.EMPTY}
    names = {f"an empty message to {request.name.removesuffix('Request')}" for request in requests()}
    assert asked == names


def test_the_page_tells_what_is_tested() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page), "run: .venv/bin/python -m tests.faults.bad_input"
