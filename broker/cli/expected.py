"""When claims are expected to start, and how well that was told, for people."""

from __future__ import annotations

from collections.abc import Iterable

from capacitybroker import Calibration, ExpectedStart
from google.protobuf.duration_pb2 import Duration
from rich.table import Table

from broker.cli.show import grid, hours, when, word

__all__ = ["calibration_table", "expected_line", "inside_of_all"]

FIRM = ExpectedStart.BASIS_FIRM


def expected_line(expected: ExpectedStart) -> str:
    """``as likely as not by Mon 23 Nov 05:00, four in five by 09:00``, and what that is from; firm: just the start."""
    if expected.basis == FIRM:
        return f"{when(expected.earliest_time)}, firm"
    past = f"{expected.past_starts:,} past starts" if expected.past_starts else "no past starts yet"
    share = f"; {expected.started_percent} of 100 such claims start" if expected.HasField("started_percent") else ""
    return (
        f"half of such claims by {when(expected.p50_time)}, four in five by {when(expected.p80_time)},"
        f" none before {when(expected.earliest_time)} ({past}{share})"
    )


def inside_of_all(fared: Iterable[Calibration]) -> tuple[int, int]:
    """Starts inside the P80 range, and all; what was firm is no estimate."""
    estimates = [each for each in fared if each.basis != FIRM]
    return sum(each.inside_p80 for each in estimates), sum(each.starts for each in estimates)


def calibration_table(fared: Iterable[Calibration]) -> Table:
    """One row for each kind of estimate, and one for all that are no promise; NEVER are those that did not start."""
    fared = list(fared)
    inside, starts = inside_of_all(fared)
    numbers = ("STARTS", "IN P80 RANGE", "BY P50", "MEDIAN ERROR", "MEDIAN RANGE", "NEVER")
    rows = [
        (
            word(ExpectedStart.Basis, each.basis)
            + (f", {hours(waited)} on" if (waited := _hours(each.waited)) else ""),
            f"{each.starts:,}",
            _share(each.inside_p80, each.starts),
            _share(each.by_p50, each.starts),
            f"{_hours(each.median_error):+d} h" if each.starts else "-",
            f"{_hours(each.median_range)} h" if each.starts else "-",
            f"{each.never_started:,}",
        )
        for each in fared
    ]
    rows.append(("all but firm", f"{starts:,}", _share(inside, starts), "", "", "", ""))
    styles = [*([None] * len(fared)), "bold"]
    return grid(("TOLD WHEN", *numbers), rows, right=numbers, styles=styles, title="Expected starts against real ones")


def _hours(span: Duration) -> int:
    return span.seconds // 3600


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
