"""The steps of a solve over one shared state: the best plan, the best bound, and the work done so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice

import numpy as np

from broker.optimiser import pace
from broker.optimiser.apart import Apart
from broker.optimiser.assignment import Tally, best_rows, new_assignment, suits
from broker.optimiser.cells import exchange
from broker.optimiser.columns import Interrupted, best_columns, guide, second_thread
from broker.optimiser.construct import insert_until, orders, settle
from broker.optimiser.heat import first_heat
from broker.optimiser.ordering import blurred
from broker.optimiser.prices import Pricing
from broker.optimiser.problem import Bools, Floats, Ints, Plan, Problem
from broker.optimiser.report import Earlier, Prices
from broker.optimiser.rounding import rounded
from broker.optimiser.search import rivals
from broker.optimiser.sides import Wishes, improve_sides, new_wishes
from broker.optimiser.state import Calendar, Guide
from broker.optimiser.stop import Stop
from broker.optimiser.sweep import Sweep
from broker.optimiser.tables import Pruned, plan_of, rows_of, tables

__all__ = ["Descent"]


class Descent:
    """One solve under way; every method leaves the best plan so far in ``best``.

    Plans are compared by promises kept, then by money. Inside, money is in the unit of the tables.
    """

    def __init__(
        self,
        problem: Problem,
        pruned: Pruned,
        stop: Stop,
        seed: int,
        show: Callable[[int, float], None],
        earlier: Earlier | None = None,
        known: float = math.inf,  # a bound, in the money of the problem
    ) -> None:
        self._earlier = earlier
        self.problem, self.pruned = problem, pruned
        self.work = 0
        self.rounds = 0
        self._stop, self._seed, self._show = stop, seed, show
        self._t = tables(problem, pruned)
        self._lost = int(self._t.move.sum())
        size = len(self._t.quota)
        self.best: tuple[Ints, Ints] = (np.full(size, -1, np.int64), np.zeros(size, np.int64))
        self._total = 0
        self._kept = 0
        self._previous: list[tuple[Ints, Ints]] = []
        self._starts: list[tuple[Ints, Ints]] = []
        unit = self._t.money
        start = Prices.zero(problem) if earlier is None else earlier.prices
        start = Prices(start.pools / unit, start.quotas / unit, start.reserves / unit)
        self._pricing = Pricing(self._t, start)
        self._near = rivals(self._t)
        self._other_bound = known / unit
        self._deals = suits(self._t)

    @property
    def bound(self) -> float:
        """The least bound proven so far, in the money of the problem."""
        return self._bound * self._t.money

    @property
    def prices(self) -> Prices:
        """The prices of the best bound, in the money of the problem."""
        prices, money = self._pricing.prices, self._t.money
        return Prices(prices.pools * money, prices.quotas * money, prices.reserves * money)

    @property
    def _bound(self) -> float:
        return min(self._pricing.best, self._other_bound)

    @property
    def _objective(self) -> int:
        """What the best plan is worth by the books of the search: exact while the unit is 1, never too little."""
        return self._total - self._lost

    def _tell(self) -> None:
        self._show(self._objective * self._t.money, self.bound)

    def plan(self) -> Plan:
        """The best plan in the numbering of the problem."""
        return plan_of(self.problem, self.pruned, *self.best)

    def fallbacks(self) -> list[tuple[Ints, Ints]]:
        """A few earlier bests, newest first, in case the judge refuses the best."""
        return self._previous[::-1]

    def finished(self) -> bool:
        """Whether the budget is spent or the plan is proven best."""
        return self._stop.spent(self.work) >= 1 or self._proven()

    def _enough(self) -> bool:
        """Whether the budget is spent; asked inside a step, so that even a long one ends soon after."""
        return self._stop.spent(self.work) >= 1

    def _proven(self) -> bool:
        return not self._broken() and self._bound < math.inf and self._objective >= math.floor(self._bound)

    def _broken(self) -> bool:
        return self._kept < int(self._t.promised.sum())

    def settle(self, plans: Sequence[Plan]) -> None:
        """Start from the best of some plans, as far as each still fits; repair broken promises, and price once."""
        for plan in plans:
            calendar, total = settle(self._t, rows_of(self.problem, self.pruned, plan), plan.start)
            self._keep(calendar.row, calendar.start, total)
        if self._broken():
            with suppress(Interrupted):
                self._repair()
        self._step()

    def _repair(self) -> None:
        """Search places for promised requests alone, everybody else removed; who still fits with them comes back."""
        t = self._t
        promised, (row, start) = t.promised == 1, self.best
        calendar, total = settle(t, np.where(promised, self.best[0], -1), self.best[1])
        g, wishes = self._wishes()
        order = np.flatnonzero(promised & (wishes.top >= 0))
        order = order[np.argsort(-t.devices[wishes.top[order]] * t.length[wishes.top[order]], kind="stable")]
        total += insert_until(t, calendar, g, wishes.ideal, order, self._enough)
        self._keep(calendar.row, calendar.start, total)
        rng = np.random.default_rng(self._seed)
        for _ in range(pace.REPAIRS):
            waiting = promised & (calendar.row < 0) & (wishes.top >= 0)
            if not waiting.any() or self._stop.spent(self.work) >= pace.REPAIR_SHARE:
                break
            done = improve_sides(t, calendar, g, wishes, 0.0, pace.REPAIR_TRIES, rng, waiting, enough=self._enough)
            self.work += 1 + done.tried // pace.TRIES_PER_WORK
            total += done.gained
            self._keep(calendar.row, calendar.start, total)
        calendar, total = settle(t, np.where(promised, self.best[0], row), np.where(promised, self.best[1], start))
        self._keep(calendar.row, calendar.start, total)

    def _keep(self, row: Ints, start: Ints, total: int) -> None:
        kept = self._promises(row)
        if (kept, total) > (self._kept, self._total):
            self._previous = [*self._previous[-1:], self.best]
            self.best, self._total, self._kept = (row.copy(), start.copy()), int(total), kept
            self._tell()

    def _promises(self, row: Ints) -> int:
        return int(self._t.promised[row >= 0].sum())

    def _step(self) -> None:
        before = self._pricing.best
        # The first step is never cut short: without it nothing is proven.
        enough = None if self._bound == math.inf else self._enough
        try:
            self._pricing.step(self._objective, enough)
        except Interrupted:
            return
        self.work += 1 + self._pricing.columns // pace.COLUMNS_PER_WORK
        if self._pricing.best < before * (1 - 1e-4) or before == math.inf:
            self._tell()

    def price(self) -> None:
        """Sweep for prices, then improve them until they settle or have had their share; plans on the way."""
        begun = self._stop.spent(self.work)
        rise = math.log10(max(1.0, self._pricing.columns / pace.PRICE_COLUMNS))
        share = (pace.PRICE_SHARE + pace.PRICE_SHARE_RISE * rise) * (1 - begun)
        allowed = begun + share
        self._sweep(begun, begun + pace.SWEEP_SHARE * share)
        self._construct(1)
        while self._pricing.passes < pace.PASSES_MAX and not self._pricing.converged() and not self._proven():
            if self._stop.spent(self.work) >= (max(allowed, pace.DEAL_PRICE_SHARE) if self._deals else allowed):
                break
            self._step()
        self._construct(4)

    def _sweep(self, begun: float, allowed: float) -> None:
        """Find first prices; a bound is proven with them now and then."""
        sweep = Sweep(self._t, self._pricing.prices, self._seed)
        for n in range(pace.SWEEPS):
            spent = (self._stop.spent(self.work) - begun) / max(1e-9, allowed - begun)
            if spent >= 1 or self._proven():
                break
            sweep.run(max(spent, n / pace.SWEEPS), self._enough)
            self.work += 1 + self._pricing.columns // pace.COLUMNS_PER_WORK
            if n % 10 == 9:
                self._prove(sweep.prices)
        self._prove(sweep.prices)

    def _prove(self, prices: Prices) -> None:
        self._pricing.move_to(prices)
        self._step()

    def _construct(self, count: int) -> None:
        """Greedy plans from nothing and from the best plan, in the first ``count`` orders."""
        t, (g, wishes) = self._t, self._wishes()
        best_row, best_start = self.best
        promises = np.where(t.promised == 1, best_row, -1)
        for n, order in enumerate(orders(t, wishes.peak, wishes.top)):
            if n >= count:
                break
            for row in (best_row,) if (promises == best_row).all() else (promises, best_row):
                if self._stop.spent(self.work) >= 1 and self._total > 0:
                    return
                calendar, total = settle(t, row, best_start)
                total += insert_until(t, calendar, g, wishes.ideal, order, self._enough)
                self.work += 1 + len(order) // pace.TRIES_PER_WORK
                self._keep(calendar.row, calendar.start, total)

    def order(self) -> None:
        """Blur the order of the best greedy plan again and again, two at a time; keep the better ones."""
        t, (g, wishes) = self._t, self._wishes()
        begun, rng = self._stop.spent(self.work), np.random.default_rng(self._seed)
        allowed = begun + pace.ORDER_SHARE * (1 - begun)
        promised = np.where(t.promised == 1, self.best[0], -1)
        plans = blurred(t, g, wishes, promised, self.best[1], rng, self._enough)
        best, idle = -1, 0
        while self._stop.spent(self.work) < allowed and idle < pace.ORDER_PATIENCE and not self._proven():
            idle += 1
            for calendar, total in islice(plans, 2):
                self._keep(calendar.row, calendar.start, total)
                if total > best:
                    best, idle = total, 0
            self.work += max(1, 2 * len(promised) // pace.TRIES_PER_WORK)

    def close(self) -> None:
        """Where few columns can still matter, search them exactly."""
        from broker.optimiser.exact import Exact, survivors
        from broker.optimiser.model import Effort

        t = self._t
        if self._broken():
            return
        g = guide(t, self._pricing.prices)
        found = best_columns(t, g, self._enough)
        short = self._pricing.best - self._objective
        columns = survivors(t, g, found.worth, short * (1 + 1e-9) + 1e-6)
        if columns is None:
            return
        begun = self._stop.spent(self.work)
        allowed = begun + (pace.DEAL_CLOSE_SHARE if self._deals else pace.CLOSE_SHARE) * (1 - begun)
        exact, wish, is_optimal = Exact(t, columns, self.best), 1.0, False
        # Longer and longer, so that a budget in work and one in seconds both end it in time.
        while self._stop.spent(self.work) < allowed and not is_optimal and not self._proven():
            limit = self._deterministic_seconds(allowed, wish)
            closed = exact.search(Effort(limit, self._seed, lambda: self._stop.spent(self.work) >= allowed))
            self.work += max(1, int(1000 * limit))
            wish *= 3
            if closed is not None:
                is_optimal = closed.is_optimal
                calendar, total = settle(t, closed.row, closed.start)
                self._keep(calendar.row, calendar.start, total)
                self._other_bound = min(self._other_bound, max(closed.bound - self._lost, float(self._objective)))
                self._tell()

    def _deterministic_seconds(self, allowed: float, wish: float) -> float:
        """As long as wished, but no longer than a budget in work has left: halve until it would not overrun."""
        while wish > 0.01 and self._stop.spent(self.work + int(1000 * wish)) > allowed:
            wish /= 2
        return wish

    def deal(self) -> None:
        """A problem of one slot: deal cells out again on two threads, until the budget is spent."""
        if not self._deals:
            return
        t, g = self._t, guide(self._t, self._pricing.prices)
        searches = [new_assignment(t, g, self.best[0], self._seed * 2 + n) for n in range(2)]
        begun, start = self._stop.spent(self.work), np.full(len(t.quota), t.low[0])
        while not self.finished():
            gone = (self._stop.spent(self.work) - begun) / max(1e-9, 1 - begun)
            second = second_thread().submit(exchange, searches[1], pace.DEAL_NODES, gone)
            done = int(exchange(searches[0], pace.DEAL_NODES, gone)) + int(second.result())
            self.work += max(1, done // pace.NODES_PER_WORK)
            for search in searches:
                self._keep(best_rows(search), start, int(search.tally[Tally.BEST]))
        self.rounds += sum(int(search.tally[Tally.CELLS]) for search in searches)

    def apart(self) -> None:
        """Tighten the bound with pools taken apart, as long as that pays."""
        if self._deals or self._pricing.columns > pace.APART_COLUMNS:
            return
        begun, pools = self._stop.spent(self.work), Apart(self._t, self._pricing.prices, self._bound)
        allowed = begun + pace.APART_SHARE * (1 - begun)
        while pools.pays and self._stop.spent(self.work) < allowed and not self._proven():
            before = pools.columns
            # A first step is long beside a short budget, of which the plan is to have its share.
            pools.step(self._objective, lambda: self._stop.spent(self.work) >= allowed)
            self.work += 1 + (pools.columns - before) // pace.COLUMNS_PER_WORK
            self._other_bound = min(self._other_bound, max(pools.bound, float(self._objective)))
        self._tell()
        if pools.stands.any():
            self._round(pools.stands)

    def _round(self, stands: Floats) -> None:
        """Greedy plans with large gangs where they stand in pools taken apart; the best few are kept to start from."""
        t, (g, wishes) = self._t, self._wishes()
        begun, rng, (row, start) = self._stop.spent(self.work), np.random.default_rng(self._seed), self.best
        allowed, promised = begun + pace.ROUND_SHARE * (1 - begun), np.where(t.promised == 1, row, -1)
        plans = rounded(t, g, wishes, promised, start, stands, rng, self._enough)
        found, mine = list[tuple[int, int, Ints, Ints]](), (self._kept, self._total, row, start)
        while self._stop.spent(self.work) < allowed and not self._proven():
            for calendar, total in islice(plans, 2):
                self._keep(calendar.row, calendar.start, total)
                found.append((self._promises(calendar.row), total, calendar.row, calendar.start))
            self.work += max(1, 4 * len(row) // pace.TRIES_PER_WORK)
            found = sorted(found, key=lambda one: one[:2], reverse=True)[: pace.ANNEALS - 1]
        found = sorted([mine, *found], key=lambda one: one[:2], reverse=True)
        self._starts = [(row, start) for _, _, row, start in found]

    def improve(self) -> None:
        """Ruin and recreate, refining prices in between, until the budget is spent or the plan is proven best.

        A small market starts several times: which large gangs come in is luck, and soon settled.
        """
        t, starts = self._t, self._starts or [self.best]
        calendar, _ = settle(t, *starts[0])
        g, wishes = self._wishes()
        guided_by, begun, worked, priced = self._pricing.best, self._stop.spent(self.work), self.work, 0
        heat, tried = first_heat(t, calendar, g, wishes, pace.EPOCH // 4, self._seed, self._enough)
        self.work += 1 + tried // pace.TRIES_PER_WORK
        rng = np.random.default_rng(self._seed)
        anneals, anneal = self._anneals((self._stop.spent(self.work) - begun) / max(1, tried)), -1
        total = kept = 0
        while not self.finished():
            gone = anneals * (self._stop.spent(self.work) - begun) / max(1e-9, 1 - begun)
            if int(gone) > anneal:
                anneal = int(gone)
                calendar, total = settle(t, *starts[anneal % len(starts)])
                kept = self._promises(calendar.row)
            warmth = heat * max(0.0, 1 - (gone - anneal) / pace.ANNEAL_SHARE)
            done = improve_sides(t, calendar, g, wishes, warmth, pace.EPOCH, rng, enough=self._enough)
            self.work += 1 + done.tried // pace.TRIES_PER_WORK
            self.rounds += done.rounds
            if (kept + done.best_kept, total + done.best_gained) > (self._kept, self._total):
                self._keep(done.best_row, done.best_start, total + done.best_gained)
            total, kept = total + done.gained, kept + done.kept
            if not self._pricing.converged() and priced <= pace.REFINE_SHARE * (self.work - worked):
                before = self.work
                self._step()
                priced += self.work - before
                if self._pricing.best < guided_by - 0.05 * abs(guided_by - self._objective):
                    guided_by = self._pricing.best
                    g, wishes = self._wishes()

    def _anneals(self, share: float) -> int:
        """How many anneals there is time for, where an insertion takes this share of the budget."""
        requests = len(self._t.quota)
        if share <= 0 or requests > pace.ANNEALS_REQUESTS:
            return 1
        left = (1 - self._stop.spent(self.work)) / share
        return max(1, min(pace.ANNEALS, int(left / (pace.ANNEAL_TRIES * requests))))

    def mend(self) -> None:
        """Find places for those who are fresh or lost theirs, until all have one or have been tried often enough."""
        assert self._earlier is not None
        t = self._t
        calendar, total = settle(t, *self.best)
        stood = self._earlier.plan.option >= 0
        g, wishes = self._wishes()
        order = np.flatnonzero(self._waiting(calendar, stood))
        order = order[np.argsort(-wishes.peak[order], kind="stable")]
        promised = t.promised[order] == 1
        order = np.concatenate((order[promised], order[~promised]))
        total += insert_until(t, calendar, g, wishes.ideal, order, self._enough)
        self._keep(calendar.row, calendar.start, total)
        rng = np.random.default_rng(self._seed)
        for _ in range(pace.MENDS):
            waiting = self._waiting(calendar, stood)
            if self.finished() or not waiting.any():
                return
            tries = min(pace.EPOCH, pace.MEND_TRIES * int(waiting.sum()))
            done = improve_sides(t, calendar, g, wishes, 0.0, tries, rng, waiting, pace.PUSH, self._enough)
            self.work += 1 + done.tried // pace.TRIES_PER_WORK
            self.rounds += done.rounds
            total += done.gained
            self._keep(calendar.row, calendar.start, total)

    def _waiting(self, calendar: Calendar, stood: Bools) -> Bools:
        """Who is out and is fresh or had a place in the earlier plan."""
        assert self._earlier is not None
        waiting: Bools = (calendar.row < 0) & (self._earlier.fresh | stood)
        return waiting

    def _wishes(self) -> tuple[Guide, Wishes]:
        """The guide of the best prices, and what everybody would like at them; ``Interrupted`` when time is up."""
        g = guide(self._t, self._pricing.prices)
        return g, new_wishes(self._t, g, self._near, self._enough)
