"""A served world with a small fleet."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from capacitybroker.v1 import fleet_service_pb2 as service

from tests.transport.calls import fleet
from tests.world import World, world


@pytest_asyncio.fixture
async def served() -> AsyncIterator[World]:
    """A broker on a real port, with one pool of 64 devices and the tenants atlas and borealis; its planner runs."""
    async with world(serve=True, plan_by_itself=True) as made:
        await made.fleet.ApplyFleet(service.ApplyFleetRequest(fleet=fleet(), request_id="fleet"))
        yield made
