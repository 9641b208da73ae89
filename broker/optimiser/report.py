"""What a solve hands back, and what it shows while it works: plain values that any process can hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from broker.optimiser.problem import Bools, Floats, Plan, Problem, Status

__all__ = ["Earlier", "Prices", "Progress", "Report", "Solved", "gap"]


@dataclass(frozen=True, slots=True)
class Prices:
    """What one more device would be worth to the plan, in money per device-slot; never negative.

    They are multipliers of the Lagrangian relaxation: a placement is worth having when its value exceeds the prices of
    what it occupies, and any non-negative prices prove an upper bound on every plan. They are not marginal values of
    the integer plan: a whole gang may need many more devices than one.
    """

    pools: Floats  # [pools, slots]
    quotas: Floats  # [quotas, slots]
    reserves: Floats  # [reserves, slots] charged to guaranteed requests in every pool that the reserve names

    @staticmethod
    def zero(problem: Problem) -> Prices:
        """Prices of a market with room for everybody."""
        shape = problem.slots
        return Prices(
            np.zeros((len(problem.pools.ids), shape)),
            np.zeros((len(problem.quotas.ids), shape)),
            np.zeros((len(problem.reserves), shape)),
        )

    def suit(self, problem: Problem) -> bool:
        """Whether there is a price for each pool, quota and reserve of a problem in each slot, and none is negative."""
        sizes = (len(problem.pools.ids), len(problem.quotas.ids), len(problem.reserves))
        parts = (self.pools, self.quotas, self.reserves)
        return all(
            part.shape == (size, problem.slots) and bool((part >= 0).all())
            for part, size in zip(parts, sizes, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a plan for nearly the same problem knew: where to start planning again, and what may be left alone."""

    plan: Plan
    prices: Prices
    fresh: Bools  # [requests] new or changed since that plan, or in its way


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a running solve: seconds since it began, the best plan's objective, the proven bound."""

    seconds: float
    objective: int
    bound: float


@dataclass(frozen=True, slots=True)
class Report:
    """How a solve went; ``work`` counts deterministic work units (about a millisecond each)."""

    work: int
    seconds: float
    requests: int
    placed: int
    moved: int  # requests with a present placement that the plan does not keep exactly
    promises_broken: int  # promised requests that the plan leaves out
    rounds: int  # improvement rounds
    refused: int  # plans and bounds of the search that the judge did not believe: anything but 0 is a bug
    trajectory: tuple[Progress, ...]  # each improvement of the objective or the bound, thinned


@dataclass(frozen=True, slots=True)
class Solved:
    """A plan that ``check`` accepts, its exact objective, and a proven bound on the objective of every plan."""

    plan: Plan
    objective: int
    bound: float
    prices: Prices
    status: Status
    report: Report

    @property
    def gap(self) -> float:
        """Share of the bound that the plan may still be missing; 0 is optimal."""
        return gap(self.objective, self.bound)


def gap(objective: int, bound: float) -> float:
    """The public definition: ``(bound - objective) / max(1, |bound|)``."""
    return (bound - objective) / max(1.0, abs(bound))
