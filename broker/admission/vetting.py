"""What an ask must be before anything else is asked about it: known to the fleet, and still in time."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import replace

from broker.domain.claim import Ask, Claim
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet
from broker.domain.options import options
from broker.domain.slots import slot_at_or_after, slot_of

__all__ = ["check_open", "dated", "recut", "too_large", "uncountable", "unknown"]

MONEY_MAX = 2**62  # micro-USD of one placement: what the store and the wire can hold, and once more
CLAIM_DEVICES_MAX, CLAIM_SLOTS_MAX = 10_000_000, 26 * 168
KNOWN_NAMED_MAX = 20  # names that a refusal lists


def check_open(claims: int, most: int) -> None:
    """Whether a tenant with so many open claims may have one more; Faults: CLAIM_LIMIT."""
    if claims >= most:
        raise Fault(
            FaultReason.CLAIM_LIMIT,
            f"The tenant has {most} open claims already",
            remedy="Cancel some, or wait until some end; work that belongs together can be one claim.",
            facts={"max_claims": str(most)},
        )


def dated(ask: Ask, at: int) -> Ask:
    """The ask with its earliest start no earlier than ``at`` (Unix seconds); Faults: DEADLINE_PASSED."""
    earliest = max(ask.earliest, slot_at_or_after(at))
    last = [end for end in (ask.latest, ask.deadline and ask.deadline - 1) if end is not None]
    if last and min(last) < slot_of(at):
        raise Fault(
            FaultReason.DEADLINE_PASSED,
            "The last possible start has passed",
            remedy="Ask for a later deadline.",
            field="claim.deadline",
        )
    return replace(ask, earliest=min([earliest, *last]))


def too_large(ask: Ask, fleet: Fleet) -> Fault | None:
    """EXCEEDS_ANY_POOL where even the largest pool could never hold the claim."""
    peaks = {pool.id: pool.supply().peak() for pool in fleet.pools}
    ways = options(ask, fleet)
    if not ways or any(way.devices <= peaks[way.pool] for way in ways):
        return None
    most = str(max(peaks[way.pool] for way in ways))
    return Fault(
        FaultReason.EXCEEDS_ANY_POOL,
        f"No eligible pool ever has more than {most} devices",
        remedy="Ask for fewer devices, for other silicon, or not as a gang.",
        field="claim.devices",
        facts={"max_devices": most},
    )


def recut(before: Fleet, after: Fleet, claims: Iterable[Claim]) -> Fault | None:
    """POOL_IN_USE where the domains of a pool would be cut otherwise than those who hold some of them were told."""
    held = {placement.pool for claim in claims if claim.live for placement in claim.placements}
    for pool in after.pools:
        was = before.pool(pool.id)
        if was is not None and was.cut != pool.cut and pool.id in held:
            return Fault(
                FaultReason.POOL_IN_USE,
                f"Claims hold pool '{pool.id}', so its domains, trays and slices cannot change",
                remedy="Declare a pool under another id, and move the devices there as claims end.",
                field="fleet.pools",
            )
    return None


def uncountable(fleet: Fleet) -> Fault | None:
    """FLEET_INVALID where a claim could cost, or be paid with, more money than can be written down."""
    for pool in fleet.pools:
        contract = fleet.contract_of(pool.id)
        paid = max(contract.committed_price_microusd, contract.overage_price_microusd) if contract is not None else 0
        price = pool.unit_cost_microusd + paid
        if price * min(CLAIM_DEVICES_MAX, pool.supply().peak()) * CLAIM_SLOTS_MAX > MONEY_MAX:
            return Fault(
                FaultReason.FLEET_INVALID,
                f"All of pool '{pool.id}' for half a year at its price is more money than can be counted",
                remedy="Check the unit of its prices: millionths of a dollar for a device-hour.",
                field="fleet.pools.unit_cost_microusd",
            )
    return None


def unknown(tenant: str, ask: Ask, fleet: Fleet) -> Fault | None:
    """The first thing that the ask names and the fleet does not have."""
    pools, classes = fleet.pools_by_id, fleet.workload_classes_by_id
    wanted = (choice.silicon for choice in ask.silicon)
    return (
        _missing(FaultReason.TENANT_UNKNOWN, "tenant", (tenant,), fleet.tenants_by_id, "parent")
        or _missing(
            FaultReason.WORKLOAD_CLASS_UNKNOWN, "workload class", (ask.workload_class,), classes, "claim.workload_class"
        )
        or _missing(FaultReason.SILICON_UNKNOWN, "silicon", wanted, fleet.silicon_names, "claim.silicon")
        or _missing(FaultReason.POOL_UNKNOWN, "pool", ask.preferred_pools, pools, "claim.preferred_pools")
        or _missing(FaultReason.POOL_UNKNOWN, "pool", ask.forbidden_pools, pools, "claim.forbidden_pools")
    )


def _missing(reason: FaultReason, what: str, names: Iterable[str], known: Collection[str], where: str) -> Fault | None:
    for name in names:
        if name not in known:
            return _not_declared(reason, what, name, known, where)
    return None


def _not_declared(reason: FaultReason, what: str, name: str, known: Collection[str], where: str) -> Fault:
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"Did you mean '{near[0]}'? " if near else ""
    some = ", ".join(sorted(known)[:KNOWN_NAMED_MAX]) or "none: apply a fleet first"
    return Fault(
        reason,
        f"The fleet declares no {what} '{name}'",
        remedy=f"{guess}It declares {some}{', …' if len(known) > KNOWN_NAMED_MAX else ''}.",
        field=where,
    )
