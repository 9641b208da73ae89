"""What a ledger refuses, in the same words whatever the ledger is made of."""

from __future__ import annotations

from collections.abc import Sequence

from broker.domain.claim import Claim, ClaimName, Hold
from broker.domain.faults import Fault, FaultReason
from broker.domain.snapshot import Shortfall
from broker.ledger.books import checked_holds
from broker.ledger.port import Fence, RequestKey

__all__ = [
    "CANDIDATES_MAX",
    "COMMIT_CLAIMS_MAX",
    "MOVED_MAX",
    "checked_commit",
    "checked_submit",
    "claim_closed",
    "claim_exists",
    "claim_not_found",
    "compacted",
    "contended",
    "etag_mismatch",
    "fenced",
    "fleet_changed",
    "gains_holds",
    "hold_limit",
    "lease_ended",
    "lease_handover",
    "offer_gone",
    "overcommit",
    "plan_not_found",
    "request_id_reused",
    "revision_ahead",
]

CANDIDATES_MAX = 8
MOVED_MAX = 16
COMMIT_CLAIMS_MAX = 20_000


def checked_commit(claims: Sequence[Claim]) -> None:
    """Faults: TOO_MANY_ITEMS; a claim named twice is a ValueError, as no planner may ever do that."""
    if len(claims) > COMMIT_CLAIMS_MAX:
        raise Fault(
            FaultReason.TOO_MANY_ITEMS,
            f"{len(claims)} claims in one commit, at most {COMMIT_CLAIMS_MAX} fit",
            remedy="Leave out the claims that do not change",
        )
    if len({claim.name for claim in claims}) != len(claims):
        raise ValueError("a commit names the same claim twice")


def checked_submit(claim: Claim, candidates: Sequence[Claim], moved: Sequence[Claim]) -> list[tuple[Hold, ...]]:
    """The holds of each candidate; Faults: OVERCOMMIT when the claim itself would hold anything."""
    if checked_holds(claim):
        raise gains_holds(claim.name)
    if len(candidates) > CANDIDATES_MAX:
        raise ValueError(f"{len(candidates)} candidates for one claim, at most {CANDIDATES_MAX} may be tried")
    for candidate in candidates:
        if (candidate.name, candidate.ask, candidate.live) != (claim.name, claim.ask, claim.live):
            raise ValueError(f"a candidate for {claim.name} is not the same claim")
    if len(moved) > MOVED_MAX or (moved and not candidates):
        raise ValueError(f"{len(moved)} claims moved for {len(candidates)} candidates")
    if len({claim.name, *(other.name for other in moved)}) != 1 + len(moved):
        raise ValueError("a submit names the same claim twice")
    return [checked_holds(candidate) for candidate in candidates]


def claim_exists(name: ClaimName) -> Fault:
    """A claim of that name was stored before."""
    return Fault(FaultReason.CLAIM_EXISTS, f"{name} exists", remedy="Choose another id, or read the claim that has it")


def claim_not_found(name: ClaimName) -> Fault:
    """No claim of that name was ever stored."""
    return Fault(
        FaultReason.CLAIM_NOT_FOUND, f"{name} does not exist", remedy="Check its tenant and id, or list claims"
    )


def claim_closed(name: ClaimName) -> Fault:
    """The claim's life is over."""
    return Fault(FaultReason.CLAIM_CLOSED, f"{name} is closed", remedy="Create a new claim")


def contended(name: ClaimName, *, held: int, present: int) -> Fault:
    """The claim changed since the caller read it."""
    return Fault(
        FaultReason.CONTENDED,
        f"{name} changed meanwhile",
        remedy="Read it again and repeat the change",
        facts={"held_revision": str(held), "present_revision": str(present)},
    )


def gains_holds(name: ClaimName) -> Fault:
    """Only a plan may give a claim capacity."""
    return Fault(
        FaultReason.OVERCOMMIT,
        f"{name} would gain capacity outside a plan",
        remedy="Keep or give up what it holds; a plan places the rest",
    )


def lease_ended(name: ClaimName) -> Fault:
    """Somebody else has the claim's lease, or nobody."""
    return Fault(
        FaultReason.LEASE_ENDED,
        f"The lease of {name} has ended",
        remedy="Stop using its devices, then read the claim",
    )


def lease_handover(name: ClaimName) -> Fault:
    """Whoever had the devices before may not have stopped yet, or the pool lost some and no plan has dealt with it."""
    return Fault(
        FaultReason.LEASE_HANDOVER,
        f"Devices of {name} may still be in use by others, or are about to be lost",
        remedy="Send the same request again in a moment",
    )


def overcommit(where: Shortfall) -> Fault:
    """A plan would lend more than there is."""
    return Fault(
        FaultReason.OVERCOMMIT,
        f"{where.account} would lend {where.devices} devices more than it may in slots "
        f"{where.window.first} to {where.window.end}",
        remedy="Take a new snapshot and plan again",
        facts={
            "account": where.account,
            "first_slot": str(where.window.first),
            "excess_devices": str(where.devices),
        },
    )


def fenced(held: Fence, present: Fence) -> Fault:
    """Another planner has the right to commit."""
    return Fault(
        FaultReason.FENCED,
        f"epoch {held.epoch} of incarnation {held.incarnation} no longer rules",
        remedy="Drop this plan and take the planner's lease again",
        facts={"present_incarnation": present.incarnation, "present_epoch": str(present.epoch)},
    )


def fleet_changed(*, held: int | str, present: int) -> Fault:
    """Another fleet is in force than the caller knows."""
    return Fault(
        FaultReason.ETAG_MISMATCH,
        "The fleet has changed since it was read",
        remedy="Read it again, and repeat the change on what it is now.",
        field="etag",
        facts={"held_revision": str(held), "present_revision": str(present)},
    )


def request_id_reused(key: RequestKey) -> Fault:
    """The id belongs to another mutation of the same scope."""
    return Fault(
        FaultReason.REQUEST_ID_REUSED,
        f"request id {key.request_id} was used for another request",
        remedy="Use a new request id for a new request, and the same body when repeating one",
        field="request_id",
    )


def compacted(after: int, oldest: int) -> Fault:
    """Events after ``after`` are no longer kept."""
    return Fault(
        FaultReason.COMPACTED,
        f"events after revision {after} are no longer kept",
        remedy="List again and watch from the revision of the list",
        facts={"oldest_revision": str(oldest)},
    )


def revision_ahead(after: int, present: int) -> Fault:
    """The caller claims to have seen what has not happened."""
    return Fault(
        FaultReason.REVISION_AHEAD,
        f"revision {after} lies beyond the present one, {present}",
        remedy="Check that this is the market the revision came from; list again",
        facts={"present_revision": str(present)},
    )


def hold_limit(most: int) -> Fault:
    """A tenant keeps capacity aside for enough quotes."""
    return Fault(
        FaultReason.HOLD_LIMIT,
        f"The tenant holds capacity for {most} quotes already",
        remedy="Redeem or cancel one, or wait until one lapses.",
    )


def offer_gone() -> Fault:
    """Nothing of what was offered is free any more."""
    return Fault(FaultReason.OFFER_GONE, "The capacity is no longer free", remedy="Ask for a fresh quote")


def plan_not_found(revision: int | None) -> Fault:
    """No such plan, or no longer kept."""
    return Fault(
        FaultReason.PLAN_NOT_FOUND,
        "there is no plan yet" if revision is None else f"there is no plan of revision {revision}",
        remedy="Ask for a plan" if revision is None else "Ask for the latest plan; the last hundred are kept",
    )


def etag_mismatch() -> Fault:
    """The caller names another version of the claim."""
    return Fault(
        FaultReason.ETAG_MISMATCH, "The claim has changed since it was read", remedy="Read it again and retry."
    )
