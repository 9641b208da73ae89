"""The JSON Schema of a fleet file, from the API's own messages and comments."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet

__all__ = ["fleet_schema"]

Schema = dict[str, object]

WHEN: Schema = {
    "type": "string",
    "description": "An RFC 3339 moment such as 2027-01-01T00:00:00Z, or days from today such as +21d.",
    "pattern": r"^(\+\d+d|\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2}))$",
}
ID: Schema = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
MESSAGE = FieldDescriptorProto.TYPE_MESSAGE
# What the server refuses to do without.
REQUIRED = {
    "Silicon": ["id"],
    "WorkloadClass": ["id", "speeds"],
    "SiliconSpeed": ["silicon", "speed_percent"],
    "Pool": ["id", "kind", "silicon", "domain_devices", "deliveries"],
    "Delivery": ["devices"],
    "Maintenance": ["start_time", "end_time", "devices"],
    "Contract": ["id", "pool", "committed"],
    "CommittedLevel": ["devices"],
    "Tenant": ["id"],
    "Insurance": ["id", "loss"],
    "Fleet": ["silicon", "workload_classes", "pools", "tenants"],
}


def fleet_schema(files: FileDescriptorSet) -> Schema:
    """Schema of the YAML or JSON form of message ``Fleet``; ``files`` holds source comments.

    Field names are those of the proto; enum values lose their prefix, times may be relative to today.
    """
    file = next(f for f in files.file if f.name.endswith("/fleet.proto"))
    comments = {tuple(place.path): " ".join(place.leading_comments.split()) for place in file.source_code_info.location}
    enums = {enum.name: enum for enum in file.enum_type}
    definitions: Schema = {}
    for index, message in enumerate(file.message_type):
        if message.name in REQUIRED:
            definitions[message.name] = _message(message, (4, index), comments, enums)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Fleet of a capacity broker",
        "$ref": "#/$defs/Fleet",
        "$defs": definitions,
    }


def _message(
    message: DescriptorProto,
    path: tuple[int, ...],
    comments: dict[tuple[int, ...], str],
    enums: dict[str, EnumDescriptorProto],
) -> Schema:
    properties: Schema = {}
    for index, field in enumerate(message.field):
        one = _field(field, enums)
        described = {"description": comments.get((*path, 2, index), "")}
        repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
        properties[field.name] = described | ({"type": "array", "items": one} if repeated else one)
    return {
        "type": "object",
        "description": comments.get(path, ""),
        "properties": properties,
        "required": REQUIRED[message.name],
        "additionalProperties": False,
    }


def _field(field: FieldDescriptorProto, enums: dict[str, EnumDescriptorProto]) -> Schema:
    kind = field.type_name.rsplit(".", 1)[-1]
    if kind == "Timestamp":
        return WHEN
    if field.type == MESSAGE:
        return {"$ref": f"#/$defs/{kind}"}
    if kind in enums:
        names = [value.name for value in enums[kind].value]
        prefix = names[0].removesuffix("UNSPECIFIED")
        return {"enum": [name.removeprefix(prefix) for name in names[1:]]}
    if field.name in ("id", "silicon", "pool"):
        return ID
    return {"type": "string"} if field.type == FieldDescriptorProto.TYPE_STRING else {"type": "integer"}
