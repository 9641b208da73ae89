"""Search for problems of one slot, by dealing the requests of a few pools out again.

Good plans there fill nearly every pool to the last device, so a single move or swap hardly ever fits. A step takes the
requests of two to five pools, a *cell*, and deals them out again by a depth-first search of all ways: a very large
neighbourhood (Ahuja, Ergun, Orlin and Punnen 2002) like the ejection chains of Yagiura, Ibaraki and Glover (2004), but
searched whole. At Lagrangian prices a plan costs what its rows are short of the best of their requests, plus the price
of the room that it wastes, and both only grow on the way down the tree: few branches stay below the present plan.
The best *other* plan of the cell is taken under a falling temperature (Kirkpatrick, Gelatt and Vecchi 1983).
Every plan on the way fits.
"""

from __future__ import annotations

import numpy as np

from broker.compiled import compiled, inlined
from broker.optimiser.assignment import CELL, PARTS, WAYS, Assignment, Tally
from broker.optimiser.search import below, random

__all__ = ["exchange"]

OUT = 2  # requests of a cell that were left out
NODES = 5_000  # of the tree of one cell, at most
CELL_NODES = 50  # what a cell costs besides its tree
HOT, COLD = 2.0, 0.15  # first and last temperature, in units of what it costs to take a request's second choice


@inlined
def _pools(a: Assignment, size: int) -> int:
    """Choose pools that requests of one another would like; returns how many, perhaps fewer than ``size``."""
    outside, request, n = len(a.free) - 1, below(a.seed, len(a.at)), 0
    for _ in range(6 * size):
        p, draw = a.pool[a.at[request]], random(a.seed)
        if n > 0 or p == outside:
            p = a.pool[a.first[request] + int(draw * draw * (a.first[request + 1] - a.first[request]))]
        if a.inside[p] == 0 and p != outside:
            a.inside[p], a.parts[n] = 1, p
            n += 1
        if n == size:
            break
        p = a.parts[below(a.seed, n)] if n > 0 else 0
        seated = n > 0 and a.taken[p] > 0
        request = a.who[a.seats[p] + below(a.seed, a.taken[p])] if seated else below(a.seed, len(a.at))
    return n


@inlined
def _gather(a: Assignment, parts: int) -> int:
    """Choose the requests of the cell: all in its pools, or a random ``CELL`` of them; returns how many."""
    outside, total, n = len(a.free) - 1, 0, 0
    out = min(OUT, a.taken[outside])
    begin = below(a.seed, a.taken[outside]) if out > 0 else 0
    for k in range(out):
        a.ask[n] = a.who[a.seats[outside] + (begin + k) % a.taken[outside]]
        n += 1
    for k in range(parts):
        total += a.taken[a.parts[k]]
    for k in range(parts):
        p = a.parts[k]
        for seat in range(a.seats[p], a.seats[p] + a.taken[p]):
            if random(a.seed) * total < CELL - n:
                a.ask[n] = a.who[seat]
                n += 1
            total -= 1
    return n


@inlined
def _swap(a: Assignment, i: int, j: int) -> None:
    a.ask[i], a.ask[j] = a.ask[j], a.ask[i]
    for k in range(max(a.width[i], a.width[j])):
        a.way[i, k], a.way[j, k] = a.way[j, k], a.way[i, k]
        a.cost[i, k], a.cost[j, k] = a.cost[j, k], a.cost[i, k]
    a.width[i], a.width[j] = a.width[j], a.width[i]


@inlined
def _regret(a: Assignment, i: int) -> float:
    regret: float = a.cost[i, 1] if a.width[i] > 1 else np.inf
    return regret


@inlined
def _ways(a: Assignment, n: int) -> None:
    """List the ways of each request; those with the most to lose come first, as their other ways soon cost too much."""
    for i in range(n):
        request, count = a.ask[i], 0
        for choice in range(a.first[request], a.first[request + 1]):
            p = a.pool[choice]
            present = choice == a.at[request]
            if present or (count < WAYS - 1 and (a.inside[p] == 1 or p == len(a.free) - 1)):
                at = count
                while at > 0 and a.cost[i, at - 1] > a.short[choice]:
                    a.way[i, at], a.cost[i, at] = a.way[i, at - 1], a.cost[i, at - 1]
                    at -= 1
                a.way[i, at], a.cost[i, at] = choice, a.short[choice]
                count += 1
        a.width[i] = count
        cheapest = a.cost[i, 0]
        for k in range(count):
            a.cost[i, k] -= cheapest
        at = i
        while at > 0 and _regret(a, at - 1) < _regret(a, at):
            _swap(a, at - 1, at)
            at -= 1


@inlined
def _lift(a: Assignment, n: int, parts: int) -> tuple[float, float]:
    """Free the room of the cell's requests; returns what all that room is worth, and what the present plan costs."""
    room = cost = 0.0
    for i in range(n):
        choice = a.at[a.ask[i]]
        a.free[a.pool[choice]] += a.devices[choice]
        for k in range(a.width[i]):
            if a.way[i, k] == choice:
                cost += a.cost[i, k]
        cost -= a.price[a.pool[choice]] * a.devices[choice]
    for k in range(parts):
        room += a.price[a.parts[k]] * a.free[a.parts[k]]
    return room, cost + room


@inlined
def _tails(a: Assignment, n: int, limit: float) -> None:
    """Drop ways that cost too much by themselves; sum up what the requests from each one on can fill."""
    a.least[n] = a.most[n] = 0.0
    for i in range(n - 1, -1, -1):
        least, most, k = np.inf, 0.0, 0
        while k < a.width[i] and a.cost[i, k] < limit:
            fill = a.price[a.pool[a.way[i, k]]] * a.devices[a.way[i, k]]
            least, most = min(least, fill), max(most, fill)
            k += 1
        a.width[i] = k
        a.least[i], a.most[i] = a.least[i + 1] + least, a.most[i + 1] + most


@inlined
def _next(a: Assignment, i: int, room: float, limit: float, slop: float) -> int:
    """The next way of request ``i`` that fits and can end below ``limit``, or -1."""
    for k in range(a.turn[i] + 1, a.width[i]):
        if a.spent[i] + a.cost[i, k] >= limit:
            return -1
        p, devices = a.pool[a.way[i, k]], a.devices[a.way[i, k]]
        if devices <= a.free[p]:
            left = room - a.price[p] * devices
            wasted = max(0.0, left - a.most[i + 1])
            if a.spent[i] + a.cost[i, k] + wasted < limit and left > a.least[i + 1] - slop:
                return k
    return -1


@inlined
def _search(a: Assignment, n: int, room: float, limit: float) -> bool:
    """Whether there is a plan of the cell below ``limit`` but for the present one; ``found`` is the cheapest seen."""
    depth, nodes, moved, got, slop = 0, 0, 0, False, 1e-9 * (1.0 + room)
    a.turn[0], a.spent[0] = -1, 0.0
    while depth >= 0:
        if a.turn[depth] >= 0:
            choice = a.way[depth, a.turn[depth]]
            a.free[a.pool[choice]] += a.devices[choice]
            room += a.price[a.pool[choice]] * a.devices[choice]
            moved -= int(choice != a.at[a.ask[depth]])
        k = _next(a, depth, room, limit, slop) if nodes < NODES else -1
        nodes += 1
        if k < 0:
            depth -= 1
            continue
        a.turn[depth] = k
        choice = a.way[depth, k]
        a.free[a.pool[choice]] -= a.devices[choice]
        room -= a.price[a.pool[choice]] * a.devices[choice]
        moved += int(choice != a.at[a.ask[depth]])
        if depth + 1 < n:
            a.turn[depth + 1], a.spent[depth + 1] = -1, a.spent[depth] + a.cost[depth, k]
            depth += 1
        elif moved > 0:
            limit, got = a.spent[depth] + a.cost[depth, k] + room, True
            for i in range(n):
                a.found[i] = a.way[i, a.turn[i]]
    a.tally[Tally.NODES] += nodes
    return got


@inlined
def _move(a: Assignment, request: int, choice: int) -> None:
    """Seat a request at another choice; the room is accounted for by the caller."""
    old = a.at[request]
    p, q = a.pool[old], a.pool[choice]
    if p != q:
        a.taken[p] -= 1
        last = a.who[a.seats[p] + a.taken[p]]
        a.who[a.seat[request]], a.seat[last] = last, a.seat[request]
        a.seat[request] = a.seats[q] + a.taken[q]
        a.who[a.seat[request]] = request
        a.taken[q] += 1
    a.at[request] = choice
    a.tally[Tally.TOTAL] += a.gain[choice] - a.gain[old]
    if a.is_stale[request] == 0:
        a.is_stale[request], a.best_at[request] = 1, old
        a.stale[a.tally[Tally.STALE]] = request
        a.tally[Tally.STALE] += 1


@inlined
def _cell(a: Assignment, heat: float) -> None:
    """Deal one cell out again."""
    parts = _pools(a, 2 + below(a.seed, PARTS - 1))
    n = _gather(a, parts)
    _ways(a, n)
    room, cost = _lift(a, n, parts)
    limit = cost - heat * np.log(random(a.seed) + 1e-12) + 1e-9
    _tails(a, n, limit)
    got = n > 0 and _search(a, n, room, limit)
    for i in range(n):
        choice = a.found[i] if got else a.at[a.ask[i]]
        a.free[a.pool[choice]] -= a.devices[choice]
        if choice != a.at[a.ask[i]]:
            _move(a, a.ask[i], choice)
    for k in range(parts):
        a.inside[a.parts[k]] = 0
    a.tally[Tally.CELLS] += 1
    if a.tally[Tally.TOTAL] > a.tally[Tally.BEST]:
        a.tally[Tally.BEST] = a.tally[Tally.TOTAL]
        for k in range(a.tally[Tally.STALE]):
            a.is_stale[a.stale[k]] = 0
        a.tally[Tally.STALE] = 0


@compiled
def exchange(a: Assignment, nodes: int, gone: float) -> int:
    """Deal cells out again until about ``nodes`` nodes were visited; returns how many. ``gone`` runs from 0 to 1.

    It is the share of the whole search that is spent, and decides the temperature. The best plan stays in ``a``.
    """
    heat, done = a.scale[0] * HOT * (COLD / HOT) ** min(1.0, gone), 0
    while done < nodes:
        before = a.tally[Tally.NODES]
        _cell(a, heat)
        done += CELL_NODES + a.tally[Tally.NODES] - before
    return done
