"""Who may have to give way, when, and what is left of it then.

Only a spot claim that runs gives way, and only to claims of another tier that are worth more by the device-hour. Those
never do: so nobody who took a place this way can lose it this way, and no chain is longer than one. It has run for its
least time, it is told its notice ahead, and after `PREEMPTIONS_MAX` times it is as firm as any other.
``docs/preemption.md`` tells why nothing loops.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from broker.domain.claim import Active, Claim, Committed, Placement, Preemption, Tier
from broker.domain.fleet import Fleet
from broker.domain.options import Option, options, resumed
from broker.domain.slots import Window

__all__ = [
    "PREEMPTIONS_MAX",
    "WHOLE",
    "counted_slots",
    "cut",
    "ended",
    "is_over",
    "left_before",
    "outranks",
    "preemptions",
    "stopped",
    "ways",
    "ways_elsewhere",
    "ways_on",
]

PREEMPTIONS_MAX = 2  # of one claim
WHOLE = 1_000_000  # a part's work, in millionths
MARGIN_PERCENT = 20  # by which a device-hour must be worth more to take a place
RETURN_SLOTS = 6  # that what is left is taken to wait for another place


def preemptions(claim: Claim) -> int:
    """How many times it has been told to give way; parts that end together were told together."""
    return len({placement.window.end for placement in (*claim.ran, *claim.placements) if placement.left_ppm})


def left_before(claim: Claim, part: int) -> int:
    """Millionths of the part's work that were left when its present run began, or that wait for one."""
    return next((run.left_ppm for run in reversed(claim.ran) if run.part == part), WHOLE)


def is_over(placement: Placement, slot: int) -> bool:
    """Whether it was cut short and has ended by ``slot``: what is left of it needs another place."""
    return bool(placement.left_ppm) and placement.window.end <= slot


def cut(claim: Claim, placement: Placement, slot: int) -> Placement | None:
    """The placement as it is once told, by a plan whose first slot is ``slot``, to give way; None when it may not be.

    A claim of which something is giving way already is not told again meanwhile.
    """
    terms = claim.ask.preemption
    end = slot + terms.notice
    if (
        claim.ask.tier is not Tier.SPOT
        or not isinstance(claim.state, Active | Committed)
        or slot <= placement.window.first
        or slot < placement.window.first + terms.min_run
        or end >= placement.window.end
        or preemptions(claim) >= PREEMPTIONS_MAX
        or any(other.left_ppm for other in claim.placements)
    ):
        return None
    before, kept = left_before(claim, placement.part), _kept(terms, end - placement.window.first)
    left = -(-before * (placement.window.slots - kept) // placement.window.slots)
    return _ending(placement, end, left)


def outranks(taker: Claim, loser: Claim) -> bool:
    """Whether the one may take the place of the other, if that may be taken at all."""
    mine, theirs = taker.ask, loser.ask
    if mine.tier is Tier.SPOT or theirs.tier is not Tier.SPOT:
        return False
    more = mine.worth_microusd * theirs.devices * theirs.slots * 100
    return more >= theirs.worth_microusd * mine.devices * mine.slots * (100 + MARGIN_PERCENT)


def counted_slots(claim: Claim, placement: Placement, end: int) -> int:
    """How many slots of a placement count as done if it is cut short at slot ``end``, to weigh that.

    What was done since the last checkpoint is lost. What is left will be done later, but waits for a place meanwhile;
    all of it is lost where it could no longer meet its deadline.
    """
    kept = _kept(claim.ask.preemption, end - placement.window.first)
    deadline = claim.ask.deadline
    if deadline is not None and end + placement.window.slots - kept > deadline:
        return kept
    return kept + max(0, placement.window.end - end - RETURN_SLOTS)


def stopped(claim: Claim, slot: int) -> Committed | None:
    """What a claim that gives way becomes when its holder stops early; None when it has more to use than its notice."""
    told = [p for p in claim.placements if p.left_ppm]
    if not told or any(p.window.end > slot for p in claim.placements if not p.left_ppm):
        return None
    return Committed(tuple(ended(claim, p, slot) for p in claim.placements), claim.because)


def ended(claim: Claim, placement: Placement, slot: int) -> Placement:
    """A placement that was cut short, as it is if nothing of it is used from ``slot`` on."""
    if not placement.left_ppm or placement.window.end <= slot:
        return placement
    # Each time that it was told ends at another slot, which is how they are counted.
    end = max(placement.window.first + 1, slot, *(run.window.end + 1 for run in claim.ran))
    end = min(end, placement.window.end)
    before, terms = left_before(claim, placement.part), claim.ask.preemption
    kept = _kept(terms, placement.window.slots)
    done = (before - placement.left_ppm) * _kept(terms, end - placement.window.first) // kept if kept else 0
    return _ending(placement, end, before - done)


def ways(claim: Claim, fleet: Fleet, slot: int) -> tuple[Option, ...]:
    """Every way to serve what is left of a claim in ``slot``: a part that ran takes less time, and is worth less."""
    found = options(claim.ask, fleet)
    over = tuple(p for p in claim.placements if is_over(p, slot))
    if not over and not claim.ran:
        return found
    left = replace(claim, ran=(*claim.ran, *over))
    return tuple(_of_what_is_left(left, way) for way in found)


def ways_elsewhere(
    claim: Claim, placement: Placement, ways: Iterable[Option], fleet: Fleet, slot: int
) -> tuple[Option, ...]:
    """Every way to serve a part that loses its placement from ``slot`` on; ``ways`` are those of the part as a whole.

    What runs goes on with what is left of it, however late that begins: it ends by its deadline or not at all.
    """
    if placement.left_ppm:
        return ways_on(claim, placement, fleet, slot)
    whole = tuple(ways)
    if placement.window.first >= slot:
        return whole
    here = (way.slots for way in whole if (way.pool, way.devices) == (placement.pool, placement.devices))
    full, left, deadline = next(here, placement.window.slots), placement.window.end - slot, claim.ask.deadline
    lasts = ((way, resumed(way, full, left)) for way in whole)
    return tuple(way._replace(slots=n, latest=None if deadline is None else deadline - n) for way, n in lasts)


def ways_on(claim: Claim, placement: Placement, fleet: Fleet, slot: int) -> tuple[Option, ...]:
    """Every way to serve what is left of a part that gives way, if it can use its placement only until ``slot``."""
    after = replace(claim, ran=(*claim.ran, ended(claim, placement, slot)))
    return tuple(way for way in ways(after, fleet, slot) if way.part == placement.part)


def _kept(terms: Preemption, slots: int) -> int:
    """Slots of a run of that many which count: those up to its last checkpoint."""
    return slots // terms.checkpoint * terms.checkpoint if terms.checkpoint else 0


def _ending(placement: Placement, end: int, left_ppm: int) -> Placement:
    window = Window(placement.window.first, end)

    def share(money: int) -> int:
        return money * window.slots // placement.window.slots

    cost, paid = share(placement.cost_microusd), share(placement.paid_microusd)
    return replace(placement, window=window, left_ppm=left_ppm, cost_microusd=cost, paid_microusd=paid)


def _of_what_is_left(claim: Claim, way: Option) -> Option:
    if all(run.part != way.part for run in claim.ran):
        return way
    left = left_before(claim, way.part)
    # Millionths were rounded up; that must not cost another hour.
    slots = max(1, -(-way.slots * (left - 1) // WHOLE))
    # It has started in time: only what bounds its end still does.
    latest = None if claim.ask.deadline is None else claim.ask.deadline - slots
    return way._replace(slots=slots, latest=latest, value_microusd=way.value_microusd * left // WHOLE)
