"""A solver process of one's own: warm, stoppable, and killed when it does not answer.

Solving holds a core for seconds and imports ortools and numba, so it happens in one spawned process that stays warm
between calls. The parent never waits for it without a limit. Messages go through one pipe, in order:
``Order`` to the worker, ``Progress`` and one ``Solved`` or fault back; ``Quit`` stops the order under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from broker import failpoints
from broker.optimiser.giveway import GivingWay, step_back
from broker.optimiser.problem import Plan, Problem
from broker.optimiser.report import Earlier, Progress, Solved
from broker.optimiser.stop import AnyOf, Cancelled, SecondsLimit, Stop, WorkLimit

__all__ = ["Order", "Quit", "SolverLost", "SolverProcess", "Work", "plan_order"]

START_SECONDS_MAX = 300.0  # the first start on a machine compiles the hot loops
CANCEL_SECONDS_MAX = 1.0
UNBOUNDED_SECONDS_MAX = 3600.0


class SolverLost(RuntimeError):
    """The worker died, hung or failed; the next call starts a new one."""


class _PipeLost(Exception):
    """Nobody is at the other end."""


@dataclass(frozen=True, slots=True)
class Order:
    """One problem to solve."""

    number: int
    problem: Problem
    seconds: float | None
    work_limit: int | None
    seed: int
    hint: Plan | None
    earlier: Earlier | None = None


@dataclass(frozen=True, slots=True)
class Quit:
    """Stop the order of this number, and answer with the best plan so far."""

    number: int


@dataclass(frozen=True, slots=True)
class _Ready:
    """The worker has loaded and compiled everything."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A message about one order."""

    number: int
    content: Progress | Solved | str  # a string is a fault


Work = Callable[[Order, Stop, Callable[[Progress], None]], Solved]
OnProgress = Callable[[Progress], None]


def plan_order(order: Order, stop: Stop, on_progress: OnProgress) -> Solved:
    """What the worker does with an order: solve it."""
    from broker.optimiser.solve import solve

    return solve(
        order.problem, stop=stop, seed=order.seed, hint=order.hint, earlier=order.earlier, on_progress=on_progress
    )


class SolverProcess:
    """Owner of one worker process; one order at a time, further callers wait their turn."""

    def __init__(self, work: Work = plan_order, *, grace_seconds: float = 3.0, memory_bytes: int | None = None) -> None:
        self._work, self._grace, self._memory_bytes = work, grace_seconds, memory_bytes
        self._failpoints = failpoints.told()
        self._turn = asyncio.Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._receiving: asyncio.Future[object] | None = None
        self._sending: asyncio.Future[None] | None = None
        self._number = 0

    @property
    def pid(self) -> int | None:
        """The process id of the worker, if one is running."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    async def start(self) -> None:
        """Start the worker and wait until it is warm; solving does it too. Raises ``SolverLost``."""
        async with self._turn:
            await self._ready()

    async def solve(
        self,
        problem: Problem,
        *,
        seconds: float | None = None,
        work_limit: int | None = None,
        seed: int,
        hint: Plan | None = None,
        earlier: Earlier | None = None,
        on_progress: OnProgress | None = None,
    ) -> Solved:
        """``solve`` in the worker, within ``seconds`` or ``work_limit`` units or both.

        A worker that has not answered by 1.5 times ``seconds`` and a grace is killed, and ``SolverLost`` raised. A call
        that is cancelled, or whose ``on_progress`` raises, stops the worker, which is killed unless it answers at once.
        """
        if seconds is None and work_limit is None:
            raise ValueError("a solve needs a limit: seconds, work_limit or both")
        async with self._turn:
            pipe = await self._ready()
            self._number += 1
            order = Order(self._number, problem, seconds, work_limit, seed, hint, earlier)
            limit = self._grace + 1.5 * (seconds if seconds is not None else UNBOUNDED_SECONDS_MAX)
            try:
                async with asyncio.timeout(limit):
                    await self._send(pipe, order)
                    return await self._answer(pipe, order.number, on_progress)
            except (TimeoutError, SolverLost, _PipeLost) as error:
                if isinstance(error, SolverLost):
                    raise
                await self._kill()
                raise SolverLost(f"the solver did not answer within {limit:.1f} s or died: {error!r}") from error
            except BaseException:
                await asyncio.shield(asyncio.ensure_future(self._quit(pipe, order.number)))
                raise

    async def close(self) -> None:
        """End the worker; it is gone when this returns."""
        async with self._turn:
            await self._kill()

    async def _ready(self) -> Connection:
        if self._process is not None and self._process.is_alive() and self._pipe is not None:
            return self._pipe
        await self._kill()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self._work, os.getpid(), self._memory_bytes, self._failpoints)
        self._failpoints = ""  # of the first process only
        process = context.Process(target=_serve, args=arguments, daemon=True, name="solver")
        self._process, self._pipe = process, ours
        try:
            process.start()  # on this thread: Linux ties the worker's life to the thread that starts it
            theirs.close()
            async with asyncio.timeout(START_SECONDS_MAX):
                await self._receive(ours)
        except BaseException as error:
            await asyncio.shield(asyncio.ensure_future(self._kill()))
            if isinstance(error, (TimeoutError, _PipeLost)):
                raise SolverLost(f"the solver did not start: {error!r}") from error
            raise
        return ours

    async def _send(self, pipe: Connection, message: Order | Quit) -> None:
        """Send a message whole, even if the wait for it is cancelled; the next one waits until it is through."""
        if self._sending is not None:
            await asyncio.wait([self._sending])
        self._sending = asyncio.ensure_future(asyncio.to_thread(pipe.send, message))
        try:
            await asyncio.shield(self._sending)
        except OSError as error:
            raise _PipeLost(repr(error)) from error

    async def _receive(self, pipe: Connection) -> object:
        """The next message; one that a cancelled wait had begun to read is not lost."""
        if self._receiving is None:
            await _readable(pipe)
            self._receiving = asyncio.ensure_future(asyncio.to_thread(pipe.recv))
        receiving = self._receiving
        try:
            return await asyncio.shield(receiving)
        except (EOFError, OSError) as error:
            raise _PipeLost(repr(error)) from error
        finally:
            if receiving.done():
                self._receiving = None

    async def _answer(self, pipe: Connection, number: int, on_progress: OnProgress | None) -> Solved:
        while True:
            message = await self._receive(pipe)
            if not isinstance(message, _Answer) or message.number != number:
                continue  # the late word of an order that was cancelled
            if isinstance(message.content, Solved):
                return message.content
            if isinstance(message.content, str):
                raise SolverLost(f"the solver failed: {message.content}")
            if on_progress is not None:
                on_progress(message.content)

    async def _quit(self, pipe: Connection, number: int) -> None:
        """Stop an order; a worker that does not answer at once is killed."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS_MAX):
                await self._send(pipe, Quit(number))
                await self._answer(pipe, number, None)
        except (TimeoutError, _PipeLost, SolverLost):
            await self._kill()

    async def _kill(self) -> None:
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is not None and process.pid is not None:
            process.kill()
            await asyncio.to_thread(process.join)
            process.close()
        if self._receiving is not None:
            await asyncio.wait([self._receiving])
            self._receiving.exception()
            self._receiving = None
        if self._sending is not None:
            await asyncio.wait([self._sending])
            self._sending.exception()
            self._sending = None
        if pipe is not None:
            pipe.close()


async def _readable(pipe: Connection) -> None:
    """Wait for a message without a thread, which could outlive the wait."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    number = pipe.fileno()
    loop.add_reader(number, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(number)


def _serve(pipe: Connection, work: Work, parent: int, memory_bytes: int | None, armed: str) -> None:
    """The worker: obey orders until the pipe closes or the parent dies, with no more than ``memory_bytes`` to use."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(parent)
    failpoints.arm(armed)
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    orders: list[Order] = []
    wake = threading.Condition()
    quitting: set[int] = set()

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                message = pipe.recv()
                with wake:
                    if isinstance(message, Quit):
                        quitting.add(message.number)
                    else:
                        orders.append(message)
                    wake.notify()
        os._exit(0)  # nobody is left to answer

    if work is plan_order:
        from broker.optimiser.warm import warm

        warm()
    # Only now: a planner that stands by must be warm before it is needed, whoever else is busy.
    step_back()
    threading.Thread(target=listen, daemon=True).start()
    pipe.send(_Ready())
    while True:
        with wake:
            wake.wait_for(lambda: bool(orders))
            order = orders.pop(0)
        _obey(pipe, work, order, quitting)


def _obey(pipe: Connection, work: Work, order: Order, quitting: set[int]) -> None:
    rules: list[Stop] = [Cancelled(lambda: order.number in quitting)]
    if order.seconds is not None:
        rules.append(SecondsLimit(order.seconds, time.monotonic))
    if order.work_limit is not None:
        rules.append(WorkLimit(order.work_limit))
    try:
        with GivingWay(AnyOf(*rules)) as stop:
            failpoints.reach("before-solver-start")
            content: Solved | str = work(order, stop, lambda seen: pipe.send(_Answer(order.number, seen)))
            failpoints.reach("before-solver-result")
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the parent must hear of it
        content = f"{type(error).__name__}: {error}"
    pipe.send(_Answer(order.number, content))


def _die_with(parent: int) -> None:
    """Ask Linux to end this process with its parent; elsewhere the closed pipe ends it."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
