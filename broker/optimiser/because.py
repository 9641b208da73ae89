"""The causes that the optimiser finds, as reasons that a caller understands."""

from __future__ import annotations

from broker.domain.reason import ALONE, LENT, Because, Reason
from broker.domain.slots import SLOT_SECONDS
from broker.optimiser.compile import Compiled
from broker.optimiser.reasons import Cause, Unplaced, explain
from broker.optimiser.report import Solved
from broker.optimiser.spare import claim_of

__all__ = ["because"]

REASONS = {
    Cause.NO_OPTION: Reason.NO_ELIGIBLE_POOL,
    Cause.NEVER_FITS: Reason.EXCEEDS_CAPACITY,
    Cause.COST_EXCEEDS_VALUE: Reason.COST_EXCEEDS_VALUE,
    Cause.QUOTA: Reason.QUOTA_REACHED,
    Cause.RESERVE: Reason.RESERVED,
    Cause.NO_CONTIGUOUS_ROOM: Reason.NO_CONTIGUOUS_ROOM,
    Cause.OUTBID: Reason.OUTBID,
}

SENTENCES = {
    Cause.NO_OPTION: "No pool has silicon and domains that the claim accepts.",
    Cause.NEVER_FITS: "No pool, were it empty, has that many devices for that long within the window.",
    Cause.COST_EXCEEDS_VALUE: "Running it costs more than it is worth, even in {pool}.",
    Cause.QUOTA: "The tenant's other claims use its quota at every start that has room.",
    Cause.RESERVE: "The room that is left is kept for guaranteed work, should a pool be lost.",
    Cause.NO_CONTIGUOUS_ROOM: "No start has {devices:,} devices free for the whole time; at best {free:,} in {pool}.",
    Cause.OUTBID: "Others make more of the capacity: in {pool} it is worth more than this claim offers.",
}


def because(compiled: Compiled, solved: Solved) -> dict[int, Because]:
    """For each row of the problem that the plan does not serve: why, with the numbers at its best start."""
    return {
        unplaced.request: Because(REASONS[unplaced.cause], _sentence(compiled, unplaced), _facts(compiled, unplaced))
        for unplaced in explain(compiled.problem, solved.plan, solved.prices)
    }


def _sentence(compiled: Compiled, unplaced: Unplaced) -> str:
    if unplaced.cause is Cause.QUOTA and claim_of(compiled, unplaced.request).ask.on_loan:
        return LENT
    if unplaced.cause is Cause.QUOTA and unplaced.start < 0:
        return ALONE
    pool = compiled.problem.pools.ids[unplaced.pool] if unplaced.pool >= 0 else ""
    return SENTENCES[unplaced.cause].format(pool=pool, devices=unplaced.devices, free=unplaced.free)


def _facts(compiled: Compiled, unplaced: Unplaced) -> dict[str, str]:
    if unplaced.pool < 0:
        return {}
    start = compiled.horizon.first + unplaced.start
    return {
        "pool": f"pools/{compiled.problem.pools.ids[unplaced.pool]}",
        "start_unix_seconds": str(start * SLOT_SECONDS),
        "needed_devices": str(unplaced.devices),
        "free_devices": str(unplaced.free),
        "value_microusd": str(unplaced.value),
        "price_microusd": str(round(unplaced.price)),
    }
