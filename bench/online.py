"""What policies serve when claims come one by one and are answered for good, beside the bound of a plan of all.

    python -m bench.online PROBLEM.json.gz[=PAST.json.gz] ... [--seconds 20] [--draws 1]

Requests arrive at their first start, in that order, and nobody knows what is to come; PAST is a problem of the time
before, from which a policy may learn who tends to ask, beside who has asked so far. There are three tiers: requests
worth most a device-slot, the middle, and the rest. `bench/policies.py` says what a policy may do; accepted is accepted,
only places may still move, inside what was promised. Policies that plan again do so with
``--draws`` seeds, whose median is told first: one large claim more or less is a point. Without problems, it says so and
measures nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench import bookings
from bench.market import Market
from bench.policies import POLICIES, Policy, serve
from broker.admission import scan
from broker.optimiser.files import read_problem
from broker.optimiser.solve import solve
from broker.optimiser.stop import SecondsLimit
from broker.optimiser.warm import warm


def main() -> int:
    """Print a row for each problem and policy."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("problems", nargs="*", help="a file, or FILE=FILE of the time before")
    ask.add_argument("--seconds", type=float, default=20, help="for the plan that knows everything")
    ask.add_argument("--draws", type=int, default=1, help="runs of each policy that plans again")
    ask.add_argument("--only", nargs="*", help="names of policies")
    args = ask.parse_args()
    if not args.problems:
        print("no planning problem measured: name some, as files of the public format (docs/optimiser.md)")
        return 2
    absent = [name for names in args.problems for name in names.split("=") if not Path(name).is_file()]
    if absent:
        print("nothing measured: no data at", ", ".join(absent))
        return 2
    warm()
    scan.warm()
    bookings.warm()
    for names in args.problems:
        path, _, past = names.partition("=")
        problem = read_problem(path)
        plan = solve(problem, stop=SecondsLimit(args.seconds, time.monotonic), seed=1)
        print(f"{Path(path).name}: bound {plan.bound:,.0f}, plan of all {100 * plan.objective / plan.bound:.1f} %")
        market = Market.of(problem)
        before = Market.of(read_problem(past)) if past else None
        for name, policy in POLICIES.items():
            if args.only and name not in args.only:
                continue
            show(name, policy, market, before, bound=plan.bound, draws=args.draws if policy.every else 1)
    return 0


def show(name: str, policy: Policy, market: Market, past: Market | None, *, bound: float, draws: int) -> None:
    """Print the row of a policy."""
    began = time.perf_counter()
    told = [serve(market, replace(policy, draw=draw), past) for draw in range(draws)]
    took = (time.perf_counter() - began) / draws
    shares = sorted(100 * one.value / bound for one in told)
    moved = median(one.moved for one in told)
    spread = f" ({shares[0]:.1f} to {shares[-1]:.1f})" if draws > 1 else ""
    print(f"  {name:42} {median(shares):5.1f} %{spread} of the bound, {moved:5.0f} moved, {took:5.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
