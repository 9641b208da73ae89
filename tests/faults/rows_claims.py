"""What a claim may not say: numbers, durations, moments, names, texts, enums and lists, byte by byte."""

from __future__ import annotations

from bench import wire
from tests.faults.target import HOUR, INVALID, OK, PRECONDITION, Row, claim, create, says
from tests.world import NOON

__all__ = ["ROWS", "label"]

CREATE = "CapacityService/CreateClaim"
DEVICES, DURATION = "claim.devices", "claim.duration"


def label(key: bytes, value: bytes) -> bytes:
    """One more label of a claim."""
    return wire.text(18, wire.text(1, key) + wire.text(2, value))


def span(seconds: int, nanos: int = 0) -> bytes:
    """A duration or a moment."""
    return wire.field(1, seconds) + (wire.field(2, nanos) if nanos else b"")


def _claim(id: str, what: str, code: int, reason: str, field: str, **parts: bytes) -> Row:  # noqa: A002
    return says(id, what, CREATE, create(claim(**parts)), code, reason, field)


def _invalid(id: str, what: str, reason: str, field: str, **parts: bytes) -> Row:  # noqa: A002
    return _claim(id, what, INVALID, reason, field, **parts)


def _named(id: str, what: str, name: bytes, reason: str = "NAME_MALFORMED") -> list[Row]:  # noqa: A002
    """The same name as that of a tenant, a claim (where it has one), a workload class and a pool."""
    chosen = create(claim_id=wire.text(3, name))
    return [
        says(id, f"{what}: tenant", CREATE, create(parent=b"tenants/" + name), INVALID, reason, "parent"),
        *([says(id, f"{what}: claim", CREATE, chosen, INVALID, reason, "claim_id")] if name else []),
        _invalid(id, f"{what}: class", reason, "claim.workload_class", workload_class=wire.text(2, name)),
        _invalid(id, f"{what}: pool", reason, "claim.preferred_pools", pools=wire.text(14, b"pools/" + name)),
    ]


def _moments(id: str, what: str, seconds: int) -> list[Row]:  # noqa: A002
    fields = {11: "earliest_start_time", 12: "latest_start_time", 13: "deadline"}
    return [
        _invalid(
            id,
            f"{name} {what}",
            "TIMESTAMP_OUT_OF_RANGE",
            f"claim.{name}",
            at=wire.text(number, wire.field(1, seconds)),
        )
        for number, name in fields.items()
    ]


def _stored(id: str, what: str, **parts: bytes) -> Row:  # noqa: A002
    return says(id, what, CREATE, create(claim(**parts)), OK)


NUMBERS = [
    _invalid("B1", "devices absent", "QUANTITY_REQUIRED", DEVICES, devices=b""),
    _invalid("B1", "devices 0", "QUANTITY_REQUIRED", DEVICES, devices=wire.field(3, 0)),
    _invalid("B2", "devices -1", "QUANTITY_OUT_OF_RANGE", DEVICES, devices=wire.field(3, -1)),
    _invalid("B3", "devices 2^31", "QUANTITY_OUT_OF_RANGE", DEVICES, devices=wire.field(3, 1 << 31)),
    _invalid("B3", "devices 2^40+7", "QUANTITY_OUT_OF_RANGE", DEVICES, devices=wire.field(3, (1 << 40) + 7)),
    _invalid("B3", "devices 2^63-1", "QUANTITY_OUT_OF_RANGE", DEVICES, devices=wire.field(3, (1 << 63) - 1)),
    _invalid("B3", "value -1", "QUANTITY_OUT_OF_RANGE", "claim.value_microusd", value=wire.field(17, -1)),
    _claim(
        "B5",
        "a gang larger than every pool",
        PRECONDITION,
        "EXCEEDS_ANY_POOL",
        DEVICES,
        devices=wire.field(3, 65),
        gang=wire.field(5, 1),
    ),
    _stored("B6", "whole domains of 12 devices: rounded up to 16", devices=wire.field(3, 12), whole=wire.field(6, 1)),
    _invalid("B9", "a duration of -1 h", "DURATION_OUT_OF_RANGE", DURATION, duration=wire.text(10, span(-HOUR))),
    _invalid("B10", "a duration of 0", "DURATION_GRANULARITY", DURATION, duration=wire.text(10, b"")),
    _invalid("B10", "a duration of 1 ns", "DURATION_GRANULARITY", DURATION, duration=wire.text(10, span(0, 1))),
    _invalid("B10", "a duration of 5,000 s", "DURATION_GRANULARITY", DURATION, duration=wire.text(10, span(5000))),
    _invalid("B10", "no duration", "DURATION_REQUIRED", DURATION, duration=b""),
    _invalid("B11", "signs that differ", "DURATION_MALFORMED", DURATION, duration=wire.text(10, span(HOUR, -1))),
    _invalid("B11", "10^9 nanos", "DURATION_MALFORMED", DURATION, duration=wire.text(10, span(HOUR, 10**9))),
    _invalid(
        "B12", "315,576,000,001 s", "DURATION_OUT_OF_RANGE", DURATION, duration=wire.text(10, span(315_576_000_001))
    ),
]

TIMES = [
    *_moments("B14", "before the year 1", -62_135_596_801),
    *_moments("B14", "after the year 9999", 253_402_300_800),
    *_moments("B14", "in 1970", 0),
    *_moments("B14", "2^63-1", (1 << 63) - 1),
    _invalid(
        "B15",
        "latest start before the earliest",
        "WINDOW_EMPTY",
        "claim.latest_start_time",
        earliest=wire.text(11, span(NOON + 5 * HOUR)),
        latest=wire.text(12, span(NOON + 4 * HOUR)),
    ),
    _claim(
        "B16",
        "a deadline in the past",
        PRECONDITION,
        "DEADLINE_PASSED",
        "claim.deadline",
        deadline=wire.text(13, span(NOON - HOUR)),
    ),
    _stored(
        "B17",
        "a start beyond the horizon: waits with REASON_BEYOND_HORIZON",
        earliest=wire.text(11, span(NOON + 400 * 24 * HOUR)),
    ),
    _invalid(
        "B18",
        "not an hour between earliest start and deadline",
        "WINDOW_TOO_SHORT",
        "claim.deadline",
        earliest=wire.text(11, span(NOON + HOUR)),
        deadline=wire.text(13, span(NOON + HOUR)),
    ),
    _stored(
        "B18",
        "earliest start + duration > deadline: waits with REASON_WINDOW_TOO_SHORT",
        earliest=wire.text(11, span(NOON + HOUR)),
        deadline=wire.text(13, span(NOON + 2 * HOUR)),
    ),
    _stored("B19", "2027-02-29T02:30 in a label", label=label(b"at", b"2027-02-29T02:30:00 Europe/Zurich")),
]

NAMES = [
    *_named("B20", "empty", b""),
    *_named("B21", "64 characters", b"x" * 64, "NAME_TOO_LONG"),
    *_named("B21", "256 characters", b"x" * 256, "NAME_TOO_LONG"),
    says("B21", "63 characters", CREATE, create(claim_id=wire.text(3, b"x" * 63)), OK),
    *_named("B22", "../../etc", b"../../etc"),
    *_named("B22", "a/../b", b"a/../b"),
    *_named("B22", "%2e%2e", b"%2e%2e"),
    *_named("B22", "/x", b"/x"),
    *_named("B23", "NUL", b"a\x00b"),
    *_named("B23", "CR LF", b"a\r\nERROR forged"),
    *_named("B23", "line feed at the end", b"a\n"),
    *_named("B23", "tab", b"a\tb"),
    *_named("B23", "ESC", b"a\x1b[31mb"),
    *_named("B24", "Cyrillic a", "tr\u0430ining".encode()),
    *_named("B24", "right-to-left override", "a\u202eb".encode()),
    *_named("B24", "zero-width space", "a\u200bb".encode()),
    *_named("B24", "é composed", "\u00e9".encode()),
    *_named("B24", "é in two", "e\u0301".encode()),
    *_named("B24", "a digit that is not ASCII", "\u0663".encode()),
    *_named("B26", "-", b"-"),
    *_named("B26", "_system", b"_system"),
    *_named("B26", "admin", b"admin", "NAME_RESERVED"),
    *_named("B26", "system", b"system", "NAME_RESERVED"),
]

TEXTS = [
    _stored("B27", "emoji in a label", label=label(b"note", "🧪🚀".encode())),
    _stored("B27", "a label of 255 characters of four bytes", label=label(b"note", "🚀".encode() * 255)),
    _invalid("B27", "a label of 256 characters", "TEXT_TOO_LONG", "claim.labels", label=label(b"note", b"x" * 256)),
    _invalid("B27", "a label of 64 KiB", "TEXT_TOO_LONG", "claim.labels", label=label(b"note", b"x" * 65_536)),
    _invalid("B27", "a label without a key", "TEXT_TOO_LONG", "claim.labels", label=label(b"", b"x")),
    _invalid("B28", "C3 28 in a label", "MALFORMED_MESSAGE", "", label=label(b"note", b"\xc3\x28")),
    _invalid("B28", "a lone surrogate in a label", "MALFORMED_MESSAGE", "", label=label(b"note", b"\xed\xa0\x80")),
    _invalid("B28", "C3 28 as a class", "MALFORMED_MESSAGE", "", workload_class=wire.text(2, b"\xc3\x28")),
    says("B28", "C3 28 as a tenant", CREATE, create(parent=b"tenants/\xc3\x28"), INVALID, "MALFORMED_MESSAGE"),
]

ENUMS = [
    _invalid("B31", "tier absent", "ENUM_REQUIRED", "claim.tier", tier=b""),
    _invalid("B31", "tier 0", "ENUM_REQUIRED", "claim.tier", tier=wire.field(16, 0)),
    _invalid("B32", "tier 999", "ENUM_UNKNOWN", "claim.tier", tier=wire.field(16, 999)),
    _invalid("B32", "tier -1", "ENUM_UNKNOWN", "claim.tier", tier=wire.field(16, -1)),
    _invalid("B32", "tier 2^31", "ENUM_UNKNOWN", "claim.tier", tier=wire.field(16, 1 << 31)),
]

ITEMS = [
    _invalid(
        "B41",
        "10,000 labels",
        "TOO_MANY_ITEMS",
        "claim.labels",
        labels=b"".join(label(b"%d" % n, b"") for n in range(10_000)),
    ),
    _invalid(
        "B76", "at least 9 and at most 8 devices", "ELASTICITY_INVALID", "claim.min_devices", least=wire.field(8, 9)
    ),
    _claim(
        "B76",
        "a gang of a million",
        PRECONDITION,
        "EXCEEDS_ANY_POOL",
        DEVICES,
        devices=wire.field(3, 10**6),
        gang=wire.field(5, 1),
    ),
    _stored("B76", "a gang of one", devices=wire.field(3, 1), gang=wire.field(5, 1)),
    _stored(
        "B77",
        "MTIA in domains of 72: waits with REASON_NO_ELIGIBLE_POOL",
        silicon=wire.text(4, wire.text(1, b"mtia-400")),
        domain=wire.field(7, 72),
    ),
    _invalid(
        "B78",
        "a pool preferred and forbidden",
        "CONSTRAINT_CONFLICT",
        "claim.forbidden_pools",
        preferred=wire.text(14, b"pools/dc-1"),
        forbidden=wire.text(15, b"pools/dc-1"),
    ),
    _invalid(
        "B78",
        "1,000 pools",
        "TOO_MANY_ITEMS",
        "claim.preferred_pools",
        pools=b"".join(wire.text(14, b"pools/p%d" % n) for n in range(1000)),
    ),
    _invalid(
        "B78",
        "1,000 kinds of silicon",
        "TOO_MANY_ITEMS",
        "claim.silicon",
        silicon=b"".join(wire.text(4, wire.text(1, b"s%d" % n)) for n in range(1000)),
    ),
    *(_stored("B83", f"label key {n} of a hundred", label=label(b"key-%d" % n, b"x")) for n in (0, 99)),
]

ROWS = [*NUMBERS, *TIMES, *NAMES, *TEXTS, *ENUMS, *ITEMS]
