"""Protobuf by hand: what generated messages would never produce."""

from __future__ import annotations

__all__ = ["LEN", "VARINT", "field", "nested", "tag", "text", "varint"]

VARINT, FIXED64, LEN, START_GROUP, END_GROUP, FIXED32 = range(6)
BITS_64 = (1 << 64) - 1


def varint(value: int) -> bytes:
    """An integer as protobuf has it: seven bits a byte; negative ones as ten bytes."""
    value &= BITS_64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tag(number: int, kind: int) -> bytes:
    """What stands before a field."""
    return varint(number << 3 | kind)


def field(number: int, value: int) -> bytes:
    """An integer field."""
    return tag(number, VARINT) + varint(value)


def text(number: int, value: bytes) -> bytes:
    """A field of so many bytes: a string, a message, a packed list."""
    return tag(number, LEN) + varint(len(value)) + value


def nested(number: int, depth: int) -> bytes:
    """A message in a message in a message, ``depth`` times, all of them field ``number``."""
    inner = b""
    for _ in range(depth):
        inner = text(number, inner)
    return inner
