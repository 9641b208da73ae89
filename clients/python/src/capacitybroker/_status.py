"""Reads the standard error details that the broker sends, without the package that usually declares them.

The few messages of ``google.rpc`` that matter are declared here in a private descriptor pool, under names of our own:
only field numbers travel on the wire, and nothing can clash with another copy of the real ones in the same process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

__all__ = ["LATE_KEY", "STATUS_KEY", "Details", "Violation", "details"]

STATUS_KEY, LATE_KEY = "grpc-status-details-bin", "capacitybroker-late-ms"
PACKAGE = "capacitybroker.private"

# Message: its fields as (name, number, type); a type is a scalar of protobuf or a message below, "*" marks many.
MESSAGES: Mapping[str, tuple[tuple[str, int, str], ...]] = {
    "Any": (("type_url", 1, "string"), ("value", 2, "bytes")),
    "Status": (("code", 1, "int32"), ("message", 2, "string"), ("details", 3, "*Any")),
    "Pair": (("key", 1, "string"), ("value", 2, "string")),
    "ErrorInfo": (("reason", 1, "string"), ("domain", 2, "string"), ("metadata", 3, "*Pair")),
    "FieldViolation": (("field", 1, "string"), ("description", 2, "string")),
    "BadRequest": (("field_violations", 1, "*FieldViolation"),),
    "QuotaViolation": (("subject", 1, "string"), ("description", 2, "string")),
    "QuotaFailure": (("violations", 1, "*QuotaViolation"),),
    "Delay": (("seconds", 1, "int64"), ("nanos", 2, "int32")),
    "RetryInfo": (("retry_delay", 1, "Delay"),),
}
SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of the request, or with one subject of a quota."""

    subject: str
    description: str


@dataclass(frozen=True, slots=True)
class Details:
    """What an error says beside its code and its text; empty where the server said nothing."""

    reason: str = ""
    domain: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[Violation, ...] = ()
    quotas: tuple[Violation, ...] = ()
    retry_after_seconds: float | None = None


def _messages() -> dict[str, Any]:
    """One class for each of MESSAGES; ``Any``, because their fields exist at run time only."""
    file = FileDescriptorProto(name="capacitybroker/private.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for title, number, declared in fields:
            many, kind = declared.startswith("*"), declared.lstrip("*")
            label = FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL
            added = message.field.add(name=title, number=number, label=label)
            if kind in SCALARS:
                added.type = SCALARS[kind]
            else:
                added.type = FieldDescriptorProto.TYPE_MESSAGE
                added.type_name = f".{PACKAGE}.{kind}"
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())  # type: ignore[no-untyped-call]
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))  # type: ignore[no-untyped-call]
        for name in MESSAGES
    }


_CLASSES = _messages()


def details(status: bytes) -> Details:
    """What a serialised ``google.rpc.Status`` says; bytes that are none say nothing."""
    try:
        found = dict(_unpacked(status))
    except DecodeError:
        return Details()
    info, bad, quota, retry = (found.get(k) for k in ("ErrorInfo", "BadRequest", "QuotaFailure", "RetryInfo"))
    return Details(
        reason=info.reason if info else "",
        domain=info.domain if info else "",
        facts={pair.key: pair.value for pair in info.metadata} if info else {},
        fields=tuple(Violation(v.field, v.description) for v in bad.field_violations) if bad else (),
        quotas=tuple(Violation(v.subject, v.description) for v in quota.violations) if quota else (),
        retry_after_seconds=retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if retry else None,
    )


def _unpacked(status: bytes) -> Iterator[tuple[str, Any]]:
    """Each known detail by its short name; unknown ones are for newer clients."""
    for packed in _CLASSES["Status"].FromString(status).details:
        name = packed.type_url.rpartition("google.rpc.")[2]
        if name in MESSAGES:
            yield name, _CLASSES[name].FromString(packed.value)
