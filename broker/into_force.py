"""A plan comes into force: whole where it still fits, and without its moves where others took the room for these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Claim
from broker.domain.faults import Fault, FaultReason
from broker.domain.plan import PlanRecord
from broker.ledger.port import Commit, Fence, Ledger
from broker.optimiser.outcome import Outcome

__all__ = ["put_into_force"]


async def put_into_force(
    ledger: Ledger,
    decided: Outcome,
    record: PlanRecord,
    *,
    beside: Sequence[Claim] = (),
    claims_max: int,
    fence: Fence,
    at: int,
    prices: BidPrices | None,
) -> Commit:
    """Commit what was decided, about ``claims_max`` changes of it, and what changes ``beside``; all else is skipped.

    Answers at once may have taken room that others were to move into, while the plan was made. Who was to move then
    stays, until the next plan, and who is new is served: on a market that never rests no plan would ever fit whole.
    Faults: as of `Ledger.commit`, OVERCOMMIT when not even that fits.
    """
    changed, moving = decided.changed, decided.together
    taken = changed[: max(moving, claims_max)]
    try:
        done = await ledger.commit((*taken, *beside), record, fence=fence, at=at, prices=prices)
    except Fault as fault:
        if fault.reason is not FaultReason.OVERCOMMIT or not 0 < moving < len(changed):
            raise
        taken = changed[moving : moving + claims_max]
        done = await ledger.commit((*taken, *beside), replace(record, moved=0), fence=fence, at=at, prices=prices)
    names = {claim.name for claim in taken}
    later = tuple(claim.name for claim in changed if claim.name not in names)
    return Commit(done.revision, (*done.skipped, *later))
