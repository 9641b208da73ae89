"""Everything that can be set, read once and handed down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from broker.desk import DeskTerms
from broker.failpoints import parse
from broker.leasing import LeaseTerms
from broker.planner import PlannerSettings
from broker.telemetry.logs import LogFormat

__all__ = ["Durability", "ServeSettings", "failpoints_of"]

Durability = Literal["strict", "relaxed"]


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a broker runs on one machine.

    Without ``redis_url`` an embedded store keeps its data in ``data_dir``. ``clock_file`` replaces the machine's clock:
    it holds the present Unix second as text, and whoever drives a replay rewrites it.
    """

    listen: str = "127.0.0.1:7070"
    data_dir: Path = Path("broker-data")
    redis_url: str | None = None
    market: str = "main"
    create: bool = False  # make the market if the store has none; an embedded store's first start does so by itself
    workers: int = 1
    planners: int = 1  # one leads, the others stand by
    durability: Durability = "strict"
    insecure: bool = False
    clock_file: Path | None = None
    capture_dir: Path | None = None
    ready_file: Path | None = None
    drain_seconds: float = 5.0
    failpoints: str = ""  # of the first process of each kind; see `broker.failpoints`
    slot: str = "server-1"  # of one server process among those of a broker
    audit_dir: Path | None = None  # None: nobody's changes are put on record
    metrics: str | None = None  # host:port for Prometheus
    traces: bool = False
    log_format: LogFormat = "text"
    planner: PlannerSettings = field(default_factory=PlannerSettings)
    desk: DeskTerms = field(default_factory=DeskTerms)
    leases: LeaseTerms = field(default_factory=LeaseTerms)

    @property
    def host(self) -> str:
        """Host part of ``listen``."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port part of ``listen``; 0 means any free one."""
        return int(self.listen.rpartition(":")[2])


def failpoints_of(environment: Mapping[str, str]) -> str:
    """What BROKER_FAILPOINTS says; raises ValueError unless BROKER_DEVELOPER=1 allows it and every point exists."""
    text = environment.get("BROKER_FAILPOINTS", "")
    if text and environment.get("BROKER_DEVELOPER") != "1":
        raise ValueError("BROKER_FAILPOINTS is for developers: set BROKER_DEVELOPER=1 as well, or unset it")
    parse(text)
    return text
