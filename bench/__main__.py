"""All figures that need nothing but this machine, and those on public data where it is given: ``make bench``.

Ledger, a short comparison on a synthetic problem, and then ``PROBLEMS="a.json.gz b.json.gz"``, which names planning
problems, and ``GAP="gap1 gap2"``, generalised assignment instances.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> int:
    """Exit status of the first bench that fails; data that is not given is said and passed over."""
    problems, instances = os.environ.get("PROBLEMS", "").split(), os.environ.get("GAP", "").split()
    runs = [["bench.ledger"], ["bench.compare", "--synthetic", "S:1.1:1", "--seconds", "10"]]
    runs += [["bench.planning", *problems]] if problems else []
    runs += [["bench.planning", "--generalised", *instances, "--seconds", "5"]] if instances else []
    for run in runs:
        print(f"== python -m {' '.join(run)}", flush=True)
        status = subprocess.run([sys.executable, "-m", *run], check=False).returncode
        if status:
            return status
    if not problems:
        print("no planning problem measured: name some with PROBLEMS=…")
    if not instances:
        print("no generalised assignment instance measured: name some with GAP=…")
    return 0


if __name__ == "__main__":
    sys.exit(main())
