"""Draws how cost grows: seconds to a first plan and to a 5 % gap, and peak memory, against claims, as SVG.

    python -m bench.growth OUT.svg [--families XS S M L XL] [--load 1.1] [--seed 1] [--seconds 60]

Both panels are logarithmic on both axes. Every problem comes from the generator, so no data is needed; a point that a
run did not reach within its limit is not drawn. Seconds count from the problem in memory; memory is that of the whole
process, problem and machine code included.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.compare import HEAD, line
from bench.generator import FAMILIES, Synthetic
from bench.measure import GRACE_SECONDS, Measured, measure
from bench.picture import Axis, Line, Panel, picture
from bench.solvers import OURS, SOLVERS
from bench.sources import Source

__all__ = ["NEAR", "main", "panels"]

NEAR = 0.05
LEAST_SECONDS = 0.001  # what is quicker is drawn as this


def panels(runs: Sequence[Measured]) -> tuple[Panel, Panel]:
    """Seconds above, memory below; one line for each solver and figure."""
    seconds, memory = [], []
    for solver in dict.fromkeys(run.solver for run in runs):
        colour = list(SOLVERS).index(solver)
        mine = [run for run in runs if run.solver == solver]
        first = _points(mine, lambda run: run.first_plan_seconds, LEAST_SECONDS)
        near = _points(mine, lambda run: run.seconds_to_gap(NEAR), LEAST_SECONDS)
        seconds.append(Line(f"{solver}: first plan", first, colour, has_dots=True))
        if near:
            seconds.append(Line(f"{solver}: {100 * NEAR:.0f} % gap", near, colour, is_dashed=True, has_dots=True))
        memory.append(Line(solver, _points(mine, _memory, 1), colour, has_dots=True))
    claims = Axis("claims", is_log=True)
    return (
        Panel("Seconds", claims, Axis("seconds", is_log=True), tuple(seconds)),
        Panel("Peak memory", claims, Axis("MiB", is_log=True), tuple(memory)),
    )


def main() -> int:
    """Measure and draw what the command line names."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("out", type=Path, help="SVG file to write")
    ask.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    ask.add_argument("--load", type=float, default=1.1)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--largest-gang", type=int)
    ask.add_argument("--solvers", nargs="+", choices=SOLVERS, default=[OURS, "by-density"])
    ask.add_argument("--seconds", type=float, default=60)
    ask.add_argument("--grace", type=float, default=GRACE_SECONDS)
    args = ask.parse_args()
    print(HEAD)
    runs: list[Measured] = []
    for family in args.families:
        source = Source(Synthetic(family, args.load, args.seed, args.largest_gang))
        ours: Measured | None = None
        for solver in args.solvers:
            run = measure(source, solver, seconds=args.seconds, seed=args.seed, grace_seconds=args.grace)
            ours = run if solver == OURS else ours
            runs.append(run)
            print(line(run, ours), flush=True)
    args.out.write_text(picture("What a plan costs as claims grow", panels(runs)), encoding="utf-8")
    print(f"{args.out}: {len(runs)} runs")
    return 0


def _memory(run: Measured) -> float | None:
    """Of a run that came to a plan; a model that was never built says nothing."""
    return run.peak_mib if run.objective is not None else None


def _points(
    runs: Sequence[Measured], figure: Callable[[Measured], float | None], least: float
) -> tuple[tuple[float, float], ...]:
    found = ((run.requests, figure(run)) for run in runs if run.requests)
    return tuple(sorted((float(claims), max(least, value)) for claims, value in found if value is not None))


if __name__ == "__main__":
    sys.exit(main())
