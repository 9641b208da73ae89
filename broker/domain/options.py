"""Ways to serve a claim: what eligibility, speed, rack shape and elasticity leave of the fleet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar, cast

from broker.domain.claim import Ask, Placement, SiliconChoice
from broker.domain.cut import Piece, in_pieces
from broker.domain.fleet import Fleet, Pool, WorkloadClass

__all__ = [
    "Option",
    "Size",
    "option_of",
    "options",
    "parts",
    "resumed",
    "share",
    "sizes",
    "with_bonus",
]

Whole = TypeVar("Whole")  # an int, or an array of them

PARTS_MAX = 4
LEVELS_MAX = 6
PREFERENCE_PERCENT = 2
LOAN_PERCENT = 2  # that work on loan counts for less


class Option(NamedTuple):
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
    worth the same. A preferred pool is worth 2 % more, and work on loan 2 % less.
    """
    whole = sizes(ask, fleet)
    ways = [size.part(ask, part) for part in range(parts(ask)) for size in whole]
    return tuple(dict.fromkeys(ways)) if ask.elastic else tuple(ways)


def sizes(ask: Ask, fleet: Fleet) -> list[Size]:
    """Every way to serve the whole of ``ask``, in order of pool; ``options`` are their parts."""
    work = fleet.workload_class(ask.workload_class)
    if work is None:
        return []
    choices, levels = _choices(ask, work, fleet), _levels(ask)
    return [
        size
        for pool in fleet.pools
        if (choice := choices.get(pool.silicon)) is not None
        and pool.id not in ask.forbidden_pools
        and (piece := _piece(ask, pool)) is not None
        for size in _sizes(ask, pool, piece, choice, work.speed_percent[pool.silicon], levels)
    ]


def share(whole: Whole, part: int, count: int) -> Whole:
    """What falls to one of ``count`` parts: all together are the whole, and any two differ by one at most."""
    w: Any = whole
    return cast(Whole, w * (part + 1) // count - w * part // count)


def with_bonus(value: Whole, percent: Whole) -> Whole:
    """A value, and so much per cent more, or less if that is negative."""
    v: Any = value
    return cast(Whole, v + v * percent // 100)


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


def resumed(way: Option, whole: int, left: int) -> int:
    """Slots that the last ``left`` of ``whole`` slots take if they are served another way."""
    return -(-way.slots * left // whole)


def _choices(ask: Ask, work: WorkloadClass, fleet: Fleet) -> dict[str, SiliconChoice]:
    """By silicon: the first of the claim's choices that it answers to; without what must not or cannot serve it."""
    if not ask.silicon:
        return {silicon: SiliconChoice(silicon) for silicon in work.speed_percent}
    found = {}
    for silicon in fleet.silicon:
        choice = next((choice for choice in ask.silicon if silicon.answers_to(choice.silicon)), None)
        if choice is not None and silicon.id in work.speed_percent:
            found[silicon.id] = choice
    return found


class Size(NamedTuple):
    """One way to serve a whole claim in a pool."""

    pool: Pool
    devices: int
    slots: int
    latest: int | None
    piece: Piece  # devices are rounded up to whole ones
    bonus_percent: int

    def part(self, ask: Ask, part: int) -> Option:
        """A part of it."""
        count, pool = parts(ask), self.pool
        devices = in_pieces(share(self.devices, part, count), *self.piece)
        value = with_bonus(share(ask.worth_microusd, part, count), self.bonus_percent)
        return Option(part, pool.id, pool.silicon, devices, self.slots, ask.earliest, self.latest, value)


def _piece(ask: Ask, pool: Pool) -> Piece | None:
    return pool.piece(whole_domains=ask.whole_domains, min_domain_devices=ask.min_domain_devices)


def _sizes(
    ask: Ask, pool: Pool, piece: Piece, choice: SiliconChoice, speed_percent: int, levels: list[int]
) -> Iterator[Size]:
    # The time a choice names is already the time on that silicon; the claim's own is at speed 100 %.
    device_slots, speed = (ask.slots, speed_percent) if choice.slots is None else (choice.slots, 100)
    bonus = PREFERENCE_PERCENT * (pool.id in ask.preferred_pools) - LOAN_PERCENT * ask.on_loan
    wanted = choice.devices or ask.devices
    for level in _filled(levels, ask.devices, wanted, piece):
        devices = -(-wanted * level // ask.devices)
        slots = -(-device_slots * ask.devices * 100 // (level * speed))
        latest = ask.latest
        if ask.deadline is not None:
            latest = ask.deadline - slots if latest is None else min(latest, ask.deadline - slots)
        yield Size(pool, devices, slots, latest, piece, bonus)


def _filled(levels: list[int], devices: int, wanted: int, piece: Piece) -> list[int]:
    """Each size of an elastic claim raised to what it is given anyway, up to the largest, each once."""
    if len(levels) == 1 or piece.devices == 1:
        return levels
    most = levels[-1]
    given = (in_pieces(-(-wanted * level // devices), *piece) // piece.devices * piece.holds for level in levels)
    return sorted({max(level, min(most, use * devices // wanted)) for level, use in zip(levels, given, strict=True)})


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
