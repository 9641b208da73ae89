"""What a picture of the calendar shows, before it is drawn: a row for each pool, a block for each held stretch.

Devices of a pool are numbered from 0; a placement keeps its numbers from start to end, as on real hardware. Taking the
lowest free numbers in order of start never needs more of them than are held at once, so blocks fit under the supply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from capacitybroker import Claim, Placement, PoolStatus, Tier

from broker.cli.parts import together
from broker.cli.show import dollars, short, when, word
from broker.cli.tally import Tally, tally

__all__ = ["Block", "Calendar", "Level", "Row", "calendar"]

Level = tuple[int, int]  # Unix seconds from which, devices; holds until the next


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of devices that one claim holds: numbers ``low`` up to ``high``, from ``start`` to ``end``."""

    tenant: str
    label: str
    title: str
    tier: str
    start: int
    end: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Row:
    """One pool: its supply, what is paid for (empty: not contracted), what is held, and the blocks that hold it."""

    pool: str
    notes: tuple[str, ...]
    supplied: tuple[Level, ...]
    granted: tuple[Level, ...]
    paid: tuple[Level, ...]
    blocks: tuple[Block, ...]
    used_percent: int | None

    @property
    def top(self) -> int:
        """The most devices that the row has to show."""
        return max([n for levels in (self.supplied, self.granted, self.paid) for _, n in levels], default=0)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Pools over a window of time, in Unix seconds."""

    start: int
    end: int
    rows: tuple[Row, ...]
    tenants: tuple[str, ...]
    known: tuple[str, ...]
    tally: Tally


def calendar(
    pools: Iterable[PoolStatus], claims: Iterable[Claim], *, start: int, end: int, known: Iterable[str] = ()
) -> Calendar:
    """The calendar of ``pools``, whose use was asked for from ``start`` to ``end``, as ``claims`` fill it.

    ``known`` are the tenants of the fleet; together with those that hold something they decide who has which colour.
    """
    claims = list(claims)
    held = [
        (claim, placement)
        for claim in claims
        for placement in together(claim)
        if placement.start_time.seconds < end and placement.end_time.seconds > start
    ]
    rows = tuple(
        _row(status, [(claim, p) for claim, p in held if p.pool == status.name], start, end) for status in pools
    )
    tenants = {_tenant(claim) for claim, _ in held}
    return Calendar(
        start=start,
        end=end,
        rows=rows,
        tenants=tuple(sorted(tenants)),
        known=tuple(sorted(tenants | set(known))),
        tally=tally(claims),
    )


def _row(status: PoolStatus, held: Sequence[tuple[Claim, Placement]], start: int, end: int) -> Row:
    use = status.utilisation
    supplied = tuple((level.start_time.seconds, level.supplied_devices) for level in use.levels)
    notes = (status.pool.silicon, status.pool.site, status.contract.counterparty)
    return Row(
        pool=status.pool.id,
        notes=tuple(note for note in notes if note),
        supplied=supplied,
        granted=tuple((level.start_time.seconds, level.granted_devices) for level in use.levels),
        paid=_paid(status, start, end),
        blocks=tuple(_blocks(held, supplied, start, end)),
        used_percent=round(100 * use.granted_device_hours / use.supplied_device_hours)
        if use.supplied_device_hours
        else None,
    )


def _paid(status: PoolStatus, start: int, end: int) -> tuple[Level, ...]:
    """The committed level of a contract, cut to the window."""
    levels = [(level.start_time.seconds, level.devices) for level in status.contract.committed]
    before = [devices for moment, devices in levels if moment <= start]
    inside = [(moment, devices) for moment, devices in levels if start < moment < end]
    return ((start, before[-1] if before else 0), *inside) if levels else ()


def _blocks(
    held: Sequence[tuple[Claim, Placement]], supplied: Sequence[Level], start: int, end: int
) -> Iterable[Block]:
    """Numbers for each placement: below the supply of its whole time where they are free, in one piece if possible."""
    busy: list[tuple[int, int, int]] = []  # low, high, until
    for claim, placement in sorted(held, key=_earliest_and_longest_first):
        first, last = placement.start_time.seconds, placement.end_time.seconds
        busy = sorted(piece for piece in busy if piece[2] > first)
        ceiling = _least(supplied, first, min(last, end))
        # What ends before devices go away takes the numbers that go away, and leaves the others to what stays.
        from_top = last < end and _least(supplied, last, end) < ceiling
        for low, high in _numbers(busy, placement.devices, ceiling, from_top=from_top):
            busy.append((low, high, last))
            yield Block(
                tenant=_tenant(claim),
                label=claim.name.rpartition("/")[2],
                title=_title(claim, placement),
                tier=word(Tier, claim.tier),
                start=max(first, start),
                end=min(last, end),
                low=low,
                high=high,
            )


def _earliest_and_longest_first(held: tuple[Claim, Placement]) -> tuple[int, int, str, int]:
    claim, placement = held
    return placement.start_time.seconds, -placement.end_time.seconds, claim.name, placement.part


def _numbers(
    busy: Sequence[tuple[int, int, int]], devices: int, ceiling: int, *, from_top: bool
) -> Iterable[tuple[int, int]]:
    """Free ranges for ``devices``: the lowest (or highest) wide enough below the ceiling, else the lowest numbers."""
    edges = [(0, 0), *((low, high) for low, high, _ in busy)]
    gaps = [(a[1], b[0]) for a, b in pairwise(edges) if a[1] < b[0]]
    free = [*gaps, (max(high for _, high in edges), 1 << 62)]
    wide = [(low, min(high, ceiling)) for low, high in free if min(high, ceiling) - low >= devices]
    if wide and from_top:
        return [(wide[-1][1] - devices, wide[-1][1])]
    if wide:
        return [(wide[0][0], wide[0][0] + devices)]
    pieces = []
    for low, high in free:
        size = min(devices, high - low)
        pieces.append((low, low + size))
        devices -= size
        if devices == 0:
            break
    return pieces


def _least(levels: Sequence[Level], first: int, last: int) -> int:
    """The lowest level from ``first`` until ``last``."""
    ends = [moment for moment, _ in levels[1:]] + [1 << 62]
    spans = zip(levels, ends, strict=True)
    return min((devices for (moment, devices), until in spans if moment < last and until > first), default=0)


def _tenant(claim: Claim) -> str:
    return claim.name.split("/")[1]


def _title(claim: Claim, placement: Placement) -> str:
    return (
        f"{short(claim.name)} ({claim.workload_class}, {word(Tier, claim.tier)},"
        f" {word(Claim.State, claim.state)})\n"
        f"{placement.devices:,} {placement.silicon} in {short(placement.pool)}\n"
        f"{when(placement.start_time)} to {when(placement.end_time)} UTC\n"
        f"new money {dollars(placement.cost_microusd)}, paid already {dollars(placement.paid_microusd)}"
    )
