"""Lines of which none can be changed, taken out or moved without its being seen: each is hashed with the one before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["START", "Broken", "follow", "link"]

START = "0" * 64


class Broken(Exception):
    """A line is not what was written there."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} is not what was written after the one before it")
        self.number = number


def link(before: str, text: bytes) -> str:
    """The hash of a line of that text behind a line with the hash ``before``."""
    return hashlib.sha256(before.encode() + text).hexdigest()


def follow(lines: Iterable[bytes], before: str = START) -> tuple[int, str]:
    """How many lines there are, and the hash of the last; raises Broken at the first that is not genuine."""
    count = 0
    for count, line in enumerate(lines, start=1):
        shown, _, text = line.partition(b" ")
        before = link(before, text)
        if shown != before.encode():
            raise Broken(count)
    return count, before
