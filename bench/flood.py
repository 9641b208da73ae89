"""Calls at a rate that no stub could send: gRPC by hand, one connection of plain HTTP/2 for many calls."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from struct import Struct

__all__ = ["Call", "Flood", "Said", "in_turn", "opened", "prepared"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW = 1, 2, 4
CANCEL = (8).to_bytes(4, "big")
WINDOW, FRESH = 1 << 24, 65_535
STREAMS_MAX = 900  # of one connection; the server allows a thousand
STATUS, PUSHBACK, LATENESS = b"grpc-status", b"grpc-retry-pushback-ms", b"capacitybroker-late-ms"
SETTING = Struct(">HI")
OK, LATE, LOST = 0, -1, -2  # beside the codes of gRPC: not answered in time, the connection ended


@dataclass(frozen=True, slots=True)
class Call:
    """A method with all of a request but its id."""

    headers: bytes
    body: bytes
    id_tag: bytes  # of the field that is the request's id; empty: it has none
    seconds: float  # after which its caller gives it up


@dataclass(slots=True)
class Said:
    """What became of one kind of calls: by code, seconds until the answer."""

    seconds: dict[int, list[float]] = field(default_factory=dict)

    def note(self, code: int, seconds: float) -> None:
        """One answer."""
        self.seconds.setdefault(code, []).append(seconds)

    def count(self, *codes: int) -> int:
        """Answers with one of these codes; none named: with any."""
        return sum(len(found) for code, found in self.seconds.items() if not codes or code in codes)


def prepared(method: str, body: bytes, *, id_field: int = 0, seconds: float = 1.0) -> Call:
    """A call of ``/package.Service/Method``; ``id_field`` numbers the request's id, which is added to ``body``."""

    def text(value: bytes) -> bytes:
        assert len(value) < 127
        return bytes([len(value)]) + value

    headers = b"".join(
        (
            b"\x83\x86\x04" + text(method.encode()),  # :method POST, :scheme http, :path
            b"\x01" + text(b"flood"),  # :authority
            b"\x0f\x10" + text(b"application/grpc"),
            b"\x00" + text(b"te") + text(b"trailers"),
            b"\x00" + text(b"grpc-timeout") + text(f"{int(1000 * seconds)}m".encode()),
        )
    )
    return Call(headers, body, bytes([id_field << 3 | 2]) if id_field else b"", seconds)


class Flood(asyncio.Protocol):
    """One connection; ``send`` never waits, and what became of each call is told to whoever sent it."""

    def __init__(self, *, reads: bool = True) -> None:
        self._window = WINDOW if reads else 0
        self._transport: asyncio.Transport | None = None
        self.pushback = 0.0  # seconds that the last refusal asked for
        self.late = 0.0  # seconds that the last answer was late, as it said
        self._read = b""
        self._next, self._room = 1, FRESH
        self._waiting: dict[int, tuple[float, Callable[[int, float], None]]] = {}
        self._due: deque[tuple[float, int]] = deque()

    @property
    def busy(self) -> int:
        """Calls that are under way."""
        return len(self._waiting)

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self._transport is not None

    def send(self, call: Call, request_id: str, told: Callable[[int, float], None]) -> bool:
        """Begin a call; False when this connection can take none now. ``told`` gets code and seconds."""
        body = call.body
        if call.id_tag:
            body += call.id_tag + bytes([len(request_id)]) + request_id.encode()
        if self._transport is None or len(self._waiting) >= STREAMS_MAX or self._room < len(body) + 5:
            return False
        stream, now = self._next, time.perf_counter()
        self._next += 2
        self._room -= len(body) + 5
        message = b"\x00" + len(body).to_bytes(4, "big") + body
        self._transport.write(
            _frame(HEADERS, END_HEADERS, stream, call.headers) + _frame(DATA, END_STREAM, stream, message)
        )
        self._waiting[stream] = now, told
        self._due.append((now + call.seconds, stream))
        return True

    def give_up(self) -> None:
        """Cancel the calls whose time is over, as a caller would."""
        now = time.perf_counter()
        while self._due and self._due[0][0] <= now:
            stream = self._due.popleft()[1]
            if stream in self._waiting and self._transport is not None:
                self._transport.write(_frame(RST_STREAM, 0, stream, CANCEL))
                self._end(stream, LATE)

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the conversation."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW, self._window))
        transport.write(PREFACE + _frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*one) for one in settings)))
        transport.write(_frame(WINDOW_UPDATE, 0, 0, (WINDOW - FRESH).to_bytes(4, "big")))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        """Whoever waits learns it."""
        self._transport = None
        for stream in list(self._waiting):
            self._end(stream, LOST)

    def data_received(self, data: bytes) -> None:
        """Take in whole frames."""
        read, at = self._read + data, 0
        while len(read) - at >= 9:
            size = int.from_bytes(read[at : at + 3], "big")
            if len(read) - at < 9 + size:
                break
            kind, flags, stream = read[at + 3], read[at + 4], int.from_bytes(read[at + 5 : at + 9], "big")
            self._frame(kind, flags, stream, read[at + 9 : at + 9 + size])
            at += 9 + size
        self._read = read[at:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        transport = self._transport
        if kind == HEADERS and flags & END_STREAM:
            self.pushback = int(_value(payload, PUSHBACK) or 0) / 1000
            self.late = int(_value(payload, LATENESS) or 0) / 1000
            self._end(stream, int(_value(payload, STATUS)))
        elif kind == RST_STREAM:
            self._end(stream, LOST)
        elif transport is None:
            return
        elif kind == DATA and payload:
            transport.write(_frame(WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")))
        elif kind == WINDOW_UPDATE and not stream:
            self._room += int.from_bytes(payload, "big")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            transport.write(_frame(kind, ACK, 0, payload if kind == PING else b""))

    def _end(self, stream: int, code: int) -> None:
        sent = self._waiting.pop(stream, None)
        if sent is not None:
            sent[1](code, time.perf_counter() - sent[0])


def _value(block: bytes, name: bytes) -> bytes:
    """Of a header that was written out, since the other side may keep no table; empty without one."""
    at = block.find(bytes([len(name)]) + name) + len(name) + 1
    return block[at + 1 : at + 1 + block[at]] if at > len(name) else b""


async def opened(address: str, connections: int, *, reads: bool = True) -> list[Flood]:
    """So many connections to ``host:port``; unless it ``reads``, the other side may send nothing of any message."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Flood(reads=reads), host, int(port)) for _ in range(connections)]
    return [protocol for _, protocol in made]


async def in_turn(floods: list[Flood], call: Call, tag: str, callers: int, seconds: float) -> Said:
    """One call after the other from each of so many callers; request ids begin with ``tag``."""
    said, sent, end = Said(), 0, time.perf_counter() + seconds

    def go(flood: Flood) -> None:
        nonlocal sent
        sent += 1
        flood.send(call, f"{tag}-{sent}", partial(told, flood))

    def told(flood: Flood, code: int, took: float) -> None:
        if time.perf_counter() < end:
            said.note(code, took)
            go(flood)

    for caller in range(callers):
        go(floods[caller % len(floods)])
    await asyncio.sleep(seconds + call.seconds + 0.2)
    return said


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
