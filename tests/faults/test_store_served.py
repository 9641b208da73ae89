"""A whole broker whose store does not come up again, or goes back while it is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from capacitybroker import BrokerError, Client
from capacitybroker.v1.claim_pb2 import TIER_STANDARD, Claim
from google.protobuf.duration_pb2 import Duration

from broker.cli.local_server import ServerFailed, local_server
from tests.e2e.test_conservation import small_fleet
from tests.faults.catalogue import fault

PATIENCE = 60.0


def _claim() -> Claim:
    return Claim(workload_class="training", devices=16, gang=True, duration=Duration(seconds=7200), tier=TIER_STANDARD)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.02)


def _answers(address: str) -> bool:
    try:
        with Client(address, tenant="atlas", timeout=1.0) as caller:
            list(caller.list_claims())
    except BrokerError:
        return False
    return True


@fault(
    "F5",
    injected="the store of a running broker is killed and its append-only file spoilt in the middle",
    expected="the store does not start, the broker goes on refusing, and serves again once the file is brought back",
)
def test_broker_waits_for_a_store_that_does_not_come_up(tmp_path: Path) -> None:
    with local_server(tmp_path, horizon_slots=14 * 24) as server:
        with Client(server.address, tenant="atlas") as caller:
            caller.apply_fleet(small_fleet())
            made = caller.create_claim(_claim()).name
        (file,) = (tmp_path / "data" / "appendonlydir").glob("*.incr.aof")
        os.kill(server.pids["store"], signal.SIGSTOP)  # nobody writes any more
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] + b"\n\n*garbage\r\n" + whole[len(whole) // 2 :])
        os.kill(server.pids["store"], signal.SIGKILL)
        _until(lambda: "nothing is served" in server.log.read_text())
        assert not _answers(server.address)
        file.write_bytes(whole)
        _until(lambda: _answers(server.address))
        with Client(server.address, tenant="atlas", timeout=PATIENCE) as caller:
            assert [claim.name for claim in caller.list_claims()] == [made]


@fault(
    "F6",
    injected="a stopped broker's data is replaced by an earlier copy of it",
    expected="it does not start: SAFE_HALT, and says how to accept it; once accepted it does",
)
def test_broker_does_not_start_on_data_that_went_back(tmp_path: Path) -> None:
    with local_server(tmp_path, horizon_slots=14 * 24) as server, Client(server.address, tenant="atlas") as caller:
        caller.apply_fleet(small_fleet())
        seen = tmp_path / "data" / "witness-main.json"
        revision = caller.create_claim(_claim()).revision
        _until(lambda: seen.exists() and json.loads(seen.read_text())["revision"] >= revision)
    (file,) = (tmp_path / "data" / "appendonlydir").glob("*.incr.aof")
    whole = file.read_bytes()
    last = whole.rindex(b"*1\r\n$5\r\nMULTI")
    earlier = whole.rindex(b"SUBMITTED")
    file.write_bytes(whole[: whole.rindex(b"*1\r\n$5\r\nMULTI", 0, earlier)] if earlier < last else whole[:last])
    with pytest.raises(ServerFailed, match="broker accept"), local_server(tmp_path, horizon_slots=14 * 24):
        pass
    accept = [str(Path(sys.executable).parent / "broker"), "accept", "--data-dir", str(tmp_path / "data")]
    subprocess.run(accept, check=True, capture_output=True, timeout=PATIENCE)
    with local_server(tmp_path, horizon_slots=14 * 24) as server:
        _until(lambda: _answers(server.address))
