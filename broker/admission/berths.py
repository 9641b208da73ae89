"""Where guaranteed work would go: a berth for every guaranteed placement, after every loss that the fleet insures.

Room is counted loss by loss, since no two come at once: what is left of all pools, less the guaranteed work that stays
and the berths of the work that is hit. Other work is not counted, it gives way. A berth is whole, of the devices and
the time that the claim needs on that silicon, so that a gang which has one can go there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.admission.stakes import Berth, Stake
from broker.domain.claim import ClaimName
from broker.domain.fleet import Fleet
from broker.domain.losses import Loss
from broker.domain.slots import Steps, Window

__all__ = ["Berths", "Standing"]

Ints = NDArray[np.int64]
Key = tuple[ClaimName, int]

PLENTY = 2**60  # of devices, where there is no quota
ROUNDS_MAX = 24  # in which those who found no berth are asked first
ROUNDS_FEW = 2  # when there is one more


class _Spot(NamedTuple):
    """A berth as rows and columns."""

    pool: int
    quota: int
    first: int
    end: int
    devices: int

    @property
    def span(self) -> slice:
        return slice(self.first, self.end)


@dataclass(frozen=True, slots=True)
class _Seated:
    """A stake and its spots: where it is, where it could go, and where it would go after each loss that hits it."""

    stake: Stake
    spots: tuple[_Spot, ...]
    goes: dict[int, int | None]  # loss -> which of the spots

    def after(self, loss: int) -> _Spot:
        """The spot that it takes after a loss."""
        return self.spots[self.goes.get(loss) or 0]

    def taken(self) -> set[_Spot]:
        """Every spot that it takes after some loss."""
        return {self.spots[0], *(self.spots[where] for where in self.goes.values() if where is not None)}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the guaranteed placements stand that one loss would hit."""

    loss: Loss
    berths: tuple[tuple[Stake, Berth], ...]
    without: tuple[Stake, ...]  # no berth, though some pool could hold it
    uninsurable: tuple[Stake, ...]  # no pool could hold it, were all empty


class Berths:
    """The berths of all guaranteed placements in ``window``; not safe to change while another thread reads it.

    ``ceiling`` is [pools, slots]: what more guaranteed work a pool may take without taking a berth from anybody.
    ``others`` is what other work holds: berths are where least of it gives way.
    """

    def __init__(
        self,
        fleet: Fleet,
        losses: Sequence[Loss],
        window: Window,
        stakes: Iterable[Stake] = (),
        others: Iterable[Berth] = (),
    ) -> None:
        self.fleet, self.losses, self.window = fleet, tuple(losses), window
        self._pools = {pool.id: row for row, pool in enumerate(fleet.pools)}
        limited = [tenant for tenant in fleet.tenants if tenant.quota_devices is not None]
        self._quotas = {tenant.id: len(self._pools) + row for row, tenant in enumerate(limited)}
        levels = [*(pool.supply() for pool in fleet.pools), *(Steps.level(t.quota_devices or 0) for t in limited)]
        self._supply = _table([*levels, Steps.level(PLENTY)], window)
        self._left = np.repeat(self._supply[None], len(self.losses), axis=0)
        hit = np.zeros((len(self.losses), len(self._supply)), np.bool_)
        may = ~hit  # who may take over; quotas are nobody's to refuse
        for n, loss in enumerate(self.losses):
            may[n, : len(self._pools)] = [pool in loss.covers for pool in self._pools]
            for pool, left in loss.left:
                row = self._pools[pool]
                hit[n, row] = True
                self._left[n, row] = np.minimum(self._supply[row], left.over(window))
        self._hit, self._may = hit, may.tolist()
        self._hits = {row: np.flatnonzero(hit[:, row]).tolist() for row in self._pools.values()}
        self._room = self._left.copy()
        self._others = np.zeros_like(self._supply)
        for other in others:
            first, end = max(0, other.window.first - window.first), max(0, other.window.end - window.first)
            self._others[self._pools[other.pool], first:end] += other.devices
        self._crowded = bool(self._others.any())
        self._peak = np.maximum(1, self._supply.max(axis=1, initial=0)).tolist()
        self._seated: dict[Key, _Seated] = {}
        self._shared = False
        self.ceiling = np.empty_like(self._supply)
        self._board([self._seat(stake) for stake in stakes])
        self._lower(slice(None), slice(None))

    def fits(self, stakes: Sequence[Stake]) -> bool:
        """Whether all of these, together, have a berth after every loss and take nobody's."""
        taken: list[_Seated] = []
        for stake in stakes:
            seat = self._seat(stake)
            # The ceiling is one for all losses: beside it counts whatever the others take after any of them.
            beside = [spot for other in taken for spot in other.taken()]
            if not self._free(self.ceiling, seat.spots[0], beside):
                return False
            for loss in self._losses_of(seat):
                where = next(self._open(loss, seat, [other.after(loss) for other in taken]), None)
                if where is None:
                    return False
                seat.goes[loss] = where
            taken.append(seat)
        return True

    def take(self, stake: Stake) -> None:
        """Count one more placement; if nothing is left for it after some loss it stands without a berth."""
        seat = self._seat(stake)
        for loss in self._losses_of(seat):
            seat.goes[loss] = self._choose(loss, seat)
        self._count(seat, 1)

    def admit(self, stake: Stake) -> bool:
        """Take a placement if nobody loses his berth by it, for which others may get another one."""
        if self.fits((stake,)):
            self.take(stake)
            return True
        seat, found = self._seat(stake), dict[int, tuple[dict[Key, int], Ints]]()
        hits = self._losses_of(seat)
        for loss in range(len(self.losses)):
            if loss in hits:
                free = next(self._open(loss, seat, ()), None) is not None
            else:
                free = self._free(self._room[loss], seat.spots[0], ())
            if not free:
                anew = self._anew(loss, seat)
                if anew is None:
                    return False
                found[loss] = anew
        self._apart()
        for loss, (goes, room) in found.items():
            self._room[loss] = room
            for other in self._seated.values():
                if loss in other.goes:
                    other.goes[loss] = goes.get(other.stake.key)
        for loss in hits:
            seat.goes[loss] = found[loss][0][stake.key] if loss in found else self._choose(loss, seat)
        self._count(seat, 1, [loss for loss in range(len(self.losses)) if loss not in found])
        self._lower(slice(None), slice(None))
        return True

    def seated(self, stake: Stake) -> Berth | None:
        """Where it would be after the only loss there is, counted from now on; None: nowhere, and it is not counted."""
        if not self.fits((stake,)):
            return None
        self.take(stake)
        return stake.refuges[self._seated[stake.key].goes.get(0) or 0]

    def drop(self, name: ClaimName, part: int) -> None:
        """Count a placement no longer; one that is not known changes nothing."""
        seat = self._seated.get((name, part))
        if seat is not None:
            self._count(seat, -1)

    def standings(self) -> Iterator[Standing]:
        """Who would go where after each loss."""
        for loss, what in enumerate(self.losses):
            hit = [seat for seat in self._seated.values() if loss in seat.goes]
            berths, without, never = list[tuple[Stake, Berth]](), list[Stake](), list[Stake]()
            for seat in hit:
                where = seat.goes[loss]
                if where is not None:
                    berths.append((seat.stake, seat.stake.refuges[where]))
                else:
                    (without if self._could(loss, seat) else never).append(seat.stake)
            yield Standing(what, tuple(berths), tuple(without), tuple(never))

    def insurable(self, stake: Stake) -> bool:
        """Whether it could be there, and would have a berth after every loss, if there were no other work."""
        seat = self._seat(stake)
        return self._free(self._supply, seat.spots[0], ()) and all(
            self._could(loss, seat) for loss in self._losses_of(seat)
        )

    def still(self) -> Berths:
        """A copy that later changes leave alone, to look at only."""
        # Whoever changes his own first makes a copy of the arrays: most copies are never needed.
        self._shared = True
        return copy(self)

    def _seat(self, stake: Stake) -> _Seated:
        quota = self._quotas.get(stake.name.tenant, len(self._supply) - 1)
        spots = []
        for refuge in stake.refuges:
            first = max(0, refuge.window.first - self.window.first)
            end = max(first, min(self.window.slots, refuge.window.end - self.window.first))
            spots.append(_Spot(self._pools.get(refuge.pool, len(self._supply) - 1), quota, first, end, refuge.devices))
        return _Seated(stake, tuple(spots), {})

    def _losses_of(self, seat: _Seated) -> Sequence[int]:
        here = seat.spots[0]
        return self._hits.get(here.pool, ()) if here.end > here.first else ()

    def _board(self, seats: list[_Seated]) -> None:
        """Find berths for all at once: who was left without is asked first in the next round."""
        for seat in seats:
            self._seated[seat.stake.key] = seat
        for loss in range(len(self.losses)):
            hit = [seat for seat in seats if loss in self._losses_of(seat)]
            for seat in seats:
                if loss not in self._losses_of(seat):
                    self._use(loss, seat.spots[0], 1)
            best, free = self._settled(loss, sorted(hit, key=_turn))
            for seat in hit:
                seat.goes[loss] = best.get(seat.stake.key)
            self._room[loss] = free

    def _settled(self, loss: int, order: list[_Seated], rounds: int = ROUNDS_MAX) -> tuple[dict[Key, int], Ints]:
        """Which spot each takes after one loss, and the room left beside."""
        began = self._room[loss].copy()
        best: dict[Key, int] = {}
        most, left = -1, began
        for turn in range(rounds):
            self._room[loss] = began
            found, failed = dict[Key, int](), list[_Seated]()
            for seat in order:
                where = self._choose(loss, seat, tight=turn % 2 == 1)
                if where is None:
                    failed += [seat] if self._could(loss, seat) else []
                else:
                    found[seat.stake.key] = where
                    self._use(loss, seat.spots[where], 1)
            if len(found) > most:
                most, best, left = len(found), found, self._room[loss].copy()
            if not failed:
                break
            # Those who found nothing go first: Joslin, Clements 1999, "Squeaky wheel optimization".
            last = {seat.stake.key for seat in failed}
            order = failed + [seat for seat in order if seat.stake.key not in last]
        return best, left

    def _choose(self, loss: int, seat: _Seated, *, tight: bool = False) -> int | None:
        """Which spot to take after a loss: its own if it may stay.

        Else the one where others give least way, and that is the least share of its pool; or (``tight``) where least is
        left.
        """
        best, least = None, (float("inf"), 0.0)
        for n in self._open(loss, seat, ()):
            if n == 0:
                return 0
            spot = seat.spots[n]
            room = self._room[loss, spot.pool, spot.span] - spot.devices
            over = float(np.maximum(0, self._others[spot.pool, spot.span] - room).sum()) if self._crowded else 0.0
            share = spot.devices * (spot.end - spot.first) / self._peak[spot.pool]
            cost = (0.0, float(room.min())) if tight else (over, share)
            if cost < least:
                best, least = n, cost
        return best

    def _open(self, loss: int, seat: _Seated, beside: Sequence[_Spot]) -> Iterator[int]:
        """The spots that are free after a loss, beside others that are not counted yet."""
        room = self._room[loss]
        for n, spot in enumerate(seat.spots):
            if self._may[loss][spot.pool] and spot.end > spot.first and self._free(room, spot, beside):
                yield n

    def _free(self, room: Ints, spot: _Spot, beside: Sequence[_Spot]) -> bool:
        """Whether pool and quota have room for a spot beside others that are not counted yet."""
        for row in (spot.pool, spot.quota):
            free = room[row, spot.span]
            if beside:
                free = free.copy()
                for other in beside:
                    if row in (other.pool, other.quota):
                        low, high = max(spot.first, other.first) - spot.first, min(spot.end, other.end) - spot.first
                        free[low : max(low, high)] -= other.devices
            if len(free) and int(np.minimum.reduce(free)) < spot.devices:
                return False
        return True

    def _could(self, loss: int, seat: _Seated) -> bool:
        """Whether some spot would do after a loss if there were nobody else."""
        return any(
            self._may[loss][spot.pool] and spot.end > spot.first and self._free(self._left[loss], spot, ())
            for spot in seat.spots
        )

    def _anew(self, loss: int, seat: _Seated) -> tuple[dict[Key, int], Ints] | None:
        """Berths for all who have one after a loss, once there is one more; None when they are not found."""
        hit = [other for other in self._seated.values() if loss in other.goes]
        keep = {other.stake.key for other in hit if other.goes[loss] is not None}
        began = self._room[loss].copy()
        for other in hit:
            if other.goes[loss] is not None:
                self._use(loss, other.after(loss), -1)
        if loss in self._losses_of(seat):
            hit.append(seat)
            keep.add(seat.stake.key)
        elif self._free(self._room[loss], seat.spots[0], ()):
            self._use(loss, seat.spots[0], 1)
        else:
            keep.add(seat.stake.key)  # nobody finds that one
        found = self._settled(loss, sorted(hit, key=_turn), rounds=ROUNDS_FEW) if len(keep) <= len(hit) else ({}, began)
        self._room[loss] = began
        return found if keep <= found[0].keys() else None

    def _apart(self) -> None:
        """Let go of what copies look at."""
        if self._shared:
            self._room, self.ceiling = self._room.copy(), self.ceiling.copy()
            seats = (replace(seat, goes=dict(seat.goes)) for seat in self._seated.values())
            self._seated = {seat.stake.key: seat for seat in seats}
            self._shared = False

    def _count(self, seat: _Seated, sign: int, losses: Iterable[int] | None = None) -> None:
        self._apart()
        if sign > 0:
            self._seated[seat.stake.key] = seat
        else:
            self._seated.pop(seat.stake.key, None)
        here = seat.spots[0]
        span = slice(min(s.first for s in seat.spots), max(s.end for s in seat.spots))
        rows = {here.pool, here.quota}
        for loss in range(len(self.losses)) if losses is None else losses:
            where = seat.goes.get(loss, 0)
            if where is not None:
                self._use(loss, seat.spots[where], sign)
                rows.add(seat.spots[where].pool)
        self._lower(sorted(rows), span)

    def _use(self, loss: int, spot: _Spot, sign: int) -> None:
        for row in (spot.pool, spot.quota):
            self._room[loss, row, spot.span] -= sign * spot.devices

    def _lower(self, rows: list[int] | slice, span: slice) -> None:
        """Count the ceiling anew: the least that is left after the losses that do not hit the pool."""
        where = np.where(self._hit[:, rows, None], PLENTY, self._room[:, rows, span])
        self.ceiling[rows, span] = where.min(axis=0, initial=PLENTY)


def _table(steps: Iterable[Steps], window: Window) -> Ints:
    rows = [step.over(window) for step in steps]
    return np.array(rows, np.int64).reshape(len(rows), window.slots)


def _turn(seat: _Seated) -> tuple[int, int]:
    """Those with the fewest pools to go to come first, and the largest of these."""
    here = seat.spots[0]
    return len({spot.pool for spot in seat.spots}), -here.devices * (here.end - here.first)
