"""Short names of claims, made whole."""

from __future__ import annotations

__all__ = ["claim_name", "parent"]

EVERYONE = "-"


def claim_name(name: str, tenant: str | None) -> str:
    """``c`` of the tenant, ``t/c`` and ``tenants/t/claims/c`` as the last; ``ValueError`` when no tenant is known."""
    if name.startswith("tenants/"):
        return name
    owner, _, short = name.rpartition("/")
    owner = owner or tenant or ""
    if not owner:
        raise ValueError(f"whose claim is {name!r}? Say tenant/{name}, or give the client a tenant")
    return f"tenants/{owner}/claims/{short}"


def parent(tenant: str | None) -> str:
    """The resource name of a tenant; of all tenants when none is given."""
    return f"tenants/{tenant or EVERYONE}"
