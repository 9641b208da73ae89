"""Calls that are well formed and still wrong: repeated, out of date, out of turn, or not the caller's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from capacitybroker.v1 import capacity_service_pb2 as capacity

from bench import wire
from bench.raw import Reply, framed
from tests.faults.target import (
    ABORTED,
    DENIED,
    HOUR,
    INVALID,
    NOT_FOUND,
    OK,
    OUT_OF_RANGE,
    PRECONDITION,
    Row,
    Target,
    claim,
    create,
    says,
)
from tests.world import NOON

__all__ = ["ROWS"]

CREATE, UPDATE, CANCEL = (f"CapacityService/{verb}Claim" for verb in ("Create", "Update", "Cancel"))
LIST, WATCH = "CapacityService/ListClaims", "CapacityService/WatchClaims"
ACQUIRE, RENEW, RELEASE = (f"LeaseService/{verb}Lease" for verb in ("Acquire", "Renew", "Release"))
FLEET, SUPPLY = "FleetService/ApplyFleet", "FleetService/ChangeSupply"
WAITS, CANCELLED, LEASED = (b"tenants/atlas/claims/" + name for name in (b"waits", b"cancelled", b"leased"))
ALL = wire.text(1, b"tenants/-")


def after(first: tuple[str, bytes], method: str, body: bytes) -> Callable[[Target], Reply]:
    """A call that comes after another, which succeeds."""

    def sent(target: Target) -> Reply:
        reply = target.call(*first)
        assert reply.code == OK, reply.message
        target.facts["revision"] = str(target.revision())  # what the second call may not change
        return target.call(method, body)

    return sent


def update(name: bytes, *paths: bytes, etag: bytes = b"", request: bytes = b"u", **parts: bytes) -> bytes:
    """An UpdateClaimRequest by hand."""
    mask = b"".join(wire.text(1, path) for path in paths)
    named = claim(name=wire.text(1, name), etag=wire.text(36, etag), **parts)
    return wire.text(1, named) + wire.text(2, mask) + wire.text(3, request)


def cancel(name: bytes, *, etag: bytes = b"", request: bytes = b"c") -> bytes:
    """A CancelClaimRequest by hand."""
    return wire.text(1, name) + wire.text(2, request) + wire.text(3, etag)


def labelled(*labels: bytes) -> bytes:
    """A claim with labels in this order."""
    return claim(labels=b"".join(wire.text(18, wire.text(1, key) + wire.text(2, b"v")) for key in labels))


def fixed(name: bytes, **parts: bytes) -> bytes:
    """A CreateClaimRequest with this request id."""
    return create(request_id=wire.text(4, name), **parts)


def same_id_in_parallel(target: Target) -> Reply:
    """Fifty calls at once with one request id, each of which must say the same; the last reply."""
    body = fixed(b"parallel", claim_id=wire.text(3, b"parallel"))
    path = "/capacitybroker.v1." + CREATE
    streams = [target.connection.open(path) for _ in range(50)]
    for stream in streams:
        target.connection.data(stream, framed(body))
    replies = [target.connection.reply(stream) for stream in streams]
    assert all(reply.code == OK for reply in replies), {reply.reason for reply in replies}
    claims = {capacity.CreateClaimResponse.FromString(reply.messages()[0]).claim.revision for reply in replies}
    assert len(claims) == 1
    return replies[-1]


def renewal(name: bytes, token: bytes, ttl: bytes = b"") -> bytes:
    """A RenewLeaseRequest by hand."""
    return wire.text(1, wire.text(1, name + b"/lease") + wire.text(2, token) + ttl)


def with_token(method: str, build: Callable[[bytes], bytes]) -> Callable[[Target], Reply]:
    """A call with the genuine token of the lease."""
    return lambda target: target.call(method, build(target.token.encode()))


def ttl(number: int, seconds: int, nanos: int = 0) -> bytes:
    """A time to live."""
    return wire.text(number, wire.field(1, seconds) + wire.field(2, nanos))


def with_etag(name: bytes) -> Callable[[Target], Reply]:
    """Another claim's etag."""
    return lambda target: target.call(CANCEL, cancel(name, etag=target.facts["etag"].encode(), request=b"other-etag"))


REPEATED = [
    says("B56", "no request_id", CREATE, create(request_id=b""), INVALID, "REQUEST_ID_REQUIRED", "request_id"),
    says("B56", "a request_id of 65", CREATE, fixed(b"x" * 65), INVALID, "REQUEST_ID_MALFORMED", "request_id"),
    says("B56", "a request_id with a line feed", CREATE, fixed(b"a\nb"), INVALID, "REQUEST_ID_MALFORMED", "request_id"),
    Row("B58", "same id, same body", after((CREATE, fixed(b"again")), CREATE, fixed(b"again")), OK),
    Row(
        "B59",
        "same id, other devices",
        after((CREATE, fixed(b"b59")), CREATE, fixed(b"b59", claim=wire.text(2, claim(devices=wire.field(3, 9))))),
        INVALID,
        "REQUEST_ID_REUSED",
        "request_id",
    ),
    Row(
        "B59",
        "same id, an unknown field more",
        after((CREATE, fixed(b"b59-u")), CREATE, fixed(b"b59-u", unknown=wire.field(500, 1))),
        INVALID,
        "REQUEST_ID_REUSED",
        "request_id",
    ),
    Row(
        "B59",
        "same id, the same labels in another order",
        after(
            (CREATE, fixed(b"b59-m", claim=wire.text(2, labelled(b"a", b"b")))),
            CREATE,
            fixed(b"b59-m", claim=wire.text(2, labelled(b"b", b"a"))),
        ),
        OK,
    ),
    Row(
        "B60",
        "same id, another method",
        after((CREATE, fixed(b"b60")), CANCEL, cancel(WAITS, request=b"b60")),
        INVALID,
        "REQUEST_ID_REUSED",
        "request_id",
    ),
    Row(
        "B61",
        "same id, another tenant",
        after((CREATE, fixed(b"b61")), CREATE, fixed(b"b61", parent=b"tenants/borealis")),
        OK,
    ),
    Row("B62", "same id fifty times at once: one effect", same_id_in_parallel, OK),
    Row(
        "B63",
        "same id, after it was refused",
        lambda target: (
            target.call(CREATE, fixed(b"b63", claim=wire.text(2, claim(devices=b"")))),
            target.call(CREATE, fixed(b"b63")),
        )[1],
        OK,
    ),
]

CHANGED = [
    says("B65", "a stale etag", CANCEL, cancel(WAITS, etag=b"1", request=b"b65"), ABORTED, "ETAG_MISMATCH"),
    Row("B65", "the etag of another claim", with_etag(LEASED), ABORTED, "ETAG_MISMATCH"),
    *(
        says("B65", f"the etag {etag.decode()}", CANCEL, cancel(WAITS, etag=etag), INVALID, "ETAG_MALFORMED", "etag")
        for etag in (b"*", b'"1"', b"W/1", b"-1", b"1e9", b"9" * 20, "\u0663".encode())
    ),
    *(
        says("B66", f"mask {what}", UPDATE, update(WAITS, *paths), INVALID, "FIELD_MASK_INVALID", "update_mask")
        for what, paths in {
            "empty": (),
            "*": (b"*",),
            "of an unknown path": (b"nope",),
            "of a nested path": (b"duration.seconds",),
            "that names one twice": (b"devices", b"devices"),
        }.items()
    ),
    *(
        says("B66", f"mask of {path.decode()}", UPDATE, update(WAITS, path), INVALID, "FIELD_IMMUTABLE", "update_mask")
        for path in (b"name", b"state", b"placements", b"revision", b"etag", b"runs")
    ),
    says("B75", "cancelled again", CANCEL, cancel(CANCELLED, request=b"b75"), OK),
    says("B75", "cancelled while leased", CANCEL, cancel(LEASED, request=b"b75-l"), PRECONDITION, "CLAIM_LEASED"),
    says("B75", "what is cancelled changed", UPDATE, update(CANCELLED, b"devices"), PRECONDITION, "CLAIM_CLOSED"),
]

LISTED = [
    says("B68", "page_size -1", LIST, ALL + wire.field(2, -1), INVALID, "PAGE_SIZE", "page_size"),
    says("B68", "page_size 0", LIST, ALL + wire.field(2, 0), OK),
    says("B68", "page_size 10^9", LIST, ALL + wire.field(2, 10**9), OK),
    *(
        says("B68", f"a page token {what}", LIST, ALL + wire.text(3, token), INVALID, "PAGE_TOKEN", "page_token")
        for what, token in {
            "that is none": b"forged",
            "of zeros": b"A" * 60,
            "of 100 kB": b"A" * 100_000,
            "without signature": b"YXRsYXMvcnVu",
        }.items()
    ),
    says("B70", "10,000 parentheses", LIST, ALL + wire.text(5, b"(" * 10_000), INVALID, "NAME_TOO_LONG"),
    says("B70", "a regular expression", LIST, ALL + wire.text(5, b"(a+)+$"), INVALID, "NAME_MALFORMED"),
    says("B32", "a state 999", LIST, ALL + wire.field(4, 999), INVALID, "ENUM_UNKNOWN", "states"),
    says("B32", "a tier -1", LIST, ALL + wire.field(6, -1), INVALID, "ENUM_UNKNOWN", "tiers"),
    says("B72", "a watch from revision -1", WATCH, ALL + wire.field(2, -1), INVALID, "QUANTITY_OUT_OF_RANGE"),
    says("B72", "a watch from 2^62", WATCH, ALL + wire.field(2, 1 << 62), OUT_OF_RANGE, "REVISION_AHEAD"),
]

LEASES = [
    says("B73", "renewed, no such claim", RENEW, renewal(b"tenants/atlas/claims/none", b"1.x"), DENIED, "LEASE_TOKEN"),
    says("B73", "renewed, another's claim", RENEW, renewal(LEASED, b"7." + b"0" * 32), DENIED, "LEASE_TOKEN"),
    says("B73", "a token with other digits", RENEW, renewal(LEASED, "\u0663.0".encode()), DENIED, "LEASE_TOKEN"),
    says("B73", "a token of 100 kB", RENEW, renewal(LEASED, b"1" * 100_000), DENIED, "LEASE_TOKEN"),
    says("B73", "no token", RENEW, renewal(LEASED, b""), INVALID, "TOKEN_REQUIRED", "renewal.token"),
    says(
        "B73",
        "released with a forged token",
        RELEASE,
        wire.text(1, LEASED + b"/lease") + wire.text(2, b"7.0") + wire.text(3, b"b73"),
        DENIED,
        "LEASE_TOKEN",
    ),
    *(
        Row(
            "B74",
            f"renewed for {seconds} s",
            with_token(RENEW, partial(lambda s, token: renewal(LEASED, token, ttl(3, s)), seconds)),
            INVALID,
            "TTL_OUT_OF_RANGE",
        )
        for seconds in (0, -1, 4, 3_501, 10**9, 315_576_000_000)
    ),
    says(
        "B74",
        "acquired for 10^9 s",
        ACQUIRE,
        wire.text(1, WAITS) + ttl(2, 10**9) + wire.text(3, b"b74"),
        INVALID,
        "TTL_OUT_OF_RANGE",
    ),
    says(
        "B73",
        "a lease read that there is not",
        "LeaseService/GetLease",
        wire.text(1, WAITS + b"/lease"),
        PRECONDITION,
        "LEASE_ENDED",
    ),
]


def declared(contract: bytes) -> bytes:
    """The smallest fleet with a contract, by hand."""
    silicon = wire.text(1, wire.text(1, b"b200"))
    pool = wire.text(1, b"c-1") + wire.field(2, 3) + wire.text(3, b"b200") + wire.field(4, 8)
    return wire.text(1, silicon + wire.text(3, pool) + wire.text(4, contract)) + wire.text(3, b"b79")


def moved(number: int, change: bytes, request: bytes = b"b82") -> bytes:
    """A ChangeSupplyRequest by hand."""
    return wire.text(1, b"pools/dc-1") + wire.text(number, change) + wire.text(9, request)


FLEETS = [
    says(
        "B79",
        "a contract of a pool that is none",
        FLEET,
        declared(wire.text(1, b"k") + wire.text(2, b"x")),
        INVALID,
        "FLEET_INVALID",
    ),
    says(
        "B79",
        "a negative price",
        FLEET,
        declared(wire.text(1, b"k") + wire.text(2, b"c-1") + wire.field(5, -1)),
        INVALID,
        "QUANTITY_OUT_OF_RANGE",
        "fleet.contracts.committed_price_microusd",
    ),
    says(
        "B79",
        "a price of 2^62",
        FLEET,
        declared(wire.text(1, b"k") + wire.text(2, b"c-1") + wire.field(6, 1 << 62)),
        INVALID,
        "QUANTITY_OUT_OF_RANGE",
        "fleet.contracts.overage_price_microusd",
    ),
    says(
        "B79",
        "a committed level of -1",
        FLEET,
        declared(wire.text(1, b"k") + wire.text(2, b"c-1") + wire.text(4, wire.field(2, -1))),
        INVALID,
        "QUANTITY_OUT_OF_RANGE",
        "fleet.contracts.committed.devices",
    ),
    says(
        "B27",
        "a counterparty of 1,025 bytes",
        FLEET,
        declared(wire.text(1, b"k") + wire.text(2, b"c-1") + wire.text(3, b"x" * 1_025)),
        INVALID,
        "TEXT_TOO_LONG",
        "fleet.contracts.counterparty",
    ),
    says("B82", "a drain of -1", SUPPLY, moved(4, wire.field(2, -1)), INVALID, "QUANTITY_OUT_OF_RANGE"),
    says("B82", "a drain of more than there is", SUPPLY, moved(4, wire.field(2, 65)), INVALID, "QUANTITY_OUT_OF_RANGE"),
    says(
        "B82",
        "a drain two hours ago",
        SUPPLY,
        moved(4, wire.text(1, wire.field(1, NOON - 2 * HOUR)) + wire.field(2, 8)),
        PRECONDITION,
        "SLOT_CLOSED",
    ),
    says(
        "B82", "nothing happens", SUPPLY, wire.text(1, b"pools/dc-1") + wire.text(9, b"b82"), INVALID, "FIELD_REQUIRED"
    ),
    says(
        "B82",
        "a pool that is none",
        SUPPLY,
        wire.text(1, b"pools/none") + wire.text(4, b"") + wire.text(9, b"b82"),
        NOT_FOUND,
        "POOL_NOT_FOUND",
    ),
]

ROWS = [*REPEATED, *CHANGED, *LISTED, *LEASES, *FLEETS]
