"""Draws any-time curves as SVG: the best plan (solid) and the bound (dashed) of each solver over the seconds.

    python -m bench.curves OUT.svg --synthetic S:1.1:1 M:1.1:1:256 --seconds 10 [--solvers ours cp-sat by-density]

One panel for each problem, in per cent of the best bound that anybody proved (of the best plan, if there is none).
Without problems, it says so and draws nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from bench.compare import HEAD, add_runs, line
from bench.measure import Measured, measure
from bench.picture import Axis, Line, Panel, picture
from bench.solvers import OURS, SOLVERS
from bench.sources import absent, add_sources, sources

__all__ = ["main", "panel"]

FIRST_SECONDS = 0.01  # left edge of the time axis
LOWEST_PERCENT, HIGHEST_PERCENT = 60.0, 120.0


def panel(runs: Sequence[Measured], seconds: float) -> Panel:
    """The runs of one problem; two lines for a solver that proves a bound, one for any other."""
    bounds = [run.bound for run in runs if run.bound is not None]
    plans = [run.objective for run in runs if run.objective is not None]
    whole = abs(min(bounds, default=0.0)) or float(abs(max(plans, default=0))) or 1.0
    lines = []
    for run in runs:
        colour = list(SOLVERS).index(run.solver)
        best = [(p.seconds, 100 * p.objective / whole) for p in run.trajectory if p.objective > 0]
        proven = [(p.seconds, 100 * p.bound / whole) for p in run.trajectory if p.bound is not None]
        if best:
            lines.append(Line(run.solver, _until(best, seconds), colour, holds=True))
        if proven:
            lines.append(Line(f"{run.solver}, bound", _until(proven, seconds), colour, is_dashed=True, holds=True))
    heights = [y for drawn in lines for _, y in drawn.points]
    low = max(LOWEST_PERCENT, min(heights, default=0.0) - 2)
    high = min(HIGHEST_PERCENT, max(heights, default=100.0) + 2)
    title = f"{runs[0].source.name}: {runs[0].requests:,} requests, {runs[0].options:,} options"
    x = Axis("seconds since the problem was in memory", is_log=True, low=FIRST_SECONDS, high=seconds)
    return Panel(title, x, Axis("% of the best bound", low=low, high=high), tuple(lines))


def main() -> int:
    """Measure and draw what the command line names."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("out", type=Path, help="SVG file to write")
    add_sources(ask)
    add_runs(ask, seconds=10)
    args = ask.parse_args()
    named = sources(args)
    if missing := absent(named):
        print(missing)
        return 2
    print(HEAD)
    panels = []
    for source in named:
        runs = []
        for solver in args.solvers:
            run = measure(source, solver, seconds=args.seconds, seed=args.seed, grace_seconds=args.grace)
            runs.append(run)
            print(line(run, next((r for r in runs if r.solver == OURS), None)), flush=True)
        panels.append(panel(runs, args.seconds))
    args.out.write_text(picture("Best plan and bound over time", panels), encoding="utf-8")
    print(f"{args.out}: {len(panels)} panels")
    return 0


def _until(points: Sequence[tuple[float, float]], seconds: float) -> tuple[tuple[float, float], ...]:
    """Points that say something new, and the last level held until the end."""
    kept = [points[0]]
    kept += [point for last, point in pairwise(points) if point[1] != last[1]]
    return (*kept, (max(seconds, kept[-1][0]), kept[-1][1]))


if __name__ == "__main__":
    sys.exit(main())
