"""Pools, what changes in them and how full they are, on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from capacitybroker.v1 import claim_pb2, supply_pb2
from capacitybroker.v1 import fleet_pb2 as pb
from capacitybroker.v1 import fleet_service_pb2 as service_pb
from google.protobuf.timestamp_pb2 import Timestamp

from broker.admission.displacement import Loss
from broker.domain.fleet import CommittedLevel, Contract, Fleet, FleetChange, Pool, Tenant
from broker.domain.slots import Steps, Window
from broker.domain.snapshot import Shortfall
from broker.ledger.port import Balance
from broker.transport.claims import placement_message
from broker.transport.times import moment, slot_moment

__all__ = ["change_message", "fleet_message", "pool_status", "shortfall_message", "tenant_status", "touched_message"]


def change_message(change: FleetChange) -> service_pb.FleetChange:
    """One difference on the wire."""
    action = service_pb.FleetChange.Action.Value(f"ACTION_{change.action}")
    return service_pb.FleetChange(resource=change.resource, action=action)


def shortfall_message(shortfall: Shortfall) -> service_pb.Shortfall:
    """One shortfall on the wire."""
    return service_pb.Shortfall(
        resource=shortfall.account,
        start_time=slot_moment(shortfall.window.first),
        end_time=slot_moment(shortfall.window.end),
        devices=shortfall.devices,
    )


def touched_message(loss: Loss, viewer: str | None) -> supply_pb2.TouchedClaim:
    """What a claim loses, on the wire; named if its tenant is the ``viewer`` or that is None."""
    claim = loss.claim
    return supply_pb2.TouchedClaim(
        claim=str(claim.name) if viewer in (None, claim.name.tenant) else "",
        tier=claim_pb2.Tier.Value(f"TIER_{claim.ask.tier}"),
        state=claim_pb2.Claim.State.Value(f"STATE_{claim.state_name}"),
        placement=placement_message(loss.placement),
        refuge=None if loss.refuge is None else placement_message(loss.refuge),
    )


def fleet_message(fleet: Fleet) -> pb.Fleet:
    """A fleet on the wire; reads back as the same fleet."""
    return pb.Fleet(
        silicon=[pb.Silicon(id=s.id, family=s.family, display_name=s.display_name) for s in fleet.silicon],
        workload_classes=[
            pb.WorkloadClass(
                id=work.id,
                display_name=work.display_name,
                speeds=[
                    pb.SiliconSpeed(silicon=silicon, speed_percent=speed)
                    for silicon, speed in work.speed_percent.items()
                ],
            )
            for work in fleet.workload_classes
        ],
        pools=[_pool_message(pool) for pool in fleet.pools],
        contracts=[_contract_message(contract) for contract in fleet.contracts],
        tenants=[_tenant_message(tenant) for tenant in fleet.tenants],
        insurance=[
            pb.Insurance(
                id=insurance.id,
                loss=pb.LossKind.Value(f"LOSS_KIND_{insurance.loss}"),
                pools=insurance.pools,
                late_days=insurance.late_days,
                covers=insurance.covers,
            )
            for insurance in fleet.insurance
        ],
    )


def pool_status(pool: Pool, declared: Fleet, window: Window, balances: Mapping[str, Balance]) -> service_pb.PoolStatus:
    """A pool with its contract and its use over ``window``."""
    contract = declared.contract_of(pool.id)
    balance = balances.get(pool.account)
    granted = balance.granted if balance is not None else (0,) * window.slots
    return service_pb.PoolStatus(
        name=pool.account,
        pool=_pool_message(pool),
        contract=None if contract is None else _contract_message(contract),
        utilisation=_utilisation(pool.supply(), granted, window),
    )


def tenant_status(tenant: Tenant, balances: Mapping[str, Balance]) -> service_pb.TenantStatus:
    """A tenant with what it holds over a window, of its quota and on loan."""
    held, lent = (
        balances[account].granted if account in balances else (0,) for account in (tenant.account, tenant.loan_account)
    )
    return service_pb.TenantStatus(
        name=tenant.account,
        tenant=_tenant_message(tenant),
        quota_used_devices=held[0],
        quota_peak_devices=max(held),
        loan_used_devices=lent[0],
        loan_peak_devices=max(lent),
    )


def _tenant_message(tenant: Tenant) -> pb.Tenant:
    return pb.Tenant(
        id=tenant.id,
        display_name=tenant.display_name,
        quota_devices=tenant.quota_devices,
        loan_devices=tenant.loan_devices,
    )


def _utilisation(supply: Steps, granted: Sequence[int], window: Window) -> pb.Utilisation:
    supplied = supply.over(window)
    levels = list(zip(supplied, granted, strict=True))
    changes = [i for i in range(len(levels)) if i == 0 or levels[i] != levels[i - 1]]
    return pb.Utilisation(
        start_time=slot_moment(window.first),
        end_time=slot_moment(window.end),
        supplied_device_hours=sum(supplied),
        granted_device_hours=sum(granted),
        shortfall_device_hours=sum(max(0, used - there) for there, used in levels),
        peak_granted_devices=max(granted),
        levels=[
            pb.UtilisationLevel(
                start_time=slot_moment(window.first + i), supplied_devices=levels[i][0], granted_devices=levels[i][1]
            )
            for i in changes
        ],
    )


def _pool_message(pool: Pool) -> pb.Pool:
    return pb.Pool(
        id=pool.id,
        kind=pb.PoolKind.Value(f"POOL_KIND_{pool.kind}"),
        silicon=pool.silicon,
        domain_devices=pool.domain_devices,
        deliveries=[pb.Delivery(devices=d.devices, start_time=_optional(d.at)) for d in pool.deliveries],
        maintenance=[
            pb.Maintenance(devices=m.devices, start_time=moment(m.at), end_time=moment(m.until))
            for m in pool.maintenance
        ],
        unit_cost_microusd=pool.unit_cost_microusd,
        site=pool.site,
        tray_devices=pool.tray_devices,
        spare_trays=pool.spare_trays,
        slice_trays=pool.slice_trays,
        floors=[pb.Floor(tenant=floor.tenant, devices=floor.devices) for floor in pool.floors],
    )


def _contract_message(contract: Contract) -> pb.Contract:
    return pb.Contract(
        id=contract.id,
        pool=contract.pool,
        counterparty=contract.counterparty,
        committed=_levels(contract.committed),
        committed_price_microusd=contract.committed_price_microusd,
        overage_price_microusd=contract.overage_price_microusd,
    )


def _levels(levels: Iterable[CommittedLevel]) -> list[pb.CommittedLevel]:
    return [pb.CommittedLevel(devices=level.devices, start_time=_optional(level.at)) for level in levels]


def _optional(at: int | None) -> Timestamp | None:
    return None if at is None else moment(at)
