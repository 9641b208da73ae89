"""Fleets: every part in full, as they are small and rarely written."""

from __future__ import annotations

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
from broker.ledger.codec.text import VERSION, Json, checked

__all__ = ["fleet_of", "fleet_record"]


def fleet_record(fleet: Fleet) -> dict[str, Json]:
    """The whole fleet."""
    return {
        "v": VERSION,
        "silicon": [{"id": s.id, "family": s.family, "display_name": s.display_name} for s in fleet.silicon],
        "workload_classes": [
            {"id": w.id, "speed_percent": dict(w.speed_percent), "display_name": w.display_name}
            for w in fleet.workload_classes
        ],
        "pools": [_pool_record(pool) for pool in fleet.pools],
        "contracts": [_contract_record(contract) for contract in fleet.contracts],
        "tenants": [_tenant_record(tenant) for tenant in fleet.tenants],
        "insurance": [_insurance_record(insurance) for insurance in fleet.insurance],
    }


def _pool_record(pool: Pool) -> dict[str, Json]:
    cut = {"tray_devices": pool.tray_devices, "spare_trays": pool.spare_trays, "slice_trays": pool.slice_trays}
    return {
        "id": pool.id,
        "kind": pool.kind.value,
        "silicon": pool.silicon,
        "domain_devices": pool.domain_devices,
        "deliveries": [[d.devices, d.at] for d in pool.deliveries],
        "maintenance": [[m.devices, m.at, m.until] for m in pool.maintenance],
        "unit_cost_microusd": pool.unit_cost_microusd,
        "site": pool.site,
        **(cut if pool.tray_devices else {}),
        **({"floors": [[f.tenant, f.devices] for f in pool.floors]} if pool.floors else {}),
    }


def _contract_record(contract: Contract) -> dict[str, Json]:
    return {
        "id": contract.id,
        "pool": contract.pool,
        "counterparty": contract.counterparty,
        "committed": [[c.devices, c.at] for c in contract.committed],
        "committed_price_microusd": contract.committed_price_microusd,
        "overage_price_microusd": contract.overage_price_microusd,
    }


def _tenant_record(tenant: Tenant) -> dict[str, Json]:
    return {
        "id": tenant.id,
        "quota_devices": tenant.quota_devices,
        "display_name": tenant.display_name,
        **({} if tenant.loan_devices is None else {"loan_devices": tenant.loan_devices}),
    }


def _insurance_record(insurance: Insurance) -> dict[str, Json]:
    return {
        "id": insurance.id,
        "loss": insurance.loss.value,
        "pools": list(insurance.pools),
        "late_days": insurance.late_days,
        "covers": list(insurance.covers),
    }


def fleet_of(record: Json) -> Fleet:
    """The fleet that a record describes."""
    checked(record)
    return Fleet(
        silicon=tuple(Silicon(s["id"], s["family"], s["display_name"]) for s in record["silicon"]),
        workload_classes=tuple(
            WorkloadClass(w["id"], w["speed_percent"], w["display_name"]) for w in record["workload_classes"]
        ),
        pools=tuple(_pool(pool) for pool in record["pools"]),
        contracts=tuple(_contract(contract) for contract in record["contracts"]),
        tenants=tuple(
            Tenant(t["id"], t["quota_devices"], t["display_name"], t.get("loan_devices")) for t in record["tenants"]
        ),
        insurance=tuple(_insurance(insurance) for insurance in record.get("insurance", ())),
    )


def _pool(record: Json) -> Pool:
    return Pool(
        id=record["id"],
        kind=PoolKind(record["kind"]),
        silicon=record["silicon"],
        domain_devices=record["domain_devices"],
        deliveries=tuple(Delivery(d[0], d[1]) for d in record["deliveries"]),
        maintenance=tuple(Maintenance(m[0], m[1], m[2]) for m in record["maintenance"]),
        unit_cost_microusd=record["unit_cost_microusd"],
        site=record["site"],
        tray_devices=record.get("tray_devices", 0),
        spare_trays=record.get("spare_trays", 0),
        slice_trays=record.get("slice_trays", 0),
        floors=tuple(Floor(f[0], f[1]) for f in record.get("floors", ())),
    )


def _contract(record: Json) -> Contract:
    return Contract(
        id=record["id"],
        pool=record["pool"],
        counterparty=record["counterparty"],
        committed=tuple(CommittedLevel(c[0], c[1]) for c in record["committed"]),
        committed_price_microusd=record["committed_price_microusd"],
        overage_price_microusd=record["overage_price_microusd"],
    )


def _insurance(record: Json) -> Insurance:
    return Insurance(
        id=record["id"],
        loss=LossKind(record["loss"]),
        pools=tuple(record["pools"]),
        late_days=record["late_days"],
        covers=tuple(record["covers"]),
    )
