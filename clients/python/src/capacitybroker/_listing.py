"""All items of a paged list, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["Listing", "Page"]

Item = TypeVar("Item")
Page = tuple[list[Item], str, int]  # items, token of the next page, revision


class Listing(Generic[Item]):
    """Iterates once over all items; asks for a page when it gets there."""

    def __init__(self, page: Callable[[str], Page[Item]]) -> None:
        self._page = page
        self._items, self._next, self._revision = page("")

    @property
    def revision(self) -> int:
        """Ledger revision of the first page, 0 where lists have none; watch from the one after to miss nothing."""
        return self._revision

    def __iter__(self) -> Iterator[Item]:
        """The items, in the order of the server."""
        yield from self._items
        while self._next:
            self._items, self._next, _ = self._page(self._next)
            yield from self._items
