"""What a queue does without an optimiser: requests in some order, each where it gains most, as early as it can be.

    python -m bench.baselines PROBLEM.json.gz ... [--synthetic S:1.1:1 ...]

Prints the share of the offered value that each order serves; every plan is judged by the checker that judges ours.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bench.sources import absent, add_sources, offered, sources
from broker.compiled import allocating
from broker.optimiser.check import check
from broker.optimiser.problem import Bools, Floats, Ints, Plan, Problem

__all__ = ["ORDERS", "Order", "by_density", "by_value", "first_come", "greedy", "tier_first"]

Order = Callable[[Problem], Ints]
PLENTY = 2**62


class _Market(NamedTuple):
    """The problem as the compiled loop sees it."""

    first: Ints
    pool: Ints
    devices: Ints
    slots: Ints
    earliest: Ints
    latest: Ints
    value: Ints
    due: Ints
    late_cost: Ints
    capacity: Ints
    committed: Ints
    unit_cost: Ints
    overage_cost: Ints
    limit: Ints
    quota: Ints
    guaranteed: Bools
    now_option: Ints
    now_start: Ints
    move_cost: Ints
    times: Ints  # [reserves, pools] how often a guaranteed device of the pool counts


class _Books(NamedTuple):
    """What is used up so far."""

    used: Ints  # [pools, slots]
    held: Ints  # [quotas, slots]
    spare: Ints  # [reserves, slots]
    blocked: Ints  # [slots + 1] running count, scratch
    above: Floats  # [slots + 1] running overage, scratch


def first_come(problem: Problem) -> Ints:
    """In the order of the file."""
    return np.arange(len(problem.requests.ids))


def tier_first(problem: Problem) -> Ints:
    """Guaranteed ones first, then by class of value, in the order of the file within a class.

    A class is a factor of two in value for each device-slot: that is about how far apart tiers of service are paid.
    """
    density = _density(problem)
    octave = np.floor(np.log2(np.maximum(density, 1e-9)))
    return np.lexsort((-octave, ~problem.requests.guaranteed))


def by_density(problem: Problem) -> Ints:
    """By value for each device-slot of the shortest option, highest first; on traces this is tier by tier."""
    return np.argsort(-_density(problem), kind="stable")


def by_value(problem: Problem) -> Ints:
    """By the value of the best option, highest first."""
    return np.argsort(-_best(problem.options.first, problem.options.value), kind="stable")


ORDERS: dict[str, Order] = {
    "first come": first_come,
    "tier first": tier_first,
    "by density": by_density,
    "by value": by_value,
}


def greedy(problem: Problem, order: Ints) -> Plan:
    """Each request in turn at the option and start that gain most, then earliest; keeps quotas and reserves.

    Promised requests come before all others: what is promised is no matter of order.
    """
    o, pools, requests = problem.options, problem.pools, problem.requests
    times = np.zeros((len(problem.reserves), len(pools.ids)), np.int64)
    spare = np.full((len(problem.reserves), problem.slots), PLENTY, np.int64)
    for n, reserve in enumerate(problem.reserves):
        np.add.at(times[n], [reserve.lost, *reserve.covers], 1)
        window = slice(reserve.first_slot, reserve.end_slot)
        spare[n, window] = pools.capacity[list(reserve.covers), window].sum(axis=0)
    market = _Market(
        *(o.first, o.pool, o.devices, o.slots, o.earliest, o.latest, o.value, o.due, o.late_cost),
        *(pools.capacity, pools.committed, pools.unit_cost, pools.overage_cost, problem.quotas.limit),
        *(requests.quota, requests.guaranteed, requests.current_option, requests.current_start, requests.move_cost),
        times,
    )
    books = _Books(
        np.zeros_like(pools.capacity),
        np.zeros_like(problem.quotas.limit),
        spare,
        np.zeros(problem.slots + 1, np.int64),
        np.zeros(problem.slots + 1),
    )
    plan = Plan.empty(len(order))
    promised = requests.promised[order]
    _serve(market, books, np.concatenate((order[promised], order[~promised])), plan.option, plan.start)
    return plan


def _density(problem: Problem) -> Floats:
    o = problem.options
    return _densest(o.first, o.value, o.devices, o.slots)


@allocating
def _densest(first: Ints, value: Ints, devices: Ints, slots: Ints) -> Floats:
    """Value for each device-slot of the shortest option; 0 without options."""
    density = np.zeros(len(first) - 1)
    for r in range(len(density)):
        shortest = -1
        for row in range(first[r], first[r + 1]):
            if shortest < 0 or slots[row] < slots[shortest]:
                shortest = row
        if shortest >= 0:
            density[r] = value[shortest] / (devices[shortest] * slots[shortest])
    return density


@allocating
def _best(first: Ints, value: Ints) -> Ints:
    best = np.zeros(len(first) - 1, np.int64)
    for r in range(len(best)):
        for row in range(first[r], first[r + 1]):
            best[r] = max(best[r], value[row])
    return best


@allocating
def _serve(m: _Market, b: _Books, order: Ints, option: Ints, start: Ints) -> None:
    """Place request after request into the books; ``option`` and ``start`` are the plan."""
    for r in order:
        best, place, at = 0.0, -1, -1
        for row in range(m.first[r], m.first[r + 1]):
            found, gain = _earliest_of_best(m, b, r, row)
            if found >= 0 and (place < 0 or gain > best or (gain == best and found < at)):
                best, place, at = gain, row, found
        if place < 0:
            continue
        option[r], start[r] = place - m.first[r], at
        devices, pool = m.devices[place], m.pool[place]
        for t in range(at, at + m.slots[place]):
            b.used[pool, t] += devices
            if m.quota[r] >= 0:
                b.held[m.quota[r], t] += devices
            if m.guaranteed[r]:
                for n in range(len(m.times)):
                    b.spare[n, t] -= m.times[n, pool] * devices


@allocating
def _earliest_of_best(m: _Market, b: _Books, r: int, row: int) -> tuple[int, float]:
    """The start with room that gains most, and the gain; -1 where there is none that gains anything."""
    length = m.slots[row]
    low, high = max(0, m.earliest[row]), min(m.latest[row], m.capacity.shape[1] - length)
    best, gain = -1, 0.0
    if high < low:
        return best, gain
    _count_blocked(m, b, r, row, low, high + length)
    fixed = float(m.value[row]) - float(m.unit_cost[m.pool[row]]) * m.devices[row] * length
    for start in range(low, high + 1):
        if b.blocked[start + length] > b.blocked[start]:
            continue
        worth = fixed - (b.above[start + length] - b.above[start]) * m.overage_cost[m.pool[row]]
        worth -= float(m.late_cost[row]) * max(0, start - m.due[row])
        if row - m.first[r] == m.now_option[r] and start == m.now_start[r]:
            worth += m.move_cost[r]
        if worth > gain:
            best, gain = start, worth
    return best, gain


@allocating
def _count_blocked(m: _Market, b: _Books, r: int, row: int, low: int, end: int) -> None:
    """Running counts of slots without room, and of devices above what is committed."""
    pool, devices, quota = m.pool[row], m.devices[row], m.quota[r]
    for t in range(low, end):
        after = b.used[pool, t] + devices
        full = after > m.capacity[pool, t] or (quota >= 0 and b.held[quota, t] + devices > m.limit[quota, t])
        if m.guaranteed[r] and not full:
            for n in range(len(m.times)):
                full |= m.times[n, pool] > 0 and m.times[n, pool] * devices > b.spare[n, t]
        b.blocked[t + 1] = b.blocked[t] + full if t > low else np.int64(full)
        over = float(min(devices, max(0, after - m.committed[pool, t])))
        b.above[t + 1] = b.above[t] + over if t > low else over
    b.blocked[low] = 0
    b.above[low] = 0.0


def main() -> int:
    """Measure what the command line names."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sources(ask)
    named = sources(ask.parse_args())
    if missing := absent(named):
        print(missing)
        return 2
    print(f"{'problem':28}" + "".join(f"{name:>22}" for name in ORDERS))
    for source in named:
        problem = source.load()
        shown = f"{source.name:28}"
        for order in ORDERS.values():
            verdict = check(problem, greedy(problem, order(problem)))
            share = 100 * verdict.objective / max(1, offered(problem))
            shown += f"{verdict.objective:>14} {share:>5.1f} %" + ("" if verdict.ok else " !")
        print(shown, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
