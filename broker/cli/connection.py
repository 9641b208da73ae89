"""What all commands that call a broker share: where it is, for whom, how answers are shown, how refusals are told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from capacitybroker import Client

__all__ = ["Address", "Format", "Output", "Tenant", "connected", "fail", "usage"]


class Format(StrEnum):
    """How an answer is shown."""

    TABLE = "table"
    JSON = "json"


Address = Annotated[
    str, typer.Option("--address", envvar="BROKER_ADDRESS", help="Where the broker listens.", show_default=True)
]
Tenant = Annotated[str, typer.Option("--tenant", envvar="BROKER_TENANT", help="Tenant to act for.", show_default=False)]
Output = Annotated[Format, typer.Option("--output", "-o", help="A table for people, or JSON as in the API.")]

DEFAULT_ADDRESS = "127.0.0.1:7070"


@contextlib.contextmanager
def connected(address: str, tenant: str = "") -> Iterator[Client]:
    """A client for one command; a refusal becomes one clear message and exit status 1."""
    from capacitybroker import BrokerError, Client

    with Client(address or DEFAULT_ADDRESS, tenant=tenant or None) as client:
        try:
            yield client
        except BrokerError as error:
            where = f" ({error.field})" if error.field and error.field not in error.message else ""
            # A name that the fleet does not declare; `ENUM_UNKNOWN` is about versions.
            unknown = error.reason.endswith("_UNKNOWN") and error.reason != "ENUM_UNKNOWN"
            remedies = [error.remedy, "broker fleet show tells more about each." if unknown else ""]
            fail(f"{error.message}{where}", remedy="\n        ".join(filter(None, remedies)), reason=error.reason)


def fail(message: str, *, remedy: str = "", reason: str = "") -> NoReturn:
    """Say what went wrong on the error stream and end with status 1."""
    code = f" [{reason}]" if reason else ""
    told = "\nbroker: ".join(message.splitlines())
    typer.echo(f"broker: {told}{code}" + (f"\n        {remedy}" if remedy else ""), err=True)
    raise typer.Exit(1)


def usage(message: str) -> NoReturn:
    """Say what is wrong with the command line and end with status 2."""
    raise typer.BadParameter(message)


@contextlib.contextmanager
def quiet_when_unread() -> Iterator[None]:
    """End without a word when whoever reads the output has seen enough (``broker claims | head``)."""
    try:
        yield
    except BrokenPipeError:
        # Python flushes again on the way out; give it somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(0) from None
