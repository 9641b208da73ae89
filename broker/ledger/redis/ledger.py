"""The ledger on a Redis or Valkey server; each method is one call of one function there (see lua/)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from broker import failpoints
from broker.domain.bid_prices import BidPrices
from broker.domain.claim import Active, Cancelled, Claim, ClaimName
from broker.domain.fleet import Fleet
from broker.domain.plan import PlanRecord
from broker.domain.slots import Window, slot_of
from broker.domain.snapshot import Event, Shortfall, Snapshot
from broker.ledger import refusals
from broker.ledger.books import balances, checked_holds, fleet_accounts
from broker.ledger.codec import (
    decode_claim,
    decode_fleet,
    decode_shortfalls,
    encode_claim,
    encode_fleet,
    encode_plan,
    encode_prices,
)
from broker.ledger.port import Applied, Balance, Commit, Fence, LeaseRecord, Page, Receipt, Renewal, RequestKey
from broker.ledger.redis import keys
from broker.ledger.redis.link import Durability, Link, Reply, StoreSettings, safe_halt
from broker.ledger.redis.reading import trimmed
from broker.ledger.redis.rows import devices, holds_text, limit_text, stored_claim, stored_plan, stored_prices
from broker.ledger.redis.start import check_server
from broker.ledger.redis.written import Written

__all__ = ["RedisLedger"]

SCHEMA = 1  # of the keys; raised only when an older broker could no longer read them
PAGE_MAX = 10_000


class _LeaseLives(Exception):
    """It was renewed."""


class RedisLedger:
    """Keeps every promise of `Ledger` on one market of a server; see `open`."""

    def __init__(self, link: Link, token_key: bytes, lease_clock: Callable[[], int] | None = None) -> None:
        self._link = link
        self._lease_clock = lease_clock
        self._written = Written()
        self.token_key = token_key
        self._fleet_text = b""
        self._fleet = Fleet()

    @property
    def link(self) -> Link:
        """For whoever watches or verifies the market beside those who use it."""
        return self._link

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        market: str,
        new_id: Callable[[], str],
        now: Callable[[], int],
        create: bool,
        durability: Durability = "strict",
        settings: StoreSettings | None = None,
        lease_clock: Callable[[], int] | None = None,
    ) -> RedisLedger:
        """Open a market, once the server has shown that it can be trusted with it.

        Only with ``create`` is a market made that is not there; ``new_id`` names its incarnation and ``now`` (Unix
        seconds) dates it. Leases are timed by the store's own clock, or by ``lease_clock`` (ms). Faults: SAFE_HALT when
        the server is too old, not durable enough, or the market is missing, damaged or of a later schema;
        STORE_UNAVAILABLE.
        """
        link = Link(url, market=market, settings=settings or StoreSettings())
        try:
            await check_server(link.client, durability, seconds_max=link.settings.bulk_seconds_max)
            await link.load()
            reply = await (link.call("create", new_id(), SCHEMA, now()) if create else link.read("head"))
            _check_market(reply, market)
            if not reply.rest[1]:  # new, or made by a release that signed nothing
                reply = await link.call("seal", secrets.token_hex(32))
        except BaseException:
            await link.close()
            raise
        return cls(link, bytes(reply.rest[1]), lease_clock)

    async def submit(
        self,
        claim: Claim,
        *,
        key: RequestKey,
        at: int,
        candidates: Sequence[Claim] = (),
        moved: Sequence[Claim] = (),
        must_fit: bool = False,
    ) -> Receipt:
        """See `Ledger.submit`."""
        holds = refusals.checked_submit(claim, candidates, moved)
        sent = [encode_claim(candidate) for candidate in candidates]
        tries = [x for text, held in zip(sent, holds, strict=True) for x in (holds_text(held), text)]
        waiting = "" if must_fit else encode_claim(claim)
        rows = [x for other in moved for x in _row(other)]
        reply = await self._mutate("submit", key, at, claim.name.key, waiting, slot_of(at), len(moved), *rows, *tries)
        if reply.code == "NO_ROOM":
            raise refusals.offer_gone()
        if reply.code == "CLAIM_EXISTS":
            raise refusals.claim_exists(claim.name)
        if reply.code == "OK":
            # What was stored is one of those that were sent: no need to read it again.
            body = reply.text(1)
            stored = dict(zip([*sent, waiting], [*candidates, claim], strict=True)).get(body)
            if stored is None:
                raise safe_halt(f"the store keeps {claim.name} as nobody sent it", "Restore the store with its history")
            stored = replace(stored, revision=int(reply.text(0)))
            if not moved:
                self._written.submitted(stored, body, at)
            return Receipt(stored)
        return _receipt(reply)

    async def amend(self, claim: Claim, *, key: RequestKey, at: int) -> Receipt:
        """See `Ledger.amend`."""
        return await self._replace("amend", claim, key=key, at=at)

    async def cancel(self, claim: Claim, *, key: RequestKey, at: int) -> Receipt:
        """See `Ledger.cancel`."""
        assert isinstance(claim.state, Cancelled), claim.name
        return await self._replace("cancel", claim, key=key, at=at)

    async def acquire(self, claim: Claim, *, key: RequestKey, at: int, ttl_millis: int, margin_millis: int) -> Receipt:
        """See `Ledger.acquire`."""
        timing = (self._lease_millis(), ttl_millis, slot_of(at), margin_millis)
        return await self._replace("acquire", claim, *timing, key=key, at=at)

    async def renew(self, renewals: Sequence[Renewal]) -> tuple[int | None, ...]:
        """See `Ledger.renew`."""
        asked = [x for one in renewals for x in (one.name.key, one.fence, one.ttl_millis)]
        reply = await self._link.call("renew", self._lease_millis(), *asked)
        return tuple(None if left < 0 else left for left in reply.rest[0])

    async def lease(self, name: ClaimName) -> LeaseRecord | None:
        """See `Ledger.lease`."""
        reply = await self._link.read("lease", self._lease_millis(), name.key)
        return None if reply.code == "NO_LEASE" else LeaseRecord(*(int(reply.text(i)) for i in range(3)))

    async def release(self, claim: Claim, *, fence: int, key: RequestKey, at: int) -> Receipt:
        """See `Ledger.release`."""
        return await self._replace("release", claim, fence, key=key, at=at)

    async def overdue(self, *, margin_millis: int, limit: int) -> tuple[ClaimName, ...]:
        """See `Ledger.overdue`."""
        reply = await self._link.call("overdue", self._lease_millis(), margin_millis, limit)
        return tuple(map(_name, reply.rest[0]))

    async def expire(self, claim: Claim, *, margin_millis: int, key: RequestKey, at: int) -> Receipt | None:
        """See `Ledger.expire`."""
        try:
            return await self._replace("expire", claim, self._lease_millis(), margin_millis, key=key, at=at)
        except _LeaseLives:
            return None

    def _lease_millis(self) -> int | str:
        """What the clock of leases shows; empty: the store's own."""
        return "" if self._lease_clock is None else self._lease_clock()

    async def _replace(self, verb: str, claim: Claim, *more: str | int, key: RequestKey, at: int) -> Receipt:
        reply = await self._mutate(verb, key, at, *_row(claim), *more)
        match reply.code:
            case "CLAIM_NOT_FOUND":
                raise refusals.claim_not_found(claim.name)
            case "CONTENDED":
                raise refusals.contended(claim.name, held=claim.revision, present=int(reply.text(0)))
            case "CLAIM_CLOSED":
                raise refusals.claim_closed(claim.name)
            case "GAINS_HOLDS":
                raise refusals.gains_holds(claim.name)
            case "LEASE_ENDED":
                raise refusals.lease_ended(claim.name)
            case "HANDOVER":
                raise refusals.lease_handover(claim.name)
            case "LEASE_LIVES":
                raise _LeaseLives
        return _receipt(reply)

    async def apply_fleet(
        self, fleet: Fleet, *, key: RequestKey, at: int, dry_run: bool = False, expected: int | None = None
    ) -> Applied:
        """See `Ledger.apply_fleet`."""
        limits = [x for account, limit in fleet.limits().items() for x in (account, limit_text(limit))]
        known = "" if expected is None else expected
        asked = (slot_of(at), int(dry_run), encode_fleet(fleet), known, *limits)
        reply = await self._mutate("apply_fleet", key, at, *asked)
        if reply.code == "CONTENDED":
            raise refusals.fleet_changed(held=expected or 0, present=int(reply.text(0)))
        return _applied(reply)

    async def recall_fleet(self, key: RequestKey) -> Applied | None:
        """See `Ledger.recall_fleet`."""
        reply = await self._recalled(key)
        return _applied(reply) if reply.code == "REPLAYED" else None

    async def ask_plan(self, *, key: RequestKey, at: int, time_limit_seconds: int | None) -> int:
        """See `Ledger.ask_plan`."""
        limit = "" if time_limit_seconds is None else time_limit_seconds
        reply = await self._mutate("ask_plan", key, at, limit)
        return int(reply.text(0))

    async def recall(self, key: RequestKey) -> Receipt | None:
        """See `Ledger.recall`."""
        reply = await self._recalled(key)
        return _receipt(reply) if reply.code == "REPLAYED" else None

    async def _recalled(self, key: RequestKey) -> Reply:
        record = keys.replay_key(self._link.market, key.scope, key.request_id)
        failpoints.reach("before-recall", key.method)
        reply = await self._link.read("recall", key.method, key.body_digest, replay=record)
        failpoints.reach("after-recall", key.method)
        if reply.code == "REQUEST_ID_REUSED":
            raise refusals.request_id_reused(key)
        return reply

    async def lead(self, planner_id: str, *, ttl_millis: int) -> Fence | None:
        """See `Ledger.lead`."""
        reply = await self._link.call("lead", planner_id, ttl_millis)
        return Fence(self._link.incarnation, int(reply.text(0))) if reply.code == "OK" else None

    async def commit(
        self,
        claims: Sequence[Claim],
        plan: PlanRecord,
        *,
        fence: Fence,
        at: int,
        prices: BidPrices | None = None,
    ) -> Commit:
        """See `Ledger.commit`."""
        refusals.checked_commit(claims)
        rows = [x for claim in claims for x in _row(claim)]
        head = (self._link.settings.log_events_max, at, slot_of(at), fence.incarnation, fence.epoch)
        blob = b"" if prices is None else encode_prices(prices)
        reply = await self._link.call("commit", *head, encode_plan(plan), blob, *rows)
        match reply.code:
            case "FENCED":
                raise refusals.fenced(fence, Fence(self._link.incarnation, int(reply.text(0))))
            case "OVERCOMMIT":
                slot = int(reply.text(1))
                raise refusals.overcommit(Shortfall(reply.text(0), Window(slot, slot + 1), int(reply.text(2))))
        return Commit(int(reply.text(0)), tuple(_name(key) for key in reply.rest[1]))

    async def snapshot(self) -> Snapshot:
        """See `Ledger.snapshot`."""
        reply = await self._link.read("snapshot")
        live = sorted(map(stored_claim, reply.rest[1]), key=lambda claim: claim.name)
        return Snapshot(self._link.incarnation, reply.revision, self._fleet_of(reply.rest[0]), tuple(live))

    async def claim(self, name: ClaimName) -> Claim:
        """See `Ledger.claim`."""
        reply = await self._link.read("claim", name.key)
        if reply.code == "CLAIM_NOT_FOUND":
            raise refusals.claim_not_found(name)
        return stored_claim(reply.rest[0])

    async def claims(self, *, tenant: str | None, after: ClaimName | None, limit: int) -> Page:
        """See `Ledger.claims`."""
        lowest, end = ("[", "+") if tenant is None else (f"({tenant}/", f"({tenant}0")  # 0 comes next after /
        if after is not None:
            lowest = f"({after.key}" if tenant is None else max(lowest, f"({after.key}")
        wanted = min(limit, PAGE_MAX)
        reply = await self._link.read("claims_page", lowest, end, wanted)
        found = tuple(map(stored_claim, reply.rest[0][:wanted]))
        more = bool(found) and len(reply.rest[0]) > wanted
        return Page(found, found[-1].name if more else None, reply.revision)

    async def balances(self, window: Window) -> tuple[int, tuple[Balance, ...]]:
        """See `Ledger.balances`."""
        reply = await self._link.read("balances", window.first, window.end)
        fleet = self._fleet_of(reply.rest[0])
        granted = dict.fromkeys(fleet_accounts(fleet), (0,) * window.slots)
        lent: list[bytes] = reply.rest[1]
        granted.update((lent[i].decode(), devices(lent[i + 1])) for i in range(0, len(lent), 2))
        return reply.revision, balances(fleet, granted)

    async def plan(self, revision: int | None) -> PlanRecord:
        """See `Ledger.plan`."""
        reply = await self._link.read("plan", "" if revision is None else revision)
        if reply.code == "PLAN_NOT_FOUND":
            raise refusals.plan_not_found(revision)
        return stored_plan(reply.rest[0])

    async def prices(self) -> BidPrices | None:
        """See `Ledger.prices`."""
        reply = await self._link.read("prices")
        return stored_prices(reply.rest[0]) if reply.rest[0] else None

    async def fleet(self) -> Fleet:
        """See `Ledger.fleet`."""
        reply = await self._link.read("fleet")
        return self._fleet_of(reply.rest[0])

    async def fleet_revision(self) -> int:
        """See `Ledger.fleet_revision`."""
        return int((await self._link.read("head")).text(2))

    async def revision(self) -> int:
        """See `Ledger.revision`."""
        return (await self._link.read("head")).revision

    async def events(self, after: int, *, limit: int, wait_millis: int = 0) -> tuple[Event, ...]:
        """See `Ledger.events`."""
        # Whoever waits for what comes next is told little at a time; history is much.
        bulk = wait_millis <= 0
        found = await self._events(after, limit, bulk)
        if not found and wait_millis > 0:
            await self._link.wait(after, wait_millis)
            found = await self._events(after, limit, bulk)
        return found

    async def _events(self, after: int, limit: int, bulk: bool) -> tuple[Event, ...]:
        reply = await self._link.read("events", after, limit, bulk=bulk)
        match reply.code:
            case "REVISION_AHEAD":
                raise refusals.revision_ahead(after, reply.revision)
            case "COMPACTED":
                raise trimmed(after, int(reply.text(0)))
        return tuple(map(self._written.event, reply.rest[0]))

    async def close(self) -> None:
        """See `Ledger.close`."""
        await self._link.close()

    async def _mutate(self, verb: str, key: RequestKey, at: int, *args: str | int) -> Reply:
        """Call a verb that is done at most once for ``key``; Faults: REQUEST_ID_REUSED and those of `Link.call`."""
        assert "\n" not in key.method + key.body_digest
        settings = self._link.settings
        reply = await self._link.call(
            verb,
            *(key.method, key.body_digest, settings.replay_hours * 3_600_000),
            *(settings.log_events_max, at),
            *args,
            replay=keys.replay_key(self._link.market, key.scope, key.request_id),
        )
        if reply.code == "REQUEST_ID_REUSED":
            raise refusals.request_id_reused(key)
        return reply

    def _fleet_of(self, text: bytes) -> Fleet:
        """The fleet of that text, which seldom changes."""
        if text != self._fleet_text:
            self._fleet, self._fleet_text = decode_fleet(text), text
        return self._fleet


def _check_market(reply: Reply, market: str) -> None:
    """Faults: SAFE_HALT unless the market is there and of a schema that this release can read."""
    if reply.code == "MISSING":
        raise safe_halt(
            f"the store holds no market {market}",
            "Check the store's address; if the market is new, start once with leave to create it",
        )
    if int(reply.text(0)) > SCHEMA:
        raise safe_halt(f"market {market} has schema {reply.text(0)}", "Run the broker release that wrote it")


def _row(claim: Claim) -> tuple[str | int, ...]:
    """A claim as the functions take it: key, revision that it replaces, if it stays live and leased, holds, body."""
    holds = holds_text(checked_holds(claim))
    standing = 2 if isinstance(claim.state, Active) else int(claim.live)
    return claim.name.key, claim.revision, standing, holds, encode_claim(claim)


def _receipt(reply: Reply) -> Receipt:
    claim = decode_claim(cast(bytes, reply.rest[1]), revision=int(reply.text(0)))
    return Receipt(claim, replayed=reply.code == "REPLAYED")


def _applied(reply: Reply) -> Applied:
    shortfalls, _, before = reply.text(1).partition("\n")
    return Applied(
        int(reply.text(0)),
        decode_shortfalls(shortfalls),
        decode_fleet(before) if before else Fleet(),
        replayed=reply.code == "REPLAYED",
    )


def _name(key: bytes) -> ClaimName:
    return ClaimName(*key.decode(errors="replace").split("/", 1))
