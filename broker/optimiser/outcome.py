"""A plan as what becomes of each claim: only the claims that change, each with its new state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from broker.domain.claim import (
    Active,
    Claim,
    Committed,
    Displaced,
    Ended,
    Expired,
    Held,
    Placement,
    Planned,
    State,
    Tier,
    Waiting,
)
from broker.domain.preemption import ended, is_over
from broker.domain.promise import promised
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS, Window, slot_of
from broker.optimiser.charges import charges
from broker.optimiser.compile import Compiled
from broker.optimiser.problem import Ints, Plan
from broker.optimiser.request import Request
from broker.optimiser.spare import preempted

__all__ = ["Outcome", "outcome"]

SUPPLY_MOVED = (Because(Reason.SUPPLY_LOST, "A pool that the quote was for lost devices."),)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Claims that change (each with the revision it was planned from), and counts over all live claims.

    The first ``together`` of them give up or move a placement, and come into force at once; those who gain one and
    those who only hear another reason follow, and may do so in later steps.
    """

    changed: tuple[Claim, ...]
    placed: int
    moved: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    together: int = 0


def outcome(
    compiled: Compiled,
    plan: Plan,
    because: Mapping[int, Because],
    *,
    freeze_slots: int,
    at: int,
    defragmented: Collection[int] = (),
) -> Outcome:
    """What ``plan`` makes of every claim of the snapshot.

    ``because`` says why a row is not placed; rows ``defragmented`` moved so that whole domains stay free. A claim is
    committed once it starts within ``freeze_slots``. What did not move keeps its placement to the letter, costs
    included, so that a plan that changes nothing changes no claim.
    """
    placements = _placements(compiled, plan)
    lacking = _lacking(compiled, plan, because)
    notices = _notices(compiled, plan, defragmented)
    changed, moved, reasons, placed = [], 0, Counter[str](), 0
    for index, seen in enumerate(compiled.snapshot.claims):
        now_held = tuple(sorted(placements.get(index, []), key=lambda p: p.part))
        claim = _with_run(seen, now_held, compiled.horizon.first)
        state = _state(claim, now_held, lacking.get(index, ()), compiled, index, freeze_slots, at)
        state = _noticed(state, claim, notices.get(index, ()))
        placed += bool(now_held)
        moved += bool(claim.placements) and now_held != claim.placements
        if not now_held and state is not None and (why := _because(state)):
            reasons[why[0].reason.value] += 1
        if state is not None and not _same(state, claim.state):
            changed.append(claim.becomes(state, at=at))
    together = _in_turn(compiled, changed)
    return Outcome(tuple(changed), placed, moved, dict(reasons), together)


def _in_turn(compiled: Compiled, changed: list[Claim]) -> int:
    """Sorts who gives up or moves a placement first, and counts them; with who gave way comes who takes the place."""
    held = {claim.name: claim.placements for claim in compiled.snapshot.claims}
    some_give_way = any(p.left_ppm and p not in held[claim.name] for claim in changed for p in claim.placements)

    def turn(claim: Claim) -> int:
        if claim.placements == held[claim.name]:
            return 2
        return 0 if held[claim.name] or (some_give_way and claim.ask.tier is not Tier.SPOT) else 1

    changed.sort(key=turn)
    return sum(turn(claim) == 0 for claim in changed)


def _with_run(claim: Claim, held: tuple[Placement, ...], slot: int) -> Claim:
    """The claim, which has run where it gave way and is no longer."""
    ran = tuple(ended(claim, p, slot) for p in claim.placements if p.left_ppm and p not in held)
    return replace(claim, ran=(*claim.ran, *ran)) if ran else claim


def _placements(compiled: Compiled, plan: Plan) -> dict[int, list[Placement]]:
    """Where each claim is served, its past parts included."""
    out: dict[int, list[Placement]] = {}
    for index, claim in enumerate(compiled.snapshot.claims):
        for placement in claim.placements:
            if placement.window.end <= compiled.horizon.first and not is_over(placement, compiled.slot):
                out.setdefault(index, []).append(placement)
    cost, paid = charges(compiled.problem, plan, _committed_prices(compiled))
    for row, request in enumerate(compiled.requests):
        if plan.option[row] >= 0:
            placement = _placement(compiled, request, int(plan.option[row]), int(plan.start[row]))
            if placement is not request.placement and placement is not request.ends:
                placement = replace(placement, cost_microusd=int(cost[row]), paid_microusd=int(paid[row]))
            out.setdefault(request.claim, []).append(placement)
    return out


def _placement(compiled: Compiled, request: Request, option: int, start: int) -> Placement:
    chosen = request.options[option]
    first = compiled.horizon.first + start
    held = request.placement
    if request.ends is not None and option > 0:
        return request.ends
    if held is not None and (
        (request.stays and option == 0)
        or (held.pool, held.devices, held.window) == (chosen.pool, chosen.devices, Window(first, first + chosen.slots))
    ):
        return held
    assert chosen.latest is not None
    window = Window(first, first + chosen.slots)
    return Placement(chosen.pool, chosen.devices, window, chosen.latest, request.part, chosen.silicon)


def _committed_prices(compiled: Compiled) -> Ints:
    fleet = compiled.snapshot.fleet
    contracts = [fleet.contract_of(pool.id) for pool in fleet.pools]
    return np.array([contract.committed_price_microusd if contract else 0 for contract in contracts], np.int64)


def _lacking(compiled: Compiled, plan: Plan, because: Mapping[int, Because]) -> dict[int, tuple[Because, ...]]:
    """Why parts of claims are not served, by claim; a lost placement first, then one entry per reason."""
    found: dict[int, list[Because]] = {index: [why] for index, why in compiled.barred.items()}
    for index, claim in enumerate(compiled.snapshot.claims):
        if any(p.left_ppm and not is_over(p, compiled.slot) for p in claim.placements):
            found.setdefault(index, []).extend(why for why in claim.because if why.reason is Reason.PREEMPTED)
    for row, request in enumerate(compiled.requests):
        if request.ends is not None and plan.option[row] > 0:
            found.setdefault(request.claim, []).append(preempted(compiled, plan, row))
        if plan.option[row] < 0:
            why = because[row]
            if request.placement is not None and request.short:
                why = _left_out(request.placement.pool, request.lost)
            found.setdefault(request.claim, []).append(why)
    return {index: _distinct(whys) for index, whys in found.items()}


def _notices(compiled: Compiled, plan: Plan, defragmented: Collection[int]) -> dict[int, tuple[Because, ...]]:
    """What is told to claims that lost a place and have another, or were moved to keep domains whole, by claim."""
    found: dict[int, list[Because]] = {}
    for row, request in enumerate(compiled.requests):
        held = request.placement
        if held is None or not (request.short or row in defragmented) or plan.option[row] < 0:
            continue
        new = _placement(compiled, request, int(plan.option[row]), int(plan.start[row]))
        if new is not held:
            found.setdefault(request.claim, []).append(_moved(held, new, request))
    return {index: tuple(whys) for index, whys in found.items()}


def _moved(held: Placement, new: Placement, request: Request) -> Because:
    """Why a part is elsewhere: its pool lost devices, it made room for who lost theirs, or domains stay whole so."""
    facts = {"new_pool": f"pools/{new.pool}", "new_start_unix_seconds": str(new.window.first * SLOT_SECONDS)}
    if request.short:
        why = _left_out(held.pool, request.lost)
        message = f"{why.message.removesuffix('.')}; it has another place in {new.pool}."
        return replace(why, message=message, facts={**why.facts, **facts})
    message = f"It was moved so that whole domains stay free in {held.pool}, to where it is worth as much."
    start = str(held.window.first * SLOT_SECONDS)
    return Because(Reason.DEFRAGMENTED, message, {"pool": f"pools/{held.pool}", "start_unix_seconds": start} | facts)


def _left_out(pool: str, lost: Window | None) -> Because:
    """Why a part has no place any more: its pool lost devices, or others who lost theirs need it."""
    if lost is None:
        message = f"It made room in {pool} for guaranteed work that lost its pool."
        return Because(Reason.SUPPLY_LOST, message, {"pool": f"pools/{pool}"})
    return Because(Reason.SUPPLY_LOST, f"Pool {pool} lost devices that it was placed on.", _lost_facts(pool, lost))


def _lost_facts(pool: str, lost: Window) -> dict[str, str]:
    return {
        "pool": f"pools/{pool}",
        "from_unix_seconds": str(lost.first * SLOT_SECONDS),
        "until_unix_seconds": str(lost.end * SLOT_SECONDS),
    }


def _noticed(state: State | None, claim: Claim, notices: tuple[Because, ...]) -> State | None:
    """The state with what its claim is told of places that it lost; it is told as long as it stays where it went."""
    if not isinstance(state, Planned | Committed | Active):
        return state
    if any(why.reason is Reason.SUPPLY_LOST for why in state.because):
        return state  # another part has no place at all
    if state.placements == claim.placements:
        notices = tuple(why for why in claim.because if "new_pool" in why.facts)
    return replace(state, because=(*notices[:1], *state.because))


def _distinct(whys: Sequence[Because]) -> tuple[Because, ...]:
    by_reason = {why.reason: why for why in reversed(whys)}
    return tuple(sorted(by_reason.values(), key=lambda why: why.reason is not Reason.SUPPLY_LOST))


def _state(
    claim: Claim,
    held: tuple[Placement, ...],
    lacking: tuple[Because, ...],
    compiled: Compiled,
    index: int,
    freeze_slots: int,
    at: int,
) -> State | None:
    """The claim's next state; None when nothing is known that changes it."""
    now = compiled.horizon.first
    lost = any(not is_over(placement, compiled.slot) for placement in claim.placements)
    if isinstance(claim.state, Held):
        # Only its caller makes more of a hold; it ends with the supply under it.
        return None if held == claim.placements else Expired(lacking or SUPPLY_MOVED)
    if held:
        if all(p.window.end <= slot_of(at) for p in held) and (not lacking or index in compiled.over):
            return Ended(held)
        return _placed(claim, held, lacking, slot=compiled.slot, freeze=now + freeze_slots)
    if index in compiled.over:
        return Expired(lacking)
    if lost or isinstance(claim.state, Displaced):
        return Displaced(lacking or claim.because)
    return Waiting(lacking) if lacking else None


def _placed(
    claim: Claim, held: tuple[Placement, ...], lacking: tuple[Because, ...], *, slot: int, freeze: int
) -> State:
    """Still active where nothing that is in use was lost."""
    in_use = {(p.part, p.window.first) for p in claim.placements if not is_over(p, slot)}
    kept = {(p.part, p.window.first) for p in held if p in claim.placements or p.left_ppm}
    if isinstance(claim.state, Active) and in_use and in_use <= kept:
        return Active(held, lacking)
    firm = isinstance(claim.state, Committed) and in_use <= kept
    return promised(held, lacking, firm=firm and bool(in_use), freeze=freeze)


def _because(state: State) -> tuple[Because, ...]:
    match state:
        case Waiting(because) | Displaced(because) | Expired(because):
            return because
        case _:
            return ()


def _same(new: State, old: State) -> bool:
    """Whether a caller would see the same: same state, same placements, same reasons (their numbers may age)."""
    if type(new) is not type(old):
        return False
    match new, old:
        case (Planned(p, b), Planned(q, c)) | (Committed(p, b), Committed(q, c)) | (Active(p, b), Active(q, c)):
            return p == q and [why.reason for why in b] == [why.reason for why in c]
        case (Waiting(b), Waiting(c)) | (Displaced(b), Displaced(c)):
            return [why.reason for why in b] == [why.reason for why in c]
        case _:
            return False
