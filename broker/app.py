"""The composition root: the only place that builds clocks, ids, stores, servers and processes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from broker import failpoints
from broker.domain.faults import Fault
from broker.ledger.redis.ledger import RedisLedger
from broker.ledger.redis.link import StoreSettings
from broker.ledger.redis.verify import Verifier
from broker.ledger.redis.watch import watch_settings
from broker.settings import ServeSettings
from broker.telemetry.logs import log_to_stderr
from broker.witness import Witness

__all__ = ["clock", "lease_clock", "new_id", "open_market", "resign", "run_planner", "run_server", "wall_clock"]

log = logging.getLogger(__name__)

HEALTH_SECONDS = 0.25

Clock = Callable[[], int]
Ready = Callable[[], None]


def clock(clock_file: Path | None) -> Clock:
    """The machine's clock in whole Unix seconds, or the one that ``clock_file`` holds."""
    if clock_file is None:
        return lambda: int(time.time())  # noqa: TID251 - the one place
    return lambda: int(clock_file.read_text())


def wall_clock() -> float:
    """The machine's clock in Unix seconds."""
    return time.time()  # noqa: TID251 - for tools, which no replay drives


def lease_clock(clock_file: Path | None) -> Callable[[], int] | None:
    """What times leases instead of the store's own clock, in milliseconds; None: nothing does."""
    shown = clock(clock_file)
    return None if clock_file is None else lambda: 1000 * shown()


def new_id() -> str:
    """An unguessable id of [a-z0-9-]."""
    return f"c-{secrets.token_hex(8)}"


async def open_market(settings: ServeSettings, store_url: str, *, create: bool) -> None:
    """See that the market is there, or make it; Faults: SAFE_HALT when it is missing or the store is not fit."""
    witness = Witness(settings.data_dir, settings.market)
    if create and witness.file.exists():
        create = False  # there was one: its absence is no reason to begin anew
    ledger = await _open(settings, store_url, create=create)
    await ledger.close()


async def resign(settings: ServeSettings, store_url: str, planner_id: str) -> None:
    """Give back the lease of a planner that is no more, so that whoever stands by need not wait until it runs out."""
    with suppress(Fault):
        ledger = await _open(settings, store_url)
        try:
            await ledger.lead(planner_id, ttl_millis=0)
        finally:
            await ledger.close()


def run_server(settings: ServeSettings, store_url: str, ready: Ready) -> None:
    """Answer calls until SIGTERM; the body of a server process."""
    _start_process(settings.slot, settings)
    from broker.transport.wakeups import run_loop

    run_loop(_serve(settings, store_url, ready))


def run_planner(settings: ServeSettings, store_url: str, planner_id: str, ready: Ready) -> None:
    """Plan until SIGTERM; the body of a planner process. No two processes that live have the same ``planner_id``."""
    _start_process("planner", settings)
    asyncio.run(_plan(settings, store_url, planner_id, ready))


async def _open(
    settings: ServeSettings, store_url: str, *, create: bool = False, call_seconds_max: float = 1.0
) -> RedisLedger:
    ledger = await RedisLedger.open(
        store_url,
        market=settings.market,
        new_id=new_id,
        now=clock(settings.clock_file),
        create=create,
        durability=settings.durability,
        lease_clock=lease_clock(settings.clock_file),
        settings=StoreSettings(call_seconds_max=call_seconds_max),
    )
    try:
        Witness(settings.data_dir, settings.market).check(ledger.link.incarnation, await ledger.revision())
    except BaseException:
        await ledger.close()
        raise
    return ledger


async def _serve(settings: ServeSettings, store_url: str, ready: Ready) -> None:
    from broker.admission import scan
    from broker.desk import Desk
    from broker.feed import Feed
    from broker.leasing import Leasing
    from broker.observed import Observed, health_of
    from broker.transport.server import Server

    stopping = _on_terminate()
    scan.warm()
    # Looking for garbage stops all callers, for 0.3 to 1 ms a thousand objects that are not that old: look often among
    # few (a second look at a hundred thousand was CreateClaim's p99), and hardly ever among all live claims.
    gc.freeze()
    gc.set_threshold(2_000, 4, 10_000)
    ledger = await _open(settings, store_url)
    async with Feed(ledger) as feed:
        desk = Desk(ledger, feed, clock(settings.clock_file), new_id, settings.desk)
        leasing = Leasing(ledger, feed, clock(settings.clock_file), settings.leases)
        observed = Observed(settings, feed, lambda: int(1000 * time.time()))  # noqa: TID251 - the one place
        server = Server(desk, leasing, feed, observed.guard)
        await server.start(settings.listen)
        ready()
        watch = asyncio.create_task(watch_settings(ledger.link, settings.durability))
        witness = Witness(settings.data_dir, settings.market)
        health = health_of(None)
        while not stopping.is_set():
            feed.assert_following()
            if feed.down is None:
                witness.note(ledger.link.incarnation, feed.revision)
                await desk.lapse()
                with suppress(Fault):  # the store is away: the feed says so, and lease time stands still
                    await leasing.lapse()
            if health is not (now := health_of(feed.down)):
                health = now
                log.warning("%s", "serving again" if feed.down is None else f"{now.name.lower()}: {feed.down}")
                await server.tell(health)
            try:
                await asyncio.wait_for(stopping.wait(), HEALTH_SECONDS)
            except TimeoutError:
                continue
        await server.stop(settings.drain_seconds)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await observed.close()
    await ledger.close()


async def _plan(settings: ServeSettings, store_url: str, planner_id: str, ready: Ready) -> None:
    from broker.capture import capture_into
    from broker.optimiser.worker import SolverProcess
    from broker.planner import Planner

    stopping = _on_terminate()
    # Nobody waits for the planner, which looks away for a while when it reads or writes many claims.
    ledger = await _open(settings, store_url, call_seconds_max=5.0)
    solver = SolverProcess(memory_bytes=_solver_bytes())
    planner = Planner(
        ledger,
        solver,
        clock(settings.clock_file),
        planner_id=planner_id,
        settings=settings.planner,
        capture=capture_into(settings.capture_dir) if settings.capture_dir else None,
    )

    async def warm_and_run() -> None:
        # Nobody's first plan waits for imports.
        await solver.start()
        await planner.run()

    ready()
    beside = [
        asyncio.create_task(watch_settings(ledger.link, settings.durability)),
        asyncio.create_task(Verifier(ledger.link).run()),
    ]
    run = asyncio.create_task(warm_and_run())
    stop = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait({run, stop}, return_when=asyncio.FIRST_COMPLETED)
    for task in (run, stop, *beside):
        task.cancel()
    await asyncio.gather(run, stop, *beside, return_exceptions=True)
    await solver.close()
    await ledger.close()
    if run in done and (error := run.exception()) is not None:
        raise error


def _solver_bytes() -> int:
    """Address space that the solver may take, three quarters of the machine's memory: it fails rather than have the
    kernel choose a victim. What libraries merely map counts as well, so it is never less than 4 GiB.
    """
    return max(4 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)


def _start_process(name: str, settings: ServeSettings) -> None:
    """What every child process does first: log plainly, and leave Ctrl-C to its parent."""
    log_to_stderr(name, settings.log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    failpoints.arm(settings.failpoints)


def _on_terminate() -> asyncio.Event:
    """An event that SIGTERM sets."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    return stopping
