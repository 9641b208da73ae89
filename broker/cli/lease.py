"""``broker lease``: take the right to use a claim's devices, keep it, give it back; or run a command under it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.claims import Name, whole
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, Tenant, connected, fail

if TYPE_CHECKING:
    from capacitybroker import Holding, Lease

__all__ = ["lease"]

lease = typer.Typer(help="Use what was granted: take a lease, keep it, give it back.", no_args_is_help=True)

Ttl = Annotated[
    float, typer.Option("--ttl", min=0, help="Seconds that it lasts from each renewal, 5 to 3500; 0: as it is.")
]
Token = Annotated[str, typer.Option("--token", envvar="BROKER_LEASE_TOKEN", help="As `acquire` gave it.")]
Command = Annotated[list[str], typer.Argument(help="What to run while the lease holds.", metavar="COMMAND...")]

STOP_SECONDS = 10.0  # between asking a command to stop and making it; a quarter of a short ttl
LOST = 75  # exit status when the lease was lost under the command: a temporary failure in sysexits.h


@lease.command()
def acquire(
    name: Name, ttl: Ttl = 0, tenant: Tenant = "", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE
) -> None:
    """Take the lease of a claim whose time has come; whoever had it before has it no longer."""
    with connected(address, tenant) as client:
        found = client.acquire_lease(whole(name, tenant), ttl=ttl or None)
    _tell(found, output)


@lease.command()
def show(name: Name, tenant: Tenant = "", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE) -> None:
    """The lease of a claim, without its token."""
    with connected(address, tenant) as client:
        found = client.get_lease(whole(name, tenant))
    _tell(found, output)


@lease.command()
def renew(
    name: Name,
    token: Token,
    ttl: Ttl = 0,
    tenant: Tenant = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Let a lease last for its ttl from now."""
    with connected(address, tenant) as client:
        found = client.renew_lease(whole(name, tenant), token, ttl=ttl or None)
    _tell(found, output)


@lease.command()
def release(
    name: Name, token: Token, tenant: Tenant = "", address: Address = DEFAULT_ADDRESS, output: Output = Format.TABLE
) -> None:
    """Give a lease back; what is left of the claim is free at once."""
    from broker.cli.show import json_one, short

    with connected(address, tenant) as client:
        claim = client.release_lease(whole(name, tenant), token)
    typer.echo(json_one(claim) if output is Format.JSON else f"{short(claim.name)} has ended; what was left is free.")


@lease.command(context_settings={"ignore_unknown_options": True})
def run(
    name: Name,
    command: Command,
    ttl: Ttl = 0,
    tenant: Tenant = "",
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Run a command while the lease holds; it is told to stop (SIGTERM) before others get the devices.

    The lease is given back when the command ends, however it ends. BROKER_FENCING_TOKEN tells the command the number
    that pools know the lease by. The exit status is the command's, or 75 when the lease was lost.
    """
    if shutil.which(command[0]) is None:  # a lease that is given back ends its claim
        fail(f"cannot run {command[0]}: there is no such program; no lease was taken")
    with connected(address, tenant) as client, client.hold_lease(whole(name, tenant), ttl=ttl or None) as holding:
        typer.echo(_line(holding.lease), err=True)
        with _running(command, holding.lease) as process:
            status = _attended(process, holding)
    raise typer.Exit(status)


@contextmanager
def _running(command: list[str], held: Lease) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own, which is gone in the end."""
    import os

    environment = os.environ | {"BROKER_LEASE": held.name, "BROKER_FENCING_TOKEN": str(held.fencing_token)}
    try:
        process = subprocess.Popen(command, env=environment)  # noqa: S603 - what its caller wants to run
    except OSError as error:
        fail(f"cannot run {command[0]}: {error.strerror}")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _attended(process: subprocess.Popen[bytes], holding: Holding) -> int:
    """The exit status of the command, which is stopped in time if the lease is lost."""
    grace = min(STOP_SECONDS, holding.lease.ttl.seconds / 4)
    while process.poll() is None:
        if holding.lost.is_set() or holding.seconds_left <= grace:
            reason = holding.error.message if holding.error is not None else "nobody answered in time"
            typer.echo(f"broker: the lease is lost ({reason}); stopping the command", err=True)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(holding.seconds_left or 1.0)
            except subprocess.TimeoutExpired:
                process.kill()
            return LOST
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _tell(found: Lease, output: Format) -> None:
    from broker.cli.show import json_one

    if output is Format.JSON:
        typer.echo(json_one(found))
        return
    typer.echo(_line(found))
    if found.token:
        typer.echo(f"  token   {found.token}")
        typer.echo(f"  renew   within {found.ttl.seconds} s, best every {max(1, found.renew_after.seconds)} s:")
        typer.echo(f"          BROKER_LEASE_TOKEN={found.token} broker lease renew {_claim(found)}")


def _line(found: Lease) -> str:
    """Whose lease, of what, and how long it lasts."""
    from broker.cli.show import short, when

    places = ", ".join(f"{p.devices:,} in {short(p.pool)}" for p in found.placements) or "nothing now"
    left = found.time_left.seconds + found.time_left.nanos / 1e9
    end = when(found.end_time)
    return f"{_claim(found)} is leased: {places}; {left:.0f} s left unless renewed, until {end} at most"


def _claim(found: Lease) -> str:
    from broker.cli.show import short

    return short(found.name.removesuffix("/lease"))
