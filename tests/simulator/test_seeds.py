"""Three hundred seeds break no promise; and a seed is a seed: it gives the same trace again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.simulator.many import replay_command, workers
from tests.simulator.run import Outcome, simulate

ROOT = Path(__file__).parents[2]
SEEDS, BATCH, JOBS = 300, 30, 2


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Processes that run seeds."""
    with workers(JOBS) as made:
        yield made


@pytest.mark.parametrize("batch", range(SEEDS // BATCH))
def test_no_promise_is_broken(batch: int, pool: ProcessPoolExecutor) -> None:
    under_way = [pool.submit(simulate, seed) for seed in range(batch * BATCH, (batch + 1) * BATCH)]
    for future in under_way:
        outcome = future.result()
        if outcome.broken:
            for other in under_way:
                other.cancel()
            pytest.fail("\n".join([*outcome.broken, f"replay: {replay_command(outcome.seed)}"]), pytrace=False)


def test_a_seed_gives_the_same_trace_again(pool: ProcessPoolExecutor) -> None:
    first, second = (pool.submit(simulate, 7).result() for _ in range(2))
    assert isinstance(first, Outcome)
    assert (first.digest, first.steps) == (second.digest, second.steps)
    shown = subprocess.run(
        [sys.executable, "-m", "tests.simulator", "--seed", "7", "--lines", "3"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"trace {first.digest[:16]}" in shown.stdout, shown.stdout + shown.stderr


def test_other_seeds_give_other_traces(pool: ProcessPoolExecutor) -> None:
    digests = {outcome.digest for outcome in pool.map(simulate, range(2))}
    assert len(digests) == 2
