"""Short names of claims and of their leases, made whole."""

from __future__ import annotations

__all__ = ["claim_name", "lease_name", "parent"]

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


def lease_name(claim: str, tenant: str | None) -> str:
    """The lease of a claim, which is named as in `claim_name`; a lease's own name is one already."""
    return claim if claim.endswith("/lease") else f"{claim_name(claim, tenant)}/lease"


def parent(tenant: str | None) -> str:
    """The resource name of a tenant; of all tenants when none is given."""
    return f"tenants/{tenant or EVERYONE}"
