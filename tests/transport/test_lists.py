"""Lists: filters are exact, and a page token is good for the list that it was given for, and for no other."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from pathlib import Path

import pytest
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import claim_pb2
from capacitybroker.v1 import fleet_service_pb2 as fleet_service

from broker.domain.faults import Fault, FaultReason
from broker.ledger.redis.embedded import EmbeddedStore
from broker.transport.requests import PageTokens
from tests.ledger.ledgers import open_redis
from tests.transport.calls import claim, create, fleet, pool, refusal
from tests.world import World

TOKENS = PageTokens(b"k" * 32, ("claims", "atlas", ["WAITING"], "", [], ()))


def refused(tokens: PageTokens, token: str) -> bool:
    with pytest.raises(Fault) as fault:
        tokens.read(token)
    return fault.value.reason is FaultReason.PAGE_TOKEN


def test_a_token_reads_back_and_nothing_near_it_does() -> None:
    token = TOKENS.token("tenants/atlas/claims/run-1")
    assert TOKENS.read(token) == "tenants/atlas/claims/run-1"
    assert TOKENS.read("") == ""
    assert all(refused(TOKENS, token[:n]) for n in range(1, len(token)))
    raw = base64.urlsafe_b64decode(token)
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refused(TOKENS, base64.urlsafe_b64encode(flipped).decode())
    for n in range(len(token)):  # of the text, too, where some bits mean nothing
        for other in (chr(ord(token[n]) ^ 1), " ", "é", "="):
            if other != token[n]:
                assert refused(TOKENS, token[:n] + other + token[n + 1 :])
    for junk in (token + "\n", token + "=", f" {token}", "A" * 44, "x" * 10**6, "\0", "🚀"):
        assert refused(TOKENS, junk)


@pytest.mark.parametrize(
    "scope",
    [
        ("pools",),
        ("claims", "borealis", ["WAITING"], "", [], ()),
        ("claims", "-", ["WAITING"], "", [], ()),
        ("claims", "atlas", [], "", [], ()),
        ("claims", "atlas", ["PLANNED"], "", [], ()),
        ("claims", "atlas", [], "", ["WAITING"], ()),
        ("claims", "atlas", ["WAITING"], "training", [], ()),
        ("claims", "atlas", ["WAITING"], "", [], (("a", "b"),)),
    ],
)
def test_a_token_is_good_for_one_list_only(scope: tuple[str, ...]) -> None:
    assert refused(PageTokens(TOKENS.key, scope), TOKENS.token("tenants/atlas/claims/run-1"))


def test_a_token_of_another_market_is_forged() -> None:
    other = PageTokens(b"l" * 32, TOKENS.scope)
    assert refused(TOKENS, other.token("tenants/atlas/claims/run-1"))


async def test_every_process_signs_alike_and_does_so_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedStore.start(tmp_path / "store") as store:
        first = await open_redis(store.url, "one")
        peer = await open_redis(store.url, "one", create=False)
        other = await open_redis(store.url, "two")
        assert first.token_key == peer.token_key != other.token_key
        assert len(first.token_key) == 64
        for ledger in (first, peer, other):
            await ledger.close()
        key = first.token_key
    with EmbeddedStore.start(tmp_path / "store") as store:
        again = await open_redis(store.url, "one", create=False)
        assert again.token_key == key
        await again.close()


async def test_a_market_of_a_release_that_signed_nothing_gets_its_key_once(valkey: str) -> None:
    from redis.asyncio import Redis

    await (await open_redis(valkey, "unsigned")).close()
    client = Redis.from_url(valkey)
    await client.hdel("cb:{unsigned}:meta", "token_key")
    await client.aclose()
    one, two = [await open_redis(valkey, "unsigned", create=False) for _ in range(2)]
    assert one.token_key == two.token_key != b""
    await one.close()
    await two.close()


async def test_tokens_of_other_lists_are_refused_over_the_wire(served: World) -> None:
    await served.fleet.ApplyFleet(
        fleet_service.ApplyFleetRequest(fleet=fleet(pool(), pool(id="dc-2")), request_id="two")
    )
    for n in range(4):
        await served.capacity.CreateClaim(create(claim_id=f"run-{n}"))
    request = capacity.ListClaimsRequest(parent="tenants/atlas", page_size=2)
    claims = (await served.capacity.ListClaims(request)).next_page_token
    pools = (await served.fleet.ListPools(fleet_service.ListPoolsRequest(page_size=1))).next_page_token
    assert len((await served.fleet.ListPools(fleet_service.ListPoolsRequest(page_token=pools))).pools) == 1
    foreign: list[Awaitable[object]] = [
        served.capacity.ListClaims(capacity.ListClaimsRequest(parent="tenants/atlas", page_token=pools)),
        served.fleet.ListPools(fleet_service.ListPoolsRequest(page_token=claims)),
        served.capacity.ListClaims(capacity.ListClaimsRequest(parent="tenants/-", page_token=claims)),
        served.capacity.ListClaims(
            capacity.ListClaimsRequest(parent="tenants/atlas", page_token=claims, workload_class="training")
        ),
        served.capacity.ListClaims(
            capacity.ListClaimsRequest(parent="tenants/atlas", page_token=claims, labels={"a": ""})
        ),
    ]
    for call in foreign:
        assert (await refusal(call))[1] == "PAGE_TOKEN"
    larger = capacity.ListClaimsRequest(parent="tenants/atlas", page_token=claims, page_size=100)
    assert [c.name[-1] for c in (await served.capacity.ListClaims(larger)).claims] == ["2", "3"]


async def test_lists_can_be_limited_to_classes_tiers_and_labels(served: World) -> None:
    tiers = (claim_pb2.TIER_GUARANTEED, claim_pb2.TIER_STANDARD, claim_pb2.TIER_SPOT)
    made: list[claim_pb2.Claim] = []
    for n in range(24):
        asked = claim(tier=tiers[n % 3], labels={"team": "ab"[n % 2], "run": str(n % 4)} if n % 5 else {})
        made.append((await served.capacity.CreateClaim(create(asked, claim_id=f"run-{n:02}"))).claim)

    async def listed(**limits: object) -> list[str]:
        names: list[str] = []
        token = ""
        while True:
            fields = {"parent": "tenants/-", "page_size": 3, "page_token": token} | limits
            page = await served.capacity.ListClaims(capacity.ListClaimsRequest(**fields))  # type: ignore[arg-type]
            names += [c.name for c in page.claims]
            token = page.next_page_token
            if not token:
                return names

    everyone = [c.name for c in made]
    spot = [c.name for c in made if c.tier == claim_pb2.TIER_SPOT]
    team = [c.name for c in made if c.labels.get("team") == "a"]
    assert await listed() == await listed(workload_class="training") == await listed(tiers=tiers) == everyone
    assert await listed(workload_class="inference") == []
    assert await listed(tiers=[claim_pb2.TIER_SPOT]) == spot
    assert await listed(labels={"team": "a"}) == team
    assert await listed(labels={"team": "a", "run": "2"}) == [c.name for c in made if c.labels.get("run") == "2"]
    assert await listed(labels={"team": ""}) == []
    assert await listed(labels={"team": "a"}, tiers=[claim_pb2.TIER_SPOT]) == [n for n in spot if n in team]
