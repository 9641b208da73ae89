"""``broker domains``: a picture of racks, and who is on which."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from capacitybroker import GetPoolLayoutResponse, Stay, timestamp
from capacitybroker.v1.claim_pb2 import DomainSpan
from typer.testing import CliRunner

from broker.cli import app
from broker.cli.layout import layout_lines
from tests.client.broker_double import Script, answer, serving

START = int(datetime(2026, 11, 27, tzinfo=UTC).timestamp())
HOUR = 3600


def stay(claim: str, first: int, end: int, *spans: tuple[int, int, int], fixed: bool = False) -> Stay:
    return Stay(
        claim=f"tenants/lab/claims/{claim}",
        start_time=timestamp(datetime.fromtimestamp(START + first * HOUR, UTC)),
        end_time=timestamp(datetime.fromtimestamp(START + end * HOUR, UTC)),
        domains=[DomainSpan(first_domain=a, domains=n, devices=d) for a, n, d in spans],
        fixed=fixed,
    )


def layout(*stays: Stay, slices: int = 1, domains: int = 6, away: int = 0) -> GetPoolLayoutResponse:
    return GetPoolLayoutResponse(
        slice_devices=72 // slices, slices_per_domain=slices, domains=domains, stays=stays, slices_away=away
    )


def drawn(found: GetPoolLayoutResponse) -> list[str]:
    """The picture of 56 hours, a column for each."""
    return list(layout_lines(found, start=START, end=START + 56 * HOUR))


def test_domains_that_look_alike_are_one_line() -> None:
    found = layout(stay("one", 0, 56, (0, 2, 72)), stay("two", 28, 56, (2, 1, 72)))
    head, both, half, idle, _ = drawn(found)
    assert head == "6 domains of 72 devices that can be given out, 1 slice"
    assert both.split() == ["0-1", "a" * 56]
    assert half.split() == ["2", "·" * 28 + "b" * 28]
    assert idle.split() == ["3-5", "·" * 56]


def test_a_shared_domain_is_drawn_by_how_full_it_is() -> None:
    found = layout(stay("one", 0, 8, (0, 1, 8)), stay("two", 4, 8, (0, 1, 64)), slices=9, domains=1, away=9)
    head, line = drawn(found)
    assert head.endswith("9 slices of 8, up to 9 slices away")
    assert line.split()[1] == "▁" * 4 + "█" * 4 + "·" * 48


def test_it_is_told_how_many_whole_domains_one_gang_could_have_and_for_how_long() -> None:
    found = layout(stay("one", -4, 30, (0, 2, 72)), stay("two", 40, 99, (0, 3, 72)), away=1)
    assert drawn(found)[-1] == "whole domains that one gang could have: 3 for a day"
    week = list(layout_lines(found, start=START, end=START + 168 * HOUR))
    assert week[-1] == "whole domains that one gang could have: 5 for a day, 2 for 3 days, 2 for a week"
    assert not any("one gang" in line for line in drawn(layout(slices=9)))


@pytest.mark.parametrize("fixed", [True, False])
def test_the_command_says_who_is_where(fixed: bool) -> None:
    found = layout(stay("one", 0, 48, (0, 1, 64), (3, 2, 64), fixed=fixed), stay("two", 0, 9))
    script = Script(GetPoolLayout=[answer(found), answer(found)])
    with serving(script) as address:
        shown = CliRunner().invoke(app, ["domains", "dc-a", "--ahead", "2d", "--address", address])
        as_json = CliRunner().invoke(app, ["domains", "dc-a", "-o", "json", "--address", address])
    assert shown.exit_code == 0
    assert script.requests[0].name == "pools/dc-a"
    assert script.requests[0].end_time.seconds - script.requests[0].start_time.seconds == 48 * HOUR
    (row,) = (line for line in shown.stdout.splitlines() if "lab/one" in line)
    assert "0, 3-4" in row
    assert row.rstrip().endswith("fixed" if fixed else "64")
    assert "none left" in shown.stdout
    assert json.loads(as_json.stdout)["stays"][0]["claim"] == "tenants/lab/claims/one"


def test_a_length_that_is_none_is_a_wrong_command_line() -> None:
    result = CliRunner().invoke(app, ["domains", "dc-a", "--ahead", "soon"])
    assert result.exit_code == 2
    assert "--ahead" in result.stderr
