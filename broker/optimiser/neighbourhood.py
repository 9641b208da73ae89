"""Small neighbourhoods solved by CP-SAT: a stretch of a few pools, with the claims that stand there and their rivals.

Everything else stays where it is. Each free request brings its present column and its best others by reduced value,
so the prices decide what is worth looking at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from broker.optimiser.compiled import compiled
from broker.optimiser.model import Effort, choose
from broker.optimiser.problem import Floats, Ints
from broker.optimiser.state import Calendar, Guide, change, fits, score
from broker.optimiser.tables import Tables

__all__ = ["Shape", "reopen"]


LOOKED_AT = 20_000  # columns of one request


class Shape(NamedTuple):
    """How large a neighbourhood is."""

    pools: int = 3
    free: int = 60  # requests that may move
    rivals: int = 30  # of them, requests that are left out at present
    columns: int = 12  # columns for each
    deterministic_seconds: float = 0.1


def reopen(
    t: Tables,
    c: Calendar,
    g: Guide,
    ideal: Floats,
    shape: Shape,
    rng: np.random.Generator,
    enough: Callable[[], bool] | None = None,
) -> int:
    """Re-plan one random neighbourhood in ``c``; returns what the objective gains, never below 0, promises kept."""
    free = _free(t, c, ideal, shape, rng)
    before = [(int(r), int(c.row[r]), int(c.start[r])) for r in free]
    out = 0
    for r, row, _ in before:
        if row >= 0:
            out += change(t, c, r, -1, 0)
    request, rows, starts, hint = _columns(t, c, g, before, shape)
    found = None
    if len(request):
        effort = Effort(shape.deterministic_seconds, int(rng.integers(2**31)), enough)
        must = np.zeros(len(t.quota), np.bool_)
        must[request[hint]] = t.promised[request[hint]] == 1
        found = choose(t, c, request, rows, starts, hint, must, effort)
    total = out
    if found is not None:
        for k in found.chosen:
            total += change(t, c, int(request[k]), int(rows[k]), int(starts[k]))
    if total > 0:
        return total
    for r, _, _ in before:
        change(t, c, r, -1, 0)
    for r, row, start in before:
        if row >= 0:
            change(t, c, r, row, start)
    return 0


def _free(t: Tables, c: Calendar, ideal: Floats, shape: Shape, rng: np.random.Generator) -> Ints:
    """Requests of a random stretch of random pools, and rivals that would like to be there."""
    slots, pools = t.capacity.shape[1], len(t.unit)
    chosen = rng.permutation(pools)[: shape.pools]
    middle = int(rng.integers(slots))
    placed = np.flatnonzero(c.row >= 0)
    inside = placed[np.isin(t.pool[c.row[placed]], chosen)]
    centre = c.start[inside] + t.length[c.row[inside]] / 2
    away = np.maximum(0.0, np.abs(centre - middle) - t.length[c.row[inside]] / 2)
    inside = inside[np.argsort(away, kind="stable")][: shape.free - shape.rivals]
    if not len(inside):
        return inside
    low = int(c.start[inside].min())
    high = int((c.start[inside] + t.length[c.row[inside]]).max())
    owner = np.repeat(np.arange(len(t.quota)), np.diff(t.first))
    near = (t.low < high) & (t.high + t.length > low) & np.isin(t.pool, chosen) & (c.row[owner] < 0)
    worth = np.full(len(t.quota), -np.inf)
    np.maximum.at(worth, owner[near], ideal[near])
    rivals = np.flatnonzero(worth > -np.inf)
    keen = worth[rivals] / np.maximum(1.0, t.value[t.first[rivals]]) + rng.random(len(rivals)) * 0.5
    return np.concatenate((inside, rivals[np.argsort(-keen, kind="stable")][: shape.rivals]))


@compiled
def _roomy(t: Tables, c: Calendar, g: Guide, request: int, rows: Ints, starts: Ints, worths: Floats) -> int:
    """Write down the columns of a request that have room, as many as the arrays hold."""
    n = 0
    for row in range(t.first[request], t.first[request + 1]):
        for start in range(t.low[row], t.high[row] + 1):
            if n < len(rows) and fits(t, c, request, row, start):
                rows[n], starts[n], worths[n] = row, start, score(t, g, request, row, start)
                n += 1
    return n


def _columns(
    t: Tables, c: Calendar, g: Guide, before: list[tuple[int, int, int]], shape: Shape
) -> tuple[Ints, Ints, Ints, Ints]:
    """The columns of the free requests that have room in ``c``: ``(request, row, start, hint)``."""
    request: list[int] = []
    rows: list[int] = []
    starts: list[int] = []
    hint: list[int] = []
    row_of, start_of, worth_of = np.zeros(LOOKED_AT, np.int64), np.zeros(LOOKED_AT, np.int64), np.zeros(LOOKED_AT)
    for r, old_row, old_start in before:
        n = int(_roomy(t, c, g, r, row_of, start_of, worth_of))
        top = np.argsort(-worth_of[:n], kind="stable")[: shape.columns]
        kept = set(zip(row_of[top].tolist(), start_of[top].tolist(), strict=True))
        if old_row >= 0:
            kept.add((old_row, old_start))
        for row, start in sorted(kept):
            if (row, start) == (old_row, old_start):
                hint.append(len(request))
            request.append(r)
            rows.append(row)
            starts.append(start)
    columns = [np.array(x, np.int64) for x in (request, rows, starts, hint)]
    return columns[0], columns[1], columns[2], columns[3]
