"""Child processes: started clean, restarted when they die, drained and stopped together, never left behind."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic

__all__ = ["Children", "StartFailed", "die_with_parent"]

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
BACKOFF_SECONDS = 0.2, 5.0  # first and most between restarts of the same child
SPAWN = multiprocessing.get_context("spawn")

Body = Callable[[Callable[[], None]], None]


class StartFailed(Exception):
    """A child ended, or stayed silent too long, before it was ready."""


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when ``parent`` (a process id) dies, however it dies (Linux).

    A parent that is gone already is told by its id, not by that of init: in a container the parent itself may be 1.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


@dataclass(slots=True)
class _Child:
    """One child and what it takes to start it again."""

    name: str
    again: Body
    process: SpawnProcess
    ready: Connection
    started_at: float
    failures: int = 0  # in a row
    restart_at: float = 0.0
    up: bool = False  # it has said that it is ready


@dataclass(slots=True)
class Children:
    """A set of child processes; `start` each, then `watch` until told to stop, then `stop` all."""

    grace_seconds: float = 10.0
    steady_seconds: float = 5.0  # a child that lived this long had not failed to start
    died: Callable[[str], None] = lambda _name: None  # told of each child that died, before it is started again
    _children: list[_Child] = field(default_factory=list)

    def start(self, name: str, body: Body, again: Body | None = None) -> None:
        """Start a child that runs ``body(ready)``, or ``again(ready)`` once it had to be started again.

        It must call ``ready`` once it can do its work.
        """
        process, ready = _spawn(name, body)
        self._children.append(_Child(name, again or body, process, ready, monotonic()))

    def wait_ready(self, seconds: float) -> None:
        """Wait until every child has said that it is ready; raises StartFailed."""
        end = monotonic() + seconds
        for child in self._children:
            if not child.ready.poll(max(0.0, end - monotonic())):
                raise StartFailed(f"{child.name} was not ready within {seconds:.0f} s")
            try:
                child.up = bool(child.ready.recv())
            except EOFError:
                raise StartFailed(f"{child.name} ended before it was ready; its log says why") from None

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each child by name."""
        return {child.name: child.process.pid or 0 for child in self._children}

    @property
    def up(self) -> tuple[str, ...]:
        """Names of the children that live and have said that they are ready."""
        for child in self._children:
            with suppress(EOFError, OSError):
                child.up = child.up or (child.ready.poll() and bool(child.ready.recv()))
        return tuple(child.name for child in self._children if child.up and child.process.is_alive())

    def watch(self, stopping: Callable[[], bool], tick_seconds: float = 0.2) -> None:
        """Restart what dies, with growing patience, until ``stopping``."""
        while not stopping():
            sentinels = [child.process.sentinel for child in self._children if child.process.is_alive()]
            wait(sentinels, tick_seconds)
            for child in self._children:
                if not child.process.is_alive() and not stopping():
                    self._revive(child)

    def stop(self) -> None:
        """Ask every child to drain, wait for the grace, then end what is left."""
        for child in self._children:
            child.process.terminate()
        end = monotonic() + self.grace_seconds
        for child in self._children:
            child.process.join(max(0.0, end - monotonic()))
            if child.process.is_alive():
                log.warning("%s did not stop in %.0f s and is ended", child.name, self.grace_seconds)
                child.process.kill()
                child.process.join()

    def _revive(self, child: _Child) -> None:
        if not child.restart_at:
            first, most = BACKOFF_SECONDS
            child.failures = 1 if monotonic() - child.started_at >= self.steady_seconds else child.failures + 1
            delay = min(most, first * 2 ** (child.failures - 1))
            child.restart_at = monotonic() + delay
            log.error("%s ended with %s; restarting in %.1f s", child.name, child.process.exitcode, delay)
            self.died(child.name)
        if monotonic() >= child.restart_at:
            child.ready.close()
            child.process, child.ready = _spawn(child.name, child.again)
            child.started_at, child.restart_at, child.up = monotonic(), 0.0, False


def _spawn(name: str, body: Body) -> tuple[SpawnProcess, Connection]:
    ready, tell = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_run, args=(body, tell, os.getpid()), name=name)
    process.start()
    tell.close()
    return process, ready


def _run(body: Body, tell: Connection, parent: int) -> None:
    die_with_parent(parent)

    def ready() -> None:
        # The parent may have given up on waiting.
        with suppress(BrokenPipeError, OSError):
            tell.send(True)

    body(ready)
