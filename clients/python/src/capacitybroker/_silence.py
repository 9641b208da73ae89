"""Streams on which nothing arrives although the broker promised a sign of life."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

import grpc

from capacitybroker.v1.capacity_service_pb2 import WatchClaimsResponse

__all__ = ["Attended", "Silence", "Stream"]


class Stream(Protocol):
    """A streaming call that is under way."""

    def __iter__(self) -> Iterator[WatchClaimsResponse]: ...

    def cancel(self) -> object:
        """End it; its iterator then raises."""


class Silence(Exception):
    """Nothing came for too long."""


class Attended:
    """A stream that raises `Silence` once its reader has waited ``seconds`` for a message; use as a context manager.

    A reader of gRPC waits without a limit, and a server that vanished without a word never ends the wait. Time that
    the reader spends on a message does not count.
    """

    def __init__(self, stream: Stream, seconds: float, monotonic: Callable[[], float]) -> None:
        self._stream = stream
        self._seconds = seconds
        self._monotonic = monotonic
        self._patient_until: float | None = None
        self._silent = False
        self._left = threading.Event()
        self._guard = threading.Thread(target=self._attend, name="capacitybroker-watch", daemon=True)

    def __enter__(self) -> Self:
        self._guard.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()
        self._stream.cancel()

    def __iter__(self) -> Iterator[WatchClaimsResponse]:
        messages = iter(self._stream)
        while True:
            self._patient_until = self._monotonic() + self._seconds
            try:
                message = next(messages)
            except StopIteration:
                return
            except grpc.RpcError:
                if self._silent:
                    raise Silence from None
                raise
            finally:
                self._patient_until = None
            yield message

    def _attend(self) -> None:
        pause = self._seconds
        while not self._left.wait(pause):
            until = self._patient_until
            pause = self._seconds if until is None else until - self._monotonic()
            if pause <= 0:
                self._silent = True
                self._stream.cancel()
                return
