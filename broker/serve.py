"""A whole broker on one machine: a store, server processes on one port, and the planner."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

from broker.app import open_market, resign, run_planner, run_server
from broker.domain.faults import Fault, FaultReason
from broker.ledger.redis.embedded import EmbeddedStore
from broker.processes import Children
from broker.settings import ServeSettings

__all__ = ["serve"]

log = logging.getLogger(__name__)

READY_SECONDS = 60.0
REVIVE_SECONDS = 1.0, 10.0  # first and most between two attempts at a store that does not come up


def serve(settings: ServeSettings, announce: Callable[[str], None]) -> None:
    """Run a broker until SIGTERM or Ctrl-C; ``announce`` gets its address once calls succeed.

    Faults: SAFE_HALT when the store is not fit, or the address is not this machine's own and ``insecure`` is not set;
    StartFailed when a process does not come up, OSError when somebody listens at the address already.
    """
    _refuse_strangers(settings)
    # gRPC's core would write a line for every bad header that somebody sends; callers are told what was wrong.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    stopping = _on_signals()
    with ExitStack() as stack:
        store = None if settings.redis_url else stack.enter_context(_Store.running(settings.data_dir))
        store_url = settings.redis_url or (store.url if store else "")
        asyncio.run(open_market(settings, store_url, create=settings.create or (store is not None and store.fresh)))
        if store is not None:
            store.mark_used()
        address = stack.enter_context(_reserved(settings.host, settings.port))
        bound = replace(settings, listen=address)
        again = replace(bound, failpoints="")
        seats = _seats(settings.planners)
        children = Children(
            grace_seconds=settings.drain_seconds + 5, died=partial(_resign_for, seats, again, store_url)
        )
        stack.callback(children.stop)
        for name, seat in seats.items():
            children.start(
                name, partial(run_planner, bound, store_url, seat), partial(run_planner, again, store_url, seat)
            )
        for number in range(1, settings.workers + 1):
            name = f"server-{number}"
            first, later = (_numbered(one, name, number) for one in (bound, again))
            children.start(name, partial(run_server, first, store_url), partial(run_server, later, store_url))
        children.wait_ready(READY_SECONDS)
        told = stack.enter_context(_Told.in_file(settings.ready_file, address))
        told.pids(_pids(children, store), children.up)
        announce(address)

        def stopped() -> bool:
            if stopping():
                # What ends now ends because it was told to.
                return True
            if store is not None:
                store.revive()
            told.pids(_pids(children, store), children.up)
            return False

        children.watch(stopped)


def _numbered(settings: ServeSettings, slot: str, number: int) -> ServeSettings:
    """Those of one server process: each has metrics of its own, at ports that follow each other."""
    metrics = settings.metrics
    if metrics is not None:
        host, _, port = metrics.rpartition(":")
        metrics = f"{host}:{int(port) + number - 1}"
    return replace(settings, slot=slot, metrics=metrics)


def _seats(planners: int) -> dict[str, str]:
    """The id of each planner by its name; one that is started again has the id of the one before, and so its lease."""
    run = secrets.token_hex(4)
    names = ("planner", *(f"planner-{number}" for number in range(2, planners + 1)))
    return {name: f"{run}-{name}" for name in names}


def _resign_for(seats: Mapping[str, str], settings: ServeSettings, store_url: str, name: str) -> None:
    """Give back the lease of a planner that died; the store may be away, so nobody waits for it."""
    if name in seats and len(seats) > 1:
        task = partial(asyncio.run, resign(settings, store_url, seats[name]))
        threading.Thread(target=task, name=f"resign-{name}", daemon=True).start()


def _pids(children: Children, store: _Store | None) -> dict[str, int]:
    return children.pids | ({"store": store.pid} if store else {})


class _Told:
    """The ready file: there from the first time that calls succeed until the broker stops, and always true."""

    def __init__(self, file: Path | None, address: str) -> None:
        self._file = file
        self._address = address
        self._told: object = None

    @classmethod
    @contextmanager
    def in_file(cls, file: Path | None, address: str) -> Iterator[_Told]:
        """A file that is gone at the end; None: nobody wants to be told."""
        try:
            yield cls(file, address)
        finally:
            if file is not None:
                file.unlink(missing_ok=True)

    def pids(self, pids: dict[str, int], up: tuple[str, ...]) -> None:
        """Tell these process ids, and which processes are ready, if that is not what was told."""
        if self._file is not None and (pids, up) != self._told:
            self._told = pids, up
            _write(self._file, json.dumps({"address": self._address, "pids": pids, "ready": up}))


class _Store:
    """The embedded store, started again on the same data when it dies."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running = EmbeddedStore.start(directory)
        self._failures, self._again_at = 0, 0.0
        self.url = self._running.url

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator[_Store]:
        """A store that is stopped at the end."""
        store = cls(directory)
        try:
            yield store
        finally:
            store._running.stop()

    @property
    def pid(self) -> int:
        """Of the server process."""
        return self._running.pid

    @property
    def fresh(self) -> bool:
        """Whether no market was ever made here."""
        return self._running.fresh

    def mark_used(self) -> None:
        """From now on a missing market is lost data, not a new one."""
        self._running.mark_used()

    def revive(self) -> None:
        """Start it again if it died; if it does not come up, as on a full disk or a spoilt file, again in a while."""
        if self._running.alive or monotonic() < self._again_at:
            return
        log.error("the embedded store ended; starting it again on the same data")
        try:
            self._running = EmbeddedStore.start(self._directory)
            self._failures = 0
        except Fault as fault:
            first, most = REVIVE_SECONDS
            delay = min(most, first * 2**self._failures)
            self._failures += 1
            self._again_at = monotonic() + delay
            log.error("%s; nothing is served, and it is tried again in %.0f s", fault, delay)  # noqa: TRY400


@contextmanager
def _reserved(host: str, port: int) -> Iterator[str]:
    """An address that server processes may share, kept from others for as long as this lasts.

    Whoever shares a port shares its calls, so it is first taken for ourselves alone, which fails when another broker
    (or anybody) has it; only then is it opened for sharing, without letting go of it in between.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            # Connections of a broker that has just stopped are no reason to refuse; a listener still is.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host, port))
            alone.listen()
            for taken in (alone, held):
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(alone.getsockname())
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        yield f"{shown}:{held.getsockname()[1]}"


def _refuse_strangers(settings: ServeSettings) -> None:
    """Callers are trusted by their word, so only this machine may call unless the operator insists."""
    host = settings.host
    local = host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
    if not local and not settings.insecure:
        raise Fault(
            FaultReason.SAFE_HALT,
            f"{host or 'any address'} can be reached by others, and callers are not authenticated yet",
            remedy="Listen on 127.0.0.1, or pass --insecure if the network is trusted.",
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _on_signals() -> Callable[[], bool]:
    """Whether SIGTERM or Ctrl-C has come."""
    seen: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: seen.append(number))
    return lambda: bool(seen)


def _write(path: Path, text: str) -> None:
    """All of it or nothing, for a reader that waits for the file."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)
