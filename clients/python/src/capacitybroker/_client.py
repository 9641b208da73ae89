"""The one object that callers hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from capacitybroker._connection import OwnConnection
from capacitybroker._leases import LeaseCalls
from capacitybroker._listing import Listing, Page
from capacitybroker._names import claim_name, parent
from capacitybroker._silence import Stream
from capacitybroker._times import duration, timestamp
from capacitybroker._watch import Watch
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_service_pb2 as fleets
from capacitybroker.v1 import planning_service_pb2 as planning
from capacitybroker.v1.claim_pb2 import Claim, Placement, Tier
from capacitybroker.v1.expected_pb2 import Calibration
from capacitybroker.v1.fleet_pb2 import Fleet
from capacitybroker.v1.plan_pb2 import Plan
from capacitybroker.v1.planning_service_pb2 import StressTestResponse
from capacitybroker.v1.supply_pb2 import Drain, Growth, LateDelivery, Outage, Recovery

__all__ = ["Client"]

PLAN_SECONDS_MAX = 660.0  # the longest planning run the API allows, and a minute to commit it

SupplyChange = Outage | Recovery | Drain | LateDelivery | Growth


class Client(LeaseCalls):
    """A connection to the broker; one may serve many threads, and lives until it is closed.

    Each call takes at most ``timeout`` seconds, its retries included. A call that finds no broker is repeated with
    exponential backoff, for that long at most; a mutation carries the same request id every time, so it happens once.
    Of a busy broker it has only as many calls under way as are answered without a queue; the rest wait here.
    Refusals are raised as `BrokerError`. ``tenant`` completes short names of claims and is the default of methods that
    take one. Where ids, time, sleep and chance come from can be given, for tests.
    """

    # Claims

    def create_claim(
        self,
        claim: Claim,
        *,
        tenant: str | None = None,
        claim_id: str = "",
        placements: Iterable[Placement] = (),
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Claim:
        """Ask for capacity; the answer is the stored claim, granted at once or waiting, and its expected start.

        With the ``placements`` of an offer for exactly this claim it is granted as offered, or refused: OFFER_GONE.
        """
        request = capacity.CreateClaimRequest(
            parent=self._owner(tenant),
            claim=claim,
            claim_id=claim_id,
            placements=placements,
            request_id=request_id or self._new_id(),
        )
        answer = self._ask(self._capacity.CreateClaim, request, timeout)
        if answer.HasField("expected_start"):
            answer.claim.expected_start.CopyFrom(answer.expected_start)
        return answer.claim

    def quote_claim(
        self,
        claim: Claim,
        *,
        tenant: str | None = None,
        hold_for: float | None = None,
        claim_id: str = "",
        max_offers: int = 0,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> capacity.QuoteClaimResponse:
        """What a claim could have now, and could have instead; ``hold_for`` seconds the best offer is kept aside."""
        holding = hold_for is not None
        request = capacity.QuoteClaimRequest(
            parent=self._owner(tenant),
            claim=claim,
            hold_for=None if hold_for is None else duration(seconds=hold_for),
            claim_id=claim_id,
            max_offers=max_offers,
            request_id=request_id or (self._new_id() if holding else ""),
        )
        return self._ask(self._capacity.QuoteClaim, request, timeout)

    def redeem_quote(
        self, name: str, *, etag: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> capacity.RedeemQuoteResponse:
        """Make a claim of what a quote holds; once it has lapsed the answer has no claim, but fresh offers."""
        request = capacity.RedeemQuoteRequest(
            name=claim_name(name, self.tenant), etag=etag, request_id=request_id or self._new_id()
        )
        return self._ask(self._capacity.RedeemQuote, request, timeout)

    def explain_claim(self, name: str, *, timeout: float | None = None) -> capacity.ExplainClaimResponse:
        """Why a claim waits, who holds what it needs, and the smallest change that would let it in."""
        request = capacity.ExplainClaimRequest(name=claim_name(name, self.tenant))
        return self._ask(self._capacity.ExplainClaim, request, timeout)

    def get_claim(self, name: str, *, timeout: float | None = None) -> Claim:
        """The claim as it is now."""
        request = capacity.GetClaimRequest(name=claim_name(name, self.tenant))
        return self._ask(self._capacity.GetClaim, request, timeout).claim

    def list_claims(
        self,
        *,
        tenant: str | None = None,
        states: Iterable[Claim.State.ValueType] = (),
        workload_class: str = "",
        tiers: Iterable[Tier.ValueType] = (),
        labels: Mapping[str, str] = MappingProxyType({}),
        page_size: int = 500,
        timeout: float | None = None,
    ) -> Listing[Claim]:
        """Claims in order of name: of ``tenant``, else of the client's, else of all; ``tenant="-"`` is all of them."""
        request = capacity.ListClaimsRequest(
            parent=parent(tenant or self.tenant),
            states=list(states),
            workload_class=workload_class,
            tiers=list(tiers),
            labels=dict(labels),
            page_size=page_size,
        )

        def page(token: str) -> Page[Claim]:
            request.page_token = token
            found = self._ask(self._capacity.ListClaims, request, timeout)
            return list(found.claims), found.next_page_token, found.revision

        return Listing(page)

    def update_claim(
        self, claim: Claim, fields: Iterable[str], *, request_id: str | None = None, timeout: float | None = None
    ) -> Claim:
        """Change the named ``fields`` of a live claim; its ``etag``, when set, must still be the present one."""
        request = capacity.UpdateClaimRequest(
            claim=claim, update_mask=FieldMask(paths=list(fields)), request_id=request_id or self._new_id()
        )
        return self._ask(self._capacity.UpdateClaim, request, timeout).claim

    def cancel_claim(
        self, name: str, *, etag: str = "", request_id: str | None = None, timeout: float | None = None
    ) -> Claim:
        """Withdraw a live claim; what it held from now on is free at once."""
        request = capacity.CancelClaimRequest(
            name=claim_name(name, self.tenant), etag=etag, request_id=request_id or self._new_id()
        )
        return self._ask(self._capacity.CancelClaim, request, timeout).claim

    def watch_claims(
        self,
        *,
        tenant: str | None = None,
        claims: Iterable[str] = (),
        states: Iterable[Claim.State.ValueType] = (),
        start_revision: int = 0,
        progress: bool = False,
        give_up_seconds: float = 60.0,
        silence_seconds: float = 20.0,
    ) -> Watch:
        """Changes from a revision on (0: from this call on), across lost connections; ``progress``: empty ones too.

        Tenants as in `list_claims`. To start from what there is: list, then watch from the listing's revision + 1. The
        broker gives a sign of life every five seconds; after ``silence_seconds`` without one the watch connects anew.
        Only ``claims`` of these names, and only while they are in one of ``states``: leaving them is told too.
        """
        name, names, among = parent(tenant or self.tenant), [claim_name(c, self.tenant) for c in claims], list(states)
        if start_revision == 0:
            # A server's "from now" would mean another now after a lost connection.
            request = capacity.ListClaimsRequest(parent=name, page_size=1)
            start_revision = self._ask(self._capacity.ListClaims, request, None).revision + 1

        def open_stream(revision: int) -> Stream:
            wanted = capacity.WatchClaimsRequest(parent=name, start_revision=revision, claims=names, states=among)
            return OwnConnection(self.address, wanted)

        watch = Watch(
            open_stream,
            self._patience,
            start_revision=start_revision,
            progress=progress,
            give_up_seconds=give_up_seconds,
            silence_seconds=silence_seconds,
        )
        self._watches.add(watch)
        return watch

    # Fleet

    def apply_fleet(
        self,
        fleet: Fleet,
        *,
        etag: str = "",
        validate_only: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> fleets.ApplyFleetResponse:
        """Make the fleet as declared; with ``validate_only`` only say what would change and who would lose.

        ``etag`` of `read_fleet`: refused once another fleet is in force.
        """
        request = fleets.ApplyFleetRequest(
            fleet=fleet, etag=etag, validate_only=validate_only, request_id=request_id or self._new_id()
        )
        return self._ask(self._fleet.ApplyFleet, request, timeout)

    def change_supply(
        self,
        pool: str,
        change: SupplyChange,
        *,
        etag: str = "",
        validate_only: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> fleets.ChangeSupplyResponse:
        """Change what one pool has; with ``validate_only`` only say what would change and who would be touched."""
        request = fleets.ChangeSupplyRequest(
            name=f"pools/{pool.removeprefix('pools/')}",
            etag=etag,
            validate_only=validate_only,
            request_id=request_id or self._new_id(),
            outage=change if isinstance(change, Outage) else None,
            recovery=change if isinstance(change, Recovery) else None,
            drain=change if isinstance(change, Drain) else None,
            late_delivery=change if isinstance(change, LateDelivery) else None,
            growth=change if isinstance(change, Growth) else None,
        )
        return self._ask(self._fleet.ChangeSupply, request, timeout)

    def get_fleet(self, *, timeout: float | None = None) -> Fleet:
        """The fleet in force: what may be asked for, and by whom; empty before the first one."""
        return self.read_fleet(timeout=timeout).fleet

    def read_fleet(self, *, timeout: float | None = None) -> fleets.GetFleetResponse:
        """The fleet in force, and the etag that names it."""
        return self._ask(self._fleet.GetFleet, fleets.GetFleetRequest(), timeout)

    def get_pool(
        self, name: str, *, start: datetime | None = None, end: datetime | None = None, timeout: float | None = None
    ) -> fleets.PoolStatus:
        """A pool (``dc-a`` or ``pools/dc-a``) and its use from ``start`` (now) to ``end`` (seven days on)."""
        request = fleets.GetPoolRequest(
            name=f"pools/{name.removeprefix('pools/')}", start_time=_moment(start), end_time=_moment(end)
        )
        return self._ask(self._fleet.GetPool, request, timeout).pool

    def get_pool_layout(
        self, name: str, *, start: datetime | None = None, end: datetime | None = None, timeout: float | None = None
    ) -> fleets.GetPoolLayoutResponse:
        """Which domains of a pool claims are on, and would be on, from ``start`` (now) to ``end`` (seven days on)."""
        request = fleets.GetPoolLayoutRequest(
            name=f"pools/{name.removeprefix('pools/')}", start_time=_moment(start), end_time=_moment(end)
        )
        return self._ask(self._fleet.GetPoolLayout, request, timeout)

    def list_pools(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        page_size: int = 100,
        timeout: float | None = None,
    ) -> Listing[fleets.PoolStatus]:
        """All pools in order of id, with their use from ``start`` (now) to ``end`` (seven days on)."""
        request = fleets.ListPoolsRequest(page_size=page_size, start_time=_moment(start), end_time=_moment(end))

        def page(token: str) -> Page[fleets.PoolStatus]:
            request.page_token = token
            found = self._ask(self._fleet.ListPools, request, timeout)
            return list(found.pools), found.next_page_token, 0

        return Listing(page)

    def list_tenants(
        self, *, start: datetime | None = None, end: datetime | None = None, timeout: float | None = None
    ) -> list[fleets.TenantStatus]:
        """All tenants in order of id: what they hold of their quotas and on loan from ``start`` to ``end``."""
        request = fleets.ListTenantsRequest(start_time=_moment(start), end_time=_moment(end))
        return list(self._ask(self._fleet.ListTenants, request, timeout).tenants)

    # Plans

    def run_plan(
        self, *, time_limit: timedelta | None = None, request_id: str | None = None, timeout: float | None = None
    ) -> Plan:
        """Plan everything known now, and answer when the plan is in force; waits as long as the API allows a plan."""
        limit = None
        if time_limit is not None:
            limit = Duration()
            limit.FromTimedelta(time_limit)
        request = planning.RunPlanRequest(request_id=request_id or self._new_id(), time_limit=limit)
        seconds = PLAN_SECONDS_MAX if timeout is None else timeout
        return self._ask(self._planning.RunPlan, request, seconds, long=True).plan

    def get_plan(self, name: str = "latest", *, timeout: float | None = None) -> Plan:
        """A plan by its name (``plans/7`` or ``7``); the latest by default."""
        request = planning.GetPlanRequest(name=f"plans/{name.removeprefix('plans/')}")
        return self._ask(self._planning.GetPlan, request, timeout).plan

    def get_calibration(self, *, timeout: float | None = None) -> list[Calibration]:
        """How expected starts fared, one entry for each kind of estimate."""
        request = planning.GetCalibrationRequest()
        return list(self._ask(self._planning.GetCalibration, request, timeout).calibrations)

    def stress_test(
        self, *, window: timedelta | None = None, pools: Iterable[str] = (), timeout: float | None = None
    ) -> StressTestResponse:
        """What would happen if each pool (or of these, by id) were lost from now on; ``None``: for a day."""
        request = planning.StressTestRequest(pools=[f"pools/{pool}" for pool in pools])
        if window is not None:
            request.window.FromTimedelta(window)
        return self._ask(self._planning.StressTest, request, timeout, long=True)


def _moment(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else timestamp(moment)
