"""How many calls a client has under way at once: as many as the broker answers without a queue."""

from __future__ import annotations

import threading
from collections import deque
from math import inf

__all__ = ["ConcurrencyLimit"]


class ConcurrencyLimit:
    """Learns from answers how many calls are not too many, as LEDBAT++ does for bytes.

    It rises while answers take hardly longer than the quickest of their kind lately, and falls as they take longer: the
    clients of a busy broker together keep a queue of about ``TARGET_SECONDS`` there, however many they are and whatever
    they would send. A refusal for overload halves it. At first it doubles, until answers are half as late as they may
    be; and it rises only as far as it is used. Whoever finds it reached waits for an answer to somebody else.

    Below one it is the part of the time in which the only call may be under way: there is a `pause` between two.
    Source: Bagnulo et al., LEDBAT++, draft-irtf-iccrg-ledbat-plus-plus; RFC 6817.
    """

    FIRST, LEAST = 4.0, 0.05
    TARGET_SECONDS = 0.05
    PAUSE_SECONDS_MAX = 1.0  # however long a call took that failed: the broker may be well again

    def __init__(self) -> None:
        self.most = self.FIRST
        self._under_way = 0
        self._doubles = True
        self._halved_at = self._paused_until = -inf
        self._quickest: dict[str, _Quickest] = {}
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
        except BaseException:  # interrupted: this call will not begin
            if self._had(ticket):
                self.leave()
            raise
        return self._had(ticket)

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
            if not ticket.is_set():
                self._tickets.remove(ticket)
            return ticket.is_set()

    def pause(self, now: float) -> float:
        """Seconds from now after which a call that has entered may be sent."""
        with self._lock:
            return max(0.0, self._paused_until - now)

    def answered(self, method: str, began: float, now: float, *, steady: bool = True) -> None:
        """A call that is under way, and began then, has its answer now.

        Where that depends on the request, or on others who ask for much, it is not ``steady`` and tells nothing of a
        queue of ours.
        """
        with self._lock:
            waited = now - began - self._quickest.setdefault(method, _Quickest()).after(now - began, now)
            early = max(-1.0, 1.0 - waited / self.TARGET_SECONDS) if steady else 1.0  # of the target; late is negative
            self._doubles = self._doubles and early > 0.5
            if early < 0:
                # At most by half, while as many are answered.
                self._set(self.most + early / 2 * min(1.0, self.most), began, now)
            elif self._under_way >= self.most / 2:
                more = 1.0 if self._doubles and steady else early * min(self.most, 1 / self.most)
                self._set(self.most + more, began, now)

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
