"""One port, one broker; and the ready file, which tells the truth for as long as it is there."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from broker.cli.local_server import ServerFailed, local_server

PATIENCE_SECONDS = 30.0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_second_broker_on_the_same_port_is_refused_in_one_line(host: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with local_server(tmp_path / "first") as first:
        taken = f"{host}:{first.address.rpartition(':')[2]}"
        with pytest.raises(ServerFailed) as refused, local_server(tmp_path / "second", listen=taken):
            pass
    _, *told = str(refused.value).splitlines()
    assert [line.strip() for line in told] == [
        f"broker: cannot listen on {taken}: Address already in use",
        "Stop what uses the port, or pass another --listen.",
    ]


def test_a_port_is_free_again_at_once(tmp_path: Path) -> None:
    with local_server(tmp_path) as first:
        address = first.address
    with local_server(tmp_path, listen=address) as again:
        assert again.address == address


def test_the_ready_file_follows_restarts_and_goes_when_the_broker_stops(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with local_server(tmp_path) as server:
        for victim in ("server-1", "planner", "store"):
            before = _told(ready)[victim]
            os.kill(before, signal.SIGKILL)
            _until(partial(_replaced, ready, victim, before))
            assert _told(ready).keys() == server.pids.keys()
    assert not ready.exists()


def _told(ready: Path) -> dict[str, int]:
    told: dict[str, int] = json.loads(ready.read_text(encoding="utf-8"))["pids"]
    return told


def _replaced(ready: Path, name: str, pid: int) -> bool:
    return _told(ready)[name] != pid


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.01)
