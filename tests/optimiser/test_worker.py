"""The worker stays warm, stops when told, dies when it hangs, and never outlives its owner."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from broker.optimiser.check import check
from broker.optimiser.problem import Problem, Status
from broker.optimiser.report import Prices, Progress, Report, Solved
from broker.optimiser.stop import Stop
from broker.optimiser.worker import Order, SolverLost, SolverProcess

ROOT = Path(__file__).resolve().parents[2]
OnProgress = Callable[[Progress], None]


def answer(order: Order) -> Solved:
    """An answer that costs nothing: the hint, or nothing placed."""
    from broker.optimiser.problem import Plan

    plan = order.hint if order.hint is not None else Plan.empty(len(order.problem.requests.ids))
    report = Report(0, 0.0, len(plan.option), 0, 0, 0, 0, 0, ())
    return Solved(plan, os.getpid(), 1e18, Prices.zero(order.problem), Status.FEASIBLE, report)


def scripted(order: Order, stop: Stop, on_progress: OnProgress) -> Solved:
    """A stand-in for the solver: the seed says how it behaves."""
    if order.seed == 1:
        threading.Event().wait()  # hangs
    if order.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if order.seed == 3:
        raise RuntimeError("boom")
    on_progress(Progress(0.0, 1, 2.0))
    if order.seed == 4:
        nap = threading.Event()
        while stop.spent(0) < 1:
            nap.wait(0.005)
    return answer(order)


@pytest.fixture
async def solver() -> AsyncIterator[SolverProcess]:
    process = SolverProcess(scripted, grace_seconds=0.2)
    yield process
    await process.close()


def gone(pid: int) -> bool:
    """Whether a process has ended, zombies of others included."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll with a deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def test_stays_warm_between_orders(solver: SolverProcess, medium: Problem) -> None:
    seen: list[Progress] = []
    first = await solver.solve(medium, seconds=20, seed=0, on_progress=seen.append)
    second = await solver.solve(medium, seconds=20, seed=0)
    assert first.objective == second.objective == solver.pid != os.getpid()
    assert seen == [Progress(0.0, 1, 2.0)]


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_lost_worker_is_replaced(seed: int, solver: SolverProcess, medium: Problem) -> None:
    await solver.start()
    pid = solver.pid
    assert pid is not None
    with pytest.raises(SolverLost):
        await solver.solve(medium, seconds=0.1, seed=seed)
    assert gone(pid)
    assert (await solver.solve(medium, seconds=20, seed=0)).objective not in (pid, os.getpid())


async def test_a_fault_is_told_and_the_worker_survives(solver: SolverProcess, medium: Problem) -> None:
    await solver.start()
    pid = solver.pid
    with pytest.raises(SolverLost, match="boom"):
        await solver.solve(medium, seconds=20, seed=3)
    assert (await solver.solve(medium, seconds=20, seed=0)).objective == pid


async def test_cancelling_stops_the_order_and_keeps_the_worker(solver: SolverProcess, medium: Problem) -> None:
    seen: list[Progress] = []
    task = asyncio.create_task(solver.solve(medium, seconds=600, seed=4, on_progress=seen.append))
    await until(lambda: bool(seen))
    pid = solver.pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await solver.solve(medium, seconds=20, seed=0)).objective == pid


@pytest.mark.parametrize("fault", [ValueError, OSError, TimeoutError])
async def test_a_listener_that_fails_stops_its_order_only(
    fault: type[Exception], solver: SolverProcess, medium: Problem
) -> None:
    def listen(_: Progress) -> None:
        raise fault("of the listener")

    await solver.start()
    pid = solver.pid
    with pytest.raises(fault if fault is not TimeoutError else SolverLost):
        await solver.solve(medium, seconds=600, seed=4, on_progress=listen)
    if fault is not TimeoutError:
        assert (await solver.solve(medium, seconds=20, seed=0)).objective == pid


async def test_cancelling_while_the_order_is_sent(solver: SolverProcess, medium: Problem) -> None:
    await solver.start()
    for steps in range(6):
        task = asyncio.create_task(solver.solve(medium, seconds=600, seed=4))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await solver.solve(medium, seconds=20, seed=0)).objective == solver.pid


async def test_cancelling_a_hanging_order_kills_the_worker(solver: SolverProcess, medium: Problem) -> None:
    await solver.start()
    pid = solver.pid
    assert pid is not None
    task = asyncio.create_task(solver.solve(medium, seconds=600, seed=1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: gone(pid) or solver.pid == pid)
    assert (await solver.solve(medium, seconds=20, seed=0)).objective > 0


async def test_the_terminal_does_not_stop_it(solver: SolverProcess, medium: Problem) -> None:
    await solver.start()
    pid = solver.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert (await solver.solve(medium, seconds=20, seed=0)).objective == pid


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a policy for those who may wait")
async def test_whoever_else_wants_a_core_goes_first() -> None:
    solver = SolverProcess()  # the real one, which is warm, and has a second thread, when it is ready
    await solver.start()
    assert solver.pid is not None
    tasks = Path(f"/proc/{solver.pid}/task")
    threads = [int(task.name) for task in await asyncio.to_thread(lambda: list(tasks.iterdir()))]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {19}
    # In the session of its owner: Linux weighs processes against one another within a session only.
    assert os.getsid(solver.pid) == os.getsid(0)
    await solver.close()


async def test_closing_leaves_no_process(medium: Problem) -> None:
    solver = SolverProcess(scripted)
    await solver.start()
    pid = solver.pid
    assert pid is not None
    await solver.close()
    await solver.close()
    assert solver.pid is None
    assert gone(pid)


async def test_a_solve_needs_a_limit(solver: SolverProcess, medium: Problem) -> None:
    with pytest.raises(ValueError, match="limit"):
        await solver.solve(medium, seed=0)


OWNER = """
import asyncio, os, signal
from broker.optimiser.worker import SolverProcess

async def main():
    solver = SolverProcess()
    task = asyncio.create_task(solver.start())
    while solver.pid is None:
        await asyncio.sleep(0.01)
    print(solver.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


def kill_an_owner(path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that starts a worker and dies at once."""
    path.write_text(OWNER)
    command, world = [sys.executable, str(path)], os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=world, check=False)


async def test_it_dies_with_its_owner(tmp_path: Path) -> None:
    done = await asyncio.to_thread(kill_an_owner, tmp_path / "owner.py")
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    await until(lambda: gone(pid))


async def test_the_real_solver_in_its_process(medium: Problem) -> None:
    solver = SolverProcess()
    try:
        first = await solver.solve(medium, work_limit=150, seed=1)
        assert check(medium, first.plan).ok
        again = await solver.solve(medium, work_limit=150, seed=1)
        assert np.array_equal(first.plan.option, again.plan.option)
        assert replace(first.report, seconds=0.0, trajectory=()) == replace(again.report, seconds=0.0, trajectory=())
    finally:
        await solver.close()


def test_what_the_planner_process_imports_is_light() -> None:
    code = (
        "import sys\n"
        "import broker.optimiser, broker.optimiser.files, broker.optimiser.check, broker.optimiser.report\n"
        "import broker.optimiser.worker, broker.optimiser.reasons, broker.optimiser.stop\n"
        "assert not {'numba', 'ortools'} & set(sys.modules)\n"
    )
    world = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=world)
