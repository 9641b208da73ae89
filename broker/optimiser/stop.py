"""When a solve ends: one method that says how much of its budget is spent.

A share rather than a yes or no lets the solver pace itself (prices first, then the plan, cooling as time runs out)
without ever reading a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["AnyOf", "Cancelled", "SecondsLimit", "Stop", "WorkLimit"]


class Stop(Protocol):
    """A stopping rule; it must not fall from one call to the next, and is asked from two threads."""

    def spent(self, work: int) -> float:
        """Share of the budget used after ``work`` work units; 1 or more means stop now."""


class WorkLimit:
    """Stops after ``units`` of deterministic work: the same problem, seed and limit give the same plan."""

    def __init__(self, units: int) -> None:
        if units < 1:
            raise ValueError(f"a work limit is at least 1 unit: {units}")
        self._units = units

    def spent(self, work: int) -> float:
        """Share of the units."""
        return work / self._units


class SecondsLimit:
    """Stops ``seconds`` after it was made, by the clock that it is given."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        if not seconds > 0:
            raise ValueError(f"a time limit is above 0 seconds: {seconds}")
        self._seconds, self._clock, self._began = seconds, clock, clock()

    def spent(self, work: int) -> float:  # noqa: ARG002 - the clock alone decides
        """Share of the seconds."""
        return (self._clock() - self._began) / self._seconds


class Cancelled:
    """Stops as soon as ``asked`` says so, for instance ``threading.Event().is_set``.

    It paces nothing: beside a limit, in ``AnyOf``, the solver knows how much time each step may take.
    """

    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked

    def spent(self, work: int) -> float:  # noqa: ARG002 - somebody else decides
        """All or nothing."""
        return 1.0 if self._asked() else 0.0


class AnyOf:
    """Stops with the first of several rules."""

    def __init__(self, *rules: Stop) -> None:
        self._rules = rules

    def spent(self, work: int) -> float:
        """The share of the rule that is furthest."""
        return max((rule.spent(work) for rule in self._rules), default=0.0)
