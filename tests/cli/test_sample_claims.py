"""The demo's claims: the same for the same seed, about three hundred, and of every kind."""

from __future__ import annotations

from datetime import UTC, datetime

from capacitybroker import Tier

from broker.cli.fleet_file import default_fleet_text, fleet_from_text
from broker.cli.sample_claims import sample_claims

START = datetime(2026, 11, 23, 16, tzinfo=UTC)


def test_the_same_seed_makes_the_same_claims() -> None:
    assert sample_claims(seed=7, start=START) == sample_claims(seed=7, start=START)
    assert sample_claims(seed=7, start=START) != sample_claims(seed=8, start=START)


def test_they_are_many_and_of_every_kind() -> None:
    made = sample_claims(seed=7, start=START)
    assert 290 <= len(made) <= 310
    assert len({(asking.tenant, asking.id) for asking in made}) == len(made)
    assert {asking.claim.tier for asking in made} == set(Tier.values()) - {0}
    claims = [asking.claim for asking in made]
    assert all(any(map(kind, claims)) for kind in (lambda c: c.gang, lambda c: not c.gang, lambda c: c.min_devices > 0))
    assert any(len({choice.devices for choice in claim.silicon}) > 1 for claim in claims)


def test_the_default_fleet_knows_who_asks_and_for_what_kind_of_work() -> None:
    fleet = fleet_from_text(default_fleet_text(), today=START)
    made = sample_claims(seed=7, start=START)
    assert {asking.tenant for asking in made} == {tenant.id for tenant in fleet.tenants}
    assert {asking.claim.workload_class for asking in made} <= {c.id for c in fleet.workload_classes}
    known = {name for silicon in fleet.silicon for name in (silicon.id, silicon.family)}
    strange = {choice.silicon for asking in made for choice in asking.claim.silicon} - known
    assert strange == {"h100"}
