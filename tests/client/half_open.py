"""A line to a server that can go dead without either end being told, as when a machine vanishes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

__all__ = ["Line", "line_to"]


class Line:
    """Where to connect, and which of the connections made so far carry nothing any more."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._entry = socket.create_server(("127.0.0.1", 0))
        self._lines: list[tuple[socket.socket, socket.socket]] = []
        self._dead: set[int] = set()
        self.address = f"127.0.0.1:{self._entry.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def made(self) -> int:
        """How many connections were made."""
        return len(self._lines)

    def cut(self) -> None:
        """From now on nothing passes on the connections made so far; later ones work."""
        self._dead |= set(range(len(self._lines)))

    def close(self) -> None:
        """End everything."""
        self._entry.close()
        for ends in self._lines:
            for end in ends:
                # Wakes whoever reads from it; the other end may have closed it already.
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._entry.accept()
                far = socket.create_connection(self._server)
                number = len(self._lines)
                self._lines.append((near, far))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(number, source, sink), daemon=True).start()

    def _carry(self, number: int, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if number not in self._dead:
                    sink.sendall(data)
            if number not in self._dead:
                sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def line_to(server: str) -> Iterator[Line]:
    """A line to ``host:port``."""
    line = Line(server)
    try:
        yield line
    finally:
        line.close()
