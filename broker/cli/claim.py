"""``broker claim``: one line that asks for capacity."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer
from typer.core import TyperCommand

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, Tenant, connected, usage
from broker.cli.moments import length, moment

if TYPE_CHECKING:
    from capacitybroker import Claim, Client

__all__ = ["Asking", "Id", "TierName", "Wish", "asked", "claim", "counted", "understood", "wishing"]

POLL_SECONDS = 0.1
WEEKS_MAX = 26  # of work in one claim; the API refuses more


class TierName(StrEnum):
    """What may happen to a claim when capacity is scarce."""

    GUARANTEED = "guaranteed"
    STANDARD = "standard"
    SPOT = "spot"


class Asking(TyperCommand):
    """Reads ``claim -512`` as the slip it is, and not as an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The command line; a number below zero where devices are expected is refused in plain words."""
        for before, text in pairwise(["", *args]):
            if re.fullmatch(r"-[\d,_.]+", text) and not before.startswith("-"):
                usage(f"{text} is no number of devices; write 512 or 1,024")
        left: list[str] = super().parse_args(ctx, args)
        return left


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A claim as typed: texts are not read yet, and empty ones were not given."""

    devices: int = 0
    silicon: tuple[str, ...] = ()
    duration: str
    by: str = ""
    after: str = ""
    done_by: str = ""
    workload_class: str = "training"
    tier: TierName = TierName.STANDARD
    parts: bool = False
    whole_domains: bool = False
    min_domain: int = 0
    min_devices: int = 0
    max_devices: int = 0
    prefer: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    value: str = ""
    labels: tuple[str, ...] = ()
    min_run: str = ""
    notice: str = ""
    checkpoint: str = ""
    on_loan: bool = False


def asked(wish: Wish, *, now: datetime) -> Claim:
    """The claim that a wish stands for; ``ValueError`` that says which part of it cannot be read."""
    from capacitybroker import Claim, SiliconChoice, Tier, duration, timestamp

    claim = Claim(
        workload_class=wish.workload_class,
        devices=wish.devices,
        silicon=[SiliconChoice(silicon=name, devices=count) for name, count in _counted(wish.silicon)],
        gang=not wish.parts,
        whole_domains=wish.whole_domains,
        min_domain_devices=wish.min_domain,
        min_devices=wish.min_devices,
        max_devices=wish.max_devices,
        duration=duration(seconds=_hours(wish.duration, "for").total_seconds()),
        preferred_pools=[_pool(name) for name in wish.prefer],
        forbidden_pools=[_pool(name) for name in wish.avoid],
        tier=Tier.Value(f"TIER_{wish.tier.name}"),
        value_microusd=_microusd(wish.value) if wish.value else 0,
        labels=dict(_label(text) for text in wish.labels),
        on_loan=wish.on_loan,
    )
    if not wish.devices and any(not choice.devices for choice in claim.silicon or [SiliconChoice()]):
        raise ValueError("how many devices? Say a number, or one for each silicon: --silicon gb300=512")
    for text, field in (
        (wish.after, claim.earliest_start_time),
        (wish.by, claim.latest_start_time),
        (wish.done_by, claim.deadline),
    ):
        if text:
            field.CopyFrom(timestamp(moment(text, now=now)))
    for option, text in (("min-run", wish.min_run), ("notice", wish.notice), ("checkpoint", wish.checkpoint)):
        if text:
            name = "checkpoint_interval" if option == "checkpoint" else option.replace("-", "_")
            span = duration(seconds=_hours(text, option).total_seconds())
            getattr(claim.preemption, name).CopyFrom(span)
    return claim


def _hours(text: str, option: str) -> timedelta:
    try:
        return length(text, weeks_max=WEEKS_MAX)
    except ValueError as error:
        raise ValueError(f"--{option} {text}: {error}") from None


def counted(text: str) -> int:
    """A number of devices as typed: ``512``, ``1,024``; 0 for nothing; ``ValueError`` that says what would do."""
    if not re.fullmatch(r"\d{1,3}([,_]\d{3})+|\d*", text):
        raise ValueError(f"{text} is no number of devices; write 512 or 1,024")
    return int(text.replace(",", "").replace("_", "") or 0)


def _counted(choices: Iterable[str]) -> Iterable[tuple[str, int]]:
    for text in (piece.strip().lower() for choice in choices for piece in choice.split(",")):
        if not text or text.isdecimal():
            raise ValueError("--silicon: commas stand between names, as in gb300,gb200=512; none within a number")
        name, given, count = text.partition("=")
        if given and not (count.isdecimal() and int(count)):
            raise ValueError(f"--silicon {text}: after = comes the number of devices, such as {name}=512")
        yield name, int(count) if given else 0


def _pool(name: str) -> str:
    return name if name.startswith("pools/") else f"pools/{name}"


def _microusd(text: str) -> int:
    try:
        amount = Decimal(text.replace(",", "").replace("_", "").removeprefix("$")) * 1_000_000
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 < amount < 2**62 and amount == int(amount)):
        raise ValueError(f"--value {text}: write US dollars, such as 250000")
    return int(amount)


def _label(text: str) -> tuple[str, str]:
    key, given, value = text.partition("=")
    if not (given and key):
        raise ValueError(f"--label {text}: write key=value")
    return key, value


Devices = Annotated[
    str, typer.Argument(help="Devices wanted; none when each --silicon has its own count.", show_default=False)
]
For = Annotated[
    str, typer.Option("--for", help="Time needed at speed 100 %, in whole hours: 36h, 14d, 2w; 26 weeks at most.")
]
Silicon = Annotated[
    list[str] | None,
    typer.Option(
        "--silicon",
        help="Acceptable silicon or family (broker fleet show lists them), with its own count if need be:"
        " gb300,mtia-400=1024. May repeat.",
    ),
]
By = Annotated[
    str,
    typer.Option(
        "--by",
        help="Latest start: friday, tomorrow, +3d, 2026-12-01, 2026-12-01T06:00Z. A day stands for its 00:00 UTC.",
    ),
]
After = Annotated[str, typer.Option("--after", help="Earliest start, written as for --by.")]
DoneBy = Annotated[str, typer.Option("--done-by", help="The work must have ended by then, written as for --by.")]
Class = Annotated[str, typer.Option("--class", help="Workload class; broker fleet show lists them.")]
TierOption = Annotated[TierName, typer.Option("--tier", help="What may happen when capacity is scarce.")]
Parts = Annotated[
    bool,
    typer.Option(
        "--parts",
        help="Up to four parts, which may run in different pools and at different times."
        " Without it: all at once in one pool.",
    ),
]
Whole = Annotated[bool, typer.Option("--whole-domains", help="Whole NVLink domains only: the count is rounded up.")]
MinDomain = Annotated[
    int, typer.Option("--min-domain", min=0, help="Fewest devices of an NVLink domain; 72: rack-scale.")
]
Fewest = Annotated[
    int,
    typer.Option("--min", min=0, help="Elastic: fewest devices of use. The work is the same; fewer take longer."),
]
Most = Annotated[
    int, typer.Option("--max", min=0, help="Elastic: most devices of use. The work is the same; more are done sooner.")
]
Prefer = Annotated[
    list[str] | None, typer.Option("--prefer", help="Pool whose use is worth 2 % more to you. May repeat.")
]
Avoid = Annotated[list[str] | None, typer.Option("--avoid", help="Pool never to use. May repeat.")]
Value = Annotated[
    str, typer.Option("--value", help="What it is worth, in US dollars; by default the rate of the tier.")
]
Label = Annotated[list[str] | None, typer.Option("--label", help="key=value, free text. May repeat.")]
MinRun = Annotated[str, typer.Option("--min-run", help="Spot: runs for so long before it is told to give way: 4h, 2d.")]
Notice = Annotated[
    str, typer.Option("--notice", help="Spot: runs for so long after it is told to give way; an hour unless said.")
]
Checkpoint = Annotated[
    str, typer.Option("--checkpoint", help="Spot: time between checkpoints; without them a run cut short is lost.")
]
OnLoan = Annotated[
    bool,
    typer.Option("--on-loan", help="Spot: beside your quota, within what you may have on loan; the first to give way."),
]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the planner's first word.")]
Id = Annotated[str, typer.Option("--id", help="Id of the claim; by default the broker makes one.")]


P = ParamSpec("P")


def wishing(command: Callable[Concatenate[Wish, P], None]) -> Callable[..., None]:
    """The command with all options that make a wish, and its own after them."""
    shared = inspect.signature(_wish, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    def run(**given: Any) -> None:
        wish = _wish(**{name: given.pop(name) for name in shared})
        command(wish, **given)  # type: ignore[call-arg]  # what is left are its own

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {each.name: each.annotation for each in (*shared.values(), *own)}
    run.__signature__ = inspect.Signature([*shared.values(), *own])  # type: ignore[attr-defined]  # typer reads it
    return run


def _wish(
    devices: Devices = "",
    duration: For = ...,  # type: ignore[assignment]  # typer's way to say: required
    silicon: Silicon = None,
    by: By = "",
    after: After = "",
    done_by: DoneBy = "",
    workload_class: Class = "training",
    tier: TierOption = TierName.STANDARD,
    parts: Parts = False,
    whole_domains: Whole = False,
    min_domain: MinDomain = 0,
    min_devices: Fewest = 0,
    max_devices: Most = 0,
    prefer: Prefer = None,
    avoid: Avoid = None,
    value: Value = "",
    label: Label = None,
    min_run: MinRun = "",
    notice: Notice = "",
    checkpoint: Checkpoint = "",
    on_loan: OnLoan = False,
) -> Wish:
    try:
        count = counted(devices)
    except ValueError as error:
        usage(str(error))
    return Wish(
        devices=count,
        silicon=tuple(silicon or ()),
        duration=duration,
        by=by,
        after=after,
        done_by=done_by,
        workload_class=workload_class,
        tier=tier,
        parts=parts,
        whole_domains=whole_domains,
        min_domain=min_domain,
        min_devices=min_devices,
        max_devices=max_devices,
        prefer=tuple(prefer or ()),
        avoid=tuple(avoid or ()),
        value=value,
        labels=tuple(label or ()),
        min_run=min_run,
        notice=notice,
        checkpoint=checkpoint,
        on_loan=on_loan,
    )


def understood(wish: Wish, tenant: str) -> Claim:
    """The claim that a wish stands for; a usage error where it cannot be read, or nobody says for whom it is."""
    if not tenant:
        usage("for which tenant? Give --tenant, or set BROKER_TENANT")
    try:
        return asked(wish, now=now())
    except ValueError as error:
        usage(str(error))


@wishing
def claim(
    wish: Wish,
    claim_id: Id = "",
    wait: Wait = 5.0,
    tenant: Tenant = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Ask for capacity.

    broker claim 512 --silicon blackwell --for 14d --by friday --whole-domains
    """
    message = understood(wish, tenant)
    with connected(address, tenant) as client:
        stored = _first_word(client, client.create_claim(message, claim_id=claim_id), seconds=wait)
    _tell(stored, output, bounded=bool(wish.by or wish.done_by))


def _first_word(client: Client, stored: Claim, *, seconds: float) -> Claim:
    """The claim once a plan has looked at it, or as it is when the time is up."""
    from capacitybroker import Reason

    end = time.monotonic() + seconds
    while [why.reason for why in stored.reasons] == [Reason.REASON_AWAITING_PLAN] and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        stored = client.get_claim(stored.name)
    return stored


def _tell(stored: Claim, output: Format, *, bounded: bool) -> None:
    from broker.cli.show import json_one, short, when
    from broker.cli.tables import claim_lines

    if output is Format.JSON:
        typer.echo(json_one(stored))
        return
    typer.echo("\n".join(claim_lines(stored)))
    moving = [p.latest_start_time for p in stored.placements if p.latest_start_time.seconds > p.start_time.seconds]
    if moving and not bounded:
        last = max(moving, key=lambda moment: moment.seconds)
        typer.echo(f"The start may still move, to {when(last)} UTC at the latest; --by bounds it.")
    typer.echo(f"Follow it: broker show {short(stored.name)}, or broker watch")
