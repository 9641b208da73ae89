"""One market's line to its store: calls the market's functions and believes no reply that goes back in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from redis.exceptions import ResponseError

from broker.domain.faults import Fault, FaultReason
from broker.ledger.redis import keys
from broker.ledger.redis.batch import Batches
from broker.ledger.redis.faults import translated
from broker.ledger.redis.library import library
from broker.ledger.redis.line import command, connect

__all__ = ["Durability", "Link", "Reply", "StoreSettings", "safe_halt"]

Durability = Literal["strict", "relaxed"]

_RESTORE = "Restore the store with its history (broker doctor tells more), then restart the broker"
_BULK = frozenset({"apply_fleet", "balances", "claims_page", "commit", "snapshot", "state", "state_page"})


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How long to wait for the store, how much to ask of it at once, and how much history to keep.

    What reads or writes much travels on a line of its own, and may take ``bulk_seconds_max``: nobody waits behind it.
    """

    call_seconds_max: float = 1.0
    bulk_seconds_max: float = 10.0
    connect_seconds_max: float = 2.0
    waiting_reads_max: int = 8
    replay_hours: int = 25
    log_events_max: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Reply:
    """What a function answered: the market's revision then, a code, and what belongs to the code."""

    revision: int
    code: str
    rest: tuple[Any, ...]

    def text(self, i: int) -> str:
        """The i-th thing behind the code, which is text; Faults: SAFE_HALT when it is not."""
        try:
            return cast(bytes, self.rest[i]).decode()
        except (UnicodeDecodeError, AttributeError, IndexError):
            raise safe_halt("the store answers what cannot be read", _RESTORE) from None


class _Spoilt(Exception):
    """The store lost or changed history; no process may believe it."""

    def __init__(self, why: Fault) -> None:
        super().__init__(str(why))
        self.why = why


class Link:
    """Calls functions of the market; the first sign that the store lost history halts it for good."""

    def __init__(self, url: str, *, market: str, settings: StoreSettings) -> None:
        self.market = market
        self.settings = settings
        self.mended = 0  # lines on which the store's functions were not ours
        lines = partial(connect, url, seconds_max=settings.connect_seconds_max, spoilt=self._mend)
        self.client = lines(connections=3)  # for batches, and for commands that are no functions
        self._batches = Batches(self.client, seconds_max=settings.call_seconds_max)
        self._bulk = Batches(self.client, seconds_max=settings.bulk_seconds_max)
        self._waiter = lines(connections=settings.waiting_reads_max)
        self._incarnation: str | None = None
        self._seen = 0
        self._halted: Fault | None = None

    @property
    def incarnation(self) -> str:
        """Of the market, as first seen."""
        assert self._incarnation is not None
        return self._incarnation

    async def call(self, verb: str, *args: str | int | bytes, replay: str | None = None) -> Reply:
        """Call the function of ``verb``; Faults: STORE_UNAVAILABLE, SAFE_HALT."""
        return await self._call("FCALL", verb, args, replay)

    async def read(self, verb: str, *args: str | int | bytes, replay: str | None = None, bulk: bool = False) -> Reply:
        """Call a function that changes nothing, much at a time if ``bulk``; Faults: STORE_UNAVAILABLE, SAFE_HALT."""
        return await self._call("FCALL_RO", verb, args, replay, bulk=bulk)

    async def wait(self, after: int, wait_millis: int) -> None:
        """Return once there is an event after revision ``after``, or when ``wait_millis`` have passed."""
        seconds_max = wait_millis / 1000 + self.settings.call_seconds_max
        with translated():
            async with asyncio.timeout(seconds_max):
                await command(
                    self._waiter,
                    *("XREAD", "COUNT", 1, "BLOCK", wait_millis),
                    *("STREAMS", keys.log_key(self.market), f"{after}-0"),
                )

    async def close(self) -> None:
        """Let go of all connections."""
        await self._batches.close()
        await self._bulk.close()
        await self.client.aclose()
        await self._waiter.aclose()

    async def _call(
        self, fcall: str, verb: str, args: tuple[str | int | bytes, ...], replay: str | None, *, bulk: bool = False
    ) -> Reply:
        if self._halted is not None:
            raise self._halted
        line = self._bulk if bulk or verb in _BULK else self._batches
        seen = self._seen  # replies may overtake each other; none may be older than what was known when it was asked
        named = [keys.prefix(self.market), *([replay] if replay else []), self._known(seen)]
        with translated():
            raw = await self._function(line, fcall, library().function(verb), len(named), *named, *args)
        try:
            return self._believed(raw, seen)
        except _Spoilt as spoilt:
            await self.halt_all(spoilt.why)
            raise spoilt.why from None

    async def halt_all(self, why: Fault) -> None:
        """Like `halt`, for every process on the market, and for those that start later."""
        self.halt(why)
        if self._incarnation is None:
            return
        # A replica may be read-only, and a store that fails cannot be told: then each process has to find out itself.
        with suppress(Fault), translated():
            named = library().function("halt"), 2, keys.prefix(self.market), self._known(self._seen)
            await self._function(self._batches, "FCALL", *named, self._incarnation, why.message)

    def _mend(self) -> None:
        self.mended += 1

    def _known(self, revision: int) -> str:
        """What this process knows of the market, for functions to refuse before they change one that has gone back."""
        return keys.known_key(self.market, self._incarnation or "", revision)

    async def _function(self, line: Batches, fcall: str, function: str, *args: str | int | bytes) -> list[Any]:
        try:
            return cast(list[Any], await line.send(fcall, function, *args))
        except ResponseError as error:
            if "function not found" not in str(error).lower():
                raise
        await self.load()
        return cast(list[Any], await line.send(fcall, function, *args))

    async def load(self) -> None:
        """Give the server this release's functions, unless it has them."""
        with translated():
            try:
                async with asyncio.timeout(self.settings.bulk_seconds_max):
                    await command(self.client, "FUNCTION", "LOAD", library().code)
            except ResponseError as error:
                if "already exists" not in str(error):
                    raise

    def _believed(self, raw: list[Any], seen: int) -> Reply:
        """The reply, unless it shows that the store is not the one it was."""
        try:
            incarnation, reply = raw[0].decode(), Reply(int(raw[1]), raw[2].decode(), tuple(raw[3:]))
        except (AttributeError, IndexError, TypeError, ValueError):
            raise self._halt("the store answers as no store of ours does") from None
        if reply.code == "HALTED":
            raise self.halt(safe_halt(reply.text(0), _RESTORE))
        if reply.code == "DAMAGED":
            raise _Spoilt(safe_halt(f"the store contradicts itself: {reply.text(0)}", _RESTORE))
        if reply.code == "MISSING":
            if self._incarnation is None:
                return reply
            raise self._halt(f"market {self.market} is gone from the store")
        if self._incarnation is None:
            self._incarnation = incarnation
        if incarnation != self._incarnation:
            raise self._halt(f"market {self.market} was {self._incarnation} and is now {incarnation}")
        if reply.revision < seen:
            raise _Spoilt(
                safe_halt(f"market {self.market} was at revision {seen} and is now at {reply.revision}", _RESTORE)
            )
        self._seen = max(self._seen, reply.revision)
        return reply

    def _halt(self, what: str) -> Fault:
        return self.halt(safe_halt(what, _RESTORE))

    def halt(self, why: Fault) -> Fault:
        """Believe the store no more, for good: every call from now on is refused with ``why``."""
        self._halted = self._halted or why
        return self._halted


def safe_halt(what: str, remedy: str) -> Fault:
    """The store cannot be trusted; nothing may be granted."""
    return Fault(FaultReason.SAFE_HALT, what, remedy=remedy)
