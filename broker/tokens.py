"""What the holder of a lease shows: the lease's fence, and a digest that only the market's servers can compute.

Any server can tell a genuine token without asking the store, which keeps no secret beside the key.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from broker.domain.claim import ClaimName

__all__ = ["fence_of", "token"]

DIGEST_HEX = 32  # 128 bits
FENCE_DIGITS = 18
KNOWN_MAX = 131_072  # genuine tokens that are remembered: whoever renews comes again and again


class _Forged(Exception):
    """No server made it."""


def token(key: bytes, name: ClaimName, fence: int) -> str:
    """What the holder of the claim's lease with that fence sends; it says nothing to whoever has not the ``key``."""
    digest = hmac.digest(key, f"lease {name.key} {fence}".encode(), "sha256")
    return f"{fence}.{digest.hex()[:DIGEST_HEX]}"


def fence_of(key: bytes, name: ClaimName, shown: str) -> int | None:
    """The fence of a token of that claim's lease, None when no server made it."""
    try:
        return _proven(key, name, shown)
    except _Forged:
        return None


@lru_cache(maxsize=KNOWN_MAX)  # does not remember what raises, so that forgeries push nobody out
def _proven(key: bytes, name: ClaimName, shown: str) -> int:
    digits = shown.partition(".")[0]
    fence = int(digits) if digits.isdecimal() and len(digits) <= FENCE_DIGITS else 0
    if not fence or not hmac.compare_digest(shown.encode(), token(key, name, fence).encode()):
        raise _Forged
    return fence
