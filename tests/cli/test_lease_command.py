"""``broker lease``, against a script and against a broker in this process."""

from __future__ import annotations

import json
import sys

import grpc
import pytest
from capacitybroker import Lease
from capacitybroker.v1 import lease_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from typer.testing import CliRunner, Result

from broker.cli import app
from tests.cli.messages import claim, placement
from tests.client.broker_double import Script, answer, refuse, serving

NAME = "tenants/lab/claims/run-1"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_ADDRESS", "BROKER_TENANT", "BROKER_LEASE_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def run(script: Script, *arguments: str) -> Result:
    with serving(script) as address:
        verb, *rest = arguments
        return CliRunner().invoke(app, ["lease", verb, "--address", address, *rest])


def lease(token: str = "7.secret", seconds: int = 40) -> Lease:
    return Lease(
        name=f"{NAME}/lease",
        token=token,
        fencing_token=7,
        ttl=Duration(seconds=seconds),
        time_left=Duration(seconds=seconds),
        margin=Duration(seconds=1),
        renew_after=Duration(seconds=seconds // 3),
        placements=[placement("dc-a", 64, 5, 41)],
    )


def holding(**steps: list[object]) -> Script:
    """A broker that leases, renews and takes back."""
    script = Script(
        AcquireLease=[answer(pb.AcquireLeaseResponse(lease=lease()))],
        RenewLease=[answer(pb.RenewLeaseResponse(lease=lease("")))],
        ReleaseLease=[answer(pb.ReleaseLeaseResponse(claim=claim("lab/run-1")))],
        GetLease=[answer(pb.GetLeaseResponse(lease=lease("")))],
    )
    script.steps.update(steps)  # type: ignore[arg-type]
    return script


def test_acquire_tells_token_and_what_to_do_with_it() -> None:
    shown = run(holding(), "acquire", "lab/run-1", "--ttl", "40")
    assert shown.exit_code == 0
    assert "64 in dc-a" in shown.output
    assert "7.secret" in shown.output
    assert "broker lease renew" in shown.output


def test_renew_and_release_take_the_token_from_the_line_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    script = holding()
    assert run(script, "renew", "lab/run-1", "--token", "7.secret").exit_code == 0
    monkeypatch.setenv("BROKER_LEASE_TOKEN", "7.secret")
    assert run(script, "release", "lab/run-1").exit_code == 0
    assert [request.token for request in script.requests if isinstance(request, pb.ReleaseLeaseRequest)] == ["7.secret"]


def test_show_is_json_if_wanted() -> None:
    shown = run(holding(), "show", "lab/run-1", "-o", "json")
    assert json.loads(shown.output)["fencing_token"] in (7, "7")


def test_a_command_runs_under_a_lease_that_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    script = holding()
    code = "import os, sys; print(os.environ['BROKER_FENCING_TOKEN']); sys.exit(3)"
    done = run(script, "run", "lab/run-1", "--", sys.executable, "-c", code)
    assert done.exit_code == 3
    assert capfd.readouterr().out == "7\n"
    assert any(isinstance(request, pb.ReleaseLeaseRequest) for request in script.requests)


def test_a_command_is_stopped_when_the_lease_is_lost() -> None:
    short = lease(seconds=40)
    short.renew_after.CopyFrom(Duration(nanos=50_000_000))
    script = holding(
        AcquireLease=[answer(pb.AcquireLeaseResponse(lease=short))],
        RenewLease=[refuse(grpc.StatusCode.FAILED_PRECONDITION, "LEASE_ENDED", "it has ended")],
    )
    done = run(script, "run", "lab/run-1", "--", sys.executable, "-c", "import signal; signal.pause()")
    assert done.exit_code == 75
    assert not any(isinstance(request, pb.ReleaseLeaseRequest) for request in script.requests)


def test_a_command_that_cannot_be_run_is_told_in_a_line() -> None:
    script = holding()
    done = run(script, "run", "lab/run-1", "--", "no-such-command")
    assert done.exit_code == 1
    assert "cannot run no-such-command" in done.output
    assert not script.requests, "the claim would end with the lease"
