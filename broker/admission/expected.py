"""When a claim is expected to start, corrected by how past estimates fared; and how well that was told.

An estimate is a range from the first moment at which the claim may start to the one by which four in five such claims
started. It begins with a *base*: the start that is planned, or the first legal one for a claim that waits. To this come
quantiles of the errors (start less base, in hours) of past estimates of the same kind. Which quantiles is corrected
start by start, so that in the long run as many fall inside as was said, also when the market changes. Only claims that
start teach an error and are counted inside or outside; the share that started at all is kept beside it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache
from heapq import heapify, heappop, heappush
from math import ceil

from broker.domain.claim import Ask, Claim, ClaimName, Committed, Displaced, Planned, Tier, Waiting
from broker.domain.slots import SLOT_SECONDS, slot_at_or_after, slot_of
from broker.domain.snapshot import Event

__all__ = ["Basis", "Calibration", "Expectations", "Expected"]

HALF = 0.5  # share of them by P50
INSIDE = 0.8  # share of the starts that the range is for
PACE = 0.01  # how fast the quantile is corrected when more or fewer starts than that fall inside
BAND = 0.19  # how far at most; what cannot be told any narrower than an hour must not wind it up
ERRORS_MAX = 200  # errors that one kind of estimate remembers; older ones are forgotten
ERRORS_MIN = 15  # fewer than these teach nothing yet: a wider kind is asked
MEDIANS_MAX = 2_000  # starts that the medians of a calibration are of
HOURS = (2, 8, 24, 72)  # how far ahead: borders between kinds, last hour in
AGES = (1, 6, 24)  # hours waited: at each of them the estimate of a waiting claim is told anew
DEVICES = (8, 64)  # borders between sizes, last count in
NEVER = 2**40  # slots
OPEN_SLOTS = 72  # what a claim without a latest start is taken to have ahead, until past starts say better


class Basis(StrEnum):
    """What an estimate is made of."""

    WAITING = "WAITING"  # the first legal start of a claim that holds nothing
    PLANNED = "PLANNED"  # a start that may still move
    FIRM = "FIRM"  # a start that no longer moves while supply holds


@dataclass(frozen=True, slots=True)
class Expected:
    """When a claim is expected to start, in slots, if it starts at all.

    No start before ``earliest``; half of such claims started by ``p50`` and four in five by ``p80``. ``starts`` past
    ones taught that, 0: none yet. ``started_percent`` of such claims started at all; None: not known yet.
    """

    basis: Basis
    earliest: int
    p50: int
    p80: int
    starts: int = 0
    started_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How estimates of one basis fared: starts, those in the range, those by the middle of it, and those never seen.

    ``waited`` hours a claim had waited when it was told so. Medians are of the last starts: error against ``p50``
    (later is positive) and length of the range, in slots.
    """

    basis: Basis
    waited: int
    starts: int
    inside: int
    by_p50: int
    never: int
    median_error: int
    median_range: int


Kind = tuple[object, ...]
Occasion = tuple[Basis, int]  # with the age of a claim that waits
WAITING: tuple[Occasion, ...] = tuple((Basis.WAITING, age) for age in range(len(AGES) + 1))
PLANNED: Occasion = (Basis.PLANNED, 0)
FIRM: Occasion = (Basis.FIRM, 0)
OCCASIONS = (*WAITING, PLANNED, FIRM)


@dataclass(frozen=True, slots=True)
class _Told:
    """An estimate that waits for its outcome."""

    kinds: tuple[Kind, ...]  # from the narrowest to the widest
    base: int
    expected: Expected


@dataclass(slots=True)
class _Past:
    """What became of the last estimates of one kind."""

    errors: deque[int] = field(default_factory=lambda: deque(maxlen=ERRORS_MAX))  # of those that started
    started: deque[bool] = field(default_factory=lambda: deque(maxlen=ERRORS_MAX))
    in_order: list[int] = field(default_factory=list)  # the errors, once somebody has asked
    percent: int = 0  # that started, once somebody has asked
    known: bool = False  # whether somebody has asked since the last outcome

    def add(self, error: int | None) -> None:
        """One more outcome; None: it never started."""
        self.started.append(error is not None)
        if error is not None:
            self.errors.append(error)
        self.known = False

    def look(self) -> None:
        """Put in order what there is, unless it is."""
        if not self.known:
            self.in_order = sorted(self.errors)
            self.percent = round(100 * sum(self.started) / len(self.started))
            self.known = True

    def quantile(self, level: float) -> int:
        """The smallest error that at least ``level`` of the next are expected to stay within; after `look`."""
        return self.in_order[min(len(self.in_order), ceil(level * (len(self.in_order) + 1))) - 1]


@dataclass(slots=True)
class _Fared:
    """The running count of one occasion, and the quantiles by which as many have started as was said."""

    middle: float = HALF
    far: float = INSIDE
    starts: int = 0
    inside: int = 0
    by_p50: int = 0
    never: int = 0
    errors: deque[int] = field(default_factory=lambda: deque(maxlen=MEDIANS_MAX))
    ranges: deque[int] = field(default_factory=lambda: deque(maxlen=MEDIANS_MAX))

    def count(self, expected: Expected, start: int) -> None:
        """One more start."""
        self.starts += 1
        self.inside += start <= expected.p80
        self.by_p50 += start <= expected.p50
        self.errors.append(start - expected.p50)
        self.ranges.append(expected.p80 - expected.earliest)
        self.middle = _towards(HALF, self.middle, start <= expected.p50)
        self.far = _towards(INSIDE, self.far, start <= expected.p80)


class Expectations:
    """Learns from one event after the other; what it keeps grows with the live claims only.

    Of what a claim is told, the first is kept for each basis, and while it waits another at each age. It is settled
    when the first hour of the claim's first part is over, so that no plan can move it any more, or when the claim ends
    without a start. What was told of a claim that is then amended is forgotten.
    """

    def __init__(self) -> None:
        self._past: dict[Kind, _Past] = defaultdict(_Past)
        self._fared = {occasion: _Fared() for occasion in OCCASIONS}
        self._open: dict[ClaimName, dict[Occasion, _Told]] = {}
        self._claims: dict[ClaimName, Claim] = {}
        self._due: list[tuple[int, ClaimName]] = []  # slots at which a claim starts, or is told anew

    def calibration(self) -> tuple[Calibration, ...]:
        """How estimates fared so far; of waiting claims one entry for each age, the first told first."""
        return tuple(
            Calibration(
                basis,
                AGES[age - 1] if age else 0,
                fared.starts,
                fared.inside,
                fared.by_p50,
                fared.never,
                _median(fared.errors),
                _median(fared.ranges),
            )
            for (basis, age), fared in self._fared.items()
        )

    def of(self, claim: Claim, at: int) -> Expected | None:
        """When the claim is expected to start; None when it has started, is closed, or is only held for a quote."""
        told = self._tell(claim, at)
        return told.expected if told is not None else None

    def resume(self) -> None:
        """Events were missed: outcomes of what was told before them are not known."""
        self._open.clear()
        self._claims.clear()
        self._due.clear()

    def apply(self, event: Event) -> None:
        """Take the next event in."""
        self._pass(event.at)
        for claim in event.claims:
            self._observe(claim, event.at)
        self._pass(event.at)

    def _observe(self, claim: Claim, at: int) -> None:
        before = self._claims.get(claim.name)
        if before is not None and before.ask != claim.ask:
            # What was told was about something else.
            self._open.pop(claim.name, None)
            self._claims.pop(claim.name, None)
        if not claim.live:
            self._close(claim)
            return
        self._keep(claim, at)
        if claim.name in self._open:
            self._claims[claim.name] = claim
            heappush(self._due, (_next(claim, at), claim.name))
        if len(self._due) > 64 + 4 * len(self._claims):
            self._due = [(_next(each, at), name) for name, each in self._claims.items()]
            heapify(self._due)

    def _pass(self, at: int) -> None:
        """Let the clock come to ``at``: some claims have started, some are told anew."""
        slot = slot_of(at)
        while self._due and self._due[0][0] < slot:
            _, name = heappop(self._due)
            claim = self._claims.get(name)
            if claim is None:
                continue
            if claim.placements and _first(claim) < slot:
                self._settle(name, _first(claim))
            elif not claim.placements:
                self._keep(claim, at)
                heappush(self._due, (_next(claim, at), name))

    def _keep(self, claim: Claim, at: int) -> None:
        """Remember what the claim is told now, unless it was told of such before."""
        occasion = _occasion(claim, at)
        if occasion not in self._open.get(claim.name, ()) and (told := self._tell(claim, at)) is not None:
            self._open.setdefault(claim.name, {})[occasion] = told

    def _close(self, claim: Claim) -> None:
        if claim.placements:
            self._settle(claim.name, _first(claim))
            return
        self._claims.pop(claim.name, None)
        for occasion, told in self._open.pop(claim.name, {}).items():
            self._fared[occasion].never += 1
            for kind in told.kinds:
                self._past[kind].add(None)

    def _settle(self, name: ClaimName, start: int) -> None:
        self._claims.pop(name, None)
        for occasion, told in self._open.pop(name, {}).items():
            self._fared[occasion].count(told.expected, start)
            for kind in told.kinds:
                self._past[kind].add(start - told.base)

    def _tell(self, claim: Claim, at: int) -> _Told | None:
        now, occasion = slot_at_or_after(at), _occasion(claim, at)
        match claim.state:
            case Waiting() | Displaced():
                base, last = max(claim.ask.earliest, now), _latest(claim.ask)
                if last is not None and last < base:
                    return None
                ahead = OPEN_SLOTS if last is None else last - base
                return self._corrected(occasion, _kinds(occasion, claim.ask, ahead), base, base, last, ahead)
            case Planned(placements) if _first(claim) >= slot_of(at):
                base, last = _first(claim), max(placement.latest for placement in placements)
                earliest = min(base, max(claim.ask.earliest, now))
                return self._corrected(occasion, _kinds(occasion, claim.ask, base - now), base, earliest, last, 0)
            case Committed() if (base := _first(claim)) >= slot_of(at):
                return _firm(base)
            case _:
                return None

    def _corrected(
        self, occasion: Occasion, kinds: tuple[Kind, ...], base: int, earliest: int, last: int | None, ahead: int
    ) -> _Told:
        """The base and what the narrowest kind that knows enough has to add; without any, even over what is ahead."""
        fared, known = self._fared[occasion], self._known(kinds)
        middle, far = ahead // 2, ceil(INSIDE * ahead)
        if known is not None:
            known.look()
            middle, far = known.quantile(fared.middle), known.quantile(fared.far)

        def legal(slot: int) -> int:
            return max(earliest, slot if last is None else min(slot, last))

        p50 = legal(base + middle)
        share, starts = (known.percent, len(known.errors)) if known is not None else (None, 0)
        return _Told(kinds, base, Expected(occasion[0], earliest, p50, max(p50, legal(base + far)), starts, share))

    def _known(self, kinds: Iterable[Kind]) -> _Past | None:
        found = (self._past[kind] for kind in kinds if kind in self._past)
        return next((past for past in found if len(past.errors) >= ERRORS_MIN), None)


def _occasion(claim: Claim, at: int) -> Occasion:
    """For what a claim is counted once: each basis, and each age that it waits."""
    match claim.state:
        case Committed():
            return FIRM
        case Planned():
            return PLANNED
        case _:
            return WAITING[bisect_right(AGES, _waited(claim, at))]


def _kinds(occasion: Occasion, ask: Ask, ahead: int) -> tuple[Kind, ...]:
    """The kinds that an estimate belongs to, from the narrowest to the widest."""
    return _kinds_of(occasion, ask.tier, bisect_left(HOURS, ahead), bisect_left(DEVICES, ask.devices))


@cache
def _kinds_of(occasion: Occasion, tier: Tier, lead: int, size: int) -> tuple[Kind, ...]:
    """There are a few hundred, and each live claim refers to one: they are shared."""
    basis, age = occasion
    return (
        (basis, tier, lead, age, size),
        (basis, tier, lead, age),
        (basis, lead, age),
        (basis, lead),
        (basis,),
    )


@lru_cache(1_000)
def _firm(start: int) -> _Told:
    return _Told((), start, Expected(Basis.FIRM, start, start, start))


def _next(claim: Claim, at: int) -> int:
    """The slot after which a claim has started as things are, or at which it will have waited long enough."""
    if claim.placements:
        return _first(claim)
    waited = _waited(claim, at)
    age = bisect_right(AGES, waited)
    return slot_of(at) + (AGES[age] - waited if age < len(AGES) else NEVER)


def _waited(claim: Claim, at: int) -> int:
    """Hours since the claim could have started, or was made."""
    return max(0, at - max(claim.created_at, claim.ask.earliest * SLOT_SECONDS)) // SLOT_SECONDS


def _first(claim: Claim) -> int:
    return min(placement.window.first for placement in claim.placements)


def _latest(ask: Ask) -> int | None:
    """Last slot at which the ask may start on silicon of speed 100 %; None: no limit."""
    ends = [ask.latest] if ask.latest is not None else []
    ends += [ask.deadline - ask.slots] if ask.deadline is not None else []
    return min(ends, default=None)


def _median(values: Iterable[int]) -> int:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0


def _towards(share: float, level: float, inside: bool) -> float:
    """The quantile to use next, so that in the long run ``share`` of the starts fall inside."""
    return min(share + BAND, max(share - BAND, level + PACE * (share - inside)))
