"""Every refusal as a typed exception: what is wrong, its stable reason, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from capacitybroker._status import LATE_KEY, STATUS_KEY, Details, Violation, details

__all__ = [
    "OVERLOADED",
    "Aborted",
    "AlreadyExists",
    "BrokerError",
    "Cancelled",
    "Compacted",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "error_of",
    "overloaded",
    "passing",
]

OVERLOADED = "OVERLOADED"  # the reason of a broker that has more to do than it can


class BrokerError(Exception):
    """The broker refused a call, or could not be asked.

    ``reason`` is a stable name such as ``CLAIM_NOT_FOUND``, empty when no broker answered; ``remedy`` says what to do
    next, ``field`` which part of the request is at fault, ``facts`` the names and numbers behind it.
    """

    def __init__(self, message: str, *, remedy: str = "", found: Details | None = None) -> None:
        found = found or Details()
        self.reason = found.reason
        self.remedy = remedy or found.facts.get("remedy", "")
        self.facts: Mapping[str, str] = {key: value for key, value in found.facts.items() if key != "remedy"}
        self.violations: tuple[Violation, ...] = found.fields + found.quotas
        self.field = found.fields[0].subject if found.fields else ""
        self.retry_after_seconds = found.retry_after_seconds
        # Servers may repeat the remedy at the end of the text; here it is said once, beside it.
        self.message = message.removesuffix(self.remedy).rstrip(" .") if self.remedy else message.rstrip(" .")
        super().__init__(f"{self.message}. {self.remedy}".rstrip() if self.remedy else self.message)


class InvalidArgument(BrokerError):
    """The request itself is wrong, whatever the state of the broker."""


class NotFound(BrokerError):
    """There is no such thing."""


class AlreadyExists(BrokerError):
    """There is one already."""


class FailedPrecondition(BrokerError):
    """The request is well formed, but the state of the market forbids it."""


class Aborted(BrokerError):
    """Somebody else changed the same thing; read it again and decide anew."""


class OutOfRange(BrokerError):
    """Beyond what is kept, or not there yet."""


class Compacted(OutOfRange):
    """The revision to watch from is no longer kept: list the claims again and watch from that revision."""


class ResourceExhausted(BrokerError):
    """A limit was reached."""


class Unavailable(BrokerError):
    """No answer for now; of a mutation, the outcome is unknown until it is repeated with the same request id."""


class DeadlineExceeded(BrokerError):
    """No answer in time; of a mutation, the outcome is unknown until it is repeated with the same request id."""


class Cancelled(BrokerError):
    """The call was given up, on this side or by a server that ends; of a mutation, the outcome is unknown."""


class PermissionDenied(BrokerError):
    """The caller may not do this."""


class Unauthenticated(BrokerError):
    """The broker does not know who calls."""


class Unimplemented(BrokerError):
    """The broker at this address does not know the call."""


class Internal(BrokerError):
    """A fault of the broker or of the network, which no caller can mend."""


KINDS: Mapping[grpc.StatusCode, type[BrokerError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
}


def passing(error: BrokerError) -> bool:
    """Whether asking again may help: no broker answers for now, or a server that ended cut the call short."""
    cut = isinstance(error, Cancelled) and "closed" not in error.message
    return isinstance(error, Unavailable) or cut


def error_of(error: grpc.RpcError, *, address: str) -> BrokerError:
    """The typed form of what gRPC raised for a call to ``address``."""
    if not isinstance(error, grpc.Call):
        return Internal(str(error))
    code = error.code()
    found = _details(error)
    if found.reason == "COMPACTED":
        return Compacted(error.details() or "", found=found)
    if not found.reason and code is grpc.StatusCode.UNAVAILABLE:
        message, remedy = (
            f"no broker answers at {address}",
            "Is it running (broker serve), and is BROKER_ADDRESS right?",
        )
    elif not found.reason and code is grpc.StatusCode.DEADLINE_EXCEEDED:
        message, remedy = f"no answer from {address} in time", "Ask again, with more time."
    else:
        message, remedy = error.details() or code.name, ""
    return KINDS.get(code, Internal)(message, remedy=remedy, found=found)


def _details(error: grpc.Call) -> Details:
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            return details(value)
    return Details()


def late_seconds(call: grpc.Call) -> float:
    """How late the broker says an answer is because of what its tenant asks for."""
    return sum(int(value) for key, value in call.trailing_metadata() or () if key == LATE_KEY) / 1000


def overloaded(error: BrokerError) -> bool:
    """Whether the broker is there, and will have time for the same request later."""
    return isinstance(error, ResourceExhausted) and error.reason == OVERLOADED
