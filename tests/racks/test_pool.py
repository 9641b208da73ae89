"""A pool's layout from what its claims hold, and what of it becomes fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from broker.domain.claim import Cancelled, Claim, ClaimName, Committed, DomainSpan, Held, Placement, Planned
from broker.domain.fleet import Delivery, Fleet, Maintenance, Pool, PoolKind
from broker.domain.slots import SLOT_SECONDS, Steps
from broker.racks.pool import layout_of, room_of, settled
from broker.racks.seats import seats_of, spans_of
from tests.builders import claim, placement


def racks(devices: int = 288, **fields: object) -> Pool:
    made = Pool("r", PoolKind.INTERNAL, "gb300", 72, (Delivery(devices),), tray_devices=4)
    return replace(made, **fields)  # type: ignore[arg-type]


def held(name: str, devices: int, first: int, end: int, *spans: DomainSpan) -> Claim:
    return claim(f"atlas/{name}", state=Committed((placement("r", devices, first, end, domains=spans),)))


def domains(claims: Mapping[ClaimName, Claim], name: str) -> tuple[DomainSpan, ...]:
    return next(found for found in claims.values() if found.name.id == name).placements[0].domains


def test_spans_say_in_short_what_seats_say() -> None:
    seats = {4: 2, 5: 2, 6: 1, 8: 1}
    spans = (DomainSpan(4, 2, 16), DomainSpan(6, 1, 8), DomainSpan(8, 1, 8))
    assert spans_of(seats, 8) == spans
    assert seats_of(spans, 8) == seats


def test_what_is_in_maintenance_or_left_is_away() -> None:
    pool = racks(
        deliveries=(Delivery(144), Delivery(72, at=2 * SLOT_SECONDS), Delivery(-72, at=9 * SLOT_SECONDS)),
        maintenance=(Maintenance(4, at=0, until=SLOT_SECONDS),),
    )
    cut = pool.cut
    assert cut is not None
    room = room_of(pool, cut)
    assert room.ever == Steps(((0, 2), (2, 3), (9, 3)))
    assert [room.away.at(slot) for slot in (0, 1, 2, 8, 9, 50)] == [1, 0, 0, 0, 1, 1]


def test_what_has_started_becomes_fixed_and_nothing_else_does() -> None:
    fleet = Fleet(pools=(racks(),))
    claims = [held("runs", 144, 3, 9), held("comes", 72, 6, 9), held("over", 72, 1, 5)]
    found = settled(fleet, claims, 5)
    assert [name.id for name in found] == ["runs"]
    assert domains(found, "runs") == (DomainSpan(0, 2, 72),)
    again = [found.get(one.name, one) for one in claims]
    assert settled(fleet, again, 5) == {}
    assert domains(settled(fleet, again, 6), "comes") == (DomainSpan(2, 1, 72),)


def test_only_those_who_may_run_become_fixed_but_a_held_place_is_nobody_elses() -> None:
    fleet = Fleet(pools=(racks(144),))
    waits = claim("atlas/a-quote", state=Held((placement("r", 72, 3, 9),), until=1))
    gone = claim("atlas/gone", state=Cancelled((placement("r", 144, 3, 9),)))
    planned = claim("atlas/planned", state=Planned((placement("r", 72, 3, 9),)))
    found = settled(fleet, [waits, gone, planned], 4)
    assert [name.id for name in found] == ["planned"]
    two = [held("a", 72, 3, 9, DomainSpan(0, 1, 72)), waits, held("b", 72, 4, 9)]
    assert settled(fleet, two, 4) == {}, "no domain is left for b until the ledger's books are right again"


def test_a_pool_whose_domains_are_not_told_apart_has_no_layout() -> None:
    plain = racks(tray_devices=0)
    assert layout_of(plain, [held("a", 8, 0, 9)], 3) is None
    assert settled(Fleet(pools=(plain,)), [held("a", 8, 0, 9)], 3) == {}


def test_who_lost_its_domains_is_given_others() -> None:
    fleet = Fleet(pools=(racks(144),))
    claims = [held("lost", 72, 0, 9, DomainSpan(3, 1, 72)), held("keeps", 72, 0, 9, DomainSpan(0, 1, 72))]
    found = settled(fleet, claims, 4)
    assert [name.id for name in found] == ["lost"]
    assert domains(found, "lost") == (DomainSpan(1, 1, 72),)


def test_nothing_is_fixed_that_the_pool_no_longer_has_room_for() -> None:
    fleet = Fleet(pools=(racks(72),))
    claims = [held("lost", 72, 0, 9, DomainSpan(3, 1, 72)), held("keeps", 72, 0, 9, DomainSpan(0, 1, 72))]
    (lost,) = settled(fleet, claims, 4).values()
    assert lost.placements[0].domains == ()


def test_every_part_has_domains_of_its_own() -> None:
    parts = tuple(Placement("r", 8, placement(first=0).window, 0, part=part) for part in range(3))
    pool = racks(72, slice_trays=2)
    one = claim("atlas/parts", state=Committed(parts))
    (fixed,) = settled(Fleet(pools=(pool,)), [one], 1).values()
    assert [p.domains for p in fixed.placements] == [(DomainSpan(0, 1, 8),)] * 3
    found = layout_of(pool, [fixed], 1)
    assert found is not None
    assert found.layout.seats.keys() == {"atlas/parts#0", "atlas/parts#1", "atlas/parts#2"}
