"""Time as whole hours since 1970-01-01 UTC, half-open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["SLOT_SECONDS", "Steps", "Window", "slot_at_or_after", "slot_of"]

SLOT_SECONDS = 3600


def slot_of(seconds: int) -> int:
    """The slot that the moment ``seconds`` (Unix time) falls into."""
    return seconds // SLOT_SECONDS


def slot_at_or_after(seconds: int) -> int:
    """The first slot that starts no earlier than ``seconds`` (Unix time)."""
    return -(-seconds // SLOT_SECONDS)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Whole slots, ``first`` in, ``end`` out; back-to-back windows do not overlap."""

    first: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.end:
            raise ValueError(f"empty or negative window: {self}")

    @property
    def slots(self) -> int:
        """Length in slots."""
        return self.end - self.first

    def __contains__(self, slot: int) -> bool:
        return self.first <= slot < self.end


@dataclass(frozen=True, slots=True)
class Steps:
    """A level over all time: each ``(slot, level)`` holds until the next; the first is at slot 0."""

    steps: tuple[tuple[int, int], ...] = ((0, 0),)

    def __post_init__(self) -> None:
        if not self.steps or self.steps[0][0] != 0 or any(a[0] >= b[0] for a, b in pairwise(self.steps)):
            raise ValueError(f"steps must start at slot 0 and rise: {self.steps}")

    @staticmethod
    def level(value: int) -> Steps:
        """The same level for ever."""
        return Steps(((0, value),))

    @staticmethod
    def from_changes(changes: Iterable[tuple[int, int]]) -> Steps:
        """Running sum of ``(slot, change)`` in any order; earlier than slot 0 counts from there, sums below 0 as 0."""
        by_slot: dict[int, int] = {0: 0}
        for slot, change in changes:
            by_slot[max(0, slot)] = by_slot.get(max(0, slot), 0) + change
        total = 0
        out: list[tuple[int, int]] = []
        for slot in sorted(by_slot):
            total += by_slot[slot]
            if not out or out[-1][1] != max(0, total):
                out.append((slot, max(0, total)))
        return Steps(tuple(out))

    def at(self, slot: int) -> int:
        """Level at ``slot``."""
        return next(level for first, level in reversed(self.steps) if first <= slot)

    def within(self, window: Window) -> Iterator[tuple[Window, int]]:
        """The pieces of ``window`` over which the level stays the same, in order."""
        ends = [first for first, _ in self.steps[1:]] + [window.end]
        for (first, level), end in zip(self.steps, ends, strict=True):
            low, high = max(first, window.first), min(end, window.end)
            if low < high:
                yield Window(low, high), level

    def over(self, window: Window) -> list[int]:
        """One level for each slot of ``window``."""
        return [level for piece, level in self.within(window) for _ in range(piece.slots)]

    def each(self, of: Callable[[int], int]) -> Steps:
        """``of`` each level."""
        levels = [(slot, of(level)) for slot, level in self.steps]
        return Steps(tuple(step for n, step in enumerate(levels) if n == 0 or step[1] != levels[n - 1][1]))

    def peak(self) -> int:
        """Highest level ever reached."""
        return max(level for _, level in self.steps)
