"""A fleet file is read as meant, or refused with the place that is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from capacitybroker import timestamp
from capacitybroker.v1.fleet_pb2 import POOL_KIND_CONTRACTED

from broker.cli.fleet_file import FleetFileError, default_fleet_text, fleet_from_file, fleet_from_text

TODAY = datetime(2026, 11, 23, 15, 40, tzinfo=UTC)
SMALL = """
silicon: [{id: gb200, family: blackwell}]
workload_classes: [{id: training, speeds: [{silicon: gb200, speed_percent: 100}]}]
pools:
  - id: there
    kind: CONTRACTED
    silicon: gb200
    domain_devices: 72
    deliveries:
      - {devices: 72}
      - {start_time: +21d, devices: 144}
      - {start_time: 2027-01-01T00:00:00Z, devices: 72}
      - {start_time: "2027-02-01T02:00:00+02:00", devices: 72}
tenants: [{id: lab, quota_devices: 0}, {id: free}]
"""


def test_times_and_kinds_are_read_as_meant() -> None:
    fleet = fleet_from_text(SMALL, today=TODAY)
    (pool,) = fleet.pools
    assert pool.kind == POOL_KIND_CONTRACTED
    assert not pool.deliveries[0].HasField("start_time")
    assert [d.start_time for d in pool.deliveries[1:]] == [
        timestamp(datetime(2026, 12, 14, tzinfo=UTC)),
        timestamp(datetime(2027, 1, 1, tzinfo=UTC)),
        timestamp(datetime(2027, 2, 1, tzinfo=UTC)),
    ]
    assert fleet.tenants[0].HasField("quota_devices")
    assert not fleet.tenants[1].HasField("quota_devices")


def test_the_default_fleet_holds_what_it_names() -> None:
    fleet = fleet_from_text(default_fleet_text(), today=TODAY)
    silicon = {s.id for s in fleet.silicon}
    assert {p.silicon for p in fleet.pools} <= silicon
    assert {s.silicon for w in fleet.workload_classes for s in w.speeds} <= silicon
    assert {c.pool for c in fleet.contracts} == {p.id for p in fleet.pools if p.kind == POOL_KIND_CONTRACTED}
    assert {t.id for t in fleet.tenants} == {
        "pre-training",
        "post-training",
        "inference-prod",
        "ranking",
        "research",
        "evals",
    }
    dc_b = next(p for p in fleet.pools if p.id == "dc-b")
    assert sum(d.devices for d in dc_b.deliveries) == 128 * 72


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("devices: 144", "devices: many"), "pools[0].deliveries[1].devices: 'many' is not of type 'integer'"),
        (("+21d", "soon"), "pools[0].deliveries[1].start_time: 'soon' does not fit. An RFC 3339 moment"),
        (("kind: CONTRACTED", "kind: RENTED"), "pools[0].kind: 'RENTED' is not one of"),
        (("domain_devices: 72", "domain_device: 72"), "pools[0]: Additional properties are not allowed"),
        (("id: there", "id: The Pool"), "pools[0].id: 'The Pool' does not fit. 1 to 63 of [a-z0-9-]."),
        (("tenants:", "tenant:"), "the file: 'tenants' is a required property"),
        (("pools:\n", "pools: [\n"), "not YAML: "),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change: tuple[str, str], where: str) -> None:
    with pytest.raises(FleetFileError) as raised:
        fleet_from_text(SMALL.replace(*change, 1), today=TODAY)
    assert where in str(raised.value)


@pytest.mark.parametrize("text", ["", "# nothing", "just words", "[1, 2]"])
def test_what_is_no_fleet_at_all(text: str) -> None:
    with pytest.raises(FleetFileError, match=r"^the file is (empty|no fleet: .*)$"):
        fleet_from_text(text, today=TODAY)


def test_all_faults_are_told_at_once_each_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(SMALL.replace("devices: 144", "devices: many").replace("kind: CONTRACTED", "kind: RENTED"))
    with pytest.raises(FleetFileError) as raised:
        fleet_from_file(file, today=TODAY)
    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{file}: pools[0].") for line in lines)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FleetFileError, match=r"none\.yaml: cannot be read: No such file"):
        fleet_from_file(tmp_path / "none.yaml", today=TODAY)
