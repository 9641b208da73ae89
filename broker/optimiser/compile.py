"""The live market as a planning problem: pure, and the only place where claims become requests.

Each part of a live claim that still needs a decision becomes one request. What is promised stays promised: a placement
that is running or committed has one option, where it is; a planned one may move within the window it was told; only
where its pool has lost devices is a promise lifted, and then every way to serve the claim is open again. Spot work that
runs may end sooner where a claim of a higher tier has no place; what that costs is a plan's to weigh.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from broker.domain.claim import Claim, ClaimName, Placement, Tier
from broker.domain.fleet import Fleet
from broker.domain.losses import Loss
from broker.domain.options import Option, parts
from broker.domain.preemption import is_over, ways, ways_elsewhere
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS, Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Due, Terms, due
from broker.optimiser.ends import with_ends
from broker.optimiser.problem import Ints, Options, Pools, Problem, Quotas, Requests, Reserve, levels
from broker.optimiser.request import Request
from broker.optimiser.reserves import needs, reserves

__all__ = ["Compiled", "Lifted", "compile_problem", "option_at"]

# What a lifted promise weighs when there is too little for all who had one.
RESCUE_WEIGHT = {Tier.GUARANTEED: 10, Tier.STANDARD: 2, Tier.SPOT: 1}

# No later hour will help.
HOPELESS = (Reason.WINDOW_PASSED, Reason.WINDOW_TOO_SHORT)


class Lifted(NamedTuple):
    """Parts, as (claim, part), that give way to guaranteed work which lost its place, and the parts that are saved.

    Who is saved keeps some place, and starts there no later than in the slot that is told.
    """

    yields: frozenset[tuple[int, int]] = frozenset()
    saved: Mapping[tuple[int, int], int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Compiled:
    """A problem made in hour ``slot``, and what its rows stand for.

    ``requests[r]`` is row ``r`` of the problem, its options in the same order; ``barred`` says why nothing can be
    planned for a claim of which a part is in no row; ``over`` are claims whose window has passed for what is missing.
    """

    snapshot: Snapshot
    horizon: Window
    slot: int
    problem: Problem
    requests: tuple[Request, ...]
    barred: dict[int, Because] = field(default_factory=dict)
    over: frozenset[int] = frozenset()
    losses: tuple[Loss, ...] = ()  # what each reserve of the problem is for
    leaving: Collection[tuple[ClaimName, int]] | None = (
        None  # claims and parts that lost their place; None: all who may
    )


def compile_problem(
    snapshot: Snapshot,
    horizon: Window,
    terms: Terms,
    lifted: Lifted | None = None,
    *,
    slot: int | None = None,
    tells: bool = True,
    leaving: Collection[tuple[ClaimName, int]] | None = None,
) -> Compiled:
    """The problem of planning ``snapshot`` over ``horizon``, whose first slot is now; money in micro-USD.

    ``slot`` is the hour that it is, unless that is the last before the horizon. Unless it ``tells``, nobody may end
    sooner than planned.

    What is promised is always a plan of the problem: the horizon reaches to the end of what is held, and a quota that
    shrank counts as what is held under it, so that nothing new fits. What is on loan counts under a quota of its own.
    ``lifted`` says whose promise gives way to whose; of those whose pools lost devices only the ``leaving`` lose their
    place, or may, if it is not known who has to.
    """
    lifted = lifted or Lifted()
    ends = (placement.window.end for claim in snapshot.claims for placement in claim.placements)
    horizon = Window(horizon.first, max(horizon.end, *ends, 0))
    slot = horizon.first - 1 if slot is None else slot
    short = _shortages(snapshot, horizon)
    requests: list[Request] = []
    barred: dict[int, Because] = {}
    over: set[int] = set()
    for index, claim in enumerate(snapshot.claims):
        open_ways = ways(claim, snapshot.fleet, slot)
        held = {p.part: p for p in claim.placements if not is_over(p, slot)}
        missed = 0
        for part in range(parts(claim.ask)):
            mine = [way for way in open_ways if way.part == part]
            placement = held.get(part)
            if placement is not None and placement.window.end > horizon.first:
                yields = (index, part) in lifted.yields
                by = lifted.saved.get((index, part))
                may_lose = short if leaving is None or (claim.name, part) in leaving else {}
                requests.append(
                    _held(index, claim, placement, mine, horizon, may_lose, snapshot.fleet, yields=yields, by=by)
                )
            elif placement is None:
                legal = tuple(legal for way in mine if (legal := _within(way, horizon)) is not None)
                if legal:
                    requests.append(Request(index, part, legal))
                else:
                    barred[index] = _bar(mine, horizon)
                    missed += barred[index].reason in HOPELESS
        if missed and missed + len(held) == parts(claim.ask):
            over.add(index)
    if tells:
        requests = with_ends(snapshot, slot, requests, horizon)
    problem, lost = _problem(snapshot, horizon, requests, terms, lifted.saved)
    return Compiled(snapshot, horizon, slot, problem, tuple(requests), barred, frozenset(over), lost, leaving)


def option_at(compiled: Compiled, row: int, place: Placement) -> int | None:
    """Which option of the row a place is."""
    for k, way in enumerate(compiled.requests[row].options):
        if (way.pool, way.devices, way.slots) == (place.pool, place.devices, place.window.slots):
            return k
    return None


def _shortages(snapshot: Snapshot, horizon: Window) -> dict[str, Ints]:
    """For each pool that claims hold more of than it has: which slots of the horizon are short (as 0 or 1)."""
    out = {}
    for pool_id, use in _held_by(snapshot, horizon, lambda _, placement: placement.pool).items():
        pool = snapshot.fleet.pool(pool_id)
        supply = np.array(pool.supply().over(horizon) if pool else [0] * horizon.slots, np.int64)
        if (use > supply).any():
            out[pool_id] = (use > supply).astype(np.int64)
    return out


def _held_by(snapshot: Snapshot, horizon: Window, who: Callable[[Claim, Placement], str]) -> dict[str, Ints]:
    """Devices held in each slot of the horizon, by whatever ``who`` says."""
    held: dict[str, Ints] = {}
    for claim in snapshot.claims:
        for placement in claim.placements:
            first, end = max(placement.window.first, horizon.first), placement.window.end
            if first < end:
                use = held.setdefault(who(claim, placement), np.zeros(horizon.slots, np.int64))
                use[first - horizon.first : end - horizon.first] += placement.devices
    return held


def _held(
    index: int,
    claim: Claim,
    placement: Placement,
    ways: Sequence[Option],
    horizon: Window,
    short: dict[str, Ints],
    fleet: Fleet,
    *,
    yields: bool,
    by: int | None,
) -> Request:
    """The row of a part that holds capacity; its first option is to stay, unless the pool is no longer known.

    Who loses his place while it runs may run on elsewhere, for what is left of it, however late that begins; by slot
    ``by`` if he is saved.
    """
    first = max(placement.window.first, horizon.first)
    stay = Option(
        placement.part,
        placement.pool,
        placement.silicon,
        placement.devices,
        placement.window.end - first,
        first,
        first,
        max((way.value_microusd for way in ways), default=claim.ask.worth_microusd),
    )
    lost = _lost(placement.pool, Window(first, placement.window.end), horizon, short)
    moves, running = lost is not None or yields, placement.window.first < horizon.first
    if not moves and (running or claim.firm):
        return Request(index, placement.part, (stay,), placement, stays=True, settled=True)
    latest = by if moves else placement.latest
    left = ways_elsewhere(claim, placement, ways, fleet, horizon.first)
    elsewhere = [legal for way in left if (legal := _within(way, horizon, latest)) is not None]
    known = fleet.pool(placement.pool) is not None
    here = (stay,) if known else ()
    return Request(index, placement.part, (*here, *elsewhere), placement, stays=known, lost=lost, yields=yields)


def _lost(pool: str, window: Window, horizon: Window, short: dict[str, Ints]) -> Window | None:
    """From the first to the last slot of ``window`` in which the pool is short; None when it is in none."""
    if pool not in short:
        return None
    slots = window.first + np.flatnonzero(short[pool][window.first - horizon.first : window.end - horizon.first])
    return Window(int(slots[0]), int(slots[-1]) + 1) if len(slots) else None


def _within(way: Option, horizon: Window, latest: int | None = None) -> Option | None:
    """``way`` with its starts cut to the horizon, and to ``latest``; None when no start is left."""
    ends = [end for end in (way.latest, latest, horizon.end - way.slots) if end is not None]
    first, last = max(way.earliest, horizon.first), min(ends)
    if last < first:
        return None
    return Option(way.part, way.pool, way.silicon, way.devices, way.slots, first, last, way.value_microusd)


def _bar(ways: Sequence[Option], horizon: Window) -> Because:
    """Why a part with these options has no legal start in the horizon."""
    if not ways:
        return Because(Reason.NO_ELIGIBLE_POOL, "No pool has silicon and domains that the claim accepts.")
    if all(way.latest is not None and way.latest < way.earliest for way in ways):
        return Because(Reason.WINDOW_TOO_SHORT, "However early it started, it would end after its deadline.")
    if all(way.latest is not None and way.latest < horizon.first for way in ways):
        return Because(Reason.WINDOW_PASSED, "The last possible start has passed.")
    end = str(horizon.end * SLOT_SECONDS)
    if all(way.slots > horizon.slots for way in ways):
        message = f"It takes longer than the {horizon.slots:,} hours that a plan looks ahead."
        return Because(Reason.BEYOND_HORIZON, message, {"horizon_end_unix_seconds": end})
    message = "The claim cannot end within the planning horizon; it is planned once the horizon reaches it."
    return Because(Reason.BEYOND_HORIZON, message, {"horizon_end_unix_seconds": end})


def _problem(
    snapshot: Snapshot, horizon: Window, requests: Sequence[Request], terms: Terms, saved: Collection[tuple[int, int]]
) -> tuple[Problem, tuple[Loss, ...]]:
    fleet = snapshot.fleet
    # Who may have nothing on loan is none of the fleet's quotas.
    lent = {claim.quota: 0 for claim in snapshot.claims if claim.ask.on_loan}
    quotas = lent | dict(fleet.quotas)
    held = _held_by(snapshot, horizon, lambda claim, _: claim.quota)
    limits = [np.maximum(quota, held.get(name, np.zeros(horizon.slots))) for name, quota in quotas.items()]
    pools = _pools(fleet, horizon)
    rows, lost = _reserves(snapshot, horizon, requests, pools)
    problem = Problem(
        slots=horizon.slots,
        slot_hours=1,
        pools=pools,
        quotas=Quotas(
            tuple(quotas),
            np.array(limits, np.int64).reshape(len(quotas), horizon.slots),
        ),
        requests=_requests(snapshot, horizon, requests, {name: row for row, name in enumerate(quotas)}, terms, saved),
        options=_options(snapshot, horizon, requests, terms),
        reserves=rows,
    )
    return problem, lost


def _reserves(
    snapshot: Snapshot, horizon: Window, requests: Sequence[Request], pools: Pools
) -> tuple[tuple[Reserve, ...], tuple[Loss, ...]]:
    """The rows of the fleet's insurance; none while it is being used."""
    sure = [request for request in requests if snapshot.claims[request.claim].ask.tier is Tier.GUARANTEED]
    if not snapshot.fleet.insurance or any(request.short for request in sure):
        return (), ()
    wants = {request.claim: needs(snapshot.claims[request.claim].ask, snapshot.fleet) for request in sure}
    load = np.zeros_like(pools.capacity)
    for request in sure:
        if request.stays and wants[request.claim]:
            stay, held = request.options[0], request.placement
            assert held is not None
            load[pools.ids.index(stay.pool), stay.earliest - horizon.first : held.window.end - horizon.first] += (
                stay.devices
            )
    return reserves(snapshot.fleet, horizon, list(wants.values()), pools.capacity, load)


def _pools(fleet: Fleet, horizon: Window) -> Pools:
    capacity = np.zeros((len(fleet.pools), horizon.slots), np.int64)
    committed = np.zeros_like(capacity)
    overage = np.zeros(len(fleet.pools), np.int64)
    for row, pool in enumerate(fleet.pools):
        capacity[row] = pool.supply().over(horizon)
        committed[row] = capacity[row]
        if (contract := fleet.contract_of(pool.id)) is not None:
            committed[row] = levels(
                ((piece.first - horizon.first, level) for piece, level in contract.paid().within(horizon)),
                horizon.slots,
            )
            overage[row] = contract.overage_price_microusd
    unit = np.array([pool.unit_cost_microusd for pool in fleet.pools], np.int64)
    return Pools(tuple(pool.id for pool in fleet.pools), capacity, committed, unit, overage)


def _requests(
    snapshot: Snapshot,
    horizon: Window,
    requests: Sequence[Request],
    quota_rows: Mapping[str, int],
    terms: Terms,
    saved: Collection[tuple[int, int]],
) -> Requests:
    claims = [snapshot.claims[request.claim] for request in requests]
    promised = [
        ((r.claim, r.part) in saved) or (r.stays and not r.short and (r.settled or claim.ask.tier is not Tier.SPOT))
        for r, claim in zip(requests, claims, strict=True)
    ]
    return Requests(
        ids=tuple(f"{claim.name.key}#{request.part}" for claim, request in zip(claims, requests, strict=True)),
        quota=np.array([quota_rows.get(claim.quota, -1) for claim in claims], np.int64),
        guaranteed=np.array([bool(needs(claim.ask, snapshot.fleet)) for claim in claims], np.bool_)
        if snapshot.fleet.insurance
        else np.array([claim.ask.tier is Tier.GUARANTEED for claim in claims], np.bool_),
        promised=np.array(promised, np.bool_),
        current_option=np.array([0 if r.stays else -1 for r in requests], np.int64),
        current_start=np.array([r.options[0].earliest - horizon.first if r.stays else 0 for r in requests], np.int64),
        move_cost=np.array([_move_cost(r, terms) for r in requests], np.int64),
    )


def _move_cost(request: Request, terms: Terms) -> int:
    """What moving costs; what giving way costs is in the worth of doing it."""
    stays = request.stays and request.ends is None
    return request.options[0].value_microusd // terms.moving if stays else 0


def _options(snapshot: Snapshot, horizon: Window, requests: Sequence[Request], terms: Terms) -> Options:
    rows = {pool.id: row for row, pool in enumerate(snapshot.fleet.pools)}
    weight = [RESCUE_WEIGHT[snapshot.claims[request.claim].ask.tier] if request.short else 1 for request in requests]
    table = np.array(
        list(
            chain.from_iterable(
                row
                for r, request in enumerate(requests)
                for row in _option_rows(request, rows, weight[r], horizon, terms)
            )
        ),
        np.int64,
    ).reshape(-1, 8)
    counts = [len(request.options) for request in requests]
    pool, devices, slots, earliest, latest, value, due, late = table.T.copy()
    return Options(
        first=np.concatenate([[0], np.cumsum(np.array(counts, np.int64))]).astype(np.int64),
        pool=pool,
        devices=devices,
        slots=slots,
        earliest=earliest,
        latest=latest,
        value=value,
        due=due,
        late_cost=late,
    )


def _option_rows(
    request: Request, rows: dict[str, int], weight: int, horizon: Window, terms: Terms
) -> Iterator[tuple[int, ...]]:
    punctual = due(request.options)
    for way in request.options:
        yield _option_row(way, punctual, 0 if request.settled else terms.late_cost(way), rows, weight, horizon)


def _option_row(
    way: Option, punctual: Due, late: int, rows: dict[str, int], weight: int, horizon: Window
) -> tuple[int, ...]:
    value = way.value_microusd * (weight - 1) + punctual.value(way, late)
    first, last = way.earliest - horizon.first, way.latest
    assert last is not None
    return (
        rows[way.pool],
        way.devices,
        way.slots,
        first,
        last - horizon.first,
        value,
        punctual.slot - horizon.first,
        late,
    )
