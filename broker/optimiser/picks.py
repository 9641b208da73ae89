"""The picks of a search as a queue, least key first: a binary heap (Williams 1964).

Most rounds take a few of a hundred picks, so sorting them all would cost more than what is done with them.
"""

from __future__ import annotations

from broker.compiled import inlined
from broker.optimiser.search import Search

__all__ = ["arrange", "first_of"]


@inlined
def arrange(s: Search, n: int) -> None:
    """Make a queue of the first ``n`` picks."""
    for at in range(n // 2 - 1, -1, -1):
        _sink(s, at, n)


@inlined
def first_of(s: Search, n: int) -> int:
    """Take the pick with the least key from a queue of ``n``; the others are the queue of ``n - 1``."""
    request = s.pick[0]
    s.pick[0], s.key[0] = s.pick[n - 1], s.key[n - 1]
    _sink(s, 0, n - 1)
    return int(request)


@inlined
def _sink(s: Search, at: int, n: int) -> None:
    """Let a pick move down until no child has a lesser key."""
    request, key = s.pick[at], s.key[at]
    child = 2 * at + 1
    while child < n:
        if child + 1 < n and s.key[child + 1] < s.key[child]:
            child += 1
        if s.key[child] >= key:
            break
        s.pick[at], s.key[at] = s.pick[child], s.key[child]
        at, child = child, 2 * child + 1
    s.pick[at], s.key[at] = request, key
