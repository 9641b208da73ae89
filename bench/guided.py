"""What ``bench.fuzz --decode`` becomes where atheris is installed: it has to be there before what it looks into."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["main"]

LENGTH_MAX = 4_096
BEGINNINGS = 2_000


def main(seed: int, seconds: int) -> None:
    """Look for messages that decoding or validation fails on; ends the process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["broker.transport", "broker.domain"]):
        from bench.decode import look_at
        from bench.mutate import NAMES, sent

    def one(data: bytes) -> None:
        if data:
            look_at(NAMES[data[0] % len(NAMES)], data[1:])

    with tempfile.TemporaryDirectory() as corpus:
        for number in range(BEGINNINGS):
            begin = sent(seed, number)
            Path(corpus, str(number)).write_bytes(bytes([NAMES.index(begin.method)]) + begin.body)
        options = [f"-max_total_time={seconds}", f"-seed={seed}", "-print_final_stats=1", f"-max_len={LENGTH_MAX}"]
        atheris.Setup([sys.argv[0], corpus, *options], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
