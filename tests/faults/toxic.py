"""A line to the store that goes wrong on demand: slow, silent in one direction or both, cut, or led elsewhere."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["Toxic", "answering", "toxic"]

BYTES = 1 << 16
RESEND_SECONDS = 0.05  # until a lost packet is sent again; each time twice as long


@dataclass
class Toxic:
    """A proxy on a loopback port before the unix socket ``target``; set the fields to poison it."""

    target: str
    url: str = ""
    latency: float = 0.0  # seconds, of each reply
    requests_lost: bool = False
    replies_lost: bool = False
    loss: float = 0.0  # part of the packets, each of which is sent again, as TCP does
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    lines: list[asyncio.StreamWriter] = field(default_factory=list)

    def cut(self) -> None:
        """Reset every connection."""
        for line in self.lines:
            line.transport.abort()
        self.lines.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            back_reader, back = await asyncio.open_unix_connection(self.target)
        except OSError:
            writer.transport.abort()
            return
        self.lines += [writer, back]
        there = asyncio.create_task(self._pass(reader, back, lambda: self.requests_lost, delayed=False))
        again = asyncio.create_task(self._pass(back_reader, writer, lambda: self.replies_lost, delayed=True))
        try:
            await asyncio.wait({there, again}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, again):
                task.cancel()
            await asyncio.gather(there, again, return_exceptions=True)
            for line in (writer, back):
                line.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: Callable[[], bool], *, delayed: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(BYTES):
                if lost():
                    continue
                await self._sent_again()
                if delayed and self.latency:
                    asyncio.get_running_loop().call_later(self.latency, writer.write, data)
                    continue
                writer.write(data)
                await writer.drain()

    async def _sent_again(self) -> None:
        wait = RESEND_SECONDS
        while self.rng.random() < self.loss:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await asyncio.Event().wait()
            wait *= 2


@asynccontextmanager
async def toxic(store_url: str) -> AsyncIterator[Toxic]:
    """A proxy before the embedded store of that URL."""
    proxy = Toxic(store_url.removeprefix("unix://"))
    async with _listening(proxy.serve) as port:
        proxy.url = f"redis://127.0.0.1:{port}"
        yield proxy
        proxy.cut()


@asynccontextmanager
async def answering(line: bytes) -> AsyncIterator[str]:
    """URL of a store that answers ``line`` whatever function is called, or given to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while asked := await reader.read(BYTES):
                about_the_line = asked.count(b"\r\nCLIENT\r\n")
                writer.write(b"+OK\r\n" * about_the_line or line)
                await writer.drain()
        writer.close()

    async with _listening(serve) as port:
        yield f"redis://127.0.0.1:{port}"


@asynccontextmanager
async def _listening(serve: Callable[..., object]) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)  # type: ignore[misc]
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
