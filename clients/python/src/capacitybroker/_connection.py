"""How to reach a broker: settings of every connection, and watches on connections of their own."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Sequence

import grpc

from capacitybroker.v1.capacity_service_pb2 import WatchClaimsRequest, WatchClaimsResponse
from capacitybroker.v1.capacity_service_pb2_grpc import CapacityServiceStub

__all__ = ["OwnConnection", "connected"]

OPTIONS = (
    ("grpc.primary_user_agent", "capacitybroker-python/0.1"),
    ("grpc.max_receive_message_length", 64 << 20),
    # A broker that restarts is back in seconds; gRPC would wait minutes. The least backoff bounds one attempt to
    # connect, not the wait for the next.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
# A server that vanished without a word fails the calls that are under way within half a minute. The keepalive timeout
# alone would not: an unanswered ping has a timeout of its own, of a minute. The server must allow a ping every 20 s.
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
)


# Calls take turns among the servers that are there, so one that is gone costs those that were under way, and no others.
TURNS = (("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),)


def connected(address: str, *, shared: bool = True) -> grpc.Channel:
    """A channel to ``address``; unless ``shared``, with a connection that no other channel of this process uses.

    ``address`` is host:port, or several numeric ones with commas between them. Raises ValueError.
    """
    several = address.split(",") if "," in address else []
    options = (*OPTIONS, *KEEPALIVE, *(TURNS if several else ()), ("grpc.use_local_subchannel_pool", int(not shared)))
    return grpc.insecure_channel(_target(several) if several else address, options=options)


def _target(addresses: Sequence[str]) -> str:
    """What gRPC calls the address of several servers."""
    hosts = [one.strip().rpartition(":")[0].strip("[]") for one in addresses]
    try:
        versions = {ipaddress.ip_address(host).version for host in hosts}
    except ValueError:
        raise ValueError(
            f"{','.join(addresses)}: each of several addresses is an IP address and a port; one name may stand for many"
        ) from None
    if len(versions) > 1:
        raise ValueError(f"{','.join(addresses)}: the addresses are of IPv4 or of IPv6, not of both")
    return f"ipv{versions.pop()}:{','.join(one.strip() for one in addresses)}"


class OwnConnection:
    """A watch on a new connection, which ends with it.

    On a connection that is shared, a watch that connects anew would come back to the very server that fell silent.
    """

    def __init__(self, address: str, request: WatchClaimsRequest) -> None:
        self._channel = connected(address, shared=False)
        self._call = CapacityServiceStub(self._channel).WatchClaims(request)

    def __iter__(self) -> Iterator[WatchClaimsResponse]:
        return iter(self._call)

    def cancel(self) -> None:
        """End the watch; whoever reads it is told that it was cancelled."""
        self._call.cancel()
        self._channel.close()
