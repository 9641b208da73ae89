"""Calls are taken in as they come, many in a turn of the event loop.

A server of grpc.aio asks its core for one call, has it two turns later, and only then asks for the next. What comes
sooner waits in the core: nobody sees how much that is, refuses any of it or lets a renewal go first. Here many are
asked for at once; what waits then waits in `broker.transport.load`. It takes functions that are gRPC's own business:
where a release lacks them, calls come in one by one as before (ADR 21).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from importlib import import_module
from inspect import signature
from typing import Any

import grpc

__all__ = ["Intake"]

TAKERS, STOP_SECONDS = 64, 1.0
cygrpc: Any = import_module("grpc._cython.cygrpc")  # nobody wrote its types down
OWN = {  # what we use of it, and by which parameters it is known
    "_handle_rpc": ("generic_handlers", "interceptors", "rpc_state", "loop", "concurrency_exceeded"),
    "_schedule_rpc_coro": ("rpc_coro", "rpc_state", "loop"),
}

log = logging.getLogger(__name__)


class Intake:
    """Asks a server that has started for ``TAKERS`` calls at once, until it stops; ``handler`` answers them.

    What comes while ``calls_max`` are under way is refused.
    """

    def __init__(self, server: grpc.aio.Server, handler: grpc.GenericRpcHandler, calls_max: int) -> None:
        self._core: Any = getattr(server, "_server", None)
        self._handlers, self._calls_max = [handler], calls_max
        self._takers: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[Any]] = set()

    @property
    def open(self) -> bool:
        """Whether calls are taken in here."""
        return bool(self._takers)

    def start(self) -> None:
        """Take calls in, if this release of gRPC lets us."""
        if not usable(self._core):
            log.warning("grpcio %s takes in calls one by one: under load they wait longer", grpc.__version__)
            return
        self._takers = [asyncio.create_task(self._take()) for _ in range(TAKERS)]

    async def stop(self) -> None:
        """Return once no call is taken in any more; the server has stopped."""
        takers, self._takers = self._takers, []
        if takers:
            _, waiting = await asyncio.wait(takers, timeout=STOP_SECONDS)
            for taker in waiting:  # the core has let go of it without a word
                taker.cancel()
            await asyncio.gather(*takers, return_exceptions=True)

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        while self._core.is_running():
            try:
                self._answer(await self._core._request_call(), loop)  # noqa: SLF001 - see above
            except cygrpc._RequestCallError:  # noqa: SLF001 - the call is gone already, or the server stops
                continue

    def _answer(self, state: Any, loop: asyncio.AbstractEventLoop) -> None:
        busy = len(self._calls) >= self._calls_max
        answer = _bare(cygrpc._handle_rpc(self._handlers, (), state, loop, busy))  # noqa: SLF001 - see above
        call = loop.create_task(cygrpc._schedule_rpc_coro(answer, state, loop))  # noqa: SLF001 - see above
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)


async def _bare(answer: Coroutine[Any, Any, None]) -> None:
    """Answer a call; what it raises remembers nothing of where that was.

    gRPC keeps the exception that ends a call with the call, and its frames keep the call: a cycle, of which a server
    under load has so many at once that they grow old before anybody looks for garbage.
    """
    try:
        await answer
    except BaseException as error:  # noqa: BLE001 - it goes on as it is
        error.__context__ = error.__cause__ = None
        raise error.with_traceback(None)  # noqa: B904 - it is the same


def usable(core: object) -> bool:
    """Whether this release of gRPC has what is used here, with the parameters that we know."""
    names = [(core, "_request_call"), (core, "is_running"), (cygrpc, "_RequestCallError")]
    if not all(hasattr(owner, name) for owner, name in names):
        return False
    try:
        return all(tuple(signature(getattr(cygrpc, name)).parameters) == known for name, known in OWN.items())
    except (AttributeError, ValueError, TypeError):
        return False
