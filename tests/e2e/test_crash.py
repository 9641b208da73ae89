"""Whatever is killed, nothing acknowledged is lost, nothing is booked twice, and a watch misses nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from capacitybroker import Client
from capacitybroker.v1.claim_pb2 import TIER_STANDARD, Claim
from google.protobuf.duration_pb2 import Duration

from bench.log import event_log
from broker.cli.local_server import local_server
from broker.ledger.fold import violations
from tests.e2e.test_conservation import TENANTS, small_fleet

PATIENCE_SECONDS = 60.0


def a_claim() -> Claim:
    return Claim(workload_class="training", devices=16, gang=True, duration=Duration(seconds=7200), tier=TIER_STANDARD)


@pytest.mark.parametrize("victims", [("server-1",), ("planner",), ("store",), ("server-1", "store", "planner")])
def test_killed_processes_come_back_and_forget_nothing(victims: tuple[str, ...], tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    with local_server(tmp_path, workers=1, plan_seconds=0.3, horizon_slots=14 * 24) as server:
        with Client(server.address, timeout=60) as operator:
            operator.apply_fleet(small_fleet())
        with ThreadPoolExecutor(4) as callers:
            futures = [callers.submit(_create, server.address, tenant, 60, acknowledged) for tenant in TENANTS]
            _until(lambda: len(acknowledged) >= 40)
            for victim in victims:
                os.kill(server.pids[victim], signal.SIGKILL)
            for future in futures:
                future.result()
        with Client(server.address, timeout=PATIENCE_SECONDS) as operator:
            operator.run_plan()
            listed = {claim.name: claim.revision for claim in operator.list_claims()}
    assert len(acknowledged) == 4 * 60
    assert acknowledged.keys() == listed.keys()
    assert all(listed[name] >= revision for name, revision in acknowledged.items())
    with local_server(tmp_path, horizon_slots=14 * 24):
        assert violations(event_log(tmp_path)[0]) == ()


def test_a_killed_broker_starts_again_where_it_was(tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    with local_server(tmp_path, horizon_slots=14 * 24) as server:
        with Client(server.address, timeout=60) as operator:
            operator.apply_fleet(small_fleet())
        _create(server.address, "atlas", 20, acknowledged)
        (parent,) = {_parent(pid) for pid in server.pids.values()}
        os.kill(parent, signal.SIGKILL)
        _until(lambda: not any(_alive(pid) for pid in server.pids.values()))
    with local_server(tmp_path, horizon_slots=14 * 24) as server, Client(server.address, timeout=60) as operator:
        assert {claim.name for claim in operator.list_claims()} == set(acknowledged)
        assert violations(event_log(tmp_path)[0]) == ()


def test_a_watch_sees_every_change_once_across_a_crash(tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    with local_server(tmp_path, horizon_slots=14 * 24) as server, Client(server.address, timeout=60) as operator:
        revision = operator.apply_fleet(small_fleet()).revision
        seen: list[tuple[int, str]] = []
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(server.address, revision + 1, seen, done))
        watcher.start()
        _create(server.address, "atlas", 10, acknowledged)
        _until(lambda: {name for _, name in seen} == set(acknowledged))
        os.kill(server.pids["server-1"], signal.SIGKILL)
        _create(server.address, "borealis", 10, acknowledged)
        _until(lambda: {name for _, name in seen} == set(acknowledged))
        done.set()
        operator.cancel_claim(next(iter(acknowledged)))
        watcher.join(PATIENCE_SECONDS)
        assert not watcher.is_alive()
        told = [(event.revision, str(claim.name)) for event in event_log(tmp_path)[0] for claim in event.claims]
    assert len(set(seen)) == len(seen)
    assert seen == [entry for entry in told if entry[0] <= seen[-1][0]]


def _watch(address: str, start: int, seen: list[tuple[int, str]], done: threading.Event) -> None:
    with Client(address, timeout=60) as client:
        for change in client.watch_claims(start_revision=start):
            seen.extend((change.revision, claim.name) for claim in change.claims)
            if done.is_set():
                return


def _create(address: str, tenant: str, count: int, acknowledged: dict[str, int]) -> None:
    """Claims one after the other, each kept asking for until the broker answers."""
    with Client(address, tenant=tenant, timeout=PATIENCE_SECONDS) as client:
        for number in range(count):
            claim = client.create_claim(a_claim(), claim_id=f"run-{number}")
            acknowledged[claim.name] = claim.revision


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.01)


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def _parent(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("PPid:")).split()[1])
