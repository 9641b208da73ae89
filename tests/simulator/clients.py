"""Callers: each asks, quotes, holds, uses and gives back, through whichever server, with a client's patience."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from broker.domain.claim import Active, Ask, Claim, ClaimName, Committed, Held, Placement, Planned, Preemption, Tier
from broker.domain.faults import Fault, FaultReason, Kind
from broker.domain.slots import SLOT_SECONDS, slot_of
from broker.domain.supply import Growth, Outage, Recovery, SupplyChange
from broker.leasing import Lease
from broker.ledger.port import Receipt, RequestKey
from tests import builders
from tests.simulator.network import Network, Unreachable
from tests.simulator.processes import ServerProcess
from tests.simulator.setting import Clock, Setting, Trace
from tests.simulator.uses import Use, Uses

__all__ = ["Client", "Request", "Unknown"]

CALL_SECONDS = 1.5
ATTEMPTS = 5
OPERATIONS = {
    "create": 5.0,
    "take_offer": 1.5,
    "hold": 2.0,
    "redeem": 3.0,
    "amend": 1.0,
    "cancel": 1.5,
    "acquire": 6.0,
    "take_over": 0.3,
    "get": 1.0,
    "list_claims": 1.0,
    "explain": 0.3,
    "ask_plan": 0.2,
}

Call = Callable[[ServerProcess], Awaitable[Any]]


class Unknown(Exception):
    """All patience is used up, and nobody said what became of it."""


@dataclass
class Request:
    """One request, however often it was sent, and every answer that any server gave to it."""

    method: str
    key: RequestKey
    sent: int = 0  # times that it may have arrived
    answers: list[object] = field(default_factory=list)


@dataclass
class Client:
    """One caller; ``seen`` is the latest revision that any answer named."""

    name: str
    tenant: str
    rng: random.Random
    network: Network
    servers: list[ServerProcess]
    clock: Clock
    uses: Uses
    trace: Trace
    setting: Setting
    complain: Callable[[str], None]
    requests: list[Request]
    operator: bool = False
    patient: bool = False  # tries for longer, once there are no faults any more
    mine: dict[ClaimName, Claim] = field(default_factory=dict)
    held: set[ClaimName] = field(default_factory=set)
    seen: int = 0
    renewing: bool = True
    keepers: list[asyncio.Task[None]] = field(default_factory=list)

    async def live(self, until: float) -> None:
        """One operation after the other."""
        loop = self.network.loop
        while loop.awake() < until:
            await asyncio.sleep(min(self.rng.expovariate(1 / self.setting.think), until - loop.awake()))
            chances = OPERATIONS | ({"change_supply": 3.0} if self.operator else {})
            what = self.rng.choices(list(chances), list(chances.values()))[0]
            try:
                await getattr(self, what)()
                outcome = "OK"
            except Fault as fault:
                outcome = fault.reason.name
            except (Unknown, Unreachable):
                outcome = "UNKNOWN"
            self.trace.say(self.name, what, outcome)

    # --- calling

    def request(self, method: str, *, scope: str = "") -> Request:
        """One more request."""
        made = Request(
            method, RequestKey(scope or self.tenant, method, f"{self.name}-{len(self.requests)}", f"{self.name}")
        )
        self.requests.append(made)
        return made

    async def ask(self, call: Call, request: Request | None = None) -> Any:
        """The answer to a call, sent again with the same id for as long as nobody says what became of it."""
        last: Fault | None = None
        for attempt in range(ATTEMPTS * (4 if self.patient else 1)):
            if attempt:
                await asyncio.sleep(self.rng.uniform(0, min(1.0, 0.1 * 2**attempt)))
            try:
                return await self.once(call, request)
            except Unreachable:
                last = None
            except Fault as fault:
                # Who has to wait for devices may wait for long.
                handover = fault.reason is FaultReason.LEASE_HANDOVER and attempt > 2
                if fault.reason.kind is not Kind.UNAVAILABLE or handover:
                    raise
                last = fault
        if last is not None:
            raise last
        raise Unknown

    async def once(self, call: Call, request: Request | None) -> Any:
        """One attempt at some server; what a repeated message brings is kept as well, but never seen by the caller."""
        loop = self.network.loop
        answer: asyncio.Future[object] = loop.create_future()
        for _ in range(2 if request is not None and self.network.repeats() else 1):
            server = self.rng.choice(self.servers)
            if request is not None:
                request.sent += 1
            respond = partial(self._respond, server.name, request, answer)
            self.network.send(self.name, server.name, partial(server.take, call, respond))
        try:
            async with asyncio.timeout(CALL_SECONDS):
                got = await answer
        except TimeoutError:
            raise Unreachable from None
        if isinstance(got, Exception):
            raise got
        return got

    def _respond(self, server: str, request: Request | None, answer: asyncio.Future[object], got: object) -> None:
        if request is not None:
            request.answers.append(got)

        def arrive() -> None:
            if not answer.done():
                answer.set_result(got)

        self.network.send(server, self.name, arrive)

    def learn(self, claim: Claim) -> Claim:
        """A claim as some answer shows it."""
        known = self.mine.get(claim.name)
        if known is None or known.revision <= claim.revision:
            self.mine[claim.name] = claim
        self.seen = max(self.seen, claim.revision)
        return claim

    # --- asking

    def wants(self, request: Request) -> Ask:
        """Something to ask for; its label says by which request."""
        rng = self.rng
        tier = rng.choice(list(Tier))
        slots = rng.choice([1, 1, 2, 3])
        hour = slot_of(self.clock.seconds())
        return builders.ask(
            rng.choice([1, 4, 5, 8, 16, 24, 37]),
            slots,
            tier=tier,
            gang=rng.random() < 0.5,
            value_microusd=rng.choice([0, 5_000_000, 900_000_000]),
            deadline=hour + slots + rng.randrange(1, 4) if rng.random() < 0.3 else None,
            labels={"request": request.key.request_id},
            preemption=Preemption(checkpoint=1) if tier is Tier.SPOT and rng.random() < 0.5 else Preemption(),
        )

    async def create(self) -> None:
        """A claim, under a name of its own or the server's."""
        request = self.request("CreateClaim")
        ask = self.wants(request)
        claim_id = f"x-{request.key.request_id}" if self.rng.random() < 0.5 else ""
        receipt = await self.ask(lambda s: s.desk.submit(self.tenant, claim_id, ask, request.key), request)
        self.learn(receipt.claim)

    async def take_offer(self) -> None:
        """Look at offers, think, take the best."""
        request = self.request("CreateClaim")
        ask = self.wants(request)
        quote = await self.ask(lambda s: s.desk.quote(self.tenant, ask))
        if quote.offers:
            await asyncio.sleep(self.rng.uniform(0, 2))
            offer = quote.offers[0]
            receipt = await self.ask(
                lambda s: s.desk.submit(self.tenant, "", offer.ask, request.key, places=offer.placements), request
            )
            self.learn(receipt.claim)
            told, taken = _where(offer.placements), _where(receipt.claim.placements)
            if told != taken:
                self.complain(f"{receipt.claim.name} was offered {told} and got {taken}")

    async def hold(self) -> None:
        """A quote whose capacity is kept aside."""
        request = self.request("QuoteClaim")
        ask, seconds = self.wants(request), self.rng.choice([3, 8, 60])
        _, receipt = await self.ask(lambda s: s.desk.hold(self.tenant, "", ask, request.key, seconds=seconds), request)
        if receipt is not None:
            self.held.add(self.learn(receipt.claim).name)

    async def redeem(self) -> None:
        """Make a claim of what is held."""
        if self.held:
            name = self.rng.choice(sorted(self.held))
            request = self.request("RedeemQuote")
            etag = str(self.mine[name].revision) if self.rng.random() < 0.3 else ""
            got = await self.ask(lambda s: s.desk.redeem(name, etag=etag, key=request.key), request)
            self.held.discard(name)
            if isinstance(got, Receipt):
                self.learn(got.claim)

    async def amend(self) -> None:
        """Another label, sometimes another size."""
        if name := self.one():
            request = self.request("UpdateClaim")
            devices = self.rng.choice([8, 16]) if self.rng.random() < 0.4 else 0

            def edit(ask: Ask) -> Ask:
                labels = dict(ask.labels) | {"amended": request.key.request_id}
                return replace(ask, labels=labels, devices=devices or ask.devices)

            receipt = await self.ask(lambda s: s.desk.amend(name, edit, etag="", key=request.key), request)
            self.learn(receipt.claim)

    async def cancel(self) -> None:
        """A claim is no longer wanted."""
        if name := self.one():
            request = self.request("CancelClaim")
            self.learn((await self.ask(lambda s: s.desk.cancel(name, etag="", key=request.key), request)).claim)

    async def get(self) -> None:
        """One of its claims: never older than it was seen to be."""
        if name := self.one():
            known = self.mine[name].revision
            claim = await self.ask(lambda s: s.desk.claim(name))
            if claim.revision < known:
                self.complain(f"{self.name} saw {name} at {known} and is told of {claim.revision}")
            self.learn(claim)

    async def list_claims(self) -> None:
        """All its tenant's claims: never as of an older revision than it has seen."""
        known = self.seen
        page = await self.ask(lambda s: s.desk.claims(tenant=self.tenant, after=None, limit=1_000))
        if page.revision < known:
            self.complain(f"{self.name} had seen revision {known} and is given a list as of {page.revision}")
        for claim in page.claims:
            if claim.name in self.mine:
                self.learn(claim)
        self.seen = max(self.seen, page.revision)

    async def explain(self) -> None:
        """Why a claim waits."""
        if name := self.one():
            await self.ask(lambda s: s.desk.explain(name))

    async def ask_plan(self) -> None:
        """A plan of everything that is known."""
        request = self.request("RunPlan", scope="-")
        plan = await self.once(lambda s: s.desk.run_plan(key=request.key, time_limit_seconds=1), request)
        self.seen = max(self.seen, plan.revision)

    async def change_supply(self) -> None:
        """Devices go, come back, or come."""
        request, at = self.request("ChangeSupply", scope="-"), self.clock.seconds()
        changes: list[SupplyChange] = [
            Outage(at, at + 2 * SLOT_SECONDS, 8 * self.rng.randrange(1, 4)),
            Recovery(at),
            Growth(at + SLOT_SECONDS, 8),
        ]
        change = self.rng.choice(changes)
        pool = self.rng.choice(["dc-1", "dc-2"])
        await self.ask(lambda s: s.supplying.change(pool, change, etag="", key=request.key, dry_run=False), request)

    def one(self) -> ClaimName | None:
        """Any of its claims that lives, as far as it knows."""
        names = [claim.name for claim in self.mine.values() if claim.live]
        return self.rng.choice(names) if names else None

    # --- using

    async def acquire(self) -> None:
        """The lease of one of its claims whose time has come."""
        now = self.clock.seconds()
        due = [
            claim.name
            for claim in self.mine.values()
            if claim.live and not isinstance(claim.state, Held | Active) and _near(claim, now)
        ]
        if due:
            await self._acquire(self.rng.choice(due))

    async def take_over(self) -> None:
        """The lease of a claim that is in use already."""
        if names := [claim.name for claim in self.mine.values() if isinstance(claim.state, Active)]:
            await self._acquire(self.rng.choice(names))

    async def _acquire(self, name: ClaimName) -> None:
        request = self.request("AcquireLease")
        sent = [0.0]

        async def call(server: ServerProcess) -> Lease:
            return await server.leasing.acquire(name, ttl_millis=0, key=request.key)

        self.learn(await self.ask(lambda s: s.desk.claim(name)))
        # Whatever attempt is answered, it was sent no earlier than the first.
        sent[0] = self.uses.now()
        lease = await self.ask(call, request)
        self.learn(lease.claim)
        use = self.uses.begin(lease, self.clock, sent[0])
        self.trace.say(self.name, "holds", name.key, lease.fence, lease.millis_left)
        if use is not None:
            self.keepers.append(self.network.loop.spawn(self.name, self._keep(use, lease.token)))

    async def _keep(self, use: Use, token: str) -> None:
        """Renew in time, unless it forgets; give back, sooner or later."""
        leaves = self.uses.now() + self.rng.expovariate(1 / 15)
        pause = use.lease.renew_after / 1000
        while self.renewing and self.uses.by_name.get(use.name) is use:
            forgets = self.rng.random() < self.setting.forgetful
            await asyncio.sleep(pause * (8 if forgets else 1) / use.clock.rate)
            try:
                if self.uses.now() > leaves:
                    self.uses.stop(use)
                    await self._release(use, token)
                    return
                sent = self.uses.now()
                lease = await self.once(lambda s: s.leasing.renew(use.name, token, ttl_millis=0), None)
                self.uses.renew(use, lease, sent)
                self.learn(lease.claim)
                pause = lease.renew_after / 1000
            except Unreachable:
                pause = 0.3
            except Unknown:
                return
            except Fault as fault:
                if fault.reason.kind is not Kind.UNAVAILABLE:
                    self.uses.stop(use)
                    self.trace.say(self.name, "lost", use.name.key, fault.reason.name)
                    return
                pause = 0.3

    async def _release(self, use: Use, token: str) -> None:
        request = self.request("ReleaseLease")
        self.learn(await self.ask(lambda s: s.leasing.release(use.name, token, key=request.key), request))


def _near(claim: Claim, now: int) -> bool:
    """Whether its time has come, as far as is known, or nearly."""
    return (
        isinstance(claim.state, Planned | Committed)
        and any(place.window.first * SLOT_SECONDS - 2 <= now for place in claim.placements)
    ) or not claim.placements


def _where(places: tuple[Placement, ...]) -> list[tuple[str, int, int, int]]:
    return sorted((place.pool, place.devices, place.window.first, place.window.end) for place in places)
