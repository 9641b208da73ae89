"""Client of the capacity broker: ask for accelerators, follow what becomes of it, give it back.

    from capacitybroker import TIER_STANDARD, Claim, Client, duration

    with Client.from_environment() as client:
        claim = client.create_claim(
            Claim(workload_class="training", devices=512, gang=True, duration=duration(days=14), tier=TIER_STANDARD)
        )

Answers are the messages of ``capacitybroker.v1``; refusals are exceptions below `BrokerError`.
"""

from capacitybroker._client import Client
from capacitybroker._errors import (
    Aborted,
    AlreadyExists,
    BrokerError,
    Cancelled,
    Compacted,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from capacitybroker._holding import Holding
from capacitybroker._listing import Listing
from capacitybroker._times import duration, timestamp
from capacitybroker._watch import Watch
from capacitybroker.v1.capacity_service_pb2 import ExplainClaimResponse, QuoteClaimResponse, RedeemQuoteResponse
from capacitybroker.v1.claim_pb2 import (
    TIER_GUARANTEED,
    TIER_SPOT,
    TIER_STANDARD,
    Claim,
    Placement,
    Preemption,
    Reason,
    ReasonDetail,
    SiliconChoice,
    Tier,
)
from capacitybroker.v1.expected_pb2 import Calibration, ExpectedStart
from capacitybroker.v1.fleet_pb2 import Fleet, Pool
from capacitybroker.v1.fleet_service_pb2 import (
    ChangeSupplyResponse,
    GetPoolLayoutResponse,
    PoolStatus,
    Stay,
    TenantStatus,
)
from capacitybroker.v1.lease_service_pb2 import Lease, LeaseOutcome, LeaseRenewal
from capacitybroker.v1.plan_pb2 import Plan
from capacitybroker.v1.planning_service_pb2 import PoolLoss, StressTestResponse
from capacitybroker.v1.quote_pb2 import Change, Holder, Move, Offer, Past, Wall
from capacitybroker.v1.supply_pb2 import Drain, Growth, LateDelivery, Outage, Recovery, TouchedClaim

__all__ = [
    "TIER_GUARANTEED",
    "TIER_SPOT",
    "TIER_STANDARD",
    "Aborted",
    "AlreadyExists",
    "BrokerError",
    "Calibration",
    "Cancelled",
    "Change",
    "ChangeSupplyResponse",
    "Claim",
    "Client",
    "Compacted",
    "DeadlineExceeded",
    "Drain",
    "ExpectedStart",
    "ExplainClaimResponse",
    "FailedPrecondition",
    "Fleet",
    "GetPoolLayoutResponse",
    "Growth",
    "Holder",
    "Holding",
    "Internal",
    "InvalidArgument",
    "LateDelivery",
    "Lease",
    "LeaseOutcome",
    "LeaseRenewal",
    "Listing",
    "Move",
    "NotFound",
    "Offer",
    "OutOfRange",
    "Outage",
    "Past",
    "PermissionDenied",
    "Placement",
    "Plan",
    "Pool",
    "PoolLoss",
    "PoolStatus",
    "Preemption",
    "QuoteClaimResponse",
    "Reason",
    "ReasonDetail",
    "Recovery",
    "RedeemQuoteResponse",
    "ResourceExhausted",
    "SiliconChoice",
    "Stay",
    "StressTestResponse",
    "TenantStatus",
    "Tier",
    "TouchedClaim",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Wall",
    "Watch",
    "duration",
    "timestamp",
]
