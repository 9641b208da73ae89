"""The job lists, read as work for a broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.cli.trace import Job, TraceError, pool_nodes, read_jobs, tier_weight
from tests.cli.trace_lists import write_lists

HOUR = 3600.0


def test_a_job_becomes_a_gang_of_nodes_with_the_slack_that_its_deadline_implies(tmp_path: Path) -> None:
    lists = write_lists(tmp_path, {"03": [(1.5 * HOUR, 12, 3.2 * HOUR, 1.5 * HOUR + 1.6 * HOUR)]})
    assert read_jobs(lists, from_day=0, days=2) == [Job("03", 5400, nodes=2, slots=4, release=2, latest=4)]


@pytest.mark.parametrize(
    "job",
    [
        (0.0, 7, HOUR, 2 * HOUR),  # less than a node
        (0.0, 8, 0.0, HOUR),  # no time
        (49 * HOUR, 8, HOUR, 60 * HOUR),  # after the window
        (10 * HOUR, 8, 40 * HOUR, 90 * HOUR),  # cannot end within it
        (10 * HOUR, 8, HOUR, 5 * HOUR),  # a deadline before it was submitted
    ],
)
def test_what_is_left_out(tmp_path: Path, job: tuple[float, int, float, float]) -> None:
    kept = (0.0, 8, HOUR, 2 * HOUR)
    lists = write_lists(tmp_path, {"01": [job, kept]})
    assert len(read_jobs(lists, from_day=0, days=2)) == 1


def test_jobs_come_in_order_of_submission_from_the_day_asked_for(tmp_path: Path) -> None:
    day = 24 * HOUR
    rows = [(day + 5 * HOUR, 8, HOUR, day + 9 * HOUR), (day + HOUR, 8, HOUR, day + 9 * HOUR)]
    lists = write_lists(
        tmp_path, {"01": rows, "02": [(day + 3 * HOUR, 8, HOUR, day + 9 * HOUR)], "10": [(0, 8, 9, 99)]}
    )
    jobs = read_jobs(lists, from_day=1, days=1)
    assert [(job.cluster, job.submitted_seconds, job.release) for job in jobs] == [
        ("01", 3600, 1),
        ("02", 10800, 3),
        ("01", 18000, 5),
    ]


def test_pools_are_as_large_as_the_load_says() -> None:
    jobs = [Job("01", 0, nodes=100, slots=84, release=0, latest=0)]
    small, large = pool_nodes(jobs, load=2.0, slots=84), pool_nodes(jobs, load=0.5, slots=84)
    assert sum(large.values()) == pytest.approx(200, abs=5)
    assert sum(small.values()) == pytest.approx(50, abs=5)
    assert min(pool_nodes(jobs, load=20, slots=840).values()) == 1


def test_tiers_are_drawn_the_same_way_every_time() -> None:
    weights = [tier_weight(n) for n in range(10_000)]
    assert weights == [tier_weight(n) for n in range(10_000)]
    assert [weights.count(w) / 10_000 for w in (5, 2, 1)] == pytest.approx([0.2, 0.3, 0.5], abs=0.02)
    assert weights != [tier_weight(n, seed=1) for n in range(10_000)]


def test_a_trace_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no job list of cluster 01"):
        read_jobs(tmp_path, from_day=0, days=14)
    with pytest.raises(TraceError, match="no jobs of a node or more"):
        read_jobs(write_lists(tmp_path, {}), from_day=0, days=14)
    (tmp_path / "cluster05.csv.gz").write_bytes(b"not gzip")
    with pytest.raises(TraceError, match="cannot be read"):
        read_jobs(tmp_path, from_day=0, days=14)
