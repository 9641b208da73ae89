"""How many calls a client has under way at once: as many as the broker answers without a queue."""

from __future__ import annotations

import threading
from collections import deque
from math import inf

__all__ = ["ConcurrencyLimit"]


class ConcurrencyLimit:
    """Learns from answers how many calls are not too many, as LEDBAT++ does for bytes.

    With each answer the broker tells how late it is because of what this tenant asks for. The limit rises while that is
    little, and falls as it becomes more: the clients of a busy broker together keep a queue of about
    ``TARGET_SECONDS`` there, few or many of them. A refusal for overload halves it. At first it doubles, until answers
    are half as late as they may be; and it rises only as far as it is used. Whoever finds it reached waits for an
    answer to somebody else.

    Below one it is the part of the time in which the only call may be under way: there is a `pause` between two.
    Source: Bagnulo et al., LEDBAT++, draft-irtf-iccrg-ledbat-plus-plus; RFC 6817. These have to guess the queue from
    the quickest answer, and so take a longer way for one.
    """

    FIRST, LEAST = 4.0, 0.05
    TARGET_SECONDS = 0.03
    PAUSE_SECONDS_MAX = 1.0  # however long a call took that failed: the broker may be well again

    def __init__(self) -> None:
        self.most = self.FIRST
        self._under_way = 0
        self._doubles = True
        self._halved_at = self._paused_until = -inf
        self._took: dict[str, _Took] = {}
        self._tickets: deque[threading.Event] = deque()  # of those who wait, the oldest first
        self._lock = threading.Lock()

    def enter(self, seconds: float) -> bool:
        """Begin a call, once there is room; False if there is none within so many seconds. `leave` after each.

        Who came first has the first place that falls free, however many come meanwhile.
        """
        with self._lock:
            if not self._tickets and self._under_way < self._places:
                self._under_way += 1
                return True
            if seconds <= 0:
                return False
            ticket = threading.Event()
            self._tickets.append(ticket)
        try:
            ticket.wait(seconds)
            return self._had(ticket)
        except BaseException:  # interrupted: this call will not begin
            if self._had(ticket):
                self.leave()
            raise

    def leave(self) -> None:
        """A call has ended, one way or the other."""
        with self._lock:
            self._under_way -= 1
            while self._tickets and self._under_way < self._places:
                self._under_way += 1
                self._tickets.popleft().set()

    def _had(self, ticket: threading.Event) -> bool:
        """Whether its turn has come; if not, it waits no more."""
        with self._lock:
            if not ticket.is_set() and ticket in self._tickets:
                self._tickets.remove(ticket)
            return ticket.is_set()

    def pause(self, now: float) -> float:
        """Seconds from now after which a call that has entered may be sent."""
        with self._lock:
            return max(0.0, self._paused_until - now)

    def takes(self, method: str) -> float:
        """Seconds within which nearly all such calls were answered lately; 0: none was yet."""
        with self._lock:
            return self._took[method].most if method in self._took else 0.0

    def answered(self, method: str, late: float, began: float, now: float) -> None:
        """A call that is under way, and began then, has its answer now, ``late`` seconds late as the broker says."""
        with self._lock:
            self._took.setdefault(method, _Took(now - began)).add(now - began)
            early = max(-1.0, 1.0 - late / self.TARGET_SECONDS)  # of the target; what is later is negative
            self._doubles = self._doubles and early > 0.5
            most = self.most
            if early < 0:
                most += early / 2 * min(1.0, most)  # at most by half, while as many are answered
            elif self._under_way >= most / 2:
                most += 1.0 if self._doubles else early * min(most, 1 / most)
            self._set(most, began, now)

    def failed(self, began: float, now: float) -> None:
        """A call that began then has an answer now that tells nothing of a queue: that something is not there, say."""
        with self._lock:
            self._set(self.most, began, now)

    def refused(self, began: float, now: float) -> None:
        """A call that began then was refused now, or given up: of those that were under way together one halves it."""
        with self._lock:
            self._doubles = False
            if began >= self._halved_at:
                self._halved_at = now
                self._set(self.most / 2, began, now)

    @property
    def _places(self) -> int:
        return max(1, int(self.most))

    def _set(self, most: float, began: float, now: float) -> None:
        """So many from now on; a call took so long, and the next is as much later as the limit is below one."""
        self.most = max(self.LEAST, most)
        if self.most < 1:
            self._paused_until = now + min(self.PAUSE_SECONDS_MAX, (now - began) * (1 / self.most - 1))


class _Took:
    """How long answers took lately, smoothed as TCP does (RFC 6298), with three quarters of its margin."""

    def __init__(self, seconds: float) -> None:
        self._mean, self._spread = seconds, seconds / 2

    def add(self, seconds: float) -> None:
        """One more answer."""
        self._spread += (abs(seconds - self._mean) - self._spread) / 4
        self._mean += (seconds - self._mean) / 8

    @property
    def most(self) -> float:
        return self._mean + 3 * self._spread
