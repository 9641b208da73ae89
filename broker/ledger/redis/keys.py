"""Every key of a market. All carry one hash tag, so that a market lives in one slot of a cluster."""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import quote

__all__ = ["PERMANENT", "known_key", "log_key", "prefix", "replay_key"]

PERMANENT = (
    *("meta", "fleet", "limits", "granted", "accounts", "live", "closed", "names", "log", "plans", "prices"),
    *("leases", "lease_ends", "lease_ghosts"),
)

_MARKET = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@cache
def prefix(market: str) -> str:
    """What every key of ``market`` starts with; a ValueError when that is no name for a market."""
    if not _MARKET.fullmatch(market):
        raise ValueError(f"not a market name: {market!r}; use lower-case letters, digits and inner dashes, at most 63")
    return f"cb:{{{market}}}:"


def log_key(market: str) -> str:
    """The stream of events; the id of an entry is its revision and a zero."""
    return f"{prefix(market)}log"


def replay_key(market: str, scope: str, request_id: str) -> str:
    """The record of one mutation; it expires. Scopes are quoted, so that no two of them can meet."""
    return f"{prefix(market)}replay:{quote(scope, safe='')}:{request_id}"


def known_key(market: str, incarnation: str, revision: int) -> str:
    """No key of the store: it only tells a function what its caller knows."""
    return f"{prefix(market)}seen:{incarnation}:{revision}"
