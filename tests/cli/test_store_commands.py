"""doctor, verify, export, restore and accept, as an operator runs them."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from broker.ledger.redis.embedded import EmbeddedStore
from broker.ledger.redis.library import library
from broker.witness import Witness
from tests.ledger.ledgers import Desk, open_redis

BROKER = Path(sys.executable).parent / "broker"
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BROKER), *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


def fill(url: str) -> None:
    async def filled() -> None:
        ledger = await open_redis(url, "main")
        desk = Desk(ledger)
        await desk.open_pools()
        for n in range(5):
            await desk.submit(f"atlas/run-{n}")
        await ledger.close()

    asyncio.run(filled())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore.start(tmp_path / "data") as running:
        fill(running.url)
        yield running


def test_a_sound_store_is_told_to_be_sound(store: EmbeddedStore) -> None:
    done = run("doctor", "--redis-url", store.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is wrong" in done.stdout
    assert "revision 6, 5 live claims" in done.stdout


@pytest.mark.parametrize(
    ("setting", "value"), [("appendfsync", "everysec"), ("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")]
)
def test_what_is_wrong_comes_with_what_to_do(store: EmbeddedStore, setting: str, value: str) -> None:
    with Redis.from_url(store.url) as client:
        client.config_set(setting, value)
    done = run("doctor", "--redis-url", store.url)
    assert done.returncode == 1
    assert re.search(rf"wrong +{setting} +{value}.*\n.*CONFIG SET {setting}", done.stdout), done.stdout
    relaxed = run("doctor", "--redis-url", store.url, "--relaxed")
    assert relaxed.returncode == 0, relaxed.stdout


def test_functions_that_are_not_ours_are_told_once(store: EmbeddedStore) -> None:
    with Redis.from_url(store.url) as client:
        client.function_load(library().code + "-- edited", replace=True)
    told = run("doctor", "--redis-url", store.url)
    assert (told.returncode, "wrong    functions" in told.stdout) == (1, True)
    assert run("doctor", "--redis-url", store.url).returncode == 0


def test_a_store_that_is_away_or_empty_or_full_is_told(store: EmbeddedStore, tmp_path: Path) -> None:
    assert "wrong    store" in run("doctor", "--redis-url", "redis://127.0.0.1:1").stdout
    assert "wrong    market" in run("doctor", "--redis-url", store.url, "--market", "other").stdout
    nowhere = run("doctor", "--data-dir", tmp_path / "nowhere")
    assert (nowhere.returncode, "there is no store in" in nowhere.stderr) == (1, True)
    assert not (tmp_path / "nowhere").exists()
    with Redis.from_url(store.url) as client:
        client.config_set("maxmemory", 1)
    assert "wrong    memory" in run("doctor", "--redis-url", store.url).stdout


def test_a_copy_restored_elsewhere_is_the_same_market(store: EmbeddedStore, tmp_path: Path) -> None:
    before = run("verify", "--data-dir", tmp_path / "data")
    assert before.returncode == 0, before.stderr
    copied = run("export", tmp_path / "copy.gz", "--data-dir", tmp_path / "data")
    restored = run("restore", tmp_path / "copy.gz", "--data-dir", tmp_path / "new")
    after = run("verify", "--data-dir", tmp_path / "new")
    told = [set(DIGEST.findall(done.stdout)) for done in (before, copied, restored, after)]
    assert len(told[0]) == 1
    assert told == [told[0]] * 4
    again = run("restore", tmp_path / "copy.gz", "--data-dir", tmp_path / "new")
    assert (again.returncode, "SAFE_HALT" in again.stderr) == (1, True)
    assert oct((tmp_path / "copy.gz").stat().st_mode)[-3:] == "600"
    with EmbeddedStore.start(tmp_path / "new") as new:
        assert not new.fresh


def test_an_edited_market_is_told_and_can_be_accepted(store: EmbeddedStore, tmp_path: Path) -> None:
    with Redis.from_url(store.url) as client:
        client.hdel("cb:{main}:live", "atlas/run-1")
        client.hset("cb:{main}:meta", "halted", "claim atlas/run-1 is gone")
    told = run("verify", "--redis-url", store.url)
    assert (told.returncode, "claim atlas/run-1 is gone" in told.stderr) == (1, True)
    assert "wrong    halted" in run("doctor", "--redis-url", store.url).stdout
    witness = Witness(tmp_path, "main")
    witness.note("first", 9)
    done = run("accept", "--redis-url", store.url, "--data-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not witness.file.exists()
    found = run("doctor", "--redis-url", store.url)
    assert "halted" not in found.stdout
    assert "no new leases for 350" in found.stdout


def test_a_file_that_is_no_copy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("nothing\n")
    done = run("restore", tmp_path / "copy", "--data-dir", tmp_path / "new")
    assert (done.returncode, "no whole copy" in done.stderr) == (1, True)
    gone = run("restore", tmp_path / "gone", "--data-dir", tmp_path / "new")
    assert (gone.returncode, "gone" in gone.stderr) == (1, True)
