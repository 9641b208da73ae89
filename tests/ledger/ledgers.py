"""Short ways to open a ledger and to drive it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from broker.domain.claim import Claim, Placement, Planned
from broker.domain.slots import Window
from broker.ledger.port import Fence, Ledger, RequestKey
from broker.ledger.redis import RedisLedger, StoreSettings
from tests.builders import claim, fleet, key, plan

__all__ = ["Desk", "FakeClock", "granted", "open_redis"]


@dataclass
class FakeClock:
    """Monotonic seconds that pass only when told to."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Desk:
    """A ledger, and short ways to drive it."""

    ledger: Ledger
    _requests: count[int] = field(default_factory=lambda: count(1))

    def key(self, **fields: str) -> RequestKey:
        """A key that was never used."""
        return key(f"request-{next(self._requests)}", **fields)

    async def open_pools(
        self, pools: dict[str, int] | None = None, tenants: dict[str, int | None] | None = None
    ) -> None:
        """Put a fleet into force."""
        await self.ledger.apply_fleet(fleet(pools or {"dc-1": 64}, tenants), key=self.key(scope="-"), at=0)

    async def submit(self, name: str, **asked: Any) -> Claim:
        """A stored claim that waits."""
        return (await self.ledger.submit(claim(name, **asked), key=self.key(), at=0)).claim

    async def lead(self) -> Fence:
        """The right to commit."""
        fence = await self.ledger.lead("planner-1", ttl_millis=60_000)
        assert fence is not None
        return fence

    async def place(self, stored: Claim, *placements: Placement) -> Claim:
        """The claim, planned there by a commit of its own."""
        await self.ledger.commit(
            [stored.becomes(Planned(placements), at=0)], plan(stored.revision), fence=await self.lead(), at=0
        )
        return await self.ledger.claim(stored.name)


async def open_redis(
    url: str, market: str, *, create: bool = True, lease_clock: Callable[[], int] | None = None, **settings: Any
) -> RedisLedger:
    """A ledger on that market, patient with a busy machine unless told otherwise."""
    settings = {"call_seconds_max": 5.0} | settings
    return await RedisLedger.open(
        url,
        market=market,
        new_id=lambda: "first",
        now=lambda: 0,
        create=create,
        settings=StoreSettings(**settings),
        lease_clock=lease_clock,
    )


async def granted(ledger: Ledger, account: str = "pools/dc-1", *, first: int = 0, end: int = 6) -> tuple[int, ...]:
    """What the account has lent, one entry per slot."""
    _, balances = await ledger.balances(Window(first, end))
    return next((balance.granted for balance in balances if balance.account == account), (0,) * (end - first))
