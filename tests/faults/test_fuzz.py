"""Mutated messages for a few seconds: the long versions are ``python -m bench.fuzz`` and ``… --decode``."""

from __future__ import annotations

from pathlib import Path

from bench.fuzz import decode, live
from bench.mutate import METHODS, sent
from bench.served import broker
from tests.faults.catalogue import fault

MESSAGES = 600
GROWTH_MAX = 32 << 20


def test_the_same_seed_is_the_same_sequence() -> None:
    first = [sent(7, number) for number in range(300)]
    assert first[200:] == [sent(7, number) for number in range(200, 300)]
    assert first != [sent(8, number) for number in range(300)]
    assert len({one.method for one in first}) >= len(METHODS) - 2


@fault("B", injected="mutated messages to decoding and validation", expected="a stable reason, or nothing wrong")
def test_decoding_and_validation_refuse_by_name(seed: int) -> None:
    found = decode(seed=seed, seconds=2.0)
    found.show()
    assert not found.wrong
    assert found.reasons["MALFORMED_MESSAGE"]
    assert found.reasons[""]


@fault("B", injected="mutated messages to a live server", expected="no INTERNAL, no UNKNOWN, memory flat")
def test_a_live_server_answers_everything(tmp_path: Path, seed: int) -> None:
    with broker(tmp_path) as (address, pid):
        live(address, pid, seed=seed + 1, messages=200)
        found = live(address, pid, seed=seed, messages=MESSAGES)
    found.show()
    assert not found.wrong
    assert found.codes.total() == MESSAGES
    assert found.growth < GROWTH_MAX
