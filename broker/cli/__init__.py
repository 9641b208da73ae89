"""The command ``broker``: this file only puts its parts together.

What a command needs beyond typer it imports when it runs, so that ``broker --help`` is quick.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from broker.cli.audit import audit
from broker.cli.claim import Asking, claim
from broker.cli.claims import cancel, claims, show, watch
from broker.cli.demo import demo
from broker.cli.domains import domains
from broker.cli.draw import picture
from broker.cli.explain import explain
from broker.cli.fleet import fleet
from broker.cli.lease import lease
from broker.cli.plan import plan
from broker.cli.plan_now import plan_now
from broker.cli.pools import pools
from broker.cli.quote import quote, redeem
from broker.cli.replay import replay
from broker.cli.report import report
from broker.cli.serve import serve
from broker.cli.store import accept, doctor, export, restore, verify
from broker.cli.stress import stress
from broker.cli.supply import drain, grow, late, outage, recover
from broker.cli.tenants import tenants

__all__ = ["app", "main"]

app = typer.Typer(
    name="broker",
    help="Decides which claims get which accelerators, where and when, with a proven bound.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ASKING, SUPPLYING, RUNNING = "Ask and follow", "Change what one pool has", "Run and measure"
KEEPING = "Look after the store"
for command in (claim, quote):
    app.command(cls=Asking, rich_help_panel=ASKING)(command)
for command in (redeem, claims, show, explain, cancel, watch):
    app.command(rich_help_panel=ASKING)(command)
app.add_typer(lease, name="lease", rich_help_panel=ASKING)
app.command(rich_help_panel=ASKING)(pools)
app.command(rich_help_panel=ASKING)(tenants)
app.command(rich_help_panel=ASKING)(domains)
app.command(rich_help_panel=ASKING)(picture)
app.add_typer(fleet, name="fleet", rich_help_panel=ASKING)
app.command("plan-now", rich_help_panel=ASKING)(plan_now)
app.command(rich_help_panel=ASKING)(report)
for command in (outage, recover, drain, late, grow):
    app.command(rich_help_panel=SUPPLYING)(command)
app.command(rich_help_panel=ASKING)(stress)
app.command(rich_help_panel=RUNNING)(demo)
app.command(rich_help_panel=RUNNING)(serve)
app.command(rich_help_panel=RUNNING)(plan)
app.command(rich_help_panel=RUNNING)(replay)
app.add_typer(audit, name="audit", rich_help_panel=RUNNING)
for command in (doctor, verify, export, restore, accept):
    app.command(rich_help_panel=KEEPING)(command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"broker {version('capacity-broker')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    """Decides which claims get which accelerators, where and when, with a proven bound."""


def main() -> None:
    """Run one command; exit status 0, 1 when it was refused or failed, 2 when the command line was wrong."""
    # gRPC's own log would tell every drained server on the error stream; refusals are told by commands.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    app()
