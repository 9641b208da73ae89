"""CapacityService: decode, one call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from capacitybroker.v1 import capacity_service_pb2 as pb
from capacitybroker.v1 import capacity_service_pb2_grpc as pb_grpc
from capacitybroker.v1 import claim_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from grpc.aio import ServicerContext

from broker import failpoints
from broker.desk import Desk
from broker.domain.claim import Ask, Claim
from broker.domain.faults import Fault, FaultReason
from broker.feed import Feed
from broker.ledger.port import Receipt
from broker.transport.asks import ask
from broker.transport.claims import asked_message, claim_message
from broker.transport.expected import expected_message
from broker.transport.filters import interest, list_filter
from broker.transport.names import claim_name, plain_id, tenant_id
from broker.transport.quotes import (
    explanation_message,
    hold_seconds,
    lapsed_message,
    offers_wanted,
    places,
    quote_message,
)
from broker.transport.requests import checked_etag, page_size, replay_key

__all__ = ["CapacityService"]

Context = ServicerContext[Any, Any]

OUTPUT_ONLY = {
    "name",
    "state",
    "reasons",
    "placements",
    "revision",
    "etag",
    "create_time",
    "state_time",
    "hold_expire_time",
    "expected_start",
    "runs",
}
WATCH_CLAIMS_MAX = 200  # claims in one message of a watch
SCANS_MAX = 10  # pages of the ledger read for one filtered page


@dataclass(frozen=True, slots=True)
class CapacityService(pb_grpc.CapacityServiceServicer):
    """What the services of a lab call."""

    desk: Desk
    feed: Feed

    async def CreateClaim(self, request: pb.CreateClaimRequest, context: Context) -> pb.CreateClaimResponse:
        """Store a claim."""
        tenant = _one_tenant(request.parent)
        key = replay_key(request, tenant)
        claim_id = plain_id(request.claim_id, "claim_id") if request.claim_id else ""
        failpoints.reach("before-validate", "CreateClaim")
        asked, taken = ask(request.claim), places(request.placements)
        failpoints.reach("after-validate", "CreateClaim")
        receipt = await self.desk.submit(tenant, claim_id, asked, key, places=taken)
        expected = self.desk.expected(receipt.claim)
        return pb.CreateClaimResponse(
            claim=claim_message(receipt.claim),
            expected_start=expected_message(expected) if expected is not None else None,
        )

    async def GetClaim(self, request: pb.GetClaimRequest, context: Context) -> pb.GetClaimResponse:
        """One claim."""
        return pb.GetClaimResponse(claim=self._told(await self.desk.claim(claim_name(request.name))))

    async def ListClaims(self, request: pb.ListClaimsRequest, context: Context) -> pb.ListClaimsResponse:
        """A page of claims."""
        wanted, size = list_filter(request), page_size(request.page_size)
        tokens = wanted.tokens(self.desk.ledger.token_key)
        begin = tokens.read(request.page_token)
        after = claim_name(begin, "page_token") if begin else None
        found: list[claim_pb2.Claim] = []
        revision = 0
        for _ in range(SCANS_MAX):
            page = await self.desk.claims(tenant=wanted.tenant, after=after, limit=size - len(found))
            revision = revision or page.revision
            found += [self._told(claim) for claim in page.claims if wanted.passes(claim)]
            after = page.after
            if after is None or len(found) >= size:
                break
        following = tokens.token(str(after)) if after is not None else ""
        return pb.ListClaimsResponse(claims=found, next_page_token=following, revision=revision)

    async def UpdateClaim(self, request: pb.UpdateClaimRequest, context: Context) -> pb.UpdateClaimResponse:
        """Change what a claim asks for."""
        name = claim_name(request.claim.name, "claim.name")
        key = replay_key(request, name.tenant)
        edit = _edit(request.claim, request.update_mask)
        receipt = await self.desk.amend(name, edit, etag=checked_etag(request.claim.etag), key=key)
        return pb.UpdateClaimResponse(claim=claim_message(receipt.claim))

    async def CancelClaim(self, request: pb.CancelClaimRequest, context: Context) -> pb.CancelClaimResponse:
        """Withdraw a claim."""
        name = claim_name(request.name)
        receipt = await self.desk.cancel(name, etag=checked_etag(request.etag), key=replay_key(request, name.tenant))
        return pb.CancelClaimResponse(claim=claim_message(receipt.claim))

    async def QuoteClaim(self, request: pb.QuoteClaimRequest, context: Context) -> pb.QuoteClaimResponse:
        """What a claim could have, and could have instead."""
        tenant, most = _one_tenant(request.parent), offers_wanted(request.max_offers)
        claim_id = plain_id(request.claim_id, "claim_id") if request.claim_id else ""
        asked = ask(request.claim)
        if not request.HasField("hold_for"):
            return quote_message(await self.desk.quote(tenant, asked, most=most), None, self.desk.expected_of)
        key, seconds = replay_key(request, tenant), hold_seconds(request.hold_for)
        quote, receipt = await self.desk.hold(tenant, claim_id, asked, key, seconds=seconds, most=most)
        return quote_message(quote, receipt.claim if receipt is not None else None, self.desk.expected_of)

    async def RedeemQuote(self, request: pb.RedeemQuoteRequest, context: Context) -> pb.RedeemQuoteResponse:
        """Make a claim of what a quote holds."""
        name = claim_name(request.name)
        key = replay_key(request, name.tenant)
        redeemed = await self.desk.redeem(name, etag=checked_etag(request.etag), key=key)
        if isinstance(redeemed, Receipt):
            return pb.RedeemQuoteResponse(claim=claim_message(redeemed.claim))
        return lapsed_message(redeemed, self.desk.expected_of)

    async def ExplainClaim(self, request: pb.ExplainClaimRequest, context: Context) -> pb.ExplainClaimResponse:
        """Why a claim waits."""
        claim, found, offer, revision = await self.desk.explain(claim_name(request.name))
        expected = self.desk.expected_of(offer) if offer is not None else None
        return explanation_message(self._told(claim), claim.past, found, offer, expected, revision)

    async def WatchClaims(
        self, request: pb.WatchClaimsRequest, context: Context
    ) -> AsyncIterator[pb.WatchClaimsResponse]:
        """Every change, once, in order."""
        wanted = interest(request)
        if request.start_revision < 0:
            raise Fault(
                FaultReason.QUANTITY_OUT_OF_RANGE,
                "start_revision is negative",
                remedy="Send 0 for now, or a revision that a reply has named.",
                field="start_revision",
            )
        async for changes in self.feed.watch(request.start_revision, wanted):
            for message in _watch_messages(changes.revision, changes.claims):
                yield message

    def _told(self, claim: Claim) -> claim_pb2.Claim:
        """The claim, and when it is expected to start."""
        return claim_message(claim, self.desk.expected(claim))


def _watch_messages(revision: int, claims: tuple[Claim, ...]) -> list[pb.WatchClaimsResponse]:
    """One revision as messages of bounded size; all but the last are partial."""
    firsts = range(0, max(1, len(claims)), WATCH_CLAIMS_MAX)
    return [
        pb.WatchClaimsResponse(
            revision=revision,
            claims=[claim_message(claim) for claim in claims[first : first + WATCH_CLAIMS_MAX]],
            partial=first != firsts[-1],
        )
        for first in firsts
    ]


def _one_tenant(parent: str) -> str:
    tenant = tenant_id(parent)
    assert tenant is not None
    return tenant


def _edit(changed: claim_pb2.Claim, mask: FieldMask) -> Callable[[Ask], Ask]:
    """How an ask changes: the fields of ``mask`` from ``changed``, the others as they are."""
    fields = {field.name for field in claim_pb2.Claim.DESCRIPTOR.fields}
    if not mask.paths or len(set(mask.paths)) != len(mask.paths) or set(mask.paths) - fields:
        raise Fault(
            FaultReason.FIELD_MASK_INVALID,
            "update_mask must name fields of a claim, each once",
            remedy="Name the top-level fields that change, such as value_microusd.",
            field="update_mask",
        )
    if fixed := OUTPUT_ONLY & set(mask.paths):
        raise Fault(
            FaultReason.FIELD_IMMUTABLE,
            f"{min(fixed)} is set by the broker",
            remedy="Take it out of update_mask.",
            field="update_mask",
        )

    def edit(present: Ask) -> Ask:
        message = asked_message(present)
        for path in mask.paths:
            message.ClearField(path)  # type: ignore[arg-type]
        only = claim_pb2.Claim()
        only.CopyFrom(changed)
        for path in fields - set(mask.paths):
            only.ClearField(path)
        message.MergeFrom(only)
        return ask(message)

    return edit
