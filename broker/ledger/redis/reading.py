"""Reads a market past the ledger's verbs, claim by claim and event by event, even one that is halted."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from broker.domain.faults import Fault
from broker.domain.slots import Steps
from broker.ledger import refusals
from broker.ledger.codec import decode_claim
from broker.ledger.image import Image, Stored
from broker.ledger.redis.link import Link, Reply, safe_halt
from broker.ledger.redis.rows import holds_text

__all__ = ["Books", "Kept", "log_texts", "read_books", "read_claims", "read_kept"]

PAGE = 500
EVENTS = 1_000
CHUNK_SLOTS = 256  # see lua/books.lua


@dataclass(frozen=True, slots=True)
class Books:
    """What the store says beside its claims, at ``revision``; ``oldest`` is the first event that it keeps, 0: none."""

    revision: int
    halted: str
    fleet: bytes
    fleet_revision: int
    limits: Mapping[str, str]
    lent: Mapping[str, Steps]
    live: int
    closed: int
    names: int
    events: int
    oldest: int
    head: Mapping[str, str]

    @property
    def whole_log(self) -> bool:
        """Whether no event was dropped."""
        return self.revision == 0 or self.oldest == 1


@dataclass(frozen=True, slots=True)
class Kept:
    """The whole market as the store keeps it; ``spoilt`` says what contradicts itself."""

    image: Image
    books: Books
    spoilt: tuple[str, ...]


async def read_books(link: Link) -> Books:
    """Everything but claims and events; Faults: SAFE_HALT when there is no market, or a key of it is spoilt."""
    reply = await link.read("state")
    if reply.code == "MISSING":
        raise safe_halt(f"the store holds no market {link.market}", "Check the store's address, or restore a copy")
    if reply.code == "SPOILT":
        raise safe_halt(f"the store contradicts itself: {reply.text(0)}", "Restore the store with its history")
    try:
        return _books(reply)
    except (ValueError, KeyError, struct.error) as error:
        raise safe_halt(
            f"the store holds books that are none: {error}", "Restore the store with its history"
        ) from error


def _books(reply: Reply) -> Books:
    limits, lent, counts, head = reply.rest[3:7]
    return Books(
        revision=reply.revision,
        halted=reply.text(0),
        fleet=reply.rest[1],
        fleet_revision=int(reply.text(2)),
        limits={k.decode(): v.decode() for k, v in _pairs(limits)},
        lent=_steps(dict(_pairs(lent))),
        **dict(zip(("live", "closed", "names", "events", "oldest"), counts, strict=True)),
        head={k.decode(): v.decode() for k, v in _pairs(head)},
    )


async def read_claims(link: Link, where: str) -> AsyncIterator[tuple[int, str, bytes]]:
    """Each claim of hash ``where`` (live or closed) with the market's revision when it was read, its key and its text.

    A claim may come twice; one that is there all the time comes at least once.
    """
    cursor = "0"
    while True:
        reply = await link.read("state_page", where, cursor, PAGE)
        cursor = reply.text(0)
        for key, text in _pairs(reply.rest[1]):
            yield reply.revision, key.decode(errors="replace"), text
        if cursor == "0":
            return


async def log_texts(link: Link, after: int, upto: int) -> AsyncIterator[bytes]:
    """Each event's text after revision ``after`` up to ``upto``; Faults: COMPACTED, SAFE_HALT if one is missing."""
    while after < upto:
        reply = await link.read("events", after, min(EVENTS, upto - after), 1, bulk=True)
        if reply.code == "COMPACTED":
            raise trimmed(after, int(reply.text(0)))
        for text in reply.rest[0]:
            after += 1
            yield text


def trimmed(after: int, oldest: int) -> Fault:
    """Why an event after revision ``after`` is not there though ``oldest`` is: trimmed, which is done in front."""
    if oldest > after + 1:
        return refusals.compacted(after, oldest)
    return safe_halt(
        f"the log lacks a revision after {after}, though not {oldest}", "Restore the store, with its history"
    )


async def read_kept(link: Link) -> Kept:
    """The market as it is kept, as of one revision: what changes while it is read is taken from the log."""
    first = await read_books(link)
    found: dict[str, Stored] = {}
    spoilt: list[str] = []
    for where in ("live", "closed"):
        async for _, key, text in read_claims(link, where):
            try:
                stored = parsed(key, text, live=where == "live")
            except Fault as fault:
                spoilt.append(f"claim {key}: {fault.message}")
                continue
            # It may have closed, and so moved from one to the other, in between.
            if key not in found or found[key].revision < stored.revision:
                found[key] = stored
    books = await read_books(link)
    image = Image(first.revision, books.fleet, books.fleet_revision, found)
    async for event in log_texts(link, first.revision, books.revision):
        image.apply(event)
    image.fleet, image.fleet_revision = books.fleet, books.fleet_revision
    if books.names != len(image.claims):
        spoilt.append(f"{books.names} names for {len(image.claims)} claims")
    return Kept(image, books, tuple(spoilt))


def parsed(key: str, text: bytes, *, live: bool) -> Stored:
    """A claim as it is stored under ``key``; Faults: SAFE_HALT when the text contradicts itself."""
    try:
        revision, holds, body = text.split(b"\n", 2)
        claim = decode_claim(body, revision=int(revision))
    except ValueError as error:
        raise safe_halt(f"is stored as no claim is: {error}", "Restore the store with its history") from error
    if (claim.name.key, claim.live, holds_text(claim.holds()).encode()) != (key, live, holds):
        raise safe_halt("what is stored beside it is not what it says", "Restore the store with its history")
    return Stored(int(revision), body)


def _pairs(flat: list[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _steps(chunks: Mapping[bytes, bytes]) -> dict[str, Steps]:
    """What each account has lent, from packed chunks ``<account>|<number>``."""
    changes: dict[str, list[tuple[int, int]]] = {}
    for name, packed in chunks.items():
        account, _, number = name.decode().rpartition("|")
        found, base, before = changes.setdefault(account, []), int(number) * CHUNK_SLOTS, 0
        for slot, level in enumerate(struct.unpack(f"<{CHUNK_SLOTS}i", packed), base):
            if level != before:
                found.append((slot, level - before))
                before = level
        if before:
            found.append((base + CHUNK_SLOTS, -before))
    made = {account: Steps.from_changes(found) for account, found in changes.items()}
    return {account: steps for account, steps in made.items() if steps != Steps()}
