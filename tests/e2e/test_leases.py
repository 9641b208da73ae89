"""Leases of a real broker: kept through a crash of everything, and over when nobody renews."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from capacitybroker import Claim, Client, Reason
from redis import Redis

from bench.log import event_log
from broker.cli.local_server import local_server, set_clock
from broker.ledger.fold import violations
from broker.ledger.redis.keys import prefix
from tests.e2e.test_conservation import small_fleet
from tests.e2e.test_crash import a_claim
from tests.world import NOON

PATIENCE_SECONDS = 60.0


def test_a_lease_outlives_a_crash_and_ends_when_nobody_renews(tmp_path: Path) -> None:
    clock, now = tmp_path / "clock", NOON
    set_clock(clock, now)
    with local_server(tmp_path, plan_seconds=0.3, horizon_slots=7 * 24, clock_file=clock) as server:
        with Client(server.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client:
            client.apply_fleet(small_fleet())
            name = client.create_claim(a_claim(), claim_id="run-1").name
            client.run_plan()
            holding = client.hold_lease("run-1", ttl=60)
            for victim in ("server-1", "store"):
                os.kill(server.pids[victim], signal.SIGKILL)
            again = client.renew_lease("run-1", holding.lease.token)
            assert again.fencing_token == holding.lease.fencing_token
            assert holding.usable
            assert client.get_claim("run-1").state == Claim.STATE_ACTIVE
            holding.close()  # and nobody goes on
            while client.get_claim("run-1").state == Claim.STATE_ACTIVE:
                now += 1
                assert now < NOON + 240
                set_clock(clock, now)
                _until(partial(_looked_at, tmp_path, now))
            found = client.get_claim("run-1")
            assert (found.state, found.reasons[0].reason) == (Claim.STATE_ENDED, Reason.REASON_LEASE_EXPIRED)
            assert now >= NOON + 60
        events = event_log(tmp_path)[0]
    assert violations(events) == ()
    assert [str(event.claims[0].name) for event in events if event.kind == "LEASE_EXPIRED"] == [name]


def _looked_at(directory: Path, now: int) -> bool:
    """Whether a server has seen that it is ``now`` (Unix seconds)."""
    with Redis(unix_socket_path=str(directory / "data" / "store.sock")) as store:
        return int(store.hget(f"{prefix('main')}meta", "lease_seen") or 0) == 1000 * now


def _until(condition: Callable[[], bool]) -> None:
    """Polls until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
