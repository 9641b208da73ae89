"""A gRPC server over the front offices and a feed, with health and reflection."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from dataclasses import replace
from enum import Enum, auto
from typing import Any

import grpc
from capacitybroker.v1 import (
    capacity_service_pb2,
    capacity_service_pb2_grpc,
    fleet_service_pb2,
    fleet_service_pb2_grpc,
    lease_service_pb2,
    lease_service_pb2_grpc,
    planning_service_pb2,
    planning_service_pb2_grpc,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from broker.desk import Desk
from broker.feed import Feed
from broker.leasing import Leasing
from broker.supplying import Supplying
from broker.transport.capacity_service import CapacityService
from broker.transport.door import FLEET_BYTES_MAX, Door
from broker.transport.fleet_service import FleetService
from broker.transport.guard import Guard
from broker.transport.intake import Intake
from broker.transport.lease_service import LeaseService
from broker.transport.planning_service import PlanningService
from broker.transport.pulse import keep_pulse

__all__ = ["Health", "Server"]

METADATA_BYTES_MAX = 16 * 1024
CALLS_MAX = 20_000  # at once in one process, watches and streams of renewals included
STREAMS_MAX = 1_000  # of one connection; a caller that opens more waits
SERVICES = (
    capacity_service_pb2.DESCRIPTOR.services_by_name["CapacityService"].full_name,
    fleet_service_pb2.DESCRIPTOR.services_by_name["FleetService"].full_name,
    lease_service_pb2.DESCRIPTOR.services_by_name["LeaseService"].full_name,
    planning_service_pb2.DESCRIPTOR.services_by_name["PlanningService"].full_name,
)
READY, LIVE = "ready", "live"


class Health(Enum):
    """What a server can do now: answer; nothing until its store is back; nothing until somebody has seen to it."""

    SERVING = auto()
    RECOVERING = auto()
    HALTED = auto()


class Server:
    """Listens on an address that several processes may share; drains before it stops."""

    def __init__(
        self,
        desk: Desk,
        leasing: Leasing,
        feed: Feed,
        guard: Guard | None = None,
        door: Door | None = None,
    ) -> None:
        options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", FLEET_BYTES_MAX),
            # Who compresses is told that we do not: 64 KiB may be 64 MiB, which gRPC would unpack before it looks.
            ("grpc.compression_enabled_algorithms_bitset", 1),
            ("grpc.max_metadata_size", METADATA_BYTES_MAX // 2),
            ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.max_concurrent_streams", STREAMS_MAX),
            # Clients may ask every ten seconds whether the line still stands; we ask too, and let go of the dead.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.ping_timeout_ms", 10_000),
        ]
        logging.getLogger("grpc._cython.cygrpc").addFilter(_worth_a_line)
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=CALLS_MAX)
        self._health = HealthServicer()
        supplying = Supplying(desk.ledger, feed, desk.now, desk.terms.policy.terms)
        self._guard = guard = replace(guard or Guard(), known=lambda name: name in feed.outlook.fleet.tenants_by_id)
        self._pulse: asyncio.Task[None] | None = None
        services: Any = door or Door()  # takes them as the server would
        services.busy = guard.busy
        capacity_service_pb2_grpc.add_CapacityServiceServicer_to_server(
            guard.around(CapacityService(desk, feed)), services
        )
        fleet_service_pb2_grpc.add_FleetServiceServicer_to_server(guard.around(FleetService(desk, supplying)), services)
        lease_service_pb2_grpc.add_LeaseServiceServicer_to_server(guard.around(LeaseService(leasing)), services)
        planning_service_pb2_grpc.add_PlanningServiceServicer_to_server(guard.around(PlanningService(desk)), services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)
        named = (*SERVICES, reflection.SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
            ReflectionServicer(named), services
        )
        self._server.add_generic_rpc_handlers((services,))
        self._intake = Intake(self._server, services, CALLS_MAX)

    async def start(self, address: str) -> int:
        """Serve on ``host:port`` (port 0: a free one); returns the port."""
        port = self._server.add_insecure_port(address)
        # Of this server alone: behind the other address there are several.
        own = f"unix-abstract:broker-{os.getpid()}-{port}-{secrets.token_hex(4)}"
        if sys.platform == "linux" and self._server.add_insecure_port(own):
            self._pulse = asyncio.create_task(self._keep_pulse(own))
        await self._server.start()
        self._intake.start()
        await self.tell(Health.SERVING)
        return port

    async def tell(self, health: Health) -> None:
        """Tell health checks: ``ready`` and every service are up while calls can succeed, ``live`` unless halted."""
        for names, up in (
            (("", READY, *SERVICES), health is Health.SERVING),
            ((LIVE,), health is not Health.HALTED),
        ):
            status = health_pb2.HealthCheckResponse.SERVING if up else health_pb2.HealthCheckResponse.NOT_SERVING
            for name in names:
                await self._health.set(name, status)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let running ones end within the grace, then cut them."""
        await self._health.enter_graceful_shutdown()
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.gather(self._pulse, return_exceptions=True)
        await self._server.stop(grace_seconds)
        await self._intake.stop()

    async def _keep_pulse(self, own: str) -> None:
        async with grpc.aio.insecure_channel(own, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # thinner than what it describes
            request = health_pb2.HealthCheckRequest()
            await keep_pulse(self._guard.load.beat, lambda: stub.Check(request))


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Not what is wrong with metadata that nobody reads: whoever sends it could fill the log."""
    return not str(record.msg).startswith("Invalid encoding")
