"""What a row of the problem stands for."""

from __future__ import annotations

from dataclasses import dataclass

from broker.domain.claim import Placement
from broker.domain.options import Option
from broker.domain.slots import Window

__all__ = ["Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """A row of the problem: one part of the claim ``claims[claim]``.

    ``placement`` is what it holds now, and its first option is to stay there if ``stays``; ``settled`` when it cannot
    change, ``lost`` from when till when its pool has lost devices under it; it ``yields`` to others who lost theirs.
    With ``ends`` it may instead end as that says, which is its second option.
    """

    claim: int
    part: int
    options: tuple[Option, ...]
    placement: Placement | None = None
    stays: bool = False
    settled: bool = False
    lost: Window | None = None
    yields: bool = False
    ends: Placement | None = None

    @property
    def short(self) -> bool:
        """Whether it may lose its place: its pool lost devices under it, or it yields."""
        return self.lost is not None or self.yields

    @property
    def seeks(self) -> bool:
        """Whether it has no place that it could keep."""
        return self.placement is None or self.short
