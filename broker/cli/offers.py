"""Offers as tables, and how a claim gives way in plain phrases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from capacitybroker import Change, Claim, Offer
from rich.table import Table

from broker.cli.line import typed
from broker.cli.parts import together
from broker.cli.show import WIDE, dollars, grid, hours, short, when, word

__all__ = ["given_way", "in_a_phrase", "next_lines", "offers_table"]

MONEY = ("NEW MONEY", "PAID ALREADY", "LIST PRICE", "MARGINAL PRICE")
PHRASES: dict[int, Callable[[int], str]] = {
    Change.KIND_LATER: lambda n: f"{_span(n)} later",
    Change.KIND_FEWER_DEVICES: lambda n: f"{n:,} device{'s' * (n != 1)} fewer",
    Change.KIND_SHORTER: lambda n: f"{_span(n)} shorter",
    Change.KIND_OTHER_SILICON: lambda _: "any silicon",
    Change.KIND_OTHER_POOLS: lambda _: "any pool",
    Change.KIND_SMALLER_DOMAINS: lambda _: "any NVLink domains",
    Change.KIND_MORE_VALUE: lambda n: f"{_money(n)} more",
    Change.KIND_HIGHER_TIER: lambda n: f"{n} tier{'s' * (n != 1)} up",
    Change.KIND_ON_LOAN: lambda _: "on loan",
    Change.KIND_WITHIN_QUOTA: lambda _: "within the quota",
}


def in_a_phrase(change: Change) -> str:
    """``3 h later``, ``4 devices fewer``, ``any silicon``, ``$12.3k more``; kinds that only newer brokers know too."""
    phrase = PHRASES.get(change.kind)
    return phrase(change.amount) if phrase else f"{word(Change.Kind, change.kind)} {change.amount:,}"


def given_way(changes: Iterable[Change]) -> str:
    """All changes in one phrase; empty when there are none."""
    return " and ".join(map(in_a_phrase, changes))


def _span(slots: int) -> str:
    return hours(slots).replace("h", " h").replace("d", " d")


def _money(microusd: int) -> str:
    return dollars(microusd) if microusd >= 10**6 else f"${max(0.01, microusd / 1e6):.2f}"


def offers_table(offers: Iterable[Offer], *, title: str | None = None, width: int = WIDE) -> Table:
    """One row for each pool and time that an offer takes; its money is in the first.

    LIST PRICE is new money and what is paid already; MARGINAL PRICE is new money and what others would make of it.
    """
    headers = ("", "IF", "POOL", "DEVICES", "SILICON", "START", "MAY MOVE TO", "STARTED BY, P80", "END", *MONEY)
    return grid(
        headers,
        [row for number, offer in enumerate(offers, start=1) for row in _rows(number, offer)],
        right=("DEVICES", *MONEY),
        spare=("STARTED BY, P80", "MAY MOVE TO", "SILICON", "PAID ALREADY", "LIST PRICE", "END"),
        whole=("IF", "POOL", "DEVICES"),
        width=width,
        title=title,
    )


def _rows(number: int, offer: Offer) -> Iterator[tuple[str, ...]]:
    new, paid = offer.cost_microusd, offer.paid_microusd
    first, expected = (str(number), _condition(offer)), when(offer.expected_start.p80_time)
    money = (dollars(new), dollars(paid), dollars(new + paid), dollars(new + offer.price_microusd))
    for place in together(offer):
        moves = place.latest_start_time.seconds > place.start_time.seconds
        yield (
            *first,
            short(place.pool),
            f"{place.devices:,}",
            place.silicon,
            when(place.start_time),
            when(place.latest_start_time) if moves else "",
            expected,
            when(place.end_time),
            *money,
        )
        first, money, expected = ("", ""), ("", "", "", ""), ""


def _condition(offer: Offer) -> str:
    """How the claim gives way for it, and how many others do."""
    moves = len(offer.moves)
    others = f"{moves} claim{'s' * (moves != 1)} start{'s' * (moves == 1)} at another time" if moves else ""
    return "; ".join(filter(None, (given_way(offer.changes), others)))


def next_lines(offers: Sequence[Offer], instead: Sequence[Offer], *, tenant: str, asked: Claim | None) -> Iterator[str]:
    """What to type to get the first of the offers, or of those instead; ``asked`` as the caller wrote it, if known."""
    if offers and offers[0].moves:
        line = typed("claim", asked or offers[0].claim, tenant=tenant)
        yield f"Ask for it:           {line}" if line else "Ask for it: create the claim."
    elif offers:
        line = typed("quote", asked or offers[0].claim, tenant=tenant)
        yield f"Keep the first aside: {line} --hold 10m" if line else "Keep the first aside: quote it with hold_for."
    elif instead:
        line = typed("claim", instead[0].claim, tenant=tenant)
        yield f"Ask for the first:    {line}" if line else "Ask for the first: create its claim with its placements."
