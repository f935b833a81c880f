"""What is told of what runs: who a service is, what it has done, and what a connection has carried."""

from __future__ import annotations

import datetime
from typing import final

import attrs


@final
@attrs.frozen(kw_only=True)
class ServiceStatistics:
    """What a service has done since it began. Calls of the reserved interface count only for their bytes.

    Latencies are those of calls whose handler has ended, from being read until being answered, one-way calls included;
    but not of those which are answered with a stream, as its length is the caller's affair. They are right to 3 % and a
    microsecond, and 0 while there was no call.

    Attributes:
        clients: Connections now.
        calls: Calls accepted.
        errors: Calls answered with an error.
        in_flight: Calls which wait for something now.
        bytes_received: Bytes read from clients.
        bytes_sent: Bytes written to clients.
        latency_p50_seconds: The latency that half of the calls did not exceed.
        latency_p99_seconds: The latency that 99 of 100 calls did not exceed.
        latency_max_seconds: The longest latency; 1 000 if it was longer.
    """

    clients: int
    calls: int
    errors: int
    in_flight: int
    bytes_received: int
    bytes_sent: int
    latency_p50_seconds: float
    latency_p99_seconds: float
    latency_max_seconds: float


@final
@attrs.frozen(kw_only=True)
class Identity:
    """What a service says of itself. Whom the kernel vouches for is `Peer`.

    Attributes:
        pid: Its process id, in its own pid namespace.
        uid: The effective user id.
        executable: The program it runs; empty where that cannot be told.
        interface: The name of the interface.
        version: Of namedipc.
        began: When it began to serve, in UTC.
    """

    pid: int
    uid: int
    executable: str
    interface: str
    version: str
    began: datetime.datetime


@final
@attrs.frozen(kw_only=True)
class ConnectionStatistics:
    """What a connection has carried since it was opened: messages (or calls and replies), and bytes on the wire."""

    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
