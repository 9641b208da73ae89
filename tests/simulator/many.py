"""Many seeds, on several processes at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

from tests.simulator.run import Outcome, simulate

__all__ = ["failures", "replay_command", "workers"]


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes for seeds. Sets have the same order in all of them, as a replay must have."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            yield pool
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


def failures(seeds: Sequence[int], *, jobs: int) -> Iterator[Outcome]:
    """Those seeds that broke a promise, in order."""
    with workers(jobs) as pool:
        yield from (outcome for outcome in pool.map(simulate, seeds) if outcome.broken)


def replay_command(seed: int) -> str:
    """What shows a seed again."""
    return f"make sim SEED={seed}"
