"""``broker outage`` and its kin: what is sent, and what is told of who is touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from capacitybroker import Claim, Drain, Growth, LateDelivery, Outage, Pool, PoolStatus, Recovery, Tier, TouchedClaim
from capacitybroker.v1 import fleet_service_pb2 as fleets
from capacitybroker.v1.fleet_pb2 import Delivery
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.cli.clock import now
from tests.cli.messages import placement
from tests.client.broker_double import Script, answer, refuse, serving

CHANGED = fleets.ChangeSupplyResponse(
    changes=[fleets.FleetChange(resource="pools/dc-b", action=fleets.FleetChange.ACTION_CHANGED)],
    shortfalls=[fleets.Shortfall(resource="pools/dc-b", devices=64)],
    touched=[
        TouchedClaim(
            claim="tenants/lab/claims/one",
            tier=Tier.TIER_GUARANTEED,
            state=Claim.STATE_COMMITTED,
            placement=placement("dc-b", 64, 5, 41),
            refuge=placement("dc-a", 64, 6, 42),
        ),
        TouchedClaim(tier=Tier.TIER_SPOT, placement=placement("dc-b", 1_024, 5, 41)),
    ],
    touched_count=1_207,
    revision=31,
    etag="31",
)


def run(script: Script, line: str) -> Result:
    with serving(script) as address:
        return CliRunner().invoke(app, [*line.split(), "--address", address])


def stamp(text: str) -> Timestamp:
    return Timestamp(seconds=int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()))


def test_an_outage_tells_who_loses_a_place_and_where_there_is_room() -> None:
    script = Script(ChangeSupply=[answer(CHANGED)])
    shown = run(
        script, "outage dc-b --until 2027-01-02 --from 2027-01-01T06:00 --devices 64 --dry-run --etag 30"
    ).stdout
    (request,) = script.requests
    assert (request.name, request.validate_only, request.etag) == ("pools/dc-b", True, "30")
    assert request.outage == Outage(start_time=stamp("2027-01-01T06:00"), end_time=stamp("2027-01-02"), devices=64)
    assert "Would change:" in shown
    assert "short    pools/dc-b: claims hold up to 64 devices too many" in shown
    assert "1,207 placements are lost, 2 of them here" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert next(row for row in rows if row[:1] == ["lab/one"])[1:4] == ["guaranteed", "committed", "64"]
    assert "dc-a, Mon 23 Nov 06:00" in shown
    assert "(another tenant's)" in shown


def test_an_outage_that_begins_now_begins_by_the_brokers_clock() -> None:
    script = Script(ChangeSupply=[answer(CHANGED)])
    before = now()
    shown = run(script, "outage dc-b --until +24h").stdout
    assert not script.requests[0].outage.HasField("start_time")
    until = datetime.fromtimestamp(script.requests[0].outage.end_time.seconds, UTC)
    assert timedelta(0) <= until - before - timedelta(hours=24) + timedelta(seconds=1) < timedelta(minutes=1)
    assert "In force since revision 31, etag 31:" in shown


@pytest.mark.parametrize(
    ("line", "field", "change"),
    [
        ("recover dc-b", "recovery", Recovery()),
        ("drain dc-b --from 2027-01-01", "drain", Drain(start_time=stamp("2027-01-01"))),
        ("drain dc-b --devices 8", "drain", Drain(devices=8)),
        ("grow dc-b 64 --from 2027-01-01", "growth", Growth(start_time=stamp("2027-01-01"), devices=64)),
    ],
)
def test_what_happens_is_said_in_one_line(line: str, field: str, change: Recovery | Drain | Growth) -> None:
    script = Script(ChangeSupply=[answer(fleets.ChangeSupplyResponse(revision=3, etag="2"))])
    result = run(script, line)
    assert result.exit_code == 0, result.stderr
    assert "nothing differs" in result.stdout
    assert script.requests[0].WhichOneof("change") == field
    assert getattr(script.requests[0], field) == change


def growing(*moments: str) -> Script:
    """A broker whose pool dc-b has these deliveries to come."""
    coming = [Delivery(start_time=stamp(text), devices=8) for text in moments]
    declared = PoolStatus(pool=Pool(id="dc-b", deliveries=[Delivery(devices=64), *coming]))
    return Script(
        GetPool=[answer(fleets.GetPoolResponse(pool=declared))],
        ChangeSupply=[answer(fleets.ChangeSupplyResponse(revision=3))],
    )


def test_a_late_delivery_is_named_by_its_day() -> None:
    script = growing("2027-01-01T06:00", "2027-01-03T06:00")
    assert run(script, "late dc-b --due 2027-01-01 --until 2027-01-09").exit_code == 0
    assert script.requests[1].late_delivery == LateDelivery(
        delivery_time=stamp("2027-01-01T06:00"), new_delivery_time=stamp("2027-01-09")
    )


def test_two_deliveries_of_a_day_are_told_apart_by_the_hour() -> None:
    script = growing("2027-01-01T06:00", "2027-01-01T18:00")
    unclear = run(script, "late dc-b --due 2027-01-01 --until 2027-01-09")
    assert unclear.exit_code == 1
    assert "Deliveries to come: 2027-01-01T06:00Z, 2027-01-01T18:00Z" in unclear.stderr
    assert run(script, "late dc-b --due 2027-01-01T18:00 --until 2027-01-09").exit_code == 0
    assert script.requests[-1].late_delivery.delivery_time == stamp("2027-01-01T18:00")


def test_what_cannot_be_is_refused_in_words() -> None:
    text = "The fleet has changed since it was read"
    script = Script(ChangeSupply=[refuse(grpc.StatusCode.ABORTED, "ETAG_MISMATCH", text, remedy="Read it again.")])
    stale = run(script, "drain dc-b --etag 7")
    assert stale.exit_code == 1
    assert f"broker: {text} [ETAG_MISMATCH]" in stale.stderr
    assert run(script, "outage dc-b").exit_code == 2
    assert run(script, "outage dc-b --until whenever").exit_code == 2
