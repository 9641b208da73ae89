"""What Prometheus is told: few families, few labels, whatever callers send."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import socket

from prometheus_client.parser import text_string_to_metric_families

from broker.domain.faults import FaultReason
from broker.telemetry.metrics import METRICS, Reading, expose
from broker.telemetry.tally import BOUNDS, Tally
from broker.transport.methods import METHODS

DOCUMENT = Path(__file__).parents[2] / "docs/observability.md"


def scraped(tally: Tally, *readings: Reading) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by name and label values, as a scrape over HTTP finds them."""
    with closing(socket()) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]

    def read() -> Iterator[Reading]:
        yield from readings

    close = expose(f"127.0.0.1:{port}", read, tally)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        close()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_calls_are_counted_by_method_and_outcome_and_timed_in_buckets() -> None:
    tally = Tally()
    tally.add("GetClaim", "OK", 0.001)
    tally.add("GetClaim", "OK", 0.0011)
    tally.add("GetClaim", "CLAIM_NOT_FOUND", 100.0)
    found = scraped(tally, ("broker_state", ("serving",), True), ("broker_audit_lost_total", (), 3))
    assert found["broker_calls_total"] == {("GetClaim", "OK"): 2, ("GetClaim", "CLAIM_NOT_FOUND"): 1}
    buckets = found["broker_call_seconds_bucket"]
    assert [buckets[value] for value in ((("0.001"), "GetClaim"), ("0.0025", "GetClaim"), ("+Inf", "GetClaim"))] == [
        *(1, 2, 3)
    ]
    assert len(buckets) == len(BOUNDS) + 1
    assert found["broker_call_seconds_count"][("GetClaim",)] == 3
    assert found["broker_state"][("serving",)] == 1
    assert found["broker_audit_lost_total"][()] == 3
    assert "process_resident_memory_bytes" in found


def test_labels_are_names_of_ours_and_so_bounded() -> None:
    outcomes = {"OK", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"} | {reason.name for reason in FaultReason}
    assert len(METHODS) * len(outcomes) < 3_000
    labels = {label for metric in METRICS for label in metric.labels}
    assert labels == {"method", "outcome", "lane", "state"}


def test_the_document_has_a_row_for_each_metric_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `(broker_\w+)` \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert rows == {
        metric.name: f"{metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.says}"
        for metric in METRICS
    }
