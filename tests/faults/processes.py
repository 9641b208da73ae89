"""What fault tests share: a broker with a small fleet, whose processes may be told to die, and what its log says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from capacitybroker import Client, duration
from capacitybroker.v1.capacity_service_pb2 import CreateClaimRequest
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub
from capacitybroker.v1.claim_pb2 import TIER_STANDARD, Claim

from bench.log import event_log
from broker.cli.local_server import LocalServer, local_server
from broker.domain.snapshot import Event
from broker.ledger.fold import violations
from tests.e2e.test_conservation import small_fleet

__all__ = ["PATIENCE_SECONDS", "answered", "broker", "history", "pid_of", "replaced", "request", "until", "work"]

PATIENCE_SECONDS = 60.0


def until(condition: Callable[[], object], within: float = PATIENCE_SECONDS) -> float:
    """Polls until it is so; how many seconds that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within, "it did not happen in time"
        threading.Event().wait(0.01)
    return time.monotonic() - begun


@contextmanager
def broker(directory: Path, failpoints: str = "", *, workers: int = 1, planners: int = 1) -> Iterator[LocalServer]:
    """A broker with the small fleet in force, armed with failpoints."""
    armed = {"BROKER_FAILPOINTS": failpoints, "BROKER_DEVELOPER": "1"}
    with local_server(
        directory,
        workers=workers,
        planners=planners,
        plan_seconds=0.3,
        horizon_slots=7 * 24,
        environment=armed if failpoints else None,
    ) as server:
        with Client(server.address, timeout=PATIENCE_SECONDS) as operator:
            operator.apply_fleet(small_fleet())
        yield server


def work(devices: int = 8) -> Claim:
    """A claim that is easy to place."""
    return Claim(workload_class="training", devices=devices, gang=True, duration=duration(hours=2), tier=TIER_STANDARD)


def request(claim_id: str, tenant: str = "atlas") -> CreateClaimRequest:
    """The same every time: a mutation that may be sent again."""
    return CreateClaimRequest(
        parent=f"tenants/{tenant}", claim=work(), claim_id=claim_id, request_id=f"request-{claim_id}"
    )


def answered(address: str, asked: CreateClaimRequest) -> Claim | grpc.StatusCode:
    """What one attempt on a connection of its own comes to, without any retry."""
    with grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        try:
            return CapacityServiceStub(channel).CreateClaim(asked, timeout=10).claim
        except grpc.RpcError as error:
            return error.code()


def pid_of(directory: Path, name: str) -> int:
    """The process of that name now."""
    return int(_told(directory)["pids"][name])


def replaced(directory: Path, name: str, pid: int) -> Callable[[], bool]:
    """Whether another process of that name than ``pid`` is ready."""
    return lambda: pid_of(directory, name) != pid and name in _told(directory)["ready"]


def _told(directory: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((directory / "ready.json").read_text(encoding="utf-8"))
    return told


def history(directory: Path) -> tuple[Event, ...]:
    """Everything that happened, in which no promise is broken."""
    events = event_log(directory)[0]
    assert violations(events) == ()
    return events
