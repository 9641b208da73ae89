"""A client that has never seen our proto finds the API by reflection, asks, lists and watches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from broker.cli.local_server import LocalServer

BUF = Path(sys.executable).parent / "buf"
ASK = {
    "parent": "tenants/dione",
    "claimId": "by-reflection",
    "requestId": "by-reflection",
    "claim": {
        "workloadClass": "training",
        "devices": "8",
        "gang": True,
        "duration": "7200s",
        "tier": "TIER_STANDARD",
    },
}
NAME = "tenants/dione/claims/by-reflection"


def arguments(server: LocalServer, method: str, body: dict[str, Any]) -> list[str]:
    url = f"http://{server.address}/{method}"
    return [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", json.dumps(body), url]


def call(server: LocalServer, method: str, body: dict[str, Any]) -> Any:
    done = subprocess.run(arguments(server, method, body), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_asks_lists_and_watches(running: LocalServer) -> None:
    assert call(running, "grpc.health.v1.Health/Check", {})["status"] == "SERVING"
    created = call(running, "capacitybroker.v1.CapacityService/CreateClaim", ASK)
    assert created["claim"]["name"] == NAME
    listed = call(running, "capacitybroker.v1.CapacityService/ListClaims", {"parent": "tenants/dione"})
    assert NAME in {claim["name"] for claim in listed["claims"]}
    watch = arguments(
        running, "capacitybroker.v1.CapacityService/WatchClaims", {"parent": "tenants/dione", "startRevision": "1"}
    )
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = ""
        while NAME not in told:
            line = process.stdout.readline()
            assert line, "the watch ended"
            told += line
        process.terminate()


def test_a_refusal_is_readable_without_our_proto(running: LocalServer) -> None:
    body = ASK | {"requestId": "other", "claim": ASK["claim"] | {"devices": "-1"}}  # type: ignore[operator]
    command = arguments(running, "capacitybroker.v1.CapacityService/CreateClaim", body)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "invalid_argument" in done.stderr
    assert "it must be from 1" in done.stderr
    assert "google.rpc.ErrorInfo" in done.stderr
