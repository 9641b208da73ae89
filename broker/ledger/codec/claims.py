"""Claims: the ask with its defaults left out, the state by name, placements and reasons as lists."""

from __future__ import annotations

from dataclasses import replace

from broker.domain.claim import (
    Active,
    Ask,
    Cancelled,
    Claim,
    ClaimName,
    Committed,
    Displaced,
    DomainSpan,
    Ended,
    Expired,
    Held,
    Past,
    Placement,
    Planned,
    Preemption,
    SiliconChoice,
    State,
    Tier,
    Waiting,
)
from broker.domain.reason import Because, Reason
from broker.domain.slots import Window
from broker.ledger.codec.text import VERSION, Json, checked

__all__ = ["claim_of", "claim_record"]

_STATES: dict[str, type[State]] = {
    "WAITING": Waiting,
    "HELD": Held,
    "PLANNED": Planned,
    "COMMITTED": Committed,
    "ACTIVE": Active,
    "DISPLACED": Displaced,
    "ENDED": Ended,
    "CANCELLED": Cancelled,
    "EXPIRED": Expired,
}
_STATE_NAMES = {kind: name for name, kind in _STATES.items()}
_TIERS = {tier.value: tier for tier in Tier}  # a dict is three times as fast as Tier(...)
_REASONS = {reason.value: reason for reason in Reason}


def claim_record(claim: Claim, *, replaces: int) -> dict[str, Json]:
    """The claim without its revision, as the successor of revision ``replaces`` of it (0: of none)."""
    record: dict[str, Json] = {
        "v": VERSION,
        "tenant": claim.name.tenant,
        "id": claim.name.id,
        "created_at": claim.created_at,
        "ask": _ask_record(claim.ask),
        "state": _STATE_NAMES[type(claim.state)],
        "state_at": claim.state_at,
    }
    if claim.placements:
        record["placements"] = [_placement_record(p) for p in claim.placements]
    if any(p.domains for p in claim.placements):
        record["domains"] = _domains_record(claim.placements)
    if isinstance(claim.state, Held):
        record["until"] = claim.state.until
    if claim.because:
        record["because"] = [[b.reason.value, b.message, dict(b.facts)] for b in claim.because]
    if replaces:
        record["replaces"] = replaces
    if claim.ran:
        record["ran"] = [_placement_record(p) for p in claim.ran]
        if any(p.domains for p in claim.ran):
            record["ran_domains"] = _domains_record(claim.ran)
    if claim.past:
        record["past"] = [[p.state, p.reason and p.reason.value, p.at, p.revision] for p in claim.past]
    return record


def _placement_record(p: Placement) -> list[Json]:
    where = [p.pool, p.devices, p.window.first, p.window.end, p.latest]
    whole: list[Json] = [*where, p.part, p.silicon, p.cost_microusd, p.paid_microusd]
    return [*whole, p.left_ppm] if p.left_ppm else whole


def _placement(p: Json) -> Placement:
    return Placement(p[0], p[1], Window(p[2], p[3]), *p[4:10])


def _domains_record(placements: tuple[Placement, ...]) -> list[Json]:
    return [[list(span) for span in p.domains] for p in placements]


def _with_domains(placements: tuple[Placement, ...], domains: Json) -> tuple[Placement, ...]:
    if domains is None:
        return placements
    return tuple(
        replace(p, domains=tuple(DomainSpan(s[0], s[1], s[2]) for s in spans))
        for p, spans in zip(placements, domains, strict=True)
    )


def claim_of(record: Json, revision: int) -> Claim:
    """The claim that a record describes."""
    checked(record)
    return Claim(
        ClaimName(record["tenant"], record["id"]),
        _ask(record["ask"]),
        _state(record),
        record["created_at"],
        record["state_at"],
        revision,
        tuple(Past(p[0], p[1] and _REASONS[p[1]], p[2], p[3]) for p in record.get("past", ())),
        record.get("replaces", 0),
        _with_domains(tuple(_placement(p) for p in record.get("ran", ())), record.get("ran_domains")),
    )


def _state(record: Json) -> State:
    because = tuple(Because(_REASONS[b[0]], b[1], b[2]) for b in record.get("because", ()))
    placements = _with_domains(tuple(_placement(p) for p in record.get("placements", ())), record.get("domains"))
    kind = _STATES[record["state"]]
    if kind is Planned or kind is Committed or kind is Active or kind is Ended:
        return kind(placements, because)
    if kind is Held:
        return Held(placements, record["until"])
    if kind is Cancelled:
        return Cancelled(placements)
    assert kind is Waiting or kind is Displaced or kind is Expired
    return kind(because)


_ASK_OPTIONAL: tuple[tuple[str, Json], ...] = (  # fields written only when they differ from their default
    ("gang", False),
    ("whole_domains", False),
    ("min_domain_devices", 0),
    ("min_devices", 0),
    ("max_devices", 0),
    ("latest", None),
    ("deadline", None),
    ("on_loan", False),
)


def _ask_record(ask: Ask) -> dict[str, Json]:
    record: dict[str, Json] = {
        "class": ask.workload_class,
        "devices": ask.devices,
        "slots": ask.slots,
        "earliest": ask.earliest,
        "tier": ask.tier.value,
        "value_microusd": ask.value_microusd,
    }
    if ask.silicon:
        record["silicon"] = [[c.silicon, c.devices, c.slots] for c in ask.silicon]
    for name, default in _ASK_OPTIONAL:
        value = getattr(ask, name)
        if value != default:
            record[name] = value
    if ask.preferred_pools:
        record["preferred_pools"] = list(ask.preferred_pools)
    if ask.forbidden_pools:
        record["forbidden_pools"] = list(ask.forbidden_pools)
    if ask.preemption != Preemption():
        terms = ask.preemption
        record["preemption"] = [terms.min_run, terms.notice, terms.checkpoint]
    if ask.labels:
        record["labels"] = dict(ask.labels)
    return record


def _ask(record: Json) -> Ask:
    get = record.get
    return Ask(
        workload_class=record["class"],
        devices=record["devices"],
        slots=record["slots"],
        earliest=record["earliest"],
        tier=_TIERS[record["tier"]],
        value_microusd=record["value_microusd"],
        silicon=tuple(SiliconChoice(c[0], c[1], c[2]) for c in get("silicon", ())),
        gang=get("gang", False),
        whole_domains=get("whole_domains", False),
        min_domain_devices=get("min_domain_devices", 0),
        min_devices=get("min_devices", 0),
        max_devices=get("max_devices", 0),
        latest=get("latest"),
        deadline=get("deadline"),
        preferred_pools=tuple(get("preferred_pools", ())),
        forbidden_pools=tuple(get("forbidden_pools", ())),
        labels=get("labels", {}),
        preemption=Preemption(*get("preemption", ())),
        on_loan=get("on_loan", False),
    )
