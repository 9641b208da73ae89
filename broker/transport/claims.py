"""Claims on the wire."""

from __future__ import annotations

from capacitybroker.v1 import claim_pb2 as pb

from broker.admission.expected import Expected
from broker.domain.claim import Ask, Claim, DomainSpan, Held, Placement, Preemption, Tier
from broker.domain.reason import Because
from broker.domain.slots import SLOT_SECONDS
from broker.transport.expected import expected_message
from broker.transport.times import slot_moment, span

__all__ = ["asked_message", "claim_message", "placement_message", "reason_message", "reason_value", "span_message"]

# Asking protobuf for the number of a name takes ten times as long.
STATES = {name.removeprefix("STATE_"): number for name, number in pb.Claim.State.items()}
TIERS = {name.removeprefix("TIER_"): number for name, number in pb.Tier.items()}


def claim_message(claim: Claim, expected: Expected | None = None) -> pb.Claim:
    """The claim with all that became of it."""
    message = asked_message(claim.ask)
    message.name = str(claim.name)
    message.value_microusd = claim.ask.worth_microusd
    message.state = STATES[claim.state_name]
    message.reasons.extend(reason_message(because) for because in claim.because)
    message.placements.extend(placement_message(placement) for placement in claim.placements)
    message.runs.extend(placement_message(placement) for placement in claim.ran)
    message.revision = claim.revision
    message.etag = str(claim.revision)
    message.create_time.seconds = claim.created_at
    message.state_time.seconds = claim.state_at
    if isinstance(claim.state, Held):
        message.hold_expire_time.seconds = claim.state.until
    if expected is not None:
        message.expected_start.CopyFrom(expected_message(expected))
    return message


def reason_value(reason: str) -> pb.Reason.ValueType:
    """A reason of the domain as its number on the wire."""
    return pb.Reason.Value(f"REASON_{reason}")


def asked_message(ask: Ask) -> pb.Claim:
    """What was asked, and nothing of what became of it; reads back as the same ask."""
    message = pb.Claim(
        workload_class=ask.workload_class,
        devices=ask.devices,
        gang=ask.gang,
        whole_domains=ask.whole_domains,
        min_domain_devices=ask.min_domain_devices,
        tier=TIERS[ask.tier],
        value_microusd=ask.value_microusd,
        on_loan=ask.on_loan,
    )
    # A message that is handed in is copied: setting what is inside takes a third of the time.
    message.duration.seconds = ask.slots * SLOT_SECONDS
    message.earliest_start_time.seconds = ask.earliest * SLOT_SECONDS
    if ask.preferred_pools or ask.forbidden_pools:
        message.preferred_pools.extend(f"pools/{pool}" for pool in ask.preferred_pools)
        message.forbidden_pools.extend(f"pools/{pool}" for pool in ask.forbidden_pools)
    if ask.labels:
        message.labels.update(ask.labels)
    if ask.elastic:
        message.min_devices, message.max_devices = ask.min_devices, ask.max_devices
    for choice in ask.silicon:
        chosen = message.silicon.add(silicon=choice.silicon, devices=choice.devices)
        if choice.slots is not None:
            chosen.duration.CopyFrom(span(choice.slots))
    if ask.tier is Tier.SPOT and ask.preemption != Preemption():
        message.preemption.CopyFrom(_preemption_message(ask.preemption))
    if ask.latest is not None:
        message.latest_start_time.CopyFrom(slot_moment(ask.latest))
    if ask.deadline is not None:
        message.deadline.CopyFrom(slot_moment(ask.deadline))
    return message


def _preemption_message(terms: Preemption) -> pb.Preemption:
    message = pb.Preemption(notice=span(terms.notice))
    if terms.min_run:
        message.min_run.CopyFrom(span(terms.min_run))
    if terms.checkpoint:
        message.checkpoint_interval.CopyFrom(span(terms.checkpoint))
    return message


def reason_message(because: Because) -> pb.ReasonDetail:
    """A reason with its facts."""
    return pb.ReasonDetail(reason=reason_value(because.reason), message=because.message, facts=dict(because.facts))


def placement_message(placement: Placement) -> pb.Placement:
    """Devices of one pool for one span of time."""
    message = pb.Placement(
        pool=f"pools/{placement.pool}",
        devices=placement.devices,
        cost_microusd=placement.cost_microusd,
        paid_microusd=placement.paid_microusd,
        silicon=placement.silicon,
        part=placement.part,
        domains=[span_message(span) for span in placement.domains],
        left_ppm=placement.left_ppm,
    )
    message.start_time.seconds = placement.window.first * SLOT_SECONDS
    message.end_time.seconds = placement.window.end * SLOT_SECONDS
    message.latest_start_time.seconds = placement.latest * SLOT_SECONDS
    return message


def span_message(span: DomainSpan) -> pb.DomainSpan:
    """Domains that follow each other."""
    return pb.DomainSpan(first_domain=span.first, domains=span.domains, devices=span.devices)
