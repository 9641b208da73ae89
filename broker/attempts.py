"""Deciding again: what a repeated request is answered, and what is done when the market changes under a decision."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from broker.domain.faults import Fault, FaultReason
from broker.ledger.port import RequestKey
from broker.ledger.refusals import etag_mismatch

__all__ = ["once", "settled"]

ATTEMPTS = 8

Answer = TypeVar("Answer")


async def once(
    recall: Callable[[RequestKey], Awaitable[Answer | None]],
    key: RequestKey,
    decide: Callable[[], Awaitable[Answer]],
) -> Answer:
    """What ``decide`` does, or did the first time: a repeated request is not judged by today's state."""
    try:
        return await decide()
    except Fault:
        first = await recall(key)
        if first is None:
            raise
        return first


async def settled(
    decide: Callable[[], Awaitable[Answer]], etag: str = "", *, over: FaultReason = FaultReason.CONTENDED
) -> Answer:
    """Decide again while others change the market in between, which ``over`` says; the last attempt's fault is raised.

    With an etag the caller wants to know of the first change. Faults: ETAG_MISMATCH.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await decide()
        except Fault as fault:
            if fault.reason is not over:
                raise
            if etag:
                raise etag_mismatch() from None
    return await decide()
