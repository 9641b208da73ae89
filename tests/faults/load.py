"""Callers that keep asking a ledger whatever happens to its store, and what must be true of the store afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count

from broker.domain.claim import Claim, Committed
from broker.domain.faults import Fault, FaultReason
from broker.domain.snapshot import Event
from broker.ledger.fold import fold, violations
from broker.ledger.port import Ledger
from broker.ledger.redis import RedisLedger
from broker.ledger.redis.verify import verify
from tests.builders import claim, key, placement
from tests.ledger.ledgers import Desk, open_redis

__all__ = ["Load", "all_events", "assert_sound", "market_of"]


@dataclass
class Load:
    """Callers that each create one claim after the other, repeating a request until it is answered."""

    ledger: Ledger
    acknowledged: dict[str, int] = field(default_factory=dict)
    refusals: list[Fault] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, callers: int = 8) -> None:
        """Let so many callers ask."""
        self._tasks = [asyncio.create_task(self._call()) for _ in range(callers)]

    async def stop(self) -> None:
        """Each caller ends with an answer to its last request."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def more(self, number: int) -> bool:
        """Whether so many have been acknowledged."""
        for task in self._tasks:
            if task.done():
                task.result()
        return len(self.acknowledged) >= number

    async def _call(self) -> None:
        while True:
            await self.once(f"atlas/run-{next(self._numbers)}")

    async def once(self, name: str) -> Claim:
        """One claim that holds eight devices, asked for until there is an answer."""
        waiting = claim(name)
        while True:
            try:
                receipt = await self.ledger.submit(
                    waiting, key=key(name), at=0, candidates=[_placed(waiting)], must_fit=False
                )
            except Fault as fault:
                if fault.reason is not FaultReason.STORE_UNAVAILABLE:
                    raise
                self.refusals.append(fault)
                await asyncio.sleep(0.005)
                continue
            self.acknowledged[name] = receipt.claim.revision
            return receipt.claim


def _placed(waiting: Claim) -> Claim:
    return waiting.becomes(Committed((placement(),)), at=0)


async def market_of(url: str) -> tuple[RedisLedger, Load]:
    """A market with much room on that store, and callers for it."""
    ledger = await open_redis(url, "m")
    await Desk(ledger).open_pools({"dc-1": 1_000_000})
    return ledger, Load(ledger)


async def all_events(ledger: Ledger) -> tuple[Event, ...]:
    """The log from its beginning."""
    events: list[Event] = []
    while page := await ledger.events(len(events), limit=1_000):
        events += page
    return tuple(events)


async def assert_sound(ledger: RedisLedger, acknowledged: dict[str, int]) -> None:
    """Nothing acknowledged is lost or doubled, no rule was ever broken, and the store is what its log says."""
    events = await all_events(ledger)
    assert violations(events) == ()
    made = {each.name.key: event.revision for event in reversed(events) for each in event.claims}
    lost = {name: revision for name, revision in acknowledged.items() if made.get(name) != revision}
    assert not lost
    snapshot = await ledger.snapshot()
    assert fold(events).claims == {each.name: each for each in snapshot.claims}
    verdict = await verify(ledger.link)
    assert (verdict.wrong, verdict.kept) == ((), verdict.told)
