"""Failpoints do what they say, once, where they say, and nowhere unless a developer allowed it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from broker import failpoints
from broker.settings import failpoints_of


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_a_point_acts_once_the_nth_time_with_its_detail() -> None:
    failpoints.arm("after-script-reply/submit#2=raise")
    for detail in ("head", "submit", "head"):
        failpoints.reach("after-script-reply", detail)
    failpoints.reach("before-script-send", "submit")
    with pytest.raises(failpoints.FailpointRaised):
        failpoints.reach("after-script-reply", "submit")
    failpoints.reach("after-script-reply", "submit")


def test_without_a_detail_it_acts_with_any() -> None:
    failpoints.arm("before-reply=raise")
    with pytest.raises(failpoints.FailpointRaised):
        failpoints.reach("before-reply", "GetClaim")


def test_sleep_stalls_for_as_long_as_it_says() -> None:
    failpoints.arm("before-plan-commit=sleep:0.05")
    begun = time.monotonic()
    failpoints.reach("before-plan-commit")
    assert time.monotonic() - begun >= 0.05


def test_nothing_is_armed_by_itself() -> None:
    assert not any(map(failpoints.armed, failpoints.POINTS))
    assert failpoints.told() == ""


@pytest.mark.parametrize("text", ["before-reply", "before-reply=", "before-reply=explode", "nowhere=kill", "=kill"])
def test_what_is_no_failpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no failpoint"):
        failpoints.parse(text)


def test_only_a_developer_may_set_any() -> None:
    assert failpoints_of({}) == ""
    assert failpoints_of({"BROKER_FAILPOINTS": "", "BROKER_DEVELOPER": ""}) == ""
    with pytest.raises(ValueError, match="BROKER_DEVELOPER=1"):
        failpoints_of({"BROKER_FAILPOINTS": "before-reply=kill"})
    armed = {"BROKER_FAILPOINTS": "before-reply=kill", "BROKER_DEVELOPER": "1"}
    assert failpoints_of(armed) == "before-reply=kill"
