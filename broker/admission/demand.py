"""Who is expected to ask, learnt from who asked: the devices that claims not yet made will use, slot by slot from now.

Whoever comes later and is worth more should find room. How much is kept for them are protection levels, as revenue
management calls them (Littlewood 1972, "Forecasting and control of passenger bookings"): here a multiple of their
expected use. Little of it is near and more is far, so that a short claim may use what a long one may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.domain.claim import Ask, Cancelled, Claim, ClaimName, Held, Tier
from broker.domain.fleet import Fleet
from broker.domain.options import sizes
from broker.domain.slots import slot_at_or_after
from broker.domain.snapshot import Event

__all__ = ["ABOVE", "KEEPS", "Demand"]

Floats = NDArray[np.float64]

ABOVE = {Tier.STANDARD: 0, Tier.SPOT: 1}  # by tier: the row of those worth more
# How many times their expected use is left free. Chosen on public traces with tiers drawn anew: spot work is worth so
# little that room is kept for more than come on average, and standard work so much that little is.
KEEPS = {Tier.STANDARD: 0.25, Tier.SPOT: 1.4}
REACH_SLOTS = 27 * 168
KNOWN_SLOTS = 24  # less than a day teaches nothing: there is a daily rhythm
FADE = 0.5 ** (1 / 14)  # of what was learnt, each day: a fortnight halves it
PLENTY = 2**60  # of devices, where there is no quota
SHAPES_MAX = 10_000  # of claims whose ways are remembered

_Use = tuple[str, float, int]  # silicon, devices on it, for so many slots
_Bend = tuple[str, int, int]  # silicon, the first row that it counts in, slots from when it was asked for


class _Asked(NamedTuple):
    """Somebody who asked in a slot, for a start so many slots later."""

    tenant: str
    ask: Ask
    lead: int
    slot: int


class Demand:
    """Learns arrivals from one event after the other; what it keeps grows with silicon and with who waits only.

    Arrivals are taken as even over time, each on all silicon that could serve it in proportion to supply, at its first
    start and within the tenant's quota. Older ones fade; who withdraws while still waiting is forgotten.
    """

    def __init__(self, fleet: Fleet | None = None) -> None:
        self.revision = 0  # of the last event seen
        # Use rises by the devices of a claim from each slot to the next for as long as it lasts, so an arrival is two
        # entries of a second difference.
        self._bends: dict[str, Floats] = {}
        self._fresh: dict[_Bend, float] = {}  # not yet in there: an entry of an array costs ten of a dict
        self._hours = 0  # seen in all
        self._weight = 0.0  # the same, as far as it has not faded
        self._slot: int | None = None
        self._waiting: dict[ClaimName, _Asked] = {}
        self._put_in_force(fleet or Fleet())

    @property
    def known(self) -> bool:
        """Whether enough was seen to expect anything."""
        return self._hours >= KNOWN_SLOTS

    def use(self, silicon: Sequence[str], slots: int) -> Floats:
        """[2, silicon, slots] devices that later comers will use from now on: those above standard, and above spot."""
        self._fold()
        found = np.zeros((len(ABOVE), len(silicon), slots))
        for k, name in enumerate(silicon):
            if name in self._bends and self._weight > 0:
                bends = self._bends[name][:, :slots]
                found[:, k, : bends.shape[1]] = np.cumsum(np.cumsum(bends, axis=1), axis=1) / self._weight
        return np.maximum(found, 0.0)

    def resume(self, revision: int, fleet: Fleet | None = None) -> None:
        """Events up to this revision were missed: nobody knows who asked. ``fleet`` is in force (None: as before)."""
        self.revision, self._slot = revision, None
        self._waiting.clear()
        if fleet is not None:
            self._put_in_force(fleet)

    def apply(self, event: Event) -> None:
        """Take the next event in."""
        self.revision, slot = event.revision, slot_at_or_after(event.at)
        self._pass(slot)
        if event.fleet is not None:
            self._put_in_force(event.fleet)
        for claim in event.claims:
            if _asks(claim):
                asked = _Asked(claim.name.tenant, claim.ask, max(0, claim.ask.earliest - slot), slot)
                self._count(asked, 1.0)
                self._waiting[claim.name] = asked
            if isinstance(claim.state, Cancelled) and not claim.placements and claim.name in self._waiting:
                # Whoever withdraws before there was a place for it wanted nothing in the end.
                withdrawn = self._waiting[claim.name]
                self._count(withdrawn, -(FADE ** (slot // 24 - withdrawn.slot // 24)))
            if claim.placements or not claim.live:
                self._waiting.pop(claim.name, None)

    def _put_in_force(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._uses: dict[tuple[object, ...], tuple[_Use, ...]] = {}
        self._supply = {pool.id: pool.supply().peak() for pool in fleet.pools}
        self._quota = {tenant.id: tenant.quota_devices for tenant in fleet.tenants if tenant.quota_devices is not None}

    def _pass(self, slot: int) -> None:
        """Let the clock come to a slot."""
        if self._slot is not None and slot > self._slot:
            fade = FADE ** (slot // 24 - self._slot // 24)
            self._hours += slot - self._slot
            self._weight = fade * self._weight + slot - self._slot
            if fade < 1:
                self._fold()
                self._bends = {name: fade * bends for name, bends in self._bends.items()}
        self._slot = slot if self._slot is None else max(slot, self._slot)

    def _count(self, asked: _Asked, weight: float) -> None:
        ask, most = asked.ask, self._quota.get(asked.tenant, PLENTY)
        row = ABOVE[Tier.STANDARD] if ask.tier is Tier.GUARANTEED else ABOVE[Tier.SPOT]
        for silicon, devices, slots in self._of(ask):
            first, used = min(asked.lead + 1, REACH_SLOTS - 1), weight * min(devices, most)
            up, down = (silicon, row, first), (silicon, row, min(first + slots, REACH_SLOTS - 1))
            self._fresh[up] = self._fresh.get(up, 0.0) + used
            self._fresh[down] = self._fresh.get(down, 0.0) - used

    def _fold(self) -> None:
        """Bring the arrays up to date."""
        for (silicon, row, slot), used in self._fresh.items():
            if silicon not in self._bends:
                self._bends[silicon] = np.zeros((len(ABOVE), REACH_SLOTS))
            self._bends[silicon][row:, slot] += used
        self._fresh.clear()

    def _of(self, ask: Ask) -> tuple[_Use, ...]:
        """What a claim is expected to use: a share of its devices on each silicon that serves it."""
        shape = _shape(ask)
        found = self._uses.get(shape)
        if found is None:
            found = tuple(self._spread(ask))
            if len(self._uses) >= SHAPES_MAX:
                self._uses.clear()
            self._uses[shape] = found
        return found

    def _spread(self, ask: Ask) -> list[_Use]:
        ways = {size.pool.id: size for size in sizes(ask, self._fleet) if size.devices <= self._supply[size.pool.id]}
        supply = sum(self._supply[pool] for pool in ways)
        found: dict[tuple[str, int], float] = {}
        for pool, way in ways.items():
            key = (way.pool.silicon, way.slots)
            found[key] = found.get(key, 0.0) + way.devices * self._supply[pool] / max(1, supply)
        return [(silicon, devices, slots) for (silicon, slots), devices in found.items()]


def _shape(ask: Ask) -> tuple[object, ...]:
    """All that decides how an ask can be served, but for times."""
    return (
        *(ask.workload_class, ask.silicon, ask.forbidden_pools, ask.min_domain_devices, ask.whole_domains),
        *(ask.devices, ask.min_devices, ask.max_devices, ask.slots),
    )


def _asks(claim: Claim) -> bool:
    """Whether this is somebody worth more than spot who was not there before; a quote is none until it is redeemed."""
    if claim.ask.tier is Tier.SPOT or not claim.live or isinstance(claim.state, Held):
        return False
    return not claim.replaced or claim.state_name_before == "HELD"
