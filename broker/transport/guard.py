"""What every call passes through: a deadline of its own, and faults turned into statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from inspect import isasyncgenfunction
from typing import Any, cast

from grpc.aio import AbortError, ServicerContext

from broker import failpoints
from broker.domain.faults import Fault
from broker.transport.status import internal, status_of, too_late

__all__ = ["Guard"]

log = logging.getLogger(__name__)

Context = ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Guard:
    """Gives unary calls a deadline even when the caller set none; no exception leaves as anything but a status.

    Around each service of ours when it is added to a server: as an interceptor it would be asked again for every call.
    """

    seconds_max: float = 60.0
    seconds_default: float = 30.0
    patient: frozenset[str] = frozenset({"RunPlan"})
    seconds_patient: float = 660.0  # of these, whatever the caller says and unless it says anything

    def around(self, service: object) -> Any:
        """The same service, guarded; for the functions that add one to a server."""
        return _Guarded(self, service)

    def call(self, service: object, method: str) -> Callable[[Any, Context], Any]:
        """One method of a service, guarded."""
        found = getattr(service, method)
        if isasyncgenfunction(found):
            return self._stream(found)
        if method in self.patient:
            return self._unary(method, found, self.seconds_patient, self.seconds_patient)
        return self._unary(method, found, self.seconds_default, self.seconds_max)

    def _unary(
        self, method: str, call: Callable[[Any, Context], Awaitable[Any]], default: float, most: float
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def guarded(request: Any, context: Context) -> Any:
            remaining = cast("float | None", context.time_remaining())
            allowed = default if remaining is None else min(remaining, most)
            try:
                async with asyncio.timeout(allowed):
                    answer = await call(request, context)
                    failpoints.reach("before-reply", method)
                    return answer
            except TimeoutError:
                await context.abort_with_status(too_late())
            except Exception as error:  # noqa: BLE001 - the last line of defence
                await _abort(context, error)

        return guarded

    def _stream(self, call: Callable[[Any, Context], Any]) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async for reply in call(request, context):
                    yield reply
            except Exception as error:  # noqa: BLE001 - the last line of defence
                await _abort(context, error)

        return guarded


async def _abort(context: Context, error: Exception) -> None:
    if isinstance(error, AbortError):
        raise error
    if isinstance(error, Fault):
        await context.abort_with_status(status_of(error))
    log.error("a call failed", exc_info=error)
    await context.abort_with_status(internal())


@dataclass(frozen=True, slots=True)
class _Guarded:
    guard: Guard
    service: object

    def __getattr__(self, method: str) -> Callable[[Any, Context], Any]:
        return self.guard.call(self.service, method)
