"""How values read: money, time, devices, states. And the one console that everything is printed on."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["console", "dollars", "grid", "hours", "json_list", "json_one", "short", "when", "word", "working"]

WIDE = 250  # of a table that nobody has to read on a screen
LONG, SHORT = 48, 24  # of a text that is cut when there is no room: what is hoped for, what is kept


def console() -> Console:
    """Colours on a terminal only; elsewhere wide enough that no row breaks."""
    # No markup: what callers wrote in labels and reasons is text, brackets included.
    screen = Console(highlight=False, markup=False)
    return screen if screen.is_terminal else Console(highlight=False, markup=False, width=WIDE, no_color=True)


def grid(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    spare: Sequence[str] = (),
    whole: Sequence[str] = (),
    styles: Sequence[str | None] = (),
    width: int = WIDE,
    title: str | None = None,
) -> Table:
    """A table with one line for each row, however narrow the screen.

    Columns that are empty in all rows are left out, then those named in ``spare``, first things first, until the rest
    fits into ``width``; then the widest are cut, but none named in ``whole``. Columns named in ``right`` are numbers.
    """
    kept = [n for n in range(len(headers)) if n == 0 or any(row[n] for row in rows)]
    size = [max(len(text) for text in (headers[n], *(row[n] for row in rows))) for n in range(len(headers))]
    for header in spare:
        if sum(min(size[n], LONG) + 2 for n in kept) > width:
            kept = [n for n in kept if headers[n] != header]
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    _cut(size, [n for n in kept if headers[n] not in whole], over=sum(size[n] + 2 for n in kept) - 2 - width)
    for n in kept:
        justify: Literal["left", "right"] = "right" if headers[n] in right else "left"
        table.add_column(headers[n], justify=justify, overflow="ellipsis", no_wrap=True, width=size[n])
    for row, style in zip_longest(rows, styles[: len(rows)]):
        table.add_row(*(row[n] for n in kept), style=style)
    return table


def _cut(size: list[int], columns: Sequence[int], *, over: int) -> None:
    """Take ``over`` from the widest of ``columns``, then from the next, as long as they stay readable."""
    for n in sorted(columns, key=lambda n: -size[n]):
        less = max(0, min(over, size[n] - SHORT))
        size[n] -= less
        over -= less


def json_one(message: Message) -> str:
    """A message in the JSON of the API."""
    from google.protobuf.json_format import MessageToDict

    return json.dumps(MessageToDict(message, preserving_proto_field_name=True), indent=2, ensure_ascii=False)


def json_list(messages: Iterable[Message]) -> str:
    """Messages as a JSON list."""
    from google.protobuf.json_format import MessageToDict

    found = [MessageToDict(message, preserving_proto_field_name=True) for message in messages]
    return json.dumps(found, indent=2, ensure_ascii=False)


def dollars(microusd: int) -> str:
    """Money for people: ``$0``, ``$950``, ``$12.3k``, ``$4.56m``, ``$1.20bn``."""
    sign, amount = "-" if microusd < 0 else "", abs(microusd) / 1e6
    for limit, one, unit, digits in ((1e9, 1e9, "bn", 2), (1e6, 1e6, "m", 2), (1e4, 1e3, "k", 1)):
        if amount >= limit:
            return f"{sign}${amount / one:.{digits}f}{unit}"
    return f"{sign}${amount:,.0f}"


def hours(count: float) -> str:
    """Length of time: ``36h``, ``14d``, ``14d 6h``."""
    whole = round(count)
    days, rest = divmod(whole, 24)
    if whole < 48:
        return f"{whole}h"
    return f"{days}d {rest}h" if rest else f"{days}d"


def when(moment: Timestamp) -> str:
    """A moment in UTC, to the hour: ``Fri 27 Nov 06:00``; empty when unset."""
    return f"{datetime.fromtimestamp(moment.seconds, UTC):%a %d %b %H:%M}" if moment.seconds else ""


def short(name: str) -> str:
    """A resource name without its collections: ``tenants/t/claims/c`` is ``t/c``, ``pools/p`` is ``p``."""
    return "/".join(name.split("/")[1::2]) or name


def word(enum: _EnumTypeWrapper[Any], number: int) -> str:
    """An enum value for people: ``STATE_WAITING`` is ``waiting``; one that only newer brokers know is ``#13``."""
    value = enum.DESCRIPTOR.values_by_number.get(number)
    if value is None:
        return f"#{number}"
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper()
    name: str = value.name
    return name.removeprefix(f"{prefix}_").replace("_", " ").lower()


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Shows on a terminal what is being done while it is done; says nothing in a pipe."""
    errors = Console(stderr=True, highlight=False, markup=False)
    if not errors.is_terminal:
        yield
        return
    with errors.status(text):
        yield
