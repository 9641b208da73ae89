"""Commands against a scripted broker: what is sent, what is shown, and how refusals end."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from capacitybroker import Claim, Plan, Reason, Tier
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_service_pb2 as fleets
from capacitybroker.v1 import planning_service_pb2 as planning
from capacitybroker.v1.fleet_pb2 import Tenant
from typer.testing import CliRunner, Result

from broker.cli import app, patient
from broker.cli.fleet_file import default_fleet_text, fleet_from_text
from tests.cli.messages import claim, placement, pool
from tests.client.broker_double import Script, answer, refuse, serving, stream, unavailable

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


def test_lists_and_watches_can_be_limited() -> None:
    script = Script(
        ListClaims=[answer(capacity.ListClaimsResponse(claims=[PLACED]))],
        WatchClaims=[stream(capacity.WatchClaimsResponse(revision=7, claims=[WAITS]))],
    )
    run(script, "claims", "--tier", "spot", "--tier", "standard", "--class", "training", "--label", "team=a=b")
    listed = script.requests[0]
    assert list(listed.tiers) == [Tier.TIER_SPOT, Tier.TIER_STANDARD]
    assert (listed.workload_class, dict(listed.labels)) == ("training", {"team": "a=b"})
    line = ["watch", "--from", "7", "--count", "1", "--claim", "lab/two", "--state", "waiting", "--state", "planned"]
    assert run(script, *line).exit_code == 0
    watched = script.requests[1]
    assert list(watched.claims) == ["tenants/lab/claims/two"]
    assert list(watched.states) == [Claim.STATE_WAITING, Claim.STATE_PLANNED]


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
    assert [r.name for r in script.requests] == ["tenants/lab/claims/one"] * 3


def test_cancel_says_what_is_free_again_and_knows_that_it_was_done() -> None:
    gone = claim("lab/one", state=Claim.STATE_CANCELLED)
    script = Script(
        GetClaim=[answer(capacity.GetClaimResponse(claim=each)) for each in (PLACED, gone)],
        CancelClaim=[answer(capacity.CancelClaimResponse(claim=gone))],
    )
    first = run(script, "cancel", "lab/one").stdout
    assert "Freed: 64 devices in dc-a, Mon 23 Nov 05:00 to Tue 24 Nov 17:00 (2,304 device-hours)" in first
    assert run(script, "cancel", "lab/one").stdout == "lab/one was cancelled already.\n"


def test_a_start_that_may_move_is_mentioned_unless_it_was_bounded() -> None:
    moving = claim("lab/one", placement("dc-a", 64, 5, 41, latest=30))
    script = Script(CreateClaim=[answer(capacity.CreateClaimResponse(claim=moving))])
    line = "claim 64 --for 36h --tenant lab"
    assert "may still move, to Tue 24 Nov 06:00 UTC at the latest; --by" in run(script, *line.split()).stdout
    assert "may still move" not in run(script, *line.split(), "--by", "+9d").stdout


def test_devices_and_silicon_as_people_write_them() -> None:
    script = Script(CreateClaim=[answer(capacity.CreateClaimResponse(claim=WAITS))])
    run(script, "claim", "1,024", "--silicon", "GB300,gb200=72", "--for", "2 weeks", "--tenant", "lab")
    (request,) = script.requests
    assert request.claim.devices == 1024
    assert [(choice.silicon, choice.devices) for choice in request.claim.silicon] == [("gb300", 0), ("gb200", 72)]
    assert request.claim.duration.seconds == 14 * 24 * 3600


def test_the_fleet_in_force_is_shown() -> None:
    fleet = fleet_from_text(default_fleet_text(), today=datetime(2026, 11, 23, tzinfo=UTC))
    script = Script(GetFleet=[answer(fleets.GetFleetResponse(fleet=fleet)), answer(fleets.GetFleetResponse())])
    shown = run(script, "fleet", "show").stdout
    for text in ("blackwell", "gb200 100, gb300 160, rubin 280", "16,000", "contract-2", "northgate-gb300"):
        assert text in shown
    assert "No fleet yet" in run(script, "fleet", "show").stdout


def test_a_plan_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "problem.json"
    file.write_text("{}")
    result = CliRunner().invoke(app, ["plan", str(file), "--out", str(tmp_path / "plan.json")])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"broker: {file}: ")


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("broker ")


def test_watch_shows_a_line_for_each_change() -> None:
    changes = [
        capacity.WatchClaimsResponse(revision=7, claims=[WAITS]),
        capacity.WatchClaimsResponse(revision=8, claims=[PLACED]),
    ]
    script = Script(WatchClaims=[stream(*changes)])
    lines = run(script, "watch", "--from", "7", "--count", "2").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["7", "lab/two", "waiting"], ["8", "lab/one", "planned"]]
    assert script.requests[0].start_revision == 7
    objects = run(script, "watch", "--from", "7", "--count", "2", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in objects] == [WAITS.name, PLACED.name]


def test_watch_waits_for_a_broker_that_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient, "LOST_SECONDS", 0.0)
    monkeypatch.setattr(patient, "PAUSE_SECONDS", 0.01)
    first, second = (
        capacity.WatchClaimsResponse(revision=7, claims=[WAITS]),
        capacity.WatchClaimsResponse(revision=8, claims=[PLACED]),
    )
    script = Script(WatchClaims=[stream(first, then=unavailable()), stream(then=unavailable()), stream(second)])
    result = run(script, "watch", "--from", "7", "--count", "2")
    assert len(result.stdout.splitlines()) == 2
    assert [line.split(",")[0] for line in result.stderr.splitlines()] == [
        "broker: connection lost",
        "broker: connected again",
    ]
    assert [request.start_revision for request in script.requests] == [7, 8, 8]


def test_pools_and_plans() -> None:
    script = Script(
        ListPools=[answer(fleets.ListPoolsResponse(pools=[pool("dc-a", (0, 100, 25))]))],
        RunPlan=[answer(planning.RunPlanResponse(plan=Plan(name="plans/9", claims=4, placed=3)))],
        GetPlan=[answer(planning.GetPlanResponse(plan=Plan(name="plans/8", repair=True)))],
    )
    assert "25 %" in run(script, "pools", "--ahead", "4w").stdout
    assert "3 of 4 claims" in run(script, "plan-now", "--seconds", "5").stdout
    assert script.requests[-1].time_limit.seconds == 5
    latest = run(script, "plan-now", "--latest").stdout
    assert "plans/8" in latest
    assert "made at once for claims that lost their places" in latest


def test_tenants_show_what_they_hold_and_what_they_have_on_loan() -> None:
    lender = fleets.TenantStatus(
        name="tenants/lab",
        tenant=Tenant(id="lab", quota_devices=2_000, loan_devices=512),
        quota_used_devices=1_024,
        quota_peak_devices=1_999,
        loan_used_devices=0,
        loan_peak_devices=256,
    )
    other = fleets.TenantStatus(name="tenants/free", tenant=Tenant(id="free"), quota_used_devices=8)
    script = Script(ListTenants=[answer(fleets.ListTenantsResponse(tenants=[lender, other]))])
    _, _, first, second = run(script, "tenants", "--ahead", "4w").stdout.splitlines()
    assert first.split() == ["lab", "2,000", "1,024", "1,999", "512", "0", "256"]
    assert second.split() == ["free", "no", "limit", "8", "0"]
    request = script.requests[0]
    assert request.end_time.seconds - request.start_time.seconds == 28 * 86_400
    assert json.loads(run(script, "tenants", "-o", "json").stdout)[0]["loan_peak_devices"] == "256"
    empty = Script(ListTenants=[answer(fleets.ListTenantsResponse())])
    assert "broker fleet apply" in run(empty, "tenants").stdout
    assert run(empty, "tenants", "--ahead", "soon").exit_code == 2


def test_a_fleet_is_applied_from_a_file_or_only_tried(tmp_path: Path) -> None:
    response = fleets.ApplyFleetResponse(
        changes=[fleets.FleetChange(resource="pools/dc-a", action=fleets.FleetChange.ACTION_ADDED)], revision=3
    )
    script = Script(ApplyFleet=[answer(response)])
    assert run(script, "fleet", "apply").exit_code == 2
    tried = run(script, "fleet", "apply", "--default", "--dry-run")
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
        GetFleet=[answer(fleets.GetFleetResponse())],
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
        "        broker fleet show tells more about each.",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("claim 8 --for 1d", "which tenant"),
        ("claim 8 --for soon --tenant lab", "no length of time"),
        ("claim 8 --tenant lab", "--for"),
        ("claim -512 --for 1d --tenant lab", "no number of devices"),
        ("claim 5,12 --for 1d --tenant lab", "no number of devices"),
        ("claim 8 --for 400d --tenant lab", "from 1 hour to 26 weeks"),
        ("claim 8 --for 0h --tenant lab", "from 1 hour to 26 weeks"),
        ("show one", "whose claim"),
        ("pools --ahead soon", "no length of time"),
        ("claims --state nowhere", "nowhere"),
        ("claims --label team", "KEY=VALUE"),
        ("watch --claim one", "whose claim"),
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
