"""A real broker to throw things at: its processes, its revision, its memory, and valid messages to spoil."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from capacitybroker import TIER_STANDARD, Claim, Client, duration
from capacitybroker.v1 import capacity_service_pb2 as capacity
from capacitybroker.v1 import fleet_pb2 as fleets

from bench import wire
from bench.raw import RawConnection, Reply
from broker.cli.local_server import LocalServer, local_server, set_clock
from tests.world import NOON

__all__ = [
    "ABORTED",
    "DEADLINE_EXCEEDED",
    "DENIED",
    "EXHAUSTED",
    "INTERNAL",
    "INVALID",
    "NOT_FOUND",
    "OK",
    "OUT_OF_RANGE",
    "PRECONDITION",
    "UNIMPLEMENTED",
    "Row",
    "Target",
    "broker_to_attack",
    "claim",
    "create",
    "says",
]

OK, INVALID, DEADLINE_EXCEEDED, NOT_FOUND, DENIED = 0, 3, 4, 5, 7
EXHAUSTED, PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL = 8, 9, 10, 11, 12, 13
HOUR = 3600
PACKAGE = "/capacitybroker.v1."
_numbers = iter(range(1_000_000))


@dataclass(slots=True)
class Target:
    """One broker; ``connection`` is for rows that leave a connection as it was."""

    server: LocalServer
    connection: RawConnection
    token: str = ""  # of the lease of tenants/atlas/claims/leased
    facts: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
        """One call of ``CapacityService/CreateClaim`` or the like."""
        if self.connection.gone:
            self.connection = RawConnection(self.server.address)
        return self.connection.unary(PACKAGE + method, body, headers)

    def revision(self) -> int:
        """The ledger's newest revision."""
        (page,) = self.call("CapacityService/ListClaims", wire.text(1, b"tenants/-") + wire.field(2, 1)).messages()
        return capacity.ListClaimsResponse.FromString(page).revision

    def alive(self) -> bool:
        """Whether every process that was started still runs."""
        return all(Path(f"/proc/{pid}").exists() for pid in self.server.pids.values())

    def rss(self) -> int:
        """Bytes of memory that the server process has."""
        statm = Path(f"/proc/{self.server.pids['server-1']}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is sent, and what has to come back."""

    id: str
    what: str
    send: Callable[[Target], Reply]
    code: int
    reason: str = ""
    field: str = ""


def says(id: str, what: str, method: str, body: bytes, code: int, reason: str = "", field: str = "") -> Row:  # noqa: A002
    """A row that is one message to one method."""
    return Row(id, what, lambda target: target.call(method, body), code, reason, field)


def claim(**parts: bytes) -> bytes:
    """A claim by hand: 8 devices for 4 hours; ``parts`` replace or add fields, each already encoded."""
    usual = {
        "workload_class": wire.text(2, b"training"),
        "devices": wire.field(3, 8),
        "duration": wire.text(10, wire.field(1, 4 * HOUR)),
        "tier": wire.field(16, TIER_STANDARD),
    }
    return b"".join((usual | parts).values())


def create(message: bytes | None = None, *, parent: bytes = b"tenants/atlas", **parts: bytes) -> bytes:
    """A CreateClaimRequest by hand, with an id of its own; ``parts`` replace or add fields of the request."""
    usual = {
        "parent": wire.text(1, parent),
        "claim": wire.text(2, claim() if message is None else message),
        "request_id": wire.text(4, b"b-%d" % next(_numbers)),
    }
    return b"".join((usual | parts).values())


def _fleet() -> fleets.Fleet:
    speeds = [fleets.SiliconSpeed(silicon=one, speed_percent=100) for one in ("b200", "mtia-400")]
    pools = [
        fleets.Pool(
            id="dc-1",
            kind=fleets.POOL_KIND_INTERNAL,
            silicon="b200",
            domain_devices=8,
            deliveries=[fleets.Delivery(devices=64)],
        ),
        fleets.Pool(
            id="mtia",
            kind=fleets.POOL_KIND_CUSTOM_SILICON,
            silicon="mtia-400",
            domain_devices=8,
            deliveries=[fleets.Delivery(devices=16)],
        ),
    ]
    return fleets.Fleet(
        silicon=[fleets.Silicon(id="b200", family="blackwell"), fleets.Silicon(id="mtia-400")],
        workload_classes=[fleets.WorkloadClass(id="training", speeds=speeds)],
        pools=pools,
        tenants=[fleets.Tenant(id="atlas"), fleets.Tenant(id="borealis")],
    )


@contextmanager
def broker_to_attack(directory: Path) -> Iterator[Target]:
    """A broker whose clock stands still at noon, with one claim that waits, one cancelled and one leased."""
    clock = directory / "clock"
    set_clock(clock, NOON)
    with local_server(directory, clock_file=clock, horizon_slots=14 * 24) as server:
        with Client(server.address) as operator:
            operator.apply_fleet(_fleet())
            ask = Claim(workload_class="training", devices=8, duration=duration(hours=4), tier=TIER_STANDARD)
            leased = operator.create_claim(ask, tenant="atlas", claim_id="leased")
            for change in operator.watch_claims(tenant="atlas", start_revision=leased.revision):
                if any(seen.name == leased.name and seen.placements for seen in change.claims):
                    break
            lease = operator.acquire_lease(leased.name)
            ask.devices = 64
            ask.gang = True
            etag = operator.create_claim(ask, tenant="atlas", claim_id="waits").etag
            operator.create_claim(ask, tenant="atlas", claim_id="cancelled")
            operator.cancel_claim("tenants/atlas/claims/cancelled")
        # Nothing else changes the revision from now on.
        os.kill(server.pids["planner"], signal.SIGSTOP)
        try:
            with RawConnection(server.address) as connection:
                yield Target(server, connection, lease.token, {"etag": etag})
        finally:
            os.kill(server.pids["planner"], signal.SIGCONT)
