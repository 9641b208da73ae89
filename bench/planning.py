"""Measures the optimiser: value, bound, gap, seconds and peak memory for each problem, in one table.

    python -m bench.planning PROBLEM.json.gz ... --seconds 30 [--seed 1] [--plans DIR]
    python -m bench.planning --synthetic M:1.1:1:256 XL:1.1:1 --seconds 60
    python -m bench.planning --generalised INSTANCE ... --seconds 5 [--best-known best_known.csv]

Each problem is solved in a fresh process, so that its peak memory is its own. Problems come as files of the public
format (``docs/optimiser.md``), from the generator, or as generalised assignment instances in the text form of the
OR-Library. Without any, it says so and measures nothing. ``python -m bench.compare`` sets others beside it.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.isolated import STARTED, isolated
from bench.sources import BIG, Source, absent, add_sources, offered, sources
from broker.optimiser.check import check
from broker.optimiser.files import write_plan

GRACE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Row:
    """One measured run."""

    name: str
    requests: int
    offered: int
    objective: int
    bound: float
    gap_percent: float
    seconds: float
    status: str
    first_plan_seconds: float
    violations: int


def measure(post: Callable[[object], None], source: Source, seconds: float, seed: int, plans: Path | None) -> Row:
    """Solve one problem and judge the plan."""
    from broker.optimiser.solve import solve
    from broker.optimiser.stop import SecondsLimit
    from broker.optimiser.warm import warm

    warm()
    problem = source.load()
    post(STARTED)
    solved = solve(problem, stop=SecondsLimit(seconds, time.perf_counter), seed=seed)
    if plans is not None:
        plans.mkdir(parents=True, exist_ok=True)
        write_plan(problem, solved, plans / f"{source.stem}.plan.json")
    seen = [progress.seconds for progress in solved.report.trajectory if progress.objective > 0]
    return Row(
        name=source.name,
        requests=len(problem.requests.ids),
        offered=offered(problem),
        objective=solved.objective,
        bound=solved.bound,
        gap_percent=100 * solved.gap,
        seconds=solved.report.seconds,
        status=str(solved.status),
        first_plan_seconds=seen[0] if seen else solved.report.seconds,
        violations=len(check(problem, solved.plan).violations),
    )


def show(row: Row, peak_mib: int, best_known: dict[str, int]) -> str:
    """One line of the table."""
    line = f"{row.name:28} {row.requests:>8} {row.objective:>16} {row.bound:>18.2f} {row.gap_percent:>7.3f}"
    line += f" {100 * row.objective / max(1, row.offered):>8.2f} {row.seconds:>7.2f} {row.first_plan_seconds:>6.2f}"
    line += f" {peak_mib:>6} {row.status:>9}"
    if row.name in best_known:
        cost = BIG * row.requests - row.objective
        line += f"   cost {cost}, best known {best_known[row.name]}"
    return line + (f"   {row.violations} VIOLATIONS" if row.violations else "")


def read_best_known(path: Path | None) -> dict[str, int]:
    """Best known costs by instance name."""
    if path is None:
        return {}
    with path.open() as file:
        return {Path(row["Path"]).name: int(float(row["Best known solution value"])) for row in csv.DictReader(file)}


def main() -> int:
    """Measure what the command line names; 1 when a run came to nothing."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sources(ask)
    ask.add_argument("--best-known", type=Path)
    ask.add_argument("--seconds", type=float, default=30)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--plans", type=Path, help="folder to write the plans to")
    args = ask.parse_args()
    named = sources(args)
    if missing := absent(named):
        print(missing)
        return 2
    best_known = read_best_known(args.best_known)
    print(f"{'problem':28} {'requests':>8} {'objective':>16} {'bound':>18} {'gap %':>7} {'offered%':>8}", end=" ")
    print(f"{'seconds':>7} {'first':>6} {'MiB':>6} {'status':>9}")
    failed = 0
    for source in named:
        limit = args.seconds + GRACE_SECONDS
        ended = isolated(measure, source, args.seconds, args.seed, args.plans, seconds=limit)
        if isinstance(ended.result, Row):
            print(show(ended.result, ended.peak_mib, best_known), flush=True)
        else:
            print(f"{source.name:28} {ended.trouble}", flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
