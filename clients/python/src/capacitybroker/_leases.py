"""Leases: take the right to use what was granted, keep it, give it back."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration

from capacitybroker._caller import Caller
from capacitybroker._holding import Holding
from capacitybroker._names import claim_name, lease_name
from capacitybroker._times import duration
from capacitybroker.v1 import lease_service_pb2 as leases
from capacitybroker.v1.claim_pb2 import Claim

__all__ = ["LeaseCalls"]


class LeaseCalls(Caller):
    """What a holder calls."""

    def acquire_lease(
        self, claim: str, *, ttl: float | None = None, request_id: str | None = None, timeout: float | None = None
    ) -> leases.Lease:
        """The lease of a claim whose time has come, with its token; whoever had it before has it no longer.

        It lasts for ``ttl`` seconds from each renewal (a minute unless said otherwise); `hold_lease` sees to that.
        """
        request = leases.AcquireLeaseRequest(
            claim=claim_name(claim, self.tenant), ttl=_span(ttl), request_id=request_id or self._new_id()
        )
        return self._ask(self._leases.AcquireLease, request, timeout).lease

    def hold_lease(self, claim: str, *, ttl: float | None = None, timeout: float | None = None) -> Holding:
        """Acquire a lease and keep it in the background; as a context manager it is released at the end."""
        monotonic = self._patience.time.monotonic
        sent = monotonic()
        return Holding(
            self.acquire_lease(claim, ttl=ttl, timeout=timeout),
            sent,
            renew=lambda lease, left: self.renew_lease(lease.name, lease.token, timeout=min(left, self._timeout)),
            release=lambda lease: self.release_lease(lease.name, lease.token),
            monotonic=monotonic,
            rng=self._patience.time.rng,
        )

    def get_lease(self, claim: str, *, timeout: float | None = None) -> leases.Lease:
        """The lease of a claim, without its token."""
        request = leases.GetLeaseRequest(name=lease_name(claim, self.tenant))
        return self._ask(self._leases.GetLease, request, timeout).lease

    def renew_lease(
        self, claim: str, token: str, *, ttl: float | None = None, timeout: float | None = None
    ) -> leases.Lease:
        """The lease, which lasts for ``ttl`` seconds from now (unless said: as before)."""
        renewal = leases.LeaseRenewal(name=lease_name(claim, self.tenant), token=token, ttl=_span(ttl))
        request = leases.RenewLeaseRequest(renewal=renewal)
        return self._ask(self._leases.RenewLease, request, timeout, urgent=True).lease

    def renew_leases(
        self, renewals: Iterable[leases.LeaseRenewal], *, timeout: float | None = None
    ) -> list[leases.LeaseOutcome]:
        """What became of each of up to 1000 leases, in the same order."""
        request = leases.RenewLeasesRequest(renewals=renewals)
        return list(self._ask(self._leases.RenewLeases, request, timeout, urgent=True).outcomes)

    def release_lease(
        self, claim: str, token: str, *, request_id: str | None = None, timeout: float | None = None
    ) -> Claim:
        """Give a lease back; the claim ends, and what is left of it is free at once."""
        request = leases.ReleaseLeaseRequest(
            name=lease_name(claim, self.tenant), token=token, request_id=request_id or self._new_id()
        )
        return self._ask(self._leases.ReleaseLease, request, timeout, urgent=True).claim


def _span(seconds: float | None) -> Duration | None:
    return None if seconds is None else duration(seconds=seconds)
