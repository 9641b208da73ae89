"""``broker plan``: solve a planning problem from a file, without a server."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.connection import fail, usage

if TYPE_CHECKING:
    from broker.optimiser.report import Progress, Solved

__all__ = ["plan"]

DEFAULT_SECONDS = 30.0


def plan(
    problem: Annotated[Path, typer.Argument(help="A capacity-plan-problem/1 file, .json or .json.gz.")],
    out: Annotated[Path, typer.Option("--out", help="Where the capacity-plan/1 file goes.")],
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Time limit (default 30).")] = None,
    work_limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after so much work instead: the same plan on every machine.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 1,
    hint: Annotated[Path | None, typer.Option(help="A plan of this problem to start from.")] = None,
) -> None:
    """Solve a problem from a file: the best plan in the time, and a bound that no plan can beat.

    Ctrl-C ends it early, with the best plan so far.
    """
    if seconds is not None and work_limit is not None:
        usage("give --seconds or --work-limit, not both")
    from broker.optimiser.files import PlanFileError, ProblemFileError, read_plan, read_problem, write_plan
    from broker.optimiser.solve import solve
    from broker.optimiser.stop import AnyOf, Cancelled, SecondsLimit, Stop, WorkLimit
    from broker.optimiser.warm import warm

    file = problem
    try:
        read = read_problem(file)
        start = None
        if hint is not None:
            file = hint
            start = read_plan(file, read)
    except (ProblemFileError, PlanFileError) as error:
        fail(f"{file}: {error}", remedy="docs/optimiser.md describes the formats.")
    except OSError as error:
        fail(f"cannot read {error.filename}: {error.strerror}")
    warm()  # compiled once on a machine; that is not part of anybody's time limit
    stop: Stop
    stop = WorkLimit(work_limit) if work_limit is not None else SecondsLimit(seconds or DEFAULT_SECONDS, time.monotonic)
    with _interruptible() as asked:
        stop = AnyOf(stop, Cancelled(asked.is_set))
        solved = solve(read, stop=stop, seed=seed, hint=start, on_progress=_progress())
    try:
        write_plan(read, solved, out)
    except OSError as error:
        fail(f"cannot write {out}: {error.strerror}")
    if sys.stderr.isatty():
        typer.echo("", err=True)
    typer.echo(_summary(solved, out))


@contextmanager
def _interruptible() -> Iterator[Event]:
    """The first Ctrl-C sets the event; a second one is the usual end."""
    asked, usual = Event(), signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, usual)


def _progress() -> Callable[[Progress], None] | None:
    """Shows one line on a terminal, over and over; nothing in a pipe."""
    if not sys.stderr.isatty():
        return None

    def show(progress: Progress) -> None:
        gap = 100 * (progress.bound - progress.objective) / max(1.0, abs(progress.bound))
        line = f"{progress.seconds:6.1f} s  value {progress.objective:,}  bound {progress.bound:,.0f}  gap {gap:.2f} %"
        typer.echo(f"\r{line}\033[K", err=True, nl=False)

    return show


def _summary(solved: Solved, out: Path) -> str:
    report = solved.report
    return (
        f"{out}: {solved.status}, {report.placed} of {report.requests} placed, value {solved.objective:,}, "
        f"bound {solved.bound:,.0f}, gap {100 * solved.gap:.2f} %, {report.seconds:.1f} s"
    )
