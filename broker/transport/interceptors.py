"""What every call passes through: a deadline of its own, and faults turned into statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc
from grpc.aio import AbortError, ServerInterceptor, ServicerContext

from broker.domain.faults import Fault
from broker.transport.status import internal, status_of, too_late

__all__ = ["Guard"]

log = logging.getLogger(__name__)

Context = ServicerContext[Any, Any]
if TYPE_CHECKING:
    # Generic in the stubs only.
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


@dataclass(frozen=True, slots=True)
class Guard(ServerInterceptor):
    """Gives unary calls a deadline even when the caller set none; no exception leaves as anything but a status.

    Only our own services: those of health and reflection look after themselves.
    """

    seconds_max: float = 660.0
    seconds_default: float = 30.0
    patient: frozenset[str] = frozenset({"/capacitybroker.v1.PlanningService/RunPlan"})  # default: the maximum

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The same handler, guarded."""
        # The stubs describe handlers of the threaded server; those of grpc.aio are coroutines.
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/capacitybroker."):
            return cast("Handler | None", handler)
        default = self.seconds_max if method in self.patient else self.seconds_default
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, default), **codecs)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler.unary_stream), **codecs)
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream), **codecs)
        return cast("Handler", handler)

    def _unary(
        self, call: Callable[[Any, Context], Awaitable[Any]], default: float
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def guarded(request: Any, context: Context) -> Any:
            remaining = cast("float | None", context.time_remaining())
            allowed = default if remaining is None else min(remaining, self.seconds_max)
            try:
                async with asyncio.timeout(allowed):
                    return await call(request, context)
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
