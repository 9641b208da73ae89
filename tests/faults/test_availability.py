"""Two of each: whichever is killed, stopped or replaced, callers with the usual retries notice nothing."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from capacitybroker import Claim, Client

from bench import chaos
from broker.cli.local_server import local_server, set_clock
from broker.domain.snapshot import EventKind
from broker.ledger.redis.embedded import EmbeddedStore
from tests.e2e.test_conservation import small_fleet
from tests.e2e.test_leases import _looked_at as looked_at
from tests.faults.catalogue import fault
from tests.faults.processes import PATIENCE_SECONDS, broker, history, pid_of, replaced, until, work
from tests.world import NOON

pytestmark = pytest.mark.long

KILLS = 3


@fault(
    "F1",
    injected="kill -9 of a server, a planner and the store in turn, under load, two servers and two planners",
    expected="no failed call, nothing lost or done twice, watches without gap or duplicate",
)
def test_kill_9_of_anything_under_load_loses_nothing(tmp_path: Path) -> None:
    seconds = chaos.run(tmp_path, ("server", "planner", "store"), KILLS, workers=2, planners=2)
    for victim, times in seconds.items():
        print(victim, [round(one, 2) for one in times])  # noqa: T201 - figures, shown with -s


@fault(
    "F32",
    injected="SIGTERM to each of three servers in turn, twice, under load and with watches open",
    expected="no failed call, watches go on without gap or duplicate",
)
def test_servers_are_replaced_one_by_one_and_nobody_notices(tmp_path: Path) -> None:
    with (
        local_server(tmp_path, workers=3, plan_seconds=0.3, horizon_slots=7 * 24) as server,
        chaos.under_load(tmp_path, server) as load,
    ):
        for name in ("server-1", "server-2", "server-3") * 2:
            before, made = pid_of(tmp_path, name), len(load.created)
            os.kill(before, signal.SIGTERM)
            until(replaced(tmp_path, name, before))
            until(lambda made=made: len(load.created) >= made + 20)  # type: ignore[misc]
    assert "Traceback" not in server.log.read_text()


def test_callers_of_two_brokers_do_not_notice_that_one_is_gone(tmp_path: Path) -> None:
    """Two brokers on one store, as on two machines, behind a list of addresses."""
    with ExitStack() as stack:
        first, second = tmp_path / "first", tmp_path / "second"
        servers = []
        (first / "data").mkdir(parents=True)
        second.mkdir()
        servers.append(stack.enter_context(local_server(first, plan_seconds=0.3, horizon_slots=7 * 24)))
        shared = f"unix://{first / 'data' / 'store.sock'}"
        with local_server(second, plan_seconds=0.3, horizon_slots=7 * 24, redis_url=shared) as other:
            both = f"{servers[0].address},{other.address}"
            with chaos.under_load(first, servers[0], both) as load:
                for place, name in ((second, "server-1"), (first, "server-1"), (second, "planner"), (first, "planner")):
                    made, pid = len(load.created), pid_of(place, name)
                    os.kill(pid, signal.SIGKILL)
                    until(lambda made=made: len(load.created) >= made + 20)  # type: ignore[misc]
                    until(replaced(place, name, pid))


@fault(
    "F24",
    injected="SIGSTOP of the planner that leads, before it commits; another leads meanwhile; SIGCONT",
    expected="its commit is FENCED and changes nothing, and its log says so",
)
def test_a_planner_that_was_deposed_while_it_planned_commits_nothing(tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "quick").mkdir()
    armed = {"BROKER_FAILPOINTS": "before-plan-commit=stop", "BROKER_DEVELOPER": "1"}
    with EmbeddedStore.start(tmp_path / "slow" / "data") as store, ExitStack() as stack:
        plans = {"plan_seconds": 0.3, "horizon_slots": 7 * 24, "redis_url": store.url}
        slow = stack.enter_context(local_server(tmp_path / "slow", environment=armed, **plans))  # type: ignore[arg-type]
        until(lambda: "before-plan-commit" in slow.log.read_text())
        try:
            quick = stack.enter_context(local_server(tmp_path / "quick", **plans))  # type: ignore[arg-type]
            with Client(quick.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client:
                client.apply_fleet(small_fleet())
                client.create_claim(work(), claim_id="run")
                client.run_plan(timeout=PATIENCE_SECONDS)
        finally:
            os.kill(slow.pids["planner"], signal.SIGCONT)
        until(lambda: "no longer rules" in slow.log.read_text())
        made = [event for event in history(tmp_path / "slow") if event.kind is EventKind.PLANNED]
        assert len(made) == quick.log.read_text().count(" claims placed"), "all plans are of the one that led"


@fault(
    "F19",
    injected="SIGSTOP of the only server while the clock goes on beyond the end of a lease, then SIGCONT",
    expected="no lease ends for that: its holder can renew when the server is back",
)
def test_leases_outlive_a_server_that_was_paused(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    set_clock(clock, NOON)
    with (
        local_server(tmp_path, plan_seconds=0.3, horizon_slots=7 * 24, clock_file=clock) as server,
        Client(server.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client,
    ):
        client.apply_fleet(small_fleet())
        client.create_claim(work(), claim_id="run")
        client.run_plan()
        lease = client.acquire_lease("run", ttl=10)
        until(lambda: looked_at(tmp_path, NOON))
        os.kill(server.pids["server-1"], signal.SIGSTOP)
        try:
            set_clock(clock, NOON + 60)
            threading.Event().wait(1)
        finally:
            os.kill(server.pids["server-1"], signal.SIGCONT)
        for now in range(NOON + 60, NOON + 68):
            set_clock(clock, now)
            until(lambda now=now: looked_at(tmp_path, now))  # type: ignore[misc]
        renewed = client.renew_lease("run", lease.token)
        assert renewed.fencing_token == lease.fencing_token
        assert client.get_claim("run").state == Claim.STATE_ACTIVE
        assert not [event for event in history(tmp_path) if event.kind is EventKind.LEASE_EXPIRED]


@fault(
    "F21",
    injected="a broker whose solver hangs",
    expected="calls are answered meanwhile, claims are granted at once, and plans are made again by the next solver",
)
def test_calls_are_answered_while_the_solver_hangs(tmp_path: Path) -> None:
    with broker(tmp_path, "before-solver-start#2=sleep:3600") as server:
        with Client(server.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client:
            client.run_plan()
            client.create_claim(work(devices=64), claim_id="asks-for-a-plan")
            until(lambda: "before-solver-start" in server.log.read_text())
            assert client.create_claim(work(), claim_id="meanwhile").placements
            client.run_plan(timeout=PATIENCE_SECONDS)
        history(tmp_path)
