"""The front office for those who use what was granted: take a lease, keep it, give it back; and what lapses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from broker import failpoints
from broker.admission.outlook import Outlook
from broker.attempts import once, settled
from broker.domain.claim import Active, Claim, ClaimName, Committed, Ended, Held, Placement, Planned
from broker.domain.faults import Fault, FaultReason
from broker.domain.options import parts
from broker.domain.preemption import stopped
from broker.domain.reason import Because, Reason
from broker.domain.slots import SLOT_SECONDS, slot_of
from broker.ledger.port import LeaseRecord, Ledger, Receipt, Renewal, RequestKey
from broker.ledger.refusals import lease_ended
from broker.tokens import fence_of
from broker.tokens import token as token_of

__all__ = ["Lease", "LeaseTerms", "Leasing", "Renewed"]

EXPIRED = Because(Reason.LEASE_EXPIRED, "Its lease was not renewed in time.")
RELEASED = Because(Reason.LEASE_RELEASED, "Its holder gave its lease back.")
ENDINGS = {
    Reason.LEASE_EXPIRED: (FaultReason.LEASE_EXPIRED, "The lease was not renewed in time, and is over"),
    Reason.LEASE_RELEASED: (FaultReason.LEASE_RELEASED, "The lease was given back"),
}


class Market(Protocol):
    """What is known without asking the ledger; the feed keeps it warm."""

    @property
    def outlook(self) -> Outlook:
        """The market as of the newest event seen."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """On what terms leases are given, in milliseconds.

    A holder stops ``skew`` before the end as its own clock shows it; what was its is given away ``skew`` and ``grace``
    after the end. So no device has two users as long as clocks run apart by no more than ``skew`` within a ttl. A ttl
    is shorter than the least notice of those who give way, so whoever renews in time hears of it.
    """

    ttl: int = 60_000
    ttl_least: int = 5_000
    ttl_most: int = 3_500_000
    skew: int = 1_000
    grace: int = 1_000
    lapses_at_once: int = 50  # expiries between two looks at the clock, so that many do not come like one

    @property
    def margin(self) -> int:
        """How long after its end a lease is not yet given away."""
        return self.skew + self.grace


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim's lease as it is now; ``token`` is empty for whoever did not acquire it.

    ``millis_left`` ends with the claim's time, ``renew_after`` is when its holder should ask again. ``safe`` are
    devices by pool that its tenant may use even when it is over and the broker cannot be reached.
    """

    claim: Claim
    fence: int
    ttl_millis: int
    millis_left: int
    renew_after: int
    usable: tuple[Placement, ...]
    safe: tuple[tuple[str, int], ...] = ()
    token: str = ""


class Renewed(NamedTuple):
    """One of many renewals: None is left where the lease has ended; ``genuine`` says whether the token was.

    A tuple, as there are tens of thousands a second.
    """

    genuine: bool
    millis_left: int | None = None
    renew_after: int = 0


@dataclass(frozen=True, slots=True)
class Leasing:
    """Every verb of a holder; Faults are refusals that changed nothing, unless UNAVAILABLE."""

    ledger: Ledger
    market: Market
    now: Callable[[], int]  # Unix seconds
    terms: LeaseTerms = field(default_factory=LeaseTerms)

    async def acquire(self, name: ClaimName, *, ttl_millis: int, key: RequestKey) -> Lease:
        """The lease of a claim whose time has come, with its token; whoever had it before has it no longer.

        ``ttl_millis`` 0: the usual. Faults: LEASE_TOO_EARLY, NOT_PLACED, CLAIM_CLOSED, LEASE_HANDOVER,
        TTL_OUT_OF_RANGE.
        """
        ttl = self._ttl(ttl_millis) or self.terms.ttl

        async def decide() -> Receipt:
            claim, at = await self.ledger.claim(name), self.now()
            active = claim.becomes(Active(_due(claim, at), claim.because), at=at)
            return await self.ledger.acquire(active, key=key, at=at, ttl_millis=ttl, margin_millis=self.terms.margin)

        receipt = await once(self.ledger.recall, key, lambda: settled(decide))
        fence, left = receipt.claim.revision, ttl
        if receipt.replayed:
            # Another holder may have taken over since, or the lease be over.
            record = await self.ledger.lease(name)
            left = record.millis_left if record is not None and record.fence == fence else 0
        lease = self._lease(receipt.claim, LeaseRecord(fence, ttl, left))
        return replace(lease, token=token_of(self.ledger.token_key, name, fence))

    async def lease(self, name: ClaimName) -> Lease:
        """The lease of a claim; Faults: those of `gone` when it has none."""
        record = await self.ledger.lease(name)
        claim = self.market.outlook.claims.get(name)
        if record is None or claim is None or not isinstance(claim.state, Active):
            # Never leased, or the feed is a moment behind.
            claim = await self.ledger.claim(name)
        if record is None or not isinstance(claim.state, Active):
            raise gone(claim)
        return self._lease(claim, record)

    async def renew(self, name: ClaimName, token: str, *, ttl_millis: int) -> Lease:
        """The lease, which lasts for its ttl from now; ``ttl_millis`` 0: as before.

        Faults: LEASE_TOKEN, TTL_OUT_OF_RANGE, and those of `gone`.
        """
        (renewed,) = await self.renew_all([(name, token, ttl_millis)])
        if not renewed.genuine:
            raise refused_token()
        if renewed.millis_left is None:
            raise gone(await self.ledger.claim(name))
        claim = self.market.outlook.claims.get(name) or await self.ledger.claim(name)
        record = LeaseRecord(
            fence_of(self.ledger.token_key, name, token) or 0, ttl_millis or renewed.millis_left, renewed.millis_left
        )
        return self._lease(claim, record)

    async def renew_all(self, asked: Sequence[tuple[ClaimName, str, int]]) -> tuple[Renewed, ...]:
        """What became of each lease, given its claim, token, and ttl in milliseconds (0: as before).

        Faults: TTL_OUT_OF_RANGE, before any is renewed.
        """
        at, claims, key = self.now(), self.market.outlook.claims, self.ledger.token_key
        judged: list[Renewal | Renewed] = []
        ends: list[int | None] = []
        for name, token, ttl in asked:
            fence, claim, millis = fence_of(key, name, token), claims.get(name), self._ttl(ttl)
            end = _end(claim) if claim is not None and isinstance(claim.state, Active) else None
            # Where its time is over the planner may not have ended the claim yet.
            over = fence is not None and end is not None and end <= at
            judged.append(Renewed(genuine=over) if fence is None or over else Renewal(name, fence, millis))
            ends.append(end)
        wanted = [one for one in judged if isinstance(one, Renewal)]
        left = iter(await self.ledger.renew(wanted) if wanted else ())
        return tuple(
            one if isinstance(one, Renewed) else _renewed(next(left), token, end, at)
            for one, (_, token, _), end in zip(judged, asked, ends, strict=True)
        )

    async def release(self, name: ClaimName, token: str, *, key: RequestKey) -> Claim:
        """The claim, ended: what is left of it is free at once; one that gives way waits for another place.

        Faults: LEASE_TOKEN, and those of `gone`.
        """
        fence = fence_of(self.ledger.token_key, name, token)
        if fence is None:
            raise refused_token()

        async def decide() -> Receipt:
            claim, at = await self.ledger.claim(name), self.now()
            if not isinstance(claim.state, Active):
                raise gone(claim)
            over = _without_lease(claim, RELEASED, at)
            return await self.ledger.release(over, fence=fence, key=key, at=at)

        return (await once(self.ledger.recall, key, lambda: settled(decide))).claim

    async def lapse(self) -> int:
        """Let lease time pass, and end some of the claims whose leases were not renewed; how many."""
        margin, count = self.terms.margin, 0
        for name in await self.ledger.overdue(margin_millis=margin, limit=self.terms.lapses_at_once):
            with suppress(Fault):  # changed meanwhile, or ended by another server: looked at again if need be
                claim, at = await self.ledger.claim(name), self.now()
                over = _unused(claim, at) or _without_lease(claim, EXPIRED, at)
                key = RequestKey.of_lapse("ExpireLease", claim)
                failpoints.reach("before-lease-reap")
                count += await self.ledger.expire(over, margin_millis=margin, key=key, at=at) is not None
                failpoints.reach("after-lease-reap")
        return count

    def _ttl(self, millis: int) -> int:
        if millis and not self.terms.ttl_least <= millis <= self.terms.ttl_most:
            least, most = self.terms.ttl_least // 1000, self.terms.ttl_most // 1000
            raise Fault(
                FaultReason.TTL_OUT_OF_RANGE,
                f"A lease lasts {least} to {most} seconds from each renewal",
                remedy="Choose a ttl in that range, or leave it out.",
                field="ttl",
            )
        return millis

    def _lease(self, claim: Claim, record: LeaseRecord) -> Lease:
        at = self.now()
        return Lease(
            claim,
            record.fence,
            record.ttl_millis,
            max(0, min(record.millis_left, _millis_until(_end(claim), at))),
            _renew_after(token_of(self.ledger.token_key, claim.name, record.fence), record.ttl_millis),
            tuple(place for place in claim.placements if slot_of(at) in place.window),
            tuple(
                (pool.id, floor.devices)
                for pool in self.market.outlook.fleet.pools
                for floor in pool.floors
                if floor.tenant == claim.name.tenant
            ),
        )


def gone(claim: Claim) -> Fault:
    """Why a claim has no lease that its holder could go on with: LEASE_EXPIRED, LEASE_RELEASED or LEASE_ENDED."""
    reason = claim.because[0].reason if isinstance(claim.state, Ended) and claim.because else None
    if reason in ENDINGS:
        kind, message = ENDINGS[reason]
        return Fault(kind, message, remedy="Stop using its devices, and create a new claim.")
    fault = lease_ended(claim.name)
    fault.facts["state"] = claim.state_name
    return fault


def refused_token() -> Fault:
    """The same words whether or not there is such a lease."""
    return Fault(
        FaultReason.LEASE_TOKEN,
        "The token is not of this lease",
        remedy="Send the token as AcquireLease gave it, or acquire the lease again.",
        field="token",
    )


def _renewed(left: int | None, token: str, end: int | None, at: int) -> Renewed:
    """A lease of which the ledger says that so much is left; it ends with its claim, where that is known."""
    if left is None:
        return Renewed(genuine=True)
    most = left if end is None else max(0, min(left, _millis_until(end, at)))
    return Renewed(True, most, _renew_after(token, left))


def _renew_after(token: str, ttl_millis: int) -> int:
    """A third of the ttl, a quarter more or less, but for each lease the same: renewals spread out."""
    return ttl_millis * (192 + int(token[-2:], 16) // 2) // 768


def _without_lease(claim: Claim, why: Because, at: int) -> Claim:
    """It is over, unless it gives way: then it is as if its notice were."""
    slot = slot_of(at)
    stops = stopped(claim, slot)
    return claim.becomes(Ended(claim.used_until(slot), (why,)), at=at) if stops is None else claim.becomes(stops, at=at)


def _unused(claim: Claim, at: int) -> Claim | None:
    """Without a lease that nobody could renew, as its time is over: it goes on if a part waits; None if it is not."""
    if at < _end(claim) or any(place.left_ppm for place in claim.placements):
        return None
    waits = len(claim.placements) < parts(claim.ask)
    return claim.becomes(Committed(claim.placements, claim.because) if waits else Ended(claim.placements), at=at)


def _end(claim: Claim) -> int:
    """When the last of its placements ends (Unix seconds)."""
    places = claim.placements
    last = places[0].window.end if len(places) == 1 else max((place.window.end for place in places), default=0)
    return last * SLOT_SECONDS


def _millis_until(end: int, at: int) -> int:
    """What is sure to be left until ``end`` by a clock that shows whole seconds: of this one a part is over."""
    return 1000 * (end - at) - 999


def _due(claim: Claim, at: int) -> tuple[Placement, ...]:
    """Its places, which no longer change, once the first of them has started."""
    if not claim.live:
        raise Fault(
            FaultReason.CLAIM_CLOSED,
            f"The claim is {claim.state_name} and can no longer be used",
            remedy="Create a new claim.",
            facts={"state": claim.state_name},
        )
    if isinstance(claim.state, Held):
        raise Fault(
            FaultReason.CLAIM_HELD,
            "The claim holds capacity for a quote",
            remedy="Redeem it first.",
        )
    if not isinstance(claim.state, Planned | Committed | Active):
        raise Fault(
            FaultReason.NOT_PLACED,
            "The claim holds no capacity yet",
            remedy="Watch it until it is placed and its time has come.",
            facts={"state": claim.state_name},
        )
    start = min(place.window.first for place in claim.placements) * SLOT_SECONDS
    if at < start:
        raise Fault(
            FaultReason.LEASE_TOO_EARLY,
            "The claim's time has not come",
            remedy="Acquire the lease once it starts.",
            facts={"start_unix_seconds": str(start)},
        )
    if at >= _end(claim):
        raise lease_ended(claim.name)
    return tuple(replace(place, latest=place.window.first) for place in claim.placements)
