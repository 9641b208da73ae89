"""A claim message as an Ask: every rule that needs nothing but the message itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Literal

from capacitybroker.v1 import claim_pb2 as pb

from broker.domain.claim import VALUE_MICROUSD_MAX, Ask, Preemption, SiliconChoice, Tier
from broker.domain.faults import Fault, FaultReason
from broker.domain.slots import slot_at_or_after, slot_of
from broker.transport.names import plain_id, pool_id
from broker.transport.times import duration_slots, seconds_of

__all__ = ["DEVICES_MAX", "ITEMS_MAX", "ask", "at_most", "checked_labels", "quantity", "shown"]

DEVICES_MAX = 10_000_000
ITEMS_MAX = 32
GIVING_WAY_SLOTS_MAX = 168  # who wants to run for longer undisturbed asks for another tier
USUAL = Preemption()
LABEL_KEY_MAX, LABEL_VALUE_MAX = 63, 255
TEXT_BYTES_MAX = 1_024
TIERS = {
    pb.TIER_GUARANTEED: Tier.GUARANTEED,
    pb.TIER_STANDARD: Tier.STANDARD,
    pb.TIER_SPOT: Tier.SPOT,
}


def ask(claim: pb.Claim) -> Ask:
    """What the caller asks for; output-only fields are not looked at. ``earliest`` is 0 where unset."""
    at_most(ITEMS_MAX, claim.silicon, "claim.silicon")
    devices = claim.devices or next((choice.devices for choice in claim.silicon if choice.devices), 0)
    devices = quantity(devices, "claim.devices", most=DEVICES_MAX)
    slots = _required_duration(claim)
    tier = _tier(claim.tier)
    least, most = _elasticity(claim, devices)
    earliest = _slot_up(claim, "earliest_start_time") or 0
    latest, deadline = _slot_down(claim, "latest_start_time"), _slot_down(claim, "deadline")
    _check_window(earliest, latest, deadline)
    wanted = Ask(
        workload_class=plain_id(claim.workload_class, "claim.workload_class"),
        devices=devices,
        slots=slots,
        earliest=earliest,
        tier=tier,
        value_microusd=quantity(claim.value_microusd, "claim.value_microusd", most=VALUE_MICROUSD_MAX, least=0),
        silicon=tuple(map(_choice, claim.silicon)),
        gang=claim.gang,
        whole_domains=claim.whole_domains,
        min_domain_devices=quantity(claim.min_domain_devices, "claim.min_domain_devices", most=DEVICES_MAX, least=0),
        min_devices=least,
        max_devices=most,
        latest=latest,
        deadline=deadline,
        preferred_pools=_pools(claim.preferred_pools, "claim.preferred_pools"),
        forbidden_pools=_pools(claim.forbidden_pools, "claim.forbidden_pools"),
        labels=checked_labels(claim.labels, "claim.labels"),
        preemption=_preemption(claim, tier),
        on_loan=_on_loan(claim, tier),
    )
    if both := [pool for pool in wanted.preferred_pools if pool in wanted.forbidden_pools]:
        raise Fault(
            FaultReason.CONSTRAINT_CONFLICT,
            f"Pool '{min(both)}' is preferred and forbidden",
            remedy="Name it once.",
            field="claim.forbidden_pools",
        )
    return wanted


def quantity(value: int, field: str, *, most: int, least: int = 1) -> int:
    """The number, if it lies in its range."""
    if value == 0 < least:
        raise Fault(FaultReason.QUANTITY_REQUIRED, f"{field} is required", remedy="Say how many.", field=field)
    if not least <= value <= most:
        raise Fault(
            FaultReason.QUANTITY_OUT_OF_RANGE,
            f"{field} is {value}; it must be from {least} to {most}",
            remedy="Correct the number.",
            field=field,
            facts={"least": str(least), "most": str(most)},
        )
    return value


def _required_duration(claim: pb.Claim) -> int:
    if not claim.HasField("duration"):
        raise Fault(
            FaultReason.DURATION_REQUIRED,
            "claim.duration is required",
            remedy="Say for how long.",
            field="claim.duration",
        )
    return duration_slots(claim.duration, "claim.duration")


def _tier(value: int) -> Tier:
    if value == pb.TIER_UNSPECIFIED:
        raise Fault(
            FaultReason.ENUM_REQUIRED,
            "claim.tier is required",
            remedy="Choose TIER_GUARANTEED, TIER_STANDARD or TIER_SPOT.",
            field="claim.tier",
        )
    if value not in TIERS:
        raise Fault(
            FaultReason.ENUM_UNKNOWN, f"claim.tier {value} is unknown", remedy="Upgrade the server.", field="claim.tier"
        )
    return TIERS[pb.Tier.ValueType(value)]


def _elasticity(claim: pb.Claim, devices: int) -> tuple[int, int]:
    least = quantity(claim.min_devices, "claim.min_devices", most=DEVICES_MAX, least=0) or devices
    most = quantity(claim.max_devices, "claim.max_devices", most=DEVICES_MAX, least=0) or devices
    if not least <= devices <= most:
        raise Fault(
            FaultReason.ELASTICITY_INVALID,
            f"min_devices {least} ≤ devices {devices} ≤ max_devices {most} does not hold",
            remedy="Correct the sizes, or leave min_devices and max_devices out.",
            field="claim.min_devices" if least > devices else "claim.max_devices",
        )
    return least, most


def _slot_up(claim: pb.Claim, name: str) -> int | None:
    if not claim.HasField(name):  # type: ignore[arg-type]
        return None
    return slot_at_or_after(seconds_of(getattr(claim, name), f"claim.{name}", up=True))


def _slot_down(claim: pb.Claim, name: str) -> int | None:
    if not claim.HasField(name):  # type: ignore[arg-type]
        return None
    return slot_of(seconds_of(getattr(claim, name), f"claim.{name}", up=False))


def _check_window(earliest: int, latest: int | None, deadline: int | None) -> None:
    if latest is not None and latest < earliest:
        raise Fault(
            FaultReason.WINDOW_EMPTY,
            "latest_start_time lies before earliest_start_time",
            remedy="Swap or widen them; starts are whole hours.",
            field="claim.latest_start_time",
        )
    if deadline is not None and deadline <= earliest:
        raise Fault(
            FaultReason.WINDOW_TOO_SHORT,
            "Not even an hour lies between earliest_start_time and deadline",
            remedy="Ask for a later deadline; times are whole hours.",
            field="claim.deadline",
        )


def _preemption(claim: pb.Claim, tier: Tier) -> Preemption:
    if claim.HasField("preemption") and tier is not Tier.SPOT:
        raise Fault(
            FaultReason.CONSTRAINT_CONFLICT,
            f"A claim of tier {tier} never gives way, so it has no terms for that",
            remedy="Leave preemption out, or choose TIER_SPOT.",
            field="claim.preemption",
        )
    if not claim.HasField("preemption"):
        return USUAL
    terms = claim.preemption

    def slots(name: Literal["min_run", "notice", "checkpoint_interval"], otherwise: int) -> int:
        if not terms.HasField(name):
            return otherwise
        field = f"claim.preemption.{name}"
        return quantity(duration_slots(getattr(terms, name), field), field, most=GIVING_WAY_SLOTS_MAX)

    return Preemption(
        slots("min_run", USUAL.min_run), slots("notice", USUAL.notice), slots("checkpoint_interval", USUAL.checkpoint)
    )


def _on_loan(claim: pb.Claim, tier: Tier) -> bool:
    if claim.on_loan and tier is not Tier.SPOT:
        raise Fault(
            FaultReason.CONSTRAINT_CONFLICT,
            f"A claim of tier {tier} never gives way, so it cannot be on loan",
            remedy="Leave on_loan out, or choose TIER_SPOT.",
            field="claim.on_loan",
        )
    return claim.on_loan


def _choice(choice: pb.SiliconChoice) -> SiliconChoice:
    return SiliconChoice(
        plain_id(choice.silicon, "claim.silicon.silicon"),
        quantity(choice.devices, "claim.silicon.devices", most=DEVICES_MAX, least=0),
        duration_slots(choice.duration, "claim.silicon.duration") if choice.HasField("duration") else None,
    )


def _pools(names: Sequence[str], field: str) -> tuple[str, ...]:
    if not names:
        return ()
    at_most(ITEMS_MAX, names, field)
    return tuple(dict.fromkeys(pool_id(name, field) for name in names))


def checked_labels(labels: Mapping[str, str], field: str) -> dict[str, str]:
    """The labels, if there are not too many and none is too long."""
    at_most(ITEMS_MAX, labels, field)
    for key, value in labels.items():
        if not 0 < len(key) <= LABEL_KEY_MAX or len(value) > LABEL_VALUE_MAX:
            raise Fault(
                FaultReason.TEXT_TOO_LONG,
                f"A label has a key of 1 to {LABEL_KEY_MAX} and a value of up to {LABEL_VALUE_MAX} characters",
                remedy="Shorten it.",
                field=field,
            )
    return dict(labels)


def shown(text: str, field: str) -> str:
    """A text for people, if it is not too long."""
    if len(text) > TEXT_BYTES_MAX or len(text.encode()) > TEXT_BYTES_MAX:
        raise Fault(
            FaultReason.TEXT_TOO_LONG,
            f"{field} has more than {TEXT_BYTES_MAX} bytes",
            remedy="Shorten it.",
            field=field,
        )
    return text


def at_most(most: int, items: Sized, field: str) -> None:
    """Refuses too many items."""
    if len(items) > most:
        raise Fault(
            FaultReason.TOO_MANY_ITEMS, f"{field} has more than {most} entries", remedy="Send fewer.", field=field
        )
