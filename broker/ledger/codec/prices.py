"""Bid prices: a line of JSON that says what follows, then one little-endian int64 a slot, all of it compressed.

Thousands of slots for each pool would be a hundred kilobytes of text; most of them are 0.
"""

from __future__ import annotations

import json
import struct
import zlib

from broker.domain.bid_prices import BidPrices
from broker.ledger.codec.text import VERSION, checked

__all__ = ["packed", "unpacked"]

LEVEL = 1  # of compression: quick


def packed(prices: BidPrices) -> bytes:
    """The prices without their revision."""
    rows = [*prices.pools.values(), *prices.tenants.values()]
    head = {
        "v": VERSION,
        "first": prices.first,
        "pools": list(prices.pools),
        "tenants": list(prices.tenants),
        "slots": [len(row) for row in rows],
    }
    body = b"".join(struct.pack(f"<{len(row)}q", *row) for row in rows)
    return zlib.compress(json.dumps(head, separators=(",", ":")).encode() + b"\n" + body, LEVEL)


def unpacked(blob: bytes, revision: int) -> BidPrices:
    """The prices that were encoded, as the ledger put them into force."""
    text, _, body = _inflated(blob).partition(b"\n")
    head = checked(json.loads(text))
    rows, at = [], 0
    for slots in head["slots"]:
        rows.append(struct.unpack_from(f"<{slots}q", body, at))
        at += 8 * slots
    pools, tenants = head["pools"], head["tenants"]
    return BidPrices(
        head["first"],
        dict(zip(pools, rows[: len(pools)], strict=True)),
        dict(zip(tenants, rows[len(pools) :], strict=True)),
        revision,
    )


def _inflated(blob: bytes) -> bytes:
    try:
        return zlib.decompress(blob)
    except zlib.error as error:
        raise ValueError(str(error)) from error
