"""The one hot loop of an answer: all starts of an option, from the first on, in machine code.

A slot without room costs about a nanosecond, a start a few: a look at the running sums of prices, and a little more
where room is kept for others or there is overage. It ends once no later start could be worth more than the best, since
prices are never negative and waiting only costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.compiled import compiled, inlined

__all__ = ["NO_LIMIT", "Board", "Limit", "scan", "warm"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


TINY = 1e-6  # device-slots: what sums of expected use may be off


class Board(NamedTuple):
    """What a calendar looks like to the loop; [pools, slots] and [quotas + 2, slots], the last row without a limit."""

    free: Ints
    lent: Ints
    supply: Ints
    paid: Ints
    room: Ints
    price: Floats  # running sums, one entry longer
    quota_price: Floats  # running sums, one entry longer
    unit: Ints  # [pools] money for each device-slot
    overage: Ints  # [pools] money for each device-slot above what is paid for
    kind: Ints  # [pools] its silicon, as a row of the next two
    open: Ints  # [silicon, slots] free devices of all pools
    wanted: Floats  # [2, silicon, slots] what those worth more, who have not asked yet, are expected to use
    spare: Floats  # [silicon, slots + 1] scratch


class Limit(NamedTuple):
    """What must be left for others over the time of a placement, on average; the default leaves them nothing.

    At most ``percent`` of a pool is in use then, the placement included; of all pools of the silicon at least ``times``
    what row ``above`` of the expected use says stays free (-1: nothing).
    """

    percent: int = 100
    above: int = -1
    times: float = 0.0


NO_LIMIT = Limit()


@inlined
def _sum_up(b: Board, ways: Ints, limit: Limit) -> None:
    """Running sums, for each silicon and as far as these options reach, of what is open and need not be kept."""
    for kind in range(len(b.open)):
        first, end = len(b.open[kind]), 0
        for k in range(len(ways)):
            if b.kind[ways[k, 0]] == kind:
                first, end = min(first, ways[k, 3]), max(end, ways[k, 4] + ways[k, 2])
        total = 0.0
        for slot in range(first, end):
            b.spare[kind, slot] = total
            total += b.open[kind, slot] - limit.times * b.wanted[limit.above, kind, slot]
        b.spare[kind, max(0, end)] = total


@compiled
def scan(  # noqa: C901, PLR0912 - calls would copy the board
    b: Board, ways: Ints, money: Floats, quota: int, limit: Limit, worth: Floats, start: Ints
) -> None:
    """The best start of each option, and what is left of its value there: ``-inf`` where it fits nowhere.

    A row of ``ways`` is pool, devices, slots, first start, last start, punctual start; one of ``money`` is the value of
    a punctual start and what each slot of waiting costs. Slots count from the first of the calendar.
    """
    keeps, has_share = limit.above >= 0, limit.percent < 100
    if keeps:
        _sum_up(b, ways, limit)
    for k in range(len(ways)):
        p, devices, slots = ways[k, 0], ways[k, 1], ways[k, 2]
        first, last, due = ways[k, 3], ways[k, 4], ways[k, 5]
        value, late = money[k, 0], money[k, 1]
        best, at = -np.inf, -1
        cheapest = float(b.unit[p] * devices * slots)
        has_overage, kind = b.overage[p] > 0, b.kind[p]
        run, over, unused = 0, 0, 0  # slots free without a break; sums over the run's last ``slots``
        for entered in range(first, last + slots):
            if b.free[p, entered] < devices or b.room[quota, entered] < devices:
                run = over = unused = 0
                continue
            run += 1
            if has_overage:
                over += min(devices, max(0, b.lent[p, entered] + devices - b.paid[p, entered]))
            if has_share:
                unused += limit.percent * b.supply[p, entered] - 100 * b.lent[p, entered]
            if run < slots:
                continue
            s = entered + 1 - slots
            if run > slots:
                if has_overage:
                    over -= min(devices, max(0, b.lent[p, s - 1] + devices - b.paid[p, s - 1]))
                if has_share:
                    unused -= limit.percent * b.supply[p, s - 1] - 100 * b.lent[p, s - 1]
            waited = max(0, s - due)
            if value - late * waited - cheapest <= best:
                break
            if has_share and unused < 100 * devices * slots:
                continue
            if keeps and b.spare[kind, s + slots] - b.spare[kind, s] < devices * slots - TINY:
                continue
            price = b.price[p, s + slots] - b.price[p, s] + b.quota_price[quota, s + slots] - b.quota_price[quota, s]
            left = value - late * waited - devices * price - float(b.overage[p] * over)
            if left > best:
                best, at = left, s
        worth[k], start[k] = best, at


def warm() -> None:
    """Load the loop, or compile it on a machine that never ran it, so that no caller waits for that."""
    levels, sums, pools = np.zeros((1, 1), np.int64), np.zeros((1, 2)), np.zeros(1, np.int64)
    wanted = np.zeros((2, 1, 1))
    board = Board(levels, levels, levels, levels, levels, sums, sums, pools, pools, pools, levels, wanted, sums)
    scan(board, np.zeros((0, 6), np.int64), np.zeros((0, 2)), -1, NO_LIMIT, np.zeros(0), np.zeros(0, np.int64))
