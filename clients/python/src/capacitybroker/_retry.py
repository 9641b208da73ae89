"""How long a caller waits before asking again, and when it stops."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from capacitybroker._errors import BrokerError, error_of, passing

__all__ = ["Patience", "Time"]

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Time:
    """Where time, sleep and chance come from; ``monotonic`` and ``sleep`` in seconds."""

    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    rng: random.Random


@dataclass(frozen=True, slots=True)
class Patience:
    """Exponential backoff with full jitter; a delay that the server names comes before the jitter."""

    address: str
    time: Time
    first_seconds: float = field(default=0.1)
    longest_seconds: float = field(default=5.0)

    def delay(self, failures: int, error: BrokerError) -> float:
        """Seconds to wait after so many failures in a row, at least one."""
        ceiling = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))
        return (error.retry_after_seconds or 0.0) + self.time.rng.uniform(0, ceiling)

    def call(self, attempt: Callable[[float], Answer], *, seconds: float, unavailable_seconds: float) -> Answer:
        """The answer of ``attempt``, which gets the seconds left; repeated while the broker is unavailable.

        Raises the typed error of the last attempt when it is of another kind, or when waiting on would outlast
        ``seconds``, or ``unavailable_seconds`` since the first failure. What is repeated must be safe to repeat:
        reads, and mutations with a fixed request id.
        """
        deadline = self.time.monotonic() + seconds
        last_try = deadline
        failures = 0
        while True:
            try:
                return attempt(max(0.0, deadline - self.time.monotonic()))
            except grpc.RpcError as raised:
                error = error_of(raised, address=self.address)
                failures += 1
                if failures == 1:
                    last_try = min(deadline, self.time.monotonic() + unavailable_seconds)
                if not passing(error):
                    raise error from None
                pause = self.delay(failures, error)
                if self.time.monotonic() + pause >= last_try:
                    raise error from None
            self.time.sleep(pause)
