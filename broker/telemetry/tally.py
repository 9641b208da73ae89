"""What a server has answered, in plain numbers: counted on every call, read when somebody asks."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["BOUNDS", "Tally"]

# Seconds; a call that took exactly as long is counted with the faster ones.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Tally:
    """Calls by method and outcome, and how long they took; outcomes are OK and the reasons of refusals."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], int] = {}
        self.took: dict[str, list[int]] = {}  # by method: calls up to each bound, and those above all
        self.seconds: dict[str, float] = {}

    def add(self, method: str, outcome: str, seconds: float) -> None:
        """One call that ended."""
        self.calls[method, outcome] = self.calls.get((method, outcome), 0) + 1
        took = self.took.get(method)
        if took is None:
            took = self.took[method] = [0] * (len(BOUNDS) + 1)
            self.seconds[method] = 0.0
        took[bisect_left(BOUNDS, seconds)] += 1
        self.seconds[method] += seconds
