"""A server process over a store of its own, without a planner, and the least that one can ask it for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from capacitybroker import TIER_STANDARD, Claim, Fleet, Pool, duration
from capacitybroker.v1.fleet_pb2 import POOL_KIND_INTERNAL, Delivery, Silicon, SiliconSpeed, Tenant, WorkloadClass

from broker.app import open_market, run_server
from broker.desk import DeskTerms
from broker.ledger.redis.embedded import EmbeddedStore
from broker.processes import Children
from broker.settings import ServeSettings

__all__ = ["READY_SECONDS", "broker", "claim_message", "free_port", "small_fleet"]

READY_SECONDS = 60.0


@contextmanager
def broker(directory: Path, *, claims_max: int = DeskTerms().claims_max) -> Iterator[tuple[str, int]]:
    """The address and the process id of a server without a planner; the server and its store stop at the end.

    A tenant may have ``claims_max`` open claims.
    """
    with EmbeddedStore.start(directory / "data") as store, free_port() as port:
        terms = DeskTerms(claims_max=claims_max)
        settings = ServeSettings(listen=f"127.0.0.1:{port}", data_dir=directory / "data", desk=terms)
        asyncio.run(open_market(settings, store.url, create=True))
        children = Children()
        try:
            children.start("server", partial(run_server, settings, store.url))
            children.wait_ready(READY_SECONDS)
            yield settings.listen, children.pids["server"]
        finally:
            children.stop()


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody else is given; the server shares it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def small_fleet() -> Fleet:
    """One pool with plenty of devices, and one tenant."""
    supply = Pool(
        id="dc-1", kind=POOL_KIND_INTERNAL, silicon="b200", domain_devices=8, deliveries=[Delivery(devices=65_536)]
    )
    speeds = [SiliconSpeed(silicon="b200", speed_percent=100)]
    return Fleet(
        silicon=[Silicon(id="b200", family="blackwell")],
        workload_classes=[WorkloadClass(id="training", speeds=speeds)],
        pools=[supply],
        tenants=[Tenant(id="atlas")],
    )


def claim_message() -> Claim:
    """A small claim."""
    return Claim(workload_class="training", devices=8, duration=duration(hours=4), tier=TIER_STANDARD)
