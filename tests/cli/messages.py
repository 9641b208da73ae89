"""Small claims and pools for tests of what is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from capacitybroker import (
    TIER_STANDARD,
    Claim,
    Placement,
    Pool,
    PoolStatus,
    Reason,
    ReasonDetail,
    Tier,
    duration,
    timestamp,
)
from capacitybroker.v1.fleet_pb2 import (
    POOL_KIND_CONTRACTED,
    POOL_KIND_INTERNAL,
    CommittedLevel,
    Contract,
    UtilisationLevel,
)

START = datetime(2026, 11, 23, tzinfo=UTC)


def at(hours: int) -> datetime:
    """So many hours after the start."""
    return START + timedelta(hours=hours)


def placement(pool: str, devices: int, first: int, end: int, *, latest: int | None = None) -> Placement:
    """Devices of a pool from hour ``first`` to hour ``end``."""
    return Placement(
        pool=f"pools/{pool}",
        devices=devices,
        silicon="gb200",
        start_time=timestamp(at(first)),
        end_time=timestamp(at(end)),
        latest_start_time=timestamp(at(first if latest is None else latest)),
        cost_microusd=12_345_000_000,
    )


def claim(
    name: str,
    *placements: Placement,
    state: Claim.State.ValueType | None = None,
    tier: Tier.ValueType = TIER_STANDARD,
    why: str = "",
) -> Claim:
    """A claim ``tenant/id`` with what it holds; waiting when that is nothing."""
    tenant, _, short = name.partition("/")
    return Claim(
        name=f"tenants/{tenant}/claims/{short}",
        workload_class="training",
        devices=64,
        duration=duration(hours=36),
        tier=tier,
        state=state or (Claim.STATE_PLANNED if placements else Claim.STATE_WAITING),
        placements=placements,
        reasons=[ReasonDetail(reason=Reason.REASON_OUTBID, message=why)] if why else [],
        value_microusd=1_000_000_000,
        create_time=timestamp(START),
        state_time=timestamp(START),
    )


def pool(id_: str, *levels: tuple[int, int, int], paid: int | None = None) -> PoolStatus:
    """A pool whose supply and use are ``levels``: from hour, supplied, granted."""
    status = PoolStatus(
        name=f"pools/{id_}",
        pool=Pool(
            id=id_,
            kind=POOL_KIND_INTERNAL if paid is None else POOL_KIND_CONTRACTED,
            silicon="gb200",
            domain_devices=72,
            site="Somewhere <north>",
        ),
    )
    if paid is not None:
        status.contract.CopyFrom(
            Contract(id="c", pool=id_, counterparty="Provider & Sons", committed=[CommittedLevel(devices=paid)])
        )
    use = status.utilisation
    use.start_time.CopyFrom(timestamp(START))
    for hour, supplied, granted in levels:
        use.levels.append(
            UtilisationLevel(start_time=timestamp(at(hour)), supplied_devices=supplied, granted_devices=granted)
        )
    use.supplied_device_hours, use.granted_device_hours = 1_000, 250
    use.peak_granted_devices = max((granted for _, _, granted in levels), default=0)
    return status
