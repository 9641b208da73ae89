"""Commands for whoever looks after the store: what is wrong, is it what the log says, copies, and starting again."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from broker.cli.connection import fail

if TYPE_CHECKING:
    from broker.ledger.redis.link import Link

__all__ = ["accept", "doctor", "export", "restore", "verify"]

T = TypeVar("T")

RECOVERY_SECONDS = 3_502.0  # the longest lease, and how long after its end its devices are not given away

DataDir = Annotated[Path, typer.Option(help="Where the embedded store keeps its data.")]
RedisUrl = Annotated[
    str | None, typer.Option(envvar="BROKER_REDIS_URL", help="A Valkey or Redis server instead of the embedded one.")
]
Market = Annotated[str, typer.Option(help="Which market of the store.")]
Recovery = Annotated[
    float,
    typer.Option(
        "--recovery-seconds",
        min=0,
        help="How long leases may still be held that the market knows nothing of. 0 only if nothing was lost.",
    ),
]
DATA_DIR = Path("broker-data")


def doctor(
    data_dir: DataDir = DATA_DIR,
    redis_url: RedisUrl = None,
    market: Market = "main",
    relaxed: Annotated[bool, typer.Option("--relaxed", help="Accept a store that may lose changes.")] = False,
) -> None:
    """Say what is wrong with the store and the market in it, and what to do. Changes nothing."""
    from broker.app import wall_clock
    from broker.ledger.redis.doctor import Finding, Grade, examine

    async def found(link: Link) -> list[Finding]:
        return [finding async for finding in examine(link, now=wall_clock, relaxed=relaxed)]

    findings = _with_link(found, data_dir, redis_url, market)
    for finding in findings:
        typer.echo(f"{finding.grade.value:8} {finding.about:17} {finding.found}")
        if finding.remedy:
            typer.echo(f"{'':8} {'':17} -> {finding.remedy}")
    wrong = sum(finding.grade is Grade.WRONG for finding in findings)
    if wrong:
        typer.echo(f"\n{wrong} of {len(findings)} wrong")
        raise typer.Exit(1)
    typer.echo("\nnothing is wrong")


def verify(
    since: Annotated[Path | None, typer.Option(help="A copy to fold the log on, if the log is not whole.")] = None,
    data_dir: DataDir = DATA_DIR,
    redis_url: RedisUrl = None,
    market: Market = "main",
) -> None:
    """Fold the log and compare it with what the store keeps: one digest if they are the same."""
    from broker.ledger.redis.copying import load_copy
    from broker.ledger.redis.verify import Verdict
    from broker.ledger.redis.verify import verify as verified

    async def found(link: Link) -> Verdict:
        return await verified(link, load_copy(since).image if since else None)

    verdict = _with_link(found, data_dir, redis_url, market)
    typer.echo(f"revision  {verdict.revision}")
    typer.echo(f"claims    {verdict.claims}")
    typer.echo(f"kept      {verdict.kept}")
    if verdict.told:
        typer.echo(f"the log   {verdict.told}")
    else:
        typer.echo(f"the log   begins at revision {verdict.oldest}; name an earlier copy with --since to fold it")
    if verdict.wrong:
        fail(
            "\n".join(("the store is not what its log says", *verdict.wrong)),
            remedy="Stop the broker, take broker export (it follows the log), and restore that into an empty store.",
        )
    typer.echo("the same" if verdict.told else "books and claims agree")


def export(
    file: Annotated[Path, typer.Argument(help="Where to; a name that ends in .gz is compressed.")],
    data_dir: DataDir = DATA_DIR,
    redis_url: RedisUrl = None,
    market: Market = "main",
) -> None:
    """Copy the market as of now into a file, while it is in use. The file holds the key of lease tokens: guard it."""
    from broker.ledger.copy_file import write_copy
    from broker.ledger.redis.copying import copy_lines, load_copy

    async def made(link: Link) -> str:
        return await write_copy(file, copy_lines(link))

    _with_link(made, data_dir, redis_url, market)
    copy = load_copy(file)
    typer.echo(f"{file}: revision {copy.image.revision}, {len(copy.image.claims)} claims")
    typer.echo(copy.digest)


def restore(
    file: Annotated[Path, typer.Argument(help="What broker export wrote.")],
    recovery_seconds: Recovery = RECOVERY_SECONDS,
    data_dir: DataDir = DATA_DIR,
    redis_url: RedisUrl = None,
    market: Market = "main",
) -> None:
    """Put a copy into an empty store, as another incarnation.

    Leases in it go on; new ones are given once all that it may not know of are over.
    """
    from broker.app import new_id, wall_clock
    from broker.ledger.redis.copying import Copy
    from broker.ledger.redis.copying import restore as restored
    from broker.witness import Witness

    async def made(link: Link) -> Copy:
        return await restored(
            link,
            file,
            incarnation=new_id(),
            recovery_millis=int(1000 * recovery_seconds),
            now_millis=int(1000 * wall_clock()),
        )

    copy = _with_link(made, data_dir, redis_url, market, create=True)
    Witness(data_dir, market).forget()
    typer.echo(f"{file}: revision {copy.image.revision}, {len(copy.image.claims)} claims")
    typer.echo(copy.digest)


def accept(
    recovery_seconds: Recovery = RECOVERY_SECONDS,
    data_dir: DataDir = DATA_DIR,
    redis_url: RedisUrl = None,
    market: Market = "main",
) -> None:
    """Trust the market as it stands, after it was halted: it becomes another incarnation. Then restart the broker."""
    from broker.app import new_id
    from broker.ledger.redis.copying import accept as accepted
    from broker.witness import Witness

    async def done(link: Link) -> None:
        await accepted(link, incarnation=new_id(), recovery_millis=int(1000 * recovery_seconds))

    _with_link(done, data_dir, redis_url, market)
    Witness(data_dir, market).forget()
    typer.echo(f"market {market} is accepted as it stands; restart every broker on it")


def _with_link(
    work: Callable[[Link], Awaitable[T]], data_dir: Path, redis_url: str | None, market: str, *, create: bool = False
) -> T:
    """What ``work`` makes of the market's line; what cannot be done is told in one line."""
    import asyncio

    from broker.domain.faults import Fault
    from broker.ledger.redis.link import Link, StoreSettings

    async def run(url: str) -> T:
        link = Link(url, market=market, settings=StoreSettings(call_seconds_max=10.0, bulk_seconds_max=60.0))
        try:
            return await work(link)
        finally:
            await link.close()

    try:
        with _store(data_dir, redis_url, create) as url:
            return asyncio.run(run(url))
    except Fault as fault:
        fail(fault.message, remedy=fault.remedy, reason=fault.reason.name)
    except OSError as error:
        fail(f"cannot use {error.filename}: {error.strerror}")


@contextlib.contextmanager
def _store(data_dir: Path, redis_url: str | None, create: bool) -> Iterator[str]:
    """URL of the store; with ``create`` a directory may be new, and is marked as used once all went well."""
    from broker.ledger.redis.embedded import EmbeddedStore

    if redis_url:
        yield redis_url
    elif create:
        with EmbeddedStore.start(data_dir) as store:
            yield store.url
            store.mark_used()
    else:
        with EmbeddedStore.borrowed(data_dir) as url:
            yield url
