"""A fleet as tables: what may be asked for, by whom, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from capacitybroker import Fleet, Pool, TenantStatus
from capacitybroker.v1.fleet_pb2 import Contract, PoolKind, Tenant, WorkloadClass
from rich.table import Table

from broker.cli.show import WIDE, grid, word

__all__ = ["fleet_tables", "tenants_table"]


def fleet_tables(fleet: Fleet, *, now: datetime, width: int = WIDE) -> Iterator[Table]:
    """One table for each part of the fleet that has entries; amounts are those of ``now`` unless they say more."""
    seconds = int(now.timestamp())
    yield grid(
        ("SILICON", "FAMILY", "NAME"),
        [(kind.id, kind.family, kind.display_name) for kind in fleet.silicon],
        whole=("SILICON", "FAMILY"),
        width=width,
        title="Silicon (--silicon takes either name)",
    )
    yield grid(
        ("CLASS", "RUNS ON, AT % SPEED", "NAME"),
        [(kind.id, _speeds(kind), kind.display_name) for kind in fleet.workload_classes],
        spare=("NAME",),
        whole=("CLASS",),
        width=width,
        title="Workload classes (--class)",
    )
    yield grid(
        ("TENANT", "QUOTA", "ON LOAN", "NAME"),
        [(one.id, *_limits(one), one.display_name) for one in fleet.tenants],
        right=("QUOTA", "ON LOAN"),
        whole=("TENANT", "QUOTA", "ON LOAN"),
        width=width,
        title="Tenants (--tenant): devices at once",
    )
    numbers = ("DOMAIN", "DEVICES NOW", "DEVICES LATER", "$ PER HOUR")
    yield grid(
        ("POOL", "KIND", "SILICON", *numbers, "SITE"),
        [_pool(pool, seconds) for pool in fleet.pools],
        right=numbers,
        spare=("SITE", "$ PER HOUR", "KIND"),
        whole=("POOL", "SILICON"),
        width=width,
        title="Pools (--prefer, --avoid)",
    )
    if fleet.contracts:
        terms = ("PAID FOR NOW", "$ PER HOUR", "$ ABOVE IT")
        yield grid(
            ("CONTRACT", "POOL", "WITH", *terms),
            [_contract(contract, seconds) for contract in fleet.contracts],
            right=terms,
            spare=("WITH",),
            whole=("CONTRACT", "POOL"),
            width=width,
            title="Contracts: paid for whether used or not",
        )


def _speeds(kind: WorkloadClass) -> str:
    return ", ".join(f"{speed.silicon} {speed.speed_percent}" for speed in kind.speeds)


def _pool(pool: Pool, seconds: int) -> tuple[str, ...]:
    here = sum(delivery.devices for delivery in pool.deliveries if delivery.start_time.seconds <= seconds)
    away = sum(gone.devices for gone in pool.maintenance if gone.start_time.seconds <= seconds < gone.end_time.seconds)
    later = sum(delivery.devices for delivery in pool.deliveries)
    return (
        pool.id,
        word(PoolKind, pool.kind),
        pool.silicon,
        str(pool.domain_devices),
        f"{here - away:,}",
        f"{later:,}" if later != here - away else "",
        f"{pool.unit_cost_microusd / 1e6:.2f}" if pool.unit_cost_microusd else "",
        pool.site,
    )


def _contract(contract: Contract, seconds: int) -> tuple[str, ...]:
    paid = [level.devices for level in contract.committed if level.start_time.seconds <= seconds]
    return (
        contract.id,
        contract.pool,
        contract.counterparty,
        f"{paid[-1] if paid else 0:,}",
        f"{contract.committed_price_microusd / 1e6:.2f}",
        f"{contract.overage_price_microusd / 1e6:.2f}",
    )


def _limits(tenant: Tenant) -> tuple[str, str]:
    """The quota, and what may be on loan beside it."""
    quota = f"{tenant.quota_devices:,}" if tenant.HasField("quota_devices") else "no limit"
    return quota, f"{tenant.loan_devices:,}" if tenant.loan_devices else ""


def tenants_table(tenants: Iterable[TenantStatus], *, title: str | None = None, width: int = WIDE) -> Table:
    """One row for each tenant over the window asked for."""
    numbers = ("QUOTA", "NOW", "PEAK", "MAY BORROW", "ON LOAN NOW", "ON LOAN PEAK")
    return grid(
        ("TENANT", *numbers, "NAME"),
        [tuple(_tenant_row(status)) for status in tenants],
        right=numbers,
        spare=("NAME",),
        whole=("TENANT", *numbers),
        width=width,
        title=title,
    )


def _tenant_row(status: TenantStatus) -> Iterator[str]:
    quota, loans = _limits(status.tenant)
    yield from (status.tenant.id, quota, f"{status.quota_used_devices:,}", f"{status.quota_peak_devices:,}", loans)
    for devices in (status.loan_used_devices, status.loan_peak_devices):
        yield f"{devices:,}" if loans or devices else ""
    yield status.tenant.display_name
