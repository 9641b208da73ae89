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
    eligible = [(pool, choice) for pool in fleet.pools if (choice := _choice(ask, work, pool, fleet)) is not None]
    ways = (
        option
        for part in range(parts(ask))
        for pool, choice in eligible
        for option in _in_pool(ask, part, pool, choice, work.speed_percent[pool.silicon])
    )
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


def _in_pool(ask: Ask, part: int, pool: Pool, choice: SiliconChoice, speed_percent: int) -> Iterator[Option]:
    count = parts(ask)
    value = ask.worth_microusd * (part + 1) // count - ask.worth_microusd * part // count
    if pool.id in ask.preferred_pools:
        value += value * PREFERENCE_PERCENT // 100
    # The time a choice names is already the time on that silicon; the claim's own is at speed 100 %.
    device_slots, speed = (ask.slots, speed_percent) if choice.slots is None else (choice.slots, 100)
    for level in _levels(ask):
        wanted = -(-(choice.devices or ask.devices) * level // ask.devices)
        devices = wanted * (part + 1) // count - wanted * part // count
        if ask.whole_domains:
            devices = -(-devices // pool.domain_devices) * pool.domain_devices
        slots = -(-device_slots * ask.devices * 100 // (level * speed))
        ends = [ask.latest] if ask.latest is not None else []
        ends += [ask.deadline - slots] if ask.deadline is not None else []
        yield Option(part, pool.id, pool.silicon, devices, slots, ask.earliest, min(ends, default=None), value)


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
