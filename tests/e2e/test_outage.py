"""Pools come and go under load: at every revision what is lent, and what was promised, is as it must be."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from capacitybroker import BrokerError, ChangeSupplyResponse, Client, Drain, Growth, Outage, Recovery, timestamp
from capacitybroker.v1.claim_pb2 import TIER_GUARANTEED, TIER_SPOT, TIER_STANDARD, Claim
from google.protobuf.duration_pb2 import Duration

from bench.log import event_log
from broker.cli.clock import now
from broker.cli.local_server import LocalServer, local_server
from broker.domain.reason import Reason
from broker.domain.snapshot import Event
from broker.ledger.fold import fold, violations
from tests.e2e.test_conservation import TENANTS, small_fleet

CALLERS, CALLS = 3, 120
STRIKES = 10
POOLS = ("dc-1", "rack-1", "rent-1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    with local_server(tmp_path, workers=2, plan_seconds=0.3, horizon_slots=14 * 24) as running:
        yield running


def test_pools_that_come_and_go_under_load_break_no_promise(server: LocalServer, tmp_path: Path, seed: int) -> None:
    with Client(server.address, timeout=60) as operator:
        operator.apply_fleet(small_fleet())
        operator.run_plan()
        over = threading.Event()

        def call(n: int) -> None:
            _ask_until(over, server.address, random.Random(f"{seed}/{n}"))

        with ThreadPoolExecutor(CALLERS) as callers:
            calls = [callers.submit(call, n) for n in range(CALLERS)]
            try:
                told = _strike(operator, random.Random(seed))
            finally:
                over.set()
            for one in calls:
                one.result()
        operator.run_plan()
    events, snapshot = event_log(tmp_path)
    assert violations(events) == ()
    market = fold(events)
    assert {c.name: c for c in snapshot.claims} == {name: c for name, c in market.claims.items() if c.live}
    assert any(event.shortfalls for event in events), "nobody was hit"
    assert told, "nobody was said to be touched"
    told_why = {why.reason for event in _repairs(events) for claim in event.claims for why in claim.because}
    assert Reason.SUPPLY_LOST in told_why


def _repairs(events: tuple[Event, ...]) -> list[Event]:
    """Plans that were made at once, for those who lost their places."""
    return [event for event in events if event.plan is not None and event.plan.repair]


def _strike(operator: Client, rng: random.Random) -> int:
    """Outages, drains, growth and recoveries, each followed by a plan; how many claims were said to be touched."""
    touched = 0
    for n in range(STRIKES):
        pool = POOLS[n % len(POOLS)]
        until = timestamp(datetime.fromtimestamp(now().timestamp() + 3600 * rng.choice((6, 24, 72)), UTC))
        for change in (
            Outage(end_time=until, devices=rng.choice((0, 0, 8, 64))),
            Drain(devices=rng.choice((1, 8))),
            Growth(devices=8),
            Recovery(),
        ):
            hit = _changed(partial(operator.change_supply, pool, change))
            touched += hit
            if hit and isinstance(change, Outage):
                operator.run_plan()  # on a quick machine all is well again before anybody has looked
        operator.run_plan()
    return touched


def _changed(change: Callable[[], ChangeSupplyResponse]) -> int:
    """How many claims it touches; a pool that has less than that cannot lose it."""
    try:
        return change().touched_count
    except BrokerError as refused:
        if refused.reason != "QUANTITY_OUT_OF_RANGE":
            raise
        return 0


def _ask_until(over: threading.Event, address: str, rng: random.Random) -> None:
    """Claims and cancellations, until the operator has done."""
    names: list[str] = []
    with Client(address, timeout=60) as client:
        for n in range(10**6):
            if over.is_set() and n >= CALLS:
                return
            try:
                if not names or rng.random() < 0.6:
                    names.append(client.create_claim(_claim(rng), tenant=rng.choice(TENANTS)).name)
                else:
                    client.cancel_claim(rng.choice(names))
            except BrokerError as refused:
                if refused.reason not in {"CLAIM_CLOSED", "CONTENDED", "EXCEEDS_ANY_POOL"}:
                    raise
            over.wait(0.01)


def _claim(rng: random.Random) -> Claim:
    devices = rng.choice((4, 8, 16, 32, 64))
    return Claim(
        workload_class="training",
        devices=devices,
        gang=rng.random() < 0.6,
        duration=Duration(seconds=3600 * rng.choice((2, 6, 24, 72))),
        tier=rng.choice((TIER_GUARANTEED, TIER_STANDARD, TIER_SPOT)),
        value_microusd=rng.randrange(1, 50) * devices * 1_000_000,
    )
