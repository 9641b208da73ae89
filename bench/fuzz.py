"""Mutated messages against a live server, or against decoding and validation alone.

    python -m bench.fuzz [--messages 100000] [--seed 1] [--first 0]
    python -m bench.fuzz --decode [--minutes 10] [--seed 1]

Every message comes from the seed and its number, so ``--seed S --first N --messages 1`` sends one again. A live server
must answer each with a status that is neither INTERNAL nor UNKNOWN, keep its connection, and not grow: what it grants
is given back after every thousand. With ``--decode`` atheris looks for messages by itself, where it is installed (`pip
install atheris`); otherwise the same mutations are tried without knowing what they cover. Exit status 1 when something
is found.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from capacitybroker import Claim, Client, FailedPrecondition

from bench.mutate import METHODS, Sent, sent
from bench.raw import RawConnection, Reply, framed
from bench.served import broker, small_fleet

__all__ = ["Found", "decode", "live"]

IN_FLIGHT = 50
BATCH = 1_000
S = Claim.State
OPEN = [S.STATE_WAITING, S.STATE_PLANNED, S.STATE_COMMITTED, S.STATE_HELD, S.STATE_DISPLACED]
BARE = (0, 4, 8)  # what gRPC says for itself: all well, too late, beyond what any message may have
BAD = {-2: "connection closed", -1: "stream reset", 2: "UNKNOWN", 13: "INTERNAL"}
TIMEOUT = [(b"grpc-timeout", b"2S")]


@dataclass(slots=True)
class Found:
    """What came back, and what should not have."""

    seed: int
    codes: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, str, str]] = field(default_factory=list)  # number, method, what
    memory: list[int] = field(default_factory=list)  # bytes after each batch

    @property
    def growth(self) -> int:
        """Bytes between the first tenth of the run and its end."""
        return self.memory[-1] - self.memory[len(self.memory) // 10] if self.memory else 0

    def show(self) -> None:
        """Print what was wrong, and how to see it again."""
        for number, method, what in self.wrong[:20]:
            print(f"{method}: {what}\n  python -m bench.fuzz --seed {self.seed} --first {number} --messages 1")


def live(address: str, pid: int, *, seed: int, messages: int, first: int = 0) -> Found:
    """Send so many messages, and say what came back; the fleet is declared again and again, as some change it."""
    found = Found(seed)
    connection = RawConnection(address)
    for begin in range(first, first + messages, BATCH):
        _tidy(address)
        for at in range(begin, min(begin + BATCH, first + messages), IN_FLIGHT):
            numbers = range(at, min(at + IN_FLIGHT, first + messages))
            if connection.gone:
                connection = RawConnection(address)
            _together(connection, {number: sent(seed, number) for number in numbers}, found)
        _tidy(address)
        found.memory.append(_memory(pid))
        if (begin - first) // BATCH % 10 == 0:
            print(f"{begin - first + BATCH:,} messages, {found.memory[-1] / 2**20:.0f} MiB", flush=True)
    connection.socket.close()
    return found


def _together(connection: RawConnection, batch: dict[int, Sent], found: Found) -> None:
    streams = {}
    for number, one in batch.items():
        streams[number] = connection.open(f"/{one.method}", TIMEOUT)
        connection.data(streams[number], framed(one.body))
    for number, stream in streams.items():
        reply = _ended(connection, stream, streaming=METHODS[batch[number].method].server_streaming)
        connection.forget(stream)
        code = reply.code if reply.code is not None else 0
        found.codes[code] += 1
        found.reasons[reply.reason] += 1
        if code in BAD or (code not in BARE and not reply.reason):
            found.wrong.append((number, batch[number].method, f"{BAD.get(code, code)} {reply.message}"))


def _ended(connection: RawConnection, stream: int, *, streaming: bool) -> Reply:
    """The reply; of a stream its first message is enough."""
    reply = connection.until(stream, lambda reply: streaming and bool(reply.messages()))
    if not reply.ended:
        reply.ended = True
        connection.cancel(stream)
    return reply


def _tidy(address: str) -> None:
    """The fleet as it was, and no claims."""
    with Client(address, tenant="atlas") as operator:
        with suppress(FailedPrecondition):  # the pool was changed while nobody held it, and somebody does now
            operator.apply_fleet(small_fleet())
        for claim in operator.list_claims(states=OPEN):
            with suppress(FailedPrecondition):  # a quote that lapses meanwhile
                operator.cancel_claim(claim.name)
        operator.apply_fleet(small_fleet())


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def decode(*, seed: int, seconds: float) -> Found:
    """Look at messages for so long, as many as there is time for."""
    from bench.decode import look_at

    found, end, number = Found(seed), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        one = sent(seed, number)
        try:
            found.reasons[look_at(one.method, one.body)] += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            found.wrong.append((number, one.method, repr(error)))
        number += 1
    return found


def main() -> int:
    """Run what was asked for; 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    if args.decode:
        if find_spec("atheris") is not None:
            guided = [sys.executable, "-m", "bench.guided", str(args.seed), str(round(60 * args.minutes))]
            return subprocess.run(guided, check=False).returncode
        print("atheris is not installed: trying without knowing what is covered")
        found = decode(seed=args.seed, seconds=60 * args.minutes)
        print(f"{found.reasons.total():,} messages, {len(found.reasons)} answers, {len(found.wrong)} wrong")
    else:
        with tempfile.TemporaryDirectory() as directory, broker(Path(directory)) as (address, pid):
            begun = time.monotonic()
            found = live(address, pid, seed=args.seed, messages=args.messages, first=args.first)
            span = time.monotonic() - begun
        grown = f"memory {found.memory[len(found.memory) // 10] / 2**20:.0f} to {found.memory[-1] / 2**20:.0f} MiB"
        print(f"seed {args.seed}: {found.codes.total():,} messages in {span:.0f} s, {len(found.wrong)} wrong; {grown}")
        print(", ".join(f"{reason or 'no reason'} {count}" for reason, count in found.reasons.most_common()))
    found.show()
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
