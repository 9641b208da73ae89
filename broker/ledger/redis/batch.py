"""Commands that wait for the store together travel together."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple, cast

import hiredis
from redis.asyncio import Connection, Redis
from redis.exceptions import MaxConnectionsError, ResponseError

from broker import failpoints
from broker.ledger.redis.circuit import Circuit

__all__ = ["Batches"]

Part = str | int | bytes

COMMANDS_MAX = 64  # of one batch, so that its replies do not wait for each other for long
WAITING_MAX = 10_000  # more than that could not be answered in time anyway
WAIT_SECONDS_MAX = 5.0  # to be sent, while the store does answer others


class _Command(NamedTuple):
    parts: tuple[Part, ...]
    answer: asyncio.Future[Any]
    until: float  # monotonic; whoever has waited that long is not sent any more


class Batches:
    """Sends a command at once while no other is under way; else with those that wait too, once the answers are there.

    A store that writes to disk before it answers does so once for all commands that it finds waiting: sent one by one
    they would cost a write, a read and a wake-up each on both sides. With a second batch under way at once, batches
    are half as large, and what each costs is paid twice.

    A batch that is not answered within ``seconds_max`` is given up, and whoever waits behind it with it. After two such
    silences callers are refused at once until the store answers.
    """

    def __init__(self, client: Redis, *, seconds_max: float) -> None:
        self._pool, self._seconds_max = client.connection_pool, seconds_max
        # Not for secrets: only so that processes do not knock together.
        self._circuit = Circuit(now=monotonic, spread=random.Random().random, look_seconds=2 * seconds_max)  # noqa: S311
        self._waiting: list[_Command] = []
        self._flights: asyncio.Task[None] | None = None
        self._closed = False

    async def send(self, *command: Part) -> Any:
        """What the server answers, as redis-py gives it; raises what redis-py does, and TimeoutError.

        Who stops waiting does not keep the command from being executed.
        """
        if self._closed:
            raise ConnectionError("closed")
        if not self._circuit.admits():
            raise TimeoutError("not sent: the store has been silent")
        if len(self._waiting) >= WAITING_MAX:
            raise MaxConnectionsError("not sent: too many calls wait")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Command(command, answer, monotonic() + WAIT_SECONDS_MAX))
        if self._flights is None:
            self._flights = asyncio.create_task(self._fly_all())
        return await answer

    async def close(self) -> None:
        """Give up what is under way and what waits; whoever waits for it is told."""
        self._closed = True
        if self._flights is not None:
            self._flights.cancel()
            await asyncio.gather(self._flights, return_exceptions=True)
        _fail(self._waiting, ConnectionError("closed"))

    async def _fly_all(self) -> None:
        """One batch after the other, until nobody waits."""
        try:
            while self._waiting:
                # Whoever is about to ask, in this turn of the loop, comes along: batches become twice as large.
                await asyncio.sleep(0)
                aboard, self._waiting = self._waiting[:COMMANDS_MAX], self._waiting[COMMANDS_MAX:]
                if aboard[0].until < (late := monotonic()):
                    _fail([one for one in aboard if one.until < late], TimeoutError("not sent: waited too long"))
                if aboard := [one for one in aboard if not one.answer.done()]:
                    await self._fly(aboard)
        finally:
            self._flights = None

    async def _fly(self, aboard: list[_Command]) -> None:
        try:
            async with asyncio.timeout(self._seconds_max):
                answers = await self._answers([one.parts for one in aboard])
        except asyncio.CancelledError:
            _fail(aboard, ConnectionError("closed"))
            raise
        except Exception as error:  # noqa: BLE001 - whoever is aboard raises it
            _fail(aboard, error)
            if isinstance(error, TimeoutError):
                self._circuit.silent()
                # Those who wait would have to wait as long again.
                _fail(self._waiting, error)
            else:
                self._circuit.broken()
            return
        self._circuit.answered()
        for (_, answer, _), content in zip(aboard, answers, strict=True):
            if answer.done():
                continue
            if isinstance(content, Exception):
                answer.set_exception(content)
            else:
                answer.set_result(content)

    async def _answers(self, commands: list[tuple[Part, ...]]) -> list[Any]:
        """One answer for each command, or the refusal of it."""
        # A pipeline of redis-py does the same and takes twice the time: it packs each argument in Python.
        line = cast(Connection, await self._pool.get_connection())  # type: ignore[no-untyped-call]
        try:
            _reach("before-script-send", commands)
            await line.send_packed_command(b"".join(map(_packed, commands)))
            if failpoints.armed("after-script-send"):
                await asyncio.sleep(0.01)  # what the loop was given to send leaves in its next turn
            _reach("after-script-send", commands)
            answers = [await _answer(line) for _ in commands]
        except BaseException:
            # Answers that nobody has read must not be taken for those of the next batch.
            with suppress(Exception):
                await line.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(line)
        _reach("after-script-reply", commands)
        return answers


def _reach(point: str, commands: list[tuple[Part, ...]]) -> None:
    """Pass a failpoint with the verb of each command."""
    if failpoints.armed(point):
        for _, function, *_ in commands:
            failpoints.reach(point, str(function).split("_", 2)[-1])


def _packed(command: tuple[Part, ...]) -> bytes:
    return cast(bytes, hiredis.pack_command(command))  # type: ignore[arg-type] # of any length, unlike its stub says


async def _answer(line: Connection) -> Any:
    try:
        return await line.read_response()
    except ResponseError as refusal:
        return refusal


def _fail(commands: list[_Command], error: Exception) -> None:
    for one in commands:
        if not one.answer.done():
            one.answer.set_exception(error)
            one.answer.exception()  # nobody may be waiting for it any more
