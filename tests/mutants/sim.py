"""What the simulator must notice: each breaks a rule that only faults, or many callers at once, put to the test."""

from __future__ import annotations

from tests.mutants import Mutant

__all__ = ["MUTANTS"]


def _killed_by(batch: int) -> str:
    return f"tests/simulator/test_seeds.py::test_no_promise_is_broken[{batch}]"


MUTANTS = (
    Mutant(
        "no dedup: a repeated request is done again",
        "broker/ledger/memory.py",
        "found = self._replays.get((key.scope, key.request_id))",
        "found = None",
        _killed_by(0),
    ),
    Mutant(
        "a server repeats with an id of its own",
        "broker/desk.py",
        "claim, key=key, at=claim.created_at, candidates=grants,",
        "claim, key=replace(key, request_id=self.new_id()), at=claim.created_at, candidates=grants,",
        _killed_by(0),
    ),
    Mutant(
        "epoch not checked: a deposed planner commits",
        "broker/ledger/memory.py",
        "if fence != ruling:",
        "if fence.incarnation != ruling.incarnation:",
        _killed_by(0),
    ),
    Mutant(
        "a plan replaces claims that changed meanwhile",
        "broker/ledger/memory.py",
        "if present is not None and present.live and present.revision == claim.revision:",
        "if present is not None and present.live:",
        _killed_by(8),
    ),
    Mutant(
        "a change replaces a claim that changed meanwhile",
        "broker/ledger/memory.py",
        "if present.revision != claim.revision:\n            raise",
        "if present.revision < claim.revision:\n            raise",
        _killed_by(0),
    ),
    Mutant(
        "one device more than there is",
        "broker/ledger/books.py",
        "if more > 0 and has + more > may:",
        "if more > 0 and has + more > may + 1:",
        _killed_by(0),
    ),
    Mutant(
        "held for a quote, and not counted",
        "broker/domain/claim.py",
        "        if not placements:\n            return ()",
        "        if not placements or isinstance(self.state, Held):\n            return ()",
        _killed_by(0),
    ),
    Mutant(
        "a quote lapses too early",
        "broker/desk.py",
        "claim.state.until <= at:",
        "claim.state.until <= at + 2:",
        _killed_by(0),
    ),
    Mutant(
        "a lease is given away at its end, without skew and grace",
        "broker/leasing.py",
        "return self.skew + self.grace",
        "return 0",
        _killed_by(0),
    ),
    Mutant(
        "leases end while the clock leaps",
        "broker/ledger/lease_book.py",
        "if not 0 <= passed <= AWAY_MILLIS:",
        "if passed < 0:",
        _killed_by(0),
    ),
    Mutant(
        "no time to find whoever serves again",
        "broker/ledger/lease_book.py",
        "still = wall + RETURN_MILLIS",
        "still = wall",
        _killed_by(0),
    ),
    Mutant(
        "supply shrinks before anybody says who is short",
        "broker/ledger/memory.py",
        "left = books.shortfalls(from_slot=slot_of(at))",
        "left = books.shortfalls(from_slot=slot_of(at) + 1)",
        _killed_by(0),
    ),
    Mutant(
        "watch off by one",
        "broker/feed.py",
        "known, after = self.revision, first - 1",
        "known, after = self.revision, first",
        _killed_by(0),
    ),
    Mutant(
        "the feed skips what came while it asked",
        "broker/feed.py",
        "                for event in events:\n                    self._tell(event)",
        "                for event in events[:1] + events[2:]:\n                    self._tell(event)",
        _killed_by(0),
    ),
    Mutant(
        "a slow reader misses events and is not told",
        "broker/feed.py",
        "        except asyncio.QueueFull:\n            self.lost = True",
        "        except asyncio.QueueFull:\n            self.lost = False",
        _killed_by(0),
    ),
)
