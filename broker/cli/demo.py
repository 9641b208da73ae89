"""``broker demo``: the whole job on this machine in under a minute, with nothing but what is in the box."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import connected, fail

if TYPE_CHECKING:
    from broker.cli.demo_report import Refused, Result
    from broker.cli.sample_claims import Asking

__all__ = ["demo"]

DAYS = 28  # that claims start in and the picture shows
HORIZON_DAYS = 49  # that the planner looks ahead, so that three weeks of work may start on the last of them

Keep = Annotated[bool, typer.Option("--keep", help="Leave the broker running until Ctrl-C.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the picture and the full table.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the claims.")]
Seconds = Annotated[int, typer.Option("--seconds", min=1, max=600, help="Time for the plan.")]


def demo(keep: Keep = False, out: Out = Path("demo-out"), seed: Seed = 7, seconds: Seconds = 10) -> None:
    """Start a broker, declare a fleet, ask for capacity as six teams would, plan, and show what came out."""
    from broker.cli.demo_report import report
    from broker.cli.local_server import ServerFailed, local_server
    from broker.cli.show import console, working

    begun = time.monotonic()
    with ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory(prefix="broker-demo-"))
        try:
            with working("Starting a broker …"):
                server = running.enter_context(local_server(Path(folder), horizon_slots=HORIZON_DAYS * 24))
        except ServerFailed as error:
            fail(str(error))
        result = _run(server.address, seed=seed, seconds=seconds, out=out)
        report(console(), result, out=out, seconds=time.monotonic() - begun, address=server.address, kept=keep)
        if keep:
            with suppress(KeyboardInterrupt):
                Event().wait()


def _run(address: str, *, seed: int, seconds: int, out: Path) -> Result:
    """Everything from the empty broker to the picture."""
    from broker.cli.demo_report import Result
    from broker.cli.draw import svg_of
    from broker.cli.fleet_file import default_fleet_text, fleet_from_text
    from broker.cli.sample_claims import sample_claims
    from broker.cli.show import working

    start = now()
    first_hour = start.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    asked = sample_claims(seed=seed, start=first_hour, days=DAYS)
    last_hour = first_hour + timedelta(days=DAYS)
    fleet = fleet_from_text(default_fleet_text(), today=start)
    with connected(address) as client:
        client.apply_fleet(fleet)
        with working(f"{len(asked)} claims …"):
            begun = time.monotonic()
            refused = _submit(address, asked)
            submit_seconds = time.monotonic() - begun
        with working(f"Planning, {seconds} s …"):
            plan = client.run_plan(time_limit=timedelta(seconds=seconds))
        claims = list(client.list_claims(tenant="-"))
        pools = list(client.list_pools(start=first_hour, end=last_hour))
    out.mkdir(parents=True, exist_ok=True)
    tenants = [tenant.id for tenant in fleet.tenants]
    svg = svg_of(pools, claims, tenants, first=first_hour, last=last_hour)
    (out / "calendar.svg").write_text(svg, encoding="utf-8")
    return Result(claims=claims, refused=refused, pools=pools, plan=plan, submit_seconds=submit_seconds)


def _submit(address: str, asked: Iterable[Asking]) -> list[Refused]:
    """Each tenant submits its own claims over its own connection, all at the same time; returns what was refused."""
    by_tenant = sorted(asked, key=lambda asking: asking.tenant)
    shares = [list(group) for _, group in groupby(by_tenant, key=lambda asking: asking.tenant)]
    with ThreadPoolExecutor(len(shares)) as tenants:
        return [
            refused for found in tenants.map(lambda share: _submit_share(address, share), shares) for refused in found
        ]


def _submit_share(address: str, share: Sequence[Asking]) -> list[Refused]:
    from capacitybroker import Client, FailedPrecondition, InvalidArgument

    from broker.cli.demo_report import Refused

    refused: list[Refused] = []
    with Client(address, tenant=share[0].tenant, timeout=30) as client:
        for asking in share:
            try:
                client.create_claim(asking.claim, claim_id=asking.id)
            except (FailedPrecondition, InvalidArgument) as error:
                refused.append(Refused(f"{asking.tenant}/{asking.id}", error.reason, error.message))
    return refused
