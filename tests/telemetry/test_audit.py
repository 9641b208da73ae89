"""The record of changes: whole, in order, and not to be changed without its being seen."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from broker.telemetry.audit import Audit
from broker.telemetry.verify import Found, has_record, verified


def audit(directory: Path, slot: str = "server-1") -> Audit:
    return Audit(directory, slot, lambda: 1_700_000_000_000)


def change(record: Audit, number: int, target: str = "tenants/atlas/claims/one") -> None:
    record.record("atlas", "CreateClaim", target, f"r-{number}", "OK", number, "ipv4:127.0.0.1:5")


def written(directory: Path, changes: int = 5) -> Path:
    """A closed file of so many changes."""
    record = audit(directory)
    for number in range(1, changes + 1):
        change(record, number)
    record.close()
    (path,) = directory.glob("*.audit")
    return path


def told(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line.partition(b" ")[2]) for line in path.read_bytes().splitlines()]


def wrong(directory: Path) -> list[Found]:
    return [file for file in verified(directory) if file.wrong]


def test_a_change_says_who_what_which_and_whence(tmp_path: Path) -> None:
    opened, first, *_, closed = told(written(tmp_path))
    assert opened["opened"] == "server-1-000001.audit"
    assert first == {
        "at": 1_700_000_000_000,
        "who": "atlas",
        "method": "CreateClaim",
        "target": "tenants/atlas/claims/one",
        "request": "r-1",
        "outcome": "OK",
        "revision": 1,
        "peer": "ipv4:127.0.0.1:5",
    }
    assert closed["closed"] is True
    (found,) = verified(tmp_path)
    assert (found.records, found.closed, found.wrong) == (7, True, "")


def flip(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"r-2", b"r-9"), *lines[3:]]


def flip_last(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1].replace(b"true", b"null")]


def delete(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], *lines[3:]]


def delete_first(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def reorder(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def repeat(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[2], *lines[3:]]


@pytest.mark.parametrize("tamper", [flip, flip_last, delete, delete_first, reorder, repeat])
def test_a_record_that_was_changed_is_seen(tmp_path: Path, tamper: Callable[[list[bytes]], list[bytes]]) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(tamper(lines)) + b"\n")
    assert wrong(tmp_path)


def test_every_bit_counts(tmp_path: Path) -> None:
    path = written(tmp_path, changes=2)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert wrong(tmp_path), at


def test_an_end_that_was_cut_off_is_seen_by_the_next_file_by_a_head_that_was_told_and_by_the_missing_last_line(
    tmp_path: Path,
) -> None:
    path = written(tmp_path)
    (whole,) = verified(tmp_path)
    assert has_record(tmp_path, whole.head)
    audit(tmp_path).close()
    assert not wrong(tmp_path)
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:-2]) + b"\n")
    assert [file.path.name for file in wrong(tmp_path)] == ["server-1-000002.audit"]
    assert not has_record(tmp_path, whole.head)
    assert not verified(tmp_path)[0].closed


def test_a_missing_file_is_seen(tmp_path: Path) -> None:
    first = written(tmp_path)
    audit(tmp_path).close()
    audit(tmp_path, slot="server-2").close()
    assert not wrong(tmp_path)
    first.unlink()
    assert [file.path.name for file in wrong(tmp_path)] == ["server-1-000002.audit"]


def test_what_a_caller_names_forges_no_record_and_fills_no_disk(tmp_path: Path) -> None:
    record = audit(tmp_path)
    change(record, 1, target='x"}\n{"who":"root"}\r\x1b[2J\u2028' + "y" * 10_000)
    record.close()
    (path,) = tmp_path.glob("*.audit")
    assert len(told(path)) == 3
    assert path.stat().st_size < 1_500
    assert not wrong(tmp_path)


def test_refusals_for_want_of_time_are_told_in_sums(tmp_path: Path) -> None:
    record = audit(tmp_path)
    for _ in range(1_000):
        record.shed("atlas", "CreateClaim")
    record.shed("borealis", "GetClaim")
    record.tick()
    record.tick()
    record.close()
    (path,) = tmp_path.glob("*.audit")
    sums = [(one["who"], one["method"], one["count"]) for one in told(path) if one.get("outcome") == "OVERLOADED"]
    assert sums == [("atlas", "CreateClaim", 1_000), ("borealis", "GetClaim", 1)]


def test_a_full_disk_costs_records_and_they_are_counted(tmp_path: Path) -> None:
    record = audit(tmp_path)
    change(record, 1)
    path = next(tmp_path.glob("*.audit"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))  # room for half a record
    try:
        change(record, 2)
        change(record, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert record.lost == 2
    change(record, 4)
    record.close()
    *_, after, _closed = told(path)
    assert (after["request"], after["lost_before"]) == ("r-4", 2)
    assert not wrong(tmp_path)


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    assert written(tmp_path).stat().st_mode & 0o777 == 0o600
