"""How much a server takes on: calls by cost, tenants in turn, renewals first, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import log
from time import monotonic

from broker.transport.pulse import Absence, Lateness, Shares

__all__ = ["Lane", "Limits", "Load"]


class Lane(Enum):
    """What a call is to others, in the order in which those that wait are served."""

    URGENT = 0  # keeps or gives back what is held
    PLAIN = 1
    HEAVY = 2  # takes a processor for long


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one server process; a plain call costs 1."""

    # Half a batch of the ledger at least, one under way and one that fills at most: what it ends in a tenth of a
    # second, so that an answer takes no longer than that on a slow day either.
    running_least: int = 32  # cost of all that is under way
    running_max: int = 128
    running_seconds: float = 0.1
    urgent_more: int = 32  # and so much more of urgent calls
    heavy_max: int = 32  # of it, cost of heavy calls
    waiting_max: int = 1_024  # plain and heavy calls that wait
    urgent_waiting_max: int = 20_000
    # Urgent calls wait as long as their callers do. Others so long if they came in a burst, of at most that length;
    # where somebody waits all the time it would only be longer for everybody.
    burst_seconds: float = 0.5
    wait_seconds_max: float = 0.3
    late_seconds: float = 0.1  # that calls may come late before some are turned away
    noise_seconds: float = 0.01  # that calls come late now and then without a queue
    in_a_row: int = 7  # of those whose calls fit sooner; then somebody else who waits has a turn


@dataclass(slots=True, eq=False)
class _Waiter:
    """A call that waits for its turn."""

    lane: Lane
    cost: int
    turn: asyncio.Future[None]


class _InTurn:
    """Who waits, tenant by tenant."""

    def __init__(self) -> None:
        self.size = 0
        self._of: dict[str, deque[_Waiter]] = {}
        self._tenants: deque[str] = deque()

    def ahead(self, tenant: str) -> int:
        """How many have their turn before one more of this tenant, at most."""
        own = self._of.get(tenant)
        rounds = 1 if own is None else len(own) + 1
        return min(self.size, rounds * (len(self._of) + (own is None)) - 1)

    def push(self, tenant: str, waiter: _Waiter) -> None:
        """Let it wait behind others of its tenant."""
        self.size += 1
        if tenant not in self._of:
            self._of[tenant] = deque()
            self._tenants.append(tenant)
        self._of[tenant].append(waiter)

    def first(self) -> _Waiter:
        """Whose turn is next; there is one."""
        return self._of[self._tenants[0]][0]

    def pop(self) -> None:
        """Its turn has come: the next is another tenant's."""
        self.size -= 1
        tenant = self._tenants.popleft()
        own = self._of[tenant]
        own.popleft()
        if own:
            self._tenants.append(tenant)
        else:
            del self._of[tenant]


class Load:
    """Admits calls: `enter` at once, or `refused` says when to come back, or `turn` waits; `leave` after each.

    While calls come late, `unread` and `unfair` turn some away before.

    A tenant that floods waits behind its own calls only: others have their turns between. A call that would not have
    its turn within its deadline, or not soon, is refused at once. Whatever would refuse an urgent call for lack of
    room refuses new claims first, since these wait behind it.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        clock: Callable[[], float] = monotonic,
        spread: Callable[[], float] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        # Not for secrets: only so that callers do not knock together.
        self._spread = spread or random.Random().random  # noqa: S311
        self.running = self.heavy = 0  # cost under way
        self.shed = dict.fromkeys(Lane, 0)
        self.lag = 0.0  # seconds that calls come late
        self.lateness, self.absence = Lateness(self.limits.late_seconds), Absence()
        self.by_peer, self.by_tenant = Shares(clock), Shares(clock)
        self._clock = clock
        self._lanes = {lane: _InTurn() for lane in Lane}
        self._waiting = 0
        self._urgent_in_a_row = self._plain_in_a_row = 0  # while others wait
        self._left = 0  # cost of all calls that ended
        self._left_by_beat = self._shed_by_beat = 0
        self._room = self.limits.running_max
        # Cost a second, seen while somebody waited.
        self._pace = max(1.0, self._room / self.limits.running_seconds)
        self._since, self._left_then = 0.0, 0
        self._nobody_since, self._left_with_nobody = 0.0, 0
        self._crowded_since = 0.0

    def waiting(self, lane: Lane) -> int:
        """How many calls wait."""
        return self._lanes[lane].size

    def unread(self, lane: Lane, peer: Callable[[], str]) -> float | None:
        """Seconds after which to come back, for a call of which nothing has been read; None: let it in."""
        if lane is Lane.URGENT:
            return None
        who = peer()
        return self._in_share(self.by_peer, lane, who, full=self._full(lane) and self.by_peer.greedy(who))

    def unfair(self, lane: Lane, tenant: str) -> float | None:
        """Seconds after which to come back, for a call of a tenant that has had its share; None: it has not."""
        return None if lane is Lane.URGENT else self._in_share(self.by_tenant, lane, tenant)

    def late(self, tenant: str, waited: float) -> float:
        """Seconds that a call is late because of what this tenant asks for; ``waited`` for its turn."""
        late = waited + (self.lag if self.lag > self.limits.noise_seconds else 0.0)
        return late if late and not self.by_tenant.modest(tenant) else 0.0

    def enter(self, lane: Lane, cost: int) -> bool:
        """Take the call on, if there is room and nobody waits."""
        if self._waiting or not self._fits(lane, cost):
            return False
        self._take(lane, cost)
        return True

    def refused(self, lane: Lane, cost: int, tenant: str, seconds_left: float) -> float | None:
        """Seconds after which to come back, for a call that did not enter; None: it may wait for its `turn`."""
        limits, line, pace = self.limits, self._lanes[lane], self._seen_pace()
        urgent = self._lanes[Lane.URGENT].size
        seconds_left -= self.running / pace  # what those under way take, it will take too
        if lane is Lane.URGENT:
            ahead, most, patience = cost * line.ahead(tenant), limits.urgent_waiting_max, seconds_left
        else:
            # Renewals that wait, and those of this lane; the other lane has turns between.
            ahead, most = urgent + cost * line.ahead(tenant), limits.waiting_max
            patience = min(self._patience(), seconds_left)
        if ahead / pace <= patience and line.size < most:
            return None
        self.shed[lane] += 1
        modest = lane is Lane.URGENT or self.by_tenant.modest(tenant)
        return max(self._pause(modest=modest), (urgent + line.size) / pace)

    def beat(self, lag: float) -> None:
        """Calls are so late when they come."""
        self.lag = lag
        self.lateness.beat(lag)
        self.by_peer.beat(self.lateness)
        self.by_tenant.beat(self.lateness)
        shed = sum(self.shed.values())
        self.absence.beat(
            refused=shed - self._shed_by_beat, answered=self._left - self._left_by_beat, late=self.lateness.part > 0
        )
        self._shed_by_beat, self._left_by_beat = shed, self._left

    def _full(self, lane: Lane) -> bool:
        """Whether as many wait as are let wait at all; one of a tenant that has few there may still have its turn."""
        return self._lanes[lane].size >= min(self.limits.waiting_max, self._patience() * self._seen_pace())

    def _patience(self) -> float:
        """Seconds that others than urgent calls are let wait."""
        burst = self._clock() - self._crowded_since < self.limits.burst_seconds
        return self.limits.burst_seconds if burst else self.limits.wait_seconds_max

    def _in_share(self, shares: Shares, lane: Lane, who: str, *, full: bool = False) -> float | None:
        if shares.take(who) and not full:
            return None
        self.shed[lane] += 1
        return self._pause(modest=shares.modest(who))

    def _pause(self, *, modest: bool) -> float:
        """How long to stay away; whoever asks for little is not what the absence of others is about.

        Each another time, exponentially distributed: all who were refused in a bad moment would else be back in the
        same one, and nobody before.
        """
        seconds = Absence.LEAST if modest else self.absence.seconds
        return -seconds * log(1 - self._spread())

    async def turn(self, lane: Lane, cost: int, tenant: str) -> None:
        """Wait for the call's turn, and take it on; whoever is cancelled meanwhile has not entered."""
        waiter = _Waiter(lane, cost, asyncio.get_running_loop().create_future())
        if not self._waiting:  # the time in which nobody waited does not count
            self._crowded_since = self._clock()
            self._since += self._crowded_since - self._nobody_since
            self._left_then += self._left - self._left_with_nobody
        self._waiting += 1
        self._lanes[lane].push(tenant, waiter)
        self._admit()
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.leave(lane, cost)  # its turn had come in the same moment
            raise

    def leave(self, lane: Lane, cost: int) -> None:
        """The call has ended."""
        self.running -= cost
        self._left += cost
        if lane is Lane.HEAVY:
            self.heavy -= cost
        if self._waiting:
            self._admit()

    def _fits(self, lane: Lane, cost: int) -> bool:
        limits = self.limits
        if lane is Lane.URGENT:
            return self.running + cost <= self._room + limits.urgent_more
        if self.running + cost > self._room:
            return False
        return lane is Lane.PLAIN or self.heavy + cost <= limits.heavy_max

    def _take(self, lane: Lane, cost: int) -> None:
        self.running += cost
        if lane is Lane.HEAVY:
            self.heavy += cost

    def _admit(self) -> None:
        """Take on who waits, as long as there is room."""
        while (line := self._next()) is not None:
            waiter = line.first()
            line.pop()
            self._waiting -= 1
            if not waiter.turn.done():
                self._take(waiter.lane, waiter.cost)
                waiter.turn.set_result(None)
        if not self._waiting:
            self._nobody_since, self._left_with_nobody = self._clock(), self._left

    def _next(self) -> _InTurn | None:
        """The line whose first has its turn now, if there is room for any."""
        urgent, others = self._lanes[Lane.URGENT], [self._lanes[Lane.PLAIN], self._lanes[Lane.HEAVY]]
        if self._left % 2:  # neither keeps the other from its turn
            others.reverse()
        patient = self._urgent_in_a_row >= self.limits.in_a_row
        for line in (*others, urgent) if patient else (urgent, *others):
            if not line.size:
                continue
            waiter = line.first()
            if waiter.lane is Lane.PLAIN and self._saves_room():
                continue
            if waiter.turn.done() or self._fits(waiter.lane, waiter.cost):
                self._urgent_in_a_row = self._urgent_in_a_row + 1 if line is urgent else 0
                if waiter.lane is not Lane.URGENT:
                    heavy_waits = waiter.lane is Lane.PLAIN and self._lanes[Lane.HEAVY].size
                    self._plain_in_a_row = self._plain_in_a_row + 1 if heavy_waits else 0
                return line
        return None

    def _saves_room(self) -> bool:
        """Whether what falls free is kept for a heavy call: plain ones fit sooner, and would go before it for ever."""
        heavy = self._lanes[Lane.HEAVY]
        if not heavy.size or self._plain_in_a_row < self.limits.in_a_row:
            return False
        return self.heavy + heavy.first().cost <= self.limits.heavy_max

    def _seen_pace(self) -> float:
        """Cost a second that ended while somebody waited; at other times a server may just have little to do."""
        if self._waiting and (span := self._clock() - self._since) >= 0.1:
            limits = self.limits
            self._pace = max(1.0, (self._pace + (self._left - self._left_then) / span) / 2)
            self._since, self._left_then = self._since + span, self._left
            self._room = round(max(limits.running_least, min(limits.running_max, self._pace * limits.running_seconds)))
        return self._pace
