"""What must be true of a whole run, judged from the log, from what callers were told and from who used what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar, cast

from broker.domain.claim import Claim, Expired, Held, Placement
from broker.domain.faults import Fault, Kind
from broker.domain.slots import Steps, Window, slot_of
from broker.domain.snapshot import Event, EventKind
from broker.leasing import Lease
from broker.ledger.fold import fold, violations
from broker.ledger.memory import MemoryLedger
from broker.ledger.port import Receipt
from broker.supplying import Supplied
from tests.simulator.clients import Request
from tests.simulator.processes import ServerProcess
from tests.simulator.witness import Sightings

__all__ = ["broken_by_log", "broken_by_requests", "broken_by_servers", "broken_by_state"]

T = TypeVar("T")


def broken_by_log(log: Sequence[Event]) -> Iterator[str]:
    """Conservation, gangs, shortfalls, dense revisions, promises, preemption (I1, I2, I3, I11, I12, I13), and holds."""
    yield from violations(log)
    yield from _oversold(log)
    yield from _lost_supply_changes(log)
    before: dict[object, Claim] = {}
    for event in log:
        for claim in event.claims:
            was = before.get(claim.name)
            if claim.replaced != (was.revision if was is not None else 0):
                yield f"revision {event.revision}: {claim.name} replaces {claim.replaced}, and there was another since"
            if was is not None and isinstance(was.state, Held):
                late = event.at >= was.state.until
                if isinstance(claim.state, Expired) and not late and event.kind is EventKind.AMENDED:
                    yield f"revision {event.revision}: the hold of {claim.name} lapses too early"
                if claim.live and not isinstance(claim.state, Held) and late and event.kind is EventKind.AMENDED:
                    yield f"revision {event.revision}: {claim.name} is redeemed too late"
            before[claim.name] = claim


def _oversold(log: Sequence[Event]) -> Iterator[str]:
    """Devices by pool, hour and revision, added up without any of the books that the ledgers share."""
    places: dict[object, tuple[Placement, ...]] = {}
    used: Counter[tuple[str, int]] = Counter()
    supply: dict[str, Steps] = {}
    for event in log:
        if event.fleet is not None:
            supply = {pool.id: pool.supply() for pool in event.fleet.pools}
        more: Counter[tuple[str, int]] = Counter()
        for claim in event.claims:
            for sign, those in ((-1, places.get(claim.name, ())), (1, (*claim.ran, *claim.placements))):
                for place in those:
                    for hour in range(place.window.first, place.window.end):
                        more[place.pool, hour] += sign * place.devices
            places[claim.name] = (*claim.ran, *claim.placements)
        for (pool, hour), devices in more.items():
            used[pool, hour] += devices
            if devices > 0 and hour >= slot_of(event.at) and used[pool, hour] > supply[pool].at(hour):
                there = supply[pool].at(hour)
                yield f"revision {event.revision}: {used[pool, hour]} of {there} devices of {pool} in hour {hour}"


def _lost_supply_changes(log: Sequence[Event]) -> Iterator[str]:
    """Each change of supply is one of what the one before left: of one pool, and what is to come still comes."""
    fleets = [(event.revision, event.fleet) for event in log if event.fleet is not None]
    for (_, before), (revision, after) in pairwise(fleets):
        changed = [pool for pool in after.pools if before.pool(pool.id) != pool]
        if len(changed) != 1 or any(set(before.pools_by_id[p.id].deliveries) - set(p.deliveries) for p in changed):
            yield f"revision {revision}: a change of supply undoes another"


def broken_by_state(ledger: MemoryLedger, log: Sequence[Event]) -> Iterator[str]:
    """What is told of the state is what the log folds to (I19), and every account balances (I1)."""
    market, snapshot = fold(log), _now(ledger.snapshot())
    if market.revision != snapshot.revision or market.fleet != snapshot.fleet:
        yield f"the log ends at {market.revision}, the store at {snapshot.revision}"
    live = tuple(claim for _, claim in sorted(market.claims.items()) if claim.live)
    if live != snapshot.claims:
        yield "the claims of the store are not those of its log"
    first = slot_of(log[0].at)
    window = Window(first, first + 60)
    for balance in _now(ledger.balances(window))[1]:
        granted = tuple(market.books.granted(balance.account).over(window))
        if granted != balance.granted:
            yield f"{balance.account} has granted {balance.granted}, and {granted} by its log"


def _now(answer: Coroutine[object, object, T]) -> T:
    """What a ledger in memory answers, which it does without waiting."""
    try:
        answer.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    raise AssertionError("it waits for something")


def broken_by_requests(requests: Iterable[Request], seen: Sightings) -> Iterator[str]:
    """Acknowledged means logged, once, with one answer to all who repeat it; refused means nothing (I4, I5, I6)."""
    log = {event.revision: event for event in seen.log}
    for key, made in seen.made_by.items():
        if len(made) > 1:
            yield f"request {key} made revisions {made}"
    for request in requests:
        who = f"{request.method} {request.key.request_id}"
        made = seen.made_by.get((request.key.scope, request.key.request_id), [])
        told = [claim for answer in request.answers if (claim := _told(answer)) is not None]
        if len({claim.revision for claim in told}) > 1 or len({str(claim) for claim in told}) > 1:
            yield f"{who} was answered {[claim.revision for claim in told]}"
        for claim in told:
            event = log.get(claim.revision)
            if event is None or claim not in event.claims:
                yield f"{who} was told of {claim.name} at revision {claim.revision}, which the log does not have"
        for answer in request.answers:
            if isinstance(answer, Supplied) and answer.changes and answer.applied.revision not in log:
                yield f"{who} was told of fleet {answer.applied.revision}, which the log does not have"
        refusals = [a for a in request.answers if isinstance(a, Fault) and a.reason.kind is not Kind.UNAVAILABLE]
        if request.sent == 1 and refusals and made:
            yield f"{who} was refused ({refusals[0].reason.name}) and made revision {made}"
    yield from _twice(seen.log)


def _twice(log: Iterable[Event]) -> Iterator[str]:
    """Labels say which request a claim was made or amended by."""
    asked: Counter[str] = Counter()
    amended: Counter[str] = Counter()
    before: dict[object, str] = {}
    for event in log:
        for claim in event.claims:
            label = claim.ask.labels.get("amended", "")
            if event.kind is EventKind.SUBMITTED and claim is event.claims[0]:
                asked[claim.ask.labels.get("request", claim.name.key)] += 1
            elif label and label != before.get(claim.name, ""):
                amended[label] += 1
            before[claim.name] = label
    yield from (f"request {request} made {n} claims" for request, n in asked.items() if n > 1)
    yield from (f"request {request} amended {n} times" for request, n in amended.items() if n > 1)


def _told(answer: object) -> Claim | None:
    match answer:
        case Claim():
            return answer
        case Receipt(claim=claim) | Lease(claim=claim) | (_, Receipt(claim=claim)):
            return claim
        case _:
            return None


def broken_by_servers(servers: Iterable[ServerProcess], log: Sequence[Event]) -> Iterator[str]:
    """What servers answer from without asking is what the log says, once they have seen all of it."""
    market = fold(log)
    live = {name: claim for name, claim in market.claims.items() if claim.live}
    for server in servers:
        outlook = server.feed.outlook
        if outlook.revision != market.revision:
            yield f"{server.name} has seen revision {outlook.revision} of {market.revision}"
        elif dict(outlook.claims) != live:
            wrong = sorted(name.key for name in outlook.claims.keys() | live.keys()
                           if outlook.claims.get(name) != live.get(name))  # fmt: skip
            yield f"{server.name} is wrong about {wrong}"
        elif outlook.fleet != market.fleet:
            yield f"{server.name} knows another fleet"
        held = {claim.name for claim in outlook.held}
        if held != {name for name, claim in outlook.claims.items() if isinstance(claim.state, Held)}:
            yield f"{server.name} is wrong about who is held"
