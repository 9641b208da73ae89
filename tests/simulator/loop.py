"""An event loop whose time is virtual, whose ready queue has a seeded order, and whose tasks belong to processes.

A process is a label that tasks, and whatever they start or wait for, carry in their context. So a process can be
stopped for a while as SIGSTOP would, or end as kill -9 would: nothing of it runs any more, no ``finally`` either.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["VirtualLoop", "run_in"]

_T = TypeVar("_T")
_process: contextvars.ContextVar[str] = contextvars.ContextVar("process", default="")


def _context_of(process: str) -> contextvars.Context:
    """The context of whatever belongs to the process of that name."""
    context = contextvars.Context()
    context.run(_process.set, process)
    return context


class Stillness(RuntimeError):
    """Nobody waits for anything that will come."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in an order of its own; time passes only when nothing is, and then at once."""

    # What asyncio's own loop keeps, and its stubs do not tell.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._elapsed = self._leapt = 0.0
        self.nobody = _context_of("")  # of what belongs to no process
        self._stopped: dict[str, list[asyncio.Handle]] = {}
        self._dead: dict[str, list[asyncio.Handle]] = {}
        self._buried = False
        self._tasks: list[asyncio.Task[Any]] = []  # who is killed waits for ever, and must not be collected meanwhile
        self.steps = 0
        self.set_exception_handler(self._unexpected)
        self.unexpected: list[str] = []

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._elapsed

    def leap(self, seconds: float) -> None:
        """Let time pass in which nothing happens anywhere, as if the whole world had been suspended."""
        self._elapsed += seconds
        self._leapt += seconds

    def awake(self) -> float:
        """Seconds since the beginning in which anything could happen."""
        return self._elapsed - self._leapt

    def stop_process(self, name: str) -> None:
        """From now on nothing of the process runs until `continue_process`."""
        self._stopped.setdefault(name, [])

    def continue_process(self, name: str) -> None:
        """Whatever came due meanwhile runs now."""
        self._ready.extend(self._stopped.pop(name, ()))

    def kill_process(self, name: str) -> None:
        """Nothing of the process ever runs again; names are not used twice."""
        if not self._buried:
            self._dead[name] = self._stopped.pop(name, [])

    def bury(self) -> None:
        """Let what was killed come to its end, so that it can be cancelled and collected."""
        self._buried = True
        for name in list(self._stopped):
            self.continue_process(name)
        for handles in self._dead.values():
            self._ready.extend(handles)
        self._dead.clear()

    def spawn(self, process: str, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """A task of that process."""
        return self.create_task(work, context=_context_of(process))

    def create_task(self, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """See `asyncio.AbstractEventLoop.create_task`; kept to the end of the run."""
        self._tasks.append(task := super().create_task(*args, **kwargs))
        return task

    def run_in_executor(self, _executor: Any, work: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:  # type: ignore[override]
        """Work of threads is done here and now, and its outcome is known a moment later."""
        future: asyncio.Future[_T] = self.create_future()
        try:
            answer = work(*args)
        except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
            self.call_soon(_settle, future, None, error)
        else:
            self.call_soon(_settle, future, answer, None)
        return future

    def _unexpected(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unexpected.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _run_once(self) -> None:
        timers, ready = self._scheduled, self._ready
        while timers and (timers[0]._cancelled or timers[0].when() <= self._elapsed or not ready):
            timer = heapq.heappop(timers)
            if not timer._cancelled:
                self._elapsed = max(self._elapsed, timer.when())
                ready.append(timer)
        if not ready:
            raise Stillness("nothing will ever happen again")
        i = int(self._rng.random() * len(ready)) if len(ready) > 1 else 0
        handle, ready[i] = ready[i], ready[-1]
        ready.pop()
        if handle._cancelled:
            return
        process = handle._context.get(_process, "")  # type: ignore[attr-defined] # typeshed leaves it out
        for absent in (self._dead, self._stopped):
            if process in absent:
                absent[process].append(handle)
                return
        self.steps += 1
        handle._run()

    def _process_events(self, _events: Any) -> None:
        """There are no sockets here."""

    def _write_to_self(self) -> None:
        """Nobody is asleep."""


def _settle(future: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)


def run_in(loop: VirtualLoop, main: Coroutine[Any, Any, _T]) -> _T:
    """What ``main`` comes to on that loop, which is closed then with all that is left on it."""
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        loop.bury()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            with suppress(Stillness):  # all is judged; some wait for those who were killed
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
