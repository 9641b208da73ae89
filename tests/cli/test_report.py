"""Expected starts as people read them, and the report of how they fared."""

from __future__ import annotations

import io
import json

import pytest
from capacitybroker import Calibration, ExpectedStart, ExplainClaimResponse, Offer, duration, timestamp
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import planning_service_pb2 as planning
from rich.console import Console
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.cli.expected import expected_line
from broker.cli.offers import offers_table
from tests.cli.messages import at, claim, placement
from tests.client.broker_double import Script, answer, serving


def run(script: Script, *arguments: str) -> Result:
    with serving(script) as address:
        return CliRunner().invoke(app, [*arguments, "--address", address])


def expected(basis: ExpectedStart.Basis.ValueType, *, past: int = 0, share: int | None = None) -> ExpectedStart:
    return ExpectedStart(
        basis=basis,
        earliest_time=timestamp(at(1)),
        p50_time=timestamp(at(3)),
        p80_time=timestamp(at(9)),
        past_starts=past,
        started_percent=share,
    )


def fared(
    basis: ExpectedStart.Basis.ValueType, starts: int, inside: int, early: int, *, waited: int = 0
) -> Calibration:
    return Calibration(
        basis=basis,
        waited=duration(hours=waited) if waited else None,
        starts=starts,
        inside_p80=inside,
        by_p50=early,
        never_started=7,
        median_error=duration(hours=2),
        median_range=duration(hours=8),
    )


REPORT = planning.GetCalibrationResponse(
    calibrations=[
        fared(ExpectedStart.BASIS_WAITING, 900, 700, 400),
        fared(ExpectedStart.BASIS_WAITING, 100, 90, 80, waited=6),
        fared(ExpectedStart.BASIS_PLANNED, 200, 170, 160),
        fared(ExpectedStart.BASIS_FIRM, 300, 300, 300),
    ]
)


def test_a_line_says_what_is_expected_and_what_that_is_from() -> None:
    assert expected_line(expected(ExpectedStart.BASIS_WAITING)) == (
        "half of such claims by Mon 23 Nov 03:00, four in five by Mon 23 Nov 09:00, none before Mon 23 Nov 01:00"
        " (no past starts yet)"
    )
    told = expected_line(expected(ExpectedStart.BASIS_PLANNED, past=120, share=64))
    assert told.endswith("(120 past starts; 64 of 100 such claims start)")
    assert expected_line(expected(ExpectedStart.BASIS_FIRM)) == "Mon 23 Nov 01:00, firm"


def test_show_explain_and_offers_tell_it() -> None:
    found = claim("lab/one", why="Outbid.")
    found.expected_start.CopyFrom(expected(ExpectedStart.BASIS_WAITING, past=40))
    shown = run(Script(GetClaim=[answer(capacity.GetClaimResponse(claim=found))]), "show", "lab/one").stdout
    explained = run(Script(ExplainClaim=[answer(ExplainClaimResponse(claim=found))]), "explain", "lab/one").stdout
    for text in (shown, explained):
        assert "  starts  half of such claims by Mon 23 Nov 03:00, four in five by Mon 23 Nov 09:00" in text
    offer = Offer(placements=[placement("a", 8, 1, 5), placement("b", 8, 1, 5)])
    offer.expected_start.CopyFrom(expected(ExpectedStart.BASIS_PLANNED))
    out = io.StringIO()
    Console(file=out, width=250, markup=False).print(offers_table([offer]))
    assert "STARTED BY, P80" in out.getvalue()
    assert out.getvalue().count("Mon 23 Nov 09:00") == 1


def test_a_report_counts_what_was_told_by_what_it_was_made_of() -> None:
    lines = run(Script(GetCalibration=[answer(REPORT)]), "report").stdout.splitlines()
    rows = [" ".join(line.split()) for line in lines]
    assert "waiting 900 77.8 % 44.4 % +2 h 8 h 7" in rows
    assert "waiting, 6h on 100 90.0 % 80.0 % +2 h 8 h 7" in rows
    assert "firm 300 100.0 % 100.0 % +2 h 8 h 7" in rows
    assert "all but firm 1,200 80.0 %" in rows


def test_a_report_is_json_for_programs_and_says_so_when_there_is_nothing_yet() -> None:
    told = json.loads(run(Script(GetCalibration=[answer(REPORT)]), "report", "--output", "json").stdout)
    assert [each["basis"] for each in told] == ["BASIS_WAITING", "BASIS_WAITING", "BASIS_PLANNED", "BASIS_FIRM"]
    empty = planning.GetCalibrationResponse(calibrations=[Calibration(basis=ExpectedStart.BASIS_WAITING)])
    result = run(Script(GetCalibration=[answer(empty)]), "report")
    assert result.exit_code == 0
    assert result.stdout.startswith("No claim has started yet")


@pytest.mark.parametrize("hours", [-3, 0, 5])
def test_an_error_has_a_sign(hours: int) -> None:
    one = fared(ExpectedStart.BASIS_WAITING, 1, 1, 1)
    one.median_error.seconds = hours * 3600
    script = Script(GetCalibration=[answer(planning.GetCalibrationResponse(calibrations=[one]))])
    assert f"{hours:+d} h" in run(script, "report").stdout
