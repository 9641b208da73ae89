"""What happens to a pool, as a change of its supply: every rule that needs nothing but the message itself."""

from __future__ import annotations

from capacitybroker.v1 import fleet_service_pb2 as pb
from capacitybroker.v1 import supply_pb2

from broker.domain.faults import Fault, FaultReason
from broker.domain.supply import Drain, Growth, LateDelivery, Outage, Recovery, SupplyChange
from broker.transport.asks import quantity
from broker.transport.fleets import DEVICES_MAX
from broker.transport.times import seconds_of

__all__ = ["supply_change"]

Starting = supply_pb2.Outage | supply_pb2.Recovery | supply_pb2.Drain | supply_pb2.Growth


def supply_change(request: pb.ChangeSupplyRequest, now: int) -> SupplyChange:
    """What the request says happens; a moment that it leaves out is ``now`` (Unix seconds)."""
    match request.WhichOneof("change"):
        case "outage":
            out = request.outage
            at = _start(out, "outage", now)
            until = seconds_of(out.end_time, "outage.end_time", up=True) if out.HasField("end_time") else None
            if until is None:
                raise _required("outage.end_time", "Say when the devices are expected back; it can be changed later.")
            if until <= at:
                raise Fault(
                    FaultReason.WINDOW_EMPTY,
                    "The outage ends before it starts",
                    remedy="Swap or correct the times.",
                    field="outage.end_time",
                )
            return Outage(at, until, _some(out.devices, "outage.devices"))
        case "recovery":
            return Recovery(_start(request.recovery, "recovery", now))
        case "drain":
            at = _start(request.drain, "drain", now)
            return Drain(at, _some(request.drain.devices, "drain.devices"))
        case "growth":
            at = _start(request.growth, "growth", now)
            return Growth(at, quantity(request.growth.devices, "growth.devices", most=DEVICES_MAX))
        case "late_delivery":
            late = request.late_delivery
            for field in ("delivery_time", "new_delivery_time"):
                if not late.HasField(field):
                    raise _required(f"late_delivery.{field}", "Name the delivery by its start_time, and the new one.")
            return LateDelivery(
                seconds_of(late.delivery_time, "late_delivery.delivery_time", up=True),
                seconds_of(late.new_delivery_time, "late_delivery.new_delivery_time", up=True),
            )
        case _:
            raise _required("change", "Say what happens: outage, recovery, drain, late_delivery or growth.")


def _start(change: Starting, field: str, now: int) -> int:
    if not change.HasField("start_time"):
        return now
    return seconds_of(change.start_time, f"{field}.start_time", up=isinstance(change, supply_pb2.Growth))


def _some(devices: int, field: str) -> int:
    """How many; 0: all."""
    return quantity(devices, field, most=DEVICES_MAX) if devices else 0


def _required(field: str, remedy: str) -> Fault:
    return Fault(FaultReason.FIELD_REQUIRED, f"{field} is required", remedy=remedy, field=field)
