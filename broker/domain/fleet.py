"""Supply, and who may ask for it: silicon, workload classes, pools, contracts and tenants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from broker.domain.claim import LOANS
from broker.domain.cut import Cut, Piece
from broker.domain.insurance import Insurance
from broker.domain.slots import Steps, slot_at_or_after, slot_of

__all__ = [
    "CommittedLevel",
    "Contract",
    "Delivery",
    "Fleet",
    "FleetChange",
    "Floor",
    "Maintenance",
    "Pool",
    "PoolKind",
    "Silicon",
    "Tenant",
    "WorkloadClass",
    "changes",
]


class PoolKind(StrEnum):
    """Who owns the devices of a pool."""

    INTERNAL = "INTERNAL"
    CUSTOM_SILICON = "CUSTOM_SILICON"
    CONTRACTED = "CONTRACTED"


@dataclass(frozen=True, slots=True)
class Silicon:
    """A kind of accelerator; a claim may name its id or its family."""

    id: str
    family: str = ""
    display_name: str = ""

    def answers_to(self, name: str) -> bool:
        """Whether a claim that asks for ``name`` accepts this silicon."""
        return name in (self.id, self.family)


@dataclass(frozen=True, slots=True)
class WorkloadClass:
    """A kind of work; silicon that is not in ``speed_percent`` can never run it."""

    id: str
    speed_percent: Mapping[str, int] = field(
        default_factory=dict
    )  # silicon id -> work per device-hour, 100 = reference
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Devices that arrive at ``at`` (Unix seconds; None: always there) and stay; negative when they leave for good."""

    devices: int
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Devices that are away from ``at`` until ``until`` (Unix seconds)."""

    devices: int
    at: int
    until: int


@dataclass(frozen=True, slots=True)
class Floor:
    """Devices of a pool that are granted to nobody: a tenant falls back on them while the broker is away."""

    tenant: str
    devices: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Devices of one silicon in one place."""

    id: str
    kind: PoolKind
    silicon: str
    domain_devices: int  # devices of one NVLink domain: 8 in an HGX node, 72 in an NVL72 rack
    deliveries: tuple[Delivery, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    unit_cost_microusd: int = 0  # per device-hour used
    site: str = ""
    tray_devices: int = 0  # the unit of repair, 4 in an NVL72 rack; 0: the pool's domains are not told apart
    spare_trays: int = 0  # of each domain
    slice_trays: int = 0  # 0: all that are not spare
    floors: tuple[Floor, ...] = ()

    @property
    def cut(self) -> Cut | None:
        """How its domains are given out; None where they are not told apart."""
        if not self.tray_devices:
            return None
        trays = self.slice_trays or self.domain_devices // self.tray_devices - self.spare_trays
        return Cut(self.domain_devices, self.tray_devices, self.spare_trays, trays)

    def piece(self, *, whole_domains: bool, min_domain_devices: int) -> Piece | None:
        """What a claim takes of the pool at a time; None where the pool cannot hold it."""
        if (cut := self.cut) is not None:
            return cut.piece(whole_domains=whole_domains, segment=min_domain_devices)
        if self.domain_devices < min_domain_devices:
            return None
        return Piece(self.domain_devices, self.domain_devices) if whole_domains else Piece(1, 1)

    @property
    def account(self) -> str:
        """Name of the pool's account in the ledger."""
        return f"pools/{self.id}"

    def supply(self) -> Steps:
        """Devices that can be given out, over time.

        Late arrivals count from the next whole hour, maintenance takes every hour it touches.
        """
        leaves = [(slot_of(m.at), -m.devices) for m in self.maintenance]
        returns = [(slot_at_or_after(m.until), m.devices) for m in self.maintenance]
        there = Steps.from_changes([*self._arrivals(), *leaves, *returns])
        return there if (cut := self.cut) is None else there.each(cut.usable)

    def delivered(self) -> Steps:
        """Devices that could be given out if none were in maintenance, over time."""
        there = Steps.from_changes(self._arrivals())
        return there if (cut := self.cut) is None else there.each(cut.usable)

    def _arrivals(self) -> list[tuple[int, int]]:
        aside = (0, -sum(floor.devices for floor in self.floors))
        return [aside, *((0 if d.at is None else slot_at_or_after(d.at), d.devices) for d in self.deliveries)]


@dataclass(frozen=True, slots=True)
class CommittedLevel:
    """Devices paid for from ``at`` (Unix seconds; None: always) until the next level."""

    devices: int
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """Take-or-pay: the committed level is paid whether used or not, more costs the overage price."""

    id: str
    pool: str
    counterparty: str = ""
    committed: tuple[CommittedLevel, ...] = ()
    committed_price_microusd: int = 0  # per device-hour
    overage_price_microusd: int = 0  # per device-hour

    def paid(self) -> Steps:
        """Devices already paid for, over time."""
        by_slot = {0: 0} | {0 if c.at is None else slot_at_or_after(c.at): c.devices for c in self.committed}
        return Steps(tuple(sorted(by_slot.items())))


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who may ask; ``quota_devices`` (None: no limit) bounds what its claims hold at once over all pools.

    What spot claims of it hold on loan is bounded by ``loan_devices`` (None: nothing) instead.
    """

    id: str
    quota_devices: int | None = None
    display_name: str = ""
    loan_devices: int | None = None

    @property
    def account(self) -> str:
        """Name of the tenant's account in the ledger."""
        return f"tenants/{self.id}"

    @property
    def loan_account(self) -> str:
        """Name of the ledger's account for what it has on loan."""
        return f"{self.account}{LOANS}"

    def limits(self) -> Iterator[tuple[str, int]]:
        """Each limit that it has, under the name of a quota as claims say it."""
        if self.quota_devices is not None:
            yield self.id, self.quota_devices
        if self.loan_devices is not None:
            yield f"{self.id}{LOANS}", self.loan_devices


@dataclass(frozen=True)  # without slots: what is looked up in every call is indexed once
class Fleet:
    """Everything that can be asked for, and by whom; ids are unique within each kind and references resolve."""

    silicon: tuple[Silicon, ...] = ()
    workload_classes: tuple[WorkloadClass, ...] = ()
    pools: tuple[Pool, ...] = ()
    contracts: tuple[Contract, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    insurance: tuple[Insurance, ...] = ()

    @cached_property
    def silicon_names(self) -> frozenset[str]:
        """What silicon may be asked for by: ids and families."""
        return frozenset({s.id for s in self.silicon} | {s.family for s in self.silicon if s.family})

    @cached_property
    def pools_by_id(self) -> Mapping[str, Pool]:
        """Every pool."""
        return {p.id: p for p in self.pools}

    @cached_property
    def tenants_by_id(self) -> Mapping[str, Tenant]:
        """Every tenant."""
        return {t.id: t for t in self.tenants}

    @cached_property
    def workload_classes_by_id(self) -> Mapping[str, WorkloadClass]:
        """Every workload class."""
        return {w.id: w for w in self.workload_classes}

    @cached_property
    def _contracts_by_pool(self) -> Mapping[str, Contract]:
        return {c.pool: c for c in reversed(self.contracts)}

    def pool(self, id: str) -> Pool | None:  # noqa: A002 - the field's own name
        """The pool of that id, or None."""
        return self.pools_by_id.get(id)

    def tenant(self, id: str) -> Tenant | None:  # noqa: A002
        """The tenant of that id, or None."""
        return self.tenants_by_id.get(id)

    def workload_class(self, id: str) -> WorkloadClass | None:  # noqa: A002
        """The workload class of that id, or None."""
        return self.workload_classes_by_id.get(id)

    def contract_of(self, pool: str) -> Contract | None:
        """The contract of that pool, or None."""
        return self._contracts_by_pool.get(pool)

    def limits(self) -> dict[str, Steps]:
        """What each ledger account may hold over time: the supply of pools, the quotas and the loans of tenants."""
        pools = {pool.account: pool.supply() for pool in self.pools}
        return pools | {f"tenants/{name}": Steps.level(devices) for name, devices in self.quotas.items()}

    @cached_property
    def quotas(self) -> Mapping[str, int]:
        """Every limit of a tenant that there is, by the name of the quota; what is on loan has one of its own."""
        return dict(limit for tenant in self.tenants for limit in tenant.limits())

    def parts(self) -> Iterator[tuple[str, object]]:
        """Each part of the fleet under its resource name."""
        for collection, items in (
            ("silicon", self.silicon),
            ("workloadClasses", self.workload_classes),
            ("pools", self.pools),
            ("contracts", self.contracts),
            ("tenants", self.tenants),
            ("insurance", self.insurance),
        ):
            for item in items:
                yield f"{collection}/{item.id}", item


@dataclass(frozen=True, slots=True)
class FleetChange:
    """One difference between two fleets; ``action`` is ADDED, CHANGED or REMOVED."""

    resource: str
    action: str


def changes(before: Fleet, after: Fleet) -> tuple[FleetChange, ...]:
    """What differs, in order of resource name; empty when nothing does."""
    old, new = dict(before.parts()), dict(after.parts())
    out = [FleetChange(name, "ADDED") for name in new.keys() - old.keys()]
    out += [FleetChange(name, "REMOVED") for name in old.keys() - new.keys()]
    out += [FleetChange(name, "CHANGED") for name in old.keys() & new.keys() if old[name] != new[name]]
    return tuple(sorted(out, key=lambda change: change.resource))
