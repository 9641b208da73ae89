"""Supply comes and goes; where it goes from under claims, the ledger says so in the same revision."""

from dataclasses import replace

import pytest

from broker.domain.claim import Displaced
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Delivery, Fleet
from broker.domain.reason import Because, Reason
from broker.domain.slots import Steps, Window
from broker.domain.snapshot import Shortfall
from broker.ledger.port import Balance, Ledger
from tests.builders import fleet, placement, plan, pool
from tests.ledger.ledgers import Desk, granted


async def test_a_fleet_is_read_as_it_was_applied(ledger: Ledger, desk: Desk) -> None:
    assert await ledger.fleet() == Fleet()
    applied = await ledger.apply_fleet(fleet({"dc-1": 8, "dc-2": 72}, {"atlas": 16}), key=desk.key(), at=0)
    assert (applied.revision, applied.shortfalls) == (1, ())
    assert await ledger.fleet() == fleet({"dc-1": 8, "dc-2": 72}, {"atlas": 16})
    assert (await ledger.snapshot()).fleet == await ledger.fleet()


async def test_the_same_fleet_request_again_changes_nothing(ledger: Ledger, desk: Desk) -> None:
    key = desk.key(scope="-")
    first = await ledger.apply_fleet(fleet(), key=key, at=0)
    again = await ledger.apply_fleet(fleet(), key=key, at=0)
    assert again == replace(first, replayed=True)
    assert await ledger.revision() == 1


async def test_every_account_of_the_fleet_has_a_balance(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 64}, {"atlas": 32, "borealis": None})
    await desk.place(await desk.submit("atlas/run-1"), placement(first=1, end=3))
    assert await ledger.balances(Window(0, 4)) == (
        3,
        (
            Balance("pools/dc-1", Steps.level(64), (0, 8, 8, 0)),
            Balance("tenants/atlas", Steps.level(32), (0, 8, 8, 0)),
            Balance("tenants/borealis", None, (0, 0, 0, 0)),
        ),
    )


async def test_a_shrunk_pool_is_short_where_claims_hold_more(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 32, "dc-2": 8})
    await desk.place(await desk.submit("atlas/run-1"), placement(devices=16, first=2, end=300))
    await desk.place(await desk.submit("atlas/run-2"), placement(devices=16, first=250, end=270))
    short = await ledger.apply_fleet(fleet({"dc-1": 10, "dc-2": 8}), key=desk.key(), at=5 * 3600)
    assert short.shortfalls == (Shortfall("pools/dc-1", Window(5, 300), 22),)
    assert await granted(ledger) == (0, 0, 16, 16, 16, 16)
    assert (await ledger.events(short.revision - 1, limit=1))[0].shortfalls == short.shortfalls


async def test_a_shortfall_is_one_for_each_unbroken_stretch(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 32}, {"atlas": None})
    for i, (first, end) in enumerate([(0, 4), (4, 6), (8, 10)]):
        await desk.place(await desk.submit(f"atlas/run-{i}"), placement(devices=8 + i, first=first, end=end))
    late = pool(deliveries=(Delivery(2), Delivery(3, at=9 * 3600)))
    short = await ledger.apply_fleet(fleet((late,), {"atlas": 9}), key=desk.key(), at=0)
    assert short.shortfalls == (
        Shortfall("pools/dc-1", Window(0, 6), 7),
        Shortfall("pools/dc-1", Window(8, 10), 8),
        Shortfall("tenants/atlas", Window(8, 10), 1),
    )


async def test_a_pool_that_is_gone_has_nothing_to_lend(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 32, "dc-2": 8})
    await desk.place(await desk.submit("atlas/run-1"), placement(devices=16, first=0, end=2))
    short = await ledger.apply_fleet(fleet({"dc-2": 8}), key=desk.key(), at=0)
    assert short.shortfalls == (Shortfall("pools/dc-1", Window(0, 2), 16),)
    _, balances = await ledger.balances(Window(0, 2))
    assert balances[0] == Balance("pools/dc-1", Steps.level(0), (16, 16))
    _, later = await ledger.balances(Window(2, 4))
    assert "pools/dc-1" not in [balance.account for balance in later]


async def test_a_dry_run_only_tells(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 32})
    await desk.place(await desk.submit("atlas/run-1"), placement(devices=16, first=0, end=2))
    key = desk.key()
    told = await ledger.apply_fleet(fleet({"dc-1": 8}), key=key, at=0, dry_run=True)
    assert (told.revision, told.shortfalls) == (3, (Shortfall("pools/dc-1", Window(0, 2), 8),))
    assert await ledger.revision() == 3
    assert await ledger.fleet() == fleet({"dc-1": 32})
    assert not (await ledger.apply_fleet(fleet({"dc-1": 8}), key=key, at=0)).replayed


async def test_a_plan_may_keep_or_shrink_a_shortfall_but_not_deepen_it(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 32})
    one = await desk.place(await desk.submit("atlas/run-1"), placement(devices=16))
    two = await desk.place(await desk.submit("atlas/run-2"), placement(devices=16))
    more = await desk.submit("atlas/run-3")
    await ledger.apply_fleet(fleet({"dc-1": 8}), key=desk.key(), at=0)
    with pytest.raises(Fault) as refused:
        await desk.place(more, placement(devices=1))
    assert refused.value.reason is FaultReason.OVERCOMMIT
    lost = one.becomes(Displaced((Because(Reason.SUPPLY_LOST, "gone"),)), at=0)
    await ledger.commit([lost, two], plan(), fence=await desk.lead(), at=0)
    assert await granted(ledger, end=1) == (16,)


async def test_a_fleet_replaces_only_the_one_that_its_operator_knows(ledger: Ledger, desk: Desk) -> None:
    assert await ledger.fleet_revision() == 0
    await ledger.apply_fleet(fleet({"dc-1": 32}), key=desk.key(), at=0, expected=0)
    known = await ledger.fleet_revision()
    await desk.submit("atlas/run-1")
    assert await ledger.fleet_revision() == known == 1, "claims come and go under the same fleet"
    second = await ledger.apply_fleet(fleet({"dc-1": 16}), key=desk.key(), at=0, expected=known)
    for dry_run in (True, False):
        with pytest.raises(Fault) as refused:
            await ledger.apply_fleet(fleet({"dc-1": 64}), key=desk.key(), at=0, expected=known, dry_run=dry_run)
        assert refused.value.reason is FaultReason.ETAG_MISMATCH
        assert refused.value.facts == {"held_revision": "1", "present_revision": str(second.revision)}
    assert await ledger.fleet() == fleet({"dc-1": 16})
    assert await ledger.fleet_revision() == await ledger.revision() == second.revision


async def test_a_repeated_fleet_request_is_answered_whatever_is_in_force_by_now(ledger: Ledger, desk: Desk) -> None:
    key = desk.key(scope="-")
    assert await ledger.recall_fleet(key) is None
    first = await ledger.apply_fleet(fleet({"dc-1": 32}), key=key, at=0, expected=0)
    await ledger.apply_fleet(fleet({"dc-1": 8}), key=desk.key(), at=0)
    again = await ledger.apply_fleet(fleet({"dc-1": 32}), key=key, at=0, expected=0)
    assert again == await ledger.recall_fleet(key) == replace(first, replayed=True)
    with pytest.raises(Fault) as refused:
        await ledger.recall_fleet(replace(key, body_digest="another"))
    assert refused.value.reason is FaultReason.REQUEST_ID_REUSED


async def test_devices_that_others_replace_at_once_are_missed_by_nobody(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 32})
    held = await desk.place(await desk.submit("atlas/run-1"), placement(devices=32, first=0, end=9))
    swapped = pool("dc-1", 32, deliveries=(Delivery(32), Delivery(-8, at=3 * 3600), Delivery(8, at=3 * 3600)))
    applied = await ledger.apply_fleet(fleet((swapped,)), key=desk.key(), at=0)
    assert (applied.revision, applied.shortfalls) == (held.revision + 1, ())
    assert await ledger.claim(held.name) == held
    assert (await ledger.events(held.revision, limit=9))[0].claims == ()
