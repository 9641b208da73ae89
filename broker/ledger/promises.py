"""What a claim was told when it was placed, and whether a plan, or making room for another claim, kept it.

Promises bind the broker alone: a caller may change or withdraw a claim at any time, and supply that is lost lifts the
promises that were made on it, and those of work that gives way to who is insured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from broker.domain.claim import Claim, Held, Placement, Planned, Tier
from broker.domain.fleet import Fleet
from broker.domain.preemption import cut, is_over
from broker.domain.snapshot import Shortfall

__all__ = ["Lifted", "broken_promises", "gives_way", "supply_lost"]

Lifted = Callable[[Placement], bool]


def broken_promises(before: Claim, after: Claim, lifted: Lifted, *, slot: int | None = None) -> Iterator[str]:
    """What a plan that makes ``after`` of ``before`` breaks; ``lifted``: whether supply for a placement was lost.

    ``slot`` is the one in which the plan came into force; None for what is no plan and makes nobody give way.

    - A part that is placed stays placed. Of a spot claim only once it is committed.
    - A part never moves to a start after the latest that it was told, nor is it told a later one.
    - Nothing starts before its ask allows.
    - A committed claim stays so until it ends, with its parts where they are; more may be added. What is held for a
      quote stays where it is as well, all of it: it ends with the supply under any part.
    - Only a spot claim that runs may end sooner, on the terms of `broker.domain.preemption`, and gains nothing by the
      plan that says so. What was cut short is kept as what the claim ran.
    """
    same = before.placements == after.placements and before.ran == after.ran
    if (same and type(before.state) is type(after.state)) or _let_go(before, after, lifted):
        return
    firm = before.firm
    yield from _broken_for_runs(before, after, lifted, slot)
    over = after.ran[len(before.ran) :]
    held = {placement.part: placement for placement in before.placements if placement not in over}
    served = {placement.part: placement for placement in after.placements}
    told = {part for part, old in held.items() if slot is not None and gives_way(before, old, served.get(part), slot)}
    had = {_placed(old) for old in before.placements}
    if told and any(_placed(new) not in had for part, new in served.items() if part not in told):
        yield f"{after.name} is granted a place and loses one by the same plan"
    for part, old in held.items():
        if part in told:
            continue
        for broken in _broken_for_part(before, old, served.get(part)):
            if not lifted(old):
                yield f"{after.name} part {part} {broken}"
    for part, new in served.items():
        if part not in held and new.window.first < after.ask.earliest:
            yield f"{after.name} part {part} starts in slot {new.window.first}, before {after.ask.earliest}"
    loose = isinstance(after.state, Planned)
    if firm and loose and held and not any(lifted(old) for old in held.values()):
        yield f"{after.name} was committed and may move again"


def _let_go(before: Claim, after: Claim, lifted: Lifted) -> bool:
    """Whether a hold ended with the supply under a part of it."""
    return isinstance(before.state, Held) and not after.live and any(map(lifted, before.placements))


def gives_way(claim: Claim, old: Placement, new: Placement | None, slot: int) -> bool:
    """Whether ``new`` is ``old``, which runs, cut short as it may be by a plan that came into force in ``slot``."""
    if new is None or not new.left_ppm or old.left_ppm:
        return False
    # The plan's first slot is the one that had begun, if only just, or a later one.
    first = new.window.end - claim.ask.preemption.notice
    # It may be told its domains by the same plan.
    ends = cut(claim, old, first)
    return first >= slot and ends is not None and _placed(new) == _placed(ends)


def _placed(placement: Placement) -> Placement:
    """All but its domains, which are told apart from plans."""
    return replace(placement, domains=())


def _broken_for_runs(before: Claim, after: Claim, lifted: Lifted, slot: int | None) -> Iterator[str]:
    """Runs that are over are added where a placement was cut short, once its time is over or its supply is lost."""
    stood = {placement.part: placement for placement in before.placements if placement.left_ppm}
    kept, added = after.ran[: len(before.ran)], after.ran[len(before.ran) :]
    for run in added:
        was = stood.get(run.part)
        over = slot is not None and was == run and is_over(run, slot)
        if was is None or not (over or lifted(was)):
            yield f"{after.name} is said to have run {run.pool} {run.window}"
    if kept != before.ran:
        yield f"{after.name} forgets what it ran"


def _broken_for_part(claim: Claim, old: Placement, new: Placement | None) -> Iterator[str]:
    """What replacing the placement ``old`` of ``claim`` by ``new`` (None: nothing) breaks."""
    firm = claim.firm
    if new is None:
        if firm or claim.ask.tier is not Tier.SPOT:
            yield f"loses its place in {old.pool} {old.window}"
        return
    where = (old.pool, old.silicon, old.devices, old.window)
    moved = where != (new.pool, new.silicon, new.devices, new.window)
    if firm and moved:
        yield f"is committed to {old.pool} {old.window} and moves to {new.pool} {new.window}"
        return
    if moved and new.window.first > old.latest:
        yield f"moves to slot {new.window.first}, and was told {old.latest} at the latest"
    elif new.latest > old.latest:
        yield f"is told slot {new.latest} at the latest, and was told {old.latest} before"
    if moved and new.window.first < claim.ask.earliest:
        yield f"moves to slot {new.window.first}, before {claim.ask.earliest}"


def supply_lost(claim: Claim, placement: Placement, fleet: Fleet, short: tuple[Shortfall, ...], slot: int) -> bool:
    """Whether the placement's pool has left, or it or the tenant's quota is ``short`` under it from ``slot`` on.

    Where the fleet is insured, work of lower tiers also makes room for guaranteed work of a pool that is short.
    """
    if fleet.pool(placement.pool) is None:
        return True
    covers = any(not insurance.covers or placement.pool in insurance.covers for insurance in fleet.insurance)
    if covers and claim.ask.tier is not Tier.GUARANTEED and any(lack.account.startswith("pools/") for lack in short):
        return True
    accounts = f"pools/{placement.pool}", claim.account
    first, end = max(placement.window.first, slot), placement.window.end
    return any(lack.account in accounts and lack.window.first < end and first < lack.window.end for lack in short)
