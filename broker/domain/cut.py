"""How a pool is cut into slices: equal pieces, each within one domain, of which a claim always has whole ones.

That all slices of a pool are alike is what makes counting devices enough: whatever fits by count can be given places
that never move (``docs/domains.md`` has the proof, and why nothing weaker does).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

__all__ = ["Cut", "Piece", "in_pieces"]

Whole = TypeVar("Whole")  # an int, or an array of them


class Piece(NamedTuple):
    """What a claim takes ``devices`` of at a time, of which ``holds`` are of use to it."""

    holds: int
    devices: int


class Cut(NamedTuple):
    """The domains of a pool: trays of so many devices, some of them spare, the others in slices of so many trays."""

    domain_devices: int
    tray_devices: int
    spare_trays: int
    slice_trays: int

    @property
    def slice_devices(self) -> int:
        """Devices of a slice."""
        return self.slice_trays * self.tray_devices

    @property
    def per_domain(self) -> int:
        """Slices of a domain; trays that make no whole slice are spare too."""
        return (self.domain_devices // self.tray_devices - self.spare_trays) // self.slice_trays

    @property
    def alone(self) -> int:
        """Devices of the largest NVLink domain, or piece of one, that a claim can have to itself."""
        return self.domain_devices if self.per_domain == 1 else self.slice_devices

    def slices(self, devices: int) -> int:
        """Slices of so many devices; what lacks, lacks in as few domains as can be, and spare trays stand in for it."""
        domains, rest = divmod(devices, self.domain_devices)
        return domains * self.per_domain + min(self.per_domain, rest // self.tray_devices // self.slice_trays)

    def usable(self, devices: int) -> int:
        """How many of so many devices can be given out."""
        return self.slices(devices) * self.slice_devices

    def piece(self, *, whole_domains: bool, segment: int) -> Piece | None:
        """What claims of whole domains, or of segments of so many devices, take; None where they cannot be held.

        No segment is split between slices; one that is larger than a domain without its spare trays fills that.
        """
        return _piece(self, whole_domains, segment)


@lru_cache(maxsize=4_096)  # asked for each pool in each call, and there are few answers
def _piece(cut: Cut, whole_domains: bool, segment: int) -> Piece | None:
    if cut.alone < segment or (whole_domains and cut.per_domain > 1):
        return None
    each = 1 if whole_domains else min(max(1, segment), cut.slice_devices)
    return Piece(cut.slice_devices // each * each, cut.slice_devices)


def in_pieces(devices: Whole, holds: Whole, each: Whole) -> Whole:
    """What a claim of so many devices takes, in pieces of ``each`` that hold ``holds`` of them."""
    d: Any = devices
    return cast(Whole, -(-d // holds) * each)
