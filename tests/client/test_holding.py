"""A lease that keeps itself: usable while renewals succeed, and over in time when they do not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from capacitybroker import Client, FailedPrecondition, Lease
from capacitybroker.v1 import lease_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from tests.client.broker_double import Script, answer, refuse, serving, unavailable

NAME = "tenants/lab/claims/run-1"


def lease(left: float = 30.0, *, renew_after: float = 0.02, token: str = "7.secret", margin: float = 0.1) -> Lease:
    return Lease(
        name=f"{NAME}/lease",
        token=token,
        fencing_token=7,
        ttl=span(left),
        time_left=span(left),
        margin=span(margin),
        renew_after=span(renew_after),
        safe_capacity=[pb.SafeCapacity(pool="pools/dc-a", devices=8)],
    )


def span(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9))


def until(condition: Callable[[], Any], within: float = 5.0) -> None:
    """Polls until it is so."""
    deadline, pause = time.monotonic() + within, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.005)


@pytest.fixture
def script() -> Script:
    """A broker that gives a lease and renews it again and again, without telling the token again."""
    return Script(
        AcquireLease=[answer(pb.AcquireLeaseResponse(lease=lease()))],
        RenewLease=[answer(pb.RenewLeaseResponse(lease=lease(token="")))],
        ReleaseLease=[answer(pb.ReleaseLeaseResponse())],
    )


@pytest.fixture
def client(script: Script) -> Iterator[Client]:
    with serving(script) as address, Client(address, tenant="lab", timeout=2.0) as made:
        yield made


def asked(script: Script, kind: type[Any]) -> list[Any]:
    return [request for request in list(script.requests) if isinstance(request, kind)]


def test_it_is_renewed_again_and_again_and_released_at_the_end(client: Client, script: Script) -> None:
    with client.hold_lease("run-1", ttl=30) as holding:
        until(lambda: len(asked(script, pb.RenewLeaseRequest)) >= 3)
        assert holding.usable
        assert holding.lease.token == "7.secret"
    renewals = asked(script, pb.RenewLeaseRequest)
    assert {(one.renewal.name, one.renewal.token) for one in renewals} == {(f"{NAME}/lease", "7.secret")}
    (released,) = asked(script, pb.ReleaseLeaseRequest)
    assert (released.name, released.token) == (f"{NAME}/lease", "7.secret")
    assert not holding.usable
    assert holding.safe_capacity == {"pools/dc-a": 8}
    assert asked(script, pb.AcquireLeaseRequest)[0].ttl.seconds == 30


def test_without_an_answer_it_ends_a_margin_early_counted_from_what_was_sent(client: Client, script: Script) -> None:
    began = time.monotonic()
    script.steps["AcquireLease"] = [answer(pb.AcquireLeaseResponse(lease=lease(1.0)))]
    script.steps["RenewLease"] = [unavailable()]
    holding = client.hold_lease("run-1")
    assert holding.lost.wait(10)
    # A second from the request, less a tenth.
    assert began + 0.9 <= time.monotonic()
    assert holding.seconds_left == 0.0
    holding.release()
    assert not asked(script, pb.ReleaseLeaseRequest)


def test_a_broker_that_was_away_for_a_moment_costs_nothing(client: Client, script: Script) -> None:
    script.steps["RenewLease"] = [unavailable(), answer(pb.RenewLeaseResponse(lease=lease(90.0, token="")))]
    with client.hold_lease("run-1") as holding:
        until(lambda: holding.seconds_left > 30.0)
        assert not holding.lost.is_set()


def test_a_refused_renewal_ends_it_at_once(client: Client, script: Script) -> None:
    script.steps["RenewLease"] = [refuse(grpc.StatusCode.FAILED_PRECONDITION, "LEASE_ENDED", "it has ended")]
    holding = client.hold_lease("run-1")
    assert holding.lost.wait(5)
    assert isinstance(holding.error, FailedPrecondition)
    assert holding.error.reason == "LEASE_ENDED"
    holding.close()


def test_whoever_leaves_it_leaves_it_to_another_holder(client: Client, script: Script) -> None:
    holding = client.hold_lease("run-1")
    holding.close()
    assert not holding.usable
    assert not asked(script, pb.ReleaseLeaseRequest)
