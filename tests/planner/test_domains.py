"""Racks that claims are on: told once they have started, and never others afterwards."""

from __future__ import annotations

import pytest

from broker.domain.claim import Active, Ask, Claim, DomainSpan, Placement
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Delivery, Fleet, Maintenance, Pool, PoolKind
from broker.domain.slots import SLOT_SECONDS
from broker.ledger.fold import violations
from tests.builders import ask, fleet
from tests.world import World, world

DOMAINS = 8


def racks(*, slice_trays: int = 0, maintenance: tuple[Maintenance, ...] = (), devices: int = 72 * DOMAINS) -> Fleet:
    """Eight racks of which two trays each are spare."""
    cut = {"tray_devices": 4, "spare_trays": 2, "slice_trays": slice_trays}
    return fleet((Pool("r", PoolKind.INTERNAL, "b200", 72, (Delivery(devices),), maintenance, **cut),))  # type: ignore[arg-type]


def gang(devices: int, slots: int, **fields: object) -> Ask:
    return ask(devices, slots, **{"gang": True, "value_microusd": devices * slots * 6_000_000, **fields})


def on(claim: Claim) -> set[int]:
    """Which domains it is on."""
    return domains_of(claim.placements)


def domains_of(placements: tuple[Placement, ...]) -> set[int]:
    """Which domains these are on."""
    spans = [span for placement in placements for span in placement.domains]
    return {domain for span in spans for domain in range(span.first, span.first + span.domains)}


async def hour_later(w: World) -> None:
    w.now += SLOT_SECONDS
    await w.plan()


async def test_512_devices_are_on_eight_racks_of_64() -> None:
    async with world() as w:
        await w.declare(racks())
        name = await w.ask(gang(512, 24, whole_domains=True, min_domain_devices=72))
        await w.plan()
        (placed,) = (await w.claim(name)).placements
        assert (placed.devices, placed.domains) == (512, (DomainSpan(0, 8, 64),))


async def test_domains_are_told_once_a_claim_has_started_and_not_before() -> None:
    async with world() as w:
        await w.declare(racks())
        name = await w.ask(gang(64, 4, earliest=w.slot + 2))
        await w.plan()
        await hour_later(w)
        assert (await w.claim(name)).placements
        assert on(await w.claim(name)) == set()
        await hour_later(w)
        assert len(on(await w.claim(name))) == 1


async def test_nobody_moves_and_nobody_shares_a_rack_while_claims_come_and_go() -> None:
    async with world() as w:
        await w.declare(racks())
        was: dict[str, set[int]] = {}
        for hour in range(12):
            for n in range(3):
                await w.ask(gang(64 * (1 + (hour + n) % 3), 2 + (hour * n) % 5, latest=w.slot + 6))
            await hour_later(w)
            claims = (await w.ledger.claims(tenant=None, after=None, limit=1_000)).claims
            running = [c for c in claims if c.live and any(w.slot in p.window for p in c.placements)]
            assert running
            taken = [domain for claim in running for domain in on(claim)]
            assert len(taken) == len(set(taken)) == sum(p.devices // 64 for c in running for p in c.placements)
            for claim in running:
                assert on(claim) == was.setdefault(claim.name.id, on(claim))
        assert violations(await w.ledger.events(0, limit=10_000)) == ()


async def test_planning_again_gives_nobody_other_domains_and_makes_no_change() -> None:
    async with world() as w:
        await w.declare(racks(slice_trays=2))
        for n in range(10):
            await w.ask(gang(8 * (1 + n), 5))
        await w.plan()
        before = (await w.ledger.claims(tenant=None, after=None, limit=100)).claims
        assert any(on(claim) for claim in before)
        await w.plan()
        assert (await w.ledger.claims(tenant=None, after=None, limit=100)).claims == before


async def test_maintenance_displaces_only_what_no_longer_fits() -> None:
    async with world() as w:
        await w.declare(racks())
        names = [await w.ask(gang(128, 8)) for _ in range(4)]
        await w.plan()
        before = [await w.claim(name) for name in names]
        away = Maintenance(72 * 3, w.now, w.now + 4 * SLOT_SECONDS)
        await w.declare(racks(maintenance=(away,)))
        await w.plan()
        after = [await w.claim(name) for name in names]
        stayed = [was for was, now in zip(before, after, strict=True) if now.placements == was.placements]
        assert len(stayed) == 2, "five racks are left, and each claim has two"
        assert violations(await w.ledger.events(0, limit=10_000)) == ()


async def test_who_loses_its_racks_is_given_others_and_hears_of_it() -> None:
    async with world() as w:
        await w.declare(racks())
        first, second = await w.ask(gang(64 * 7, 2)), await w.ask(gang(64, 9))
        await w.plan()
        assert on(await w.claim(second)) == {7}
        assert len(on(await w.claim(first))) == 7
        await w.desk.cancel(first, etag="", key=w.key())
        await w.declare(racks(devices=72 * 4))
        await w.plan()
        assert on(await w.claim(second)) == {0}


async def test_racks_of_who_lost_its_place_are_leased_to_nobody_before_its_holder_has_stopped() -> None:
    """It has to leave as the pool goes away later; until then there is room for somebody who is done in time."""
    async with world() as w:
        await w.declare(racks())
        name = await w.ask(gang(256, 24, latest=w.slot))
        await w.plan()
        held = await w.leasing.acquire(name, ttl_millis=30_000, key=w.key())
        w.now += SLOT_SECONDS
        await w.leasing.renew(name, held.token, ttl_millis=0)
        lost = Maintenance(72 * DOMAINS, w.now + 5 * SLOT_SECONDS, w.now + 48 * SLOT_SECONDS)
        await w.declare(racks(maintenance=(lost,)))
        other = await w.ask(gang(256, 4, latest=w.slot))
        await w.plan()
        assert on(await w.claim(other)) == domains_of(held.usable)
        with pytest.raises(Fault) as refused:
            await w.leasing.acquire(other, ttl_millis=0, key=w.key())
        assert refused.value.reason is FaultReason.LEASE_HANDOVER
        await w.serve_for(33)
        assert (await w.leasing.acquire(other, ttl_millis=0, key=w.key())).usable


async def test_who_has_a_lease_before_any_plan_saw_it_start_has_its_racks_all_the_same() -> None:
    async with world() as w:
        await w.declare(racks())
        name = await w.ask(gang(64, 4, earliest=w.slot + 1))
        await w.plan()
        w.now += SLOT_SECONDS
        await w.leasing.acquire(name, ttl_millis=0, key=w.key())
        await w.plan()
        claim = await w.claim(name)
        assert isinstance(claim.state, Active)
        assert len(on(claim)) == 1
        await hour_later(w)
        assert await w.claim(name) == claim
        assert violations(await w.ledger.events(0, limit=10_000)) == ()
