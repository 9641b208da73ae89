"""When a silent store is asked again: nobody waits for an answer that did not come to those before."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Circuit"]

SILENCES = 2  # in a row, after which callers are refused at once
REST_SECONDS = 0.25, 0.5  # first and most between two calls that look whether it answers again


class Circuit:
    """Closed while the store answers; open after two silences, and then one call at a time looks.

    ``now`` is monotonic, ``spread`` gives numbers from 0 up to 1, so that processes do not look all at once, and a call
    that looks is given up after ``look_seconds``.
    """

    def __init__(self, *, now: Callable[[], float], spread: Callable[[], float], look_seconds: float) -> None:
        self._now, self._spread, self._look_seconds = now, spread, look_seconds
        self._silences = 0
        self._closed_until = 0.0

    @property
    def open(self) -> bool:
        """Whether the store was silent twice in a row, and has not answered since."""
        return self._silences >= SILENCES

    def admits(self) -> bool:
        """Whether a call may be sent now; while it is open, the one that may is the one that looks."""
        if not self.open:
            return True
        if self._now() < self._closed_until:
            return False
        self._closed_until = self._now() + self._look_seconds
        return True

    def answered(self) -> None:
        """The store said something."""
        self._silences = 0

    def silent(self) -> None:
        """It did not answer in time."""
        self._silences += 1
        first, most = REST_SECONDS
        rest = min(most, first * 2 ** max(0, min(self._silences - SILENCES, 8)))
        self._closed_until = self._now() + rest * (0.5 + self._spread())

    def broken(self) -> None:
        """The line broke, which is told at once: no reason to spare anybody, but no answer either."""
        if self.open:
            self.silent()
