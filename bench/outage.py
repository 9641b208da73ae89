"""What insurance buys: the busiest pool is lost for a day, and the plan is repaired, with reserves and without.

    python -m bench.outage [--synthetic M:1.1:1 ...] [--seconds 10] [--repair-seconds 3]

With reserves, guaranteed work survives the loss of any one pool: for each pool, what it holds in the pool fits into
what it leaves free in all the others. Each plan loses its own busiest pool, for 24 slots from where the pool is
busiest. Every placement may then be moved, at a fifth of its value; guaranteed ones are promised. The reserves are
given up with the outage: they were bought for it. All plans are judged by the checker of the optimiser.

A reserve counts devices; it does not see that a request can run in one pool only, or that room is in pieces. Where
guaranteed work is lost, the most that any repair could serve is proven too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bench.generator import Synthetic, synthetic
from broker.optimiser.check import check
from broker.optimiser.problem import Bools, Ints, Plan, Problem, Reserve
from broker.optimiser.report import Solved
from broker.optimiser.solve import solve
from broker.optimiser.stop import SecondsLimit, Stop, WorkLimit
from broker.optimiser.warm import warm

__all__ = ["Limits", "Ordeal", "Outage", "busiest", "insured", "ordeal", "struck"]

OUTAGE_SLOTS = 24
MOVE_DIVISOR = 5  # moving costs a fifth of the value
PROOF_WORK = 5_000  # units, for how many promises can be kept at most

StopMaker = Callable[[], Stop]


class Limits(NamedTuple):
    """How long a plan and a repair may take; a rule that reads a clock starts when it is made."""

    plan: StopMaker
    repair: StopMaker


@dataclass(frozen=True, slots=True)
class Outage:
    """A pool that is gone from ``first`` up to ``end``."""

    pool: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Ordeal:
    """A plan, the loss of its busiest pool, and its repair; values are what the options are worth."""

    objective: int  # before
    outage: Outage
    guaranteed: int  # placed before
    guaranteed_evicted: int
    guaranteed_served: int  # of those placed before, after the repair
    guaranteed_alone: int  # the most of them found with nobody else about
    guaranteed_possible: int  # no repair can serve more; where all are served, nothing had to be proven
    evicted: int
    evicted_value: int
    recovered_value: int
    rest: int  # placed before and not evicted
    rest_moved: int
    repair_seconds: float
    violations: tuple[str, ...]  # of both plans; a broken promise is one

    @property
    def recovered(self) -> float:
        """Share of the evicted value that is served again."""
        return self.recovered_value / self.evicted_value if self.evicted_value else 1.0

    @property
    def moved(self) -> float:
        """Share of the placements elsewhere that the repair moved or dropped."""
        return self.rest_moved / self.rest if self.rest else 0.0


def insured(problem: Problem) -> Problem:
    """The same market, whose guaranteed work must survive the loss of any one pool."""
    pools = range(len(problem.pools.ids))
    reserves = (Reserve(p, tuple(q for q in pools if q != p), 0, problem.slots) for p in pools)
    return replace(problem, reserves=tuple(reserves))


def busiest(problem: Problem, plan: Plan) -> Outage:
    """The loss of the pool that holds most device-slots, where it holds most of them."""
    placed, row = _rows(problem, plan)
    o = problem.options
    change = np.zeros((len(problem.pools.ids), problem.slots + 1), np.int64)
    np.add.at(change, (o.pool[row], plan.start[placed]), o.devices[row])
    np.subtract.at(change, (o.pool[row], plan.start[placed] + o.slots[row]), o.devices[row])
    used = np.cumsum(change, axis=1)[:, :-1]
    pool = int(used.sum(axis=1).argmax())
    length = min(OUTAGE_SLOTS, problem.slots)
    first = int(np.convolve(used[pool], np.ones(length, np.int64), "valid").argmax())
    return Outage(pool, first, first + length)


def struck(problem: Problem, plan: Plan, outage: Outage) -> Problem:
    """The market during the outage: present placements stand where they can, and guaranteed ones are promised."""
    pools, requests = problem.pools, problem.requests
    capacity, committed = pools.capacity.copy(), pools.committed.copy()
    for level in (capacity, committed):
        level[outage.pool, outage.first : outage.end] = 0
    placed, row = _rows(problem, plan)
    move_cost = np.zeros_like(requests.move_cost)
    move_cost[placed] = problem.options.value[row] // MOVE_DIVISOR
    held = plan.option >= 0
    now = replace(
        requests,
        promised=requests.guaranteed & held,
        current_option=plan.option,
        current_start=plan.start,
        move_cost=move_cost,
    )
    return replace(problem, pools=replace(pools, capacity=capacity, committed=committed), requests=now, reserves=())


def ordeal(problem: Problem, limits: Limits, seed: int) -> Ordeal:
    """Plan, lose the busiest pool, repair."""
    planned = solve(problem, stop=limits.plan(), seed=seed)
    outage = busiest(problem, planned.plan)
    broken = struck(problem, planned.plan, outage)
    repaired = solve(broken, stop=limits.repair(), seed=seed, hint=planned.plan)
    return _told(problem, broken, planned, repaired, outage)


def _told(problem: Problem, broken: Problem, planned: Solved, repaired: Solved, outage: Outage) -> Ordeal:
    before, after = planned.plan, repaired.plan
    judged = (check(problem, before), check(broken, after))
    assert judged[0].objective == planned.objective
    held, served = before.option >= 0, after.option >= 0
    gone = _evicted(problem, before, outage)
    rest = held & ~gone
    same = (before.option == after.option) & (before.start == after.start)
    sure = problem.requests.guaranteed & held
    everyone = int(sure.sum())
    alone, possible = (everyone, everyone) if served[sure].all() else _possible(broken, PROOF_WORK)
    return Ordeal(
        objective=planned.objective,
        outage=outage,
        guaranteed=int(sure.sum()),
        guaranteed_evicted=int((sure & gone).sum()),
        guaranteed_served=int((sure & served).sum()),
        guaranteed_alone=alone,
        guaranteed_possible=possible,
        evicted=int(gone.sum()),
        evicted_value=_value(problem, before, gone),
        recovered_value=_value(problem, after, gone & served),
        rest=int(rest.sum()),
        rest_moved=int((rest & ~same).sum()),
        repair_seconds=repaired.report.seconds,
        violations=(*judged[0].violations, *judged[1].violations),
    )


def _rows(problem: Problem, plan: Plan) -> tuple[Ints, Ints]:
    """The requests that a plan serves, and the option of each."""
    placed = np.flatnonzero(plan.option >= 0)
    return placed, problem.options.first[placed] + plan.option[placed]


def _evicted(problem: Problem, plan: Plan, outage: Outage) -> Bools:
    """Requests whose placement needs the pool while it is gone."""
    o = problem.options
    placed, row = _rows(problem, plan)
    start = plan.start[placed]
    hit = (o.pool[row] == outage.pool) & (start < outage.end) & (start + o.slots[row] > outage.first)
    gone = np.zeros(len(plan.option), np.bool_)
    gone[placed[hit]] = True
    return gone


def _possible(broken: Problem, work: int) -> tuple[int, int]:
    """How many promises are kept with nobody else about, and how many can be at most."""
    o, requests = broken.options, broken.requests
    promised = np.repeat(requests.promised, np.diff(o.first))
    nothing = np.zeros_like(requests.move_cost)
    free = np.zeros_like(broken.pools.unit_cost)
    alone = replace(
        broken,
        pools=replace(broken.pools, unit_cost=free, overage_cost=free),
        requests=replace(requests, promised=nothing > 0, current_option=nothing - 1, move_cost=nothing),
        options=replace(o, value=promised.astype(np.int64), late_cost=np.zeros_like(o.late_cost)),
    )
    solved = solve(alone, stop=WorkLimit(work), seed=1)
    return solved.objective, int(solved.bound)


def _value(problem: Problem, plan: Plan, which: Bools) -> int:
    of = np.flatnonzero(which)
    return int(problem.options.value[problem.options.first[of] + plan.option[of]].sum())


def show(problem: Problem, kind: str, seen: Ordeal) -> str:
    """What happened to one plan, as lines."""
    pool, window = problem.pools.ids[seen.outage.pool], f"slots {seen.outage.first} to {seen.outage.end}"
    lost, possible = seen.guaranteed - seen.guaranteed_served, seen.guaranteed_possible
    loss = f", {lost} LOST ({seen.guaranteed_alone} fit by themselves, at most {possible} can)" if lost else ""
    lines = [
        f"  {kind}: worth {seen.objective}; {pool} lost for {window}",
        f"    guaranteed   {seen.guaranteed} placed before, {seen.guaranteed_evicted} of them evicted;"
        f" {seen.guaranteed_served} served after{loss}",
        f"    evicted      {seen.evicted} placements worth {seen.evicted_value}, "
        f"{100 * seen.recovered:.1f} % recovered",
        f"    the rest     {seen.rest_moved} of {seen.rest} moved or dropped, {100 * seen.moved:.2f} %",
        f"    repaired in  {seen.repair_seconds:.2f} s; {len(seen.violations)} rules broken",
        *(f"      {violation}" for violation in seen.violations[:3]),
    ]
    return "\n".join(lines)


def main() -> int:
    """Strike what the command line names; 1 when insured guaranteed work was lost or a rule broken."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [Synthetic("M", 1.1, 1)]
    ask.add_argument("--synthetic", nargs="*", type=Synthetic.parse, default=default, metavar="FAMILY:LOAD:SEED[:GANG]")
    ask.add_argument("--seconds", type=float, default=10)
    ask.add_argument("--repair-seconds", type=float, default=3)
    ask.add_argument("--seed", type=int, default=1)
    args = ask.parse_args()
    limits = Limits(
        lambda: SecondsLimit(args.seconds, time.perf_counter),
        lambda: SecondsLimit(args.repair_seconds, time.perf_counter),
    )
    warm()
    failed = 0
    for name in args.synthetic:
        market = synthetic(name)
        print(name)
        bare = ordeal(market, limits, args.seed)
        print(show(market, "without reserves", bare), flush=True)
        safe = ordeal(insured(market), limits, args.seed)
        print(show(market, "with reserves", safe))
        cost = bare.objective - safe.objective
        print(f"  the reserves gave up {cost}, {100 * cost / max(1, bare.objective):.2f} % of the plan", flush=True)
        failed |= bool(safe.violations)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
