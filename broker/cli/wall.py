"""A wall in text: what is needed against what is free, hour by hour, and who holds the rest until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from capacitybroker import Claim, Holder, Past, PoolStatus, Reason, Tier, Wall
from google.protobuf.timestamp_pb2 import Timestamp

from broker.cli.show import dollars, short, when, word

__all__ = ["also_lines", "free_levels", "past_lines", "shown_until", "wall_lines"]

Level = tuple[int, int]  # Unix seconds from which, devices free; holds until the next

HOUR = 3600
BLOCKS_MAX = 54
HEIGHTS = "▁▂▃▄▅▆▇"  # of what is too little; enough is a full block, nothing a dot
ALSO_MAX, PAST_MAX = 3, 3


def shown_until(wall: Wall) -> int:
    """The end of the picture, in Unix seconds: a quarter beyond the wall, to see whether it gives way there."""
    lasts = (wall.end_time.seconds - wall.start_time.seconds) // HOUR
    return wall.end_time.seconds + max(1, lasts // 4) * HOUR


def free_levels(pool: PoolStatus) -> list[Level]:
    """The devices of a pool that are free from each moment on."""
    return [
        (level.start_time.seconds, max(0, level.supplied_devices - level.granted_devices))
        for level in pool.utilisation.levels
    ]


def wall_lines(wall: Wall, levels: Sequence[Level], holders: Iterable[Holder]) -> Iterator[str]:
    """The row of the calendar at a wall, each step as high as its scarcest hour, and who holds the rest until when."""
    start, end, until = wall.start_time.seconds, wall.end_time.seconds, shown_until(wall)
    step = -(-(until - start) // HOUR // BLOCKS_MAX) * HOUR
    starts = range(start, until, step)
    wide = BLOCKS_MAX // len(starts)
    width, at_wall = len(starts) * wide, -(-(end - start) // step) * wide
    row = "".join(_block(_least(levels, at, min(at + step, until)), wall.needed_devices) * wide for at in starts)
    yield f"  wall    {short(wall.pool)}, {when(wall.start_time)} to {when(wall.end_time)}: {word(Reason, wall.reason)}"
    yield f"  needed  {'█' * at_wall:{width}}  {wall.needed_devices:,} devices"
    yield f"  free    {row}  {wall.free_devices:,} at least"
    if wall.HasField("quota_free_devices"):
        row = _block(wall.quota_free_devices, wall.needed_devices) * at_wall
        yield f"  quota   {row:{width}}  {wall.quota_free_devices:,} left at least"
    yield f"          {when(wall.start_time)} {when(Timestamp(seconds=until)):>{width - 17}}"
    if wall.free_devices >= wall.needed_devices:
        yield (
            f"  money   worth {dollars(wall.value_microusd)} to you, against a price of"
            f" {dollars(wall.price_microusd)}: to run it, and what others are expected to make of it"
        )
    for holder in holders:
        who = short(holder.claim) if holder.claim else "another tenant"
        where = "" if holder.pool == wall.pool else f" in {short(holder.pool)}"
        yield (f"  holds   {who}: {holder.devices:,}{where} until {when(holder.end_time)} ({word(Tier, holder.tier)})")


def also_lines(walls: Sequence[Wall]) -> Iterator[str]:
    """The walls further away, a line each."""
    for wall in walls[:ALSO_MAX]:
        room = wall.free_devices
        if wall.HasField("quota_free_devices"):
            room = min(room, wall.quota_free_devices)
        yield f"  also    {short(wall.pool)}: {word(Reason, wall.reason)}, {room:,} of {wall.needed_devices:,} devices"


def past_lines(past: Sequence[Past]) -> Iterator[str]:
    """What a claim was before, latest first."""
    for each in past[:PAST_MAX]:
        because = f" ({word(Reason, each.reason)})" if each.reason else ""
        yield f"  before  {word(Claim.State, each.state)}{because} since {when(each.state_time)}"


def _least(levels: Sequence[Level], first: int, end: int) -> int:
    """The fewest devices free from ``first`` to ``end``."""
    ends = [*(moment for moment, _ in levels[1:]), end]
    within = [devices for (moment, devices), until in zip(levels, ends, strict=False) if moment < end and until > first]
    return min(within, default=0)


def _block(devices: int, needed: int) -> str:
    if devices >= needed:
        return "█"
    return HEIGHTS[devices * len(HEIGHTS) // needed] if devices else "·"
