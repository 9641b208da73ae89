"""What goes wrong below the messages: heads, frames, compression, deadlines, and connections that are no HTTP/2."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable

from bench import wire
from bench.raw import CLOSED, RESET, Headers, RawConnection, Reply, framed
from tests.faults.target import DEADLINE_EXCEEDED, EXHAUSTED, INTERNAL, INVALID, OK, UNIMPLEMENTED, Row, Target, create

__all__ = ["ROWS"]

LIST = "/capacitybroker.v1.CapacityService/ListClaims"
CREATE = "/capacitybroker.v1.CapacityService/CreateClaim"
ALL = wire.text(1, b"tenants/-")
MIB = 1 << 20
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(196)


def fresh(send: Callable[[RawConnection], Reply]) -> Callable[[Target], Reply]:
    """On a connection of its own, which may not survive."""

    def sent(target: Target) -> Reply:
        with RawConnection(target.server.address) as connection:
            return send(connection)

    return sent


def body(id: str, what: str, sent: bytes, code: int, reason: str = "", headers: Headers = (), path: str = LIST) -> Row:  # noqa: A002
    """These bytes as the body of a call."""
    return Row(id, what, fresh(lambda c: c.send_raw(path, sent, headers)), code, reason)


def head(id: str, what: str, code: int, *headers: tuple[bytes, bytes]) -> Row:  # noqa: A002
    """A good body behind these headers."""
    return Row(id, what, fresh(lambda c: c.unary(LIST, ALL, headers)), code)


def instead(id: str, what: str, code: int, *headers: tuple[bytes, bytes]) -> Row:  # noqa: A002
    """A good body behind these headers instead of the usual ones."""

    def send(connection: RawConnection) -> Reply:
        stream = connection.open(LIST, replaced=headers)
        connection.data(stream, framed(ALL))
        return connection.reply(stream)

    return Row(id, what, fresh(send), code)


def path(what: str, to: str) -> Row:
    """A method that there is not."""
    return Row("B53", what, fresh(lambda c: c.unary(to, ALL)), UNIMPLEMENTED)


def bytes_of(what: str, sent: bytes) -> Row:
    """A connection that does not speak HTTP/2."""

    def send(target: Target) -> Reply:
        host, _, port = target.server.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            try:
                plain.sendall(sent)
                while plain.recv(1 << 16):
                    pass
            except ConnectionError:
                pass
        return Reply(code=CLOSED, ended=True)

    return Row("B54", what, send, CLOSED)


BODIES = [
    body(
        "B43", "a length prefix of 4 GiB, then the end", framed(ALL, length=(1 << 32) - 1), INVALID, "MALFORMED_MESSAGE"
    ),
    body("B43", "8 MiB", framed(bytes(8 * MIB)), EXHAUSTED),
    body(
        "B44",
        "64 KiB of gzip that are 64 MiB",
        framed(gzip.compress(bytes(64 * MIB)), flag=1),
        UNIMPLEMENTED,
        headers=[(b"grpc-encoding", b"gzip")],
    ),
    body("B45", "grpc-encoding br", framed(ALL, flag=1), INTERNAL, headers=[(b"grpc-encoding", b"br")]),
    body("B45", "corrupt gzip", framed(b"nonsense", flag=1), UNIMPLEMENTED, headers=[(b"grpc-encoding", b"gzip")]),
    body("B45", "a flag of compression without an encoding: taken as it is", framed(ALL, flag=1), OK),
    body("B46", "two messages on a unary call: the first counts", framed(ALL) * 2, OK),
    body("B46", "two claims in one call: the first counts", framed(create()) + framed(create()), OK, path=CREATE),
    body("B47", "no message", b"", INVALID, "MALFORMED_MESSAGE"),
    body("B47", "two bytes", b"\0\0", INVALID, "MALFORMED_MESSAGE"),
    body("B47", "a message that ends too soon", framed(ALL, length=100), INVALID, "MALFORMED_MESSAGE"),
]

HEADS = [
    head("B49", "metadata that is not ASCII: nobody reads it", OK, (b"x-a", b"\xff\xfe")),
    head("B49", "a line feed in metadata", OK, (b"x-a", b"a\r\nb: c")),
    head("B49", "grpc-status from the caller", OK, (b"grpc-status", b"0")),
    head("B49", "-bin metadata that is not base64", INTERNAL, (b"x-bin", b"!!!")),
    head("B49", "a header in capitals", INTERNAL, (b"X-Upper", b"a")),
    instead("B49", "te: x", INTERNAL, (b"te", b"x")),
    instead("B49", ":scheme ftp", INTERNAL, (b":scheme", b"ftp")),
    head("B49", "100 headers of 100 bytes", OK, *((b"x-%d" % n, b"y" * 100) for n in range(100))),
    head("B51", "grpc-timeout -1S", INTERNAL, (b"grpc-timeout", b"-1S")),
    head("B51", "grpc-timeout 1", INTERNAL, (b"grpc-timeout", b"1")),
    head("B51", "grpc-timeout 0n", DEADLINE_EXCEEDED, (b"grpc-timeout", b"0n")),
    head("B51", "grpc-timeout 99999999H: a minute", OK, (b"grpc-timeout", b"99999999H")),
    head("B52", "no deadline: thirty seconds", OK),
    path("an unknown method", "/capacitybroker.v1.CapacityService/Nope"),
    path("an unknown service", "/nope.v1.Nope/Nope"),
    path("the path /", "/"),
    path("a path of 8 kB", "/" + "x" * 8_000),
    path("an administrator's service that others have", "/grpc.channelz.v1.Channelz/GetServers"),
    instead("B55", "content-type text/plain: taken as gRPC", OK, (b"content-type", b"text/plain")),
    instead("B55", "GET", RESET, (b":method", b"GET")),
]

CONNECTIONS = [
    bytes_of("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bytes_of("a TLS hello", TLS_HELLO),
    bytes_of("1 MB of zeros", bytes(MIB)),
    bytes_of("1 MB at random", os.urandom(MIB)),
]

ROWS = [*BODIES, *HEADS, *CONNECTIONS]
