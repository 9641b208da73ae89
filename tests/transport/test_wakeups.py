"""However many wake-ups gRPC has written, they are read at once; and no event is left behind for want of one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from functools import partial

from broker.transport.wakeups import Loop

# In a process of its own, since gRPC has one queue for all loops of a process.
REAL = """
import asyncio, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from broker.transport import wakeups

async def main():
    server = grpc.aio.server()
    health = HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for many in (1, 2, 500, 1):
            await asyncio.gather(*(stub.Check(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(many)))
    await server.stop(0)
    print(seen)

class Watched(wakeups.Loop):
    def add_reader(self, fd, callback, *args):
        seen.append(wakeups._of_grpc(callback))
        super().add_reader(fd, callback, *args)

seen = []
wakeups.Loop = Watched
wakeups.run_loop(main())
"""


class PollerCompletionQueue:
    """Goes by the name of gRPC's own, and reads as it does."""

    def __init__(self, read: socket.socket) -> None:
        self.read, self.times = read, 0

    def take(self, _loop: object) -> None:
        assert len(self.read.recv(1)) == 1
        self.times += 1


def test_many_bytes_are_one_wake_up_and_a_later_one_is_another() -> None:
    read, write = socket.socketpair()
    read.setblocking(False)
    queue = PollerCompletionQueue(read)

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        loop.add_reader(read, partial(queue.take, loop))
        times = []
        for many in (100, 1, 2):
            write.send(b"1" * many)
            for _ in range(many + 3):
                await asyncio.sleep(0)
            times.append(queue.times)
        loop.remove_reader(read)
        return times

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(main()) == [1, 2, 3]
    read.close()
    write.close()


def test_what_another_loop_has_read_wakes_nobody() -> None:
    read, write = socket.socketpair()
    read.setblocking(False)
    queue = PollerCompletionQueue(read)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(read, partial(queue.take, loop))
        write.send(b"1")
        read.recv(1)
        await asyncio.sleep(0)
        loop.remove_reader(read)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    assert queue.times == 0
    read.close()
    write.close()


def test_the_queue_of_the_installed_release_is_known_and_calls_are_answered() -> None:
    ended = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "True" in ended.stdout
