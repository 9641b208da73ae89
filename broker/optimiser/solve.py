"""The front door: a problem in, the best plan found and a proven bound out.

The steps are those of ``docs/optimiser.md``: a first plan, prune, settle what is known, price and construct, better
the order of construction, close what is small exactly, deal out what has one slot, take pools apart for a tighter
bound, improve until the budget is spent, and let ``check`` judge the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import numpy as np

from broker.optimiser.check import check
from broker.optimiser.columns import Interrupted
from broker.optimiser.descent import Descent
from broker.optimiser.opening import opening
from broker.optimiser.problem import Plan, Problem, Status
from broker.optimiser.prune import prune
from broker.optimiser.report import Earlier, Prices, Progress, Report, Solved
from broker.optimiser.stop import Stop
from broker.optimiser.tables import Pruned, plan_of, tables, uncut

__all__ = ["Earlier", "Prices", "Progress", "Report", "Solved", "solve"]

TRAJECTORY_MAX = 500
ROUNDING = 1e-9  # of a bound


def solve(
    problem: Problem,
    *,
    stop: Stop,
    seed: int,
    hint: Plan | None = None,
    earlier: Earlier | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Solved:
    """The best plan found before ``stop`` says enough; everything it knows is in its arguments.

    The plan keeps every rule, and is never worse than a valid ``hint``: it is the hint itself unless a strictly better
    one was found. Promised requests all stay placed when their present placements fit together; otherwise as many as
    were found to fit, and ``report.promises_broken`` counts the rest. With ``earlier`` it plans again: it keeps what
    stands, finds places for who is fresh or lost his, moves others only for that, and ends when nobody is left to
    place; without anybody fresh or displaced the plan is the earlier one. The same problem, seed, hint and stop rule
    in work (``WorkLimit``) give the same plan. ``clock`` only dates the progress. Raises ``TooLargeError`` when sums of
    devices exceed 64 bits, ``ValueError`` when hint or prices are for another problem.
    """
    began = clock()
    if hint is not None and hint.option.shape != (len(problem.requests.ids),):
        raise ValueError(f"a hint for {len(hint.option)} requests, the problem has {len(problem.requests.ids)}")
    if earlier is not None and not earlier.prices.suit(problem):
        raise ValueError("these prices are for other pools, quotas, reserves or slots")
    seen: list[Progress] = []

    def show(objective: int, bound: float) -> None:
        progress = Progress(clock() - began, objective, bound)
        seen.append(progress)
        if on_progress is not None:
            on_progress(progress)

    stood = [earlier.plan] if earlier is not None else [] if hint is None else [hint]
    known = math.inf
    if earlier is None:
        pruned, first, known = _opened(problem, stop, show)
        stood.insert(0, first)
    else:
        pruned = prune(problem)
    descent = Descent(problem, pruned, stop, seed, show, earlier, known)
    descent.settle(stood)
    anew = (descent.price, descent.order, descent.close, descent.deal, descent.apart, descent.improve)
    for step in anew if earlier is None else (descent.mend,):
        if not descent.finished():
            with suppress(Interrupted):
                step()
    return _judged(problem, descent, hint, seen, clock() - began)


def _opened(problem: Problem, stop: Stop, show: Callable[[int, float], None]) -> tuple[Pruned, Plan, float]:
    """The problem pruned, a first plan and bound; what they needed of memory is free again."""
    whole = tables(problem, uncut(problem))
    first = opening(problem, whole, lambda: stop.spent(0) >= 1)
    bound = first.bound * whole.money
    show((first.gains - int(whole.move.sum())) * whole.money, bound)
    return prune(problem, whole), first.plan, bound


def _judged(problem: Problem, descent: Descent, hint: Plan | None, seen: list[Progress], seconds: float) -> Solved:
    """The best plan that the judge accepts, priced by the judge."""
    # A promise that cannot be kept is reported; it does not make the rest of the plan worthless.
    lenient = replace(problem, requests=replace(problem.requests, promised=np.zeros_like(problem.requests.promised)))
    best: tuple[int, int, Plan] | None = None
    refused = 0
    candidates = [*([hint] if hint is not None else []), descent.plan()]
    spare = (plan_of(problem, descent.pruned, *kept) for kept in descent.fallbacks())
    for n, plan in enumerate(chain(candidates, spare, (Plan.empty(len(problem.requests.ids)),))):
        if best is not None and n >= len(candidates):
            break
        verdict = check(lenient, plan)
        refused += not verdict.ok and plan is not hint
        kept = int((problem.requests.promised & (plan.option >= 0)).sum())
        if verdict.ok and (best is None or (kept, verdict.objective) > best[:2]):
            best = (kept, verdict.objective, plan)
    assert best is not None  # the empty plan breaks no rule
    kept, objective, plan = best
    promised = int(problem.requests.promised.sum())
    all_kept = kept == promised
    bound = max(descent.bound, _at_least(objective))
    refused += all_kept and bound > descent.bound + abs(bound) * ROUNDING
    requests = problem.requests
    now = requests.current_option >= 0
    same = (plan.option == requests.current_option) & (plan.start == requests.current_start)
    report = Report(
        work=descent.work,
        seconds=seconds,
        requests=len(requests.ids),
        placed=int((plan.option >= 0).sum()),
        moved=int((now & ~same).sum()),
        promises_broken=promised - kept,
        rounds=descent.rounds,
        refused=int(refused),
        trajectory=tuple(seen[:: -max(1, math.ceil(len(seen) / TRAJECTORY_MAX))][::-1]),
    )
    proven = objective >= math.floor(bound) and all_kept
    status = Status.OPTIMAL if proven else Status.FEASIBLE
    return Solved(plan, objective, bound, descent.prices, status, report)


def _at_least(whole: int) -> float:
    """The least float that is not below an integer."""
    near = float(whole)
    return near if near >= whole else math.nextafter(near, math.inf)
