"""Events: one record for each revision, with the records of everything that it changed inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from broker.domain.slots import Window
from broker.domain.snapshot import Event, EventKind, Shortfall
from broker.ledger.codec.claims import claim_of, claim_record
from broker.ledger.codec.fleets import fleet_of, fleet_record
from broker.ledger.codec.plans import plan_of, plan_record
from broker.ledger.codec.text import VERSION, Json, checked

__all__ = ["event_of", "event_record", "shortfall_records", "shortfalls_of"]


def shortfall_records(shortfalls: Iterable[Shortfall]) -> list[Json]:
    """``[account, first, end, devices]`` for each."""
    return [[s.account, s.window.first, s.window.end, s.devices] for s in shortfalls]


def event_record(event: Event) -> dict[str, Json]:
    """The same record that the store's own functions put together from their parts."""
    record: dict[str, Json] = {"v": VERSION, "revision": event.revision, "kind": event.kind.value, "at": event.at}
    if event.claims:
        record["claims"] = [claim_record(claim, replaces=claim.replaced) for claim in event.claims]
    if event.fleet is not None:
        record["fleet"] = fleet_record(event.fleet)
    if event.shortfalls:
        record["shortfalls"] = shortfall_records(event.shortfalls)
    if event.plan is not None:
        record["plan"] = plan_record(event.plan)
        record["skipped"] = event.plan.skipped
    if event.time_limit_seconds is not None:
        record["time_limit_seconds"] = event.time_limit_seconds
    return record


def shortfalls_of(records: Json) -> tuple[Shortfall, ...]:
    """The shortfalls that records describe."""
    return tuple(Shortfall(s[0], Window(s[1], s[2]), s[3]) for s in records)


def event_of(record: Json) -> Event:
    """The event that a record describes."""
    revision: int = checked(record)["revision"]
    written: Mapping[str, Json] | None = record.get("plan")
    return Event(
        revision=revision,
        kind=EventKind(record["kind"]),
        at=record["at"],
        claims=tuple(claim_of(claim, revision) for claim in record.get("claims", ())),
        fleet=fleet_of(record["fleet"]) if "fleet" in record else None,
        shortfalls=shortfalls_of(record.get("shortfalls", ())),
        plan=None if written is None else plan_of(written, revision, record["skipped"]),
        time_limit_seconds=record.get("time_limit_seconds"),
    )
