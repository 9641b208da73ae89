"""The ways in which an ask can give way, each on a scale of its own, and the least that lets it in.

A scale runs from 0, the ask as it is, to as far as it can give; further along it never fits worse. So the least amount
of one change that admits an ask is found by halving. What takes several changes is found among pairs first; beyond
that, all changes are made and then taken back one by one as long as the ask still fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

from broker.domain.claim import VALUE_MICROUSD_MAX, Ask, Tier

__all__ = ["Change", "ChangeKind", "changed", "least_changes"]

TIERS = (Tier.SPOT, Tier.STANDARD, Tier.GUARANTEED)


class ChangeKind(StrEnum):
    """What gives way. Stable names, the same as in the API."""

    LATER = "LATER"  # slots that latest start and deadline are put off
    FEWER_DEVICES = "FEWER_DEVICES"  # devices less
    SHORTER = "SHORTER"  # slots less
    OTHER_SILICON = "OTHER_SILICON"  # any silicon that can run the work
    OTHER_POOLS = "OTHER_POOLS"  # pools that were forbidden
    SMALLER_DOMAINS = "SMALLER_DOMAINS"  # no demands on NVLink domains
    MORE_VALUE = "MORE_VALUE"  # micro-USD more
    HIGHER_TIER = "HIGHER_TIER"  # tiers up
    ON_LOAN = "ON_LOAN"  # beside the quota of its tenant
    WITHIN_QUOTA = "WITHIN_QUOTA"  # not on loan


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One way in which an ask gives way, and how far."""

    kind: ChangeKind
    amount: int


Fits = Callable[[Ask], bool]


def changed(ask: Ask, changes: tuple[Change, ...]) -> Ask:
    """The ask after some changes."""
    for change in changes:
        ask = _WAYS[change.kind].after(ask, change.amount) if change.amount else ask
    return ask


def least_changes(ask: Ask, fits: Fits, *, latest_slot: int) -> Iterator[tuple[Change, ...]]:
    """Sets of changes that let the ask in, the smallest sets first; leaving any one change out of a set does not.

    No change puts a start beyond ``latest_slot``. Each kind gives way as little as is enough beside the others of its
    set. Nothing when no change helps.
    """
    most = {kind: amount for kind, way in _WAYS.items() if (amount := int(way.most(ask, latest_slot))) > 0}
    alone = [kind for kind in most if fits(changed(ask, (Change(kind, most[kind]),)))]
    for kind in alone:
        yield _least(ask, (Change(kind, most[kind]),), fits)
    rest = [kind for kind in most if kind not in alone]
    pairs = [
        both
        for both in combinations(rest, 2)
        if not alone and fits(changed(ask, tuple(Change(kind, most[kind]) for kind in both)))
    ]
    for both in pairs:
        yield _least(ask, tuple(Change(kind, most[kind]) for kind in both), fits)
    everything = tuple(Change(kind, most[kind]) for kind in rest)
    if not alone and not pairs and len(rest) > 2 and fits(changed(ask, everything)):
        yield _least(ask, _needed(ask, everything, fits), fits)


def _needed(ask: Ask, changes: tuple[Change, ...], fits: Fits) -> tuple[Change, ...]:
    """Changes none of which can be left out."""
    for change in changes:
        fewer = tuple(other for other in changes if other is not change)
        if fewer and fits(changed(ask, fewer)):
            return _needed(ask, fewer, fits)
    return changes


def _least(ask: Ask, changes: tuple[Change, ...], fits: Fits) -> tuple[Change, ...]:
    """The same kinds of changes, each as small as the others leave it."""
    for at in range(len(changes)):
        changes = _shrunk(ask, changes, at, fits)
    # Fewer devices may come in fewer parts, which are larger: what was not enough by far may be enough by half.
    needed = _needed(ask, changes, fits)
    return changes if needed == changes else _least(ask, needed, fits)


def _shrunk(ask: Ask, changes: tuple[Change, ...], at: int, fits: Fits) -> tuple[Change, ...]:
    """The changes with the one at ``at`` as small as can be; money to within a hundredth."""

    def with_amount(amount: int) -> tuple[Change, ...]:
        return (*changes[:at], replace(changes[at], amount=amount), *changes[at + 1 :])

    def enough(amount: int) -> bool:
        return fits(changed(ask, with_amount(amount)))

    is_money = changes[at].kind is ChangeKind.MORE_VALUE
    low, high = _doubled(enough, changes[at].amount) if is_money else (0, changes[at].amount)
    while high - low > (max(1, high // 100) if is_money else 1):  # low is not enough, high is
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return with_amount(high)


def _doubled(fits: Callable[[int], bool], most: int) -> tuple[int, int]:
    """Neighbouring powers of two times 1,000 between which it begins to fit, ``most`` at most."""
    low, high = 0, 1_000
    while high < most and not fits(high):
        low, high = high, high * 2
    return low, min(high, most)


def _later(ask: Ask, slots: int) -> Ask:
    return replace(
        ask,
        latest=None if ask.latest is None else ask.latest + slots,
        deadline=None if ask.deadline is None else ask.deadline + slots,
    )


def _fewer(ask: Ask, devices: int) -> Ask:
    """What is left is worth its share; counts for each silicon and the bounds of an elastic claim shrink alike."""
    left = ask.devices - devices

    def share(count: int) -> int:
        return max(1, count * left // ask.devices) if count else 0

    return replace(
        ask,
        devices=left,
        min_devices=min(left, ask.min_devices),
        max_devices=ask.max_devices if ask.elastic else min(left, ask.max_devices),
        silicon=tuple(replace(choice, devices=share(choice.devices)) for choice in ask.silicon),
        value_microusd=ask.value_microusd * left // ask.devices,
    )


def _shorter(ask: Ask, slots: int) -> Ask:
    left = ask.slots - slots

    def share(count: int | None) -> int | None:
        return None if count is None else max(1, count * left // ask.slots)

    return replace(
        ask,
        slots=left,
        silicon=tuple(replace(choice, slots=share(choice.slots)) for choice in ask.silicon),
        value_microusd=ask.value_microusd * left // ask.slots,
    )


def _put_off(ask: Ask, latest_slot: int) -> int:
    ends = [end for end in (ask.latest, ask.deadline) if end is not None]
    return latest_slot - min(ends) if ends else 0


@dataclass(frozen=True, slots=True)
class _Way:
    """How far an ask can give way (0 or less: not at all) without a start after a slot, and what it is then."""

    most: Callable[[Ask, int], int]
    after: Callable[[Ask, int], Ask]


_WAYS = {
    ChangeKind.LATER: _Way(_put_off, _later),
    ChangeKind.FEWER_DEVICES: _Way(lambda ask, _: ask.devices - 1, _fewer),
    ChangeKind.SHORTER: _Way(lambda ask, _: ask.slots - 1, _shorter),
    ChangeKind.OTHER_SILICON: _Way(lambda ask, _: bool(ask.silicon), lambda ask, _: replace(ask, silicon=())),
    ChangeKind.OTHER_POOLS: _Way(
        lambda ask, _: bool(ask.forbidden_pools), lambda ask, _: replace(ask, forbidden_pools=())
    ),
    ChangeKind.SMALLER_DOMAINS: _Way(
        lambda ask, _: ask.whole_domains or ask.min_domain_devices > 0,
        lambda ask, _: replace(ask, whole_domains=False, min_domain_devices=0),
    ),
    ChangeKind.MORE_VALUE: _Way(
        lambda ask, _: VALUE_MICROUSD_MAX - ask.worth_microusd,
        lambda ask, amount: replace(ask, value_microusd=ask.worth_microusd + amount),
    ),
    ChangeKind.HIGHER_TIER: _Way(
        lambda ask, _: len(TIERS) - 1 - TIERS.index(ask.tier),
        lambda ask, amount: replace(ask, tier=TIERS[TIERS.index(ask.tier) + amount], on_loan=False),
    ),
    ChangeKind.ON_LOAN: _Way(
        lambda ask, _: ask.tier is Tier.SPOT and not ask.on_loan,
        lambda ask, _: replace(ask, on_loan=ask.tier is Tier.SPOT),
    ),
    ChangeKind.WITHIN_QUOTA: _Way(lambda ask, _: ask.on_loan, lambda ask, _: replace(ask, on_loan=False)),
}
