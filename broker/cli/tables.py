"""Messages of the API as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from capacitybroker import Claim, Placement, Plan, PoolStatus, Reason, Tier
from capacitybroker.v1.fleet_pb2 import PoolKind
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table

from broker.cli.expected import expected_line
from broker.cli.facts import in_words
from broker.cli.parts import together
from broker.cli.show import WIDE, dollars, grid, hours, short, when, word

__all__ = [
    "claim_lines",
    "claims_table",
    "freed",
    "plan_lines",
    "pools_table",
    "standing",
    "tier",
    "wanted",
    "why",
]

NARROW = 100  # columns of a screen that has no room for a table of everything
CENT = 10_000  # micro-USD
PLACE_HEADERS = ("GETS", "POOL", "START", "END", "NEW MONEY", "PAID ALREADY")
STATE_STYLE = {
    Claim.STATE_WAITING: "yellow",
    Claim.STATE_PLANNED: "cyan",
    Claim.STATE_COMMITTED: "green",
    Claim.STATE_ACTIVE: "bold green",
    Claim.STATE_DISPLACED: "red",
    Claim.STATE_HELD: "magenta",
}


def standing(claim: Claim) -> str:
    """The state in a word, with the end of what is only held: ``held to 10:15``."""
    state = word(Claim.State, claim.state)
    return f"{state} to {when(claim.hold_expire_time)[-5:]}" if claim.state == Claim.STATE_HELD else state


def why(claim: Claim) -> str:
    """The dominant reason in one sentence; empty when all of the claim is served."""
    if not claim.reasons:
        return ""
    first = claim.reasons[0]
    return first.message or word(Reason, first.reason)


def wanted(claim: Claim) -> str:
    """Devices and acceptable silicon: ``512 blackwell``, ``256 gb300 | 1,024 mtia-400``; ``/p`` when parts will do."""
    choices = [f"{choice.devices or claim.devices:,} {choice.silicon}" for choice in claim.silicon]
    if len({choice.devices for choice in claim.silicon}) == 1 and len(choices) > 1:
        count = claim.silicon[0].devices or claim.devices
        choices = [f"{count:,} {' | '.join(choice.silicon for choice in claim.silicon)}"]
    elastic = f" ({claim.min_devices or claim.devices:,}-{claim.max_devices or claim.devices:,})"
    return (" | ".join(choices) or f"{claim.devices:,} any") + (
        elastic if claim.min_devices or claim.max_devices else ""
    )


def tier(claim: Claim) -> str:
    """Its tier in a word, with whether it is on loan: ``spot, on loan``."""
    return word(Tier, claim.tier) + (", on loan" if claim.on_loan else "")


def claims_table(claims: Iterable[Claim], *, title: str | None = None, width: int = WIDE) -> Table:
    """One row for each pool and time that a claim holds, or one for a claim that holds nothing.

    A screen narrower than `NARROW` gets one row for each claim: its id and state in full, then what came of it.
    """
    if width < NARROW:
        return _short_claims_table(claims, title=title, width=width)
    headers = ("CLAIM", "STATE", "TIER", "WANTED", "WORK", *PLACE_HEADERS, "WHY")
    rows: list[tuple[str, ...]] = []
    styles: list[str | None] = []
    for claim in claims:
        placements = together(claim)
        rows.append(tuple(_first_row(claim, placements)))
        rows += [("", "", "", "", "", *_placed(placement), "") for placement in placements[1:]]
        styles += [STATE_STYLE.get(claim.state)] * max(1, len(placements))
    return grid(
        headers,
        rows,
        right=("GETS", "NEW MONEY", "PAID ALREADY", "WORK"),
        spare=("WORK", "TIER", "WANTED", "PAID ALREADY", "END", "NEW MONEY"),
        whole=("CLAIM", "STATE", "GETS", "POOL"),
        styles=styles,
        width=width,
        title=title,
    )


def _short_claims_table(claims: Iterable[Claim], *, title: str | None, width: int) -> Table:
    claims = list(claims)
    return grid(
        ("CLAIM", "STATE", "WANTED", "OUTCOME"),
        [(short(claim.name), standing(claim), wanted(claim), _outcome(claim)) for claim in claims],
        spare=("WANTED",),
        whole=("CLAIM", "STATE"),
        styles=[STATE_STYLE.get(claim.state) for claim in claims],
        width=width,
        title=title,
    )


def _outcome(claim: Claim) -> str:
    places = [f"{p.devices:,} in {short(p.pool)}, {when(p.start_time)}" for p in together(claim)]
    return "; ".join(places) or why(claim)


def _first_row(claim: Claim, placements: Sequence[Placement]) -> Iterator[str]:
    yield from (
        short(claim.name),
        standing(claim),
        tier(claim),
        wanted(claim),
        hours(claim.duration.seconds / 3600),
    )
    yield from _placed(placements[0]) if placements else ("", "", "", "", "", "")
    yield why(claim)


def _placed(placement: Placement) -> tuple[str, ...]:
    return (
        f"{placement.devices:,}",
        short(placement.pool),
        when(placement.start_time),
        when(placement.end_time),
        dollars(placement.cost_microusd),
        dollars(placement.paid_microusd),
    )


def claim_lines(claim: Claim) -> Iterator[str]:
    """All about one claim."""
    until = f" until {when(claim.hold_expire_time)}" if claim.state == Claim.STATE_HELD else ""
    yield f"{claim.name}  {word(Claim.State, claim.state)} since {when(claim.state_time)}{until}"
    shape = [
        "gang" if claim.gang else "parts",
        *(["whole domains"] if claim.whole_domains else []),
        *([f"domains of {claim.min_domain_devices} at least"] if claim.min_domain_devices else []),
    ]
    yield (
        f"  asks    {wanted(claim)}, {', '.join(shape)}, for {hours(claim.duration.seconds / 3600)}"
        f" ({claim.workload_class}, {tier(claim)}, worth {dollars(claim.value_microusd)})"
    )
    window = [
        f"{label} {when(moment)}"
        for label, moment in (
            ("not before", claim.earliest_start_time),
            ("start by", claim.latest_start_time),
            ("done by", claim.deadline),
        )
        if moment.seconds
    ]
    yield f"  when    {', '.join(window) or 'any time'}"
    for placement in together(claim):
        moves = placement.latest_start_time.seconds > placement.start_time.seconds
        yield (
            f"  gets    {placement.devices:,} {placement.silicon} in {short(placement.pool)},"
            f" {when(placement.start_time)} to {when(placement.end_time)}"
            + (f" (start may move to {when(placement.latest_start_time)})" if moves else "")
            + f"; new money {dollars(placement.cost_microusd)}, paid already {dollars(placement.paid_microusd)}"
        )
    for run in claim.runs:
        yield (
            f"  ran     {run.devices:,} {run.silicon} in {short(run.pool)},"
            f" {when(run.start_time)} to {when(run.end_time)}; {run.left_ppm / 10_000:.1f} % were left"
        )
    if claim.HasField("expected_start"):
        yield f"  starts  {expected_line(claim.expected_start)}"
    for reason in claim.reasons:
        facts = in_words(reason.facts)
        yield f"  why     {word(Reason, reason.reason)}: {reason.message}" + (f" ({facts})" if facts else "")
    for key, value in sorted(claim.labels.items()):
        yield f"  label   {key}={value}"


def freed(before: Claim, after: Claim) -> str:
    """What a claim held before it was cancelled and no longer holds, in one sentence."""
    kept = {(p.pool, p.part): p.end_time.seconds for p in after.placements}
    lost: dict[tuple[str, str], int] = {}
    device_hours = 0
    for place in before.placements:
        start = max(place.start_time.seconds, kept.get((place.pool, place.part), 0))
        if start < place.end_time.seconds:
            span = f"{when(Timestamp(seconds=start))} to {when(place.end_time)}"
            lost[short(place.pool), span] = lost.get((short(place.pool), span), 0) + place.devices
            device_hours += place.devices * (place.end_time.seconds - start) // 3600
    places = "; ".join(f"{devices:,} devices in {pool}, {span}" for (pool, span), devices in lost.items())
    return f"Freed: {places} ({device_hours:,} device-hours)." if places else "It held nothing."


def pools_table(pools: Iterable[PoolStatus], *, title: str | None = None, width: int = WIDE) -> Table:
    """One row for each pool over the window asked for."""
    numbers = ("DEVICES NOW", "PEAK USE", "USED", "FREE AT LEAST", "PAID FOR", "SHORT DEVICE-HOURS")
    return grid(
        ("POOL", "KIND", "SILICON", "DOMAIN", *numbers, "SITE"),
        [tuple(_pool_row(status)) for status in pools],
        right=(*numbers, "DOMAIN"),
        spare=("SITE", "DOMAIN", "KIND", "PEAK USE", "PAID FOR"),
        whole=("POOL", *numbers),
        width=width,
        title=title,
    )


def _pool_row(status: PoolStatus) -> Iterator[str]:
    pool, use = status.pool, status.utilisation
    supplied = use.supplied_device_hours
    yield from (short(status.name), word(PoolKind, pool.kind))
    yield from (pool.silicon, str(pool.domain_devices))
    yield f"{use.levels[0].supplied_devices:,}" if use.levels else ""
    yield f"{use.peak_granted_devices:,}"
    yield f"{100 * use.granted_device_hours / supplied:.0f} %" if supplied else "-"
    free = [max(0, level.supplied_devices - level.granted_devices) for level in use.levels]
    yield f"{min(free):,}" if free else ""
    paid = [c.devices for c in status.contract.committed if c.start_time.seconds <= use.start_time.seconds]
    yield f"{paid[-1] if paid else 0:,}" if status.HasField("contract") else ""
    yield f"{use.shortfall_device_hours:,}" if use.shortfall_device_hours else ""
    yield pool.site


def plan_lines(plan: Plan) -> Iterator[str]:
    """What a plan decided and proved."""
    moved = f", {plan.moved:,} moved" if plan.moved else ""
    skipped = f", {plan.skipped:,} changed meanwhile and left as they were" if plan.skipped else ""
    yield f"{plan.name}: {plan.placed:,} of {plan.claims:,} claims hold capacity{moved}{skipped}"
    if plan.repair:
        yield "  made at once for claims that lost their places; a plan of everything follows"
    proof = "proven best" if plan.status == Plan.STATUS_OPTIMAL else f"gap {plan.gap_percent:.2f} %"
    seconds = plan.solve_duration.seconds + plan.solve_duration.nanos / 1e9
    yield (
        f"  objective {dollars(plan.objective_microusd)}, no plan is worth more than {dollars(plan.bound_microusd)}"
        f" ({proof}), solved in {seconds:.1f} s"
    )
    yield f"  calendar {when(plan.horizon_start_time)} to {when(plan.horizon_end_time)}"
    for count in plan.reasons:
        yield f"  waits    {count.claims:,} because: {word(Reason, count.reason)}"
    for price in plan.prices:
        if price.peak_microusd >= CENT:
            yield (
                f"  price    {short(price.pool)}: one more device-hour is worth"
                f" ${price.mean_microusd / 1e6:.2f} on average, ${price.peak_microusd / 1e6:.2f} at the peak"
            )
    yield from _rooms(plan)
    for cost in plan.insurance:
        if cost.hit:
            pools = " and ".join(map(short, cost.pools))
            never = f", {cost.uninsurable:,} could have none" if cost.uninsurable else ""
            yield (
                f"  insured  {cost.insurance}, {pools}: {cost.insured:,} of {cost.hit:,} guaranteed places have a berth"
                f"{never}; room worth {dollars(cost.at_most_microusd)} at most is kept"
            )


def _rooms(plan: Plan) -> Iterator[str]:
    """Room for gangs of whole domains, and what moving others did for it."""
    if plan.defragmented:
        placements = "1 placement" if plan.defragmented == 1 else f"{plan.defragmented:,} placements"
        yield f"  domains  {placements} moved so that whole domains stay free"
    for room in plan.rooms:
        percent, week = f"{room.after_percent:.1f} %", f"{room.week_domains_after:,.1f}"
        if plan.defragmented:
            percent, week = f"{room.before_percent:.1f} % -> {percent}", f"{room.week_domains_before:,.1f} -> {week}"
        pool = short(room.pool)
        yield f"  room     {pool}: {week} whole domains stay free for a week on average, open room {percent}"
