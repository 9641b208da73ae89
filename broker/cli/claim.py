"""``broker claim``: one line that asks for capacity."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.clock import now
from broker.cli.connection import DEFAULT_ADDRESS, Address, Format, Output, Tenant, connected, usage
from broker.cli.moments import length, moment

if TYPE_CHECKING:
    from capacitybroker import Claim, Client

__all__ = ["TierName", "Wish", "asked", "claim"]


POLL_SECONDS = 0.1


class TierName(StrEnum):
    """What may happen to a claim when capacity is scarce."""

    GUARANTEED = "guaranteed"
    STANDARD = "standard"
    SPOT = "spot"


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
        duration=duration(seconds=length(wish.duration).total_seconds()),
        preferred_pools=[_pool(name) for name in wish.prefer],
        forbidden_pools=[_pool(name) for name in wish.avoid],
        tier=Tier.Value(f"TIER_{wish.tier.name}"),
        value_microusd=_microusd(wish.value) if wish.value else 0,
        labels=dict(_label(text) for text in wish.labels),
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
    return claim


def _counted(choices: Iterable[str]) -> Iterable[tuple[str, int]]:
    for text in choices:
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


Devices = Annotated[int, typer.Argument(help="Devices wanted; 0 when each --silicon has its own count.")]
For = Annotated[str, typer.Option("--for", help="Time needed at speed 100 %: 36h, 14d, 2w.")]
Silicon = Annotated[
    list[str] | None,
    typer.Option(
        "--silicon", help="Acceptable silicon or family, with its own count if need be: mtia-400=1024. May repeat."
    ),
]
By = Annotated[str, typer.Option("--by", help="Latest start: friday, tomorrow, +3d, 2026-12-01, 2026-12-01T06:00Z.")]
After = Annotated[str, typer.Option("--after", help="Earliest start.")]
DoneBy = Annotated[str, typer.Option("--done-by", help="The work must have ended by then.")]
Class = Annotated[str, typer.Option("--class", help="Workload class of the fleet.")]
TierOption = Annotated[TierName, typer.Option("--tier", help="What may happen when capacity is scarce.")]
Parts = Annotated[
    bool, typer.Option("--parts", help="The devices may come in parts. Without it: all at once in one pool.")
]
Whole = Annotated[bool, typer.Option("--whole-domains", help="Whole NVLink domains only: the count is rounded up.")]
MinDomain = Annotated[
    int, typer.Option("--min-domain", min=0, help="Fewest devices of an NVLink domain; 72: rack-scale.")
]
Fewest = Annotated[int, typer.Option("--min", min=0, help="Elastic: fewest devices that are of use.")]
Most = Annotated[int, typer.Option("--max", min=0, help="Elastic: most devices that are of use.")]
Prefer = Annotated[list[str] | None, typer.Option("--prefer", help="Preferred pool. May repeat.")]
Avoid = Annotated[list[str] | None, typer.Option("--avoid", help="Pool never to use. May repeat.")]
Value = Annotated[
    str, typer.Option("--value", help="What it is worth, in US dollars; by default the rate of the tier.")
]
Label = Annotated[list[str] | None, typer.Option("--label", help="key=value, free text. May repeat.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the planner's first word.")]
Id = Annotated[str, typer.Option("--id", help="Id of the claim; by default the broker makes one.")]


def claim(
    devices: Devices = 0,
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
    claim_id: Id = "",
    wait: Wait = 5.0,
    tenant: Tenant = "",
    address: Address = DEFAULT_ADDRESS,
    output: Output = Format.TABLE,
) -> None:
    """Ask for capacity.

    broker claim 512 --silicon blackwell --for 14d --by friday --whole-domains
    """
    wish = Wish(
        devices=devices,
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
    )
    if not tenant:
        usage("for which tenant? Give --tenant, or set BROKER_TENANT")
    try:
        message = asked(wish, now=now())
    except ValueError as error:
        usage(str(error))
    with connected(address, tenant) as client:
        stored = _first_word(client, client.create_claim(message, claim_id=claim_id), seconds=wait)
    _tell(stored, output)


def _first_word(client: Client, stored: Claim, *, seconds: float) -> Claim:
    """The claim once a plan has looked at it, or as it is when the time is up."""
    from capacitybroker import Reason

    end = time.monotonic() + seconds
    while [why.reason for why in stored.reasons] == [Reason.REASON_AWAITING_PLAN] and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        stored = client.get_claim(stored.name)
    return stored


def _tell(stored: Claim, output: Format) -> None:
    from broker.cli.show import json_one, short
    from broker.cli.tables import claim_lines

    if output is Format.JSON:
        typer.echo(json_one(stored))
        return
    typer.echo("\n".join(claim_lines(stored)))
    typer.echo(f"Follow it: broker show {short(stored.name)}, or broker watch")
