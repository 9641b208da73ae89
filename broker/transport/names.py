"""Resource names and ids: one alphabet, refused before anything looks at them."""

from __future__ import annotations

import re
from functools import lru_cache

from broker.domain.claim import ClaimName
from broker.domain.faults import Fault, FaultReason

__all__ = ["claim_name", "lease_name", "plain_id", "plan_revision", "pool_id", "request_id", "tenant_id"]

ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
ID_MAX = 63
RESERVED = frozenset({"admin", "system"})
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def plain_id(text: str, field: str) -> str:
    """The id, if it is 1 to 63 of [a-z0-9-] and not reserved."""
    if len(text) > ID_MAX:
        raise Fault(
            FaultReason.NAME_TOO_LONG, f"An id has at most {ID_MAX} characters", remedy="Shorten it.", field=field
        )
    if not ID.fullmatch(text):
        raise _malformed("an id of 1 to 63 of [a-z0-9-] that starts and ends with a letter or digit", field)
    if text in RESERVED:
        raise Fault(FaultReason.NAME_RESERVED, f"'{text}' is reserved", remedy="Choose another id.", field=field)
    return text


def tenant_id(parent: str, field: str = "parent", *, wildcard: bool = False) -> str | None:
    """The tenant of ``tenants/{tenant}``; None for ``tenants/-`` where that is allowed."""
    collection, _, tenant = parent.partition("/")
    if collection != "tenants" or "/" in tenant:
        raise _malformed("tenants/{tenant}", field)
    if wildcard and tenant == "-":
        return None
    return plain_id(tenant, field)


def claim_name(name: str, field: str = "name") -> ClaimName:
    """``tenants/{tenant}/claims/{claim}`` as a value."""
    match name.split("/"):
        case ["tenants", tenant, "claims", claim]:
            return ClaimName(plain_id(tenant, field), plain_id(claim, field))
        case _:
            raise _malformed("tenants/{tenant}/claims/{claim}", field)


def claim_path(name: ClaimName) -> str:
    """``tenants/{tenant}/claims/{claim}``."""
    return f"tenants/{name.tenant}/claims/{name.id}"


@lru_cache(maxsize=131_072)  # whoever renews comes again and again; what is refused is not remembered
def lease_name(name: str, field: str = "name") -> ClaimName:
    """The claim of ``tenants/{tenant}/claims/{claim}/lease``."""
    match name.split("/"):
        case ["tenants", tenant, "claims", claim, "lease"]:
            return ClaimName(plain_id(tenant, field), plain_id(claim, field))
        case _:
            raise _malformed("tenants/{tenant}/claims/{claim}/lease", field)


def pool_id(name: str, field: str = "name") -> str:
    """The pool of ``pools/{pool}``."""
    collection, _, pool = name.partition("/")
    if collection != "pools":
        raise _malformed("pools/{pool}", field)
    return plain_id(pool, field)


def plan_revision(name: str) -> int | None:
    """The revision of ``plans/{revision}``; None for ``plans/latest``."""
    collection, _, plan = name.partition("/")
    if collection == "plans" and plan == "latest":
        return None
    if collection != "plans" or not (plan.isascii() and plan.isdigit()) or len(plan) > 18:
        raise _malformed("plans/{revision} or plans/latest", "name")
    return int(plan)


def request_id(text: str) -> str:
    """The id of a mutation, if there is one and it is well formed."""
    if not text:
        raise Fault(
            FaultReason.REQUEST_ID_REQUIRED,
            "Every mutation needs a request_id",
            remedy="Make one per intent, such as a UUID, and keep it for retries.",
            field="request_id",
        )
    if not REQUEST_ID.fullmatch(text):
        raise Fault(
            FaultReason.REQUEST_ID_MALFORMED,
            "A request_id is 1 to 64 of [A-Za-z0-9._:-]",
            remedy="A UUID will do.",
            field="request_id",
        )
    return text


def _malformed(expected: str, field: str) -> Fault:
    return Fault(FaultReason.NAME_MALFORMED, f"Expected {expected}", remedy="Correct the name.", field=field)
