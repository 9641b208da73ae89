"""A claim: what was asked, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from broker.domain.reason import Because, Reason
from broker.domain.slots import Window

__all__ = [
    "LOANS",
    "VALUE_MICROUSD_MAX",
    "Active",
    "Ask",
    "Cancelled",
    "Claim",
    "ClaimName",
    "Committed",
    "Displaced",
    "DomainSpan",
    "Ended",
    "Expired",
    "Held",
    "Hold",
    "Past",
    "Placement",
    "Planned",
    "Preemption",
    "SiliconChoice",
    "State",
    "Tier",
    "Waiting",
]


class Tier(StrEnum):
    """What may happen to a claim when capacity is scarce."""

    GUARANTEED = "GUARANTEED"  # once planned never dropped; the last to lose capacity in an outage
    STANDARD = "STANDARD"  # once planned never dropped while supply holds
    SPOT = (
        "SPOT"  # may lose its place to more valuable work until committed; once it runs, to a higher tier with notice
    )


# What an hour of one device is worth when the caller does not say, in micro-USD.
TIER_RATE = {Tier.GUARANTEED: 12_000_000, Tier.STANDARD: 6_000_000, Tier.SPOT: 2_000_000}
VALUE_MICROUSD_MAX = 10**15  # a billion dollars
LOANS = "/loans"  # how the name of what a tenant may have on loan ends
PAST_MAX = 12  # states before the present one that a claim remembers


@dataclass(frozen=True, slots=True, order=True)
class ClaimName:
    """``tenants/{tenant}/claims/{id}``."""

    tenant: str
    id: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/claims/{self.id}"

    @property
    def key(self) -> str:
        """Short form, unique in the market; lists are in its order."""
        return f"{self.tenant}/{self.id}"


@dataclass(frozen=True, slots=True)
class SiliconChoice:
    """One acceptable silicon (id or family); ``devices`` 0: as many as the claim's, ``slots`` None: speed decides."""

    silicon: str
    devices: int = 0
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Preemption:
    """On what terms a spot claim that runs gives way, in slots; see `broker.domain.preemption`.

    It runs for ``min_run`` before it is told, and for ``notice`` after. ``checkpoint`` is the time between two points
    from which it can go on; 0: it has none, so a run that is cut short is lost.
    """

    min_run: int = 0
    notice: int = 1
    checkpoint: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller asks for; ``slots`` is the time needed at speed 100 %, ``value_microusd`` 0 the rate of the tier.

    An empty ``silicon`` means any that can run the workload class. ``min_devices`` and ``max_devices`` are equal to
    ``devices`` unless the claim is elastic. ``latest`` and ``deadline`` are slots; None: unbounded. Spot work may be
    ``on_loan``: then it is none of its tenant's quota, and gives way before other spot work of equal worth.
    """

    workload_class: str
    devices: int
    slots: int
    earliest: int
    tier: Tier
    value_microusd: int
    silicon: tuple[SiliconChoice, ...] = ()
    gang: bool = False
    whole_domains: bool = False
    min_domain_devices: int = 0
    min_devices: int = 0
    max_devices: int = 0
    latest: int | None = None
    deadline: int | None = None
    preferred_pools: tuple[str, ...] = ()
    forbidden_pools: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    preemption: Preemption = Preemption()
    on_loan: bool = False

    def quota(self, tenant: str) -> str:
        """Name of the limit that it counts against: the tenant's quota, or what the tenant may have on loan beside."""
        return f"{tenant}{LOANS}" if self.on_loan else tenant

    @property
    def worth_microusd(self) -> int:
        """What serving it is worth: what the caller said, or the rate of its tier for each device-hour."""
        return self.value_microusd or min(VALUE_MICROUSD_MAX, TIER_RATE[self.tier] * self.devices * self.slots)

    @property
    def elastic(self) -> bool:
        """Whether fewer or more devices than asked for would do."""
        return (self.min_devices or self.devices, self.max_devices or self.devices) != (self.devices, self.devices)


class DomainSpan(NamedTuple):
    """Domains of a pool that follow each other, from number ``first`` on, and how many devices of each."""

    first: int
    domains: int
    devices: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Devices of one pool for one window; the broker may still move its start up to ``latest``.

    Where ``left_ppm`` is not 0 it was cut short, and so many millionths of the part's work are left when it ends.
    ``domains`` is which of the pool's domains it is on: told once it has started, where the pool's are told apart.
    """

    pool: str
    devices: int
    window: Window
    latest: int
    part: int = 0
    silicon: str = ""
    cost_microusd: int = 0
    paid_microusd: int = 0
    left_ppm: int = 0
    domains: tuple[DomainSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Holds no capacity."""

    because: tuple[Because, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """Holds capacity; starts may still move. ``because``: why a part of it holds none."""

    placements: tuple[Placement, ...]
    because: tuple[Because, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """Holds capacity at places and starts that no longer change. ``because``: why a part of it holds none."""

    placements: tuple[Placement, ...]
    because: tuple[Because, ...] = ()


@dataclass(frozen=True, slots=True)
class Active:
    """Committed, and somebody has the lease: the right to use it now. ``because``: why a part of it holds none."""

    placements: tuple[Placement, ...]
    because: tuple[Because, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Keeps capacity aside, at places that do not change, for a quote that may be redeemed before ``until``."""

    placements: tuple[Placement, ...]
    until: int  # Unix seconds


@dataclass(frozen=True, slots=True)
class Displaced:
    """Its capacity was lost; it is being planned again."""

    because: tuple[Because, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """Its time is over; ``placements`` is what it had, ``because`` why that was less than it was given."""

    placements: tuple[Placement, ...]
    because: tuple[Because, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Withdrawn; ``placements`` is what it had used by then."""

    placements: tuple[Placement, ...] = ()


@dataclass(frozen=True, slots=True)
class Expired:
    """Its window passed before room was found."""

    because: tuple[Because, ...]


State = Waiting | Held | Planned | Committed | Active | Displaced | Ended | Cancelled | Expired
_FIRM = (Held, Committed, Active)
_LIVE = (Waiting, Held, Planned, Committed, Active, Displaced)


@dataclass(frozen=True, slots=True, order=True)
class Hold:
    """Devices that one ledger account (a pool or a tenant) lends for one window."""

    account: str
    window: Window
    devices: int


@dataclass(frozen=True, slots=True)
class Past:
    """What a claim was: the name of its state, its dominant reason, since when, and the last revision that said so."""

    state: str
    reason: Reason | None
    at: int  # Unix seconds
    revision: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What was asked and what became of it; ``revision`` is the ledger's of its last change, 0 before it is stored.

    ``past`` is what it was before, latest first; the last dozen are kept. ``replaced`` is the revision before
    ``revision`` that changed it, 0 for the one that made it. ``ran`` is what it had until it gave way, oldest first.
    """

    name: ClaimName
    ask: Ask
    state: State
    created_at: int  # Unix seconds
    state_at: int  # Unix seconds
    revision: int = 0
    past: tuple[Past, ...] = ()
    replaced: int = 0
    ran: tuple[Placement, ...] = ()

    @property
    def state_name(self) -> str:
        """Such as WAITING."""
        return type(self.state).__name__.upper()

    @property
    def state_name_before(self) -> str:
        """The name of its state until its last change; empty for a claim that is new."""
        if not self.replaced:
            return ""
        return self.past[0].state if self.past and self.past[0].revision == self.replaced else self.state_name

    @property
    def live(self) -> bool:
        """Whether the planner still looks at it."""
        return isinstance(self.state, _LIVE)

    @property
    def firm(self) -> bool:
        """Whether its places no longer change, unless supply is lost."""
        return isinstance(self.state, _FIRM)

    @property
    def quota(self) -> str:
        """Name of the limit of its tenant that it counts against."""
        return self.ask.quota(self.name.tenant)

    @property
    def account(self) -> str:
        """The ledger's account of its tenant that lends to it."""
        return f"tenants/{self.quota}"

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where it is or was served."""
        match self.state:
            case Planned(placements) | Committed(placements) | Active(placements) | Held(placements):
                return placements
            case Ended(placements) | Cancelled(placements):
                return placements
            case _:
                return ()

    @property
    def because(self) -> tuple[Because, ...]:
        """Why it, or a part of it, holds no capacity."""
        match self.state:
            case Waiting(because) | Displaced(because) | Expired(because):
                return because
            case Planned(because=because) | Committed(because=because) | Active(because=because):
                return because
            case Ended(because=because):
                return because
            case _:
                return ()

    def holds(self) -> tuple[Hold, ...]:
        """What it takes from the accounts of its pools and of its tenant; nothing that it holds ends with its state."""
        placements = (*self.ran, *self.placements) if self.ran else self.placements
        if not placements:
            return ()
        return tuple(
            Hold(account, placement.window, placement.devices)
            for placement in placements
            for account in (f"pools/{placement.pool}", self.account)
        )

    def used_until(self, slot: int) -> tuple[Placement, ...]:
        """What its placements were used for if it gives up all that is left at the start of ``slot``."""
        return tuple(
            replace(p, window=Window(p.window.first, min(p.window.end, slot)))
            for p in self.placements
            if p.window.first < slot
        )

    def becomes(self, state: State, *, at: int) -> Claim:
        """The same claim in another state since ``at`` (Unix seconds); the time stays if only details changed."""
        same = type(state) is type(self.state)
        after = replace(self, state=state, state_at=self.state_at if same else at)
        if not self.revision or (same and _dominant(after) == _dominant(self)):
            return after
        was = Past(self.state_name, _dominant(self), self.state_at, self.revision)
        return replace(after, past=(was, *self.past)[:PAST_MAX])


def _dominant(claim: Claim) -> Reason | None:
    return claim.because[0].reason if claim.because else None
