"""An event loop that takes in all that gRPC has to tell at once.

For each event of its core, gRPC's own thread puts it in a queue and writes one byte to a socket; the loop then reads
one byte, and takes all events there are: one byte is read for many that were written. In a busy server they pile up
until the socket is full, at 278 of them. From then on the thread waits, every turn of the loop lets it tell one event
more, and calls wait for tenths of seconds where nobody sees them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVarTuple

import uvloop

__all__ = ["Loop", "run_loop"]

Given = TypeVarTuple("Given")

BYTES_MAX = 4096  # more than the socket holds of single ones


class Loop(uvloop.Loop):
    """uvloop's, but for how gRPC's wake-ups are read; without gRPC, or with another one, it is the same."""

    def add_reader(self, fd: Any, callback: Callable[[*Given], Any], *args: *Given) -> None:
        """Have ``callback`` called when there is something to read; that of gRPC finds one byte, however many came."""
        if isinstance(fd, socket.socket) and _of_grpc(callback):
            super().add_reader(fd, _woken, fd, callback, args)
        else:
            super().add_reader(fd, callback, *args)


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` on such a loop until it ends, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main)


def _of_grpc(callback: Callable[..., Any]) -> bool:
    """Whether it is the one that takes events from gRPC's queue."""
    bound = getattr(callback, "func", callback)  # a partial, of the method and the loop
    return type(getattr(bound, "__self__", None)).__name__ == "PollerCompletionQueue"


def _woken(read: socket.socket, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        written = len(read.recv(BYTES_MAX, socket.MSG_PEEK))
        if written > 1:
            read.recv(written - 1)  # before events are taken: a byte of a later one must stay
    except BlockingIOError:  # another loop of this process was quicker; a server has one only
        return
    callback(*args)
