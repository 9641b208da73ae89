"""How many claims hold capacity, wait, or waited in vain: counted in one place, so that all who tell it agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from capacitybroker import Claim

__all__ = ["Tally", "expired", "tally", "waiting"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of claims."""

    placed: int
    waiting: int
    expired: int

    def __str__(self) -> str:
        gone = f", {self.expired:,} expired" if self.expired else ""
        return f"{self.placed:,} hold capacity, {self.waiting:,} waiting{gone}"


def tally(claims: Iterable[Claim]) -> Tally:
    """The numbers for ``claims``."""
    claims = list(claims)
    return Tally(
        placed=sum(bool(claim.placements) for claim in claims),
        waiting=sum(map(waiting, claims)),
        expired=sum(map(expired, claims)),
    )


def waiting(claim: Claim) -> bool:
    """Whether it holds nothing and may still be served."""
    return not claim.placements and claim.state in (Claim.STATE_WAITING, Claim.STATE_DISPLACED)


def expired(claim: Claim) -> bool:
    """Whether its window passed before there was room."""
    return claim.state == Claim.STATE_EXPIRED
