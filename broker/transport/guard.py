"""What every call passes through: its turn, a deadline of its own, and its record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from inspect import isasyncgenfunction
from time import perf_counter
from typing import Any, cast

import grpc
from grpc.aio import ServicerContext

from broker import failpoints
from broker.domain.faults import Fault
from broker.telemetry.audit import Audit
from broker.telemetry.tally import Tally
from broker.telemetry.traces import Traces
from broker.transport.ending import Refused
from broker.transport.load import Load
from broker.transport.methods import METHODS, OPERATORS, Method, tenant_of
from broker.transport.pulse import Shares
from broker.transport.status import LATENESS, overloaded, too_late

__all__ = ["Guard"]

Context = ServicerContext[Any, Any]

OK, OVERLOADED, LATE, GONE, BUG = "OK", "OVERLOADED", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"
CHANGES = "-!"  # of operators
UNREAD = Shares.OTHERS  # whose calls are on record that nobody has read


class _Overloaded(Refused):
    """The server has too much to do."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Gives unary calls a turn, and a deadline where the caller set none; what they raise is on record, and goes on.

    Around each service of ours when it is added to a server: as an interceptor it would be asked again for every call.
    """

    seconds_max: float = 60.0
    seconds_default: float = 30.0
    unread_seconds_max: float = 30.0  # that a message of a stream may wait for its reader
    patient: frozenset[str] = frozenset({"RunPlan"})
    seconds_patient: float = 660.0  # of these, whatever the caller says and unless it says anything
    load: Load = field(default_factory=Load)
    tally: Tally = field(default_factory=Tally)
    audit: Audit | None = None
    traces: Traces | None = None
    known: Callable[[str], bool] = lambda _tenant: True  # whether it is a tenant of the fleet

    def around(self, service: object) -> Any:
        """The same service, guarded; for the functions that add one to a server."""
        return _Guarded(self, service)

    def busy(self, name: str, context: Context) -> grpc.Status | None:
        """The status of a call that is sent away unread, which costs far less than to answer it; None: let it in.

        Whose it is nobody knows by then, so that each connection has its share.
        """
        method = METHODS.get(name)
        if method is None or (seconds := self.load.unread(method.lane, context.peer)) is None:
            return None
        self._shed(name, UNREAD, perf_counter())
        return overloaded(seconds)

    def call(self, service: object, name: str) -> Callable[[Any, Context], Any]:
        """One method of a service, guarded."""
        found, method = getattr(service, name), METHODS[name]
        if isasyncgenfunction(found):
            return self._stream(name, method, found)
        guarded = self._unary(name, method, found)
        return guarded if self.traces is None else self.traces.around(name, guarded)

    def _unary(
        self, name: str, method: Method, call: Callable[[Any, Context], Awaitable[Any]]
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        default, most = self.seconds_default, self.seconds_max
        if name in self.patient:
            default = most = self.seconds_patient
        load, lane, cost = self.load, method.lane, method.cost

        async def guarded(request: Any, context: Context) -> Any:
            begun, whose = perf_counter(), self._whose(method, request)
            remaining = cast("float | None", context.time_remaining())
            allowed = default if remaining is None else min(remaining, most)
            try:
                async with asyncio.timeout(allowed):
                    waited = await self._turn(method, whose, allowed)
                    try:
                        reply = await call(request, context)
                    finally:
                        load.leave(lane, cost)
                    failpoints.reach("before-reply", name)
            except _Overloaded:
                self._shed(name, whose, begun)
                raise
            except asyncio.CancelledError:
                self._refused(name, method, request, context, GONE, begun)
                raise
            except TimeoutError:
                self._refused(name, method, request, context, LATE, begun)
                raise Refused(too_late()) from None
            except Exception as error:
                self._refused(name, method, request, context, _outcome(error), begun)
                raise
            else:
                self.tally.add(name, OK, perf_counter() - begun)
                if self.audit is not None and method.changed is not None:
                    self._changed(name, method, request, reply, context)
                if millis := round(1000 * load.late(whose, waited)):
                    context.set_trailing_metadata(((LATENESS, str(millis)),))
                return reply

        return guarded

    def _stream(
        self, name: str, method: Method, call: Callable[[Any, Context], Any]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            begun, loop = perf_counter(), asyncio.get_running_loop()
            own = asyncio.current_task()
            assert own is not None
            try:
                async for reply in call(request, context):
                    # Who never reads blocks its own call in the middle of a message, where nothing can be told to it.
                    unread = loop.call_later(self.unread_seconds_max, own.cancel)
                    try:
                        yield reply
                    finally:
                        unread.cancel()
            except (asyncio.CancelledError, GeneratorExit):
                self.tally.add(name, GONE, perf_counter() - begun)
                raise
            except Exception as error:
                self._refused(name, method, request, context, _outcome(error), begun)
                raise
            else:
                self.tally.add(name, OK, perf_counter() - begun)

        return guarded

    def _whose(self, method: Method, request: Any) -> str:
        """Whose turn the call takes: names that no tenant has are one, or they would starve the names that are."""
        tenant = tenant_of(method.target(request))
        if tenant == OPERATORS:
            return CHANGES if method.changed is not None else OPERATORS  # these do not wait for what anybody may read
        return tenant if self.known(tenant) else Shares.OTHERS

    async def _turn(self, method: Method, tenant: str, allowed: float) -> float:
        """Return once the call may go on: seconds that it waited; raises _Overloaded."""
        load, lane, cost = self.load, method.lane, method.cost
        seconds = load.unfair(lane, tenant)
        if seconds is None and load.enter(lane, cost):
            return 0.0
        if seconds is None:
            seconds = load.refused(lane, cost, tenant, allowed)
        if seconds is not None:
            raise _Overloaded(overloaded(seconds))
        begun = perf_counter()
        await load.turn(lane, cost, tenant)
        return perf_counter() - begun

    def _shed(self, name: str, tenant: str, begun: float) -> None:
        self.tally.add(name, OVERLOADED, perf_counter() - begun)
        if self.audit is not None:
            self.audit.shed(tenant, name)

    def _refused(self, name: str, method: Method, request: Any, context: Context, outcome: str, begun: float) -> None:
        """Put on record what came of a call that has no answer."""
        self.tally.add(name, outcome, perf_counter() - begun)
        if self.audit is not None:
            target = method.target(request)
            self.audit.record(
                tenant_of(target), name, target, getattr(request, "request_id", ""), outcome, 0, context.peer()
            )

    def _changed(self, name: str, method: Method, request: Any, reply: Any, context: Context) -> None:
        """Put a change on record before its caller learns of it."""
        assert self.audit is not None
        assert method.changed is not None
        found = method.changed(request, reply)
        if found is not None:
            target, revision = found
            who = tenant_of(target)
            self.audit.record(who, name, target, request.request_id, OK, revision, context.peer())


def _outcome(error: Exception) -> str:
    return error.reason.name if isinstance(error, Fault) else BUG


@dataclass(frozen=True, slots=True)
class _Guarded:
    guard: Guard
    service: object

    def __getattr__(self, method: str) -> Callable[[Any, Context], Any]:
        return self.guard.call(self.service, method)
