"""What happens to the supply of a pool, as changes of what its fleet declares.

Devices that are away count as away in every hour that they miss a part of, devices that come from the next whole hour.
Hours that are over stay as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Delivery, Maintenance, Pool
from broker.domain.slots import SLOT_SECONDS, Steps, Window, slot_at_or_after, slot_of

__all__ = ["Drain", "Growth", "LateDelivery", "Outage", "Recovery", "SupplyChange", "supplied"]

ENTRIES_MAX = 1_000  # deliveries, and as many maintenances, of one pool


@dataclass(frozen=True, slots=True)
class Outage:
    """Devices (0: all) are away from ``at`` until ``until`` (Unix seconds), beside those that are away already."""

    at: int
    until: int
    devices: int = 0


@dataclass(frozen=True, slots=True)
class Recovery:
    """Whatever is away at ``at`` (Unix seconds) is back from then on; what goes away later still does."""

    at: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Devices leave for good at ``at`` (Unix seconds); 0: all that are there, and none come later."""

    at: int
    devices: int = 0


@dataclass(frozen=True, slots=True)
class LateDelivery:
    """What was to arrive at ``due`` arrives at ``at`` (Unix seconds)."""

    due: int
    at: int


@dataclass(frozen=True, slots=True)
class Growth:
    """More devices arrive at ``at`` (Unix seconds), and stay."""

    at: int
    devices: int


SupplyChange = Outage | Recovery | Drain | LateDelivery | Growth


def supplied(pool: Pool, change: SupplyChange, *, now: int) -> Pool:
    """The pool after a change that is made at ``now`` (Unix seconds).

    Faults: SLOT_CLOSED where it would change hours that are over, QUANTITY_OUT_OF_RANGE where more devices go than are
    there, DELIVERY_NOT_FOUND, WINDOW_EMPTY, TOO_MANY_ITEMS.
    """
    after = _changed(pool, change, now)
    past = slot_of(now)
    if past > 0 and _levels(pool, Window(0, past)) != _levels(after, Window(0, past)):
        raise Fault(
            FaultReason.SLOT_CLOSED,
            "The hour in which the change begins is over",
            remedy="Let it begin in this hour or later.",
            facts={"first_open_unix_seconds": str(past * SLOT_SECONDS)},
        )
    if max(len(after.deliveries), len(after.maintenance)) > ENTRIES_MAX:
        raise Fault(
            FaultReason.TOO_MANY_ITEMS,
            f"The pool would have more than {ENTRIES_MAX} deliveries or maintenances",
            remedy="Apply a fleet that declares what is left of the old ones.",
        )
    return after


def _changed(pool: Pool, change: SupplyChange, now: int) -> Pool:
    match change:
        case Outage(at, until, devices):
            window = Window(slot_of(at), slot_at_or_after(until))
            there = max(level for _, level in _delivered(pool).within(window))
            away = Maintenance(_at_most(there, devices), at, until)
            return replace(pool, maintenance=(*pool.maintenance, away))
        case Recovery(at):
            return replace(pool, maintenance=tuple(left for m in pool.maintenance for left in _cut(m, at)))
        case Drain(at, devices):
            return replace(pool, deliveries=_drained(pool, slot_of(at), devices))
        case Growth(at, devices):
            return replace(pool, deliveries=(*pool.deliveries, Delivery(devices, at)))
        case LateDelivery(due, at):
            return _late(pool, due, at, now)


def _cut(maintenance: Maintenance, at: int) -> tuple[Maintenance, ...]:
    """What is left of a maintenance that is over at ``at`` if it goes on then."""
    if not maintenance.at <= at < maintenance.until:
        return (maintenance,)
    return (replace(maintenance, until=at),) if maintenance.at < at else ()


def _drained(pool: Pool, slot: int, devices: int) -> tuple[Delivery, ...]:
    """The deliveries with so many devices less from ``slot`` on."""
    at, there = slot * SLOT_SECONDS, _delivered(pool)
    if devices:
        least = min(level for first, level in [(slot, there.at(slot)), *there.steps] if first >= slot)
        return (*pool.deliveries, Delivery(-_at_most(least, devices), at))
    before = tuple(d for d in pool.deliveries if d.at is None or slot_at_or_after(d.at) < slot)
    left = there.at(slot - 1) if slot else 0
    return (*before, Delivery(-left, at)) if left else before


def _late(pool: Pool, due: int, at: int, now: int) -> Pool:
    late = [d for d in pool.deliveries if d.at == due and d.devices > 0]
    if not late:
        raise Fault(
            FaultReason.DELIVERY_NOT_FOUND,
            "Nothing is delivered to the pool at that moment",
            remedy="Read the pool: name the start_time of one of its deliveries.",
        )
    if at <= due:
        raise Fault(
            FaultReason.WINDOW_EMPTY,
            "The delivery would come no later than it was to",
            remedy="Name a later moment; let what comes earlier be growth.",
        )
    if slot_at_or_after(due) <= slot_of(now):
        # It was to be there by now: what the books of past hours say stays as it is.
        away = Maintenance(sum(d.devices for d in late), now, at)
        return replace(pool, maintenance=(*pool.maintenance, away))
    after = replace(pool, deliveries=tuple(replace(d, at=at) if d in late else d for d in pool.deliveries))
    if _overdrawn(after):
        raise _too_many(0)
    return after


def _delivered(pool: Pool) -> Steps:
    """Devices over time if none were ever away for a while."""
    return replace(pool, maintenance=()).supply()


def _levels(pool: Pool, window: Window) -> list[tuple[Window, int]]:
    return list(pool.supply().within(window))


def _overdrawn(pool: Pool) -> bool:
    """Whether more devices leave than there are."""
    there = 0
    for delivery in sorted(pool.deliveries, key=lambda d: d.at or 0):
        there += delivery.devices
        if there < 0:
            return True
    return False


def _at_most(there: int, devices: int) -> int:
    """So many of the devices that are there; 0: all of them."""
    if not 1 <= (devices or there) <= there:
        raise _too_many(there)
    return devices or there


def _too_many(there: int) -> Fault:
    return Fault(
        FaultReason.QUANTITY_OUT_OF_RANGE,
        f"More devices would go than the pool has then: {there}" if there else "The pool has no devices then",
        remedy="Name fewer devices, or leave the number out for all of them.",
        field="devices",
        facts={"max_devices": str(there)},
    )
