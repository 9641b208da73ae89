"""Leases on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from capacitybroker.v1 import lease_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from broker.domain.claim import ClaimName
from broker.domain.faults import Fault, FaultReason
from broker.leasing import Lease, Renewed
from broker.transport.asks import at_most
from broker.transport.claims import placement_message
from broker.transport.names import lease_name
from broker.transport.times import millis_of, moment, slot_moment, span_of_millis

__all__ = ["lease_message", "outcome_message", "renewal", "renewals", "token_of", "ttl_millis"]

RENEWALS_MAX = 1_000
TOKEN_MAX = 128


def lease_message(lease: Lease, *, now: int, margin_millis: int) -> pb.Lease:
    """The lease as of ``now`` (Unix seconds)."""
    return pb.Lease(
        name=f"{lease.claim.name}/lease",
        token=lease.token,
        fencing_token=lease.fence,
        ttl=span_of_millis(lease.ttl_millis),
        time_left=span_of_millis(lease.millis_left),
        expire_time=moment(now + lease.millis_left // 1000),
        end_time=slot_moment(max((place.window.end for place in lease.claim.placements), default=0)),
        margin=span_of_millis(margin_millis),
        renew_after=span_of_millis(lease.renew_after),
        placements=[placement_message(place) for place in lease.usable],
        safe_capacity=[pb.SafeCapacity(pool=f"pools/{pool}", devices=devices) for pool, devices in lease.safe],
    )


@lru_cache(maxsize=4_096)  # thousands a second, and few that differ
def outcome_message(renewed: Renewed) -> pb.LeaseOutcome:
    """What became of one of many."""
    if not renewed.genuine:
        return pb.LeaseOutcome(outcome=pb.LeaseOutcome.OUTCOME_TOKEN_REFUSED)
    if renewed.millis_left is None:
        return pb.LeaseOutcome(outcome=pb.LeaseOutcome.OUTCOME_ENDED)
    return pb.LeaseOutcome(
        outcome=pb.LeaseOutcome.OUTCOME_RENEWED,
        time_left=span_of_millis(renewed.millis_left),
        renew_after=span_of_millis(renewed.renew_after),
    )


def renewals(messages: Sequence[pb.LeaseRenewal]) -> list[tuple[ClaimName, str, int]]:
    """Claim, token and ttl (ms) of each; at least one, each lease once."""
    if not messages:
        raise Fault(
            FaultReason.FIELD_REQUIRED, "renewals is empty", remedy="Name the leases to renew.", field="renewals"
        )
    at_most(RENEWALS_MAX, messages, "renewals")
    asked = [renewal(message, "renewals") for message in messages]
    if len({message.name for message in messages}) != len(asked):
        raise Fault(
            FaultReason.CONSTRAINT_CONFLICT, "A lease is named twice", remedy="Name it once.", field="renewals.name"
        )
    return asked


def renewal(message: pb.LeaseRenewal, field: str) -> tuple[ClaimName, str, int]:
    """Claim, token and ttl (ms; 0: as before)."""
    return (
        lease_name(message.name, f"{field}.name"),
        token_of(message.token, f"{field}.token"),
        ttl_millis(message.ttl, f"{field}.ttl") if message.HasField("ttl") else 0,
    )


def token_of(text: str, field: str) -> str:
    """A token; whether it is genuine, the front office knows."""
    if not text:
        raise Fault(FaultReason.TOKEN_REQUIRED, "token is required", remedy="Send what AcquireLease gave.", field=field)
    return text if len(text) <= TOKEN_MAX and text.isascii() else "-"


def ttl_millis(value: Duration, field: str) -> int:
    """A time to live, more than nothing; the front office knows the range."""
    return millis_of(value, field) or -1
