"""Measures the optimiser: value, bound, gap, seconds and peak memory for each problem, in one table.

    python -m bench.planning PROBLEM.json.gz ... --seconds 30 [--seed 1] [--plans DIR]
    python -m bench.planning --generalised INSTANCE ... --seconds 5 [--best-known best_known.csv]

Each problem is solved in a fresh process, so that its peak memory is its own. Problems come as files of the public
format (``docs/optimiser.md``) or, after ``--generalised``, as generalised assignment instances in the text form of the
OR-Library. Without any, it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from broker.optimiser.check import check
from broker.optimiser.files import problem_from, read_problem, write_plan
from broker.optimiser.problem import Problem

BIG = 10_000  # what an item left out costs


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
    peak_mib: int
    status: str
    first_plan_seconds: float
    violations: int


def offered(problem: Problem) -> int:
    """The value of serving everybody at his best option."""
    first = problem.options.first.tolist()
    value = problem.options.value.tolist()
    return sum(max(value[a:b], default=0) for a, b in pairwise(first))


def generalised(path: Path) -> Problem:
    """A generalised assignment instance as a problem of one slot; an item is worth ``BIG`` less its cost."""
    numbers = [int(float(word)) for word in path.read_text().split()]
    agents, items = numbers[:2]
    cost = [numbers[2 + i * items : 2 + (i + 1) * items] for i in range(agents)]
    at = 2 + agents * items
    weight = [numbers[at + i * items : at + (i + 1) * items] for i in range(agents)]
    room = numbers[at + agents * items : at + agents * items + agents]
    requests = []
    for j in range(items):
        options = [
            {"pool": str(i), "devices": weight[i][j], "slots": 1, "start": [0, 0], "value": BIG - cost[i][j]}
            for i in range(agents)
            if weight[i][j] <= room[i]
        ]
        requests.append({"id": str(j), "options": options})
    pools = [{"id": str(i), "capacity": [[0, room[i]]]} for i in range(agents)]
    return problem_from({"format": "capacity-plan-problem/1", "slots": 1, "pools": pools, "requests": requests})


def measure(path: Path, is_generalised: bool, seconds: float, seed: int, plans: Path | None) -> Row:
    """Solve one problem and judge the plan."""
    from broker.optimiser.solve import solve
    from broker.optimiser.stop import SecondsLimit
    from broker.optimiser.warm import warm

    problem = generalised(path) if is_generalised else read_problem(path)
    warm()
    solved = solve(problem, stop=SecondsLimit(seconds, time.perf_counter), seed=seed)
    if plans is not None:
        write_plan(problem, solved, plans / f"{path.name.split('.')[0]}.plan.json")
    seen = [progress.seconds for progress in solved.report.trajectory if progress.objective > 0]
    return Row(
        name=path.name,
        requests=len(problem.requests.ids),
        offered=offered(problem),
        objective=solved.objective,
        bound=solved.bound,
        gap_percent=100 * solved.gap,
        seconds=solved.report.seconds,
        peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        status=str(solved.status),
        first_plan_seconds=seen[0] if seen else solved.report.seconds,
        violations=len(check(problem, solved.plan).violations),
    )


def show(row: Row, best_known: dict[str, int]) -> str:
    """One line of the table."""
    line = f"{row.name:28} {row.requests:>8} {row.objective:>16} {row.bound:>18.2f} {row.gap_percent:>7.3f}"
    line += f" {100 * row.objective / max(1, row.offered):>8.2f} {row.seconds:>7.2f} {row.first_plan_seconds:>6.2f}"
    line += f" {row.peak_mib:>6} {row.status:>9}"
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
    """Measure what the command line names."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("problems", nargs="*", type=Path)
    ask.add_argument("--generalised", nargs="*", type=Path, default=[], metavar="INSTANCE")
    ask.add_argument("--best-known", type=Path)
    ask.add_argument("--seconds", type=float, default=30)
    ask.add_argument("--seed", type=int, default=1)
    ask.add_argument("--plans", type=Path, help="folder to write the plans to")
    args = ask.parse_args()
    runs = [(path, False) for path in args.problems] + [(path, True) for path in args.generalised]
    absent = [str(path) for path, _ in runs if not path.is_file()]
    if absent or not runs:
        print(f"nothing measured: no data at {', '.join(absent)}" if absent else "nothing measured: no problem given")
        return 2
    best_known = read_best_known(args.best_known)
    print(f"{'problem':28} {'requests':>8} {'objective':>16} {'bound':>18} {'gap %':>7} {'offered%':>8}", end=" ")
    print(f"{'seconds':>7} {'first':>6} {'MiB':>6} {'status':>9}")
    for path, is_generalised in runs:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measure, (path, is_generalised, args.seconds, args.seed, args.plans))
        print(show(row, best_known), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
