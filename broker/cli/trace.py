"""Reads a public trace of GPU jobs (the ElasticFlow job lists) as work for a broker.

Each list is one cluster: ``NN.csv`` or ``NN.csv.gz`` with the columns job_id, submission_time (seconds from the start),
num_gpu, duration (seconds), deadline (seconds from the start) and model_name. One slot is an hour and one node is eight
GPUs. Deadlines of the trace are often shorter than the work; the ratio (deadline - submission) / duration is therefore
taken as slack: how much later than its submission, in lengths of itself, a job may start.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CLUSTER_WEIGHTS", "Job", "TraceError", "pool_nodes", "read_jobs", "tier_weight"]

GPUS_PER_NODE = 8
HOUR = 3600
# Relative sizes of the clusters in the trace.
CLUSTER_WEIGHTS: Mapping[str, int] = {
    "01": 64,
    "02": 64,
    "03": 64,
    "04": 128,
    "05": 64,
    "06": 64,
    "07": 128,
    "08": 128,
    "09": 128,
    "10": 32,
}


class TraceError(Exception):
    """The folder does not hold the trace; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the trace as a gang; slots and seconds count from the start of the window."""

    cluster: str
    submitted_seconds: int
    nodes: int
    slots: int
    release: int  # first slot it may start in
    latest: int  # last slot it may start in, so that it ends within the window


def read_jobs(folder: Path, *, from_day: int, days: int) -> list[Job]:
    """The jobs of at least a node submitted in ``days`` days, in order of submission; raises `TraceError`."""
    found = [
        (order, job)
        for cluster in sorted(CLUSTER_WEIGHTS)
        for order, job in _jobs(cluster, _list_of(folder, cluster), first=from_day * 24, slots=days * 24)
    ]
    if not found:
        raise TraceError(f"no jobs of a node or more between day {from_day} and day {from_day + days} in {folder}")
    return [job for _, job in sorted(found, key=lambda entry: entry[0])]


def pool_nodes(jobs: Sequence[Job], *, load: float, slots: int) -> dict[str, int]:
    """Nodes of each cluster's pool, such that the jobs ask for ``load`` times what there is over ``slots``."""
    size = sum(job.nodes * job.slots for job in jobs) / slots / load
    whole = sum(CLUSTER_WEIGHTS.values())
    return {cluster: max(1, round(size * weight / whole)) for cluster, weight in sorted(CLUSTER_WEIGHTS.items())}


def tier_weight(number: int, *, seed: int = 0) -> int:
    """Worth of a node-hour of job ``number``: 5 for two jobs in ten, 2 for three, 1 for five; another seed, others."""
    text = f"{seed}:{number}" if seed else str(number)
    draw = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10
    return 5 if draw < 2 else 2 if draw < 5 else 1


def _list_of(folder: Path, cluster: str) -> Path:
    paths = sorted(folder.glob(f"*{cluster}*.csv*"))
    if not paths:
        raise TraceError(f"no job list of cluster {cluster} (*{cluster}*.csv.gz) in {folder}")
    return paths[0]


def _jobs(cluster: str, path: Path, *, first: int, slots: int) -> Iterator[tuple[tuple[object, ...], Job]]:
    """Each job that can be served within the window, and what it is sorted by."""
    for row in _rows(path):
        gpus, duration = int(float(row["num_gpu"])), float(row["duration"])
        submitted, deadline = float(row["submission_time"]), float(row["deadline"])
        if gpus < GPUS_PER_NODE or duration <= 0 or not first <= submitted / HOUR < first + slots:
            continue
        length = max(1, math.ceil(duration / HOUR))
        release = math.ceil(submitted / HOUR) - first
        slack = math.floor((deadline - submitted) / duration * length)
        latest = min(release + slack, slots - length)
        if latest < release:
            continue
        nodes = math.ceil(gpus / GPUS_PER_NODE)
        order = (submitted, duration, gpus, nodes, length, release, latest, row["model_name"])
        yield order, Job(cluster, math.ceil(submitted) - first * HOUR, nodes, length, release, latest)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} cannot be read: {error}") from None
