"""Ways to serve a claim: what eligibility, speed, rack shape and elasticity leave of the fleet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from broker.domain.claim import Ask, Placement, SiliconChoice
from broker.domain.fleet import Fleet, Pool, WorkloadClass

__all__ = ["Option", "option_of", "options", "parts"]

PARTS_MAX = 4
LEVELS_MAX = 6
PREFERENCE_PERCENT = 2


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve one part of a claim; no start after ``latest`` (None: whenever the calendar allows)."""

    part: int
    pool: str
    silicon: str
    devices: int
    slots: int
    earliest: int
    latest: int | None
    value_microusd: int


def parts(ask: Ask) -> int:
    """How many parts a claim is placed in: one for a gang, an elastic claim or whole domains, else up to four."""
    if ask.gang or ask.elastic or ask.whole_domains:
        return 1
    return max(1, min(PARTS_MAX, ask.devices // 8))


def options(ask: Ask, fleet: Fleet) -> tuple[Option, ...]:
    """Every way to serve ``ask``, in order of part and pool, each at most once; empty when no pool is eligible.

    A larger or smaller size of an elastic claim does the same work, so it takes proportionally shorter or longer and is
    worth the same. A preferred pool is worth 2 % more.
    """
    work = fleet.workload_class(ask.workload_class)
    if work is None:
        return ()
    sizes = [
        size
        for pool in fleet.pools
        if (choice := _choice(ask, work, pool, fleet)) is not None
        for size in _sizes(ask, pool, choice, work.speed_percent[pool.silicon])
    ]
    count, worth = parts(ask), ask.worth_microusd
    ways = [
        size.part(ask, part, count, worth * (part + 1) // count - worth * part // count)
        for part in range(count)
        for size in sizes
    ]
    return tuple(dict.fromkeys(ways)) if ask.elastic else tuple(ways)


def option_of(ask: Ask, fleet: Fleet, placement: Placement) -> Option | None:
    """The way to serve ``ask`` that ``placement`` is; None when the ask does not allow it."""
    return next(
        (
            option
            for option in options(ask, fleet)
            if (option.part, option.pool, option.devices, option.slots)
            == (placement.part, placement.pool, placement.devices, placement.window.slots)
            and option.earliest <= placement.window.first
            and (option.latest is None or placement.window.first <= option.latest)
        ),
        None,
    )


def _choice(ask: Ask, work: WorkloadClass, pool: Pool, fleet: Fleet) -> SiliconChoice | None:
    """The first of the claim's choices that the pool answers to; None when the pool must not or cannot serve it."""
    if pool.silicon not in work.speed_percent or pool.id in ask.forbidden_pools:
        return None
    if pool.domain_devices < ask.min_domain_devices:
        return None
    if not ask.silicon:
        return SiliconChoice(pool.silicon)
    silicon = next(s for s in fleet.silicon if s.id == pool.silicon)
    return next((choice for choice in ask.silicon if silicon.answers_to(choice.silicon)), None)


@dataclass(frozen=True, slots=True)
class _Size:
    """One way to serve a whole claim in a pool."""

    pool: Pool
    devices: int
    slots: int
    latest: int | None
    domain: int  # devices are rounded up to multiples of this
    bonus_percent: int

    def part(self, ask: Ask, part: int, count: int, value: int) -> Option:
        """A part of it, of ``count``; ``value`` is its share of the claim's."""
        devices = self.devices * (part + 1) // count - self.devices * part // count
        if self.domain > 1:
            devices = -(-devices // self.domain) * self.domain
        value += value * self.bonus_percent // 100
        pool = self.pool
        return Option(part, pool.id, pool.silicon, devices, self.slots, ask.earliest, self.latest, value)


def _sizes(ask: Ask, pool: Pool, choice: SiliconChoice, speed_percent: int) -> Iterator[_Size]:
    # The time a choice names is already the time on that silicon; the claim's own is at speed 100 %.
    device_slots, speed = (ask.slots, speed_percent) if choice.slots is None else (choice.slots, 100)
    bonus = PREFERENCE_PERCENT if pool.id in ask.preferred_pools else 0
    domain = pool.domain_devices if ask.whole_domains else 1
    for level in _levels(ask):
        devices = -(-(choice.devices or ask.devices) * level // ask.devices)
        slots = -(-device_slots * ask.devices * 100 // (level * speed))
        ends = [ask.latest] if ask.latest is not None else []
        ends += [ask.deadline - slots] if ask.deadline is not None else []
        yield _Size(pool, devices, slots, min(ends, default=None), domain, bonus)


def _levels(ask: Ask) -> list[int]:
    """Sizes of an elastic claim: its least, its most, what it asks for, and doublings between, at most six."""
    if not ask.elastic:
        return [ask.devices]
    least, most = ask.min_devices or ask.devices, ask.max_devices or ask.devices
    sizes = {least, ask.devices, most}
    size = least * 2
    while size < most and len(sizes) < LEVELS_MAX:
        sizes.add(size)
        size *= 2
    return sorted(sizes)
