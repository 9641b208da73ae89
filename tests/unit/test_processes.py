"""Children that die are started again, with patience that they can win back; none outlives its parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

import pytest

from broker.processes import Children, StartFailed, die_with_parent

PATIENCE_SECONDS = 30.0
SPAWN = get_context("spawn")


def until_ended(ready: Callable[[], None]) -> None:
    """A body that works until SIGTERM."""
    ready()
    signal.pause()


def die(_ready: Callable[[], None]) -> None:
    """A body that ends before it can do anything."""
    os._exit(3)


def live_with(parent: int) -> None:
    """Whether this process takes ``parent`` for its own is told by its exit status."""
    die_with_parent(parent)
    os._exit(0)


def within_patience(condition: Callable[[], bool]) -> Callable[[], bool]:
    """The condition, which fails the test when it takes too long."""
    end = monotonic() + PATIENCE_SECONDS

    def met() -> bool:
        assert monotonic() < end, "it did not happen in time"
        return condition()

    return met


def until(condition: Callable[[], bool]) -> None:
    met = within_patience(condition)
    while not met():
        threading.Event().wait(0.005)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_killed_child_is_replaced_and_all_stop_when_told() -> None:
    children = Children()
    children.start("one", until_ended)
    children.start("two", until_ended)
    children.wait_ready(PATIENCE_SECONDS)
    before = children.pids
    os.kill(before["one"], signal.SIGKILL)
    children.watch(within_patience(lambda: children.pids["one"] != before["one"]), tick_seconds=0.01)
    assert children.pids["two"] == before["two"]
    children.stop()
    assert not any(alive(pid) for pid in (*before.values(), *children.pids.values()))


def test_who_is_ready_is_known_also_after_a_restart_and_who_died_is_told() -> None:
    died: list[str] = []
    children = Children(died=died.append)
    children.start("one", until_ended)
    children.start("two", until_ended, again=die)
    children.wait_ready(PATIENCE_SECONDS)
    assert children.up == ("one", "two")
    before = children.pids
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: children.up == ())
    children.watch(within_patience(lambda: children.pids["one"] != before["one"] and children.up == ("one",)))
    children.watch(within_patience(lambda: died.count("two") >= 2))
    assert died.count("one") == 1
    assert "two" not in children.up, "what is started again is another body, which never says that it is ready"
    children.stop()


def test_a_child_that_ends_before_it_is_ready_is_told_by_name() -> None:
    children = Children()
    children.start("weak", die)
    with pytest.raises(StartFailed, match="weak ended before it was ready"):
        children.wait_ready(PATIENCE_SECONDS)
    children.stop()


@pytest.mark.parametrize(("steady_seconds", "pauses"), [(3600.0, ["0.2", "0.4"]), (0.0, ["0.2", "0.2"])])
def test_a_child_that_lived_long_enough_is_restarted_without_more_patience(
    steady_seconds: float, pauses: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [record.getMessage().split()[-2] for record in caplog.records]

    children = Children(steady_seconds=steady_seconds)
    with caplog.at_level(logging.ERROR, logger="broker.processes"):
        children.start("weak", die)
        children.watch(within_patience(lambda: len(told()) >= len(pauses)), tick_seconds=0.01)
    children.stop()
    assert told() == pauses


@pytest.mark.parametrize(("parent", "status"), [(os.getpid(), 0), (1, 1)], ids=["its own", "another"])
def test_a_process_knows_its_parent_by_its_id(parent: int, status: int) -> None:
    """Also a parent that is process 1, as in a container: 1 means nothing by itself."""
    process = SPAWN.Process(target=live_with, args=(parent,))
    process.start()
    process.join(PATIENCE_SECONDS)
    assert process.exitcode == status


PARENT = """\
from broker.processes import Children
from tests.unit.test_processes import until_ended
if __name__ == "__main__":
    children = Children()
    children.start("one", until_ended)
    children.wait_ready(30)
    print(children.pids["one"], flush=True)
    children.watch(lambda: False)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise")
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        parent.wait()
        until(partial(lambda pid: not alive(pid), child))
