"""What each method is to the server that answers it: what it costs, whom it concerns, and what it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.transport.load import Lane

__all__ = ["METHODS", "OPERATORS", "Method", "tenant_of"]

OPERATORS = "-"


def _nothing(_: Any) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Method:
    """One row: lane and cost, what a request names, and which thing at which revision a success has changed, if any.

    A call that mostly waits, such as RunPlan, costs nothing. ``changed`` None: the method changes nothing.
    """

    lane: Lane = Lane.PLAIN
    cost: int = 1
    target: Callable[[Any], str] = _nothing
    changed: Callable[[Any, Any], tuple[str, int] | None] | None = None


def tenant_of(target: str) -> str:
    """Whose call that is, by what it names; ``-``: an operator's."""
    return target.split("/", 2)[1] if target.startswith("tenants/") else OPERATORS


def _parent(request: Any) -> str:
    return str(request.parent)


def _name(request: Any) -> str:
    return str(request.name)


def _first(request: Any) -> str:
    return str(request.renewals[0].name) if request.renewals else ""


def _claim(_: Any, reply: Any) -> tuple[str, int] | None:
    return (reply.claim.name, reply.claim.revision) if reply.HasField("claim") else None


def _held(_: Any, reply: Any) -> tuple[str, int] | None:
    return (reply.held.name, reply.held.revision) if reply.HasField("held") else None


def _fleet(request: Any, reply: Any) -> tuple[str, int] | None:
    return None if request.validate_only else ("fleet", reply.revision)


def _supply(request: Any, reply: Any) -> tuple[str, int] | None:
    return None if request.validate_only else (request.name, reply.revision)


def _lease(_: Any, reply: Any) -> tuple[str, int]:
    # A token begins with the revision that made the lease; the rest is secret.
    digits = reply.lease.token.partition(".")[0]
    return reply.lease.name, int(digits) if digits.isdecimal() else 0


def _plan(_: Any, reply: Any) -> tuple[str, int]:
    return reply.plan.name, int(reply.plan.name.rpartition("/")[2] or 0)


METHODS: Mapping[str, Method] = {
    "CreateClaim": Method(target=_parent, changed=_claim),
    "GetClaim": Method(target=_name),
    "ListClaims": Method(Lane.HEAVY, 4, _parent),
    "UpdateClaim": Method(target=lambda request: str(request.claim.name), changed=_claim),
    "CancelClaim": Method(target=_name, changed=_claim),
    "QuoteClaim": Method(Lane.HEAVY, 4, _parent, changed=_held),  # one that holds nothing has none
    "RedeemQuote": Method(target=_name, changed=_claim),
    "ExplainClaim": Method(Lane.HEAVY, 8, _name),
    "WatchClaims": Method(cost=0, target=_parent),
    "ApplyFleet": Method(Lane.HEAVY, 8, changed=_fleet),
    "ChangeSupply": Method(Lane.HEAVY, 8, _name, changed=_supply),
    "GetFleet": Method(),
    "GetPool": Method(Lane.HEAVY, 2, _name),
    "GetPoolLayout": Method(Lane.HEAVY, 8, _name),
    "ListPools": Method(Lane.HEAVY, 4),
    "ListTenants": Method(Lane.HEAVY, 4),
    "AcquireLease": Method(target=lambda request: str(request.claim), changed=_lease),
    "GetLease": Method(target=_name),
    # A renewal makes no revision: only one that is refused is put on record.
    "RenewLease": Method(Lane.URGENT, target=lambda request: str(request.renewal.name)),
    "RenewLeases": Method(Lane.URGENT, 8, _first),
    "KeepLeases": Method(Lane.URGENT, 0),
    "ReleaseLease": Method(Lane.URGENT, target=_name, changed=_claim),
    "RunPlan": Method(cost=0, changed=_plan),
    "GetPlan": Method(target=_name),
    "GetCalibration": Method(),
    "StressTest": Method(Lane.HEAVY, 16),
}
