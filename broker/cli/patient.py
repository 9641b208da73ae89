"""Follows claims for as long as somebody wants to, whether or not the broker is there all the time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from capacitybroker import Claim, Client, Watch
    from capacitybroker.v1.capacity_service_pb2 import WatchClaimsResponse

__all__ = ["patiently"]

LOST_SECONDS = 2.0  # without a connection before it is worth a word
PAUSE_SECONDS = 1.0


def patiently(
    client: Client,
    *,
    tenant: str | None,
    start_revision: int,
    claims: Sequence[str] = (),
    states: Sequence[Claim.State.ValueType] = (),
) -> Iterator[WatchClaimsResponse]:
    """Revisions one after another; says on the error stream when the broker went away and when it came back.

    A broker that is not there to begin with raises ``Unavailable``, as any refusal does.
    """
    from capacitybroker import BrokerError, Unavailable

    lost = False

    def watching(start: int) -> Watch:
        return client.watch_claims(
            tenant=tenant,
            claims=claims,
            states=states,
            start_revision=start,
            progress=True,
            give_up_seconds=LOST_SECONDS,
        )

    watch = watching(start_revision)
    while True:
        try:
            for change in watch:
                if lost:
                    typer.echo("broker: connected again", err=True)
                    lost = False
                yield change
        except BrokerError as error:
            away = isinstance(error, Unavailable)
            if not away and error.reason != "OVERLOADED":
                raise
            if not lost:
                why = "connection lost" if away else "the broker has too much to do"
                typer.echo(f"broker: {why}, waiting … (Ctrl-C ends it)", err=True)
                lost = True
            time.sleep(max(PAUSE_SECONDS, error.retry_after_seconds or 0.0))
        else:
            return
        watch = watching(watch.next_revision)
