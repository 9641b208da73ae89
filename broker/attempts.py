"""Deciding again: what a repeated request is answered, and what is done when the market changes under a decision."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from broker.domain.faults import Fault, FaultReason
from broker.ledger.port import Ledger, Receipt, RequestKey
from broker.ledger.refusals import etag_mismatch

__all__ = ["once", "settled"]

ATTEMPTS = 8


async def once(ledger: Ledger, key: RequestKey, decide: Callable[[], Awaitable[Receipt]]) -> Receipt:
    """What ``decide`` does, or did the first time: a repeated request is not judged by today's state."""
    try:
        return await decide()
    except Fault:
        first = await ledger.recall(key)
        if first is None:
            raise
        return first


async def settled(decide: Callable[[], Awaitable[Receipt]], etag: str = "") -> Receipt:
    """Decide again while the planner changes the claim in between; with an etag the caller wants to know."""
    for _ in range(ATTEMPTS):
        try:
            return await decide()
        except Fault as fault:
            if fault.reason is not FaultReason.CONTENDED:
                raise
            if etag:
                raise etag_mismatch() from None
    raise Fault(FaultReason.CONTENDED, "The claim keeps changing", remedy="Send the same request again.")
