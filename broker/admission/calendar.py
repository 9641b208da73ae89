"""Free devices of every pool and quota, slot by slot, kept in step with the ledger one claim at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy

import numpy as np
from numpy.typing import NDArray

from broker.admission.berths import Berths
from broker.admission.demand import ABOVE, Demand
from broker.admission.scan import Board
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import LOANS, Hold, Placement
from broker.domain.fleet import Fleet
from broker.domain.slots import Steps, Window

__all__ = ["PLENTY", "Calendar"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PLENTY = 2**60  # of devices, where there is no quota


class Calendar:
    """The room that is left in ``window``, and what using it costs.

    ``free`` is [pools, slots], negative where supply was lost under what is held; ``room`` is [quotas + 2, slots], the
    last row for whoever has no quota, the one before it for who may have nothing on loan; ``lent`` is what claims hold
    of each pool. ``price`` and ``quota_price`` are running sums of micro-USD for each device-slot, one entry longer
    than the window: running costs and bid prices of pools, bid prices of quotas. ``open`` is what is free on each
    silicon, and ``wanted`` what those worth more than standard, and than spot, are expected to use of it when they
    come; all nothing until ``expect`` says so. ``berths``, where the fleet insures anything, are what guaranteed work
    must leave each other.
    """

    def __init__(self, fleet: Fleet, holds: Iterable[Hold], window: Window, prices: BidPrices | None = None) -> None:
        self.fleet, self.window = fleet, window
        self.pools = {pool.id: row for row, pool in enumerate(fleet.pools)}
        self.quotas = {name: row for row, name in enumerate(fleet.quotas)}
        self._rows = {pool.account: (0, row) for row, pool in enumerate(fleet.pools)}
        self._rows |= {f"tenants/{name}": (1, row) for name, row in self.quotas.items()}
        self.supply = self._levels(pool.supply() for pool in fleet.pools)
        self.room = self._levels(Steps.level(devices) for devices in (*fleet.quotas.values(), 0, PLENTY))
        self.paid = self._levels(self._paid(pool.id) for pool in fleet.pools)
        contracts = [fleet.contract_of(pool.id) for pool in fleet.pools]
        self.overage: Ints = np.array([c.overage_price_microusd if c else 0 for c in contracts], np.int64)
        self.unit: Ints = np.array([pool.unit_cost_microusd for pool in fleet.pools], np.int64)
        self.silicon = {name: row for row, name in enumerate(dict.fromkeys(pool.silicon for pool in fleet.pools))}
        self.kind: Ints = np.array([self.silicon[pool.silicon] for pool in fleet.pools], np.int64)
        self.free, self.lent = self.supply.copy(), np.zeros_like(self.supply)
        self.open = np.zeros((len(self.silicon), window.slots), np.int64)
        np.add.at(self.open, self.kind, self.supply)
        self.scratch = np.zeros((len(self.silicon), window.slots + 1))
        self.berths: Berths | None = None
        self.wanted, self.expects = np.zeros((len(ABOVE), *self.open.shape)), False
        for hold in holds:
            self.take(hold)
        self.set_prices(prices)

    @property
    def priced(self) -> bool:
        """Whether a plan has said what capacity is worth."""
        return self.prices is not None

    def set_prices(self, prices: BidPrices | None) -> None:
        """Let these prices rule; None: capacity is worth what it costs to run."""
        self.prices = prices
        self.price = self._sums([self._priced(prices, "pools", pool) for pool in self.pools], self.unit)
        self.quota_price = self._sums(
            [
                *(self._priced(prices, "tenants", quota) for quota in self.quotas),
                *np.zeros((2, self.window.slots), np.int64),
            ],
            np.zeros(len(self.room), np.int64),
        )

    def expect(self, demand: Demand, now: int) -> None:
        """Let later comers be expected to use this from slot ``now`` on."""
        behind = max(0, now - self.window.first)
        self.wanted = np.zeros_like(self.wanted)
        self.wanted[:, :, behind:] = demand.use(tuple(self.silicon), self.window.slots - behind)
        self.expects = demand.known

    @property
    def board(self) -> Board:
        """What the loop over starts looks at."""
        return Board(
            self.free,
            self.lent,
            self.supply,
            self.paid,
            self.room,
            self.price,
            self.quota_price,
            self.unit,
            self.overage,
            self.kind,
            self.open,
            self.wanted,
            self.scratch,
        )

    @contextmanager
    def beside(self, quota: str) -> Iterator[Callable[[Placement], None]]:
        """A call that counts placements under a quota as used, until the context ends."""
        taken: list[Hold] = []

        def take(placement: Placement) -> None:
            for account in (f"pools/{placement.pool}", f"tenants/{quota}"):
                taken.append(Hold(account, placement.window, placement.devices))
                self.take(taken[-1])

        try:
            yield take
        finally:
            for hold in taken:
                self.give_back(hold)

    def still(self) -> Calendar:
        """A copy that later events leave alone, for a reader on another thread."""
        other = copy(self)
        other.free, other.room, other.lent = self.free.copy(), self.room.copy(), self.lent.copy()
        other.open, other.scratch = self.open.copy(), self.scratch.copy()
        other.berths = self.berths.still() if self.berths is not None else None
        return other

    def take(self, hold: Hold) -> None:
        """Count a hold as used."""
        self._count(hold, 1)

    def give_back(self, hold: Hold) -> None:
        """Count a hold as free again."""
        self._count(hold, -1)

    def row_of(self, quota: str) -> int:
        """The row of ``room`` for a quota, whether it is limited or not."""
        return self.quotas.get(quota, -2 if quota.endswith(LOANS) else -1)

    def price_of(self, pool: str, devices: int, window: Window, quota: str) -> float:
        """What others are expected to make of a run of devices, at bid prices; what it costs to run is left out."""
        row, span = self.pools[pool], self.span(window)
        price = self.price[row, span.stop] - self.price[row, span.start] - self.unit[row] * window.slots
        if (limit := self.quotas.get(quota)) is not None:
            price += self.quota_price[limit, span.stop] - self.quota_price[limit, span.start]
        return float(devices * price)

    def span(self, window: Window) -> slice:
        """The columns of ``window``, as far as it lies in this calendar's."""
        first = max(0, window.first - self.window.first)
        return slice(first, max(first, min(self.window.slots, window.end - self.window.first)))

    def _count(self, hold: Hold, sign: int) -> None:
        where = self._rows.get(hold.account)
        if where is None:
            return
        kind, row = where
        span = self.span(hold.window)
        if kind == 0:
            self.free[row, span] -= sign * hold.devices
            self.lent[row, span] += sign * hold.devices
            self.open[self.kind[row], span] -= sign * hold.devices
        else:
            self.room[row, span] -= sign * hold.devices

    def _paid(self, pool: str) -> Steps:
        contract = self.fleet.contract_of(pool)
        return contract.paid() if contract is not None else Steps()

    def _levels(self, steps: Iterable[Steps]) -> Ints:
        rows = [step.over(self.window) for step in steps]
        return np.array(rows, np.int64).reshape(len(rows), self.window.slots)

    def _priced(self, prices: BidPrices | None, kind: str, name: str) -> Ints:
        """One price for each slot of the window."""
        out = np.zeros(self.window.slots, np.int64)
        known = getattr(prices, kind).get(name, ()) if prices is not None else ()
        if prices is not None and len(known):
            late = prices.first - self.window.first
            part = np.asarray(known[max(0, -late) :], np.int64)[: max(0, self.window.slots - max(0, late))]
            out[max(0, late) : max(0, late) + len(part)] = part
        return out

    def _sums(self, rows: list[Ints], unit: Ints) -> Floats:
        sums = np.zeros((len(rows), self.window.slots + 1))
        if rows:
            np.cumsum(np.stack(rows) + unit[:, None], axis=1, out=sums[:, 1:])
        return sums
