"""iceoryx2: request and response in shared memory, with an event each way, as its example with events has it.

The record is a ctypes structure, as its language binding carries them.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import iceoryx2

from ..messages import ORDER
from ..sides import Pair, Place, Run, Works, timed_each


class Record(ctypes.Structure):
    """The record."""

    _fields_ = (
        ("table", ctypes.c_int64),
        ("dish", ctypes.c_char * 32),
        ("price", ctypes.c_double),
        ("paid", ctypes.c_bool),
    )


class Port:
    """What both sides open: a service, an event to the server, an event to the client."""

    def __init__(self, place: Place) -> None:
        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        name = place.directory.name
        node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        self.node = node
        self.service = (
            node.service_builder(iceoryx2.ServiceName.new(f"{name}/calls"))
            .request_response(Record, Record)
            .open_or_create()
        )
        self.to_server = node.service_builder(iceoryx2.ServiceName.new(f"{name}/to")).event().open_or_create()
        self.to_client = node.service_builder(iceoryx2.ServiceName.new(f"{name}/back")).event().open_or_create()


def serve(place: Place) -> None:
    """Waits for the event, and answers; ends by itself after a last call: killed, it would leave shared memory."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    port = Port(place)
    server = port.service.server_builder().create()
    listener = port.to_server.listener_builder().create()
    notifier = port.to_client.notifier_builder().create()
    place.ready()
    last = False
    while not last:
        listener.blocking_wait()
        while (request := server.receive()) is not None:
            last = request.payload().contents.paid
            request.send_copy(request.payload().contents)
            request.delete()
            notifier.notify()


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    port = Port(place)
    client = port.service.client_builder().create()
    listener = port.to_client.listener_builder().create()
    notifier = port.to_server.notifier_builder().create()

    def call(*, paid: bool = False) -> None:
        pending = client.loan_uninit().write_payload(Record(ORDER.table, ORDER.dish.encode(), ORDER.price, paid)).send()
        notifier.notify()
        while (response := pending.receive()) is None:
            listener.blocking_wait()
        assert response.payload().contents.table == ORDER.table
        response.delete()
        pending.delete()

    try:
        yield timed_each(call)
    finally:
        call(paid=True)


WORKS: Final[Works] = {"call": Pair(serve, calling)}
