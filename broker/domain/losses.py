"""What a fleet insures guaranteed work against, one loss after the other: which pools, and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from broker.domain.fleet import Fleet, Pool
from broker.domain.insurance import Insurance, LossKind
from broker.domain.slots import SLOT_SECONDS, Steps, Window

__all__ = ["Loss", "losses", "outage"]

DAY_SECONDS = 24 * SLOT_SECONDS


@dataclass(frozen=True, slots=True)
class Loss:
    """Pools that are hit at once and what each still has, over time; ``covers`` are those that may take over."""

    insurance: str
    left: tuple[tuple[str, Steps], ...]  # pool, and its supply after the loss
    covers: frozenset[str]

    @property
    def pools(self) -> tuple[str, ...]:
        """Those that are hit."""
        return tuple(pool for pool, _ in self.left)


def losses(fleet: Fleet, now: int) -> tuple[Loss, ...]:
    """Everything that the fleet insures against, as seen at ``now`` (Unix seconds)."""
    return tuple(loss for insurance in fleet.insurance for loss in _losses(fleet, insurance, now))


def outage(fleet: Fleet, pool: Pool, window: Window) -> Loss:
    """The loss of all of one pool over ``window``; every pool may take over, itself before and after."""
    supply = pool.supply()
    edges = sorted({first for first, _ in supply.steps} | {window.first, window.end})
    left = Steps(tuple((slot, 0 if slot in window else supply.at(slot)) for slot in edges))
    return Loss("", ((pool.id, left),), frozenset(fleet.pools_by_id))


def _losses(fleet: Fleet, insurance: Insurance, now: int) -> Iterator[Loss]:
    named = [fleet.pools_by_id[id_] for id_ in insurance.pools]
    covers = frozenset(insurance.covers or fleet.pools_by_id)
    match insurance.loss:
        case LossKind.ANY_ONE_POOL:
            for pool in fleet.pools:
                yield Loss(insurance.id, ((pool.id, Steps()),), covers - {pool.id})
        case LossKind.POOLS_TOGETHER:
            gone = tuple((pool.id, Steps()) for pool in named)
            yield Loss(insurance.id, gone, covers - {pool.id for pool in named})
        case LossKind.LATE_DELIVERY:
            late = tuple((pool.id, _late(pool, insurance.late_days, now)) for pool in named)
            # What stays of a pool may hold its own work.
            yield Loss(insurance.id, late, covers | {pool.id for pool in named})


def _late(pool: Pool, days: int, now: int) -> Steps:
    """Supply if every arrival after ``now`` came so many days later."""
    deliveries = tuple(
        replace(d, at=d.at + days * DAY_SECONDS) if d.at is not None and d.at > now and d.devices > 0 else d
        for d in pool.deliveries
    )
    return replace(pool, deliveries=deliveries).supply()
