"""Calls that are late before anybody has looked at them: how late, and how many of each tenant are taken on then.

gRPC keeps calls in a queue of its own until Python comes for them; nothing tells how long it is. So a server calls
itself, ten times a second: what waits in front of that call waits in front of everybody's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from time import monotonic

__all__ = ["BEAT_SECONDS", "Quota", "keep_pulse"]

BEAT_SECONDS = 0.1
BEATS = 5


class Quota:
    """While calls come late, what may be taken on in a second is shared out among tenants: who asks for little has it.

    ``most`` falls while they are late all the time, rises while they are not, and is None once it is more than comes.
    """

    LEAST = 20.0
    FIRST, FALL, RISE, MORE = 0.5, 0.85, 1.1, 10.0

    def __init__(self, clock: Callable[[], float] = monotonic, *, late_seconds: float = 0.5) -> None:
        self.most: float | None = None  # calls a second
        self._clock, self._late_seconds = clock, late_seconds
        self._since = clock()
        self._late = False
        self._lags: list[float] = []
        self._came: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._share = 0.0

    def count(self) -> None:
        """One more that was taken on while nothing was shared out."""
        self._taken[""] += 1

    def take(self, tenant: str) -> bool:
        """Whether one more call of this tenant may be taken on; only while there is a ``most``."""
        self._came[tenant] += 1
        if self._taken[tenant] >= self._share * (self._clock() - self._since + BEAT_SECONDS):
            return False
        self._taken[tenant] += 1
        return True

    def beat(self, lag: float) -> None:
        """Calls are so late now; every fifth beat is judged by the least of the five. A burst is over by the tenth."""
        self._lags.append(lag)
        if len(self._lags) < BEATS:
            return
        before, self._late = self._late, min(self._lags) > self._late_seconds
        late, span = self._late and (before or self.most is not None), max(0.01, self._clock() - self._since)
        came, taken = sum(self._came.values()) / span, self._taken.total() / span
        if late:
            self.most = max(self.LEAST, self.FIRST * taken if self.most is None else self.FALL * min(self.most, taken))
        elif self.most is not None:
            self.most = self.most * self.RISE + self.MORE
            if self.most > 2 * came:
                self.most = None
        if self.most is not None:
            self._share = _share(sorted(count / span for count in self._came.values()), self.most)
        self._since = self._clock()
        self._lags.clear()
        self._came.clear()
        self._taken.clear()


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
                if called is not None and called.exception() is None:
                    lag = called.result()
                sent = monotonic()
                called = asyncio.create_task(_timed(call, sent))
            await asyncio.sleep(BEAT_SECONDS)
            beat(lag if called.done() else max(lag, monotonic() - sent - BEAT_SECONDS))
    finally:
        if called is not None:
            called.cancel()
            await asyncio.gather(called, return_exceptions=True)


async def _timed(call: Callable[[], Awaitable[object]], sent: float) -> float:
    await call()
    return monotonic() - sent
