"""Lists come whole, a page at a time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from capacitybroker import Claim, Client, PoolStatus, TenantStatus, Tier, timestamp
from capacitybroker.v1.capacity_service_pb2 import ListClaimsResponse
from capacitybroker.v1.fleet_service_pb2 import ListPoolsResponse, ListTenantsResponse

from tests.client.broker_double import Script, answer, serving


def page(*names: str, token: str = "", revision: int = 0) -> ListClaimsResponse:
    return ListClaimsResponse(claims=[Claim(name=n) for n in names], next_page_token=token, revision=revision)


def test_pages_follow_each_other_even_over_an_empty_one() -> None:
    pages = [page("a", "b", token="t1", revision=7), page(token="t2", revision=8), page("c", revision=9)]
    script = Script(ListClaims=[answer(p) for p in pages])
    with serving(script) as address, Client(address) as client:
        listing = client.list_claims(tenant="lab", states=[Claim.STATE_WAITING], page_size=2)
        assert [claim.name for claim in listing] == ["a", "b", "c"]
    assert [r.page_token for r in script.requests] == ["", "t1", "t2"]
    assert all(r.parent == "tenants/lab" and r.page_size == 2 for r in script.requests)
    # Whoever watches from the first page's revision misses nothing that later pages already show.
    assert listing.revision == 7


def test_what_a_list_is_limited_to_is_sent_with_every_page() -> None:
    script = Script(ListClaims=[answer(page("a", token="t1")), answer(page("b"))])
    with serving(script) as address, Client(address) as client:
        listing = client.list_claims(workload_class="training", tiers=[Tier.TIER_SPOT], labels={"team": "a"})
        assert [claim.name for claim in listing] == ["a", "b"]
    for request in script.requests:
        assert (request.workload_class, list(request.tiers)) == ("training", [Tier.TIER_SPOT])
        assert request.labels == {"team": "a"}


@pytest.mark.parametrize(
    ("of_client", "of_call", "parent"),
    [(None, None, "tenants/-"), ("lab", None, "tenants/lab"), ("lab", "-", "tenants/-"), ("lab", "b", "tenants/b")],
)
def test_whose_claims(of_client: str | None, of_call: str | None, parent: str) -> None:
    script = Script(ListClaims=[answer(page())])
    with serving(script) as address, Client(address, tenant=of_client) as client:
        assert list(client.list_claims(tenant=of_call)) == []
    assert script.requests[0].parent == parent


def test_pools_over_a_window() -> None:
    pages = [
        ListPoolsResponse(pools=[PoolStatus(name="pools/a")], next_page_token="x"),
        ListPoolsResponse(pools=[PoolStatus(name="pools/b")]),
    ]
    script = Script(ListPools=[answer(p) for p in pages])
    start = datetime(2026, 12, 1, tzinfo=UTC)
    with serving(script) as address, Client(address) as client:
        assert [p.name for p in client.list_pools(start=start)] == ["pools/a", "pools/b"]
    assert script.requests[1].start_time == timestamp(start)
    assert not script.requests[1].HasField("end_time")


def test_tenants_over_a_window() -> None:
    script = Script(ListTenants=[answer(ListTenantsResponse(tenants=[TenantStatus(name="tenants/a")]))])
    start = datetime(2026, 12, 1, tzinfo=UTC)
    with serving(script) as address, Client(address) as client:
        assert [one.name for one in client.list_tenants(start=start)] == ["tenants/a"]
    assert script.requests[0].start_time == timestamp(start)
    assert not script.requests[0].HasField("end_time")


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        timestamp(datetime(2026, 12, 1))
