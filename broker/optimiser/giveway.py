"""Solving takes what answering calls leaves, and leaves it at once.

A process of Linux's idle class makes way for whoever wakes up on its core, but it also keeps that core from looking
busy or free: a caller's task that queues behind another on the next core moves over at once when this one falls idle,
and with the next tick (4 ms) when it goes back to an idle-class task. So while others are about, each solving thread
falls idle for a moment every millisecond. A timer does it, since no loop of numba, numpy or OR-Tools has to know.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.optimiser.stop import Stop

__all__ = ["GivingWay", "step_back"]

NICENESS = 19
THREADS_MAX = 2  # that solve
BUSY_SECONDS = 0.001  # of a thread between two pauses
CROWDED_SECONDS = 0.05  # how long a thread goes on pausing after it was last pushed aside
# The handler is usleep itself, so the number of the signal is the length of a pause in microseconds. A pause must
# reach some 50 of them: a kernel does not look for waiting tasks when cores fall idle for less than the look takes.
SIGNAL = 64  # SIGRTMAX of Linux
_PR_SET_TIMERSLACK, _CLOCK_MONOTONIC, _SIGEV_THREAD_ID = 29, 1, 4  # of its headers


def step_back() -> None:
    """Make this process, with all its threads, take what others leave: whoever wakes up goes first."""
    if sys.platform != "linux":
        os.nice(NICENESS)
        return
    for thread in [int(task.name) for task in Path("/proc/self/task").iterdir()]:  # each has its own, on Linux
        os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


class GivingWay:
    """A stop rule that is another one; threads that ask it pause while others want their cores. A context manager.

    A thread counts as crowded for a while after the kernel took its core away. The first two threads that ask pause, as
    a solve has no more; CP-SAT's own do not. Only Linux has such timers; where they cannot be had nothing pauses, and
    the solve goes on. A process that does it gives its last real-time signal away.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._threads = threading.local()
        self._pauses: list[_Pauses] = []

    def spent(self, work: int) -> float:
        """Share of the other rule."""
        pauses = self._mine()
        if pauses is not None:
            pauses.look()
        return self._stop.spent(work)

    def _mine(self) -> _Pauses | None:
        """The pauses of the calling thread, if it may have any."""
        if not hasattr(self._threads, "pauses"):
            self._threads.pauses = None
            if sys.platform == "linux" and len(self._pauses) < THREADS_MAX:
                with contextlib.suppress(OSError, AttributeError):  # no timer left, or a C library without them
                    self._threads.pauses = _Pauses()
                    self._pauses.append(self._threads.pauses)
        found: _Pauses | None = self._threads.pauses
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pauses in self._pauses:
            pauses.close()


class _Event(ctypes.Structure):
    """``struct sigevent`` of Linux, padded to its 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("rest", ctypes.c_char * 44),
    )


class _Interval(ctypes.Structure):
    """``struct itimerspec``."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns"))


class _Pauses:
    """The timer of the calling thread, which runs while the thread is crowded."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.prctl(_PR_SET_TIMERSLACK, 1)  # nanoseconds; 50,000 by default would double a pause
        self._libc.signal.argtypes, self._libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        self._libc.signal(SIGNAL, ctypes.cast(self._libc.usleep, ctypes.c_void_p))
        self._timer = ctypes.c_void_p()
        self._running = False
        self._pushed, self._until = _pushed_aside(), 0.0
        event = _Event(signal=SIGNAL, notify=_SIGEV_THREAD_ID, thread=threading.get_native_id())
        if self._libc.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)) != 0:
            raise OSError(ctypes.get_errno(), "a timer of this thread")

    def look(self) -> None:
        """Start or stop pausing."""
        pushed, now = _pushed_aside(), time.monotonic()
        if pushed != self._pushed:
            self._pushed, self._until = pushed, now + CROWDED_SECONDS
        if self._running != (now < self._until):
            self._running = not self._running
            self._set(BUSY_SECONDS if self._running else 0.0)

    def close(self) -> None:
        """Pause no more; from any thread."""
        self._libc.timer_delete(self._timer)

    def _set(self, seconds: float) -> None:
        nanos = int(1e9 * seconds)
        interval = _Interval(every_ns=nanos, first_ns=nanos)
        self._libc.timer_settime(self._timer, 0, ctypes.byref(interval), None)


def _pushed_aside() -> int:
    """How often the kernel has taken the core from this thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
