"""Double entry: what each account may lend, what it has lent, and where the two do not meet.

Pure and exact. An account is a pool (``pools/…``: without a limit of its own it may lend nothing) or a tenant
(``tenants/…``: without a limit of its own it may lend as much as can be counted). A tenant has a second one for work on
loan (``tenants/…/loans``: without a limit of its own it may lend nothing).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from broker.domain.claim import LOANS, Claim, Hold
from broker.domain.faults import Fault, FaultReason
from broker.domain.fleet import Fleet
from broker.domain.slots import Steps, Window
from broker.domain.snapshot import Shortfall
from broker.ledger.port import Balance

__all__ = [
    "DEVICES_MAX",
    "HOLDS_MAX",
    "WINDOW_SLOTS_MAX",
    "Books",
    "balances",
    "checked_holds",
    "fleet_accounts",
    "gains",
]

DEVICES_MAX = 2**31 - 1  # of one account in one slot
WINDOW_SLOTS_MAX = 87_600  # ten years
SLOT_MAX = 2**31
HOLDS_MAX = 4_096  # of one claim

Changes = dict[int, int]  # slot -> change of the level from that slot on


def checked_holds(claim: Claim) -> tuple[Hold, ...]:
    """The claim's holds; Faults: QUANTITY_OUT_OF_RANGE, DURATION_OUT_OF_RANGE, TOO_MANY_ITEMS."""
    holds = claim.holds()
    if len(holds) > HOLDS_MAX:
        raise Fault(
            FaultReason.TOO_MANY_ITEMS,
            f"{claim.name} has {len(holds)} holds, at most {HOLDS_MAX} can be booked",
            remedy="Place it in fewer parts",
        )
    for hold in holds:
        if not 1 <= hold.devices <= DEVICES_MAX:
            raise Fault(
                FaultReason.QUANTITY_OUT_OF_RANGE,
                f"{claim.name} would hold {hold.devices} devices of {hold.account}",
                remedy=f"Hold between 1 and {DEVICES_MAX} devices",
            )
        if hold.window.slots > WINDOW_SLOTS_MAX or hold.window.end > SLOT_MAX:
            raise Fault(
                FaultReason.DURATION_OUT_OF_RANGE,
                f"{claim.name} would hold {hold.account} for {hold.window.slots} slots until slot {hold.window.end}",
                remedy=f"Hold at most {WINDOW_SLOTS_MAX} slots at a time, ending no later than slot {SLOT_MAX}",
            )
    return holds


def gains(before: Sequence[Hold], after: Sequence[Hold]) -> bool:
    """Whether ``after`` takes more than ``before`` from any account in any slot."""
    return any(
        level > 0 for changes in _net(before, after).values() for _, _, (level,) in _pieces((changes,), from_slot=0)
    )


def balances(fleet: Fleet, granted: Mapping[str, tuple[int, ...]]) -> tuple[Balance, ...]:
    """One balance, in order of account, for each account of the fleet and for each other one that has lent anything.

    ``granted`` has one list of devices per slot for each of the fleet's accounts.
    """
    own = fleet_accounts(fleet)
    books = Books()
    books.set_limits(fleet.limits())
    return tuple(
        Balance(account, books.limit(account), levels)
        for account, levels in sorted(granted.items())
        if account in own or any(levels)
    )


def fleet_accounts(fleet: Fleet) -> set[str]:
    """The accounts of its pools and tenants, and of the loans that it allows."""
    return {pool.account for pool in fleet.pools} | {tenant.account for tenant in fleet.tenants} | {*fleet.limits()}


class Books:
    """All accounts over all time; quantities are devices, time is slots."""

    def __init__(self) -> None:
        self._limits: dict[str, Steps] = {}
        self._lent: dict[str, Changes] = {}

    def set_limits(self, limits: Mapping[str, Steps]) -> None:
        """Let these limits rule from now on, and no others."""
        self._limits = dict(limits)

    def replace(self, before: Iterable[Hold], after: Iterable[Hold]) -> None:
        """Give back the holds ``before`` and lend the holds ``after``."""
        for account, changes in _net(before, after).items():
            lent = self._lent.setdefault(account, {})
            for slot, change in changes.items():
                lent[slot] = lent.get(slot, 0) + change
                if not lent[slot]:
                    del lent[slot]

    def accounts(self) -> set[str]:
        """Every account that has a limit or has ever lent."""
        return self._limits.keys() | self._lent.keys()

    def limit(self, account: str) -> Steps | None:
        """What the account may lend; None: no limit."""
        nothing = Steps() if account.startswith("pools/") or account.endswith(LOANS) else None
        return self._limits.get(account, nothing)

    def granted(self, account: str) -> Steps:
        """What the account has lent."""
        return Steps.from_changes(self._lent.get(account, {}).items())

    def overdrawn(self, before: Iterable[Hold], after: Iterable[Hold], *, from_slot: int) -> Shortfall | None:
        """The first place where replacing holds would make or deepen a shortfall, or None.

        Before ``from_slot`` only what can be counted bounds an account.
        """
        for account, changes in sorted(_net(before, after).items()):
            limit, lent = self._limit_changes(account, from_slot), self._lent.get(account, {})
            for first, end, (may, has, more) in _pieces((limit, lent, changes), from_slot=0):
                if more > 0 and has + more > may:
                    return Shortfall(account, Window(first, end), has + more - may)
        return None

    def shortfalls(self, *, from_slot: int) -> tuple[Shortfall, ...]:
        """Each unbroken stretch from ``from_slot`` on where an account has lent more than it may, with its worst."""
        out: list[Shortfall] = []
        for account in sorted(self._lent):
            limit = self._limit_changes(account, 0)
            for first, end, (may, has) in _pieces((limit, self._lent[account]), from_slot=from_slot):
                if has <= may:
                    continue
                if out and out[-1].account == account and out[-1].window.end == first:
                    out[-1] = Shortfall(account, Window(out[-1].window.first, end), max(out[-1].devices, has - may))
                else:
                    out.append(Shortfall(account, Window(first, end), has - may))
        return tuple(out)

    def _limit_changes(self, account: str, from_slot: int) -> Changes:
        """The limit as changes, unbounded before ``from_slot``."""
        limit = self.limit(account) or Steps.level(DEVICES_MAX)
        level = DEVICES_MAX
        changes = {0: level}
        for slot, to in ((max(from_slot, slot), min(to, DEVICES_MAX)) for slot, to in limit.steps):
            changes[slot] = changes.get(slot, 0) + to - level
            level = to
        return changes


def _net(before: Iterable[Hold], after: Iterable[Hold]) -> dict[str, Changes]:
    """By account, what replacing ``before`` with ``after`` changes; accounts where it changes nothing have none."""
    net: dict[str, Changes] = {}
    for sign, holds in ((-1, before), (1, after)):
        for hold in holds:
            changes = net.setdefault(hold.account, {})
            changes[hold.window.first] = changes.get(hold.window.first, 0) + sign * hold.devices
            changes[hold.window.end] = changes.get(hold.window.end, 0) - sign * hold.devices
    return {account: {s: c for s, c in changes.items() if c} for account, changes in net.items()}


def _pieces(entries: Sequence[Changes], *, from_slot: int) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """``(first, end, levels)`` of each piece from ``from_slot`` on over which every level stays the same.

    What lies after the last change is left out: only limits have a level there.
    """
    slots = sorted({from_slot, *(slot for changes in entries for slot in changes)})
    levels = [0] * len(entries)
    for slot, end in pairwise(slots):
        for i, changes in enumerate(entries):
            levels[i] += changes.get(slot, 0)
        if slot >= from_slot:
            yield slot, end, tuple(levels)
