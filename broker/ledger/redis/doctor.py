"""What is wrong with a store and the market in it, one finding at a time, each with what to do about it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any, cast

from broker.domain.faults import Fault
from broker.ledger.redis.faults import translated
from broker.ledger.redis.line import command
from broker.ledger.redis.link import Link
from broker.ledger.redis.reading import Books, read_books
from broker.ledger.redis.start import STRICT, VERSION_LEAST

__all__ = ["Finding", "Grade", "examine"]

PINGS = 20
SLOW_MILLIS = 50.0
SKEW_SECONDS = 2.0
FULL = 0.9  # of maxmemory


class Grade(StrEnum):
    """How bad it is: WRONG keeps the broker from serving or may lose something."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do if it is not ok."""

    grade: Grade
    about: str
    found: str
    remedy: str = ""


async def examine(link: Link, *, now: Callable[[], float], relaxed: bool) -> AsyncIterator[Finding]:
    """Everything that can be found out; stops at what makes the rest meaningless.

    Nothing is changed but functions that are not ours, which every line to the store replaces.

    ``now`` is Unix time in seconds; ``relaxed`` tells that the operator accepts a store that may lose changes.
    """
    try:
        with translated():
            about = cast(dict[str, Any], await command(link.client, "INFO"))
            config = cast(dict[str, Any], await link.client.config_get("*"))
            skew = await _skew(link, now)
            pings = [await _ping_millis(link) for _ in range(PINGS)]
    except Fault as fault:
        yield Finding(Grade.WRONG, "store", fault.message, fault.remedy)
        return
    for finding in (
        _server(about),
        *_settings(config, relaxed),
        _role(about),
        _disk(about),
        _memory(about),
        _clock(skew),
        _speed(pings),
    ):
        yield finding
    if link.mended:
        yield Finding(
            Grade.WRONG,
            "functions",
            "they were damaged or edited in the store, and have just been replaced",
            "Look at the store's disk and memory, and at who may use it; run broker verify",
        )
    try:
        await link.load()
        books = await read_books(link)
    except Fault as fault:
        yield Finding(Grade.WRONG, "market", fault.message, fault.remedy)
        return
    for finding in (*_market(books), _log(books), _planner(books, now()), *_recovery(books)):
        yield finding


async def _skew(link: Link, now: Callable[[], float]) -> float:
    before = now()
    seconds, micros = await link.client.time()
    return float(seconds) + float(micros) / 1e6 - (before + now()) / 2


async def _ping_millis(link: Link) -> float:
    start = time.perf_counter()
    await command(link.client, "PING")
    return 1000 * (time.perf_counter() - start)


def _server(about: Mapping[str, Any]) -> Finding:
    version = str(about["redis_version"])
    name = f"{about.get('server_name', 'redis')} {about.get('valkey_version', version)}"
    if tuple(map(int, version.split(".")[:2])) < VERSION_LEAST:
        return Finding(Grade.WRONG, "server", f"{name} is too old", "Use Valkey, or Redis 7.0 or later")
    return Finding(Grade.OK, "server", f"{name}, up for {about['uptime_in_seconds']} s")


def _settings(config: Mapping[str, Any], relaxed: bool) -> list[Finding]:
    out = []
    for name, wanted in STRICT:
        present = str(config.get(name, "unknown"))
        if present == wanted:
            out.append(Finding(Grade.OK, name, present))
        else:
            grade = Grade.WARNING if relaxed else Grade.WRONG
            remedy = f"CONFIG SET {name} {wanted}, and in its configuration file; then restart the broker"
            out.append(Finding(grade, name, f"{present}: acknowledged changes may be lost", remedy))
    return out


def _role(about: Mapping[str, Any]) -> Finding:
    if about["role"] == "master":
        replicas = int(about["connected_slaves"])
        return Finding(Grade.OK, "role", f"primary with {replicas} replica{'' if replicas == 1 else 's'}")
    remedy = "Point the broker at the primary; if this one is to take over, REPLICAOF NO ONE, then broker accept"
    found = f"replica of {about.get('master_host')}, link {about.get('master_link_status')}"
    return Finding(Grade.WRONG, "role", found, remedy)


def _disk(about: Mapping[str, Any]) -> Finding:
    if about.get("aof_last_write_status", "ok") != "ok" or about.get("aof_last_bgrewrite_status", "ok") != "ok":
        return Finding(Grade.WRONG, "disk", "its last write failed", "Look at the store's log; make room on its disk")
    return Finding(Grade.OK, "disk", f"append-only file of {int(about.get('aof_current_size', 0)):,} bytes")


def _memory(about: Mapping[str, Any]) -> Finding:
    used, most = int(about["used_memory"]), int(about["maxmemory"])
    if not most:
        remedy = "Set maxmemory to what the machine can spare, so that a full store refuses instead of being ended"
        return Finding(Grade.WARNING, "memory", f"{used >> 20} MiB used, without a limit", remedy)
    grade = Grade.WRONG if used >= most else Grade.WARNING if used > FULL * most else Grade.OK
    remedy = "" if grade is Grade.OK else "Raise maxmemory: from there on nothing new is accepted (STORE_FULL)"
    return Finding(grade, "memory", f"{used >> 20} of {most >> 20} MiB used", remedy)


def _clock(skew: float) -> Finding:
    if abs(skew) > SKEW_SECONDS:
        return Finding(Grade.WARNING, "clock", f"the store's is {skew:+.1f} s off this machine's", "Set both by NTP")
    return Finding(Grade.OK, "clock", f"{1000 * skew:+.0f} ms off this machine's")


def _speed(pings: list[float]) -> Finding:
    middle = median(pings)
    found = f"answers in {middle:.1f} ms, at worst {max(pings):.1f} ms"
    if middle > SLOW_MILLIS:
        return Finding(Grade.WARNING, "speed", found, "Bring broker and store closer, or see what keeps the store busy")
    return Finding(Grade.OK, "speed", found)


def _market(books: Books) -> list[Finding]:
    found = f"incarnation {books.head['incarnation']}, revision {books.revision}, {books.live} live claims"
    out = [Finding(Grade.OK, "market", found)]
    if books.halted:
        remedy = "Run broker verify; restore a good copy into an empty store, or trust it as it is: broker accept"
        out.append(Finding(Grade.WRONG, "halted", books.halted, remedy))
    if books.names != books.live + books.closed:
        remedy = "Run broker verify"
        out.append(Finding(Grade.WRONG, "names", f"{books.names} names for {books.live + books.closed} claims", remedy))
    return out


def _log(books: Books) -> Finding:
    if books.whole_log:
        return Finding(Grade.OK, "log", f"whole: {books.events} events")
    remedy = "Keep exports: what happened before is only in them"
    return Finding(Grade.WARNING, "log", f"{books.events} events since revision {books.oldest}", remedy)


def _planner(books: Books, now: float) -> Finding:
    left = int(books.head.get("leader_until") or 0) / 1000 - now
    if left <= 0:
        return Finding(Grade.WARNING, "planner", "none leads", "Start a broker; see the planner's log")
    return Finding(Grade.OK, "planner", f"{books.head['leader']} leads, epoch {books.head['epoch']}")


def _recovery(books: Books) -> list[Finding]:
    left = int(books.head.get("recovering_until") or 0) - int(books.head.get("lease_time") or 0)
    if left <= 0:
        return []
    return [Finding(Grade.WARNING, "recovery", f"no new leases for {left // 1000} s of service", "Wait: holders renew")]
