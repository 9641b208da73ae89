"""Insurance end to end: a real server, planner and store; a pool is lost, and guaranteed work is served again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from capacitybroker import TIER_GUARANTEED, TIER_STANDARD, Claim, Client, Fleet, SiliconChoice, duration, timestamp
from capacitybroker.v1.claim_pb2 import REASON_SUPPLY_LOST, Reason
from capacitybroker.v1.fleet_pb2 import Maintenance
from typer.testing import CliRunner

from broker.cli import app
from broker.cli.clock import now
from broker.cli.fleet_file import default_fleet_text, fleet_from_text
from broker.cli.local_server import local_server

NOW = now().replace(minute=0, second=0, microsecond=0)
INSURANCE = "\ninsurance:\n  - {id: any-one-pool, loss: ANY_ONE_POOL}\n"


def insured() -> Fleet:
    return fleet_from_text(default_fleet_text() + INSURANCE, today=NOW)


def wanted(devices: int, tier: int, *, avoid: tuple[str, ...] = ()) -> Claim:
    """A gang on GB200 that starts within three hours."""
    claim = Claim(
        workload_class="training",
        devices=devices,
        silicon=[SiliconChoice(silicon="gb200")],
        duration=duration(hours=72),
        tier=tier,  # type: ignore[arg-type]
        gang=True,
        forbidden_pools=[f"pools/{pool}" for pool in avoid],
    )
    claim.latest_start_time.CopyFrom(timestamp(NOW + dt.timedelta(hours=4)))
    return claim


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Client]:
    with (
        local_server(tmp_path, horizon_slots=14 * 24) as server,
        Client(server.address, tenant="pre-training", timeout=60) as client,
    ):
        client.apply_fleet(insured())
        yield client


def test_a_lost_pool_is_answered_by_one_plan(broker: Client) -> None:
    sure = broker.create_claim(wanted(2_000, TIER_GUARANTEED), claim_id="sure")
    other = broker.create_claim(wanted(2_304, TIER_STANDARD, avoid=("dc-a",)), claim_id="other")
    plan = broker.run_plan()
    (place,) = broker.get_claim(sure.name).placements
    assert broker.get_claim(other.name).placements
    assert sum(cost.hit for cost in plan.insurance) == sum(cost.insured for cost in plan.insurance) == 1
    lost = next(loss for loss in broker.stress_test().losses if loss.pool == place.pool)
    assert (lost.tiers[0].claims, lost.tiers[0].served_again) == (1, 1)
    told = CliRunner().invoke(app, ["stress", "--address", broker.address])
    assert told.exit_code == 0, told.output
    assert "1 of 1" in told.stdout
    made = insured()
    pool = next(pool for pool in made.pools if f"pools/{pool.id}" == place.pool)
    end = NOW + dt.timedelta(hours=96)
    pool.maintenance.append(Maintenance(start_time=timestamp(NOW), end_time=timestamp(end), devices=100_000))
    broker.apply_fleet(made)
    broker.run_plan()
    (there,) = broker.get_claim(sure.name).placements
    assert there.pool != place.pool
    assert there.devices >= 2_000  # whole racks in one pool, eight at a time in another
    if there.pool == "pools/contract-3":
        gave_way = broker.get_claim(other.name)
        assert not gave_way.placements
        assert gave_way.reasons[0].reason == REASON_SUPPLY_LOST, Reason.Name(gave_way.reasons[0].reason)
