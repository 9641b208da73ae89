"""A broker of one's own for as long as a block of code runs: the demo, replays and tests start theirs here."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

__all__ = ["LocalServer", "ServerFailed", "local_server", "set_clock"]

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
LOG_LINES = 12


class ServerFailed(Exception):
    """The server did not come up; the message ends with what it had to say."""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Where it listens, its processes by name, and where it logs."""

    address: str
    pids: Mapping[str, int]
    log: Path


@contextlib.contextmanager
def local_server(
    directory: Path,
    *,
    listen: str = "127.0.0.1:0",
    workers: int = 1,
    plan_seconds: float = 2.0,
    horizon_slots: int = 28 * 24,
    clock_file: Path | None = None,
    capture: Path | None = None,
    planners: int = 1,
    redis_url: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[LocalServer]:
    """A running broker with all its data in ``directory``; stopped at the end, also on SIGTERM.

    It takes a free port unless ``listen`` names one. With ``clock_file`` it takes the present time from there (see
    `set_clock`); with ``capture`` it leaves the last planning problem and plan there; with ``redis_url`` it shares a
    store that is there already. ``environment`` is added to this process's own. Raises `ServerFailed`.
    """
    ready, log = directory / "ready.json", directory / "serve.log"
    ready.unlink(missing_ok=True)
    arguments = [sys.executable, "-m", "broker", "serve", "--quiet", "--listen", listen]
    arguments += ["--data-dir", str(directory / "data"), "--workers", str(workers), "--ready-file", str(ready)]
    arguments += ["--plan-seconds", str(plan_seconds), "--horizon-slots", str(horizon_slots)]
    arguments += ["--clock-file", str(clock_file)] if clock_file else []
    arguments += ["--capture", str(capture)] if capture else []
    arguments += ["--planners", str(planners)]
    arguments += ["--redis-url", redis_url, "--create"] if redis_url else []
    with _stopped_by_sigterm(), log.open("ab") as output:
        # The arguments are this function's own; no shell is involved.
        process = subprocess.Popen(  # noqa: S603
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
        )
        try:
            yield _when_ready(process, ready, log)
        finally:
            _stop(process)


def set_clock(file: Path, seconds: int) -> None:
    """Make it ``seconds`` (Unix time) for a server that reads its clock from ``file``; no reader sees half a number."""
    fresh = file.with_name(f"{file.name}.fresh")
    fresh.write_text(f"{seconds}\n", encoding="ascii")
    fresh.replace(file)


def _when_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> LocalServer:
    """Waits for the ready file, which appears whole or not at all."""
    end = time.monotonic() + READY_SECONDS
    while not ready.exists():
        if process.poll() is not None:
            raise ServerFailed(f"the broker ended at once\n{_tail(log)}")
        if time.monotonic() > end:
            raise ServerFailed(f"the broker was not ready within {READY_SECONDS:.0f} s\n{_tail(log)}")
        time.sleep(0.02)
    told = json.loads(ready.read_text(encoding="utf-8"))
    return LocalServer(address=told["address"], pids=told["pids"], log=log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, and end it if it does not; its own children end with it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Turns SIGTERM into an exception, so that nobody who is told to stop leaves a server behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
