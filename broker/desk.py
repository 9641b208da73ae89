"""The front office: every verb a caller has, each one decision and at most one change of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from broker.admission.changes import changed
from broker.admission.expected import Calibration, Expected
from broker.admission.explain import Explanation, explain
from broker.admission.outlook import Outlook
from broker.admission.policy import Policy
from broker.admission.quote import Offer, Quote, counter_offers, offer_of, offers
from broker.admission.ranking import Candidate
from broker.admission.shift import Room
from broker.admission.stress import Stress, stress, uninsurable
from broker.admission.vetting import check_open, dated, too_large, unknown
from broker.attempts import once, settled
from broker.domain.claim import (
    Active,
    Ask,
    Cancelled,
    Claim,
    ClaimName,
    Committed,
    Expired,
    Held,
    Placement,
    Waiting,
)
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet
from broker.domain.options import parts
from broker.domain.plan import PlanRecord
from broker.domain.promise import amended, firm, promised
from broker.domain.reason import Because, Reason
from broker.domain.slots import Window, slot_at_or_after, slot_of
from broker.ledger.port import Balance, Ledger, Page, Receipt, RequestKey
from broker.ledger.refusals import etag_mismatch, hold_limit, offer_gone

__all__ = ["Clock", "Desk", "DeskTerms", "Market", "NewId"]

Clock = Callable[[], int]  # Unix seconds
NewId = Callable[[], str]  # unguessable, [a-z0-9-], at most 63 characters

QUOTE_LAPSED = Because(Reason.QUOTE_LAPSED, "The quote was not redeemed in time.")


class Market(Protocol):
    """What the desk knows without asking the ledger; the feed keeps it warm."""

    @property
    def outlook(self) -> Outlook:
        """The market as of the newest event seen."""
        ...

    async def plan_on(self, revision: int) -> PlanRecord:
        """The first plan that looked at ``revision`` or later; waits for it."""
        ...

    async def reach(self, revision: int) -> None:
        """Wait until it knows ``revision``."""


@dataclass(frozen=True, slots=True)
class DeskTerms:
    """On what terms the desk answers."""

    policy: Policy = field(default_factory=Policy)
    freeze_slots: int = 1  # a grant is firm once it starts within this many slots
    claims_max: int = 20_000  # open claims of one tenant, those held for quotes included
    holds_max: int = 16  # quotes that one tenant may have capacity held for at once
    plan_seconds_max: float = 60.0  # how long RunPlan waits, beyond the time limit that it names


class _Lapsed(Exception):
    """The time to redeem is over."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Every caller verb; Faults are refusals that changed nothing, unless UNAVAILABLE."""

    ledger: Ledger
    market: Market
    now: Clock
    new_id: NewId
    terms: DeskTerms = field(default_factory=DeskTerms)

    async def submit(
        self, tenant: str, claim_id: str, ask: Ask, key: RequestKey, *, places: Sequence[Placement] = ()
    ) -> Receipt:
        """Store a claim, under ``claim_id`` or (empty) a new id.

        It is granted at once if the policy allows and the ledger still has the room, for which others may move within
        what they were told; else the next plan decides. With ``places``, those of an offer, it is granted there or
        refused: OFFER_GONE.
        """

        async def decide() -> Receipt:
            check_open(self.market.outlook.open_claims(tenant), self.terms.claims_max)
            claim = await self._asked(tenant, claim_id, ask)
            grants: tuple[Claim, ...]
            moved: tuple[Claim, ...] = ()
            if places:
                taken, moved = await self._taken(claim, places)
                grants = (self._granted(claim, taken),)
            else:
                grants = tuple(self._granted(claim, found.placements) for found in self._grants(claim))
            if not grants and (room := self._room(claim)):
                grants, moved = (self._granted(claim, room.candidate.placements),), room.moved(claim.created_at)
            if not grants and (problem := too_large(claim.ask, self.market.outlook.fleet)):
                raise problem
            return await self.ledger.submit(
                claim, key=key, at=claim.created_at, candidates=grants, moved=moved, must_fit=bool(places)
            )

        return await once(self.ledger.recall, key, decide)

    async def quote(self, tenant: str, ask: Ask, *, most: int = 4) -> Quote:
        """What the claim could have now or, where that is nothing, what it could have instead."""
        return await self._quoted(await self._asked(tenant, "-", ask), most)

    async def hold(
        self, tenant: str, claim_id: str, ask: Ask, key: RequestKey, *, seconds: int, most: int = 4
    ) -> tuple[Quote, Receipt | None]:
        """A quote, and a claim that keeps the best offer's capacity aside until it is redeemed or ``seconds`` are over.

        Nothing is held where nothing is offered, or only if others move. Faults: HOLD_LIMIT, and OFFER_GONE when others
        took it meanwhile.
        """
        first = await self.ledger.recall(key)
        if first is not None:
            # What is held is as it was; what else there is may be nothing by now.
            quote = Quote((), (), self.market.outlook.revision)
            with suppress(Fault):
                quote = await self.quote(tenant, ask, most=most)
            return quote, first
        check_open(self.market.outlook.open_claims(tenant), self.terms.claims_max)
        claim = await self._asked(tenant, claim_id, ask)
        self._limit_holds(tenant, claim.created_at)
        quote, until = await self._quoted(claim, most), claim.created_at + seconds
        free = [offer.placements for offer in quote.offers if not offer.moves]
        if not free:
            return quote, None
        held = [claim.becomes(Held(firm(placements), until), at=claim.created_at) for placements in free]
        receipt = await self.ledger.submit(claim, key=key, at=claim.created_at, candidates=held, must_fit=True)
        return quote, receipt

    async def redeem(self, name: ClaimName, *, etag: str, key: RequestKey) -> Receipt | Quote:
        """Make a claim of what is held for a quote, exactly as quoted; a fresh quote if the time is over."""

        async def decide() -> Receipt:
            claim, at = await self._held(name, etag), self.now()
            if not isinstance(claim.state, Held):
                raise Fault(
                    FaultReason.NOT_HELD,
                    "The claim is not held for a quote",
                    remedy="Read the claim: it is a claim already.",
                )
            if at >= claim.state.until:
                raise _Lapsed
            return await self.ledger.amend(self._granted(claim, claim.state.placements), key=key, at=at)

        try:
            return await once(self.ledger.recall, key, lambda: settled(decide, etag))
        except (_Lapsed, Fault) as refused:
            claim = await self.ledger.claim(name)
            lapsed = isinstance(claim.state, Expired) and claim.because[0].reason is Reason.QUOTE_LAPSED
            if isinstance(refused, Fault) and not lapsed:
                raise
            return await self.quote(name.tenant, claim.ask)

    async def explain(self, name: ClaimName) -> tuple[Claim, Explanation | None, Offer | None, int]:
        """A claim, why it or a part of it is not served, what would let it in, and the revision that is true for."""
        claim = await self.ledger.claim(name)
        outlook = self.market.outlook
        calendar, revision = outlook.calendar(slot_at_or_after(self.now())).still(), outlook.revision
        if not claim.live or len(claim.placements) == parts(claim.ask):
            return claim, None, None, revision
        policy, others = self.terms.policy, tuple(outlook.claims.values())
        found = await asyncio.to_thread(explain, policy, claim.ask, name.tenant, calendar, others)
        after = changed(claim.ask, found.changes) if found is not None else claim.ask
        offer = next(iter(offers(policy, after, name.tenant, calendar, most=1)), None)
        return claim, found, offer and replace(offer, changes=found.changes if found is not None else ()), revision

    async def lapse(self) -> int:
        """Let go of what is held for quotes that were not redeemed in time; how many."""
        at, count = self.now(), 0
        for claim in self.market.outlook.held:
            if isinstance(claim.state, Held) and claim.state.until <= at:
                over = claim.becomes(Expired((QUOTE_LAPSED,)), at=at)
                key = RequestKey.of_lapse("Lapse", claim)
                with suppress(Fault):  # redeemed or cancelled meanwhile, or let go of by another server
                    count += not (await self.ledger.amend(over, key=key, at=at)).replayed
        return count

    async def _asked(self, tenant: str, claim_id: str, ask: Ask) -> Claim:
        """The claim as it would be stored; the fleet has all that it names."""
        at = self.now()
        await self._knowing(tenant, ask)
        waiting = Waiting((Because(Reason.AWAITING_PLAN, "No plan has looked at the claim yet."),))
        return Claim(ClaimName(tenant, claim_id or self.new_id()), dated(ask, at), waiting, at, at)

    def _grants(self, claim: Claim) -> tuple[Candidate, ...]:
        """Where the claim may be without a plan, best first."""
        calendar = self.market.outlook.calendar(slot_at_or_after(claim.created_at))
        return self.terms.policy.grants(claim.ask, claim.name.tenant, calendar)

    def _room(self, claim: Claim) -> Room | None:
        """Where the claim may be without a plan if others, who are told so, start at other times."""
        outlook, slot = self.market.outlook, slot_at_or_after(claim.created_at)
        calendar, firm = outlook.calendar(slot), slot + self.terms.freeze_slots
        # A repeated request finds itself among the claims; the ledger will tell it what it was told.
        others = (other for other in outlook.claims.values() if other.name != claim.name)
        return self.terms.policy.room(claim.ask, claim.name.tenant, calendar, others, firm=firm)

    def _granted(self, claim: Claim, placements: tuple[Placement, ...]) -> Claim:
        """The claim in these places, firm where it starts soon."""
        at = self.now()
        return claim.becomes(promised(placements, freeze=slot_at_or_after(at) + self.terms.freeze_slots), at=at)

    async def _taken(
        self, claim: Claim, places: Sequence[Placement]
    ) -> tuple[tuple[Placement, ...], tuple[Claim, ...]]:
        """The placements of an offer, if it is one that can still be made, and who moves for it."""
        for may_be_behind in (True, False):
            calendar = self.market.outlook.calendar(slot_at_or_after(claim.created_at))
            found = self.terms.policy.at(claim.ask, claim.name.tenant, calendar, places)
            if found is not None:
                return found, ()
            room = self._room(claim)
            if room is not None and room.candidate.is_at(places):
                return room.candidate.placements, room.moved(claim.created_at)
            if may_be_behind:
                # What was given back a moment ago, perhaps by the same caller, may be news to the market.
                await self.market.reach(await self.ledger.revision())
        raise offer_gone()

    async def _quoted(self, claim: Claim, most: int) -> Quote:
        """What the claim could have; where it could have nothing as others are, what it could if they moved as well."""
        outlook, ask, tenant = self.market.outlook, claim.ask, claim.name.tenant
        calendar, revision = outlook.calendar(slot_at_or_after(claim.created_at)).still(), outlook.revision
        found = offers(self.terms.policy, ask, tenant, calendar, most=most)
        if found:
            return Quote(found, (), revision)
        room = self._room(claim)
        moving = (offer_of(room, ask, tenant, calendar),) if room is not None else ()
        # Hundreds of rankings: on a thread, so that others are answered meanwhile.
        return Quote(
            moving, await asyncio.to_thread(counter_offers, self.terms.policy, ask, tenant, calendar), revision
        )

    def _limit_holds(self, tenant: str, at: int) -> None:
        mine = (claim.state for claim in self.market.outlook.held if claim.name.tenant == tenant)
        if sum(isinstance(state, Held) and state.until > at for state in mine) >= self.terms.holds_max:
            raise hold_limit(self.terms.holds_max)

    async def claim(self, name: ClaimName) -> Claim:
        """One claim, live or closed."""
        return await self.ledger.claim(name)

    def expected(self, claim: Claim) -> Expected | None:
        """When a claim is expected to start; None when it has started, is closed, or is only held."""
        return self.market.outlook.expected.of(claim, self.now())

    def expected_of(self, offer: Offer) -> Expected | None:
        """When a claim that takes the offer is expected to start."""
        at = self.now()
        claim = Claim(ClaimName("-", "-"), offer.ask, Held(offer.placements, at), at, at)
        return self.expected(self._granted(claim, offer.placements))

    def calibration(self) -> tuple[Calibration, ...]:
        """How what was told of starts fared, as far as this process has seen."""
        return self.market.outlook.expected.calibration()

    async def claims(self, *, tenant: str | None, after: ClaimName | None, limit: int) -> Page:
        """A page of claims of one tenant or of all, in order of name."""
        return await self.ledger.claims(tenant=tenant, after=after, limit=limit)

    async def amend(self, name: ClaimName, edit: Callable[[Ask], Ask], *, etag: str, key: RequestKey) -> Receipt:
        """Change what a live claim asks for; a placement that the new ask does not allow is given up."""

        async def decide() -> Receipt:
            claim = await self._held(name, etag)
            return await self.ledger.amend(await self._amended(claim, edit(claim.ask)), key=key, at=self.now())

        return await once(self.ledger.recall, key, lambda: settled(decide, etag))

    async def cancel(self, name: ClaimName, *, etag: str, key: RequestKey) -> Receipt:
        """Withdraw a live claim; capacity from this slot on is free at once. Cancelling again changes nothing."""

        async def decide() -> Receipt:
            claim = await self.ledger.claim(name)
            if isinstance(claim.state, Cancelled) and etag in ("", str(claim.revision)):
                return await self.ledger.recall(key) or Receipt(claim, replayed=True)
            claim, at = await self._held(name, etag), self.now()
            if isinstance(claim.state, Active):
                raise Fault(
                    FaultReason.CLAIM_LEASED,
                    "The claim is in use: somebody holds its lease",
                    remedy="Release the lease, which gives back what is left, or stop renewing it.",
                )
            used = Cancelled(claim.used_until(slot_of(at)))
            return await self.ledger.cancel(claim.becomes(used, at=at), key=key, at=at)

        return await once(self.ledger.recall, key, lambda: settled(decide, etag))

    async def fleet(self) -> tuple[Fleet, int]:
        """The fleet in force, and its revision; an older one if it changes meanwhile."""
        revision = await self.ledger.fleet_revision()
        return await self.ledger.fleet(), revision

    async def uninsurable(self, fleet: Fleet) -> tuple[ClaimName, ...]:
        """Live guaranteed claims that the insurance of a fleet could not help, a hundred at most."""
        claims = tuple(self.market.outlook.claims.values())
        return await asyncio.to_thread(uninsurable, fleet, claims, slot_of(self.now()))

    async def pools(self, window: Window | None) -> tuple[Fleet, Window, dict[str, Balance]]:
        """The fleet and each account's balance over ``window``, or over the week from now."""
        first = slot_of(self.now())
        over = window or Window(first, first + 168)
        _, balances = await self.ledger.balances(over)
        return await self.ledger.fleet(), over, {balance.account: balance for balance in balances}

    async def run_plan(self, *, key: RequestKey, time_limit_seconds: int | None) -> PlanRecord:
        """Plan everything known now; returns when that plan is in force."""
        revision = await self.ledger.ask_plan(key=key, at=self.now(), time_limit_seconds=time_limit_seconds)
        patience = (time_limit_seconds or 0) + self.terms.plan_seconds_max
        try:
            async with asyncio.timeout(patience):
                return await self.market.plan_on(revision)
        except TimeoutError:
            raise Fault(
                FaultReason.PLANNER_SILENT,
                f"No plan came into force within {patience:.0f} s",
                remedy="See that a planner runs and what its log says, then send the same request again.",
            ) from None

    async def plan(self, revision: int | None) -> PlanRecord:
        """The plan of that revision, or the latest (None)."""
        return await self.ledger.plan(revision)

    async def stress(self, pools: Sequence[str], slots: int) -> Stress:
        """What would happen if each of these pools (none: every pool) were lost from now on for so long."""
        outlook, first = self.market.outlook, slot_of(self.now())
        claims, over = tuple(outlook.claims.values()), Window(first, first + slots)
        return await asyncio.to_thread(stress, outlook.fleet, claims, over, pools, outlook.revision)

    async def _held(self, name: ClaimName, etag: str) -> Claim:
        claim = await self.ledger.claim(name)
        if etag and etag != str(claim.revision):
            raise etag_mismatch()
        if not claim.live:
            state = type(claim.state).__name__.upper()
            raise Fault(
                FaultReason.CLAIM_CLOSED,
                f"The claim is {state} and can no longer change",
                remedy="Create a new claim.",
                facts={"state": state},
            )
        return claim

    async def _amended(self, claim: Claim, ask: Ask) -> Claim:
        if isinstance(claim.state, Held):
            raise Fault(
                FaultReason.CLAIM_HELD,
                "The claim holds capacity for a quote",
                remedy="Redeem it first, or cancel it and ask for another quote.",
            )
        if isinstance(claim.state, Committed | Active) or claim.ran:
            if replace(claim.ask, value_microusd=ask.value_microusd, labels=ask.labels) != ask:
                raise Fault(
                    FaultReason.CLAIM_COMMITTED,
                    "The claim is committed or has run: only value and labels may change",
                    remedy="Cancel it and create a new claim.",
                )
            return replace(claim, ask=ask)
        fleet = await self._knowing(claim.name.tenant, ask)
        if problem := too_large(ask, fleet):
            raise problem
        return amended(claim, dated(ask, self.now()), fleet, at=self.now())

    async def _knowing(self, tenant: str, ask: Ask) -> Fleet:
        """The fleet, if everything that the ask names is in it."""
        fleet = self.market.outlook.fleet
        problem = unknown(tenant, ask, fleet)
        if problem is not None:
            # The feed may be a moment behind a fleet that was just applied.
            fleet = await self.ledger.fleet()
            problem = unknown(tenant, ask, fleet)
        if problem is not None:
            raise problem
        return fleet
