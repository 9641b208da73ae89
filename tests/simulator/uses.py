"""Who truly uses which devices, and whether that many are there: known to nobody inside the market.

Holders behave as they are told to: they stop a margin before their lease ends by their own clock, counted from when
they sent what was answered. Pools refuse whoever shows an older token than they have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from broker.domain.claim import ClaimName
from broker.domain.slots import SLOT_SECONDS
from broker.leasing import Lease
from tests.simulator.setting import Clock

__all__ = ["Use", "Uses"]

SKEW_MILLIS = 1_000  # as callers are told


@dataclass
class Use:
    """One holder of one lease; times in true Unix seconds."""

    name: ClaimName
    lease: Lease
    clock: Clock  # the holder's own
    began: float
    until: float = 0.0

    def renewed(self, lease: Lease, sent: float) -> None:
        """Its lease as answered to what was sent then."""
        self.lease = lease
        self.until = sent + max(0, lease.millis_left - SKEW_MILLIS) / 1000 / self.clock.rate

    def at(self, now: float) -> dict[str, int]:
        """What it uses then, by pool."""
        used: dict[str, int] = {}
        places = self.lease.claim.placements
        last = max((place.window.end for place in places), default=0)
        if self.began <= now < self.until:
            for place in places:
                # It ends the parts that end earlier by itself; the last one with the lease.
                over = place.window.end < last and place.window.end * SLOT_SECONDS <= now
                if place.window.first * SLOT_SECONDS <= now and not over:
                    used[place.pool] = used.get(place.pool, 0) + place.devices
        return used


@dataclass
class Uses:
    """All holders; ``supply``: the most that a pool had since a revision, in the hour of a moment or the one before."""

    now: Callable[[], float]
    supply: Callable[[str, int, float], int]
    complain: Callable[[str], None]
    by_name: dict[ClaimName, Use] = field(default_factory=dict)

    def begin(self, lease: Lease, clock: Clock, sent: float) -> Use | None:
        """A holder has a lease; None when the pools know a later one."""
        name, now = lease.claim.name, self.now()
        before = self.by_name.get(name)
        if before is not None and before.lease.fence > lease.fence:
            return None
        use = before if before is not None and before.lease.fence == lease.fence else Use(name, lease, clock, now)
        use.renewed(lease, sent)
        self.by_name[name] = use
        self.judge(use)
        return use

    def renew(self, use: Use, lease: Lease, sent: float) -> None:
        """A lease lasts longer."""
        if lease.fence != use.lease.fence:
            self.complain(f"renewing {use.name} made fence {use.lease.fence} to {lease.fence}")
        if self.by_name.get(use.name) is use:
            use.renewed(lease, sent)
            self.judge(use)

    def stop(self, use: Use) -> None:
        """A holder stops by itself."""
        use.until = min(use.until, self.now())

    def judge(self, newest: Use) -> None:
        """Whether everybody who uses devices now can be doing so, as somebody begins or goes on."""
        now = self.now()
        for pool in newest.at(now):
            using = [use for use in self.by_name.values() if pool in use.at(now)]
            used = sum(use.at(now)[pool] for use in using)
            there = self.supply(pool, max(use.lease.fence for use in using), now)
            if used > there:
                who = ", ".join(f"{use.name.key}@{use.lease.fence} {use.at(now)[pool]}" for use in using)
                self.complain(f"{used} devices of {pool} are in use and {there} are there: {who}")
