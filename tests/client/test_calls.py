"""One call: its deadline, its repeats, and the same request id in all of them."""

from __future__ import annotations

from random import Random
from threading import Event
from typing import NoReturn

import grpc
import pytest
from capacitybroker import (
    Claim,
    Client,
    DeadlineExceeded,
    Drain,
    Growth,
    LateDelivery,
    NotFound,
    Outage,
    Recovery,
    ResourceExhausted,
    Unavailable,
)
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_service_pb2 as fleets
from capacitybroker.v1 import lease_service_pb2 as leases
from capacitybroker.v1 import planning_service_pb2 as planning
from capacitybroker.v1.fleet_pb2 import Fleet, Tenant
from capacitybroker.v1.plan_pb2 import Plan

from tests.client.broker_double import Script, answer, overloaded, refuse, serving, unavailable
from tests.client.fake_time import FakeTime, TopOfRange

CREATED = capacity.CreateClaimResponse(claim=Claim(name="tenants/lab/claims/one"))


def client_of(address: str, time: FakeTime, *, timeout: float = 10.0) -> Client:
    ids = iter(f"id-{n}" for n in range(100))
    return Client(
        address,
        tenant="lab",
        new_id=lambda: next(ids),
        monotonic=time.monotonic,
        sleep=time.sleep,
        rng=TopOfRange(),
        timeout=timeout,
    )


def test_a_mutation_is_repeated_with_the_same_request_id() -> None:
    script = Script(CreateClaim=[unavailable(), unavailable(), answer(CREATED)])
    with serving(script) as address, client_of(address, FakeTime()) as client:
        assert client.create_claim(Claim(devices=8)).name == "tenants/lab/claims/one"
        assert [r.request_id for r in script.requests] == ["id-0"] * 3
        client.create_claim(Claim(devices=8))
        assert script.requests[-1].request_id == "id-1"


def test_a_call_that_a_server_cut_short_as_it_ended_is_repeated() -> None:
    def cut(_request: object, context: grpc.ServicerContext) -> NoReturn:
        context.abort(grpc.StatusCode.CANCELLED, "")

    script = Script(CreateClaim=[cut, answer(CREATED)])
    with serving(script) as address, client_of(address, FakeTime()) as client:
        client.create_claim(Claim(devices=8))
    assert [r.request_id for r in script.requests] == ["id-0"] * 2


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("outage", Outage(devices=8)),
        ("recovery", Recovery()),
        ("drain", Drain(devices=8)),
        ("late_delivery", LateDelivery()),
        ("growth", Growth(devices=8)),
    ],
)
def test_a_change_of_supply_says_what_happens(
    field: str, change: Outage | Recovery | Drain | LateDelivery | Growth
) -> None:
    script = Script(ChangeSupply=[answer(fleets.ChangeSupplyResponse(revision=7))])
    with serving(script) as address, Client(address) as client:
        assert client.change_supply("dc-1", change, etag="3", validate_only=True).revision == 7
    (request,) = script.requests
    assert (request.name, request.etag, request.validate_only) == ("pools/dc-1", "3", True)
    assert request.WhichOneof("change") == field
    assert getattr(request, field) == change


def test_the_fleet_in_force() -> None:
    fleet = Fleet(tenants=[Tenant(id="lab")])
    script = Script(GetFleet=[answer(fleets.GetFleetResponse(fleet=fleet))])
    with serving(script) as address, client_of(address, FakeTime()) as client:
        assert client.get_fleet() == fleet


def test_each_pause_may_be_twice_the_one_before_up_to_a_limit() -> None:
    time = FakeTime()
    script = Script(GetClaim=[unavailable()])
    with serving(script) as address, client_of(address, time, timeout=60.0) as client, pytest.raises(Unavailable):
        client.get_claim("one")
    assert time.pauses[:7] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0])
    assert max(time.pauses) == 5.0
    assert sum(time.pauses) <= 60.0


def test_chance_may_make_any_pause_as_short_as_nothing() -> None:
    """Full jitter: those who lost the same server come back one by one."""
    time, chance = FakeTime(), Random(7)
    script = Script(GetClaim=[unavailable()])
    with (
        serving(script) as address,
        Client(address, tenant="lab", monotonic=time.monotonic, sleep=time.sleep, rng=chance, timeout=600.0) as client,
        pytest.raises(Unavailable),
    ):
        client.get_claim("one")
    long = time.pauses[6:]
    assert min(long) < 1.0
    assert max(long) > 4.0
    assert 2.0 < sum(long) / len(long) < 3.0


def test_the_delay_that_the_server_names_comes_before_the_jitter() -> None:
    time = FakeTime()
    script = Script(GetClaim=[unavailable(2.5), answer(capacity.GetClaimResponse())])
    with serving(script) as address, client_of(address, time) as client:
        client.get_claim("one")
    assert time.pauses == pytest.approx([2.6])


def test_the_jitter_is_full() -> None:
    time = FakeTime()
    script = Script(GetClaim=[unavailable()])
    with serving(script) as address:
        client = Client(address, tenant="lab", monotonic=time.monotonic, sleep=time.sleep, rng=Random(1), timeout=60)
        with client, pytest.raises(Unavailable):
            client.get_claim("one")
    late = [pause / 5.0 for pause in time.pauses[6:]]  # from the seventh on the ceiling is five seconds
    assert len(late) >= 5
    assert len(set(late)) == len(late)
    assert min(late) < 0.4
    assert max(late) > 0.6


def test_a_call_that_is_too_much_is_repeated_after_the_delay_that_the_server_names() -> None:
    time = FakeTime()
    script = Script(CreateClaim=[overloaded(1.5), answer(CREATED)])
    with serving(script) as address, client_of(address, time) as client:
        client.create_claim(Claim(devices=8))
    assert [r.request_id for r in script.requests] == ["id-0"] * 2
    assert time.pauses == pytest.approx([1.6])


def test_repeats_to_a_busy_broker_are_a_tenth_of_the_calls_and_ten_at_once() -> None:
    time = FakeTime()
    script = Script(GetClaim=[overloaded(0.25)])
    with serving(script) as address, client_of(address, time) as client:
        for _ in range(100):
            with pytest.raises(ResourceExhausted):
                client.get_claim("one")
        assert len(script.requests) == 100 + 10
        script.steps["GetClaim"] = [answer(capacity.GetClaimResponse())]
        for _ in range(30):
            client.get_claim("one")
        script.steps["GetClaim"] = [overloaded(0.25)]
        before = len(script.requests)
        for _ in range(20):
            with pytest.raises(ResourceExhausted):
                client.get_claim("one")
        assert len(script.requests) - before == 20 + 3


def test_a_client_that_was_asked_to_stay_away_sends_nothing_but_renewals() -> None:
    time = FakeTime()
    renewed = leases.RenewLeaseResponse()
    script = Script(
        GetClaim=[overloaded(30), answer(capacity.GetClaimResponse())], RenewLease=[answer(renewed), answer(renewed)]
    )
    with serving(script) as address, client_of(address, time) as client:
        with pytest.raises(ResourceExhausted):
            client.get_claim("one")
        client.renew_lease("one", "7.secret")
        assert time.pauses == []
        client.get_claim("one", timeout=60)
        assert time.pauses == pytest.approx([30.1])
        client.get_claim("one")
        assert len(time.pauses) == 1


def test_a_call_with_less_time_than_the_client_must_stay_away_is_refused_at_once() -> None:
    time = FakeTime()
    script = Script(GetClaim=[overloaded(30)], RenewLease=[overloaded(0.1), answer(leases.RenewLeaseResponse())])
    with serving(script) as address, client_of(address, time) as client:
        with pytest.raises(ResourceExhausted):
            client.get_claim("one")
        client.renew_lease("one", "7.secret")
        sent, waited = len(script.requests), len(time.pauses)
        with pytest.raises(ResourceExhausted, match="asked this client to stay away") as refused:
            client.get_claim("one")
        assert refused.value.reason == "OVERLOADED"
        assert refused.value.retry_after_seconds == pytest.approx(29.8, abs=0.2), "a renewal was told less meanwhile"
        assert (len(script.requests), len(time.pauses)) == (sent, waited)


def test_renewals_are_repeated_whatever_other_calls_have_spent() -> None:
    time = FakeTime()
    renewed = answer(leases.RenewLeaseResponse())
    script = Script(GetClaim=[overloaded(0.25)], RenewLease=[overloaded(0.1), overloaded(0.1), renewed])
    with serving(script) as address, client_of(address, time) as client:
        for _ in range(20):
            with pytest.raises(ResourceExhausted):
                client.get_claim("one")
        client.renew_lease("one", "7.secret")


def test_another_limit_than_time_is_not_repeated() -> None:
    script = Script(GetClaim=[refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "HOLD_LIMIT")])
    with serving(script) as address, client_of(address, FakeTime()) as client, pytest.raises(ResourceExhausted):
        client.get_claim("one")
    assert len(script.requests) == 1


def test_a_delay_longer_than_the_time_left_is_not_waited_for() -> None:
    time = FakeTime()
    with serving(Script(GetClaim=[unavailable(30)])) as address, client_of(address, time) as client:
        with pytest.raises(Unavailable) as raised:
            client.get_claim("one")
        assert raised.value.retry_after_seconds == 30
    assert time.pauses == []


def test_a_refusal_is_not_repeated() -> None:
    script = Script(GetClaim=[refuse(grpc.StatusCode.NOT_FOUND, "CLAIM_NOT_FOUND")])
    with serving(script) as address, client_of(address, FakeTime()) as client, pytest.raises(NotFound):
        client.get_claim("one")
    assert len(script.requests) == 1


def test_a_call_without_an_answer_ends_at_its_deadline() -> None:
    given_up = Event()

    def hang(_request: object, _context: grpc.ServicerContext) -> capacity.GetClaimResponse:
        given_up.wait(10)
        return capacity.GetClaimResponse()

    with serving(Script(GetClaim=[hang])) as address, Client(address, tenant="lab") as client:
        with pytest.raises(DeadlineExceeded) as raised:
            client.get_claim("one", timeout=0.2)
        given_up.set()
        assert raised.value.remedy == "Ask again, with more time."


def test_a_plan_gets_the_time_that_the_api_allows_but_a_dead_broker_is_given_up_soon() -> None:
    left: list[float] = []

    def note(_request: object, context: grpc.ServicerContext) -> planning.RunPlanResponse:
        left.append(context.time_remaining() or 0.0)
        return planning.RunPlanResponse(plan=Plan(name="plans/7"))

    time = FakeTime()
    with serving(Script(RunPlan=[unavailable(), note])) as address, client_of(address, time) as client:
        assert client.run_plan().name == "plans/7"
    assert left[0] > 600
    with serving(Script(RunPlan=[unavailable()])) as address, client_of(address, time) as client:
        begun = time.now
        with pytest.raises(Unavailable):
            client.run_plan()
        assert time.now - begun <= 10.0


def test_no_broker_at_the_address_says_so() -> None:
    with Client("127.0.0.1:1", timeout=0.3) as client, pytest.raises(Unavailable) as raised:
        client.get_claim("lab/one")
    assert raised.value.message == "no broker answers at 127.0.0.1:1"
    assert "BROKER_ADDRESS" in raised.value.remedy


def test_the_environment_says_where_and_who() -> None:
    with Client.from_environment({"BROKER_ADDRESS": "127.0.0.1:9", "BROKER_TENANT": "lab"}) as client:
        assert (client.address, client.tenant) == ("127.0.0.1:9", "lab")
    with Client.from_environment({}) as client:
        assert (client.address, client.tenant) == ("127.0.0.1:7070", None)


@pytest.mark.parametrize(
    ("given", "tenant", "sent"),
    [
        ("one", "lab", "tenants/lab/claims/one"),
        ("other/one", "lab", "tenants/other/claims/one"),
        ("tenants/t/claims/one", None, "tenants/t/claims/one"),
    ],
)
def test_short_names_are_made_whole(given: str, tenant: str | None, sent: str) -> None:
    script = Script(GetClaim=[answer(capacity.GetClaimResponse())])
    with serving(script) as address, Client(address, tenant=tenant) as client:
        client.get_claim(given)
    assert script.requests[0].name == sent


def test_a_claim_of_nobody_is_refused_before_it_is_sent() -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="whose claim"):
            client.get_claim("one")
        with pytest.raises(ValueError, match="which tenant"):
            client.create_claim(Claim())
