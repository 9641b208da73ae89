"""What planning costs those who call meanwhile, and how soon a cancelled solve answers.

    python -m bench.beside [--seconds 5] [--rounds 6] [--rate 200]

Starts a store and a server process, and calls the server at a fixed rate, GetClaim and CreateClaim in turn. A call is
made when it is due whatever became of those before, and its time counts from then: a server that falls behind is not
spared the waiting. No planner runs, but a solver process that steps back as in production: it works on L:1.1:1 in every
second stretch and is stopped in the others, so that a machine whose speed changes changes both. Last, solves of M and
L are cancelled at random moments: the time is that until the worker's best plan is back in the calling process; a
worker that does not answer in time is killed, and its plan lost.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import grpc
from capacitybroker import Client
from capacitybroker.v1.capacity_service_pb2 import CreateClaimRequest, GetClaimRequest
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub

from bench.cores import cores
from bench.generator import Synthetic, synthetic
from bench.served import broker, claim_message, small_fleet
from broker.optimiser.problem import Problem
from broker.optimiser.worker import SolverProcess

WARM_SECONDS = 2.0  # of calls that are not counted
SOLVING = Synthetic("L", 1.1, 1)
CANCELLED = (Synthetic("M", 1.1, 1), SOLVING)
CANCELS = 5
SOLVE_SECONDS = 10.0  # that a cancelled solve would have had
TENANT = "tenants/atlas"

__all__ = ["beside", "cancels", "main"]


@dataclass(slots=True)
class Seconds:
    """How long the calls of one stretch took."""

    get: list[float] = field(default_factory=list)
    create: list[float] = field(default_factory=list)


class Round(NamedTuple):
    """The same calls while the solver stands still, and while it works."""

    idle: Seconds
    beside: Seconds


class Caller:
    """Calls at a fixed rate over one connection."""

    def __init__(self, address: str, rate: float) -> None:
        self._address, self._gap = address, 1 / rate
        self._numbers = count()
        self._name = ""

    def prepare(self) -> None:
        """A market, and a claim to ask for."""
        with Client(self._address, tenant="atlas") as client:
            client.apply_fleet(small_fleet())
            self._name = client.create_claim(claim_message()).name

    def stretch(self, seconds: float) -> Seconds:
        """Call for so long; raises grpc.RpcError when a call fails."""
        seen = Seconds()
        gc.disable()  # a collection here takes 0.1 s, and all calls of that time would seem slow
        try:
            with grpc.insecure_channel(self._address) as channel:
                stub = CapacityServiceStub(channel)
                self._send(stub, WARM_SECONDS, Seconds())
                self._send(stub, seconds, seen)
        finally:
            gc.enable()
        return seen

    def _send(self, stub: CapacityServiceStub, seconds: float, seen: Seconds) -> None:
        begun = time.perf_counter()
        calls: list[grpc.Future[Any]] = []
        for turn in range(int(seconds / self._gap)):
            due = begun + turn * self._gap
            time.sleep(max(0.0, due - time.perf_counter()))
            call: grpc.Future[Any] = (
                self._create(stub) if turn % 2 else stub.GetClaim.future(GetClaimRequest(name=self._name))
            )
            call.add_done_callback(partial(_note, seen.create if turn % 2 else seen.get, due))
            calls.append(call)
        for call in calls:
            call.result()

    def _create(self, stub: CapacityServiceStub) -> grpc.Future[Any]:
        number = next(self._numbers)
        request = CreateClaimRequest(parent=TENANT, claim=claim_message(), request_id=f"beside-{number}")
        return stub.CreateClaim.future(request)


def _note(into: list[float], due: float, _call: object) -> None:
    into.append(time.perf_counter() - due)


async def beside(problem: Problem, work: Callable[[], Seconds], seconds: float, rounds: int) -> list[Round]:
    """What ``work`` (of about so many seconds) comes to each round, while a solver stands still and while it works."""
    solver = SolverProcess()
    under_way = asyncio.Event()
    seen = []
    try:
        await solver.start()
        allowed = 3 * rounds * (seconds + WARM_SECONDS) + 60  # the solve lasts longer than all work
        solving = asyncio.create_task(
            solver.solve(problem, seconds=allowed, seed=1, on_progress=lambda _: under_way.set())
        )
        await under_way.wait()
        for _ in range(rounds):
            with _stopped(solver):
                idle = await asyncio.to_thread(work)
            seen.append(Round(idle, await asyncio.to_thread(work)))
        assert not solving.done()
        solving.cancel()
        await asyncio.gather(solving, return_exceptions=True)
    finally:
        await solver.close()
    return seen


@contextmanager
def _stopped(solver: SolverProcess) -> Iterator[None]:
    assert solver.pid is not None
    os.kill(solver.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(solver.pid, signal.SIGCONT)


async def cancels(problem: Problem, rng: random.Random) -> tuple[list[float], int]:
    """Seconds from asking solves to stop until each was back, and how many workers had to be killed."""
    solver = SolverProcess()
    seconds, killed = [], 0
    try:
        for _ in range(CANCELS):
            await solver.start()
            solving = asyncio.create_task(solver.solve(problem, seconds=SOLVE_SECONDS, seed=1))
            await asyncio.sleep(rng.uniform(0.05, 0.9) * SOLVE_SECONDS)
            assert not solving.done()
            begun = time.perf_counter()
            solving.cancel()
            await asyncio.gather(solving, return_exceptions=True)
            seconds.append(time.perf_counter() - begun)
            killed += solver.pid is None
    finally:
        await solver.close()
    return seconds, killed


def _show(what: str, rounds: list[tuple[list[float], list[float]]]) -> None:
    idle, busy = ([second for one in rounds for second in one[side]] for side in (0, 1))
    ratios = sorted(_worst(beside) / _worst(alone) for alone, beside in rounds)
    print(f"{what:12} idle p50 {_millis(median(idle))}, p99 {_millis(_worst(idle))}", end="; ")
    print(f"beside p50 {_millis(median(busy))}, p99 {_millis(_worst(busy))}", end="; ")
    print(f"p99 ratio {_worst(busy) / _worst(idle):.2f}, of a round {ratios[0]:.2f} to {ratios[-1]:.2f}", end=", ")
    print(f"middle {median(ratios):.2f}", flush=True)


def _worst(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]


def _millis(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def main() -> int:
    """Print one line for each figure."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--seconds", type=float, default=5)
    ask.add_argument("--rounds", type=int, default=6)
    ask.add_argument("--rate", type=float, default=200)
    args = ask.parse_args()
    print(f"{cores()} cores; {args.rate:g} calls/s, {args.rounds} times {args.seconds:g} s without and with", end=" ")
    print(f"a solver that works on {SOLVING}", flush=True)
    problem = synthetic(SOLVING)
    with tempfile.TemporaryDirectory() as directory, broker(Path(directory)) as (address, _):
        caller = Caller(address, args.rate)
        caller.prepare()
        work = partial(caller.stretch, args.seconds)
        rounds = asyncio.run(beside(problem, work, args.seconds, args.rounds))
    _show("GetClaim", [(one.idle.get, one.beside.get) for one in rounds])
    _show("CreateClaim", [(one.idle.create, one.beside.create) for one in rounds])
    rng = random.Random(1)  # noqa: S311 - moments, not secrets
    for name in CANCELLED:
        seconds, killed = asyncio.run(cancels(synthetic(name), rng))
        told = ", ".join(_millis(one) for one in seconds)
        print(f"cancel {name}: median {_millis(median(seconds))}, worst {_millis(max(seconds))}", end="")
        print(f" ({told}); {killed} of {CANCELS} workers killed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
