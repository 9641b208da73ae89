"""Which leases live, and until when: in lease time, which stands still while nobody serves.

Lease time passes as a clock does, but not while that goes back, nor over a leap: a gap of more than two seconds between
two looks at it means that nobody served, or that the clock was set. Nor does it pass for ten seconds after that, for
holders to find whoever serves again. So whatever lives when the servers go away ends as much later, and nothing has to
be rewritten.

The rules of the functions in ``redis/lua/leases.lua``, for a ledger in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from broker.domain.claim import Claim, ClaimName, Placement
from broker.domain.slots import Steps
from broker.ledger.books import Books
from broker.ledger.port import LeaseRecord

__all__ = ["AWAY_MILLIS", "RETURN_MILLIS", "LeaseBook"]

AWAY_MILLIS = 2_000
RETURN_MILLIS = 10_000


@dataclass(slots=True)
class _Entry:
    fence: int
    ttl_millis: int
    ends: int


@dataclass(frozen=True, slots=True)
class _Ghost:
    """What the holder of a lease that was ended for it may still use."""

    name: ClaimName
    place: Placement
    ends: int


@dataclass(slots=True)
class LeaseBook:
    """Leases by claim; ``clock`` is in milliseconds."""

    clock: Callable[[], int]
    _time: int = 0
    _seen: int | None = None
    _still: int = 0
    _entries: dict[ClaimName, _Entry] = field(default_factory=dict)
    _ghosts: list[_Ghost] = field(default_factory=list)

    def tick(self) -> int:
        """Lease time now, from which it goes on."""
        self._time, self._still = self._now()
        self._seen = self.clock()
        return self._time

    def _now(self) -> tuple[int, int]:
        """Lease time, and until when by the clock it stands still."""
        wall, still = self.clock(), self._still
        passed = 0 if self._seen is None else wall - self._seen
        if not 0 <= passed <= AWAY_MILLIS:
            still = wall + RETURN_MILLIS
        return self._time + max(0, min(passed, wall - still)), still

    def begin(self, name: ClaimName, fence: int, ttl_millis: int) -> None:
        """A lease of its own; an earlier one of the claim is over."""
        self._entries[name] = _Entry(fence, ttl_millis, self.tick() + ttl_millis)

    def renew(self, name: ClaimName, fence: int, ttl_millis: int) -> int | None:
        """Milliseconds that are left of it now, None when it has ended; ``ttl_millis`` 0: as before."""
        now, entry = self.tick(), self._entries.get(name)
        if entry is None or entry.fence != fence:
            return None
        entry.ttl_millis = ttl_millis or entry.ttl_millis
        entry.ends = now + entry.ttl_millis
        return entry.ttl_millis

    def find(self, name: ClaimName) -> LeaseRecord | None:
        """The lease of a claim."""
        entry = self._entries.get(name)
        return LeaseRecord(entry.fence, entry.ttl_millis, entry.ends - self._now()[0]) if entry is not None else None

    def is_overdue(self, name: ClaimName, margin_millis: int) -> bool:
        """Whether it ended more than a margin ago."""
        entry = self._entries.get(name)
        return entry is not None and entry.ends + margin_millis < self._now()[0]

    def overdue(self, margin_millis: int) -> list[ClaimName]:
        """Whose leases ended more than a margin ago, the longest ago first; lets time pass."""
        before = self.tick() - margin_millis
        self._ghosts = [ghost for ghost in self._ghosts if ghost.ends >= before]
        late = [(entry.ends, name) for name, entry in self._entries.items() if entry.ends < before]
        return [name for _, name in sorted(late)]

    def drop(self, name: ClaimName) -> None:
        """It is over, and nobody uses anything."""
        self._entries.pop(name, None)

    def displace(self, claim: Claim, slot: int) -> None:
        """It is over, and its holder may use what the claim had until it would have ended."""
        entry = self._entries.pop(claim.name, None)
        if entry is not None:
            self._ghosts += [_Ghost(claim.name, place, entry.ends) for place in _in_slot(claim, slot)]

    def crowded(self, books: Books, claim: Claim, slot: int, margin_millis: int) -> bool:
        """Whether a pool of the claim lacks devices for all that it granted and that may still be in use.

        So it does where that may be on domains that the claim was told, or will be. What the claim itself had there and
        has again is the same devices.
        """
        ghosts, mine = list(self._alive(margin_millis)), defaultdict[str, list[Placement]](list)
        for place in _in_slot(claim, slot):
            mine[place.pool].append(place)
        for pool, places in mine.items():
            here = [ghost for ghost in ghosts if ghost.place.pool == pool]
            if any(ghost.name != claim.name and _meet(ghost.place, places) for ghost in here):
                return True
            own = sum(ghost.place.devices for ghost in here if ghost.name == claim.name)
            used = sum(ghost.place.devices for ghost in here) - min(own, sum(place.devices for place in places))
            account = f"pools/{pool}"
            limit = books.limit(account) or Steps.level(0)
            if books.granted(account).at(slot) + used > limit.at(slot):
                return True
        return False

    def _alive(self, margin_millis: int) -> Iterator[_Ghost]:
        after = self._now()[0] - margin_millis
        return (ghost for ghost in self._ghosts if ghost.ends > after)


def _in_slot(claim: Claim, slot: int) -> Iterator[Placement]:
    """What it has in a slot, and may have in use."""
    return (place for place in (*claim.ran, *claim.placements) if slot in place.window)


def _meet(ghost: Placement, places: list[Placement]) -> bool:
    """Whether domains of a ghost may be among those of some places; as long as these are not told they may be."""
    told = [span for place in places for span in place.domains]
    return any(
        not told
        or any(mine.first < lost.first + lost.domains and lost.first < mine.first + mine.domains for mine in told)
        for lost in ghost.domains
    )
