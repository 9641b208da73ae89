"""What policies serve when claims come one by one and are answered for good, beside the bound of a plan of all.

    python -m bench.online PROBLEM.json.gz ... [--seconds 20]

Requests arrive at their first start, in that order, and nobody knows what is to come. A policy says how full a pool may
get over the time of a request, itself included, for each of three tiers: those worth most a device-slot, the middle,
and the rest. Each is placed where it can start first, by the loop that answers claims in a server. Without
problems, it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from broker.admission.scan import Board, scan
from broker.optimiser.files import read_problem
from broker.optimiser.problem import Floats, Ints, Problem
from broker.optimiser.solve import solve
from broker.optimiser.stop import SecondsLimit
from broker.optimiser.warm import warm

POLICIES = {
    "first come": (100, 100, 100),
    "85 and 60 %": (100, 85, 60),
    "80 and 40 %": (100, 80, 40),
    "80 and 20 %": (100, 80, 20),
}
WAITING = 1e-6  # of the value, for each slot: the first start wins, among equals the first pool


def board(problem: Problem) -> Board:
    """The empty market as the loop sees it; nothing is priced and nobody has a quota."""
    supply = problem.pools.capacity.astype(np.int64)
    pools, slots = supply.shape
    sums = np.zeros((pools, slots + 1))
    room = np.full((1, slots), 2**60)
    nothing = np.zeros(pools, np.int64)
    return Board(supply.copy(), np.zeros_like(supply), supply, supply, room, sums, sums[:1], nothing, nothing)


def tiers(problem: Problem) -> Ints:
    """For each request, 0 for those worth most a device-slot, 1 for the middle, 2 for the rest; -1 without options."""
    o = problem.options
    worth = np.full(len(problem.requests.ids), -1.0)
    for request in np.flatnonzero(np.diff(o.first)):
        rows = slice(o.first[request], o.first[request + 1])
        worth[request] = (o.value[rows] / (o.devices[rows] * o.slots[rows])).max()
    levels = np.sort(np.unique(np.round(worth[worth > 0], 2)))[::-1]
    tier = np.searchsorted(-levels, -worth - 0.005)
    return np.where(worth > 0, np.minimum(tier, 2), -1)


def served(problem: Problem, policy: tuple[int, int, int]) -> int:
    """The value of what gets a place."""
    o, b, tier = problem.options, board(problem), tiers(problem)
    total = 0
    arrival = [o.earliest[o.first[r] : o.first[r + 1]].min(initial=problem.slots) for r in range(len(tier))]
    for request in np.argsort(arrival, kind="stable"):
        rows = np.arange(o.first[request], o.first[request + 1])
        last = np.minimum(o.latest[rows], problem.slots - o.slots[rows])
        rows, last = rows[o.earliest[rows] <= last], last[o.earliest[rows] <= last]
        if not len(rows) or tier[request] < 0:
            continue
        columns = (o.pool[rows], o.devices[rows], o.slots[rows], o.earliest[rows], last, o.earliest[rows])
        ways = np.stack(columns, axis=1).astype(np.int64)
        money: Floats = np.stack((o.value[rows], o.value[rows] * WAITING), axis=1).astype(np.float64)
        worth, start = np.empty(len(rows)), np.empty(len(rows), np.int64)
        scan(b, ways, money, 0, policy[tier[request]], worth, start)
        best = int(worth.argmax())
        if start[best] >= 0:
            span = slice(start[best], start[best] + ways[best, 2])
            b.free[ways[best, 0], span] -= ways[best, 1]
            b.lent[ways[best, 0], span] += ways[best, 1]
            total += int(o.value[rows[best]])
    return total


def main() -> int:
    """Print a row for each problem and policy."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("problems", nargs="*", type=Path)
    ask.add_argument("--seconds", type=float, default=20, help="for the plan that knows everything")
    args = ask.parse_args()
    if not args.problems:
        print("no planning problem measured: name some, as files of the public format (docs/optimiser.md)")
        return 2
    warm()
    for path in args.problems:
        problem = read_problem(path)
        plan = solve(problem, stop=SecondsLimit(args.seconds, time.monotonic), seed=1)
        print(f"{path.name}: bound {plan.bound:,.0f}, plan of all {100 * plan.objective / plan.bound:.1f} %")
        for name, policy in POLICIES.items():
            print(f"  {name:14} {100 * served(problem, policy) / plan.bound:.1f} % of the bound", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
