"""Nothing that callers and planner do at the same time ever books a device twice or loses one."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from capacitybroker import BrokerError, Client
from capacitybroker.v1.claim_pb2 import TIER_GUARANTEED, TIER_SPOT, TIER_STANDARD, Claim
from capacitybroker.v1.fleet_pb2 import (
    POOL_KIND_CONTRACTED,
    POOL_KIND_INTERNAL,
    CommittedLevel,
    Contract,
    Delivery,
    Fleet,
    Pool,
    Silicon,
    SiliconSpeed,
    Tenant,
    WorkloadClass,
)
from google.protobuf.duration_pb2 import Duration

from bench.log import event_log
from broker.cli.local_server import LocalServer, local_server
from broker.domain.snapshot import EventKind
from broker.ledger.fold import fold, violations

CALLERS, CALLS, CALLS_MAX = 4, 300, 2_000  # each caller goes on until some plans were made meanwhile
PLANS = 2
TENANTS = ("atlas", "borealis", "cosmos", "dione")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    with local_server(tmp_path, workers=2, plan_seconds=0.3, horizon_slots=14 * 24) as running:
        yield running


def small_fleet() -> Fleet:
    """Too little for everybody: what is not scarce cannot be over-booked."""
    return Fleet(
        silicon=[Silicon(id="b200", family="blackwell"), Silicon(id="gb300", family="blackwell")],
        workload_classes=[
            WorkloadClass(
                id="training",
                speeds=[
                    SiliconSpeed(silicon="b200", speed_percent=100),
                    SiliconSpeed(silicon="gb300", speed_percent=150),
                ],
            )
        ],
        pools=[
            _pool("dc-1", POOL_KIND_INTERNAL, "b200", 8, 128),
            _pool("rack-1", POOL_KIND_INTERNAL, "gb300", 72, 288),
            _pool("rent-1", POOL_KIND_CONTRACTED, "gb300", 72, 144),
        ],
        contracts=[
            Contract(id="rent", pool="rent-1", committed=[CommittedLevel(devices=72)], overage_price_microusd=3_000_000)
        ],
        tenants=[Tenant(id=tenant, quota_devices=200) for tenant in TENANTS],
    )


def _pool(name: str, kind: int, silicon: str, domain: int, devices: int) -> Pool:
    return Pool(
        id=name,
        kind=kind,  # type: ignore[arg-type]
        silicon=silicon,
        domain_devices=domain,
        deliveries=[Delivery(devices=devices)],
        unit_cost_microusd=100_000,
    )


def test_supply_is_conserved_at_every_revision(server: LocalServer, tmp_path: Path, seed: int) -> None:
    with Client(server.address, timeout=60) as operator:
        operator.apply_fleet(small_fleet())
        operator.run_plan()  # from here on the planner is warm, and plans while the callers call
        stop = threading.Event()
        plans_made: list[int] = []
        planner = threading.Thread(target=_plan_all_the_time, args=(server.address, stop, plans_made))

        def call(n: int) -> tuple[int, list[str]]:
            return _calls(server.address, random.Random(f"{seed}/{n}"), plans_made)

        planner.start()
        try:
            with ThreadPoolExecutor(CALLERS) as callers:
                done = list(callers.map(call, range(CALLERS)))
        finally:
            stop.set()
            planner.join()
        listed = {claim.name: claim for claim in operator.list_claims()}
    events, snapshot = event_log(tmp_path)
    assert all(calls >= CALLS for calls, _ in done)
    assert violations(events) == ()
    market = fold(events)
    assert {name for _, names in done for name in names} == set(listed) == {str(name) for name in market.claims}
    live = {claim.name: claim for claim in market.claims.values() if claim.live}
    assert {claim.name: claim for claim in snapshot.claims} == live
    calls = [event.revision for event in events if event.kind in (EventKind.SUBMITTED, EventKind.AMENDED)]
    plans = [event for event in events if event.plan is not None and event.claims and event.revision < calls[-1]]
    assert plans, "the planner took no part"
    at_once = [event for event in events if event.kind is EventKind.SUBMITTED and event.claims[0].placements]
    assert at_once, "nobody was answered at once"


def _plan_all_the_time(address: str, stop: threading.Event, made: list[int]) -> None:
    with Client(address, timeout=60) as operator:
        while not stop.is_set():
            made.append(operator.run_plan().claims)


def _calls(address: str, rng: random.Random, plans_made: list[int]) -> tuple[int, list[str]]:
    """Random claims, amendments and cancellations of one caller; the names of the claims that it was told exist."""
    names: list[str] = []
    calls = 0
    with Client(address, timeout=60) as client:
        while calls < CALLS or (len(plans_made) < PLANS and calls < CALLS_MAX):
            calls += 1
            kind = rng.random()
            if not names or kind < 0.5:
                names.append(client.create_claim(_claim(rng), tenant=rng.choice(TENANTS)).name)
            elif kind < 0.75:
                _try(lambda: _amend(client, rng, rng.choice(names)))
            else:
                _try(lambda: client.cancel_claim(rng.choice(names)))
    return calls, names


def _amend(client: Client, rng: random.Random, name: str) -> None:
    change = _claim(rng)
    change.name = name
    client.update_claim(change, rng.choice((["value_microusd"], ["devices", "duration"], ["tier"])))


def _try(call: Callable[[], object]) -> None:
    """Refusals are answers here: the claim may be closed, committed, or changing under other hands."""
    try:
        call()
    except BrokerError as refused:
        if refused.reason not in {"CLAIM_CLOSED", "CLAIM_COMMITTED", "CONTENDED", "EXCEEDS_ANY_POOL"}:
            raise


def _claim(rng: random.Random) -> Claim:
    devices = rng.choice((4, 8, 8, 16, 32, 64, 72))
    return Claim(
        workload_class="training",
        devices=devices,
        gang=rng.random() < 0.6,
        whole_domains=rng.random() < 0.2,
        duration=Duration(seconds=3600 * rng.choice((1, 2, 6, 24, 72))),
        tier=rng.choice((TIER_GUARANTEED, TIER_STANDARD, TIER_SPOT)),
        value_microusd=rng.randrange(1, 50) * devices * 1_000_000,
    )
