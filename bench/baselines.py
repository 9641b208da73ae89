"""What a queue does without an optimiser: requests in some order, each where it is cheapest, as early as it can be.

    python -m bench.baselines PROBLEM.json.gz ...

Prints the share of the offered value that each order serves; every plan is judged by the checker that judges ours.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.planning import offered
from broker.optimiser.check import check
from broker.optimiser.files import read_problem
from broker.optimiser.problem import Ints, Plan, Problem

Order = Callable[[Problem], Ints]


def first_come(problem: Problem) -> Ints:
    """In the order of the file."""
    return np.arange(len(problem.requests.ids))


def by_density(problem: Problem) -> Ints:
    """By value for each device-slot of the shortest option, highest first; on traces this is tier by tier."""
    o = problem.options
    density = np.zeros(len(problem.requests.ids))
    for r in range(len(density)):
        rows = np.arange(o.first[r], o.first[r + 1])
        if len(rows):
            row = rows[np.argmin(o.slots[rows])]
            density[r] = o.value[row] / (o.devices[row] * o.slots[row])
    return np.argsort(-density, kind="stable")


def by_value(problem: Problem) -> Ints:
    """By the value of the best option, highest first."""
    o = problem.options
    best = [int(o.value[a:b].max(initial=0)) for a, b in zip(o.first[:-1], o.first[1:], strict=True)]
    return np.argsort(-np.array(best), kind="stable")


ORDERS: dict[str, Order] = {"first come": first_come, "by density": by_density, "by value": by_value}


def greedy(problem: Problem, order: Ints) -> Plan:
    """Each request in turn at the start that costs least, then earliest; keeps quotas, does not look at reserves."""
    o, pools = problem.options, problem.pools
    plan = Plan.empty(len(order))
    used = np.zeros_like(pools.capacity)
    held = np.zeros_like(problem.quotas.limit)
    for r in order.tolist():
        quota = int(problem.requests.quota[r])
        best: tuple[float, int, int] | None = None
        for row in range(int(o.first[r]), int(o.first[r + 1])):
            found = _cheapest(problem, used, held[quota] if quota >= 0 else None, quota, row)
            if found is not None and (best is None or found < best[:2]):
                best = (*found, row)
        if best is not None:
            _, start, row = best
            span = slice(start, start + int(o.slots[row]))
            used[o.pool[row], span] += o.devices[row]
            if quota >= 0:
                held[quota, span] += o.devices[row]
            plan.option[r], plan.start[r] = row - o.first[r], start
    return plan


def _cheapest(problem: Problem, used: Ints, held: Ints | None, quota: int, row: int) -> tuple[float, int] | None:
    """Cost and start of the cheapest start of an option that has room and is worth more than it costs."""
    o, pools = problem.options, problem.pools
    pool, devices, slots = int(o.pool[row]), int(o.devices[row]), int(o.slots[row])
    low, high = int(o.earliest[row]), min(int(o.latest[row]), problem.slots - slots)
    if high < low:
        return None
    after = used[pool, low : high + slots] + devices
    full = after > pools.capacity[pool, low : high + slots]
    if held is not None:
        full |= held[low : high + slots] + devices > problem.quotas.limit[quota, low : high + slots]
    over = np.clip(after - pools.committed[pool, low : high + slots], 0, devices)
    blocked, extra = (np.concatenate(([0], np.cumsum(x))) for x in (full, over))
    starts = np.arange(low, high + 1)
    cost = pools.overage_cost[pool] * (extra[slots:] - extra[:-slots]) + pools.unit_cost[pool] * devices * slots
    cost = cost + o.late_cost[row] * np.maximum(0, starts - o.due[row])
    fits = (blocked[slots:] == blocked[:-slots]) & (cost < o.value[row])
    if not fits.any():
        return None
    at = int(np.argmin(np.where(fits, cost, np.inf)))
    return float(cost[at]), int(starts[at])


def main() -> int:
    """Measure what the command line names."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("problems", nargs="*", type=Path)
    problems = ask.parse_args().problems
    absent = [str(path) for path in problems if not path.is_file()]
    if absent or not problems:
        print(f"nothing measured: no data at {', '.join(absent)}" if absent else "nothing measured: no problem given")
        return 2
    print(f"{'problem':28}" + "".join(f"{name:>22}" for name in ORDERS))
    for path in problems:
        problem = read_problem(path)
        shown = f"{path.name:28}"
        for order in ORDERS.values():
            verdict = check(problem, greedy(problem, order(problem)))
            share = 100 * verdict.objective / max(1, offered(problem))
            shown += f"{verdict.objective:>14} {share:>5.1f} %" + ("" if verdict.ok else " !")
        print(shown, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
