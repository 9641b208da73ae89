"""What mutations and lists share: replay keys and page tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message

from broker.domain.faults import Fault, FaultReason
from broker.ledger.port import RequestKey
from broker.transport.names import request_id

__all__ = ["page_size", "page_token", "read_page_token", "replay_key"]

PAGE_DEFAULT, PAGE_MAX = 100, 1_000
OPERATORS = "-"

Request = TypeVar("Request", bound=Message)


def replay_key(request: Message, tenant: str | None) -> RequestKey:
    """Identity of a mutation: who, which method, its request_id, and a digest of the rest of its body.

    The digest does not depend on the order of map entries. ``tenant`` None: an operator's call.
    """
    given = request_id(getattr(request, "request_id"))  # noqa: B009 - messages share no base that declares it
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    digest = hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()
    return RequestKey(tenant or OPERATORS, request.DESCRIPTOR.name.removesuffix("Request"), given, digest)


def page_size(asked: int) -> int:
    """Entries of a page: 100 unless asked, at most 1000."""
    if asked < 0:
        raise Fault(
            FaultReason.PAGE_SIZE, "page_size is negative", remedy="Leave it out or send 1 to 1000.", field="page_size"
        )
    return min(asked or PAGE_DEFAULT, PAGE_MAX)


def page_token(after: str, filters: Iterable[str]) -> str:
    """Where the next page of a list with these filters begins."""
    return base64.urlsafe_b64encode(f"{_digest(filters)}{after}".encode()).decode()


def read_page_token(token: str, filters: Iterable[str]) -> str:
    """Where the page begins; empty for the first. A token of another list is refused."""
    if not token:
        return ""
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeError, ValueError):
        text = ""
    expected = _digest(filters)
    if not text.startswith(expected):
        raise Fault(
            FaultReason.PAGE_TOKEN,
            "The page token is not of this list",
            remedy="Send the token with the same fields as the page before, or start again without one.",
            field="page_token",
        )
    return text.removeprefix(expected)


def _digest(filters: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(filters).encode()).hexdigest()[:16]
