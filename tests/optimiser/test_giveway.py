"""A solving thread falls idle now and then while others want its core, and not when the solve is over."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import threading
import time
from multiprocessing.connection import Connection

import pytest

from broker.optimiser.giveway import BUSY_SECONDS, GivingWay, step_back
from broker.optimiser.stop import WorkLimit

PAUSES = 50
DEADLINE = 20.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has timers for threads")


def fell_idle() -> int:
    """How often this thread gave its core up by itself."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def wake_often() -> None:
    """Another's work: a moment every other millisecond, on the core of this process."""
    never = threading.Event()
    while os.getppid() != 1:
        never.wait(0.001)
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass


def solve_beside_another(pipe: Connection) -> None:
    """Ask like a solver beside another's work; tells how often it fell idle meanwhile, and afterwards."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    other = multiprocessing.get_context("spawn").Process(target=wake_often, daemon=True)
    other.start()
    step_back()
    end = time.monotonic() + DEADLINE
    before = fell_idle()
    with GivingWay(WorkLimit(10)) as stop:
        while fell_idle() < before + PAUSES and time.monotonic() < end:
            assert stop.spent(5) == 0.5
    during = fell_idle() - before
    before, end = fell_idle(), time.thread_time() + PAUSES * BUSY_SECONDS
    while time.thread_time() < end:
        pass
    pipe.send((during, fell_idle() - before))
    other.kill()


def test_a_thread_whose_core_others_want_falls_idle_until_the_solve_is_over() -> None:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=solve_beside_another, args=(there,))
    process.start()
    try:
        assert here.poll(2 * DEADLINE), "no answer"
        during, afterwards = here.recv()
    finally:
        process.kill()
        process.join()
    assert during >= PAUSES
    assert afterwards < PAUSES / 2
