"""grpcio over a UNIX socket: a unary method, with msgspec in the place of protobuf, so that no code is generated."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import grpc

from ..framing import decode, encode
from ..messages import IN_FLIGHT, ORDER, Order
from ..sides import Pair, Place, Run, Works, rate, timed_each


def cook(order: Order, _: object) -> Order:
    """Return it."""
    return order


def serve(place: Place) -> None:
    """A server with a pool of threads."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    method = grpc.unary_unary_rpc_method_handler(cook, request_deserializer=decode, response_serializer=encode)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Kitchen", {"cook": method}),))
    server.add_insecure_port(f"unix:{place.path}")
    server.start()
    place.ready()
    server.wait_for_termination()


@contextmanager
def calling(place: Place) -> Iterator[Run]:
    """One call in flight."""
    with grpc.insecure_channel(f"unix:{place.path}") as channel:
        call = channel.unary_unary("/Kitchen/cook", request_serializer=encode, response_deserializer=decode)
        yield timed_each(lambda: call(ORDER, wait_for_ready=True))


@contextmanager
def calling_each(place: Place) -> Iterator[Run]:
    """Many in flight, as futures."""
    with grpc.insecure_channel(f"unix:{place.path}") as channel:
        call = channel.unary_unary("/Kitchen/cook", request_serializer=encode, response_deserializer=decode)

        def batch() -> None:
            for future in [call.future(ORDER, wait_for_ready=True) for _ in range(IN_FLIGHT)]:
                future.result()

        yield rate(batch, IN_FLIGHT)


WORKS: Final[Works] = {"call": Pair(serve, calling), "batch": Pair(serve, calling_each)}
