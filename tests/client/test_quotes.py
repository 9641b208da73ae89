"""Quotes and explanations: what is sent, what comes back, and a repeat that is the same mutation."""

from __future__ import annotations

import pytest
from capacitybroker import (
    Claim,
    Client,
    ExplainClaimResponse,
    Offer,
    Placement,
    QuoteClaimResponse,
    RedeemQuoteResponse,
)
from capacitybroker.v1 import capacity_service_pb2 as capacity

from tests.client.broker_double import Script, answer, serving, unavailable
from tests.client.fake_time import FakeTime
from tests.client.test_calls import client_of

NAME = "tenants/lab/claims/one"


def test_a_quote_that_only_tells_needs_no_request_id() -> None:
    told = QuoteClaimResponse(offers=[Offer(cost_microusd=7)], revision=3)
    script = Script(QuoteClaim=[answer(told)])
    with serving(script) as address, client_of(address, FakeTime()) as client:
        assert client.quote_claim(Claim(devices=8), tenant="other", max_offers=2) == told
    (request,) = script.requests
    assert (request.parent, request.claim.devices, request.max_offers) == ("tenants/other", 8, 2)
    assert not request.HasField("hold_for")
    assert request.request_id == ""


def test_a_hold_is_repeated_with_the_same_request_id() -> None:
    script = Script(QuoteClaim=[unavailable(), answer(QuoteClaimResponse(held=Claim(name=NAME)))])
    with serving(script) as address, client_of(address, FakeTime()) as client:
        assert client.quote_claim(Claim(devices=8), hold_for=600, claim_id="one").held.name == NAME
    assert [(r.request_id, r.hold_for.seconds, r.claim_id) for r in script.requests] == [("id-0", 600, "one")] * 2


def test_a_quote_is_redeemed_once() -> None:
    script = Script(RedeemQuote=[unavailable(), answer(RedeemQuoteResponse(claim=Claim(name=NAME)))])
    with serving(script) as address, client_of(address, FakeTime()) as client:
        assert client.redeem_quote("one", etag="4").claim.name == NAME
    assert [(r.name, r.etag, r.request_id) for r in script.requests] == [(NAME, "4", "id-0")] * 2


def test_an_explanation() -> None:
    why = ExplainClaimResponse(claim=Claim(name=NAME), revision=9)
    script = Script(ExplainClaim=[answer(why)])
    with serving(script) as address, client_of(address, FakeTime()) as client:
        assert client.explain_claim("one") == why
    assert script.requests[0].name == NAME


def test_an_offer_is_taken_with_its_placements() -> None:
    script = Script(CreateClaim=[answer(capacity.CreateClaimResponse())])
    offer = Offer(claim=Claim(devices=8), placements=[Placement(pool="pools/dc-a", devices=8)])
    with serving(script) as address, client_of(address, FakeTime()) as client:
        client.create_claim(offer.claim, placements=offer.placements)
    assert list(script.requests[0].placements) == list(offer.placements)


def test_a_quote_for_nobody_is_refused_before_it_is_sent() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match="which tenant"):
        client.quote_claim(Claim())
