"""The demo, end to end: a real store, server, planner and client, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from capacitybroker import Client

from broker.cli.local_server import ServerFailed, local_server


def test_the_demo_shows_who_got_what_and_leaves_a_picture(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "broker", "demo", "--seconds", "2", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in (
        "most valuable of",
        "no eligible pool",
        "SILICON_UNKNOWN",
        "Who got what",
        "NEW MONEY",
        "PAID ALREADY",
        "no plan is worth more than",
        "300 claims from 6 tenants over gRPC",
        "broker fleet apply --default",
        "broker claim 64 --silicon blackwell --for 3d",
    ):
        assert expected in done.stdout
    assert "\x1b" not in done.stdout
    assert (out / "calendar.svg").read_text().startswith("<svg")
    text = (out / "claims.txt").read_text()
    assert len(text.splitlines()) >= 300
    (counts,) = re.findall(r"claims: (.*?)<", (out / "calendar.svg").read_text())
    assert f"claims: {counts}" in text.splitlines()[0]
    (waiting,) = re.findall(r"(\d+) waiting", counts)
    assert f"Waiting: {waiting}" in done.stdout


def test_a_local_server_starts_stops_and_leaves_nothing(tmp_path: Path) -> None:
    with local_server(tmp_path, horizon_slots=48) as server:
        with Client(server.address) as client:
            assert list(client.list_claims()) == []
        pids = server.pids.values()
        assert all(_alive(pid) for pid in pids)
    assert not any(_alive(pid) for pid in pids)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(ServerFailed, match=r"ended at once\n.*\S"), local_server(tmp_path):
        pytest.fail("it started")


def test_who_is_told_to_stop_takes_the_server_along(tmp_path: Path) -> None:
    code = (
        "import sys, json, pathlib, threading\n"
        "from broker.cli.local_server import local_server\n"
        "with local_server(pathlib.Path(sys.argv[1])) as server:\n"
        "    print(json.dumps(dict(server.pids)), flush=True)\n"
        "    threading.Event().wait(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        pids = json.loads(driver.stdout.readline()).values()
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(60) == 128 + signal.SIGTERM
    assert not any(_alive(pid) for pid in pids)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
