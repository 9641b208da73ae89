"""Commands against a scripted broker: what is sent, what is shown, and how refusals end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from capacitybroker import Claim, Plan, Reason
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_service_pb2 as fleets
from capacitybroker.v1 import planning_service_pb2 as planning
from typer.testing import CliRunner, Result

from broker.cli import app
from tests.cli.messages import claim, placement, pool
from tests.client.broker_double import Script, answer, refuse, serving, stream

PLACED = claim("lab/one", placement("dc-a", 64, 5, 41))
WAITS = claim("lab/two", why="No start has 64 devices free.")


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_ADDRESS", "BROKER_TENANT"):
        monkeypatch.delenv(name, raising=False)


def run(script: Script, *arguments: str) -> Result:
    with serving(script) as address:
        return CliRunner().invoke(app, [*arguments, "--address", address])


def test_a_claim_in_one_line() -> None:
    script = Script(CreateClaim=[answer(capacity.CreateClaimResponse(claim=WAITS))])
    line = "claim 512 --silicon blackwell --for 14d --by friday --whole-domains --tenant lab"
    result = run(script, *line.split())
    assert result.exit_code == 0
    (request,) = script.requests
    assert request.parent == "tenants/lab"
    assert request.claim.devices == 512
    assert request.claim.gang
    assert len(request.request_id) > 8
    assert "tenants/lab/claims/two  waiting" in result.stdout
    assert "No start has 64 devices free." in result.stdout
    assert "broker show lab/two" in result.stdout


def test_a_claim_waits_a_moment_for_the_planner() -> None:
    unheard = claim("lab/two")
    unheard.reasons.add(reason=Reason.REASON_AWAITING_PLAN, message="No plan has looked at the claim yet.")
    script = Script(
        CreateClaim=[answer(capacity.CreateClaimResponse(claim=unheard))],
        GetClaim=[
            answer(capacity.GetClaimResponse(claim=unheard)),
            answer(capacity.GetClaimResponse(claim=PLACED)),
        ],
    )
    line = ["claim", "64", "--for", "36h", "--tenant", "lab"]
    assert "gets    64 gb200 in dc-a" in run(script, *line).stdout
    assert "No plan has looked" in run(script, *line, "--wait", "0").stdout


def test_the_tenant_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TENANT", "lab")
    script = Script(CreateClaim=[answer(capacity.CreateClaimResponse(claim=WAITS))])
    assert run(script, "claim", "8", "--for", "1d", "-o", "json").exit_code == 0
    assert script.requests[0].parent == "tenants/lab"


def test_lists_are_tables_or_json() -> None:
    script = Script(ListClaims=[answer(capacity.ListClaimsResponse(claims=[PLACED, WAITS]))])
    table = run(script, "claims", "--state", "planned", "--state", "waiting")
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["CLAIM", "lab/one", "lab/two"]
    assert list(script.requests[0].states) == [Claim.STATE_PLANNED, Claim.STATE_WAITING]
    assert "\x1b" not in table.stdout
    found = json.loads(run(script, "claims", "--output", "json").stdout)
    assert [entry["name"] for entry in found] == ["tenants/lab/claims/one", "tenants/lab/claims/two"]
    assert found[0]["placements"][0]["start_time"] == "2026-11-23T05:00:00Z"


def test_an_empty_list_says_what_to_do() -> None:
    script = Script(ListClaims=[answer(capacity.ListClaimsResponse())])
    assert "broker claim 512" in run(script, "claims").stdout


def test_more_claims_than_the_limit_are_mentioned() -> None:
    script = Script(ListClaims=[answer(capacity.ListClaimsResponse(claims=[PLACED, WAITS]))])
    result = run(script, "claims", "--limit", "1")
    assert "lab/two" not in result.stdout
    assert "More than 1 claims" in result.stderr


def test_show_and_cancel_take_short_names() -> None:
    script = Script(
        GetClaim=[answer(capacity.GetClaimResponse(claim=PLACED))],
        CancelClaim=[answer(capacity.CancelClaimResponse(claim=PLACED))],
    )
    assert "gets    64 gb200 in dc-a" in run(script, "show", "lab/one").stdout
    assert run(script, "cancel", "one", "--tenant", "lab").exit_code == 0
    assert [r.name for r in script.requests] == ["tenants/lab/claims/one"] * 2


def test_watch_shows_a_line_for_each_change() -> None:
    changes = [
        capacity.WatchClaimsResponse(revision=7, claims=[WAITS]),
        capacity.WatchClaimsResponse(revision=8, claims=[PLACED]),
    ]
    script = Script(WatchClaims=[stream(*changes)])
    lines = run(script, "watch", "--from", "7", "--count", "2").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["7", "lab/two", "waiting"], ["8", "lab/one", "planned"]]
    objects = run(script, "watch", "--from", "7", "--count", "2", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in objects] == [WAITS.name, PLACED.name]


def test_pools_and_plans() -> None:
    script = Script(
        ListPools=[answer(fleets.ListPoolsResponse(pools=[pool("dc-a", (0, 100, 25))]))],
        RunPlan=[answer(planning.RunPlanResponse(plan=Plan(name="plans/9", claims=4, placed=3)))],
        GetPlan=[answer(planning.GetPlanResponse(plan=Plan(name="plans/8")))],
    )
    assert "25 %" in run(script, "pools", "--ahead", "4w").stdout
    assert "3 of 4 claims" in run(script, "plan-now", "--seconds", "5").stdout
    assert script.requests[-1].time_limit.seconds == 5
    assert "plans/8" in run(script, "plan-now", "--latest").stdout


def test_a_fleet_is_applied_from_a_file_or_only_tried(tmp_path: Path) -> None:
    response = fleets.ApplyFleetResponse(
        changes=[fleets.FleetChange(resource="pools/dc-a", action=fleets.FleetChange.ACTION_ADDED)], revision=3
    )
    script = Script(ApplyFleet=[answer(response)])
    tried = run(script, "fleet", "apply", "--dry-run")
    assert "Would change:" in tried.stdout
    assert "added    pools/dc-a" in tried.stdout
    assert script.requests[0].validate_only
    assert len(script.requests[0].fleet.pools) == 9
    file = tmp_path / "fleet.yaml"
    file.write_text("silicon: []\n")
    wrong = run(script, "fleet", "apply", str(file))
    assert wrong.exit_code == 1
    assert f"{file}: the file: 'pools' is a required property" in wrong.stderr


def test_a_picture_of_a_live_broker(tmp_path: Path) -> None:
    script = Script(
        ListPools=[answer(fleets.ListPoolsResponse(pools=[pool("dc-a", (0, 100, 64))]))],
        ListClaims=[answer(capacity.ListClaimsResponse(claims=[PLACED]))],
    )
    out = tmp_path / "calendar.svg"
    assert run(script, "picture", "--out", str(out), "--days", "7").exit_code == 0
    assert out.read_text().startswith("<svg")


def test_a_refusal_is_one_clear_message_and_status_1() -> None:
    step = refuse(
        grpc.StatusCode.FAILED_PRECONDITION,
        "SILICON_UNKNOWN",
        "The fleet declares no silicon 'h100'. See broker fleet default.",
        remedy="See broker fleet default.",
    )
    result = run(Script(CreateClaim=[step]), "claim", "8", "--for", "1d", "--tenant", "lab", "--silicon", "h100")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "broker: The fleet declares no silicon 'h100' [SILICON_UNKNOWN]",
        "        See broker fleet default.",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("claim 8 --for 1d", "which tenant"),
        ("claim 8 --for soon --tenant lab", "no length of time"),
        ("claim 8 --tenant lab", "--for"),
        ("show one", "whose claim"),
        ("pools --ahead soon", "no length of time"),
        ("claims --state nowhere", "nowhere"),
    ],
)
def test_a_wrong_command_line_is_status_2(arguments: str, says: str) -> None:
    result = run(Script(), *arguments.split())
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())


def test_help_needs_none_of_the_heavy_packages() -> None:
    code = (
        "import sys, contextlib\n"
        "from broker.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['--help'])\n"
        "heavy = {'grpc', 'google.protobuf', 'ortools', 'numpy', 'numba', 'redis', 'yaml', 'jsonschema'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
