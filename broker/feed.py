"""Tails the ledger's events once per process: keeps the fleet warm and fans out to watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from broker.admission.outlook import Outlook
from broker.domain.claim import Claim
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet
from broker.domain.plan import PlanRecord
from broker.domain.snapshot import Event, Snapshot
from broker.ledger.port import Ledger

__all__ = ["Changes", "Feed", "FeedSettings"]


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Limits of one process."""

    watchers_max: int = 1_000
    backlog_events_max: int = 1_000  # a watcher that falls further behind is cut
    progress_seconds: float = 5.0
    batch_events: int = 500


@dataclass(frozen=True, slots=True)
class Changes:
    """Claims as ``revision`` left them; empty: everything up to that revision has been told."""

    revision: int
    claims: tuple[Claim, ...] = ()


@dataclass(slots=True, eq=False)
class _Watcher:
    """One reader's backlog; ``lost`` once it fell behind."""

    backlog: asyncio.Queue[Event]
    lost: bool = False


@dataclass(slots=True)
class Feed:
    """The market as of the newest event, and every event after it to whoever watches. Use as a context manager."""

    ledger: Ledger
    settings: FeedSettings = field(default_factory=FeedSettings)
    _outlook: Outlook = field(default_factory=lambda: Outlook(Snapshot("", 0, Fleet(), ())))
    _watchers: set[_Watcher] = field(default_factory=set)
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tail: asyncio.Task[None] | None = None
    _down: Fault | None = None

    async def __aenter__(self) -> Feed:
        await self._look()
        self._tail = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._tail is not None:
            self._tail.cancel()
            await asyncio.gather(self._tail, return_exceptions=True)

    @property
    def outlook(self) -> Outlook:
        """The market as of the newest event seen."""
        return self._outlook

    @property
    def revision(self) -> int:
        """The newest revision seen."""
        return self._outlook.revision

    def assert_following(self) -> None:
        """Raise what ended the feed, if anything did: nobody would be told of anything any more."""
        if self._tail is not None and self._tail.done():
            self._tail.result()

    @property
    def down(self) -> Fault | None:
        """Why events do not arrive at the moment, if they do not."""
        return self._down

    async def plan_on(self, revision: int) -> PlanRecord:
        """The first plan that looked at ``revision`` or later; waits for it."""
        async for event in self._events(revision + 1):
            if event is not None and event.plan is not None and event.plan.based_on_revision >= revision:
                return event.plan
        raise AssertionError("the feed never ends")

    async def watch(self, start_revision: int, *, tenant: str | None) -> AsyncIterator[Changes]:
        """Every change of one tenant's claims or of all, once, in order, from ``start_revision`` (0: from now) on.

        Yields an empty Changes at once, and whenever nothing was told for a while. Faults: COMPACTED, REVISION_AHEAD,
        WATCH_LIMIT, WATCH_TOO_SLOW.
        """
        if len(self._watchers) >= self.settings.watchers_max:
            raise Fault(
                FaultReason.WATCH_LIMIT,
                f"This server has {self.settings.watchers_max} watches open already",
                remedy="Close a watch, or watch one tenant once and share the stream.",
            )
        first = start_revision or self.revision + 1
        await self._reach(first - 1)
        if first <= self.revision:
            # Whoever resumes too late learns it before anything else.
            await self.ledger.events(first - 1, limit=1)
        told = first - 1
        clock = asyncio.get_running_loop().time
        spoke = clock()
        yield Changes(told)
        async for event in self._events(first):
            told = event.revision if event is not None else told
            claims = [c for c in event.claims if tenant in (None, c.name.tenant)] if event is not None else []
            # Others may keep the market busy for hours: that too is progress.
            if claims or event is None or clock() - spoke >= self.settings.progress_seconds:
                spoke = clock()
                yield Changes(told, tuple(claims))

    async def _events(self, first: int) -> AsyncIterator[Event | None]:
        """Each event from revision ``first`` on, once, in order; None when none came for a while."""
        await self._reach(first - 1)
        watcher = _Watcher(asyncio.Queue(self.settings.backlog_events_max))
        # From here on the backlog has every event after `known`; history has the rest.
        known, after = self.revision, first - 1
        self._watchers.add(watcher)
        try:
            while after < known:
                for event in await self.ledger.events(after, limit=min(self.settings.batch_events, known - after)):
                    after = event.revision
                    yield event
            while True:
                if watcher.lost and watcher.backlog.empty():
                    raise Fault(
                        FaultReason.WATCH_TOO_SLOW,
                        f"The reader fell {self.settings.backlog_events_max} events behind",
                        remedy="Watch again from the last revision received, and read faster.",
                    )
                try:
                    event = await asyncio.wait_for(watcher.backlog.get(), self.settings.progress_seconds)
                except TimeoutError:
                    yield None
                    continue
                if event.revision > after:
                    after = event.revision
                    yield event
        finally:
            self._watchers.discard(watcher)

    async def _reach(self, revision: int) -> None:
        """Wait until the feed has seen ``revision``, if the ledger has it at all."""
        if revision <= self.revision:
            return
        present = await self.ledger.revision()
        if revision > present:
            raise Fault(
                FaultReason.REVISION_AHEAD,
                f"Revision {revision} lies ahead of the present one, {present}",
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
        self._outlook = Outlook(snapshot, await self.ledger.prices())

    def _tell(self, event: Event) -> None:
        self._outlook.apply(event)
        for watcher in self._watchers:
            if watcher.lost:
                continue
            try:
                watcher.backlog.put_nowait(event)
            except asyncio.QueueFull:
                watcher.lost = True
