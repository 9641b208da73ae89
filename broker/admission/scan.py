"""The one hot loop of an answer: all starts of an option, from the first on, in machine code.

A slot without room costs about a nanosecond, a start a few: a look at the running sums of prices, and a little more
where a pool may not get too full or has overage. It ends once no later start could be worth more than the
best, since prices are never negative and waiting only costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.compiled import compiled

__all__ = ["Board", "scan", "warm"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Board(NamedTuple):
    """What a calendar looks like to the loop; [pools, slots] and [quotas + 1, slots], the last row without a limit."""

    free: Ints
    lent: Ints
    supply: Ints
    paid: Ints
    room: Ints
    price: Floats  # running sums, one entry longer
    quota_price: Floats  # running sums, one entry longer
    unit: Ints  # [pools] money for each device-slot
    overage: Ints  # [pools] money for each device-slot above what is paid for


@compiled
def scan(  # noqa: C901 - calls would copy the board
    b: Board, ways: Ints, money: Floats, quota: int, percent: int, worth: Floats, start: Ints
) -> None:
    """The best start of each option, and what is left of its value there: ``-inf`` where it fits nowhere.

    A row of ``ways`` is pool, devices, slots, first start, last start, punctual start; one of ``money`` is the value of
    a punctual start and what each slot of waiting costs. Slots count from the first of the calendar.
    """
    for k in range(len(ways)):
        p, devices, slots = ways[k, 0], ways[k, 1], ways[k, 2]
        first, last, due = ways[k, 3], ways[k, 4], ways[k, 5]
        value, late = money[k, 0], money[k, 1]
        best, at = -np.inf, -1
        cheapest = float(b.unit[p] * devices * slots)
        has_overage, has_share = b.overage[p] > 0, percent < 100
        run, over, spare = 0, 0, 0  # slots free without a break; sums over the run's last ``slots``
        for entered in range(first, last + slots):
            if b.free[p, entered] < devices or b.room[quota, entered] < devices:
                run = over = spare = 0
                continue
            run += 1
            if has_overage:
                over += min(devices, max(0, b.lent[p, entered] + devices - b.paid[p, entered]))
            if has_share:
                spare += percent * b.supply[p, entered] - 100 * b.lent[p, entered]
            if run < slots:
                continue
            s = entered + 1 - slots
            if run > slots:
                if has_overage:
                    over -= min(devices, max(0, b.lent[p, s - 1] + devices - b.paid[p, s - 1]))
                if has_share:
                    spare -= percent * b.supply[p, s - 1] - 100 * b.lent[p, s - 1]
            waited = max(0, s - due)
            if value - late * waited - cheapest <= best:
                break
            if has_share and spare < 100 * devices * slots:
                continue
            price = b.price[p, s + slots] - b.price[p, s] + b.quota_price[quota, s + slots] - b.quota_price[quota, s]
            left = value - late * waited - devices * price - float(b.overage[p] * over)
            if left > best:
                best, at = left, s
        worth[k], start[k] = best, at


def warm() -> None:
    """Load the loop, or compile it on a machine that never ran it, so that no caller waits for that."""
    levels, sums, pools = np.zeros((1, 1), np.int64), np.zeros((1, 2)), np.zeros(1, np.int64)
    board = Board(levels, levels, levels, levels, levels, sums, sums, pools, pools)
    scan(board, np.zeros((0, 6), np.int64), np.zeros((0, 2)), -1, 100, np.zeros(0), np.zeros(0, np.int64))
