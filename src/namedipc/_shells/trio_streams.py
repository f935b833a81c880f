"""The streams of one call at the service, in trio: what its handler draws from, and what drives it if it yields.

The laws: a client that is slow to take items, or to read at all, makes its own handler wait and nobody else; what has
been made while the handler ran leaves together when it waits, at the latest after a window of the service's own; a
handler whose client has gone, or has left the stream, is cancelled where it waits, and its generator is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from .._arguments import Arguments
from .._errors import InvalidMessage, ProtocolError, TooLarge
from .._methods import Method
from .._protocol.attachments import Parcel, descriptors_of, is_homeless, make_parcel, payloads_of, receiving
from .._protocol.streams import Inflow, Outflow
from .._values import Limits
from .suspended import Handler, ItemRefused
from .trio_errors import Busy
from .woken import WOKEN

if TYPE_CHECKING:
    from .service_clients import Connection


class _Place:
    """Where at most one task waits to be told to go on. Being told with nobody there does nothing."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    @property
    def taken(self) -> bool:
        return self._task is not None

    async def wait(self) -> None:
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def go_on(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task, WOKEN)


class IncomingRequests(AsyncIterator[object]):
    """A stream of requests, as the handler draws from it: the argument which the interface declares so."""

    def __init__(self, decode: Callable[[bytes], object], inflow: Inflow, credit: Callable[[bytes], None]) -> None:
        self._decode = decode
        self._inflow = inflow
        self._credit = credit
        self._place = _Place()

    async def __anext__(self) -> object:
        """Wait for the next item. Cancelling loses none."""
        if self._place.taken:
            raise Busy("another task waits for the next item of this stream already")
        inflow = self._inflow
        if not inflow.items:
            while not inflow.items:
                if inflow.ended:
                    await trio.lowlevel.checkpoint()
                    raise StopAsyncIteration
                await self._place.wait()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        body = inflow.take()
        credit = inflow.credit()
        if credit is not None:
            self._credit(credit)
        return self._decode(body)

    async def aclose(self) -> None:
        """Nothing to be done: what still comes is dropped when the call ends."""
        await trio.lowlevel.checkpoint()

    def arrived(self, body: bytes) -> None:
        """Take in an item."""
        self._inflow.arrived(body)
        self._place.go_on()

    def ended(self) -> None:
        """No more will come."""
        self._inflow.end()
        self._place.go_on()


class ServedStreams:
    """The streams of one call, and its descriptors.

    Args:
        connection: The client's.
        id: The call's.
        method: Its method.
        limits: The service's.
        flush: Sends what a connection has to say.
    """

    def __init__(
        self,
        connection: Connection,
        id: int,  # noqa: A002
        method: Method,
        limits: Limits,
        flush: Callable[[Connection], None],
    ) -> None:
        self._connection = connection
        self._session = connection.session
        self._id = id
        self._method = method
        self._limits = limits
        self._flush = flush
        self._requests: dict[int, IncomingRequests] = {}
        self._outflow = Outflow(connection.session.their_stream_items, connection.session.their_stream_bytes)
        self._place = _Place()
        self._unsent_items = 0
        self._unsent_bytes = 0

    def arguments(self, body: bytes) -> Arguments:
        """Decode the arguments of the call, with what its handler draws from in the place of streams of requests.

        Raises:
            InvalidMessage: They do not fit.
        """
        codec = self._method.arguments
        if codec.carries_attachments:
            args, kwargs = codec.decode_with(body, descriptors_of(body), payloads_of(body))
        else:
            args, kwargs = codec.decode(body)
        return self._method.join_streams(args, kwargs, self._open_request)

    def around(self, handler: Handler) -> Handler:
        """Return what answers the call: a handler that yields is driven."""
        return partial(self._drive, handler) if self._method.is_stream else handler

    def _open_request(self, number: int) -> IncomingRequests:
        def credit(body: bytes) -> None:
            self._session.credit(self._id, number, body)
            self._flush(self._connection)  # it may be a task of the handler's own that draws, while the handler waits

        inflow = Inflow(self._limits.stream_items, self._limits.stream_bytes)
        stream = IncomingRequests(receiving(self._method.requests[number].item), inflow, credit)
        self._requests[number] = stream
        return stream

    async def _drive(self, handler: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Send what a handler yields until it ends."""
        items = handler(*args, **kwargs)
        if not hasattr(items, "aclose"):
            async for item in items:
                await self._send(item)
            return
        async with aclosing(items):
            async for item in items:
                await self._send(item)

    # ------------------------------------------------------------ for the loop

    def arrived(self, number: int, body: bytes) -> None:
        """An item of a stream of requests has come."""
        self._request(number).arrived(body)

    def ended(self, number: int) -> None:
        """A stream of requests has ended."""
        self._request(number).ended()

    def credited(self, body: bytes) -> None:
        """The client has taken items of the stream of results."""
        self._outflow.credited(body)
        self._place.go_on()

    def flush(self) -> None:
        """Send what the handler has made since it ran last."""
        if self._session.outgoing:
            self._flush(self._connection)

    def _request(self, number: int) -> IncomingRequests:
        stream = self._requests.get(number)
        if stream is None:
            raise ProtocolError(f"stream {number} of {self._method.where} has not been opened by its call")
        return stream

    async def _send(self, item: object) -> None:
        body = self._encode(item)
        connection = self._connection
        if is_homeless(body):
            body = await self._placed(body)
        while not self._outflow.is_open or connection.congested:
            if self._outflow.is_open:
                connection.when_drained.append(self._place.go_on)
            await self._place.wait()
        self._outflow.sent(len(body))
        self._session.item(self._id, body)
        self._unsent_items += 1
        self._unsent_bytes += len(body)
        # However large a window the client has: what is kept for it is bounded, and others have their turn.
        if self._unsent_items >= self._limits.stream_items or self._unsent_bytes >= self._limits.stream_bytes:
            self._unsent_items = self._unsent_bytes = 0
            await trio.lowlevel.checkpoint()

    async def _placed(self, body: bytes) -> Parcel:
        """Wait until there is room for the large payloads of an item: the client has to let go of others."""
        assert isinstance(body, Parcel)
        try:
            placed = self._connection.place(body, may_grow=False)
            if placed is None:
                await trio.lowlevel.checkpoint()  # what the client has let go of by now is heard
            while placed is None and (placed := self._connection.place(body)) is None:
                self._connection.when_released.append(self._place.go_on)
                await self._place.wait()
        except TooLarge as error:
            raise ItemRefused(TooLarge(f"an item of {self._method.where}: {error}")) from error
        return placed

    def _encode(self, item: object) -> bytes:
        where = self._method.where
        codec = self._method.result
        try:
            if codec.carries_attachments:
                body: bytes = make_parcel(codec, item, consume=True)
            else:
                body = codec.encode(item)
        except InvalidMessage as error:
            raise ItemRefused(InvalidMessage(f"an item of {where}: {error}")) from error
        limit = self._session.their_message_bytes
        if len(body) > limit:
            raise ItemRefused(TooLarge(f"an item of {where} is {len(body)} bytes long; the caller accepts {limit}"))
        return body
