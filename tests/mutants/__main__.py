"""Whether every mutant is killed by its test.

    python -m tests.mutants [part or id ...] [--workers 2] [--quick]

The tree is copied once for each worker; there a mutant is put in, its test is run, and the file is as before. Each test
is first run on the tree as it is, where it must pass, unless ``--quick``. The exit status is 1 if a mutant survives,
does not fit the code any more, or names a test that fails anyway.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
LEFT_OUT = (
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "*-out",
    "*data",
    "node_modules",
)
SECONDS_MAX = 600.0


def copied(into: Path) -> Path:
    """A copy of the tree, compiled code included, so that nothing is compiled anew but what is changed."""
    shutil.copytree(ROOT, into, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    return into


def outcome(tree: Path, test: str) -> str:
    """What pytest makes of a test there: passed, failed, hung, or an error of its own."""
    paths = os.pathsep.join((str(tree), str(tree / "clients/python/src")))
    world = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", test]
    try:
        done = subprocess.run(command, cwd=tree, env=world, capture_output=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return "hung"
    return {0: "passed", 1: "failed"}.get(done.returncode, f"pytest ended with {done.returncode}")


def verdict(tree: Path, mutant: Mutant, *, changed_at: int) -> str:
    """``killed``, or why not; ``changed_at`` is another second for each mutant, so that no old bytecode is taken."""
    file = tree / mutant.file
    before, stat = file.read_text(encoding="utf-8"), file.stat()
    if before.count(mutant.old) != 1:
        return f"does not fit: what it replaces is there {before.count(mutant.old)} times"
    try:
        file.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
        os.utime(file, (changed_at, changed_at))
        found = outcome(tree, mutant.test)
    finally:
        file.write_text(before, encoding="utf-8")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return {"failed": "killed", "hung": "killed", "passed": "SURVIVES"}.get(found, found)


def main() -> int:
    """Print a line for each mutant; 1 if any is not killed."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("only", nargs="*", help="parts or ids; all without any")
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("--quick", action="store_true", help="do not see first that each test passes")
    args = ask.parse_args()
    chosen = [(part, one) for part, one in mutants() if not args.only or {part, one.id} & set(args.only)]
    with tempfile.TemporaryDirectory() as directory:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(args.workers):
            trees.put(copied(Path(directory) / f"tree-{number}"))
        with ThreadPoolExecutor(args.workers) as workers:
            wrong = _unfit(trees, workers, sorted({one.test for _, one in chosen})) if not args.quick else {}
            judged = list(workers.map(lambda one: _judge(trees, *one, wrong=wrong), enumerate(chosen)))
    killed = sum(found == "killed" for found in judged)
    print(f"{killed} of {len(judged)} mutants killed")  # noqa: T201
    return int(killed < len(judged) or not judged)


def _unfit(trees: SimpleQueue[Path], workers: ThreadPoolExecutor, tests: list[str]) -> dict[str, str]:
    """Tests that do not pass on the tree as it is, and what they do instead."""

    def tried(test: str) -> str:
        tree = trees.get()
        try:
            return outcome(tree, test)
        finally:
            trees.put(tree)

    found = dict(zip(tests, workers.map(tried, tests), strict=True))
    return {test: what for test, what in found.items() if what != "passed"}


def _judge(trees: SimpleQueue[Path], number: int, named: tuple[str, Mutant], *, wrong: dict[str, str]) -> str:
    part, mutant = named
    begun = time.monotonic()
    if mutant.test in wrong:
        found = f"its test, without it: {wrong[mutant.test]}"
    else:
        tree = trees.get()
        try:
            found = verdict(tree, mutant, changed_at=1_000_000_000 + 10 * number)
        finally:
            trees.put(tree)
    seconds = time.monotonic() - begun
    print(f"{part:9} {mutant.id:42} {found:10} {seconds:4.0f} s  {mutant.test}", flush=True)  # noqa: T201
    return found


if __name__ == "__main__":
    sys.exit(main())
