"""Whether a market is what its log says: all of it at once, or again and again while it is in use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.domain.claim import Claim
from broker.domain.faults import Fault, FaultReason
from broker.domain.slots import Steps
from broker.ledger.books import Books as Held
from broker.ledger.codec import decode_claim
from broker.ledger.image import Image, Stored, differences, digest, granted
from broker.ledger.redis.link import Link, safe_halt
from broker.ledger.redis.reading import Books, Kept, log_texts, read_books, read_claims, read_kept
from broker.ledger.redis.rows import holds_text, limit_text

__all__ = ["Verdict", "Verifier", "verify"]

log = logging.getLogger(__name__)

SECONDS = 20.0
FOLD_EVENTS_MAX = 200_000
PAGE = 100


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a market is and what its log folds to; equal digests: the same. ``told`` is "" if the log is not whole."""

    revision: int
    claims: int
    events: int
    oldest: int
    kept: str
    told: str
    wrong: tuple[str, ...]


async def verify(link: Link, base: Image | None = None) -> Verdict:
    """Fold the log, from its beginning or on top of ``base``, and compare it with what is kept."""
    kept = await read_kept(link)
    books = kept.books
    told = base if base is not None else Image() if books.whole_log else None
    if told is not None:
        async for text in log_texts(link, told.revision, books.revision):
            told.apply(text)
    wrong = [*kept.spoilt, *_wrong_beside(kept)]
    lent = granted((told or kept.image).claims.values())
    wrong += differences(told or kept.image, lent, kept.image, books.lent)
    return Verdict(
        revision=books.revision,
        claims=len(kept.image.claims),
        events=books.events,
        oldest=books.oldest,
        kept=digest(kept.image, books.lent),
        told=digest(told, lent) if told is not None else "",
        wrong=tuple(wrong),
    )


def _wrong_beside(kept: Kept) -> list[str]:
    return [] if _limits(kept.image) == dict(kept.books.limits) else ["the limits are not those of the fleet"]


def _limits(image: Image) -> dict[str, str]:
    return {account: limit_text(limit) for account, limit in image.limits().items()}


@dataclass(slots=True)
class Verifier:
    """Follows the log beside a market in use, and halts it for every process once the store keeps anything else.

    What was wrong before it began is found by folding the log once, if that is whole and not too long; else only where
    claims and books contradict each other.
    """

    link: Link
    seconds: float = SECONDS
    _told: Image = field(default_factory=Image)  # live claims only
    _claims: dict[str, Claim] = field(default_factory=dict)
    _held: Held = field(default_factory=Held)
    _begun: bool = False

    async def run(self) -> None:
        """Verify until cancelled, or until something is wrong."""
        while True:
            try:
                wrong = await self.once()
            except Fault as fault:
                if fault.reason is FaultReason.COMPACTED:
                    self._begun = False  # so much happened meanwhile that it has to begin anew
                wrong = fault.message if fault.reason is FaultReason.SAFE_HALT else ""
            if wrong:
                log.error("the market is halted: %s", wrong)
                await self.link.halt_all(safe_halt(wrong, "Run broker doctor and broker verify; restore a good copy"))
                return
            await asyncio.sleep(self.seconds)

    async def once(self) -> str:
        """Look at everything once: what is wrong, or nothing."""
        if not self._begun:
            books = await read_books(self.link)
            if books.whole_log and books.events <= FOLD_EVENTS_MAX and (wrong := (await verify(self.link)).wrong):
                return wrong[0]
            await self._begin(await read_kept(self.link))
        return await self._wrong_books() or await self._wrong_claims()

    async def _begin(self, kept: Kept) -> None:
        if kept.spoilt:
            raise safe_halt(kept.spoilt[0], "Restore the store with its history")
        self._told = Image(kept.image.revision, kept.image.fleet, kept.image.fleet_revision)
        self._claims, self._held = {}, Held()
        for number, (key, stored) in enumerate(kept.image.claims.items()):
            self._take(key, stored)
            if number % PAGE == 0:
                await asyncio.sleep(0)  # whoever shares the loop goes on
        self._begun = True

    async def _reach(self, revision: int) -> None:
        """Know what the log says as of ``revision``, and not of later."""
        async for text in log_texts(self.link, self._told.revision, revision):
            for key in self._told.apply(text):
                self._take(key, self._told.claims[key])

    def _take(self, key: str, stored: Stored) -> None:
        claim = decode_claim(stored.body, revision=stored.revision)
        before = self._claims.pop(key, None)
        self._held.replace(before.holds() if before else (), claim.holds())
        if claim.live:
            self._claims[key], self._told.claims[key] = claim, stored
        else:
            self._told.claims.pop(key, None)

    async def _wrong_claims(self) -> str:
        """Each live claim is as the log left it, and none is missing."""
        missing: set[str] | None = None
        async for revision, key, text in read_claims(self.link, "live"):
            await self._reach(revision)
            if missing is None:
                missing = set(self._claims)
            missing.discard(key)
            if text != self._text(key):
                return f"claim {key} is not as the log left it"
        gone = next((key for key in missing or () if key in self._claims), "")
        return f"claim {gone} is gone" if gone else ""

    def _text(self, key: str) -> bytes:
        """How the claim is stored if it is as the log left it."""
        stored, claim = self._told.claims.get(key), self._claims.get(key)
        if stored is None or claim is None:
            return b""
        return b"%d\n%s\n%s" % (stored.revision, holds_text(claim.holds()).encode(), stored.body)

    async def _wrong_books(self) -> str:
        """Each account has lent what claims hold, under the fleet's limits."""
        books = await read_books(self.link)
        await self._reach(books.revision)
        return await asyncio.to_thread(self._told_otherwise, books)

    def _told_otherwise(self, books: Books) -> str:
        held: Mapping[str, Steps] = {account: self._held.granted(account) for account in self._held.accounts()}
        lent = {account: steps for account, steps in held.items() if steps != Steps()}
        live = Image(books.revision, books.fleet, books.fleet_revision, self._told.claims)
        wrong = differences(self._told, lent, live, books.lent)
        if not wrong and books.live != len(self._told.claims):
            return f"{books.live} live claims are kept, the log leaves {len(self._told.claims)}"
        if not wrong and _limits(self._told) != dict(books.limits):
            return "the limits are not those of the fleet"
        return wrong[0] if wrong else ""
