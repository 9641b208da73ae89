"""``broker replay``: a real trace through the real API against a real broker, in virtual time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.connection import connected, fail

if TYPE_CHECKING:
    from capacitybroker import Calibration, Claim, Client, Fleet, Plan

    from broker.cli.local_server import LocalServer
    from broker.cli.promises import Promises
    from broker.cli.replay_report import Refused, Replayed
    from broker.cli.trace import Job

__all__ = ["replay", "run"]

TRACE_START = datetime(2021, 3, 4, tzinfo=UTC)
HOUR = 3600
TIERS = {5: "TIER_GUARANTEED", 2: "TIER_STANDARD", 1: "TIER_SPOT"}
MIN_RUN_HOURS_MAX = 7 * 24  # the API takes no more
CAPTURE_SECONDS = 10.0
CATCH_UP_SECONDS = 60.0

Folder = Annotated[Path, typer.Argument(help="Folder of the ElasticFlow job lists (*01*.csv.gz to *10*.csv.gz).")]
FromDay = Annotated[int, typer.Option("--from-day", min=0, help="First day of the trace.")]
Days = Annotated[int, typer.Option("--days", min=1, max=60, help="How many days.")]
Load = Annotated[float, typer.Option("--load", min=0.05, max=20, help="Work asked for, as a multiple of what fits.")]
Every = Annotated[int, typer.Option("--every", min=1, max=48, help="Hours between plans.")]
Seconds = Annotated[float, typer.Option("--plan-seconds", min=0.1, max=60, help="Time of one plan.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the captured plan and for the outcome.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of who is guaranteed, standard or spot; 0: as published.")]


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the trace that is replayed, and how."""

    from_day: int
    days: int
    load: float
    every: int
    seed: int

    @property
    def slots(self) -> int:
        """Its length in hours."""
        return self.days * 24

    def moment(self, seconds: int) -> datetime:
        """The moment that many seconds after its start."""
        return TRACE_START + timedelta(days=self.from_day, seconds=seconds)


def replay(
    trace_dir: Folder,
    from_day: FromDay = 0,
    days: Days = 14,
    load: Load = 1.5,
    every: Every = 6,
    plan_seconds: Seconds = 0.5,
    out: Out = Path("replay-out"),
    seed: Seed = 0,
) -> None:
    """Submit a real trace in virtual time, plan as it goes, and see what was served and whether promises were kept."""
    from broker.cli.local_server import ServerFailed
    from broker.cli.replay_report import report
    from broker.cli.show import console
    from broker.cli.trace import TraceError, read_jobs

    window = Window(from_day, days, load, every, seed)
    try:
        jobs = read_jobs(trace_dir, from_day=from_day, days=days)
        replayed = run(jobs, window, out=out, plan_seconds=plan_seconds)
    except TraceError as error:
        fail(str(error), remedy="The lists are public: github.com/microsoft/elasticflow-traces (MIT).")
    except (ServerFailed, TimeoutError) as error:
        fail(str(error))
    report(console(), replayed)
    if not replayed.good:
        raise typer.Exit(1)


def run(jobs: Sequence[Job], window: Window, *, out: Path, plan_seconds: float) -> Replayed:
    """Replays the jobs against a broker of its own; leaves the captured plan and the outcome in ``out``."""
    from broker.cli.follower import Follower
    from broker.cli.local_server import local_server, set_clock
    from broker.cli.promises import Promises
    from broker.cli.trace import pool_nodes

    nodes = pool_nodes(jobs, load=window.load, slots=window.slots)
    out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="broker-replay-")))
        clock = folder / "clock"
        set_clock(clock, int(window.moment(0).timestamp()))
        server: LocalServer = running.enter_context(
            local_server(
                folder,
                plan_seconds=plan_seconds,
                horizon_slots=window.slots,
                clock_file=clock,
                capture=folder / "captured",
            )
        )
        client = running.enter_context(connected(server.address))
        client.apply_fleet(_fleet(nodes))
        promises = Promises()
        follower = running.enter_context(Follower(server.address, promises.observe))
        drive = _Drive(client, window, lambda moment: set_clock(clock, moment), folder / "captured", out / "captured")
        with _shown(window.slots) as show:
            plan = drive.all(jobs, show)
        follower.wait_for(int(plan.name.rpartition("/")[2]), seconds=CATCH_UP_SECONDS)
        claims = {_number(claim): claim for claim in follower.claims.values()}
        calibrations = client.get_calibration()
    seconds = time.monotonic() - begun
    return _judged(jobs, claims, window, promises, drive, calibrations, nodes=nodes, out=out, seconds=seconds)


@dataclass(slots=True)
class _Drive:
    """Lets virtual time pass: submits what is due, plans every so many hours, checks each captured plan."""

    client: Client
    window: Window
    set_clock: Callable[[int], None]
    captured: Path
    keep_as: Path
    plans: int = 0
    rejected: int = 0
    unseen: int = 0
    refused: dict[int, Refused] = field(default_factory=dict)

    def all(self, jobs: Sequence[Job], show: Callable[[int], None]) -> Plan:
        """From the first hour to the last; returns the plan after which nothing is open."""
        due = list(enumerate(jobs))
        for slot in range(self.window.slots + 1):
            while due and due[0][1].submitted_seconds <= slot * HOUR:
                number, job = due.pop(0)
                self._at(job.submitted_seconds)
                self._submit(number, job)
            if slot % self.window.every == 0 and slot < self.window.slots:
                self._at(slot * HOUR)
                self._plan()
            show(slot)
        self._at(self.window.slots * HOUR)
        return self.client.run_plan()

    def _at(self, seconds: int) -> None:
        self.set_clock(int(self.window.moment(seconds).timestamp()))

    def _submit(self, number: int, job: Job) -> None:
        from capacitybroker import TIER_SPOT, Claim, FailedPrecondition, Tier, duration, timestamp

        from broker.cli.replay_report import Refused
        from broker.cli.trace import tier_weight

        weight = tier_weight(number, seed=self.window.seed)
        claim = Claim(
            workload_class="training",
            devices=job.nodes * 8,
            gang=True,
            duration=duration(hours=job.slots),
            tier=Tier.Value(TIERS[weight]),
            value_microusd=weight * job.nodes * job.slots * 1_000_000,
            earliest_start_time=timestamp(self.window.moment(job.release * HOUR)),
            latest_start_time=timestamp(self.window.moment(job.latest * HOUR)),
        )
        if claim.tier == TIER_SPOT:
            # A job of the trace runs in one piece, and the outcome is judged by that.
            claim.preemption.min_run.CopyFrom(duration(hours=min(job.slots, MIN_RUN_HOURS_MAX)))
        try:
            self.client.create_claim(claim, tenant=f"team-{job.cluster}", claim_id=f"job-{number}")
        except FailedPrecondition as error:
            # An answer too: some jobs are larger than every pool.
            self.refused[number] = Refused(claim.tier, claim.value_microusd, error.reason)

    def _plan(self) -> None:
        """A plan, and the checker's word on it."""
        from broker.cli.replay_outcome import captured_is_sound

        plan = self.client.run_plan()
        if not plan.claims:
            return
        self.plans += 1
        end = time.monotonic() + CAPTURE_SECONDS
        worth = plan.objective_microusd
        while (sound := captured_is_sound(self.captured, objective=worth, keep_as=self.keep_as)) is None:
            if time.monotonic() > end:
                self.unseen += 1
                return
            time.sleep(0.01)
        self.rejected += not sound


def _judged(
    jobs: Sequence[Job],
    claims: dict[int, Claim],
    window: Window,
    promises: Promises,
    drive: _Drive,
    calibrations: Sequence[Calibration],
    *,
    nodes: dict[str, int],
    out: Path,
    seconds: float,
) -> Replayed:
    """What the replay served, written down as a plan of the whole window and checked."""
    from capacitybroker import Claim

    from broker.cli.replay_outcome import Served, verified, write_outcome
    from broker.cli.replay_report import Replayed

    begin = int(window.moment(0).timestamp())
    served = {
        number: Served(placement.pool.removeprefix("pools/"), (placement.start_time.seconds - begin) // HOUR)
        for number, claim in claims.items()
        if claim.state == Claim.STATE_ENDED and not claim.runs
        for placement in claim.placements
    }
    files = write_outcome(jobs, served, nodes=nodes, slots=window.slots, seed=window.seed, folder=out, seconds=seconds)
    return Replayed(
        claims=claims,
        refused=drive.refused,
        submitted=len(jobs),
        broken=tuple(promises.broken),
        plans=drive.plans,
        plans_rejected=drive.rejected,
        plans_unseen=drive.unseen,
        violations=verified(*files),
        calibrations=tuple(calibrations),
        files=(drive.keep_as / "problem.json.gz", drive.keep_as / "plan.json", *files),
        seconds=seconds,
    )


def _fleet(nodes: dict[str, int]) -> Fleet:
    """The trace's clusters as pools of one silicon, and a team for each."""
    from capacitybroker import Fleet
    from capacitybroker.v1 import fleet_pb2 as pb

    return Fleet(
        silicon=[pb.Silicon(id="hgx", display_name="A node of eight GPUs")],
        workload_classes=[
            pb.WorkloadClass(id="training", speeds=[pb.SiliconSpeed(silicon="hgx", speed_percent=100)]),
        ],
        pools=[
            pb.Pool(
                id=f"pool-{cluster}",
                kind=pb.POOL_KIND_INTERNAL,
                silicon="hgx",
                domain_devices=8,
                deliveries=[pb.Delivery(devices=8 * count)],
            )
            for cluster, count in nodes.items()
        ],
        tenants=[pb.Tenant(id=f"team-{cluster}") for cluster in nodes],
    )


def _number(claim: Claim) -> int:
    return int(claim.name.rpartition("-")[2])


@contextmanager
def _shown(slots: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; nothing in a pipe."""
    from rich.console import Console
    from rich.progress import Progress

    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task("Hours of the trace", total=slots)
        yield lambda slot: progress.update(bar, completed=slot)
