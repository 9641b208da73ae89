"""Bodies that are no message, are too large a one, or hide something in one."""

from __future__ import annotations

from bench import wire
from tests.faults.target import EXHAUSTED, HOUR, INVALID, OK, Row, claim, create, says

__all__ = ["ROWS"]

CREATE = "CapacityService/CreateClaim"
LIST = "CapacityService/ListClaims"
MIB = 1 << 20
ALL = wire.text(1, b"tenants/-")
GROUP, END_GROUP = wire.tag(99, 3), wire.tag(99, 4)


def _no_message(what: str, body: bytes) -> list[Row]:
    """The same bytes to a mutation, a read and a renewal."""
    methods = (CREATE, "CapacityService/GetClaim", "LeaseService/RenewLease")
    return [
        says("B38", f"{what} to {method.partition('/')[2]}", method, body, INVALID, "MALFORMED_MESSAGE")
        for method in methods
    ]


def _created(id: str, what: str, body: bytes) -> Row:  # noqa: A002
    return says(id, what, CREATE, body, OK)


UNREADABLE = [
    *_no_message("FF FE FD", b"\xff\xfe\xfd"),
    *_no_message("a length that ends too soon", wire.tag(1, wire.LEN) + wire.varint(100) + b"tenants/"),
    *_no_message("field number 0", b"\x02\x00"),
    *_no_message("the end of a group that never began", END_GROUP),
    *_no_message("a group that never ends", GROUP),
    *_no_message("a varint of eleven bytes", b"\x08" + b"\xff" * 10 + b"\x01"),
    *_no_message("wire type 7", b"\x0f\x00"),
    *_no_message("groups 20,000 deep", GROUP * 20_000 + END_GROUP * 20_000),
]

HIDDEN = [
    _created("B35", "an unknown field 500", create(unknown=wire.field(500, 1))),
    _created("B35", "an unknown field 500 in the claim", create(claim(unknown=wire.text(500, b"x" * 1000)))),
    says(
        "B36",
        "devices as text",
        CREATE,
        create(claim(devices=wire.text(3, b"8"))),
        INVALID,
        "QUANTITY_REQUIRED",
        "claim.devices",
    ),
    says(
        "B36",
        "devices as a double",
        CREATE,
        create(claim(devices=wire.tag(3, 1) + bytes(8))),
        INVALID,
        "QUANTITY_REQUIRED",
        "claim.devices",
    ),
    says(
        "B36",
        "parent as a number",
        CREATE,
        create().replace(wire.text(1, b"tenants/atlas"), wire.field(1, 7)),
        INVALID,
        "NAME_MALFORMED",
        "parent",
    ),
    says(
        "B36",
        "request_id as a number",
        CREATE,
        create(request_id=wire.field(4, 1)),
        INVALID,
        "REQUEST_ID_REQUIRED",
        "request_id",
    ),
    _created("B40", "unknown groups 10 deep", create(unknown=GROUP * 10 + END_GROUP * 10)),
    _created("B40", "unknown messages 100 deep", create(unknown=wire.nested(500, 100))),
    _created("B40", "unknown messages 2,000 deep", create(unknown=wire.nested(500, 2_000))),
    says(
        "B67",
        "state, revision, name and placements set by the caller",
        CREATE,
        create(
            claim(
                name=wire.text(1, b"tenants/borealis/claims/mine"),
                state=wire.field(32, 3),
                placements=wire.text(34, wire.text(1, b"pools/dc-1") + wire.field(2, 64)),
                revision=wire.field(35, 1 << 40),
                etag=wire.text(36, b"77"),
            )
        ),
        OK,
    ),
]

LARGE = [
    says(
        "B41",
        "200,000 packed states",
        LIST,
        ALL + wire.text(4, b"\x01" * 200_000),
        INVALID,
        "TOO_MANY_ITEMS",
        "states",
    ),
    says(
        "B41",
        "3.5 million packed states",
        LIST,
        ALL + wire.text(4, b"\x01" * 3_500_000),
        EXHAUSTED,
        "MESSAGE_TOO_LARGE",
    ),
    says(
        "B41",
        "100,000 placements",
        CREATE,
        create(placements=wire.text(5, b"") * 100_000),
        INVALID,
        "TOO_MANY_ITEMS",
        "placements",
    ),
    says("B43", "more than 256 KiB", LIST, ALL + wire.text(500, b"x" * (MIB // 4)), EXHAUSTED, "MESSAGE_TOO_LARGE"),
    says("B43", "4 MiB and more", LIST, ALL + wire.text(500, b"x" * 4 * MIB), EXHAUSTED),
    says(
        "B65",
        "an etag of 1 MB",
        "CapacityService/CancelClaim",
        wire.text(1, b"tenants/atlas/claims/waits") + wire.text(2, b"e") + wire.text(3, b"1" * MIB),
        EXHAUSTED,
        "MESSAGE_TOO_LARGE",
    ),
]

EMPTY = [
    says("B39", f"an empty message to {method.partition('/')[2]}", method, b"", INVALID, reason, field)
    for method, reason, field in (
        (CREATE, "NAME_MALFORMED", "parent"),
        ("CapacityService/GetClaim", "NAME_MALFORMED", "name"),
        (LIST, "NAME_MALFORMED", "parent"),
        ("CapacityService/UpdateClaim", "NAME_MALFORMED", "claim.name"),
        ("CapacityService/CancelClaim", "NAME_MALFORMED", "name"),
        ("CapacityService/QuoteClaim", "NAME_MALFORMED", "parent"),
        ("CapacityService/RedeemQuote", "NAME_MALFORMED", "name"),
        ("CapacityService/ExplainClaim", "NAME_MALFORMED", "name"),
        ("CapacityService/WatchClaims", "NAME_MALFORMED", "parent"),
        ("FleetService/ApplyFleet", "REQUEST_ID_REQUIRED", "request_id"),
        ("FleetService/ChangeSupply", "REQUEST_ID_REQUIRED", "request_id"),
        ("FleetService/GetPool", "NAME_MALFORMED", "name"),
        ("FleetService/GetPoolLayout", "NAME_MALFORMED", "name"),
        ("PlanningService/RunPlan", "REQUEST_ID_REQUIRED", "request_id"),
        ("PlanningService/GetPlan", "NAME_MALFORMED", "name"),
        ("LeaseService/AcquireLease", "NAME_MALFORMED", "claim"),
        ("LeaseService/GetLease", "NAME_MALFORMED", "name"),
        ("LeaseService/RenewLease", "NAME_MALFORMED", "renewal.name"),
        ("LeaseService/RenewLeases", "FIELD_REQUIRED", "renewals"),
        ("LeaseService/KeepLeases", "FIELD_REQUIRED", "renewals"),
        ("LeaseService/ReleaseLease", "NAME_MALFORMED", "name"),
    )
] + [
    # Whose every field may be left out.
    says("B39", f"an empty message to {method.partition('/')[2]}", method, b"", OK)
    for method in (
        "FleetService/GetFleet",
        "FleetService/ListPools",
        "FleetService/ListTenants",
        "PlanningService/GetCalibration",
        "PlanningService/StressTest",
    )
]

SPANS = [
    says(
        "B11",
        "time_limit of 1 s and -1 ns",
        "PlanningService/RunPlan",
        wire.text(1, b"r") + wire.text(2, wire.field(1, 1) + wire.field(2, -1)),
        INVALID,
        "DURATION_MALFORMED",
        "time_limit",
    ),
    says(
        "B11",
        "hold_for of 60 s and 10^9 ns",
        "CapacityService/QuoteClaim",
        wire.text(1, b"tenants/atlas")
        + wire.text(2, claim())
        + wire.text(3, wire.field(1, 60) + wire.field(2, 10**9))
        + wire.text(5, b"r"),
        INVALID,
        "DURATION_MALFORMED",
        "hold_for",
    ),
    says(
        "B12",
        "a stress test of 10^12 s",
        "PlanningService/StressTest",
        wire.text(1, wire.field(1, 10**12 * HOUR)),
        INVALID,
        "DURATION_OUT_OF_RANGE",
        "window",
    ),
]

ROWS = [*UNREADABLE, *HIDDEN, *LARGE, *EMPTY, *SPANS]
