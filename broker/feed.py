"""Tails the ledger's events once per process: keeps the market warm and fans out to watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from broker.admission.demand import Demand
from broker.admission.expected import Expectations
from broker.admission.outlook import Outlook
from broker.domain.claim import Claim, ClaimName
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet
from broker.domain.plan import PlanRecord
from broker.domain.snapshot import Event, Snapshot
from broker.ledger.port import Ledger

__all__ = ["Changes", "Feed", "FeedSettings", "Interest"]


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Limits of one process."""

    watchers_max: int = 4_000
    tenant_watchers_max: int = 1_000  # of one tenant, and of those who watch all tenants
    backlog_events_max: int = 1_000  # a watcher that has more before it is cut
    progress_seconds: float = 5.0
    batch_events: int = 500
    history_events: int = 20_000  # before a process begins: what it learns from of how expected starts fared
    history_batch_events: int = 20  # of these between two answers to callers


@dataclass(frozen=True, slots=True)
class Changes:
    """Claims as ``revision`` left them; empty: everything up to that revision has been told."""

    revision: int
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Interest:
    """Which changes of claims to tell: those of one tenant (None: all), of these claims, in or out of these states.

    Names and states that are empty limit nothing.
    """

    tenant: str | None = None
    names: frozenset[ClaimName] = frozenset()
    states: frozenset[str] = frozenset()

    def of(self, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
        """Those of the claims that an event left behind to be told; needs nothing but the claims, so any server and
        any resumed watch comes to the same.
        """
        if self == _EVERYTHING:
            return claims
        return tuple(claim for claim in claims if self._sees(claim))

    def _sees(self, claim: Claim) -> bool:
        return (
            self.tenant in (None, claim.name.tenant)
            and (not self.names or claim.name in self.names)
            and (not self.states or claim.state_name in self.states or claim.state_name_before in self.states)
        )


_EVERYTHING = Interest()


@dataclass(slots=True, eq=False)
class _Watcher:
    """One reader's backlog of events that it wants; ``lost`` once it fell behind."""

    backlog: asyncio.Queue[Event]
    interest: Interest | None  # None: every event
    lost: bool = False

    @property
    def tenant(self) -> str | None:
        """Whose events it may want; None: anybody's."""
        return self.interest.tenant if self.interest is not None else None

    def tell(self, event: Event, claims: tuple[Claim, ...]) -> None:
        """Take the event in if it is wanted; ``claims`` are those of the event that can be."""
        if self.lost or not (self.interest is None or self.interest.of(claims)):
            return
        try:
            self.backlog.put_nowait(event)
        except asyncio.QueueFull:
            self.lost = True


@dataclass(slots=True)
class Feed:
    """The market as of the newest event, and every event after it to whoever watches. Use as a context manager."""

    ledger: Ledger
    settings: FeedSettings = field(default_factory=FeedSettings)
    _outlook: Outlook = field(default_factory=lambda: Outlook(Snapshot("", 0, Fleet(), ())))
    _watchers: dict[_Watcher, None] = field(default_factory=dict)  # in order of arrival
    _by_tenant: dict[str | None, dict[_Watcher, None]] = field(default_factory=dict)  # None: those of all tenants
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tail: asyncio.Task[None] | None = None
    _history: asyncio.Task[None] | None = None
    _down: Fault | None = None

    async def __aenter__(self) -> Feed:
        await self._look()
        self._tail = asyncio.create_task(self._follow())
        self._history = asyncio.create_task(self._learn())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._tail, self._history) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def outlook(self) -> Outlook:
        """The market as of the newest event seen."""
        return self._outlook

    @property
    def revision(self) -> int:
        """The newest revision seen."""
        return self._outlook.revision

    @property
    def watches(self) -> int:
        """How many readers there are."""
        return len(self._watchers)

    def assert_following(self) -> None:
        """Raise what ended the feed, if anything did: nobody would be told of anything any more."""
        if self._tail is not None and self._tail.done():
            self._tail.result()

    async def learnt(self) -> None:
        """Wait until it has learnt from the events before this process."""
        if self._history is not None:
            await self._history

    @property
    def down(self) -> Fault | None:
        """Why events do not arrive at the moment, if they do not."""
        return self._down

    async def plan_on(self, revision: int) -> PlanRecord:
        """The first plan of everything that looked at ``revision`` or later; waits for it."""
        async for _, event in self._events(revision + 1, None):
            plan = event.plan if event is not None else None
            if plan is not None and plan.based_on_revision >= revision and not plan.repair:
                return plan
        raise AssertionError("the feed never ends")

    async def watch(self, start_revision: int, interest: Interest = _EVERYTHING) -> AsyncIterator[Changes]:
        """Every change of interest, once, in order, from ``start_revision`` (0: from now) on.

        Yields an empty Changes at once, and whenever nothing was told for a while. Faults: COMPACTED, REVISION_AHEAD,
        WATCH_LIMIT, WATCH_TOO_SLOW.
        """
        self._limit(interest.tenant)
        first = start_revision or self.revision + 1
        await self.reach(first - 1)
        if first <= self.revision:
            # Whoever resumes too late learns it before anything else.
            await self.ledger.events(first - 1, limit=1)
        clock = asyncio.get_running_loop().time
        spoke = clock()
        yield Changes(first - 1)
        async for told, event in self._events(first, interest):
            claims = interest.of(event.claims) if event is not None else ()
            # A long history may have nothing of interest: that too is progress.
            if claims or event is None or clock() - spoke >= self.settings.progress_seconds:
                spoke = clock()
                yield Changes(told, claims)

    def _limit(self, tenant: str | None) -> None:
        """No tenant takes the places of the others."""
        settings, mine = self.settings, len(self._by_tenant.get(tenant, ()))
        for who, there, most in (
            ("This server", len(self._watchers), settings.watchers_max),
            ("The tenant", mine, settings.tenant_watchers_max),
        ):
            if there >= most:
                raise Fault(
                    FaultReason.WATCH_LIMIT,
                    f"{who} has {most} watches open already",
                    remedy="Close a watch, or watch one tenant once and share the stream.",
                    facts={"max_watches": str(most)},
                )

    async def _events(self, first: int, interest: Interest | None) -> AsyncIterator[tuple[int, Event | None]]:
        """Each event of interest (None: each) from revision ``first`` on, once, in order, and its revision; others of
        the history may come too. When none came for a while: the revision up to which there is none.
        """
        await self.reach(first - 1)
        watcher = _Watcher(asyncio.Queue(self.settings.backlog_events_max), interest)
        # From here on the backlog has every event after `known`; history has the rest.
        known, after = self.revision, first - 1
        self._enlist(watcher)
        try:
            while after < known:
                for event in await self.ledger.events(after, limit=min(self.settings.batch_events, known - after)):
                    after = event.revision
                    yield after, event
            while True:
                if watcher.lost and watcher.backlog.empty():
                    raise Fault(
                        FaultReason.WATCH_TOO_SLOW,
                        f"The reader fell {self.settings.backlog_events_max} events behind",
                        remedy="Watch again from the last revision received, and read faster.",
                    )
                try:
                    async with asyncio.timeout(self.settings.progress_seconds):
                        event = await watcher.backlog.get()
                except TimeoutError:
                    # What is of interest and not in the backlog has not happened, unless some of it was lost.
                    if watcher.backlog.empty() and not watcher.lost:
                        after = max(after, self.revision)
                        yield after, None
                    continue
                if event.revision > after:
                    after = event.revision
                    yield after, event
        finally:
            self._dismiss(watcher)

    def _enlist(self, watcher: _Watcher) -> None:
        self._watchers[watcher] = None
        self._by_tenant.setdefault(watcher.tenant, {})[watcher] = None

    def _dismiss(self, watcher: _Watcher) -> None:
        del self._watchers[watcher]
        peers = self._by_tenant[watcher.tenant]
        del peers[watcher]
        if not peers:
            del self._by_tenant[watcher.tenant]

    async def reach(self, revision: int) -> None:
        """Wait until the feed has seen ``revision``, if the ledger has it at all."""
        if revision <= self.revision:
            return
        present = await self.ledger.revision()
        if revision > present:
            raise Fault(
                FaultReason.REVISION_AHEAD,
                f"What was asked for lies ahead of the present revision, {present}",
                remedy="Watch from a revision that a reply has named.",
                facts={"revision": str(present)},
            )
        async with self._moved:
            await self._moved.wait_for(lambda: self.revision >= revision)

    async def _follow(self) -> None:
        behind = owed = False  # owed: prices of a plan that was told
        while True:
            try:
                if behind:
                    await self._catch_up()
                    behind = False
                events = await self.ledger.events(self.revision, limit=self.settings.batch_events, wait_millis=1_000)
                self._down = None
                for event in events:
                    self._tell(event)
                owed = owed or any(event.plan is not None for event in events)
                if owed:
                    self._outlook.set_prices(await self.ledger.prices())
                    owed = False
            except Fault as fault:
                behind = fault.reason is FaultReason.COMPACTED
                # Otherwise the store is away or halted: keep asking; callers see their own calls refused meanwhile.
                self._down = None if behind else fault
                await asyncio.sleep(0 if behind else 0.2)
                continue
            if events:
                async with self._moved:
                    self._moved.notify_all()

    async def _learn(self) -> None:
        """Learn who asks and how expected starts fared from the events before this process, and go on from there."""
        learnt, demand = Expectations(), Demand(self._outlook.fleet)
        after = max(0, self.revision - self.settings.history_events)
        while after < self.revision:
            try:
                events = await self.ledger.events(after, limit=self.settings.history_batch_events)
            except Fault as fault:
                if fault.reason is FaultReason.COMPACTED:
                    learnt.resume()
                    after = int(fault.facts["oldest_revision"]) - 1
                    demand.resume(after, self._outlook.fleet)
                else:
                    await asyncio.sleep(0.2)
                continue
            for event in events:
                if event.revision <= self.revision:
                    learnt.apply(event)
                    demand.apply(event)
                    after = event.revision
        # It has seen all that the tail has told until this very moment.
        self._outlook.expected, self._outlook.demand = learnt, demand

    async def _catch_up(self) -> None:
        """Skip what is no longer kept; whoever was watching is cut, because it would miss that."""
        await self._look()
        for watcher in self._watchers:
            watcher.lost = True
        async with self._moved:
            self._moved.notify_all()

    async def _look(self) -> None:
        """Know the whole market as it is now."""
        snapshot = await self.ledger.snapshot()
        expected, demand = self._outlook.expected, self._outlook.demand
        expected.resume()
        demand.resume(snapshot.revision, snapshot.fleet)
        self._outlook = Outlook(snapshot, await self.ledger.prices(), expected=expected, demand=demand)

    def _tell(self, event: Event) -> None:
        self._outlook.apply(event)
        for watcher in self._by_tenant.get(None, ()):
            watcher.tell(event, event.claims)
        # A plan may change thousands of claims: each watch looks at those of its tenant only.
        claims: dict[str, list[Claim]] = {}
        for claim in event.claims:
            claims.setdefault(claim.name.tenant, []).append(claim)
        for tenant, changed in claims.items():
            mine = tuple(changed)
            for watcher in self._by_tenant.get(tenant, ()):
                watcher.tell(event, mine)
