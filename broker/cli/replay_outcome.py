"""What a replay served, as one planning problem over the whole window: anyone can check it and beat it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.cli.trace import Job, tier_weight

__all__ = ["Served", "captured_is_sound", "verified", "write_outcome"]


@dataclass(frozen=True, slots=True)
class Served:
    """Where and when a job ran: pool, and slot of its start."""

    pool: str
    start: int


def write_outcome(
    jobs: Sequence[Job],
    served: Mapping[int, Served],
    *,
    nodes: Mapping[str, int],
    slots: int,
    seed: int,
    folder: Path,
    seconds: float,
) -> tuple[Path, Path]:
    """Writes problem and plan of the whole window, as if all had been known from the start; money is node-hours.

    The bound in the plan is what all jobs together offer, which no plan can exceed.
    """
    pools = [f"pool-{cluster}" for cluster in sorted(nodes)]
    offered = {number: tier_weight(number, seed=seed) * job.nodes * job.slots for number, job in enumerate(jobs)}
    problem = {
        "format": "capacity-plan-problem/1",
        "slots": slots,
        "slot_hours": 1,
        "pools": [{"id": f"pool-{cluster}", "capacity": [[0, count]]} for cluster, count in sorted(nodes.items())],
        "quotas": [],
        "requests": [
            {
                "id": f"job-{number}",
                "quota": None,
                "guaranteed": tier_weight(number, seed=seed) == 5,
                "options": [
                    {
                        "pool": pool,
                        "devices": job.nodes,
                        "slots": job.slots,
                        "start": [job.release, job.latest],
                        "value": offered[number],
                    }
                    for pool in pools
                ],
            }
            for number, job in enumerate(jobs)
        ],
    }
    plan = {
        "format": "capacity-plan/1",
        "placements": [
            {"request": f"job-{number}", "option": pools.index(where.pool), "start": where.start}
            for number, where in sorted(served.items())
        ],
        "objective": sum(offered[number] for number in served),
        "bound": sum(offered.values()),
        "seconds": round(seconds, 3),
        "status": "FEASIBLE",
    }
    files = folder / "outcome.problem.json.gz", folder / "outcome.plan.json"
    with gzip.open(files[0], "wt", encoding="utf-8") as file:
        json.dump(problem, file)
    files[1].write_text(json.dumps(plan), encoding="utf-8")
    return files


def verified(problem_file: Path, plan_file: Path) -> tuple[str, ...]:
    """What the project's own checker holds against a plan; empty when it keeps every rule and is worth what it says."""
    from broker.optimiser.check import check
    from broker.optimiser.files import PlanFileError, ProblemFileError, read_plan, read_problem

    try:
        problem = read_problem(problem_file)
        verdict = check(problem, read_plan(plan_file, problem))
    except (ProblemFileError, PlanFileError, OSError) as error:
        return (str(error),)
    claimed = _read(plan_file).get("objective")
    wrong_price = (
        (f"the plan claims {claimed}, it is worth {verdict.objective}",) if claimed != verdict.objective else ()
    )
    return verdict.violations + wrong_price


def captured_is_sound(folder: Path, *, objective: int, keep_as: Path) -> bool | None:
    """Whether the plan captured last, if it is worth ``objective``, is sound; such a pair is kept. None: not there yet.

    The planner captures a plan a moment after it is in force, so a caller may have to look again.
    """
    problem_file, plan_file = folder / "problem.json.gz", folder / "plan.json"
    if not plan_file.exists() or _read(plan_file).get("objective") != objective:
        return None
    keep_as.mkdir(parents=True, exist_ok=True)
    for file in (problem_file, plan_file):
        (keep_as / file.name).write_bytes(file.read_bytes())
    return not verified(keep_as / problem_file.name, keep_as / plan_file.name)


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
