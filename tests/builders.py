"""Claims, fleets and plans with sensible defaults, so that a test names only what it is about.

Time starts at slot 0 and Unix second 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.domain.claim import Ask, Claim, ClaimName, Placement, State, Tier, Waiting
from broker.domain.fleet import Delivery, Fleet, Pool, PoolKind, Silicon, Tenant, WorkloadClass
from broker.domain.plan import PlanRecord
from broker.domain.reason import Because, Reason
from broker.domain.slots import Window
from broker.ledger.port import RequestKey

__all__ = ["AWAITING_PLAN", "ask", "claim", "fleet", "key", "placement", "plan", "pool"]

AWAITING_PLAN = Because(Reason.AWAITING_PLAN, "The next plan decides")


def ask(devices: int = 8, slots: int = 4, **fields: Any) -> Ask:
    """``devices`` for ``slots`` hours from slot 0 on, standard tier, worth one dollar."""
    defaults: dict[str, Any] = {
        "workload_class": "training",
        "earliest": 0,
        "tier": Tier.STANDARD,
        "value_microusd": 1_000_000,
    }
    return Ask(devices=devices, slots=slots, **(defaults | fields))


def claim(
    name: str = "atlas/run-1", *, state: State | None = None, at: int = 0, revision: int = 0, **asked: Any
) -> Claim:
    """A claim named ``tenant/id``, waiting unless ``state`` says otherwise; ``asked`` is what `ask` takes."""
    return Claim(ClaimName(*name.split("/", 1)), ask(**asked), state or Waiting((AWAITING_PLAN,)), at, at, revision)


def placement(pool: str = "dc-1", devices: int = 8, first: int = 0, end: int = 4, **fields: Any) -> Placement:
    """``devices`` of ``pool`` in slots ``first`` to ``end``; the start is fixed unless ``latest`` says otherwise."""
    return Placement(pool, devices, Window(first, end), **({"latest": first} | fields))


def pool(id: str = "dc-1", devices: int = 64, **fields: Any) -> Pool:  # noqa: A002 - the field's own name
    """An internal pool of B200 nodes that has always had ``devices``."""
    defaults: dict[str, Any] = {"kind": PoolKind.INTERNAL, "silicon": "b200", "domain_devices": 8}
    return Pool(id=id, **({"deliveries": (Delivery(devices),)} | defaults | fields))


def fleet(
    pools: Mapping[str, int] | tuple[Pool, ...] = (pool(),),
    tenants: Mapping[str, int | None] | None = None,
    loans: Mapping[str, int] | None = None,
) -> Fleet:
    """Pools (by devices, or as they are) and tenants (by quota, None: no limit; atlas and borealis without one).

    ``loans`` is what tenants may have on loan; who is not in it, nothing.
    """
    made = tuple(pool(id, devices) for id, devices in pools.items()) if isinstance(pools, Mapping) else pools  # noqa: A001
    quotas = {"atlas": None, "borealis": None} if tenants is None else tenants
    return Fleet(
        silicon=(Silicon("b200", family="blackwell"),),
        workload_classes=(WorkloadClass("training", {"b200": 100}),),
        pools=made,
        tenants=tuple(Tenant(id, quota, "", (loans or {}).get(id)) for id, quota in quotas.items()),  # noqa: A001
    )


def plan(based_on_revision: int = 0, **fields: Any) -> PlanRecord:
    """The record of a planning run that found its optimum."""
    defaults: dict[str, Any] = {
        "horizon": Window(0, 168),
        "optimal": True,
        "objective_microusd": 0,
        "bound_microusd": 0,
        "solve_millis": 1,
        "claims": 0,
        "placed": 0,
        "moved": 0,
        "created_at": 0,
    }
    return PlanRecord(based_on_revision=based_on_revision, **(defaults | fields))


def key(request_id: str, *, scope: str = "atlas", method: str = "CreateClaim", body_digest: str = "d1") -> RequestKey:
    """Identity of one mutation."""
    return RequestKey(scope, method, request_id, body_digest)
