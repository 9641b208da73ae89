"""What a whole broker tells of itself: no secret anywhere, one record for each change, and its health."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from capacitybroker import BrokerError, Client, Lease
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bench.served import free_port
from broker.cli.local_server import local_server, set_clock
from broker.domain.faults import Fault, FaultReason
from broker.observed import health_of
from broker.telemetry.traces import Traces
from broker.telemetry.verify import verified
from broker.transport.guard import Guard
from broker.transport.load import Load
from broker.transport.server import Health, Server
from tests.e2e.test_conservation import small_fleet
from tests.e2e.test_crash import a_claim
from tests.transport.calls import create, refusal
from tests.transport.test_overload import served
from tests.world import NOON, PATIENT, world

BROKER = Path(sys.executable).parent / "broker"
PATIENCE_SECONDS = 60.0


def records(directory: Path) -> list[dict[str, Any]]:
    found = [line for path in sorted(directory.glob("*.audit")) for line in path.read_bytes().splitlines()]
    return [orjson.loads(line.partition(b" ")[2]) for line in found]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(BrokerError) as error:
        call()
    return f"{error.value.reason} {error.value} {error.value.facts} {error.value.violations}"


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> str:
    with free_port() as port:
        pass
    monkeypatch.setenv("BROKER_METRICS", f"127.0.0.1:{port}")
    monkeypatch.setenv("BROKER_LOG_FORMAT", "json")
    return f"http://127.0.0.1:{port}/metrics"


def story(client: Client, said: list[str]) -> Lease:
    """Everything that handles a token, and what is refused on the way."""
    name = client.create_claim(a_claim(), claim_id="run-1").name
    client.run_plan()
    lease = client.acquire_lease("run-1", ttl=30)
    client.renew_lease("run-1", lease.token)
    said.append(refused(lambda: client.renew_lease("run-1", lease.token[:-1] + "x")))
    said.append(refused(lambda: client.renew_lease("other", lease.token)))
    said.append(refused(lambda: client.release_lease("run-1", lease.token.replace(".", ".0"))))
    said.append(refused(lambda: client.get_claim(lease.token.partition(".")[2])))
    client.release_lease("run-1", lease.token)
    said.append(refused(lambda: client.renew_lease("run-1", lease.token)))
    assert client.get_claim(name).name == name
    return lease


def test_no_token_is_in_logs_metrics_records_or_errors_and_each_change_is_on_record(
    tmp_path: Path, metrics: str
) -> None:
    clock, said = tmp_path / "clock", list[str]()
    set_clock(clock, NOON)
    with local_server(tmp_path, plan_seconds=0.3, horizon_slots=7 * 24, clock_file=clock) as server:
        with Client(server.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client:
            client.apply_fleet(small_fleet())
            lease = story(client, said)
            with urllib.request.urlopen(metrics, timeout=10) as answer:
                scraped = answer.read().decode()
        log = server.log
    told = records(tmp_path / "data" / "audit")
    proof = lease.token.partition(".")[2]
    assert len(proof) == 32
    assert 'broker_calls_total{method="ReleaseLease",outcome="OK"} 1.0' in scraped
    for text in (log.read_text(), scraped, *said, orjson.dumps(told).decode()):
        # What a caller names as a claim is on record; the story named one so.
        assert proof not in text.replace(f"tenants/atlas/claims/{proof}", "")
    assert all(orjson.loads(line) for line in log.read_text().splitlines())
    changes = [(one["method"], one["who"]) for one in told if one.get("outcome") == "OK"]
    assert changes == [
        *(("ApplyFleet", "-"), ("CreateClaim", "atlas"), ("RunPlan", "-"), ("AcquireLease", "atlas")),
        ("ReleaseLease", "atlas"),
    ]
    (acquired,) = (one for one in told if one.get("method") == "AcquireLease")
    assert acquired["revision"] == lease.fencing_token
    assert acquired["target"] == lease.name
    refusals = [(one["method"], one["outcome"]) for one in told if one.get("outcome") not in (None, "OK")]
    assert refusals[:3] == [
        ("RenewLease", "LEASE_TOKEN"),
        ("RenewLease", "LEASE_TOKEN"),
        ("ReleaseLease", "LEASE_TOKEN"),
    ]
    assert len(refusals) == 5
    done = subprocess.run(
        [str(BROKER), "audit", "verify", str(tmp_path / "data" / "audit")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"all {len(told)} records are as they were written")


def test_a_server_that_is_killed_leaves_a_record_that_the_next_goes_on_from(tmp_path: Path) -> None:
    with (
        local_server(tmp_path, horizon_slots=7 * 24) as server,
        Client(server.address, tenant="atlas", timeout=PATIENCE_SECONDS) as client,
    ):
        client.apply_fleet(small_fleet())
        client.create_claim(a_claim(), claim_id="one")
        os.kill(server.pids["server-1"], signal.SIGKILL)
        client.create_claim(a_claim(), claim_id="two")
    first, second = verified(tmp_path / "data" / "audit")
    assert (first.wrong, first.closed, second.wrong, second.closed) == ("", False, "", True)
    found = [one["target"].rpartition("/")[2] for one in records(tmp_path / "data" / "audit") if one.get("revision")]
    assert found == ["fleet", "one", "two"]
    path = next((tmp_path / "data" / "audit").glob("*1.audit"))
    path.write_bytes(path.read_bytes().replace(b'"atlas"', b'"other"'))
    done = subprocess.run(
        [str(BROKER), "audit", "verify", str(path.parent)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is not what was written" in done.stdout


def test_health_tells_serving_and_recovering_apart(tmp_path: Path) -> None:
    with local_server(tmp_path, horizon_slots=7 * 24) as server, grpc.insecure_channel(server.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        def up(name: str) -> bool:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        assert [up(name) for name in ("", "ready", "live")] == [True, True, True]
        os.kill(server.pids["store"], signal.SIGSTOP)
        try:
            _until(lambda: not up("ready"))
            assert [up(name) for name in ("", "ready", "live")] == [False, False, True]
        finally:
            os.kill(server.pids["store"], signal.SIGCONT)
        _until(lambda: up("ready"))


async def test_health_tells_a_halted_server() -> None:
    halted = Fault(FaultReason.SAFE_HALT, "gone", remedy="Restore it")
    away = Fault(FaultReason.STORE_UNAVAILABLE, "away", remedy="Wait")
    assert [health_of(one) for one in (None, away, halted)] == [Health.SERVING, Health.RECOVERING, Health.HALTED]
    async with world() as w:
        server = Server(w.desk, w.leasing, w.feed)
        port = await server.start("127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            await server.tell(Health.HALTED)
            for name in ("", "ready", "live"):
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await server.stop(0)


async def test_a_call_is_a_span_below_its_callers_and_says_nothing_of_what_was_asked() -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    async with world() as w, served(w, Guard(load=Load(PATIENT), traces=Traces(provider))) as channel:
        from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub

        parent = "0af7651916cd43dd8448eb211c80319c"
        call = CapacityServiceStub(channel).CreateClaim(
            create(claim_id="secret-name"), metadata=(("traceparent", f"00-{parent}-b7ad6b7169203331-01"),)
        )
        await refusal(call)  # no fleet
    (span,) = spans.get_finished_spans()
    assert (span.name, f"{span.context.trace_id:032x}") == ("CreateClaim", parent)
    assert not span.status.is_ok
    assert "secret-name" not in span.to_json()


def _until(condition: Callable[[], bool]) -> None:
    end, pause = time.monotonic() + PATIENCE_SECONDS, threading.Event()
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.02)
