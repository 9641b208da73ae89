"""Servers and planners that are killed at the worst moment: one effect or none, the old plan or the new one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from capacitybroker import Claim, Client, Reason

from broker.cli.local_server import ServerFailed, local_server, set_clock
from broker.domain.snapshot import EventKind
from tests.e2e.test_conservation import small_fleet
from tests.e2e.test_leases import _looked_at as looked_at
from tests.faults.catalogue import fault
from tests.faults.processes import PATIENCE_SECONDS, answered, broker, history, pid_of, replaced, request, until, work
from tests.world import NOON

pytestmark = pytest.mark.long

BEFORE_THE_EFFECT = ("before-validate/CreateClaim", "before-script-send/submit")
AFTER_THE_EFFECT = ("after-script-send/submit", "after-script-reply/submit", "before-reply/CreateClaim")


@fault(
    "F1",
    injected="kill -9 of the server before the script is sent, between send and reply, and after the reply",
    expected="UNAVAILABLE; the same request again gives one effect, and then the same answer",
)
@pytest.mark.parametrize("point", [*BEFORE_THE_EFFECT, *AFTER_THE_EFFECT])
def test_a_server_killed_in_a_call_did_it_once_or_not_at_all(point: str, tmp_path: Path) -> None:
    with broker(tmp_path, f"{point}=kill") as server:
        killed = pid_of(tmp_path, "server-1")
        assert answered(server.address, request("one")).name == "UNAVAILABLE"
        until(replaced(tmp_path, "server-1", killed))
        with Client(server.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client:
            assert len(list(client.list_claims())) == (point in AFTER_THE_EFFECT)
        first, again = answered(server.address, request("one")), answered(server.address, request("one"))
        assert isinstance(first, Claim)
        assert isinstance(again, Claim)
        assert (first.name, first.revision) == (again.name, again.revision)
        events = history(tmp_path)
    assert len([event for event in events if event.kind is EventKind.SUBMITTED]) == 1
    assert point.partition("/")[0] in server.log.read_text()


@fault(
    "F2",
    injected="kill -9 of the planner before and after it stages a plan, and before and after the commit",
    expected="the old plan or the new one, never a mix; the next planner goes on",
)
@pytest.mark.parametrize("point", ["before-plan-stage", "after-plan-stage", "before-plan-commit", "after-plan-commit"])
def test_a_planner_killed_while_it_plans_leaves_one_plan_in_force(point: str, tmp_path: Path) -> None:
    # Of the first plan there is nothing yet, so it is the second that is struck.
    with broker(tmp_path, f"{point}#2=kill") as server:
        with Client(server.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client:
            old = client.run_plan()
            killed = pid_of(tmp_path, "planner")
            # Too large to be granted at once, so that there is something to plan.
            names = [client.create_claim(work(devices=64), claim_id=f"run-{n}").name for n in range(3)]
            new = client.run_plan(timeout=PATIENCE_SECONDS)
            assert new.name != old.name
            until(replaced(tmp_path, "planner", killed))
            client.run_plan(timeout=PATIENCE_SECONDS)
            assert all(client.get_claim(name).placements or client.get_claim(name).reasons for name in names)
        events = history(tmp_path)
    assert point in server.log.read_text()
    told = [event for event in events if event.kind is EventKind.PLANNED]
    assert all(event.plan is not None for event in told)


@fault(
    "F1",
    injected="kill -9 of the server before and after it ends a lease that was not renewed",
    expected="the lease ends once, after its time, by whoever serves next",
)
@pytest.mark.parametrize("point", ["before-lease-reap", "after-lease-reap"])
def test_a_lease_ends_once_though_who_ends_it_dies(point: str, tmp_path: Path) -> None:
    clock, now = tmp_path / "clock", NOON
    set_clock(clock, now)
    armed = {"BROKER_FAILPOINTS": f"{point}=kill", "BROKER_DEVELOPER": "1"}
    with local_server(tmp_path, plan_seconds=0.3, horizon_slots=7 * 24, clock_file=clock, environment=armed) as server:
        killed = pid_of(tmp_path, "server-1")
        with Client(server.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client:
            client.apply_fleet(small_fleet())
            client.create_claim(work(), claim_id="run")
            client.run_plan()
            client.acquire_lease("run", ttl=30)
            while client.get_claim("run").state == Claim.STATE_ACTIVE:
                now += 1
                assert now < NOON + 300
                set_clock(clock, now)
                until(partial(looked_at, tmp_path, now))
            found = client.get_claim("run")
            assert found.reasons[0].reason == Reason.REASON_LEASE_EXPIRED
        until(replaced(tmp_path, "server-1", killed))
        events = history(tmp_path)
    assert now >= NOON + 30
    assert len([event for event in events if event.kind is EventKind.LEASE_EXPIRED]) == 1


def test_failpoints_are_refused_unless_the_developer_flag_is_set(tmp_path: Path) -> None:
    for world, told in (
        ({"BROKER_FAILPOINTS": "before-reply=kill"}, "BROKER_DEVELOPER=1"),
        ({"BROKER_FAILPOINTS": "no-such-point=kill", "BROKER_DEVELOPER": "1"}, "no-such-point"),
    ):
        with pytest.raises(ServerFailed, match=told), local_server(tmp_path, environment=world):
            pass
