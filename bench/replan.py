"""Plans a market, changes a few of its claims, and plans again from the old plan and its prices.

    python -m bench.replan [--synthetic L:1.1:1] [--seconds 30] [--changed 0.01] [--again 0.5]

A changed claim is a new one: it takes over the options of another changed claim, their windows shifted by up to half a
day, and stands nowhere. All others have their old placement as ``current``, to be moved at a fifth of their value.
Prints the gap before and after, who moved and who was dropped; then plans the outcome once more, without a change.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import numpy as np

from bench.generator import Synthetic, synthetic
from broker.optimiser.check import check
from broker.optimiser.problem import Bools, Options, Plan, Problem
from broker.optimiser.solve import Earlier, Solved, solve
from broker.optimiser.stop import SecondsLimit
from broker.optimiser.warm import warm

__all__ = ["changed", "main", "standing"]

MOVE_SHARE = 5  # a move costs a fifth of the best value
SHIFT = 12  # slots


def standing(problem: Problem, plan: Plan) -> Problem:
    """The same problem where everybody who is placed would rather stay."""
    o, requests = problem.options, problem.requests
    best = np.zeros(len(requests.ids), np.int64)
    has = np.flatnonzero(np.diff(o.first))
    best[has] = np.maximum.reduceat(o.value, o.first[has])
    now = replace(requests, current_option=plan.option, current_start=plan.start, move_cost=best // MOVE_SHARE)
    return replace(problem, requests=now)


def changed(problem: Problem, plan: Plan, share: float, rng: np.random.Generator) -> tuple[Problem, Plan, Bools]:
    """A market in which a share of the claims are new, and what is left of the plan there, and who is new."""
    size, o = len(problem.requests.ids), problem.options
    fresh = rng.permutation(size)[: max(2, int(share * size))]
    source = np.arange(size)
    source[fresh] = np.roll(fresh, 1)
    count = np.diff(o.first)[source]
    first = np.concatenate(([0], np.cumsum(count)))
    row = np.repeat(o.first[source] - first[:-1], count) + np.arange(first[-1])
    moved = np.zeros(size, np.int64)
    moved[fresh] = rng.integers(-SHIFT, SHIFT + 1, len(fresh))
    shift = np.repeat(moved, count)
    latest = np.clip(o.latest[row] + shift, 0, problem.slots - o.slots[row])
    earliest = np.clip(o.earliest[row] + shift, 0, latest)
    due = np.clip(o.due[row] + shift, earliest, latest)
    options = Options(
        first, o.pool[row], o.devices[row], o.slots[row], earliest, latest, o.value[row], due, o.late_cost[row]
    )
    option, start = plan.option.copy(), plan.start.copy()
    option[fresh] = -1
    left = Plan(option, start)
    quota, guaranteed = problem.requests.quota[source], problem.requests.guaranteed[source]
    requests = replace(problem.requests, quota=quota, guaranteed=guaranteed)
    is_fresh = np.isin(np.arange(size), fresh)
    return standing(replace(problem, options=options, requests=requests), left), left, is_fresh


def _timed(problem: Problem, seconds: float, earlier: Earlier | None = None) -> tuple[Solved, float]:
    began = time.perf_counter()
    solved = solve(problem, stop=SecondsLimit(seconds, time.perf_counter), seed=1, earlier=earlier)
    taken = time.perf_counter() - began
    assert check(problem, solved.plan).ok
    return solved, taken


def main() -> int:
    """Measure what the command line names."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--synthetic", default="L:1.1:1", type=Synthetic.parse)
    ask.add_argument("--seconds", type=float, default=30.0)
    ask.add_argument("--changed", type=float, default=0.01)
    ask.add_argument("--again", type=float, default=0.5)
    args = ask.parse_args()
    warm()
    problem = synthetic(args.synthetic)
    first, seconds = _timed(problem, args.seconds)
    print(f"planned       gap {100 * first.gap:.2f} %, {first.report.placed} placed, {seconds:.2f} s")
    market, left, fresh = changed(problem, first.plan, args.changed, np.random.default_rng(1))
    second, seconds = _timed(market, args.again, Earlier(left, first.prices, fresh))
    stood = left.option >= 0
    same = (second.plan.option == left.option) & (second.plan.start == left.start)
    dropped = stood & (second.plan.option < 0)
    moved = stood & ~same & ~dropped
    print(
        f"{args.changed:.0%} changed    gap {100 * second.gap:.2f} %, {second.report.placed} placed, {seconds:.2f} s;"
    )
    print(
        f"              of {stood.sum()} untouched {moved.sum()} moved ({100 * moved.sum() / stood.sum():.2f} %),",
        end=" ",
    )
    print(f"{dropped.sum()} dropped; {(second.plan.option[fresh] >= 0).sum()} of {fresh.sum()} new ones placed")
    nobody = np.zeros(len(fresh), np.bool_)
    third, seconds = _timed(standing(market, second.plan), args.again, Earlier(second.plan, second.prices, nobody))
    differ = (third.plan.option != second.plan.option) | (
        (third.plan.start != second.plan.start) & (second.plan.option >= 0)
    )
    print(f"once more     {differ.sum()} requests differ, {seconds:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
