"""The domains of a pool over time as text: a line for those that look alike, a column for each stretch of time."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby

from capacitybroker import GetPoolLayoutResponse, Stay
from rich.table import Table

from broker.cli.show import WIDE, grid, short, when

__all__ = ["layout_lines", "stays_table"]

COLUMNS = 56
HOUR = 3600
STRETCHES = (("a day", 24), ("3 days", 72), ("a week", 168), ("2 weeks", 336))  # in hours
LETTERS = string.ascii_lowercase + string.ascii_uppercase
FREE, PARTLY, MANY = "·", "▁▂▃▄▅▆▇", "█"


def layout_lines(found: GetPoolLayoutResponse, *, start: int, end: int) -> Iterator[str]:
    """The picture: a letter where one claim has all of a domain, a bar where it is shared, a dot where it is free."""
    each = found.slice_devices * found.slices_per_domain
    slices = f"{found.slices_per_domain} slices of {found.slice_devices}" if found.slices_per_domain > 1 else "1 slice"
    away = f", up to {found.slices_away:,} slices away" if found.slices_away else ""
    yield f"{found.domains:,} domains of {each} devices that can be given out, {slices}{away}"
    picture = [_timeline(found, domain, each, start, end) for domain in range(found.domains)]
    domain = 0
    for line, alike in groupby(picture):
        count = len(list(alike))
        yield f"{_range(domain, count):>11}  {line}"
        domain += count
    yield from _whole(found, start, end)


def _whole(found: GetPoolLayoutResponse, start: int, end: int) -> Iterator[str]:
    """How many whole domains one gang could have for how long, at best; nothing where domains are shared."""
    if found.slices_per_domain > 1:
        return
    hours = (end - start) // HOUR
    change = [0] * (hours + 1)
    for stay in found.stays:
        first, last = ((t.seconds - start) // HOUR for t in (stay.start_time, stay.end_time))
        taken = sum(span.domains for span in stay.domains)
        change[min(hours, max(0, first))] += taken
        change[min(hours, max(0, last))] -= taken
    free = [found.domains - found.slices_away - taken for taken in accumulate(change[:-1])]
    most = [
        f"{max(0, *(min(free[at : at + length]) for at in range(hours - length + 1))):,} for {words}"
        for words, length in STRETCHES
        if length <= hours
    ]
    if most:
        yield f"whole domains that one gang could have: {', '.join(most)}"


def _timeline(found: GetPoolLayoutResponse, domain: int, each: int, start: int, end: int) -> str:
    """One domain: what is true in the middle of each column."""
    here = [
        (LETTERS[n % len(LETTERS)], stay, span.devices)
        for n, stay in enumerate(found.stays)
        for span in stay.domains
        if span.first_domain <= domain < span.first_domain + span.domains
    ]
    moments = [start + (end - start) * (2 * column + 1) // (2 * COLUMNS) for column in range(COLUMNS)]
    return "".join(
        _cell([(letter, n) for letter, stay, n in here if stay.start_time.seconds <= at < stay.end_time.seconds], each)
        for at in moments
    )


def _cell(present: Sequence[tuple[str, int]], each: int) -> str:
    taken = sum(devices for _, devices in present)
    if not taken:
        return FREE
    if taken < each:
        return PARTLY[taken * len(PARTLY) // each]
    return present[0][0] if len(present) == 1 else MANY


def stays_table(found: GetPoolLayoutResponse, *, width: int = WIDE) -> Table:
    """One row for each stay, with the letter that stands for it in the picture."""
    return grid(
        ("", "CLAIM", "PART", "FROM", "UNTIL", "DOMAINS", "DEVICES OF EACH", ""),
        [(LETTERS[n % len(LETTERS)], *_row(stay)) for n, stay in enumerate(found.stays)],
        right=("DEVICES OF EACH",),
        spare=("PART",),
        whole=("CLAIM", "DOMAINS"),
        width=width,
    )


def _row(stay: Stay) -> tuple[str, ...]:
    return (
        short(stay.claim),
        str(stay.part) if stay.part else "",
        when(stay.start_time),
        when(stay.end_time),
        ", ".join(_range(span.first_domain, span.domains) for span in stay.domains) or "none left",
        ", ".join(dict.fromkeys(str(span.devices) for span in stay.domains)),
        "fixed" if stay.fixed else "",
    )


def _range(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"
