"""``broker outage``, ``recover``, ``drain``, ``late``, ``grow``: what happens to the devices of one pool."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, connected, fail, usage
from broker.cli.moments import moment

if TYPE_CHECKING:
    from capacitybroker import Client, Drain, Growth, LateDelivery, Outage, Pool, Recovery
    from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["drain", "grow", "late", "outage", "recover"]

PoolName = Annotated[str, typer.Argument(help="Its id; broker pools lists them.", metavar="POOL", show_default=False)]
Start = Annotated[str, typer.Option("--from", help="From when on: now, +3h, friday, 2026-12-01T06:00. All UTC.")]
Until = Annotated[str, typer.Option("--until", help="When they are expected back, in the same words.")]
Devices = Annotated[int, typer.Option("--devices", min=0, help="How many; 0: all of the pool.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change and who would be touched.")]
Etag = Annotated[str, typer.Option("--etag", help="Refuse it if the fleet has changed since it had this etag.")]


def outage(
    pool: PoolName,
    until: Until,
    start: Start = "now",
    devices: Devices = 0,
    dry_run: DryRun = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Devices of a pool are lost for a while; who loses a place is planned again at once.

    broker outage dc-b --from now --until +24h --dry-run
    """
    from capacitybroker import Outage

    change = Outage(start_time=_start(start), end_time=_moment(until, "--until"), devices=devices)
    with connected(address) as client:
        _change(client, pool, change, etag=etag, dry_run=dry_run, output=output)


def recover(
    pool: PoolName,
    start: Start = "now",
    dry_run: DryRun = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Whatever is away from a pool is back."""
    from capacitybroker import Recovery

    with connected(address) as client:
        _change(client, pool, Recovery(start_time=_start(start)), etag=etag, dry_run=dry_run, output=output)


def drain(
    pool: PoolName,
    start: Start = "now",
    devices: Devices = 0,
    dry_run: DryRun = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Devices of a pool leave for good."""
    from capacitybroker import Drain

    change = Drain(start_time=_start(start), devices=devices)
    with connected(address) as client:
        _change(client, pool, change, etag=etag, dry_run=dry_run, output=output)


def late(
    pool: PoolName,
    due: Annotated[str, typer.Option("--due", help="When it was to come: the day, or the moment itself.")],
    until: Annotated[str, typer.Option("--until", help="When it comes instead.")],
    dry_run: DryRun = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """A delivery to a pool comes later than declared."""
    from capacitybroker import LateDelivery

    was, comes = _moment(due, "--due"), _moment(until, "--until")
    with connected(address) as client:
        declared = client.get_pool(pool).pool
        change = LateDelivery(delivery_time=_delivery(declared, was), new_delivery_time=comes)
        _change(client, pool, change, etag=etag, dry_run=dry_run, output=output)


def grow(
    pool: PoolName,
    devices: Annotated[int, typer.Argument(min=1, help="How many more.", show_default=False)],
    start: Start = "now",
    dry_run: DryRun = False,
    etag: Etag = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """More devices arrive in a pool, and stay."""
    from capacitybroker import Growth

    change = Growth(start_time=_start(start), devices=devices)
    with connected(address) as client:
        _change(client, pool, change, etag=etag, dry_run=dry_run, output=output)


def _change(
    client: Client,
    pool: str,
    change: Outage | Recovery | Drain | LateDelivery | Growth,
    *,
    etag: str,
    dry_run: bool,
    output: Format,
) -> None:
    """Make the change, or ask what it would do, and tell what came of it."""
    from broker.cli.show import json_one
    from broker.cli.supply_tables import tell_supply

    answer = client.change_supply(pool, change, etag=etag, validate_only=dry_run)
    if output is Format.JSON:
        typer.echo(json_one(answer))
        return
    tell_supply(answer, dry_run=dry_run)


def _start(text: str) -> Timestamp | None:
    """None for now, which the broker's own clock knows best."""
    return None if text.strip().lower() == "now" else _moment(text, "--from")


def _moment(text: str, option: str) -> Timestamp:
    from capacitybroker import timestamp

    try:
        return timestamp(moment(text, now=now()))
    except ValueError as error:
        usage(f"{option}: {error}")


def _delivery(pool: Pool, due: Timestamp) -> Timestamp:
    """The moment of the one delivery that comes at that moment or, if none does, on that day."""
    coming = [d.start_time for d in pool.deliveries if d.start_time.seconds and d.devices > 0]
    on_time = [time for time in coming if time.seconds == due.seconds]
    same_day = [time for time in coming if time.seconds // 86_400 == due.seconds // 86_400]
    found = {time.seconds: time for time in on_time or same_day}
    if len(found) != 1:
        days = sorted({time.seconds for time in coming})
        listed = ", ".join(f"{datetime.fromtimestamp(at, tz=now().tzinfo):%Y-%m-%dT%H:%MZ}" for at in days) or "none"
        fail(f"No single delivery to {pool.id} is due then", remedy=f"Deliveries to come: {listed}")
    return next(iter(found.values()))
