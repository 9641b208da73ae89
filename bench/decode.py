"""Decoding and validation alone, as the services do it, in front of a market that grants nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from google.protobuf.message_factory import GetMessageClass

from bench.mutate import METHODS, NAMES
from broker.domain.faults import Fault
from broker.transport.capacity_service import CapacityService
from broker.transport.door import MESSAGE_BYTES_MAX, reader
from broker.transport.fleet_service import FleetService
from broker.transport.lease_service import LeaseService
from broker.transport.planning_service import PlanningService

__all__ = ["look_at"]

NOW = 1_800_000_000


class _Reached(Exception):
    """Everything about the message was in order."""


class _Market:
    """Whatever is asked of it says that it was reached."""

    ledger = SimpleNamespace(token_key=b"key")

    def now(self) -> int:
        return NOW

    def __getattr__(self, _: str) -> Callable[..., Any]:
        def reached(*_: Any, **__: Any) -> Any:
            raise _Reached

        return reached


MARKET: Any = _Market()
SERVICES = {
    "CapacityService": CapacityService(MARKET, MARKET),
    "FleetService": FleetService(MARKET, MARKET),
    "LeaseService": LeaseService(MARKET),
    "PlanningService": PlanningService(MARKET),
}
READERS = {name: reader(GetMessageClass(METHODS[name].input_type).FromString, MESSAGE_BYTES_MAX) for name in NAMES}


def look_at(method: str, body: bytes) -> str:
    """The reason why the message is refused, empty if it is not; raises whatever else goes wrong."""
    try:
        request = READERS[method](body)
        return _asked(method, request)
    except Fault as fault:
        return fault.reason.name


def _asked(method: str, request: Any) -> str:
    service, _, name = method.rpartition(".")[2].partition("/")
    call = getattr(SERVICES[service], name)
    try:
        if METHODS[method].server_streaming:
            asked = call(_one(request) if METHODS[method].client_streaming else request, None)
            _finished(anext(aiter(asked)))
        else:
            _finished(call(request, None))
    except (_Reached, StopAsyncIteration):
        return ""
    raise AssertionError(f"{method} answered without asking anybody")


async def _one(request: Any) -> Any:
    yield request


def _finished(asked: Any) -> None:
    """Run what never waits to its end; what waits all the same runs on a loop."""
    try:
        asked.send(None)
    except StopIteration:
        return
    asyncio.run(asked)
