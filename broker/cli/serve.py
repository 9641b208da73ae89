"""``broker serve``: a broker with everything it needs, until interrupted."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.connection import fail, usage

if TYPE_CHECKING:
    from broker.settings import ServeSettings

__all__ = ["serve"]

AuditDir = Annotated[
    Path | None, typer.Option(help="Where each change and each refusal is put on record [DATA_DIR/audit].")
]
MetricsAddress = Annotated[
    str | None,
    typer.Option(envvar="BROKER_METRICS", help="host:port for Prometheus; further workers take the ports behind it."),
]
Traces = Annotated[
    bool, typer.Option("--traces", help="Send OpenTelemetry spans where OTEL_EXPORTER_OTLP_ENDPOINT says.")
]
Durability = Annotated[str, typer.Option(help="strict, or relaxed: run on a store that may lose changes.")]
LogFormat = Annotated[str, typer.Option(envvar="BROKER_LOG_FORMAT", help="text or json.")]
RedisUrl = Annotated[
    str | None,
    typer.Option(envvar="BROKER_REDIS_URL", help="A Valkey or Redis server instead of the embedded one."),
]
ClockFile = Annotated[Path | None, typer.Option(help="Take the present Unix second from this file (for replays).")]
Capture = Annotated[
    Path | None, typer.Option(help="Keep the last planning problem and its plan here, as public files.")
]


def serve(
    listen: Annotated[str, typer.Option(envvar="BROKER_LISTEN", help="host:port; port 0 takes a free one.")] = (
        "127.0.0.1:7070"
    ),
    data_dir: Annotated[Path, typer.Option(help="Where the embedded store keeps its data.")] = Path("broker-data"),
    redis_url: RedisUrl = None,
    market: Annotated[str, typer.Option(help="Which market of the store to serve.")] = "main",
    create: Annotated[bool, typer.Option("--create", help="Make the market if the server has none.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Server processes that share the port.")] = 1,
    planners: Annotated[int, typer.Option(min=1, max=8, help="Planner processes: one leads, others stand by.")] = 1,
    durability: Durability = "strict",
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen on addresses that others can reach.")] = False,
    plan_seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Time of one planning cycle.")] = 2.0,
    horizon_slots: Annotated[int, typer.Option(min=24, max=8760, help="Hours that a plan looks ahead.")] = 26 * 168,
    defragment: Annotated[
        int, typer.Option(min=0, max=100, help="Placements that a plan may move so that whole domains stay free.")
    ] = 4,
    clock_file: ClockFile = None,
    capture: Capture = None,
    ready_file: Annotated[Path | None, typer.Option(help="Write address and process ids here, once serving.")] = None,
    audit_dir: AuditDir = None,
    metrics: MetricsAddress = None,
    traces: Traces = False,
    log_format: LogFormat = "text",
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not say where the broker listens.")] = False,
) -> None:
    """Run a broker: embedded store, servers, planner. Stops on Ctrl-C."""
    _checked(listen, durability)
    _check_telling(log_format, metrics, traces=traces)
    from broker.optimiser.defragment import Leeway
    from broker.planner import PlannerSettings
    from broker.settings import ServeSettings

    settings = ServeSettings(
        listen=listen,
        data_dir=data_dir,
        redis_url=redis_url,
        market=market,
        create=create,
        workers=workers,
        planners=planners,
        failpoints=_failpoints(),
        durability="relaxed" if durability == "relaxed" else "strict",
        insecure=insecure,
        clock_file=clock_file,
        capture_dir=capture,
        ready_file=ready_file,
        audit_dir=audit_dir or data_dir / "audit",
        metrics=metrics,
        traces=traces,
        log_format="json" if log_format == "json" else "text",
        planner=PlannerSettings(
            solve_seconds=plan_seconds, horizon_slots=horizon_slots, leeway=Leeway(moves=defragment)
        ),
    )
    _run(settings, quiet=quiet)


def _checked(listen: str, durability: str) -> None:
    """Say what is wrong with an option, if anything is, and end."""
    if durability not in ("strict", "relaxed"):
        usage("--durability is strict or relaxed")
    if not listen.rpartition(":")[2].isdigit() or int(listen.rpartition(":")[2]) > 65_535:
        usage("--listen is host:port")


def _failpoints() -> str:
    """What the environment arms, if a developer allowed it; else say so and end."""
    from broker.settings import failpoints_of

    try:
        return failpoints_of(os.environ)
    except ValueError as error:
        usage(str(error))


def _check_telling(log_format: str, metrics: str | None, *, traces: bool) -> None:
    """What is told and where: wrong options end the command."""
    if log_format not in ("text", "json"):
        usage("--log-format is text or json")
    if metrics is not None and not metrics.rpartition(":")[2].isdigit():
        usage("--metrics is host:port")
    _need("prometheus_client", "metrics", wanted=metrics is not None)
    _need("opentelemetry.sdk", "traces", wanted=traces)


def _need(module: str, extra: str, *, wanted: bool) -> None:
    """What is wanted needs an extra of the package: say which."""
    try:
        missing = wanted and find_spec(module) is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        usage(f"--{extra} needs more packages: pip install 'capacity-broker[{extra}]'")


def _run(settings: ServeSettings, *, quiet: bool) -> None:
    """Serve until told to stop; what keeps it from starting is told in one line."""
    from broker.domain.faults import Fault
    from broker.processes import StartFailed
    from broker.serve import serve as run
    from broker.telemetry.logs import log_to_stderr

    log_to_stderr("broker", settings.log_format)

    def announce(address: str) -> None:
        if not quiet:
            typer.echo(f"broker: serving on {address} (Ctrl-C stops it)")

    try:
        run(settings, announce)
    except Fault as fault:
        fail(fault.message, remedy=fault.remedy, reason=fault.reason.name)
    except StartFailed as failed:
        fail(str(failed))
    except OSError as error:
        if error.filename is not None:
            fail(f"cannot use {error.filename}: {error.strerror}", remedy="Choose another --data-dir or --ready-file.")
        fail(
            f"cannot listen on {settings.listen}: {error.strerror}",
            remedy="Stop what uses the port, or pass another --listen.",
        )
