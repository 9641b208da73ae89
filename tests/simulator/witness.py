"""Sees each step of the store, knows true time, and says at once what no store may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from broker.domain.claim import Claim, ClaimName
from broker.domain.slots import SLOT_SECONDS, Steps, slot_of
from broker.domain.snapshot import Event
from broker.ledger.lease_book import AWAY_MILLIS, RETURN_MILLIS
from broker.ledger.port import Commit, Fence, Renewal, RequestKey
from tests.simulator.setting import Trace

__all__ = ["Sightings"]

MARGIN = 2.0  # seconds after its end that a lease is not given away
DRIFT = 0.05  # of the store's clock, at most
TICKING = {"acquire", "renew", "overdue"}


@dataclass
class Sightings:
    """What was seen: the whole log, the revisions that each request made, and how long leases have truly lived."""

    now: Callable[[], float]
    trace: Trace
    complain: Callable[[str], None]
    log: list[Event] = field(default_factory=list)
    made_by: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    hurried: float = 0.0  # by which the store's clock was set forward unnoticed, in all
    shifted: float = 0.0  # by which it was set, forward or back, since a look at it
    _supply: list[tuple[int, dict[str, Steps]]] = field(default_factory=list)
    _epoch: int = 0
    _lease_time: float = 0.0
    _looked: float | None = None
    _still: float = 0.0
    _fences: dict[ClaimName, int] = field(default_factory=dict)
    _renewed: dict[ClaimName, tuple[float, float, float]] = field(default_factory=dict)  # lease time, hurried, ttl

    def _recorded(self, event: Event) -> None:
        self.log.append(event)
        if event.fleet is not None:
            self._supply.append((event.revision, {pool.id: pool.supply() for pool in event.fleet.pools}))
        changed = " ".join(f"{claim.name.key}={claim.state_name}" for claim in event.claims)
        self.trace.say("revision", event.revision, event.kind.name, changed)

    def executed(
        self, caller: str, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any], answer: object, made: Event | None
    ) -> None:
        """A verb was executed."""
        if made is not None:
            self._recorded(made)
        if verb in TICKING:
            self._tick()
        if verb == "lead" and isinstance(answer, Fence):
            self._epoch = max(self._epoch, answer.epoch)
        elif verb == "commit" and isinstance(answer, Commit) and kwargs["fence"].epoch != self._epoch:
            self.complain(f"{caller} of epoch {kwargs['fence'].epoch} puts a plan into force in epoch {self._epoch}")
        elif verb == "renew" and isinstance(answer, tuple):
            for one, left in zip(args[0], answer, strict=True):
                self._renews(one, left)
        key = kwargs.get("key")
        if isinstance(key, RequestKey) and made is not None:
            self.made_by.setdefault((key.scope, key.request_id), []).append(made.revision)
        if verb == "acquire" and made is not None:
            self._fences[made.claims[0].name] = made.revision
            self._begins(made.claims[0].name, kwargs["ttl_millis"] / 1000)
        elif verb == "expire" and made is not None:
            self._expired(made.claims[0])

    def supply(self, pool: str, revision: int, now: float) -> int:
        """The most that a pool had since a revision, in the hour of a moment or the one before."""
        later = [levels for at, levels in self._supply if at > revision]
        before = [levels for at, levels in self._supply if at <= revision][-1:]
        hours = (slot_of(int(now)), slot_of(int(now) - SLOT_SECONDS))
        return max(levels[pool].at(hour) for levels in (*before, *later) if pool in levels for hour in hours)

    def _tick(self) -> None:
        """Lease time in truth: it stands still over gaps, and for a while after."""
        now, before, shifted = self.now(), self._looked, self.shifted
        self._looked, self.shifted = now, 0.0
        if before is None:
            return
        least = (AWAY_MILLIS / 1000 + 0.05) * (1 + DRIFT)
        # A clock that was set back in a gap may show less than one: then nobody can tell.
        if now - before > least and not -0.1 <= now - before + shifted <= least:
            self._still = now + RETURN_MILLIS / 1000 * (1 - DRIFT) - 0.1
        self._lease_time += max(0.0, min(now - before, now - self._still))

    def _renews(self, one: Renewal, left: int | None) -> None:
        if left is not None:
            self._begins(one.name, left / 1000)
            if one.fence != self._fences.get(one.name):
                self.complain(f"{one.name} of fence {one.fence} is renewed, and has another since")

    def _begins(self, name: ClaimName, ttl: float) -> None:
        self._renewed[name] = self._lease_time, self.hurried, ttl

    def _expired(self, claim: Claim) -> None:
        """No lease ends before its time, of which only that counts in which somebody served."""
        since, hurried, ttl = self._renewed[claim.name]
        lived = self._lease_time - since + self.hurried - hurried
        least = (ttl + MARGIN) * (1 - DRIFT) - 0.1
        if lived < least:
            self.complain(f"the lease of {claim.name} ended after {lived:.2f} s of {least:.2f}")
