"""Numbers for Prometheus, where the extra ``metrics`` is installed and somebody asks; labels are few and known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from broker.telemetry.tally import BOUNDS, Tally

__all__ = ["METRICS", "Metric", "Reading", "expose"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: what it counts, and by what."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    labels: tuple[str, ...] = ()


# (name of the metric, values of its labels, value)
Reading = tuple[str, tuple[str, ...], float]

METRICS = (
    Metric(
        "broker_calls_total", "counter", "Calls that ended: OK, or the reason of the refusal.", ("method", "outcome")
    ),
    Metric("broker_call_seconds", "histogram", "How long calls took in the server.", ("method",)),
    Metric("broker_running_cost", "gauge", "Cost of the calls under way; a plain call costs 1."),
    Metric("broker_waiting_calls", "gauge", "Calls that wait for their turn.", ("lane",)),
    Metric("broker_shed_total", "counter", "Calls refused because there was too much to do.", ("lane",)),
    Metric("broker_late_seconds", "gauge", "How late calls come, before anybody has looked at them."),
    Metric("broker_turned_away_ratio", "gauge", "Part of the calls that is turned away because they come late."),
    Metric("broker_tasks", "gauge", "Tasks of the server's loop."),
    Metric(
        "broker_state", "gauge", "1 for the state that the server is in: serving, recovering or halted.", ("state",)
    ),
    Metric("broker_revision", "gauge", "Newest revision that the server has seen."),
    Metric("broker_watches", "gauge", "Watches that are open."),
    Metric("broker_claims", "gauge", "Live claims."),
    Metric("broker_audit_records_total", "counter", "Records written to the audit file."),
    Metric("broker_audit_lost_total", "counter", "Records that the disk did not take."),
)
BY_NAME = {metric.name: metric for metric in METRICS}


class _Numbers:
    """What a scrape finds, read in that moment."""

    def __init__(self, read: Callable[[], Iterable[Reading]], tally: Tally) -> None:
        self._read, self._tally = read, tally

    def collect(self) -> Iterator[Any]:
        """See `prometheus_client.registry.Collector`."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        calls = CounterMetricFamily(
            "broker_calls_total", BY_NAME["broker_calls_total"].says, labels=["method", "outcome"]
        )
        for call, count in list(self._tally.calls.items()):
            calls.add_metric(call, count)
        took = HistogramMetricFamily("broker_call_seconds", BY_NAME["broker_call_seconds"].says, labels=["method"])
        for method, counts in list(self._tally.took.items()):
            took.add_metric([method], _buckets(list(counts)), self._tally.seconds[method])
        yield from (calls, took)
        families: dict[str, Any] = {}
        for name, labels, value in self._read():
            metric = BY_NAME[name]
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = families.setdefault(name, kind(name, metric.says, labels=metric.labels))
            family.add_metric(labels, value)
        yield from families.values()


def expose(address: str, read: Callable[[], Iterable[Reading]], tally: Tally) -> Callable[[], None]:
    """Answer scrapes at ``host:port`` on a thread, until what is returned is called.

    ImportError without the extra, OSError when the address is taken.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

    registry = CollectorRegistry()
    registry.register(_Numbers(read, tally))
    ProcessCollector(registry=registry)
    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]"), registry)

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
