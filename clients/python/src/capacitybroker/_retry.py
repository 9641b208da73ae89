"""How long a caller waits before asking again, and when it stops."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from capacitybroker._concurrency import ConcurrencyLimit
from capacitybroker._errors import (
    OVERLOADED,
    BrokerError,
    DeadlineExceeded,
    ResourceExhausted,
    error_of,
    late_seconds,
    overloaded,
    passing,
)
from capacitybroker._status import Details

__all__ = ["Budget", "Kind", "Patience", "Quiet", "Time"]

Answer = TypeVar("Answer")
Attempt = Callable[[float], tuple[Answer, grpc.Call]]


@dataclass(frozen=True, slots=True)
class Time:
    """Where time, sleep and chance come from; ``monotonic`` and ``sleep`` in seconds."""

    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    rng: random.Random


@dataclass(frozen=True, slots=True)
class Kind:
    """What the client must know of a call: its method, and whether it comes before others, or takes long by nature."""

    method: str
    urgent: bool = False
    long: bool = False

    @property
    def brief(self) -> bool:
        """Whether it counts among the calls under way."""
        return not (self.urgent or self.long)


class Budget:
    """Repeats that a client may still send to a busy broker: one for every ten calls that were answered, and a few.

    So the clients of a broker with too much to do send it at most a tenth more, whatever they are refused.
    """

    TENTHS_MOST, PER_REPEAT = 100, 10

    def __init__(self) -> None:
        self._tenths = self.TENTHS_MOST
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A call was answered."""
        with self._lock:
            self._tenths = min(self.TENTHS_MOST, self._tenths + 1)

    def spend(self) -> bool:
        """Take one repeat, if there is one."""
        with self._lock:
            if self._tenths < self.PER_REPEAT:
                return False
            self._tenths -= self.PER_REPEAT
            return True


class Quiet:
    """Until when a client sends nothing new to a broker that asked it to stay away; renewals go on."""

    def __init__(self) -> None:
        self.until = 0.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Exponential backoff with full jitter; a delay that the server names comes before the jitter."""

    address: str
    time: Time
    first_seconds: float = field(default=0.1)
    longest_seconds: float = field(default=5.0)
    budget: Budget = field(default_factory=Budget)
    quiet: Quiet = field(default_factory=Quiet)
    limit: ConcurrencyLimit = field(default_factory=ConcurrencyLimit)

    def delay(self, failures: int, error: BrokerError) -> float:
        """Seconds to wait after so many failures in a row, at least one."""
        ceiling = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))
        return (error.retry_after_seconds or 0.0) + self.time.rng.uniform(0, ceiling)

    def call(
        self,
        attempt: Attempt[Answer],
        *,
        kind: Kind,
        seconds: float,
        unavailable_seconds: float,
    ) -> Answer:
        """The answer of ``attempt``, which gets the seconds left; repeated while the broker is away or overloaded.

        Raises the typed error of the last attempt when it is of another kind, when waiting on would outlast
        ``seconds``, or ``unavailable_seconds`` since the first failure, or when the broker is there but has too much
        to do and the budget of repeats is spent. What is repeated must be safe to repeat: reads, and mutations with a
        fixed request id. Unless urgent, a call waits as long as such a broker asked this client to stay away, and for
        room under its concurrency limit, and is refused here where that is longer than it has, unless it was sent
        before: then what came of that is raised. Urgent calls are repeated whatever the budget.
        """
        deadline = self.time.monotonic() + seconds
        last_try = deadline
        failures, error = 0, None
        while True:
            try:
                self._begin(kind, deadline)
            except ResourceExhausted:
                if error is not None:  # what was sent before may have had its effect
                    raise error from None
                raise
            try:
                answer = self._once(attempt, kind, deadline)
            except grpc.RpcError as raised:
                error = error_of(raised, address=self.address)
                failures += 1
                if failures == 1:
                    last_try = min(deadline, self.time.monotonic() + unavailable_seconds)
                if not (passing(error) or overloaded(error)):
                    raise error from None
                if overloaded(error) and not kind.urgent:  # what urgent calls are told is meant for them
                    self.quiet.until = self.time.monotonic() + (error.retry_after_seconds or 0.0)
                pause = self.delay(failures, error)
                # Who is away has nothing that a repeat could take from others.
                free = kind.urgent or not overloaded(error)
                if self.time.monotonic() + pause >= last_try or not (free or self.budget.spend()):
                    raise error from None
            else:
                self.budget.earn()
                return answer
            self.time.sleep(pause)

    def _once(self, attempt: Attempt[Answer], kind: Kind, deadline: float) -> Answer:
        """One attempt, which has begun; the concurrency limit learns of it."""
        began = self.time.monotonic()
        if not kind.brief:
            return attempt(max(0.0, deadline - began))[0]
        try:
            answer, call = attempt(max(0.0, deadline - began))
        except grpc.RpcError as raised:
            error = error_of(raised, address=self.address)
            if overloaded(error) or isinstance(error, DeadlineExceeded):
                self.limit.refused(began, self.time.monotonic())
            elif not passing(error):
                self.limit.failed(began, self.time.monotonic())
            raise
        else:
            self.limit.answered(kind.method, late_seconds(call), began, self.time.monotonic())
            return answer
        finally:
            self.limit.leave()

    def _begin(self, kind: Kind, deadline: float) -> None:
        """Return once a call may be sent, which then counts among those under way if it is brief."""
        while not kind.urgent:
            self._stay_away(deadline)
            if not kind.brief:
                return
            waited = not self.limit.enter(0.0)
            if waited and not self.limit.enter(max(0.0, deadline - self.time.monotonic())):
                raise _refused_here(1.0, "answers fewer calls in time than this client has under way")
            try:
                self._pause(kind, deadline, waited=waited)
            except BaseException:
                self.limit.leave()
                raise
            if self.quiet.until <= self.time.monotonic():
                return
            self.limit.leave()  # somebody was asked to stay away meanwhile

    def _pause(self, kind: Kind, deadline: float, *, waited: bool) -> None:
        """Return once as much time has passed since the last call as the concurrency limit wants between two.

        Who has waited, or will, is not sent in vain: enough must be left for an answer as they are lately.
        """
        now = self.time.monotonic()
        pause = self.limit.pause(now)
        if (waited or pause) and now + pause + self.limit.takes(kind.method) >= deadline:
            raise _refused_here(max(1.0, pause), "answers fewer calls in time than this client would send")
        if pause:
            self.time.sleep(pause)

    def _stay_away(self, deadline: float) -> None:
        """Return once this client may send something new; it may be told to stay away longer while it waits."""
        while (away := self.quiet.until - self.time.monotonic()) > 0:
            if self.time.monotonic() + away >= deadline:
                raise _refused_here(away, "asked this client to stay away")
            self.time.sleep(away + self.time.rng.uniform(0, self.first_seconds))


def _refused_here(seconds: float, why: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"The broker has more to do than it can, and {why}; nothing was sent",
        remedy=f"Try again in {seconds:.1f} s, or give the call more time than that.",
        found=Details(reason=OVERLOADED, retry_after_seconds=seconds),
    )
