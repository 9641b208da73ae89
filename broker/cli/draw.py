"""``broker picture``: the calendar of a running broker as an SVG file."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, connected, fail

if TYPE_CHECKING:
    from capacitybroker import Claim, Client, PoolStatus

__all__ = ["drawn", "picture", "svg_of"]

Out = Annotated[Path, typer.Option("--out", help="File to write.")]
Days = Annotated[int, typer.Option("--days", min=1, max=400, help="Days to show, from now on.")]


def picture(out: Out = Path("calendar.svg"), days: Days = 28, address: Address = DEFAULT_ADDRESS) -> None:
    """Draw the calendar: pools, what they supply, and who holds it."""
    with connected(address) as client:
        svg = drawn(client, start=now(), days=days)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(svg, encoding="utf-8")
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror}")
    typer.echo(f"{out}: {days} days; open it in a browser")


def drawn(client: Client, *, start: datetime, days: int) -> str:
    """The calendar of the next ``days`` days, as SVG; made from the lists of pools, claims and tenants only."""
    first = start.replace(minute=0, second=0, microsecond=0)
    last = first + timedelta(days=days)
    pools = client.list_pools(start=first, end=last)
    tenants = [tenant.id for tenant in client.get_fleet().tenants]
    return svg_of(pools, client.list_claims(tenant="-"), tenants, first=first, last=last)


def svg_of(
    pools: Iterable[PoolStatus], claims: Iterable[Claim], tenants: Iterable[str], *, first: datetime, last: datetime
) -> str:
    """The picture of lists that were fetched already; the use of ``pools`` is that from ``first`` to ``last``."""
    from broker.cli.calendar import calendar
    from broker.cli.picture import picture as svg

    return svg(calendar(pools, claims, start=int(first.timestamp()), end=int(last.timestamp()), known=tenants))
