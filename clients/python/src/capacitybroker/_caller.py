"""What all calls share: where the broker is, for whom, how long to wait, and what to do when it is away."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakSet

import grpc
from google.protobuf.message import Message

from capacitybroker._connection import connected
from capacitybroker._names import parent
from capacitybroker._retry import Kind, Patience, Time
from capacitybroker._watch import Watch
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from capacitybroker.v1.fleet_service_pb2_grpc import FleetServiceStub
from capacitybroker.v1.lease_service_pb2_grpc import LeaseServiceStub
from capacitybroker.v1.planning_service_pb2_grpc import PlanningServiceStub

__all__ = ["Caller"]

DEFAULT_ADDRESS = "127.0.0.1:7070"

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Caller:
    """A connection, and one way to call over it; see `Client`.

    ``address`` is host:port, or several numeric ones with commas between them: servers of the same market.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tenant: str | None = None,
        timeout: float = 10.0,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.address = address
        self.tenant = tenant
        self._timeout = timeout
        self._new_id = new_id
        self._patience = Patience(address, Time(monotonic, sleep, rng or random.SystemRandom()))
        self._watches: WeakSet[Watch] = WeakSet()
        self._channel = connected(address)
        self._capacity = CapacityServiceStub(self._channel)
        self._fleet = FleetServiceStub(self._channel)
        self._leases = LeaseServiceStub(self._channel)
        self._planning = PlanningServiceStub(self._channel)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """A client for ``BROKER_ADDRESS`` (default 127.0.0.1:7070) and ``BROKER_TENANT`` (default none)."""
        return cls(
            environment.get("BROKER_ADDRESS") or DEFAULT_ADDRESS, tenant=environment.get("BROKER_TENANT") or None
        )

    def close(self) -> None:
        """End all calls, watches and connections."""
        for watch in list(self._watches):
            watch.close()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _owner(self, tenant: str | None) -> str:
        owner = tenant or self.tenant
        if not owner:
            raise ValueError("for which tenant? Give one to the call or to the client, or set BROKER_TENANT")
        return parent(owner)

    def _ask(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None,
        *,
        urgent: bool = False,
        long: bool = False,
    ) -> Response:
        def attempt(seconds_left: float) -> tuple[Response, grpc.Call]:
            return method.with_call(request, timeout=seconds_left)

        seconds = self._timeout if timeout is None else timeout
        kind = Kind(type(request).__name__, urgent=urgent, long=long)
        return self._patience.call(attempt, kind=kind, seconds=seconds, unavailable_seconds=min(seconds, self._timeout))
