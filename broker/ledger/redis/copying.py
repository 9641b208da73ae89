"""Copies a market out of a store, while it is in use, and into an empty one."""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from broker.domain.claim import Active, Claim
from broker.domain.slots import Steps
from broker.ledger.codec import decode_claim
from broker.ledger.copy_file import FORMAT, Line, event_text, read_copy
from broker.ledger.image import Image, Stored, digest, granted
from broker.ledger.redis import keys
from broker.ledger.redis.faults import translated
from broker.ledger.redis.line import command
from broker.ledger.redis.link import Link, safe_halt
from broker.ledger.redis.reading import CHUNK_SLOTS, log_texts, read_books, read_kept
from broker.ledger.redis.rows import holds_text, limit_text

__all__ = ["Copy", "accept", "copy_lines", "load_copy", "restore"]

BATCH = 500
TTL_MILLIS = 60_000  # of a lease of which a copy knows nothing but that it was there
MARK = "restoring"  # a key that is there while a market is only half there


async def copy_lines(link: Link) -> AsyncIterator[Line]:
    """The market, line by line, as of one revision; nobody waits for it. Faults: SAFE_HALT, STORE_UNAVAILABLE."""
    books = await read_books(link)
    kept = None if books.whole_log else await read_kept(link)
    books = kept.books if kept is not None else books
    head = {name: books.head.get(name, "") for name in ("schema", "token_key", "created_at", "epoch", "lease_time")}
    image = kept.image if kept is not None else Image()
    about = {"format": FORMAT, "market": link.market, "incarnation": link.incarnation, "revision": books.revision}
    based = {"image": image.revision, "fleet": image.fleet.decode(), "fleet_revision": image.fleet_revision}
    yield ("market", about | based | head)
    for key, stored in image.claims.items():
        yield ("claim", key, stored.revision, stored.body.decode())
    async for text in log_texts(link, max(books.oldest - 1, 0), books.revision):
        yield ("event", text)
    # Read after that revision, so that none of those that belong to it is missing; later ones are left out.
    async for line in _beside(link, books.revision, int(head["lease_time"] or 0)):
        yield line


async def _beside(link: Link, revision: int, lease_time: int) -> AsyncIterator[Line]:
    """What no event tells: plans and prices in force, leases, and what requests were answered."""
    prefix = keys.prefix(link.market)
    with translated():
        for plan, number in _scored(await command(link.client, "ZRANGE", f"{prefix}plans", 0, -1, "WITHSCORES")):
            if number <= revision:
                yield ("plan", number, plan.decode())
        if prices := await command(link.client, "GET", f"{prefix}prices"):
            yield ("prices", b64encode(prices).decode())
        ends = dict(_scored(await command(link.client, "ZRANGE", f"{prefix}lease_ends", 0, -1, "WITHSCORES")))
        leases = cast(dict[bytes, bytes], await command(link.client, "HGETALL", f"{prefix}leases"))
        for key, record in leases.items():
            fence, ttl = map(int, record.split(b"\n"))
            if fence <= revision:
                yield ("lease", key.decode(), fence, ttl, ends.get(key, lease_time) - lease_time)
        for ghost, end in _scored(await command(link.client, "ZRANGE", f"{prefix}lease_ghosts", 0, -1, "WITHSCORES")):
            yield ("ghost", ghost.decode(), end - lease_time)
        async for name in link.client.scan_iter(match=f"{prefix}replay:*", count=1_000):
            record = await command(link.client, "GET", name)
            left = int(await command(link.client, "PTTL", name))
            if record is not None and left > 0 and int(record.split(b"\n", 3)[2]) <= revision:
                yield ("replay", name.decode().removeprefix(prefix), record.decode(), left)


@dataclass(slots=True)
class Copy:
    """A market as a file has it."""

    about: Mapping[str, Any]
    image: Image
    plans: list[tuple[int, str]] = field(default_factory=list)
    prices: bytes = b""
    leases: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # fence, ttl, and how long it was left
    ghosts: list[tuple[str, int]] = field(default_factory=list)
    replays: list[tuple[str, str, int]] = field(default_factory=list)
    lent: Mapping[str, Steps] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The same as that of the market that it was taken of."""
        return digest(self.image, self.lent)

    def take(self, line: list[Any]) -> None:
        """Take in the next line of the file; events before the image are only history."""
        match line:
            case ["event", {"revision": revision}] if revision > self.image.revision:
                self.image.apply(event_text(line))
            case ["claim", key, revision, body]:
                self.image.claims[key] = Stored(revision, body.encode())
            case ["plan", revision, stored]:
                self.plans.append((revision, stored))
            case ["prices", packed]:
                self.prices = b64decode(packed)
            case ["lease", key, fence, ttl, left]:
                self.leases[key] = fence, ttl, left
            case ["ghost", member, left]:
                self.ghosts.append((member, left))
            case ["replay", name, record, left]:
                self.replays.append((name, record, left))


def load_copy(path: Path) -> Copy:
    """All of the file but its events, which are folded; Faults: SAFE_HALT when it is torn, changed, or incomplete."""
    copy: Copy | None = None
    for line in read_copy(path):
        if copy is None:
            about = line[1]
            copy = Copy(about, Image(about["image"], about["fleet"].encode(), about["fleet_revision"]))
        else:
            copy.take(line)
    assert copy is not None  # what has no first line is no whole copy
    if copy.image.revision != copy.about["revision"]:
        raise safe_halt(
            f"{path.name} ends at revision {copy.image.revision} of {copy.about['revision']}", "Take another copy"
        )
    copy.lent = granted(copy.image.claims.values())
    return copy


async def restore(link: Link, path: Path, *, incarnation: str, recovery_millis: int, now_millis: int) -> Copy:
    """Put the file's market into a store that has none of that name, as another incarnation; its head comes last.

    Leases that it knows go on, each for a whole ttl. For ``recovery_millis`` nobody gets a lease that had none, as
    others may hold leases that the copy knows nothing of. Faults: SAFE_HALT when the store has such a market, or the
    file is no whole copy; nothing can be read of a market that is not all there.
    """
    copy = load_copy(path)
    prefix = keys.prefix(link.market)
    with translated():
        if await command(link.client, "EXISTS", f"{prefix}{MARK}"):
            await command(link.client, "DEL", *(f"{prefix}{part}" for part in keys.PERMANENT))
        elif await command(link.client, "EXISTS", *(f"{prefix}{part}" for part in keys.PERMANENT)):
            raise safe_halt(
                f"the store holds a market {link.market}, or parts of one",
                "Restore into an empty store; nothing here was changed",
            )
        await command(link.client, "SET", f"{prefix}{MARK}", path.name)
        await _send(link, _parts(copy, prefix, path))
        head = _head(copy, incarnation, recovery_millis, now_millis)
        last = link.client.pipeline(transaction=True)
        last.execute_command("HSET", f"{prefix}meta", *[x for pair in head.items() for x in pair])
        last.delete(f"{prefix}{MARK}")
        await last.execute()
    return copy


async def accept(link: Link, *, incarnation: str, recovery_millis: int) -> None:
    """Trust the market as it stands, as another incarnation; see `restore` for the rest. Faults: SAFE_HALT: none."""
    reply = await link.call("accept", incarnation, "", recovery_millis)
    if reply.code == "MISSING":
        raise safe_halt(f"the store holds no market {link.market}", "Check the store's address, or restore a copy")


def _head(copy: Copy, incarnation: str, recovery_millis: int, now_millis: int) -> dict[str, str]:
    about, lease_time = copy.about, int(copy.about["lease_time"] or 0)
    return {
        **{name: str(about[name]) for name in ("schema", "token_key", "created_at")},
        **({"fleet_revision": str(copy.image.fleet_revision)} if copy.image.fleet_revision else {}),
        "incarnation": incarnation,
        "revision": str(copy.image.revision),
        "epoch": str(int(about["epoch"]) + 1),
        "leader": "",
        "leader_until": "0",
        # As if nobody had served for long: lease time stands still until holders are back.
        "lease_time": str(lease_time),
        "lease_seen": "0",
        "lease_still": "0",
        "recovering_until": str(lease_time + recovery_millis),
        "restored_at": str(now_millis // 1000),
    }


def _parts(copy: Copy, prefix: str, path: Path) -> Iterable[tuple[str | int | bytes, ...]]:
    """Commands that make everything but the head."""
    image, lease_time = copy.image, int(copy.about["lease_time"] or 0)
    for line in read_copy(path):
        if line[0] == "event":
            yield "XADD", f"{prefix}log", f"{line[1]['revision']}-0", "event", event_text(line)
    for key, stored in image.claims.items():
        claim = decode_claim(stored.body, revision=stored.revision)
        text = b"%d\n%s\n%s" % (stored.revision, holds_text(claim.holds()).encode(), stored.body)
        yield "HSET", f"{prefix}{'live' if claim.live else 'closed'}", key, text
        yield "ZADD", f"{prefix}names", 0, key
        if isinstance(claim.state, Active):
            fence, ttl, left = _lease(copy, key, claim)
            yield "HSET", f"{prefix}leases", key, f"{fence}\n{ttl}"
            yield "ZADD", f"{prefix}lease_ends", lease_time + max(left, ttl), key
    yield from (("ZADD", f"{prefix}lease_ghosts", lease_time + left, member) for member, left in copy.ghosts)
    yield from (("ZADD", f"{prefix}plans", revision, stored) for revision, stored in copy.plans)
    yield from (("SET", f"{prefix}{name}", record, "PX", left) for name, record, left in copy.replays)
    if copy.prices:
        yield "SET", f"{prefix}prices", copy.prices
    if image.fleet_revision:
        yield "SET", f"{prefix}fleet", image.fleet
        yield from (("HSET", f"{prefix}limits", a, limit_text(limit)) for a, limit in image.limits().items())
    for account, steps in copy.lent.items():
        yield "SADD", f"{prefix}accounts", account
        yield from (("HSET", f"{prefix}granted", f"{account}|{n}", chunk) for n, chunk in _chunks(steps))


def _lease(copy: Copy, key: str, claim: Claim) -> tuple[int, int, int]:
    """Fence, ttl and time left; a claim that is in use has a lease even if it was given back while it was copied."""
    return copy.leases.get(key, (claim.revision, TTL_MILLIS, 0))


def _chunks(steps: Steps) -> Iterable[tuple[int, bytes]]:
    """Packed levels of each chunk of slots in which there are any; see lua/books.lua."""
    first = steps.steps[0][0] if steps.steps[0][1] else steps.steps[1][0]
    end = steps.steps[-1][0]  # nothing is lent for ever
    for number in range(first // CHUNK_SLOTS, -(-end // CHUNK_SLOTS)):
        base = number * CHUNK_SLOTS
        levels = _levels(steps, base)
        if any(levels):
            yield number, struct.pack(f"<{CHUNK_SLOTS}i", *levels)


def _levels(steps: Steps, base: int) -> list[int]:
    out: list[int] = []
    pieces = [*steps.steps, (base + CHUNK_SLOTS, 0)]
    for (slot, level), (after, _) in pairwise(pieces):
        low, high = max(slot, base), min(after, base + CHUNK_SLOTS)
        out += [level] * (high - low)
    return out


async def _send(link: Link, parts: Iterable[tuple[str | int | bytes, ...]]) -> None:
    pipe, waiting = link.client.pipeline(transaction=False), 0
    for part in parts:
        pipe.execute_command(*part)
        waiting += 1
        if waiting == BATCH:
            await pipe.execute()
            waiting = 0
    if waiting:
        await pipe.execute()


def _scored(flat: list[Any]) -> list[tuple[bytes, int]]:
    """Members and scores, as redis-py gives them or as the server does."""
    if flat and isinstance(flat[0], tuple | list):
        return [(member, int(score)) for member, score in flat]
    return [(member, int(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]
