"""What mutations and lists share: replay keys and page tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from broker.domain.faults import Fault, FaultReason
from broker.ledger.port import RequestKey
from broker.transport.names import request_id

__all__ = ["PageTokens", "checked_etag", "page_size", "replay_key"]

PAGE_DEFAULT, PAGE_MAX = 100, 1_000
TOKEN_MAX = 1_024  # characters, several times what a name needs
SIGNATURE_BYTES = 32
OPERATORS = "-"

Scope = str | Sequence[str] | Sequence[int] | Sequence[tuple[str, str]]
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


def checked_etag(text: str) -> str:
    """The etag, empty or one that this server may have given out; Faults: ETAG_MALFORMED."""
    if text and not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise Fault(
            FaultReason.ETAG_MALFORMED,
            "That is no etag of this server",
            remedy="Send the etag as it was read, or leave it out.",
            field="etag",
        )
    return text


def page_size(asked: int) -> int:
    """Entries of a page: 100 unless asked, at most 1000."""
    if asked < 0:
        raise Fault(
            FaultReason.PAGE_SIZE, "page_size is negative", remedy="Leave it out or send 1 to 1000.", field="page_size"
        )
    return min(asked or PAGE_DEFAULT, PAGE_MAX)


@dataclass(frozen=True, slots=True)
class PageTokens:
    """Where the pages of one list begin, in words that only the market's servers can write.

    ``scope`` is all that a page depends on beside its place: kind of list, parent, filters. It is signed and not sent,
    so a token is good for exactly this list.
    """

    key: bytes
    scope: tuple[Scope, ...]

    def token(self, after: str) -> str:
        """For the page that begins behind ``after``."""
        return base64.urlsafe_b64encode(self._signature(after) + after.encode()).decode()

    def read(self, token: str) -> str:
        """Where the page begins; empty for the first. Faults: PAGE_TOKEN unless `token` wrote it for this list."""
        if not token:
            return ""
        try:
            raw = base64.urlsafe_b64decode(token.encode()) if len(token) <= TOKEN_MAX else b""
            after = raw[SIGNATURE_BYTES:].decode()
        except (binascii.Error, UnicodeError, ValueError):
            raw, after = b"", ""
        genuine = hmac.compare_digest(raw[:SIGNATURE_BYTES], self._signature(after))
        # Base64 has several texts for the same bytes; only one of them was given out.
        if not genuine or token != self.token(after):
            raise Fault(
                FaultReason.PAGE_TOKEN,
                "The page token is not of this list",
                remedy="Send the token with the same parent and filters as the page before, or start without one.",
                field="page_token",
            )
        return after

    def _signature(self, after: str) -> bytes:
        signed = json.dumps([self.scope, after], separators=(",", ":"))
        return hmac.digest(self.key, signed.encode(), "sha256")
