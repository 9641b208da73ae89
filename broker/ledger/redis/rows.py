"""The forms in which the server-side functions take and keep claims, holds and limits."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Claim, Hold
from broker.domain.plan import PlanRecord
from broker.domain.slots import Steps
from broker.ledger.codec import decode_claim, decode_plan, decode_prices
from broker.ledger.codec.text import write

__all__ = ["devices", "holds_text", "limit_text", "stored_claim", "stored_plan", "stored_prices"]


def holds_text(holds: Iterable[Hold]) -> str:
    """``[account, first, end, devices, ...]``, in an order that does not depend on the claim's."""
    entries = [x for h in sorted(holds) for x in (h.account, h.window.first, h.window.end, h.devices)]
    return write(entries)


def limit_text(limit: Steps) -> str:
    """``[slot, level, ...]``."""
    return write([x for step in limit.steps for x in step])


def stored_claim(stored: bytes) -> Claim:
    """The claim of ``<revision>\\n<holds>\\n<body>``."""
    revision, _, body = stored.split(b"\n", 2)
    return decode_claim(body, revision=int(revision))


def stored_plan(stored: bytes) -> PlanRecord:
    """The plan of ``<revision>\\n<skipped>\\n<body>``."""
    revision, skipped, body = stored.split(b"\n", 2)
    return decode_plan(body, revision=int(revision), skipped=int(skipped))


def stored_prices(stored: bytes) -> BidPrices:
    """The bid prices of ``<revision>\\n<packed>``."""
    revision, _, packed = stored.partition(b"\n")
    return decode_prices(packed, revision=int(revision))


def devices(packed: bytes) -> tuple[int, ...]:
    """Little-endian int32, one for each slot."""
    return struct.unpack(f"<{len(packed) // 4}i", packed)
