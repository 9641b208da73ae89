"""Places at once for those whose supply was lost; everybody else stays, as far as can be.

Who has to leave is for `broker.admission.displacement` to say, and where there is room for him while nobody else moves:
that is first aid, which needs no solver. Where it does not serve all, the optimiser is asked to make room. Guaranteed
work among those who leave is promised a place then, so it comes before anything that is not promised one; the rest
follows by worth. What was kept for a quote is let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from broker.admission.displacement import Loss, losses, refuges
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Claim, Held, Placement
from broker.domain.options import Option
from broker.domain.reason import Because, Reason
from broker.domain.slots import Window
from broker.domain.snapshot import Snapshot
from broker.domain.terms import Terms
from broker.optimiser.check import check
from broker.optimiser.compile import Compiled
from broker.optimiser.outcome import Outcome
from broker.optimiser.problem import Floats, Plan, Problem, Status
from broker.optimiser.report import Earlier, Prices, Report, Solved

__all__ = ["Repair", "holders", "only_moved", "repair", "unchanged_reasons", "unreserved"]

UNHEARD = Because(Reason.AWAITING_PLAN, "No plan has looked at the claim yet.")


@dataclass(frozen=True, slots=True)
class Repair:
    """The problem, with promises to those who must have a place again, the plan to start from, and first aid.

    ``complete``: first aid has a place for everybody. ``market`` is the problem without those promises, by whose rules
    a repair is judged.
    """

    market: Problem
    problem: Problem
    earlier: Earlier
    aid: Solved
    complete: bool

    def better(self, found: Solved) -> Solved:
        """Of what the optimiser found and first aid, what keeps more promises or, with as many, is worth more.

        What breaks a rule or is not worth what it says is not believed.
        """
        verdict = check(self.market, found.plan)
        if not verdict.ok or verdict.objective != found.objective:
            return self.aid
        promised = self.problem.requests.promised
        return max((self.aid, found), key=lambda one: (int((promised & (one.plan.option >= 0)).sum()), one.objective))


def repair(compiled: Compiled, prices: BidPrices | None, terms: Terms) -> Repair | None:
    """What is to be done for those who lose their places; None when nobody does."""
    snapshot, problem = compiled.snapshot, compiled.problem
    lost = losses(snapshot.claims, snapshot.fleet, compiled.horizon.first)
    if not lost:
        return None
    gone = {(one.claim.name, one.placement.part) for one in lost}
    owners = [snapshot.claims[request.claim] for request in compiled.requests]
    leaving = np.array(
        [(claim.name, request.part) in gone for claim, request in zip(owners, compiled.requests, strict=True)], np.bool_
    )
    fresh = leaving & ~np.array([isinstance(claim.state, Held) for claim in owners], np.bool_)
    requests = problem.requests
    promised = requests.promised | (fresh & requests.guaranteed)
    left = Plan(np.where(leaving, -1, requests.current_option), requests.current_start.copy())
    earlier = Earlier(left, _prices(compiled, prices), fresh)
    found = refuges(lost, snapshot.claims, snapshot.fleet, compiled.horizon, prices, terms)
    aid = _first_aid(compiled, found, earlier)
    complete = bool((aid.plan.option[fresh] >= 0).all())
    return Repair(problem, replace(problem, requests=replace(requests, promised=promised)), earlier, aid, complete)


def _first_aid(compiled: Compiled, found: Sequence[Loss], earlier: Earlier) -> Solved:
    """The plan that is left, with everybody who found a refuge in it."""
    problem = compiled.problem
    option, start = earlier.plan.option.copy(), earlier.plan.start.copy()
    placed = {(one.claim.name, one.placement.part): one.refuge for one in found if one.refuge is not None}
    for row, request in enumerate(compiled.requests):
        refuge = placed.get((compiled.snapshot.claims[request.claim].name, request.part))
        if refuge is not None:
            option[row] = next((n for n, way in enumerate(request.options) if _is(way, refuge)), -1)
            start[row] = refuge.window.first - compiled.horizon.first
    plan = Plan(option, start)
    report = Report(
        work=0,
        seconds=0.0,
        requests=len(option),
        placed=int((option >= 0).sum()),
        moved=len(placed),
        promises_broken=0,
        rounds=0,
        refused=0,
        trajectory=(),
    )
    # Nothing is proven: no plan is worth more than every request at its best.
    o, has = problem.options, np.flatnonzero(np.diff(problem.options.first))
    bound = float(np.maximum.reduceat(o.value, o.first[has]).sum()) if len(has) else 0.0
    return Solved(plan, check(problem, plan).objective, bound, earlier.prices, Status.FEASIBLE, report)


def _is(way: Option, place: Placement) -> bool:
    """Whether the option has this placement."""
    alike = (way.pool, way.devices, way.slots) == (place.pool, place.devices, place.window.slots)
    return alike and way.latest is not None and way.earliest <= place.window.first <= way.latest


def unchanged_reasons(compiled: Compiled, plan: Plan) -> Mapping[int, Because]:
    """For each row that is not placed the reason that its claim has already: a repair looks for no others."""
    rows = np.flatnonzero(plan.option < 0).tolist()
    owners = (compiled.snapshot.claims[compiled.requests[row].claim] for row in rows)
    return {row: _reason(claim) for row, claim in zip(rows, owners, strict=True)}


def only_moved(compiled: Compiled, decided: Outcome) -> tuple[Claim, ...]:
    """The claims that are somewhere else than before; what else there is to tell the next plan tells."""
    before = {claim.name: _where(claim) for claim in compiled.snapshot.claims}
    return tuple(claim for claim in decided.changed if _where(claim) != before[claim.name])


def holders(snapshot: Snapshot) -> Snapshot:
    """The market without those who hold nothing: a repair does nothing for them."""
    return replace(snapshot, claims=tuple(claim for claim in snapshot.claims if claim.placements))


def unreserved(compiled: Compiled) -> Compiled:
    """The same without reserves: what was kept for the loss of a pool is used now."""
    return replace(compiled, problem=replace(compiled.problem, reserves=()))


def _where(claim: Claim) -> list[tuple[int, str, int, Window]]:
    return [(place.part, place.pool, place.devices, place.window) for place in claim.placements]


def _reason(claim: Claim) -> Because:
    return claim.because[0] if claim.because else UNHEARD


def _prices(compiled: Compiled, known: BidPrices | None) -> Prices:
    """The prices in force, over the horizon of the problem; nothing is known of what lies beyond theirs."""
    problem = compiled.problem
    found = Prices.zero(problem)
    if known is not None:
        late = known.first - compiled.horizon.first
        for rows, names, levels in (
            (found.pools, problem.pools.ids, known.pools),
            (found.quotas, problem.quotas.ids, known.tenants),
        ):
            for row, name in enumerate(names):
                _fill(rows[row], levels.get(name, ()), late)
    return found


def _fill(row: Floats, levels: tuple[int, ...], late: int) -> None:
    """Write levels that begin ``late`` slots into the row, as far as they lie in it."""
    part = np.asarray(levels[max(0, -late) :], np.float64)[: max(0, len(row) - max(0, late))]
    row[max(0, late) : max(0, late) + len(part)] = part
