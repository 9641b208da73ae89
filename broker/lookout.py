"""Looks out, while a plan is made, for supply that is lost: whoever lost his place then comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from broker.domain.faults import Fault, FaultReason
from broker.domain.snapshot import Event
from broker.ledger.port import Ledger

__all__ = ["Lookout", "Struck", "answered", "loses"]

LOOK_SECONDS = 0.05  # between two looks

_T = TypeVar("_T")


class Struck(Exception):
    """Supply was lost."""


def loses(event: Event) -> bool:
    """Whether it leaves a pool with less than claims hold."""
    return any(short.account.startswith("pools/") for short in event.shortfalls)


async def answered(ledger: Ledger) -> int:
    """The revision up to which plans have answered what was asked; what came after it is still owed."""
    try:
        return (await ledger.plan(None)).based_on_revision
    except Fault as fault:
        if fault.reason is not FaultReason.PLAN_NOT_FOUND:
            raise
        return 0


@dataclass(frozen=True, slots=True)
class Lookout:
    """Keeps an eye on the fleet since it was that of ``fleet_revision``."""

    ledger: Ledger
    fleet_revision: int

    async def over(self, work: Awaitable[_T]) -> _T:
        """What the work comes to, unless supply is lost before: then it is cancelled, and `Struck` raised."""
        found = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({found}, timeout=LOOK_SECONDS))[0]:
                if await self._lost():
                    raise Struck
            return found.result()
        finally:
            found.cancel()
            await asyncio.gather(found, return_exceptions=True)

    async def _lost(self) -> bool:
        """Whether another fleet is in force by now in which pools are short; not while the store is away."""
        try:
            present = await self.ledger.fleet_revision()
            if present == self.fleet_revision:
                return False
            return any(loses(event) for event in await self.ledger.events(present - 1, limit=1))
        except Fault:
            return False
