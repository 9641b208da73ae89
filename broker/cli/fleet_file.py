"""Reads a fleet from YAML: the JSON form of the Fleet message, a little easier to write.

Enum values need no prefix (``INTERNAL``), and a time may be days from today, 00:00 UTC (``+21d``).
``fleet.schema.json`` is the published form; every error says where in the file it is.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from capacitybroker import Fleet

from broker.cli.moments import midnight

__all__ = ["FleetFileError", "default_fleet_text", "fleet_from_file", "fleet_from_text"]

PREFIXES = {"kind": "POOL_KIND_", "loss": "LOSS_KIND_"}  # of enum values, by field


class FleetFileError(Exception):
    """The file holds no fleet; one line for each thing that is wrong."""


def default_fleet_text() -> str:
    """The fleet that comes with the broker, as YAML."""
    return files("broker.cli").joinpath("default_fleet.yaml").read_text(encoding="utf-8")


def fleet_from_file(path: Path, *, today: dt.datetime) -> Fleet:
    """The fleet in a file; `FleetFileError` when there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FleetFileError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FleetFileError(f"{path}: cannot be read: it is not UTF-8 text") from None
    try:
        return fleet_from_text(text, today=today)
    except FleetFileError as error:
        raise FleetFileError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def fleet_from_text(text: str, *, today: dt.datetime) -> Fleet:
    """The fleet in a text; days count from midnight of ``today``."""
    import yaml
    from google.protobuf.json_format import ParseDict, ParseError

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FleetFileError(f"not YAML: {' '.join(str(error).split())}") from None
    if found is None:
        raise FleetFileError("the file is empty")
    if not isinstance(found, dict):
        raise FleetFileError("the file is no fleet: at its top stand silicon, workload_classes, pools and tenants")
    found = _plain(found)
    problems = [*_schema_problems(found)]
    if problems:
        raise FleetFileError("\n".join(problems))
    try:
        return ParseDict(_message_form(found, midnight(today)), Fleet())
    except ParseError as error:
        raise FleetFileError(f"not a fleet: {error}") from None


def _schema_problems(found: Any) -> Iterable[str]:
    from jsonschema import Draft202012Validator

    schema = json.loads(files("broker.cli").joinpath("fleet.schema.json").read_text(encoding="utf-8"))
    for error in sorted(Draft202012Validator(schema).iter_errors(found), key=lambda error: list(map(str, error.path))):
        where = _where(error.absolute_path)
        if error.validator == "pattern":
            meaning = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
            yield f"{where}: {error.instance!r} does not fit. {meaning}".rstrip()
        else:
            yield f"{where}: {error.message}"


def _where(path: Iterable[str | int]) -> str:
    """``pools[2].deliveries[0].devices``."""
    out = ""
    for step in path:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
    return out or "the file"


def _plain(value: Any) -> Any:
    """YAML reads an unquoted moment as a time; the schema and the message know text only."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dt.datetime):
        utc = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return utc.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dt.date):
        return f"{value.isoformat()}T00:00:00Z"
    return value


def _message_form(value: Any, day: dt.datetime, key: str = "") -> Any:
    """The same fleet with full enum names and absolute times."""
    if isinstance(value, dict):
        return {name: _message_form(item, day, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_message_form(item, day) for item in value]
    if key in PREFIXES:
        return PREFIXES[key] + value
    if key.endswith("_time") and value.startswith("+"):
        return (day + timedelta(days=int(value[1:-1]))).isoformat().replace("+00:00", "Z")
    return value
