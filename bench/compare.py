"""Compares solvers: value, bound, gap, seconds, time of the first plan and peak memory, in one table.

    python -m bench.compare --synthetic S:1.1:1 M:1.1:1:256 --seconds 10
    python -m bench.compare PROBLEM.json.gz ... --generalised INSTANCE ... --solvers ours by-density highs

Each run has a process of its own, and is killed when it overruns its limit by ``--grace`` seconds: what it had found
until then counts. The seconds include building a model; loading the problem comes before. Every plan is judged by the
public checker, and a bound counts only together with a plan. Without problems, it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import sys

from bench.measure import GRACE_SECONDS, Measured, measure
from bench.solvers import OURS, SOLVERS
from bench.sources import absent, add_sources, sources

__all__ = ["HEAD", "add_runs", "line", "main"]

HEAD = (
    f"{'problem':24} {'solver':12} {'value':>16} {'bound':>18} {'gap %':>7} {'seconds':>8} {'first s':>8} {'MiB':>6}"
    f" {'of ours %':>9}"
)


def add_runs(parser: argparse.ArgumentParser, *, seconds: float) -> None:
    """The arguments that say which solvers run, and for how long."""
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds beyond the limit before a kill")


def line(run: Measured, ours: Measured | None) -> str:
    """One row of the table; ``-`` where there is no figure."""
    share = None
    if ours is not None and ours.objective and run.objective is not None:
        share = 100 * run.objective / ours.objective
    first = run.first_plan_seconds
    return (
        f"{run.source.name[:24]:24} {run.solver:12} {_figure(run.objective, 16, 0)} {_figure(run.bound, 18, 0)}"
        f" {_figure(None if run.gap is None else 100 * run.gap, 7, 3)} {run.seconds:>8.2f} {_figure(first, 8, 2)}"
        f" {run.peak_mib:>6} {_figure(share, 9, 2)}" + (f"   {run.note}" if run.note else "")
    )


def main() -> int:
    """Measure what the command line names."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_sources(ask)
    add_runs(ask, seconds=30)
    args = ask.parse_args()
    named = sources(args)
    if missing := absent(named):
        print(missing)
        return 2
    print(HEAD)
    for source in named:
        ours: Measured | None = None
        for solver in sorted(args.solvers, key=list(SOLVERS).index):
            run = measure(source, solver, seconds=args.seconds, seed=args.seed, grace_seconds=args.grace)
            ours = run if solver == OURS else ours
            print(line(run, ours), flush=True)
    return 0


def _figure(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
