"""Writes small job lists in the form of the public trace."""

from __future__ import annotations

import csv
import gzip
import random
from pathlib import Path

from broker.cli.trace import CLUSTER_WEIGHTS

COLUMNS = ("job_id", "submission_time", "num_iteration", "model_name", "deadline", "batch_size", "num_gpu", "duration")


def write_lists(folder: Path, jobs: dict[str, list[tuple[float, int, float, float]]]) -> Path:
    """A list for every cluster; a job is (submitted, gpus, duration, deadline), in seconds from the start."""
    folder.mkdir(parents=True, exist_ok=True)
    for cluster in CLUSTER_WEIGHTS:
        with gzip.open(folder / f"cluster{cluster}.csv.gz", "wt", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for number, (submitted, gpus, duration, deadline) in enumerate(jobs.get(cluster, [])):
                table.writerow([number, submitted, 100, "model", deadline, 32, gpus, duration])
    return folder


def random_jobs(seed: int, *, per_cluster: int, hours: int) -> dict[str, list[tuple[float, int, float, float]]]:
    """Jobs of one to four nodes and one to eight hours, with slack of half to one and a half their length."""
    rng = random.Random(seed)
    jobs: dict[str, list[tuple[float, int, float, float]]] = {}
    for cluster in CLUSTER_WEIGHTS:
        for _ in range(per_cluster):
            submitted, length = rng.uniform(0, hours * 3600 * 0.7), rng.uniform(0.5, 8) * 3600
            deadline = submitted + rng.uniform(0.5, 1.5) * length
            jobs.setdefault(cluster, []).append((submitted, rng.choice((8, 8, 16, 32)), length, deadline))
    return jobs
