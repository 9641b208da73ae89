"""A plan in which guaranteed work has somewhere to go after every loss that the fleet insures against.

The optimiser's reserves count devices; whether each gang has a berth is seen here. What was placed before keeps its
place. Of what is new, those worth most are asked first, since large gangs find berths only while there is room: whoever
has no berth where the plan puts him goes where he has one, even where the plan has new work of lower tiers, or waits.
What no pool could ever take over is not insured, and does not wait for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.admission.berths import Berths
from broker.admission.calendar import Calendar
from broker.admission.policy import Policy
from broker.admission.stakes import Stake, stakes_at
from broker.domain.claim import Hold, Placement, Tier
from broker.domain.losses import losses
from broker.domain.plan import LossCost
from broker.domain.slots import SLOT_SECONDS, Window
from broker.optimiser.compile import Compiled, option_at
from broker.optimiser.problem import Plan

__all__ = ["Insured", "costs", "insured"]

TRIES_MAX = 200  # to seat others anew for one more
STARTS_MAX = 64  # looked at for whether a claim could be insured at all


class Insured(NamedTuple):
    """A plan, the berths of its guaranteed work, and the rows that were left out for want of one."""

    plan: Plan
    berths: Berths
    without: frozenset[int]


def insured(compiled: Compiled, plan: Plan, policy: Policy) -> Insured:
    """The plan with guaranteed work only where it is insured; the plan itself if it is so already."""
    at = _stakes(compiled, plan)
    berths = _berths(compiled, list(at.values()))
    standings = list(berths.standings())
    never = {stake.key for standing in standings for stake in standing.uninsurable}
    new = {r: stake for r, stake in at.items() if compiled.requests[r].placement is None and stake.key in never}
    if any(standing.without for standing in standings) or any(_could(compiled, berths, *one) for one in new.items()):
        return _Pass(compiled, plan, policy, at).run()
    return Insured(plan, berths, frozenset())


def costs(compiled: Compiled, berths: Berths, prices: NDArray[np.float64]) -> tuple[LossCost, ...]:
    """What each loss costs to be insured against, at the prices of reserves, and how guaranteed work stands."""
    pools, capacity = compiled.problem.pools.ids, compiled.problem.pools.capacity
    out = []
    for standing in berths.standings():
        loss = standing.loss
        lost = capacity[[pools.index(pool) for pool in loss.pools]].sum(axis=0)
        rows = [n for n, of in enumerate(compiled.losses) if of == loss]
        most = float((prices[rows] * lost).sum())
        out.append(
            LossCost(
                loss.insurance,
                loss.pools,
                round(most / max(1, int(lost.sum()))),
                round(most),
                hit=len(standing.berths) + len(standing.without) + len(standing.uninsurable),
                insured=len(standing.berths),
                uninsurable=len(standing.uninsurable),
            )
        )
    return tuple(out)


class _Pass:
    """One pass over the new work of a plan; everything that holds a place has it already."""

    def __init__(self, compiled: Compiled, plan: Plan, policy: Policy, at: dict[int, Stake]) -> None:
        self._compiled, self._plan, self._policy, self._at = compiled, plan, policy, at
        self._option, self._start = plan.option.copy(), plan.start.copy()
        self._calendar = Calendar(compiled.snapshot.fleet, (), compiled.horizon)
        held = [r for r in np.flatnonzero(plan.option >= 0).tolist() if compiled.requests[r].placement is not None]
        moved = [r for r in held if r in at and not compiled.requests[r].short and self._has_moved(r)]
        for r in held:
            self._book(r)
        self._berths = _berths(compiled, [at[r] for r in held if r in at and r not in moved])
        self._calendar.berths = self._berths
        self._without, self._tries = set[int](), TRIES_MAX
        for r in moved:
            self._settle(r)

    def run(self) -> Insured:
        """The plan that comes out, with guaranteed work first."""
        new: dict[int, list[int]] = {}
        others = list[int]()
        for r, request in enumerate(self._compiled.requests):
            if request.placement is None:
                if self._tier(r) is Tier.GUARANTEED:
                    new.setdefault(request.claim, []).append(r)
                elif self._plan.option[r] >= 0:
                    others.append(r)
        in_turn = sorted(new.values(), key=lambda rows: -self._worth(rows))
        # Whoever looks elsewhere before all were asked where they are takes berths from those who fit as planned.
        for rows in [rows for rows in in_turn if not self._kept(rows)]:
            self._elsewhere(rows)
        for r in others:
            if self._is_free(r):
                self._book(r)
            else:
                self._option[r] = -1
        return Insured(Plan(self._option, self._start), self._berths, frozenset(self._without))

    def _has_moved(self, r: int) -> bool:
        now = self._compiled.problem.requests
        return bool(self._option[r] != now.current_option[r] or self._start[r] != now.current_start[r])

    def _settle(self, r: int) -> None:
        """Where the plan has moved it, if it is insured there, else back where it was, if nobody else is there now."""
        if not self._berths.fits((self._at[r],)):
            self._move_back(r)
        self._berths.take(_stake(self._compiled, r, int(self._option[r]), int(self._start[r])))

    def _move_back(self, r: int) -> None:
        now, there = self._compiled.problem.requests, (self._option[r], self._start[r])
        for hold in self._holds(r):
            self._calendar.give_back(hold)
        self._option[r], self._start[r] = now.current_option[r], now.current_start[r]
        if not self._is_free(r):
            self._option[r], self._start[r] = there
        self._book(r)

    def _kept(self, rows: Sequence[int]) -> bool:
        """Leave the rows of a claim where the plan has them, as far as they can be there; False when none can."""
        wanted = [r for r in rows if self._plan.option[r] >= 0]
        self._without |= {r for r in wanted if not self._keep(r)}
        return not wanted or any(self._option[r] >= 0 for r in wanted)

    def _keep(self, r: int) -> bool:
        stake = self._at[r]
        if self._is_free(r):
            if self._admitted(stake):
                self._book(r)
                return True
            if not _could(self._compiled, self._berths, r, stake):
                self._book(r)
                self._berths.take(stake)
                return True
        self._option[r] = -1
        return False

    def _admitted(self, stake: Stake) -> bool:
        if self._berths.fits((stake,)):
            self._berths.take(stake)
            return True
        # To find others new berths takes a hundred times as long.
        self._tries -= 1
        return self._tries >= 0 and self._berths.admit(stake)

    def _elsewhere(self, rows: Sequence[int]) -> None:
        """Put a claim where policy would, if it can be anywhere."""
        claim = self._compiled.snapshot.claims[self._compiled.requests[rows[0]].claim]
        pools = len(self._calendar.pools)
        found = next(iter(self._policy.offers(claim.ask, claim.name.tenant, self._calendar, most=pools)), None)
        if found is None or len(found.placements) != len(rows):
            return
        for r, place in zip(rows, found.placements, strict=True):
            k = option_at(self._compiled, r, place)
            assert k is not None
            self._option[r], self._start[r] = k, place.window.first - self._compiled.horizon.first
            self._book(r)
            self._without.discard(r)
        for stake in stakes_at(claim.name, claim.ask, found.placements, self._compiled.snapshot.fleet):
            self._berths.take(stake)

    def _is_free(self, r: int) -> bool:
        calendar = self._calendar
        pool, quota = self._holds(r)
        span, name = calendar.span(pool.window), quota.account.removeprefix("tenants/")
        free = calendar.free[calendar.pools[pool.account.removeprefix("pools/")], span]
        room = calendar.room[calendar.row_of(name), span]
        return bool((np.minimum(free, room) >= pool.devices).all())

    def _book(self, r: int) -> None:
        for hold in self._holds(r):
            self._calendar.take(hold)

    def _holds(self, r: int) -> tuple[Hold, Hold]:
        request = self._compiled.requests[r]
        way = request.options[int(self._option[r])]
        first = self._compiled.horizon.first + int(self._start[r])
        window = Window(first, first + way.slots)
        account = self._compiled.snapshot.claims[request.claim].account
        return Hold(f"pools/{way.pool}", window, way.devices), Hold(account, window, way.devices)

    def _tier(self, r: int) -> Tier:
        return self._compiled.snapshot.claims[self._compiled.requests[r].claim].ask.tier

    def _worth(self, rows: Iterable[int]) -> int:
        return sum(self._compiled.requests[r].options[0].value_microusd for r in rows)


def _berths(compiled: Compiled, stakes: Sequence[Stake]) -> Berths:
    fleet, horizon = compiled.snapshot.fleet, compiled.horizon
    return Berths(fleet, losses(fleet, horizon.first * SLOT_SECONDS), horizon, stakes)


def _stakes(compiled: Compiled, plan: Plan) -> dict[int, Stake]:
    """By row: what guaranteed work has at stake in a plan."""
    rows = np.flatnonzero(plan.option >= 0).tolist()
    sure = [r for r in rows if compiled.snapshot.claims[compiled.requests[r].claim].ask.tier is Tier.GUARANTEED]
    return {r: _stake(compiled, r, int(plan.option[r]), int(plan.start[r])) for r in sure}


def _stake(compiled: Compiled, r: int, option: int, start: int) -> Stake:
    request = compiled.requests[r]
    claim, way, first = compiled.snapshot.claims[request.claim], request.options[option], compiled.horizon.first + start
    place = Placement(way.pool, way.devices, Window(first, first + way.slots), first, request.part, way.silicon)
    (stake,) = stakes_at(claim.name, claim.ask, (place,), compiled.snapshot.fleet)
    return stake


def _could(compiled: Compiled, berths: Berths, r: int, stake: Stake) -> bool:
    """Whether a claim could be insured where it is or at some other place that it may have."""
    if berths.insurable(stake):
        return True
    request = compiled.requests[r]
    claim, fleet = compiled.snapshot.claims[request.claim], compiled.snapshot.fleet
    for way in request.options:
        last = way.earliest if way.latest is None else way.latest
        for first in range(way.earliest, last + 1, max(1, (last - way.earliest) // STARTS_MAX)):
            place = Placement(way.pool, way.devices, Window(first, first + way.slots), first, request.part, way.silicon)
            if any(map(berths.insurable, stakes_at(claim.name, claim.ask, (place,), fleet))):
                return True
    return False
