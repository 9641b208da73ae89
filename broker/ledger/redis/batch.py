"""Commands that wait for the store together travel together."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

__all__ = ["Batches"]

Part = str | int | bytes
_Command = tuple[tuple[Part, ...], "asyncio.Future[Any]"]

COMMANDS_MAX = 64  # of one batch, so that its replies do not wait for each other for long


class Batches:
    """Sends a command at once while fewer than ``flights_max`` batches are under way; else with those that wait too.

    A store that writes to disk before it answers does so once for all commands that it finds waiting: sent one by one
    they would cost a write, a read and a wake-up each on both sides.
    """

    def __init__(self, client: Redis, *, flights_max: int, seconds_max: float) -> None:
        self._client, self._flights_max, self._seconds_max = client, flights_max, seconds_max
        self._waiting: list[_Command] = []
        self._flights: set[asyncio.Task[None]] = set()
        self._answers_owed: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def send(self, *command: Part) -> Any:
        """What the server answers, as redis-py gives it; raises what redis-py does, and TimeoutError.

        Who stops waiting does not keep the command from being executed.
        """
        if self._closed:
            raise ConnectionError("closed")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers_owed.add(answer)
        answer.add_done_callback(self._answers_owed.discard)
        self._waiting.append((command, answer))
        self._depart()
        async with asyncio.timeout(self._seconds_max):
            return await answer

    async def close(self) -> None:
        """Give up what is under way and what waits; whoever waits for it is told."""
        self._closed = True
        for flight in self._flights:
            flight.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        for answer in tuple(self._answers_owed):
            _fail(answer, ConnectionError("closed"))

    def _depart(self) -> None:
        while self._waiting and not self._closed and len(self._flights) < self._flights_max:
            aboard, self._waiting = self._waiting[:COMMANDS_MAX], self._waiting[COMMANDS_MAX:]
            flight = asyncio.create_task(self._fly([one for one in aboard if not one[1].done()]))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if not flight.cancelled():
            self._depart()

    async def _fly(self, aboard: list[_Command]) -> None:
        try:
            async with asyncio.timeout(self._seconds_max):
                answers = await self._answers([command for command, _ in aboard])
        except BaseException as error:
            for _, answer in aboard:
                _fail(answer, error if isinstance(error, Exception) else ConnectionError("closed"))
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), content in zip(aboard, answers, strict=True):
            if answer.done():
                continue
            if isinstance(content, Exception):
                answer.set_exception(content)
            else:
                answer.set_result(content)

    async def _answers(self, commands: list[tuple[Part, ...]]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # nobody may be waiting for it any more
