"""A claim goes in once, whatever the network does to the call."""

import asyncio

import pytest

from broker.domain.claim import Claim, ClaimName, Placement, Planned
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Delivery
from broker.ledger.port import Ledger
from tests.builders import claim, fleet, key, placement, pool
from tests.ledger.ledgers import Desk, granted


async def test_a_new_market_is_empty_and_at_revision_0(ledger: Ledger) -> None:
    snapshot = await ledger.snapshot()
    assert (snapshot.revision, snapshot.claims, snapshot.incarnation) == (0, (), "first")
    assert await ledger.revision() == 0


async def test_a_submitted_claim_can_be_read_as_it_was_answered(ledger: Ledger) -> None:
    asked = claim(
        "atlas/run-1",
        value_microusd=2**63 - 1,
        gang=True,
        deadline=900,
        preferred_pools=("dc-1",),
        labels={"team": 'quotes " and \n lines', "emoji": "🚀"},
    )
    receipt = await ledger.submit(asked, key=key("r1"), at=7)
    assert (receipt.claim.revision, receipt.replayed) == (1, False)
    assert await ledger.claim(asked.name) == receipt.claim
    assert (receipt.claim.ask, receipt.claim.state) == (asked.ask, asked.state)
    assert (await ledger.snapshot()).claims == (receipt.claim,)


async def test_text_that_looks_like_commands_is_stored_as_text(ledger: Ledger) -> None:
    asked = claim("atlas/run-1", labels={"x": "\r\n*1\r\n$8\r\nFLUSHALL", "y": "%s%n{0.__class__}]]"})
    await ledger.submit(asked, key=key("r1"), at=0)
    assert (await ledger.claim(asked.name)).ask == asked.ask


async def test_a_name_is_taken_once(ledger: Ledger, desk: Desk) -> None:
    await desk.submit("atlas/run-1")
    with pytest.raises(Fault) as refused:
        await desk.submit("atlas/run-1")
    assert refused.value.reason is FaultReason.CLAIM_EXISTS
    assert await ledger.revision() == 1


async def test_a_claim_may_not_bring_capacity_along(ledger: Ledger, desk: Desk) -> None:
    with pytest.raises(Fault) as refused:
        await desk.submit("atlas/run-1", state=Planned((placement(),)))
    assert refused.value.reason is FaultReason.OVERCOMMIT
    assert await ledger.revision() == 0


async def test_a_claim_that_was_never_stored_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(Fault) as refused:
        await ledger.claim(ClaimName("atlas", "run-1"))
    assert refused.value.reason is FaultReason.CLAIM_NOT_FOUND


async def test_the_same_request_again_gets_the_same_answer(ledger: Ledger) -> None:
    first = await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=0)
    await ledger.amend(first.claim, key=key("r2"), at=1)
    again = await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=2)
    assert (again.claim, again.replayed) == (first.claim, True)
    assert await ledger.revision() == 2


@pytest.mark.parametrize("other", [{"body_digest": "d2"}, {"method": "CancelClaim"}], ids=str)
async def test_a_request_id_belongs_to_one_body_and_method(ledger: Ledger, other: dict[str, str]) -> None:
    await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=0)
    with pytest.raises(Fault) as refused:
        await ledger.submit(claim("atlas/run-2"), key=key("r1", **other), at=0)
    assert refused.value.reason is FaultReason.REQUEST_ID_REUSED
    assert await ledger.revision() == 1


async def test_request_ids_of_two_scopes_never_meet(ledger: Ledger) -> None:
    await ledger.submit(claim("atlas/run-1"), key=key("b:r1", scope="a"), at=0)
    other = await ledger.submit(claim("borealis/run-1"), key=key("r1", scope="a:b"), at=0)
    assert not other.replayed


async def test_a_refused_request_may_come_again(ledger: Ledger, desk: Desk) -> None:
    await desk.submit("atlas/run-1")
    with pytest.raises(Fault):
        await ledger.submit(claim("atlas/run-1"), key=key("again"), at=0)
    assert not (await ledger.submit(claim("atlas/run-2"), key=key("again", body_digest="d2"), at=0)).replayed


async def test_fifty_duplicates_at_once_have_one_effect(ledger: Ledger) -> None:
    receipts = await asyncio.gather(*(ledger.submit(claim("atlas/run-1"), key=key("r1"), at=0) for _ in range(50)))
    assert all(receipt.claim == receipts[0].claim for receipt in receipts)
    assert sorted(receipt.replayed for receipt in receipts) == [False] + [True] * 49
    assert await ledger.revision() == 1


async def test_an_answer_can_be_recalled(ledger: Ledger) -> None:
    assert await ledger.recall(key("r1")) is None
    done = await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=0)
    recalled = await ledger.recall(key("r1"))
    assert recalled is not None
    assert (recalled.claim, recalled.replayed) == (done.claim, True)
    with pytest.raises(Fault) as refused:
        await ledger.recall(key("r1", body_digest="d2"))
    assert refused.value.reason is FaultReason.REQUEST_ID_REUSED


async def test_the_listing_turns_pages_in_order_of_name(ledger: Ledger, desk: Desk) -> None:
    names = ["a-b/1", "a/1", "a/2", "a/3", "a0/1", "b/1"]
    for name in reversed(names):
        await desk.submit(name)
    seen, after = [], None
    while True:
        page = await ledger.claims(tenant=None, after=after, limit=2)
        seen += [found.name.key for found in page.claims]
        assert page.revision == 6
        if (after := page.after) is None:
            break
    assert seen == names


async def test_the_listing_of_one_tenant_has_nothing_of_another(ledger: Ledger, desk: Desk) -> None:
    for name in ("a-b/1", "a/1", "a/2", "a0/1", "aa/1"):
        await desk.submit(name)
    first = await ledger.claims(tenant="a", after=None, limit=1)
    rest = await ledger.claims(tenant="a", after=first.after, limit=5)
    assert [found.name.key for found in first.claims + rest.claims] == ["a/1", "a/2"]
    assert rest.after is None
    assert (await ledger.claims(tenant="a", after=ClaimName("b", "1"), limit=5)).claims == ()
    assert (await ledger.claims(tenant="none", after=None, limit=5)).claims == ()


def granted_claim(name: str, *placements: Placement) -> Claim:
    return claim(name, state=Planned(placements))


async def test_the_first_candidate_that_fits_is_taken(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 10, "dc-2": 8})
    tries = [granted_claim("atlas/run-1", placement("dc-1", 11)), granted_claim("atlas/run-1", placement("dc-2"))]
    receipt = await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=0, candidates=tries)
    assert receipt.claim.placements == (placement("dc-2"),)
    assert await granted(ledger, "pools/dc-2") == (8, 8, 8, 8, 0, 0)
    assert await granted(ledger, "pools/dc-1") == (0,) * 6
    assert await ledger.claim(receipt.claim.name) == receipt.claim
    (event,) = await ledger.events(1, limit=9)
    assert event.claims == (receipt.claim,)
    assert (await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=0, candidates=tries)).replayed


async def test_a_claim_waits_when_no_candidate_fits(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 10}, {"atlas": 4})
    tries = [granted_claim("atlas/run-1", placement("dc-1", n)) for n in (11, 5)]
    receipt = await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=0, candidates=tries)
    assert receipt.claim.state == claim("atlas/run-1").state
    assert await granted(ledger) == (0,) * 6


async def test_what_is_refused_leaves_no_event(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 10})
    tries = [granted_claim("atlas/run-1", placement("dc-1", 11))]
    for n in range(2):
        with pytest.raises(Fault) as refused:
            await ledger.submit(claim("atlas/run-1"), key=key(f"r{n}"), at=0, candidates=tries, must_fit=True)
        assert refused.value.reason is FaultReason.OFFER_GONE
        assert (await ledger.revision(), await ledger.events(1, limit=9)) == (1, ())


async def test_of_claims_that_want_the_same_room_one_gets_it(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 15, "dc-2": 8})

    async def submit(n: int) -> Claim:
        tries = [granted_claim(f"atlas/run-{n}", placement(pool)) for pool in ("dc-1", "dc-2")]
        return (await ledger.submit(claim(f"atlas/run-{n}"), key=key(f"r{n}"), at=0, candidates=tries)).claim

    stored = await asyncio.gather(*(submit(n) for n in range(5)))
    assert sorted(place.pool for one in stored for place in one.placements) == ["dc-1", "dc-2"]


async def test_a_candidate_is_the_same_claim(ledger: Ledger) -> None:
    other = claim("atlas/run-1", devices=9, state=Planned((placement(),)))
    with pytest.raises(ValueError, match="same claim"):
        await ledger.submit(claim("atlas/run-1"), key=key("r1"), at=0, candidates=[other])
    with pytest.raises(ValueError, match="candidates"):
        await ledger.submit(claim("a/b"), key=key("r1"), at=0, candidates=[granted_claim("a/b", placement())] * 9)
    assert await ledger.revision() == 0


def in_three_runs(name: str) -> Claim:
    """Parts in the middle, before, and after it, the last one over the end of a chunk of the books."""
    where = ((100, 104), (10, 14), (250, 260))
    return granted_claim(name, *(placement(first=a, end=b, part=n) for n, (a, b) in enumerate(where)))


async def test_the_books_keep_every_run_of_a_claim_whatever_was_there(ledger: Ledger, desk: Desk) -> None:
    await desk.open_pools({"dc-1": 64})
    expected = [0] * 270
    for n in range(2):
        name = f"atlas/run-{n}"
        await ledger.submit(claim(name), key=desk.key(), at=0, candidates=[in_three_runs(name)])
        for slot in (*range(10, 14), *range(100, 104), *range(250, 260)):
            expected[slot] += 8
        assert await granted(ledger, end=270) == tuple(expected)
        assert await granted(ledger, "tenants/atlas", end=270) == tuple(expected)


async def test_a_limit_counts_in_the_slots_where_it_holds(ledger: Ledger, desk: Desk) -> None:
    less = pool(deliveries=(Delivery(16), Delivery(-8, at=2 * 3600), Delivery(8, at=4 * 3600)))
    await ledger.apply_fleet(fleet((less,)), key=desk.key(scope="-"), at=0)
    wide, narrow = placement(devices=16, first=0, end=6), placement(devices=16, first=4, end=6)
    for name, place, fits in (("wide", wide, False), ("narrow", narrow, True)):
        candidates = [granted_claim(f"atlas/{name}", place)]
        receipt = await ledger.submit(claim(f"atlas/{name}"), key=desk.key(), at=0, candidates=candidates)
        assert (receipt.claim.placements != ()) == fits
    small = granted_claim("atlas/small", placement(devices=8, first=0, end=4))
    assert (await ledger.submit(claim("atlas/small"), key=desk.key(), at=0, candidates=[small])).claim.placements
    assert await granted(ledger) == (8, 8, 8, 8, 16, 16)
