"""A gRPC client of one's own over raw HTTP/2, for what well-behaved clients never send."""

from __future__ import annotations

import socket
import struct
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from google.rpc import error_details_pb2, status_pb2

__all__ = ["CLOSED", "RESET", "RawConnection", "Reply", "framed"]

PREFIX_BYTES = 5
CANCEL = 8
RESET, CLOSED = -1, -2  # instead of a status code: the stream was reset, the connection is gone
Headers = Sequence[tuple[bytes | str, bytes | str]]


def framed(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """A message as gRPC sends it, behind its length, which may be a lie."""
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


@dataclass(slots=True)
class Reply:
    """What came back on one stream; ``code`` None: nothing yet."""

    code: int | None = None
    http: str = ""
    message: str = ""
    body: bytes = b""
    reset: int | None = None
    info: error_details_pb2.ErrorInfo | None = None
    infos: int = 0
    field: str = ""
    retry: bool = False
    ended: bool = False

    @property
    def reason(self) -> str:
        """Of the ErrorInfo, empty without one."""
        return self.info.reason if self.info is not None else ""

    @property
    def remedy(self) -> str:
        """What the caller is told to do, empty without an ErrorInfo."""
        return self.info.metadata["remedy"] if self.info is not None else ""

    def messages(self) -> list[bytes]:
        """The whole messages in the body."""
        found, at = [], 0
        while at + PREFIX_BYTES <= len(self.body):
            (size,) = struct.unpack_from(">I", self.body, at + 1)
            if at + PREFIX_BYTES + size > len(self.body):
                break
            found.append(self.body[at + PREFIX_BYTES : at + PREFIX_BYTES + size])
            at += PREFIX_BYTES + size
        return found

    def headers(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Take in headers or trailers."""
        for name, value in pairs:
            match name:
                case b":status":
                    self.http = value.decode()
                case b"grpc-status":
                    self.code = int(value)
                case b"grpc-message":
                    self.message = unquote(value.decode("latin-1"))
                case b"grpc-status-details-bin":
                    self._details(value)
                case _:
                    pass

    def _details(self, value: bytes) -> None:
        status = status_pb2.Status.FromString(b64decode(value + b"=" * (-len(value) % 4)))
        for detail in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                self.info, self.infos = info, self.infos + 1
            elif detail.Unpack(bad) and bad.field_violations:
                self.field = bad.field_violations[0].field
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                self.retry = True


@dataclass(slots=True)
class RawConnection:
    """One connection; calls may overlap, and nothing that is sent is checked on this side."""

    address: str
    patience: float = 15.0  # seconds that a reply may take
    socket: socket.socket = field(init=False)
    http: h2.connection.H2Connection = field(init=False)
    replies: dict[int, Reply] = field(default_factory=dict)
    gone: bool = False

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=self.patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        unchecked = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=False
        )
        self.http = h2.connection.H2Connection(unchecked)
        self.http.initiate_connection()
        self.http.increment_flow_control_window(1 << 24)
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def unary(self, path: str, message: bytes = b"", headers: Headers = ()) -> Reply:
        """One message, one reply."""
        return self.send_raw(path, framed(message), headers)

    def send_raw(self, path: str, body: bytes, headers: Headers = (), *, end: bool = True) -> Reply:
        """Any bytes as the body, and what came back."""
        stream = self.open(path, headers)
        self.data(stream, body, end=end)
        return self.reply(stream)

    def open(self, path: str, headers: Headers = (), *, replaced: Headers = ()) -> int:
        """A new call; ``headers`` come beside the usual ones, ``replaced`` instead of those of the same name."""
        usual: dict[bytes | str, bytes | str] = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": path,
            b":authority": b"localhost",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
        }
        usual.update(replaced)
        stream = self.http.get_next_available_stream_id()
        self.replies[stream] = Reply()
        self.http.send_headers(stream, [*usual.items(), *headers])
        self._flush()
        return stream

    def data(self, stream: int, body: bytes, *, end: bool = True) -> None:
        """Part of the body, as fast as the server takes it; what it no longer wants is not sent."""
        at, last = 0, time.monotonic() + self.patience
        while at < len(body) and not self.replies[stream].ended and not self.gone:
            room = min(self.http.local_flow_control_window(stream), self.http.max_outbound_frame_size, len(body) - at)
            if room > 0:
                self._try(lambda room=room, at=at: self.http.send_data(stream, body[at : at + room]))  # type: ignore[misc]
                at += room
            elif time.monotonic() < last:
                self._receive(last)
            else:
                raise TimeoutError("the server takes no more")
        if end and not self.replies[stream].ended:
            self._try(lambda: self.http.end_stream(stream))

    def reply(self, stream: int, *, within: float | None = None) -> Reply:
        """All that came back on a call, once it ended; TimeoutError when it does not."""
        return self.until(stream, lambda reply: reply.ended, within=within)

    def until(self, stream: int, enough: Callable[[Reply], bool], *, within: float | None = None) -> Reply:
        """What has come back by the time it is enough, or the call ended."""
        last = time.monotonic() + (self.patience if within is None else within)
        reply = self.replies[stream]
        while not (reply.ended or self.gone or enough(reply)):
            self._receive(last)
        if self.gone and not reply.ended:
            reply.code, reply.ended = CLOSED, True
        return reply

    def cancel(self, stream: int) -> None:
        """Want no more of a call."""
        self._try(lambda: self.http.reset_stream(stream, CANCEL))

    def forget(self, stream: int) -> None:
        """Let go of what came back on a call."""
        self.replies.pop(stream, None)

    def _try(self, act: Callable[[], None]) -> None:
        """Send something on a stream that the server may have ended meanwhile."""
        try:
            act()
            self._flush()
        except (h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError):
            return

    def _flush(self) -> None:
        try:
            self.socket.sendall(self.http.data_to_send())
        except OSError:
            self.gone = True

    def _receive(self, last: float) -> None:
        left = last - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came back")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self.gone = True
            return
        for event in self.http.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.gone = self.gone or event.error_code != 0
            return
        reply = self.replies.get(getattr(event, "stream_id", 0) or 0)
        if reply is None:
            return
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                reply.headers([(bytes(name), bytes(value)) for name, value in event.headers or ()])
            case h2.events.DataReceived():
                reply.body += event.data or b""
                self.http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            case h2.events.StreamReset():
                reply.reset, reply.ended = int(event.error_code or 0), True
                reply.code = RESET if reply.code is None else reply.code
            case h2.events.StreamEnded():
                reply.ended = True
            case _:
                pass
