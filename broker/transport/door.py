"""Where bytes become messages: what is none, is too large or never comes is refused before anybody looks at it.

gRPC's own answer to a body that cannot be read is UNKNOWN, with the text of a Python exception and a traceback in the
log; a call whose body never comes, or ends too soon, it would keep until the connection ends. So each call is taken as
a stream of bytes, of which the first message is read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from inspect import isasyncgenfunction
from typing import Any

import grpc
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError
from grpc.aio import EOF, ServicerContext

from broker.domain.faults import Fault, FaultReason
from broker.transport.ending import Refused, end, end_with
from broker.transport.status import too_late

__all__ = ["FLEET_BYTES_MAX", "MESSAGE_BYTES_MAX", "Door", "reader"]

MESSAGE_BYTES_MAX = 256 * 1024
FLEET_BYTES_MAX = 4 * 1024 * 1024  # a thousand pools with all of their deliveries
BODY_SECONDS = 10.0
READING_SECONDS = 0.05
STREAMS_MAX = 10_000

Context = ServicerContext[Any, Any]
Read = Callable[[Any], Any]
Busy = Callable[[str, Context], grpc.Status | None]


@dataclass(slots=True)
class Door(grpc.GenericRpcHandler):
    """Collects services as a server does, and then is what the server asks for each call.

    The message of a call is there within ``seconds``; messages of a method have at most ``bytes_max`` of it, else
    256 KiB. ``streams_max`` are the calls that may send one message after the other at once. ``busy`` says with which
    status to send a call of a method away of which nothing has been read; None: it may come in.
    """

    seconds: float = BODY_SECONDS
    streams_max: int = STREAMS_MAX
    bytes_max: Mapping[str, int] = field(default_factory=lambda: {"ApplyFleet": FLEET_BYTES_MAX})
    busy: Busy = lambda _method, _context: None
    _methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = field(default_factory=dict)
    _streams: int = 0
    _looking: bool = False  # whether somebody will look at those who wait
    _awaited: dict[asyncio.Task[Any], float] = field(default_factory=dict)  # calls without a message, until when

    def __post_init__(self) -> None:
        if api_implementation.Type() != "upb":
            # What is written in Python has no limit of its own to how deep a message may be nested.
            raise Fault(
                FaultReason.SAFE_HALT,
                "protobuf runs without its compiled core",
                remedy="Install protobuf from a wheel, and leave PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION unset.",
            )

    def __getattr__(self, name: str) -> Callable[..., None]:
        """What generated code calls of a server to give it a service; it tells older servers the same otherwise."""
        match name:
            case "add_registered_method_handlers":
                return self.take
            case "add_generic_rpc_handlers":
                return lambda _: None
            case _:
                raise AttributeError(name)

    def take(self, service: str, methods: Mapping[str, Any]) -> None:
        """The methods of one service, by name."""
        for method, found in methods.items():
            self._methods[f"/{service}/{method}"] = self._opened(method, found)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Who answers a call; None: nobody does."""
        return self._methods.get(handler_call_details.method)

    def _opened(self, method: str, found: Any) -> grpc.RpcMethodHandler[Any, Any]:
        """A method that takes bytes for one that takes messages."""
        read = reader(found.request_deserializer, self.bytes_max.get(method, MESSAGE_BYTES_MAX))
        if found.request_streaming:
            many = self._each(read, found.stream_stream)
            return grpc.stream_stream_rpc_method_handler(many, None, found.response_serializer)
        if found.response_streaming:
            # Who answers with a stream either yields it or writes it to the context.
            enter = self._stream if isasyncgenfunction(found.unary_stream) else self._unary
            stream = enter(method, read, found.unary_stream)
            return grpc.stream_stream_rpc_method_handler(stream, None, found.response_serializer)
        unary = self._unary(method, read, found.unary_unary)
        return grpc.stream_unary_rpc_method_handler(unary, None, found.response_serializer)

    def _unary(self, method: str, read: Read, call: Callable[[Any, Context], Awaitable[Any]]) -> Any:
        async def entered(_: object, context: Context) -> Any:
            try:
                self._let_in(method, context)
                return await call(await self._message(read, context), context)
            except Exception as error:  # noqa: BLE001 - the last line of defence
                await end(context, error)

        return entered

    def _stream(self, method: str, read: Read, call: Callable[[Any, Context], AsyncIterator[Any]]) -> Any:
        async def entered(_: object, context: Context) -> AsyncIterator[Any]:
            try:
                self._let_in(method, context)
                async for reply in call(await self._message(read, context), context):
                    yield reply
            except Exception as error:  # noqa: BLE001 - the last line of defence
                await end(context, error)

        return entered

    def _each(self, read: Read, call: Callable[[Any, Context], AsyncIterator[Any]]) -> Any:
        async def messages(raws: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for raw in raws:
                yield read(raw)

        async def entered(raws: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            if self._streams >= self.streams_max:
                await end(context, _too_many(self.streams_max))
            self._streams += 1
            try:
                async for reply in call(messages(raws), context):
                    yield reply
            except Exception as error:  # noqa: BLE001 - the last line of defence
                await end(context, error)
            finally:
                self._streams -= 1

        return entered

    def _let_in(self, method: str, context: Context) -> None:
        status = self.busy(method, context)
        if status is not None:
            raise Refused(status)

    async def _message(self, read: Read, context: Context) -> Any:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None, "each call is a task of its own"
        self._awaited[task] = loop.time() + self.seconds
        if not self._looking:
            self._looking = True
            loop.call_later(self.seconds, self._let_go, loop)
        try:
            raw: Any = await context.read()
        except asyncio.CancelledError:
            if task in self._awaited:
                raise
            task.uncancel()
            await end_with(context, too_late())
        finally:
            self._awaited.pop(task, None)
        return read(raw)

    def _let_go(self, loop: asyncio.AbstractEventLoop) -> None:
        """Interrupt those who have waited too long; a timer for each call would cost a tenth of a short one."""
        now = loop.time()
        overdue = []
        for task, due in self._awaited.items():
            if due > now:
                loop.call_at(due, self._let_go, loop)
                break
            overdue.append(task)
        else:
            self._looking = False
        # Where this process stood still, a message may have come that nobody had a turn to read yet.
        loop.call_later(READING_SECONDS, self._interrupt, overdue)

    def _interrupt(self, overdue: list[asyncio.Task[Any]]) -> None:
        for task in overdue:
            if self._awaited.pop(task, None) is not None:
                task.cancel()


def reader(read: Read, most: int) -> Read:
    """The message of these bytes; Faults: MALFORMED_MESSAGE, MESSAGE_TOO_LARGE."""

    def checked(raw: Any) -> Any:
        if raw is EOF:
            raise _malformed("The call ended before its message")
        if len(raw) > most:
            raise Fault(
                FaultReason.MESSAGE_TOO_LARGE,
                f"A message of this method has at most {most} bytes",
                remedy="Send less at once, in several calls.",
                facts={"max_bytes": str(most)},
            )
        try:
            return read(raw)
        except DecodeError:
            raise _malformed("The body of the call is not a message of this method") from None

    return checked


def _too_many(most: int) -> Fault:
    return Fault(
        FaultReason.STREAM_LIMIT,
        f"This server has {most} such streams open already",
        remedy="Close one, or put more leases on each.",
        facts={"max_streams": str(most)},
    )


def _malformed(message: str) -> Fault:
    return Fault(
        FaultReason.MALFORMED_MESSAGE,
        message,
        remedy="Encode it by the proto files of this API, in which text is UTF-8, and send all of it.",
    )
