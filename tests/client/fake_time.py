"""Time that passes only when somebody sleeps."""

from __future__ import annotations

import random


class FakeTime:
    """A monotonic clock, a sleep that moves it, and the pauses it was asked for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class TopOfRange(random.Random):
    """Chance that always picks the upper end."""

    def uniform(self, _a: float, b: float) -> float:
        return b
