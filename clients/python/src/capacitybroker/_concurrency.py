"""How many calls a client has under way at once: as many as the broker answers without a queue."""

from __future__ import annotations

import threading
from collections import deque
from math import inf

__all__ = ["ConcurrencyLimit"]


class ConcurrencyLimit:
    """Learns from answers how many calls are not too many, as LEDBAT (RFC 6817) does for bytes.

    It rises while answers take hardly longer than the quickest of their kind lately, and falls as they take longer: the
    clients of a busy broker together keep a queue of about ``TARGET_SECONDS`` there, however many they are and whatever
    they would send. A refusal for overload halves it. At first it doubles, until answers are half as late as they may
    be; and it rises only as far as it is used. Whoever finds it reached waits for an answer to somebody else.
    """

    FIRST, LEAST = 4.0, 1.0
    TARGET_SECONDS = 0.15

    def __init__(self) -> None:
        self.most = self.FIRST
        self._under_way = 0
        self._doubles = True
        self._halved_at = -inf
        self._quickest: dict[str, _Quickest] = {}
        self._tickets: deque[threading.Event] = deque()  # of those who wait, the oldest first
        self._lock = threading.Lock()

    def enter(self, seconds: float) -> bool:
        """Begin a call, once there is room; False if there is none within so many seconds. `leave` after each.

        Who came first has the first place that falls free, however many come meanwhile.
        """
        with self._lock:
            if not self._tickets and self._under_way < int(self.most):
                self._under_way += 1
                return True
            if seconds <= 0:
                return False
            ticket = threading.Event()
            self._tickets.append(ticket)
        try:
            ticket.wait(seconds)
        except BaseException:  # interrupted: this call will not begin
            if self._had(ticket):
                self.leave()
            raise
        return self._had(ticket)

    def leave(self) -> None:
        """A call has ended, one way or the other."""
        with self._lock:
            self._under_way -= 1
            while self._tickets and self._under_way < int(self.most):
                self._under_way += 1
                self._tickets.popleft().set()

    def _had(self, ticket: threading.Event) -> bool:
        """Whether its turn has come; if not, it waits no more."""
        with self._lock:
            if not ticket.is_set():
                self._tickets.remove(ticket)
            return ticket.is_set()

    def answered(self, method: str, began: float, now: float, *, steady: bool = True) -> None:
        """A call that is under way, and began then, has its answer now.

        Where it depends on the request how long one takes (not ``steady``), that tells nothing of a queue.
        """
        with self._lock:
            waited = now - began - self._quickest.setdefault(method, _Quickest()).after(now - began, now)
            early = max(-1.0, 1.0 - waited / self.TARGET_SECONDS) if steady else 1.0  # of the target; late is negative
            self._doubles = self._doubles and early > 0.5
            if early < 0 or self._under_way >= self.most / 2:
                self.most = max(self.LEAST, self.most + (1.0 if self._doubles and steady else early / self.most))

    def refused(self, began: float, now: float) -> None:
        """A call that began then was refused now, or given up: of those that were under way together one halves it."""
        with self._lock:
            self._doubles = False
            if began >= self._halved_at:
                self._halved_at = now
                self.most = max(self.LEAST, self.most / 2)


class _Quickest:
    """The least seconds that an answer took lately: what there is without a queue."""

    LATELY_SECONDS = 600.0  # brokers move, and LEDBAT too forgets after ten minutes

    def __init__(self) -> None:
        self._since = -inf
        self._least = self._before = inf

    def after(self, seconds: float, now: float) -> float:
        """The least, this answer included."""
        if now - self._since >= self.LATELY_SECONDS:
            self._since, self._before, self._least = now, self._least, inf
        self._least = min(self._least, seconds)
        return min(self._least, self._before)
