"""What those who have not asked yet will need, from who asked before: room to keep for them, or prices to charge.

Both look at the free devices of the whole market, slot by slot from now: a short claim may use what a long one may not,
since those who come later need little of it soon. The room kept is the expected use by those worth more. The prices
average a few demand scenarios, each a shuffle of past days: in how many of them would the last device be missed, and by
whom (the averaging is that of Talluri and van Ryzin 1999, "A randomized linear programming method for computing network
bid prices"; the scenarios here are counted, not solved).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.bookings import Limit

__all__ = ["Arrivals", "PriceLimit", "RoomLimit", "kept", "scenario_prices"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DAY = 24  # slots that stay together when past days are shuffled: the trace has a daily rhythm
SCENARIOS = 48


class Arrivals(NamedTuple):
    """Who asked before, one entry each, in ``seen`` slots; rank 0 is worth most a device-slot."""

    slot: Ints
    devices: Ints
    slots: Ints
    rank: Ints
    seen: int

    def followed_by(self, later: Arrivals) -> Arrivals:
        """These, and after their slots the others."""
        slot = np.concatenate((self.slot, later.slot + self.seen))
        devices, slots = np.concatenate((self.devices, later.devices)), np.concatenate((self.slots, later.slots))
        return Arrivals(slot, devices, slots, np.concatenate((self.rank, later.rank)), self.seen + later.seen)


def kept(arrivals: Arrivals, rank: int, reach: int) -> Floats:
    """Devices that later comers of lower rank are expected to use, for each slot from now on.

    Who comes uniformly over time and starts at once uses, ``h`` slots from now, as many devices as arrive in a slot
    times the slots of ``min(length, h)``.
    """
    above = arrivals.rank < rank
    lengths = np.minimum(arrivals.slots[above], reach)
    # One more device for each slot of lead up to its length: the sums of a histogram of lengths.
    running = np.bincount(lengths, arrivals.devices[above], minlength=reach + 1)
    longer = running.sum() - np.cumsum(running)
    return np.concatenate((np.zeros(1), np.cumsum(longer)[:-1]))[:reach] / arrivals.seen


def scenario_prices(arrivals: Arrivals, worth: Floats, devices: int, reach: int, *, seed: int) -> Floats:
    """[reach, devices + 1] what the last of so many free devices is expected to be worth, so many slots from now.

    ``worth`` is the value of a device-slot by rank; in a scenario the device is worth that of the least rank whose
    demand, with all above, would need it.
    """
    rng = np.random.default_rng(seed)
    free = np.arange(devices + 1)
    total = np.zeros((reach, devices + 1))
    days = -(-reach // DAY)
    for _ in range(SCENARIOS):
        drawn = rng.integers(0, max(1, arrivals.seen - DAY + 1), days)
        need = np.zeros(reach)
        price = np.zeros((reach, devices + 1))
        for rank, value in enumerate(worth):
            need += _use(arrivals, rank, drawn, reach)
            price = np.where((price == 0) & (need[:, None] > free - 1), value, price)
        total += price
    prices: Floats = total / SCENARIOS
    return prices


def _use(arrivals: Arrivals, rank: int, drawn: Ints, reach: int) -> Floats:
    """Devices in use by one rank, if the days ahead are those that begin at the slots ``drawn``."""
    use = np.zeros(reach + 1)
    for day, begin in enumerate(drawn):
        here = (arrivals.rank == rank) & (arrivals.slot >= begin) & (arrivals.slot < begin + DAY)
        first = np.minimum(arrivals.slot[here] - begin + day * DAY, reach)
        np.add.at(use, first, arrivals.devices[here])
        np.add.at(use, np.minimum(first + arrivals.slots[here], reach), -arrivals.devices[here])
    summed: Floats = np.cumsum(use)[:reach]
    return summed


@dataclass(frozen=True, slots=True)
class RoomLimit:
    """Use no more than what is left above ``kept`` over a claim's time; ``now`` is a slot of the board."""

    kept: Floats
    now: int
    devices: int

    def __call__(self, free: Ints) -> Limit:
        """The limit on a board."""
        short = self.kept[: free.shape[1] - self.now] - free[:, self.now :].sum(axis=0) + self.devices
        return Limit(_sums(short, self.now), 0.0)


@dataclass(frozen=True, slots=True)
class PriceLimit:
    """Pay no more than ``budget`` for what the devices would be worth to later comers."""

    prices: Floats
    now: int
    devices: int
    budget: float

    def __call__(self, free: Ints) -> Limit:
        """The limit on a board."""
        left = free[:, self.now :].sum(axis=0)
        rows = np.arange(len(left))
        each = [self.prices[rows, np.clip(left - n, 0, self.prices.shape[1] - 1)] for n in range(self.devices)]
        return Limit(_sums(np.sum(each, axis=0), self.now), self.budget)


def _sums(charges: Floats, now: int) -> Floats:
    """Running sums over the whole board; what is past is free."""
    return np.concatenate((np.zeros(now + 1), np.cumsum(charges)))
