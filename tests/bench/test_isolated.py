from __future__ import annotations

import time

import pytest

from bench.isolated import isolated, peak_mib
from tests.bench.strays import adds, dies, never_ends, raises


def test_a_result_comes_with_what_was_posted_and_with_its_own_peak_of_memory() -> None:
    ended = isolated(adds, 2, 3, seconds=10)
    assert (ended.result, ended.posted, ended.trouble) == (5, ("half way",), "")
    assert 0 < ended.peak_mib < peak_mib() + 200


def test_what_overruns_is_killed_and_what_it_posted_stays() -> None:
    began = time.perf_counter()
    ended = isolated(never_ends, seconds=0.2)
    assert (ended.result, ended.posted, ended.trouble) == (None, ("what it had",), "killed")
    assert ended.peak_mib > 0
    assert ended.seconds == pytest.approx(0.2, abs=0.5)
    assert time.perf_counter() - began < 10


def test_what_dies_says_how_and_what_it_posted_stays() -> None:
    ended = isolated(dies, seconds=10)
    assert (ended.result, ended.posted, ended.trouble) == (None, ("what it had",), "died with exit code 7")


def test_what_raises_is_told() -> None:
    ended = isolated(raises, seconds=10)
    assert ended.result is None
    assert "ValueError: no good" in ended.trouble
