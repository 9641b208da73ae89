"""A fleet message as a Fleet: every rule that needs nothing but the message itself."""

from __future__ import annotations

from collections.abc import Collection, Sized

from capacitybroker.v1 import fleet_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import (
    CommittedLevel,
    Contract,
    Delivery,
    Fleet,
    Floor,
    Maintenance,
    Pool,
    PoolKind,
    Silicon,
    Tenant,
    WorkloadClass,
)
from broker.domain.insurance import Insurance, LossKind
from broker.transport.asks import quantity, shown
from broker.transport.names import plain_id
from broker.transport.times import seconds_of

__all__ = ["fleet"]

DEVICES_MAX = 1_000_000_000
PRICE_MICROUSD_MAX = 10**12  # a million dollars a device-hour
PARTS_MAX = 1_000
SPEED_MAX = 10_000
KINDS = {
    pb.POOL_KIND_INTERNAL: PoolKind.INTERNAL,
    pb.POOL_KIND_CUSTOM_SILICON: PoolKind.CUSTOM_SILICON,
    pb.POOL_KIND_CONTRACTED: PoolKind.CONTRACTED,
}
LOSSES = {
    pb.LOSS_KIND_ANY_ONE_POOL: LossKind.ANY_ONE_POOL,
    pb.LOSS_KIND_POOLS_TOGETHER: LossKind.POOLS_TOGETHER,
    pb.LOSS_KIND_LATE_DELIVERY: LossKind.LATE_DELIVERY,
}
LATE_DAYS_MAX = 366


def fleet(message: pb.Fleet) -> Fleet:
    """The fleet, if its ids are unique and what it refers to is in it."""
    for name in ("silicon", "workload_classes", "pools", "contracts", "tenants", "insurance"):
        _at_most(PARTS_MAX, getattr(message, name), f"fleet.{name}")
    declared = Fleet(
        silicon=tuple(
            Silicon(
                plain_id(s.id, "fleet.silicon.id"),
                s.family and plain_id(s.family, "fleet.silicon.family"),
                shown(s.display_name, "fleet.silicon.display_name"),
            )
            for s in message.silicon
        ),
        workload_classes=tuple(_workload_class(w) for w in message.workload_classes),
        pools=tuple(_pool(p) for p in message.pools),
        contracts=tuple(_contract(c) for c in message.contracts),
        tenants=tuple(_tenant(t) for t in message.tenants),
        insurance=tuple(_insurance(i) for i in message.insurance),
    )
    _check_references(declared)
    return declared


def _workload_class(message: pb.WorkloadClass) -> WorkloadClass:
    _at_most(PARTS_MAX, message.speeds, "fleet.workload_classes.speeds")
    speeds = {
        plain_id(speed.silicon, "fleet.workload_classes.speeds.silicon"): quantity(
            speed.speed_percent, "fleet.workload_classes.speeds.speed_percent", most=SPEED_MAX
        )
        for speed in message.speeds
    }
    return WorkloadClass(
        plain_id(message.id, "fleet.workload_classes.id"),
        speeds,
        shown(message.display_name, "fleet.workload_classes.display_name"),
    )


def _pool(message: pb.Pool) -> Pool:
    if message.kind not in KINDS:
        raise Fault(
            FaultReason.ENUM_REQUIRED if message.kind == pb.POOL_KIND_UNSPECIFIED else FaultReason.ENUM_UNKNOWN,
            f"Pool '{message.id[:64]}' has no known kind",
            remedy="Choose POOL_KIND_INTERNAL, POOL_KIND_CUSTOM_SILICON or POOL_KIND_CONTRACTED.",
            field="fleet.pools.kind",
        )
    _at_most(PARTS_MAX, message.deliveries, "fleet.pools.deliveries")
    _at_most(PARTS_MAX, message.maintenance, "fleet.pools.maintenance")
    _at_most(PARTS_MAX, message.floors, "fleet.pools.floors")
    return Pool(
        id=plain_id(message.id, "fleet.pools.id"),
        kind=KINDS[message.kind],
        silicon=plain_id(message.silicon, "fleet.pools.silicon"),
        domain_devices=quantity(message.domain_devices, "fleet.pools.domain_devices", most=DEVICES_MAX),
        deliveries=tuple(
            Delivery(
                quantity(d.devices, "fleet.pools.deliveries.devices", most=DEVICES_MAX, least=-DEVICES_MAX),
                _moment(d, d.start_time, "fleet.pools.deliveries.start_time"),
            )
            for d in message.deliveries
        ),
        maintenance=tuple(_maintenance(m) for m in message.maintenance),
        unit_cost_microusd=quantity(
            message.unit_cost_microusd, "fleet.pools.unit_cost_microusd", most=PRICE_MICROUSD_MAX, least=0
        ),
        site=shown(message.site, "fleet.pools.site"),
        tray_devices=quantity(message.tray_devices, "fleet.pools.tray_devices", most=DEVICES_MAX, least=0),
        spare_trays=quantity(message.spare_trays, "fleet.pools.spare_trays", most=DEVICES_MAX, least=0),
        slice_trays=quantity(message.slice_trays, "fleet.pools.slice_trays", most=DEVICES_MAX, least=0),
        floors=tuple(
            Floor(
                plain_id(floor.tenant, "fleet.pools.floors.tenant"),
                quantity(floor.devices, "fleet.pools.floors.devices", most=DEVICES_MAX),
            )
            for floor in message.floors
        ),
    )


def _maintenance(message: pb.Maintenance) -> Maintenance:
    first = seconds_of(message.start_time, "fleet.pools.maintenance.start_time", up=False)
    end = seconds_of(message.end_time, "fleet.pools.maintenance.end_time", up=True)
    if end <= first:
        raise Fault(
            FaultReason.WINDOW_EMPTY,
            "Maintenance ends before it starts",
            remedy="Swap or correct the times.",
            field="fleet.pools.maintenance.end_time",
        )
    return Maintenance(quantity(message.devices, "fleet.pools.maintenance.devices", most=DEVICES_MAX), first, end)


def _contract(message: pb.Contract) -> Contract:
    _at_most(PARTS_MAX, message.committed, "fleet.contracts.committed")
    return Contract(
        id=plain_id(message.id, "fleet.contracts.id"),
        pool=plain_id(message.pool, "fleet.contracts.pool"),
        counterparty=shown(message.counterparty, "fleet.contracts.counterparty"),
        committed=tuple(
            CommittedLevel(
                quantity(level.devices, "fleet.contracts.committed.devices", most=DEVICES_MAX, least=0),
                _moment(level, level.start_time, "fleet.contracts.committed.start_time"),
            )
            for level in message.committed
        ),
        committed_price_microusd=quantity(
            message.committed_price_microusd,
            "fleet.contracts.committed_price_microusd",
            most=PRICE_MICROUSD_MAX,
            least=0,
        ),
        overage_price_microusd=quantity(
            message.overage_price_microusd, "fleet.contracts.overage_price_microusd", most=PRICE_MICROUSD_MAX, least=0
        ),
    )


def _tenant(message: pb.Tenant) -> Tenant:
    quota = None
    if message.HasField("quota_devices"):
        quota = quantity(message.quota_devices, "fleet.tenants.quota_devices", most=DEVICES_MAX, least=0)
    loans = None
    if message.HasField("loan_devices"):
        loans = quantity(message.loan_devices, "fleet.tenants.loan_devices", most=DEVICES_MAX, least=0)
    return Tenant(
        plain_id(message.id, "fleet.tenants.id"),
        quota,
        shown(message.display_name, "fleet.tenants.display_name"),
        loans,
    )


def _insurance(message: pb.Insurance) -> Insurance:
    if message.loss not in LOSSES:
        raise Fault(
            FaultReason.ENUM_REQUIRED if message.loss == pb.LOSS_KIND_UNSPECIFIED else FaultReason.ENUM_UNKNOWN,
            f"Insurance '{message.id[:64]}' has no known loss",
            remedy="Choose LOSS_KIND_ANY_ONE_POOL, LOSS_KIND_POOLS_TOGETHER or LOSS_KIND_LATE_DELIVERY.",
            field="fleet.insurance.loss",
        )
    _at_most(PARTS_MAX, message.pools, "fleet.insurance.pools")
    _at_most(PARTS_MAX, message.covers, "fleet.insurance.covers")
    return Insurance(
        plain_id(message.id, "fleet.insurance.id"),
        LOSSES[message.loss],
        tuple(plain_id(pool, "fleet.insurance.pools") for pool in message.pools),
        quantity(message.late_days, "fleet.insurance.late_days", most=LATE_DAYS_MAX, least=0),
        tuple(plain_id(pool, "fleet.insurance.covers") for pool in message.covers),
    )


def _moment(message: pb.Delivery | pb.CommittedLevel, value: Timestamp, field: str) -> int | None:
    return seconds_of(value, field, up=True) if message.HasField("start_time") else None


def _check_cut(pool: Pool) -> None:
    """Whether at least one slice can be made of a domain's trays."""
    if not pool.tray_devices:
        if pool.spare_trays or pool.slice_trays:
            raise _invalid(f"Pool '{pool.id}' counts trays but has no tray_devices", "fleet.pools.tray_devices")
        return
    if pool.domain_devices % pool.tray_devices:
        raise _invalid(f"The domains of pool '{pool.id}' are not whole trays", "fleet.pools.tray_devices")
    usable = pool.domain_devices // pool.tray_devices - pool.spare_trays
    if usable < max(1, pool.slice_trays):
        raise _invalid(f"A domain of pool '{pool.id}' has too few trays that are not spare", "fleet.pools.spare_trays")


def _check_pool(pool: Pool, silicon: Collection[str]) -> None:
    _check_cut(pool)
    if pool.silicon not in silicon:
        raise _invalid(f"Pool '{pool.id}' names silicon '{pool.silicon}', which is not declared", "fleet.pools")
    there = 0
    for delivery in sorted(pool.deliveries, key=lambda d: d.at or 0):
        there += delivery.devices
        if there < 0:
            raise _invalid(f"More devices leave pool '{pool.id}' than it has", "fleet.pools.deliveries")


def _check_floors(pool: Pool, tenants: Collection[str]) -> None:
    named = [floor.tenant for floor in pool.floors]
    if strange := set(named) - set(tenants):
        raise _invalid(f"Pool '{pool.id}' names tenant '{min(strange)}', which is not declared", "fleet.pools.floors")
    if len(set(named)) != len(named):
        raise _invalid(f"Pool '{pool.id}' names a tenant twice", "fleet.pools.floors")


def _check_insurance(insurance: Insurance, pools: Collection[str]) -> None:
    name, late = f"Insurance '{insurance.id}'", insurance.loss is LossKind.LATE_DELIVERY
    for names in (insurance.pools, insurance.covers):
        if strange := set(names) - set(pools):
            raise _invalid(f"{name} names pool '{min(strange)}', which is not declared", "fleet.insurance")
        if len(set(names)) != len(names):
            raise _invalid(f"{name} names a pool twice", "fleet.insurance")
    if bool(insurance.pools) is (insurance.loss is LossKind.ANY_ONE_POOL):
        raise _invalid(
            f"{name}: {insurance.loss} goes {'without' if insurance.pools else 'with'} pools", "fleet.insurance"
        )
    if late is not (insurance.late_days > 0):
        raise _invalid(f"{name}: {insurance.loss} goes {'with' if late else 'without'} late_days", "fleet.insurance")


def _check_references(declared: Fleet) -> None:
    names = [name for name, _ in declared.parts()]
    if len(set(names)) != len(names):
        twice = min(name for name in names if names.count(name) > 1)
        raise _invalid(f"{twice} is declared twice", "fleet")
    silicon = {s.id for s in declared.silicon}
    for work in declared.workload_classes:
        if strange := set(work.speed_percent) - silicon:
            raise _invalid(f"Workload class '{work.id}' names silicon '{min(strange)}', which is not declared", "fleet")
    for pool in declared.pools:
        _check_pool(pool, silicon)
        _check_floors(pool, {tenant.id for tenant in declared.tenants})
    for insurance in declared.insurance:
        _check_insurance(insurance, declared.pools_by_id)
    contracted = {pool.id for pool in declared.pools if pool.kind is PoolKind.CONTRACTED}
    for contract in declared.contracts:
        if contract.pool not in contracted:
            raise _invalid(
                f"Contract '{contract.id}' names '{contract.pool}', not a contracted pool", "fleet.contracts"
            )
    pools = [contract.pool for contract in declared.contracts]
    if len(set(pools)) != len(pools):
        raise _invalid("A pool has more than one contract", "fleet.contracts")


def _invalid(message: str, field: str) -> Fault:
    return Fault(FaultReason.FLEET_INVALID, message, remedy="Correct the fleet; nothing was changed.", field=field)


def _at_most(most: int, items: Sized, field: str) -> None:
    if len(items) > most:
        raise Fault(
            FaultReason.TOO_MANY_ITEMS, f"{field} has more than {most} entries", remedy="Send fewer.", field=field
        )
