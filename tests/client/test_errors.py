"""Every status code has its exception, and an exception says all that the server said."""

from __future__ import annotations

import capacitybroker
import grpc
import pytest
from capacitybroker import BrokerError, Client, Compacted, InvalidArgument, OutOfRange
from google.rpc.error_details_pb2 import BadRequest, DebugInfo, QuotaFailure

from tests.client.broker_double import Script, Step, refuse, serving


def raised_by(step: Step) -> BrokerError:
    with serving(Script(GetClaim=[step])) as address, Client(address, timeout=2.0) as client:
        with pytest.raises(BrokerError) as raised:
            client.get_claim("lab/one")
        return raised.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "InvalidArgument"),
        (grpc.StatusCode.NOT_FOUND, "NotFound"),
        (grpc.StatusCode.ALREADY_EXISTS, "AlreadyExists"),
        (grpc.StatusCode.FAILED_PRECONDITION, "FailedPrecondition"),
        (grpc.StatusCode.ABORTED, "Aborted"),
        (grpc.StatusCode.OUT_OF_RANGE, "OutOfRange"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "ResourceExhausted"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (grpc.StatusCode.CANCELLED, "Cancelled"),
        (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied"),
        (grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated"),
        (grpc.StatusCode.UNIMPLEMENTED, "Unimplemented"),
        (grpc.StatusCode.INTERNAL, "Internal"),
        (grpc.StatusCode.UNKNOWN, "Internal"),
        (grpc.StatusCode.DATA_LOSS, "Internal"),
    ],
)
def test_each_code_has_its_exception(code: grpc.StatusCode, kind: str) -> None:
    error = raised_by(refuse(code, "SOME_REASON"))
    assert type(error).__name__ == kind
    assert isinstance(error, getattr(capacitybroker, kind))
    assert error.reason == "SOME_REASON"


def test_reason_remedy_field_and_facts() -> None:
    wrong = BadRequest(field_violations=[BadRequest.FieldViolation(field="claim.devices", description="must be > 0")])
    error = raised_by(
        refuse(
            grpc.StatusCode.INVALID_ARGUMENT,
            "QUANTITY_REQUIRED",
            "devices is missing. Say how many.",
            wrong,
            remedy="Say how many.",
            least="1",
        )
    )
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.remedy, error.field) == ("QUANTITY_REQUIRED", "Say how many.", "claim.devices")
    assert error.facts == {"least": "1"}
    assert error.message == "devices is missing"
    assert str(error) == "devices is missing. Say how many."


def test_quota_violations_are_kept_and_unknown_details_ignored() -> None:
    quota = QuotaFailure(violations=[QuotaFailure.Violation(subject="tenants/lab", description="64 of 64 devices")])
    error = raised_by(refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCH_LIMIT", "no", DebugInfo(detail="x"), quota))
    assert [(v.subject, v.description) for v in error.violations] == [("tenants/lab", "64 of 64 devices")]
    assert error.field == ""


def test_compacted_is_an_out_of_range_of_its_own() -> None:
    error = raised_by(refuse(grpc.StatusCode.OUT_OF_RANGE, "COMPACTED", "gone", oldest_revision="40"))
    assert isinstance(error, Compacted)
    assert isinstance(error, OutOfRange)
    assert error.facts == {"oldest_revision": "40"}


def test_an_error_of_a_stranger_is_still_typed() -> None:
    def strange(_request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff not a status"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")

    error = raised_by(strange)
    assert (type(error).__name__, error.message, error.reason) == ("NotFound", "nothing here", "")


def test_the_public_face_is_exactly_all() -> None:
    public = {n for n in vars(capacitybroker) if not n.startswith("_") and n != "v1"}
    assert public == set(capacitybroker.__all__)
