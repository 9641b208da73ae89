"""Which claims a caller wants to be told of: what lists and watches may be limited to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from capacitybroker.v1 import capacity_service_pb2 as pb
from capacitybroker.v1 import claim_pb2
from google.protobuf.descriptor import EnumDescriptor

from broker.domain.claim import Claim
from broker.domain.faults import Fault, FaultReason
from broker.feed import Interest
from broker.transport.asks import ITEMS_MAX, at_most, checked_labels
from broker.transport.names import claim_name, plain_id, tenant_id
from broker.transport.requests import PageTokens

__all__ = ["ListFilter", "interest", "list_filter"]

CLAIMS_MAX = 100
LABELS_MAX = 8


@dataclass(frozen=True, slots=True)
class ListFilter:
    """What a list of claims is limited to; what is empty limits nothing."""

    tenant: str | None
    states: frozenset[str]
    workload_class: str
    tiers: frozenset[str]
    labels: tuple[tuple[str, str], ...]

    def passes(self, claim: Claim) -> bool:
        """Whether the claim is to be listed."""
        return (
            (not self.states or claim.state_name in self.states)
            and self.workload_class in ("", claim.ask.workload_class)
            and (not self.tiers or claim.ask.tier.name in self.tiers)
            and all(claim.ask.labels.get(key) == value for key, value in self.labels)
        )

    def tokens(self, key: bytes) -> PageTokens:
        """The page tokens of exactly this list."""
        limits = (sorted(self.states), self.workload_class, sorted(self.tiers), self.labels)
        return PageTokens(key, ("claims", self.tenant or "-", *limits))


def list_filter(request: pb.ListClaimsRequest) -> ListFilter:
    """What ListClaims is limited to. Faults: whatever is not well formed."""
    tenant = tenant_id(request.parent, wildcard=True)
    at_most(LABELS_MAX, request.labels, "labels")
    return ListFilter(
        tenant,
        _names(request.states, claim_pb2.Claim.State.DESCRIPTOR, "states"),
        plain_id(request.workload_class, "workload_class") if request.workload_class else "",
        _names(request.tiers, claim_pb2.Tier.DESCRIPTOR, "tiers"),
        tuple(sorted(checked_labels(request.labels, "labels").items())),
    )


def interest(request: pb.WatchClaimsRequest) -> Interest:
    """What WatchClaims is limited to. Faults: whatever is not well formed, and a claim outside the parent."""
    tenant = tenant_id(request.parent, wildcard=True)
    at_most(CLAIMS_MAX, request.claims, "claims")
    names = frozenset(claim_name(name, "claims") for name in request.claims)
    if outside := sorted(str(name) for name in names if tenant not in (None, name.tenant)):
        raise Fault(
            FaultReason.CONSTRAINT_CONFLICT,
            f"{outside[0]} is not a claim of {request.parent}",
            remedy="Watch it under its own tenant, or watch tenants/-.",
            field="claims",
        )
    return Interest(tenant, names, _names(request.states, claim_pb2.Claim.State.DESCRIPTOR, "states"))


def _names(values: Sequence[int], enum: EnumDescriptor, field: str) -> frozenset[str]:
    """Names of enum values without what all of them begin with. Faults: ENUM_REQUIRED, ENUM_UNKNOWN."""
    at_most(ITEMS_MAX, values, field)
    if 0 in values:
        raise Fault(
            FaultReason.ENUM_REQUIRED, f"{field} has an entry that says nothing", remedy="Leave it out.", field=field
        )
    known = enum.values_by_number
    if unknown := sorted(set(values) - set(known)):
        raise Fault(
            FaultReason.ENUM_UNKNOWN, f"{field} {unknown[0]} is unknown", remedy="Upgrade the server.", field=field
        )
    return frozenset(known[value].name.partition("_")[2] for value in values)
