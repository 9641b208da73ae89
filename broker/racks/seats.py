"""How many slices a stay has of each domain, and which domains to choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from broker.domain.claim import DomainSpan

__all__ = ["Free", "Seats", "seats_of", "spans_of"]

Seats = dict[int, int]  # domain -> slices of it


class Free:
    """The free slices of each domain at one moment of a sweep."""

    def __init__(self, per_domain: int) -> None:
        self._per_domain = per_domain
        self._free: list[int] = []  # by domain
        self._arrived = per_domain  # slices that the last domain has so far
        self.total = 0

    def grow(self, slices: int) -> None:
        """New slices: those that still lack in the last domain, then new domains."""
        while slices > 0:
            if self._arrived == self._per_domain:
                self._free.append(0)
                self._arrived = 0
            more = min(slices, self._per_domain - self._arrived)
            self._free[-1] += more
            self._arrived += more
            self.total += more
            slices -= more

    def has(self, seats: Mapping[int, int]) -> bool:
        """Whether all of these are free."""
        return all(0 <= domain < len(self._free) and self._free[domain] >= n for domain, n in seats.items())

    def take(self, seats: Mapping[int, int]) -> None:
        """Let these be taken; they are free."""
        for domain, n in seats.items():
            self._free[domain] -= n
            self.total -= n

    def give_back(self, seats: Mapping[int, int]) -> None:
        """Let these be free again."""
        for domain, n in seats.items():
            self._free[domain] += n
            self.total += n

    def last(self, slices: int) -> Seats:
        """Free slices of the highest domains: so many, or all there are."""
        return _first(((d, self._free[d]) for d in reversed(range(len(self._free)))), slices)

    def fewest(self, slices: int) -> Seats:
        """Free slices of as few domains as can be, lowest first; there are so many.

        What fills no domain goes where it leaves the least, so that domains stay whole for who needs many slices.
        """
        full = self._per_domain
        whole = [domain for domain, n in enumerate(self._free) if n == full][: slices // full]
        found = dict.fromkeys(whole, full)
        rest = slices - full * len(whole)
        parts = sorted((-n, d) for d, n in enumerate(self._free) if n and d not in found) if rest else []
        for n, domain in parts:
            if rest < -n:
                break
            found[domain] = -n
            rest += n
        if rest:
            found[min((-n, d) for n, d in parts if -n >= rest and d not in found)[1]] = rest
        return found


def _first(free: Iterable[tuple[int, int]], slices: int) -> Seats:
    found: Seats = {}
    for domain, n in free:
        if slices and n:
            found[domain] = min(n, slices)
            slices -= found[domain]
    return found


def spans_of(seats: Mapping[int, int], slice_devices: int) -> tuple[DomainSpan, ...]:
    """The same as spans of domains, in order."""
    spans: list[DomainSpan] = []
    for domain, slices in sorted(seats.items()):
        devices = slices * slice_devices
        if spans and spans[-1].first + spans[-1].domains == domain and spans[-1].devices == devices:
            spans[-1] = spans[-1]._replace(domains=spans[-1].domains + 1)
        else:
            spans.append(DomainSpan(domain, 1, devices))
    return tuple(spans)


def seats_of(spans: Iterable[DomainSpan], slice_devices: int) -> Seats:
    """What spans name, in slices."""
    return {
        domain: -(-span.devices // slice_devices)
        for span in spans
        for domain in range(span.first, span.first + span.domains)
    }
