"""Calls that are late before anybody has looked at them: how late, and how many of each tenant are taken on then.

gRPC keeps calls in a queue of its own until Python comes for them; nothing tells how long it is. So a server calls
itself, ten times a second: what waits in front of that call waits in front of everybody's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic

__all__ = ["BEAT_SECONDS", "Absence", "Lateness", "Shares", "keep_pulse"]

BEAT_SECONDS = 0.1
BEATS = 5  # over which it is counted who asks how often


class Lateness:
    """Which part of the calls is turned away because they come late.

    It follows PIE (RFC 8033): it grows with how late calls are beyond ``late_seconds``, and at once with how much later
    they become; it shrinks likewise.
    """

    ALPHA, BETA = 0.15, 1.0  # of the part, for each second that calls are late, or later than a beat before
    FALL = 0.85  # of it, a beat, while they are not late at all
    MOST = 0.9  # somebody always has a turn
    BURST = 2  # late beats, with which the first is refused: one stall is soon over

    def __init__(self, late_seconds: float) -> None:
        self.part = 0.0
        self._late_seconds, self._lag, self._burst = late_seconds, 0.0, self.BURST

    def beat(self, lag: float) -> None:
        """Calls are so many seconds late now."""
        more = self.ALPHA * (lag - self._late_seconds) + self.BETA * (lag - self._lag)
        calm = lag < self._late_seconds / 2
        self._burst = self.BURST if calm and not self.part else max(0, self._burst - 1)
        if not self._burst:
            self.part = min(self.MOST, max(0.0, self.part * (self.FALL if calm else 1.0) + more))
        self._lag = lag


class Absence:
    """How long who is refused is asked to stay away: until refusing costs little beside answering.

    Longer means fewer who come to be refused again, and shorter that none of them is missed once there is room. At the
    first sign of overload it is long at once, since everybody who comes meanwhile is one more to refuse.
    """

    LEAST, FIRST, MOST = 0.25, 0.5, 6.0  # seconds
    LITTLE = 0.1  # refused for each that was answered
    LONGER, SHORTER = 1.2, 0.9  # a beat

    def __init__(self) -> None:
        self.seconds = self.LEAST
        self._late = False

    def beat(self, *, refused: int, answered: int, late: bool) -> None:
        """So many were since the last beat; whether calls are turned away for coming late."""
        if late and not self._late:
            self.seconds = max(self.seconds, self.FIRST)
        if refused > self.LITTLE * max(1, answered):
            self.seconds = min(self.MOST, self.seconds * self.LONGER)
        else:
            self.seconds = max(self.LEAST, self.seconds * self.SHORTER)
        self._late = late


class Shares:
    """What is not turned away, shared out max-min fair among those who ask: who asks for little has all of it."""

    NAMES_MAX, NAME_MAX = 10_000, 64  # that are told apart, and of each, since callers choose them
    OTHERS = "?"  # all beyond
    MODEST = 0.5  # of the mean

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since, self._beats = clock(), 0
        self._came: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._rates: dict[str, float] = {}  # calls a second, not long ago
        self._mean = 0.0  # of them
        self._most = inf  # calls a second, of each

    def take(self, who: str) -> bool:
        """Whether one more call of whoever goes by that name may be taken on."""
        who = who[: self.NAME_MAX]
        if len(self._came) >= self.NAMES_MAX and who not in self._came:
            who = self.OTHERS
        self._came[who] += 1
        if self._taken[who] >= self._most * (self._clock() - self._since + BEAT_SECONDS):
            return False
        self._taken[who] += 1
        return True

    def beat(self, lateness: Lateness) -> None:
        """So large a part is turned away now."""
        self._beats += 1
        if self._beats == BEATS:
            span = max(0.01, self._clock() - self._since)
            self._rates = {who: count / span for who, count in self._came.items()}
            self._mean = sum(self._rates.values()) / max(1, len(self._rates))
            self._since, self._beats = self._clock(), 0
            self._came.clear()
            self._taken.clear()
        self._most = self._each(lateness.part) if lateness.part and self._rates else inf

    def greedy(self, who: str) -> bool:
        """Whether it asks for more than others do on average."""
        return self._rates.get(who[: self.NAME_MAX], 0.0) > self._mean

    def modest(self, who: str) -> bool:
        """Whether it asks for little, beside what others ask for on average."""
        return self._rates.get(who[: self.NAME_MAX], 0.0) < self.MODEST * self._mean

    def _each(self, part: float) -> float:
        """Calls a second that each may have, when that part of all is turned away."""
        rates = sorted(self._rates.values())
        return _share(rates, (1 - part) * sum(rates))


def _share(rates: list[float], most: float) -> float:
    """What each may have at most so that all together have ``most``; ``rates`` rise."""
    for n, rate in enumerate(rates):
        left = len(rates) - n
        if rate * left >= most:
            return most / left
        most -= rate
    return max(most, rates[-1] if rates else most)


async def keep_pulse(beat: Callable[[float], None], call: Callable[[], Awaitable[object]]) -> None:
    """Tell ``beat`` ten times a second how late calls are, until cancelled; ``call`` is one to this very server."""
    called: asyncio.Task[float] | None = None
    sent = lag = 0.0
    try:
        while True:
            if called is None or called.done():
                sent = monotonic()
                called = asyncio.create_task(_timed(call, sent))
            await asyncio.sleep(BEAT_SECONDS)
            if not called.done():
                lag = max(lag, monotonic() - sent - BEAT_SECONDS)
            elif called.exception() is None:
                lag = called.result()
            beat(lag)
    finally:
        if called is not None:
            called.cancel()
            await asyncio.gather(called, return_exceptions=True)


async def _timed(call: Callable[[], Awaitable[object]], sent: float) -> float:
    await call()
    return monotonic() - sent
