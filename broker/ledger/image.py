"""A market as texts: what its log folds to, claim by claim, and one digest for all of it.

Texts are compared as they are stored, so that nothing is equal that any reader could tell apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

import orjson

from broker.domain.faults import Fault, FaultReason
from broker.domain.slots import Steps
from broker.ledger.books import Books
from broker.ledger.codec import decode_claim, decode_fleet
from broker.ledger.codec.text import Json, read

__all__ = ["Image", "Stored", "differences", "digest", "granted"]

PLANS_KEPT = 100
DIFFERENCES_MAX = 20


class Stored(NamedTuple):
    """A claim's text, and the revision that wrote it."""

    revision: int
    body: bytes


@dataclass(slots=True)
class Image:
    """Everything that the log determines, as of ``revision``; `apply` goes on from there."""

    revision: int = 0
    fleet: bytes = b""
    fleet_revision: int = 0
    claims: dict[str, Stored] = field(default_factory=dict)
    plans: deque[tuple[int, int, bytes]] = field(default_factory=lambda: deque(maxlen=PLANS_KEPT))

    def apply(self, text: bytes) -> tuple[str, ...]:
        """Take in the next event as logged; returns the claims it wrote. Faults: SAFE_HALT when one is missing."""
        return read(lambda: self._apply(orjson.loads(text)), "event")

    def _apply(self, event: Json) -> tuple[str, ...]:
        revision: int = event["revision"]
        if revision != self.revision + 1:
            raise Fault(
                FaultReason.SAFE_HALT,
                f"the log goes on with revision {revision} after {self.revision}",
                remedy="Restore the market from a copy that has the revisions between",
            )
        names: list[str] = []
        for claim in event.get("claims", ()):
            names.append(f"{claim['tenant']}/{claim['id']}")
            self.claims[names[-1]] = Stored(revision, orjson.dumps(claim))
        if "fleet" in event:
            self.fleet, self.fleet_revision = orjson.dumps(event["fleet"]), revision
        if "plan" in event:
            self.plans.append((revision, event["skipped"], orjson.dumps(event["plan"])))
        self.revision = revision
        return tuple(names)

    def limits(self) -> dict[str, Steps]:
        """What each account of the fleet may lend."""
        return dict(decode_fleet(self.fleet).limits())


def granted(claims: Iterable[Stored]) -> dict[str, Steps]:
    """What the claims hold of each account of which they hold anything."""
    books = Books()
    for stored in claims:
        books.replace((), decode_claim(stored.body, revision=stored.revision).holds())
    held = {account: books.granted(account) for account in books.accounts()}
    return {account: steps for account, steps in held.items() if steps != Steps()}


def digest(image: Image, lent: Mapping[str, Steps]) -> str:
    """SHA-256 of the market and what its accounts have lent, the same wherever and however it is kept."""
    found = sha256(b"%d\n%d\n%s\n" % (image.revision, image.fleet_revision, image.fleet))
    for key, stored in sorted(image.claims.items()):
        found.update(b"%s\n%d\n%s\n" % (key.encode(), stored.revision, stored.body))
    for account, steps in sorted(lent.items()):
        found.update(b"%s\n%s\n" % (account.encode(), orjson.dumps(steps.steps)))
    return found.hexdigest()


def differences(
    told: Image, told_lent: Mapping[str, Steps], kept: Image, kept_lent: Mapping[str, Steps]
) -> tuple[str, ...]:
    """One sentence for each thing that is kept otherwise than the log tells, twenty at most."""
    return tuple(islice(_differences(told, told_lent, kept, kept_lent), DIFFERENCES_MAX))


def _differences(
    told: Image, told_lent: Mapping[str, Steps], kept: Image, kept_lent: Mapping[str, Steps]
) -> Iterator[str]:
    if told.revision != kept.revision:
        yield f"the log ends at revision {told.revision}, the head says {kept.revision}"
    if (told.fleet, told.fleet_revision) != (kept.fleet, kept.fleet_revision):
        yield f"the fleet is not the one of revision {told.fleet_revision}"
    for account in sorted(told_lent.keys() | kept_lent.keys()):
        if told_lent.get(account) != kept_lent.get(account):
            yield f"the books of {account} are not what claims hold"
    for key in sorted(told.claims.keys() | kept.claims.keys()):
        log, store = told.claims.get(key), kept.claims.get(key)
        if store is None:
            yield f"claim {key} is gone"
        elif log is None:
            yield f"claim {key} is in no event"
        elif log != store:
            yield f"claim {key} is not as revision {log.revision} left it"
