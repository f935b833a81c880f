"""What the calls of a service are answered with, and the books of those which wait.

The laws: a call whose handler waits is in the books until it is settled, and is answered once; what cannot be sent is
answered with why.
"""

from __future__ import annotations

import logging
import os
from time import perf_counter

import attrs

from .._errors import InvalidMessage, LimitReached, TooLarge
from .._faults import Fault, fault_of, fault_of_handler, pack_fault
from .._methods import Method
from .._protocol.attachments import Parcel, is_homeless, make_parcel
from .._values import Peer
from .latency import Latencies
from .service_clients import Clients, Connection
from .suspended import ItemRefused, Suspended

log = logging.getLogger(__name__)


@attrs.define
class Counts:
    """What there has been of calls; `in_flight` are those in the books."""

    calls: int = 0
    errors: int = 0
    in_flight: int = 0


class Answers:
    """The answers of one service: what is added leaves once its connection is flushed; the others flush it.

    Args:
        clients: Whom they are sent to.
        where: How messages call the service: its path.

    Attributes:
        counts: Of the calls.
        latencies: How long they took.
    """

    def __init__(self, clients: Clients, *, where: str) -> None:
        self.clients: Clients = clients
        self._where = where
        self.counts: Counts = Counts()
        self.latencies: Latencies = Latencies()

    # ------------------------------------------------------------ calls whose handlers wait

    def enter(self, call: Suspended) -> None:
        """Enter a call whose handler waits into the books."""
        self.clients.rouse(call.connection)
        call.connection.calls[call.id] = call
        self.counts.in_flight += 1
        if call.connection.closed and not call.is_one_way:
            call.request_cancel()  # what it has sent already told that the client has gone

    def settle(self, call: Suspended) -> bool:
        """Take a call out of the books before it is answered; False if that has been done."""
        if call.connection.calls.get(call.id) is not call:
            return False
        del call.connection.calls[call.id]
        self.counts.in_flight -= 1
        if not call.method.is_stream:
            self.latencies.record(perf_counter() - call.began)
        if call.connection.postponed:
            self.clients.look_again(call.connection)
        return True

    def answer(self, call: Suspended, result: object) -> None:
        """Answer a settled call with its result, and send it."""
        self.add_result(call.connection, call.id, call.method, result)
        self._sent(call.connection)

    def answer_fault(self, call: Suspended, fault: Fault) -> None:
        """Answer a settled call with an error, and send it."""
        self.add_fault(call.connection, call.id, fault, is_json=call.method.is_json)
        self._sent(call.connection)

    def answer_call_error(self, call: Suspended, error: Exception) -> None:
        """Answer a settled call with what its handler raised, and send it."""
        self.add_error(call.connection, call.id, call.method, error)
        self._sent(call.connection)

    # ------------------------------------------------------------ calls whose handlers have ended at once

    def answer_invalid(self, connection: Connection, id: int, method: Method, error: InvalidMessage) -> None:  # noqa: A002
        """Answer a call whose arguments do not fit, and send it."""
        self.add_fault(connection, id, fault_of(error), is_json=method.is_json)
        self.clients.flush(connection)

    def answer_value(self, connection: Connection, id: int, method: Method, value: object) -> None:  # noqa: A002
        """Answer a call with its result, or with why that cannot be sent, and send it."""
        self.add_result(connection, id, method, value)
        self.clients.flush(connection)

    def answer_encoded(self, connection: Connection, id: int, method: Method, body: bytes) -> None:  # noqa: A002
        """Answer a call with its result, or with why that is too long, and send it."""
        self.add_body(connection, id, method, body)
        self.clients.flush(connection)

    def answer_raised(self, connection: Connection, id: int, method: Method, error: Exception) -> None:  # noqa: A002
        """Answer a call with what its handler raised, and send it."""
        self.add_error(connection, id, method, error)
        self.clients.flush(connection)

    # ------------------------------------------------------------ whatever is answered

    def add_error(self, connection: Connection, id: int, method: Method, error: Exception) -> None:  # noqa: A002
        """Answer with what a handler raised; sent once the connection is flushed, as with all that is added."""
        self.add_fault(connection, id, self._fault(connection, method, error), is_json=method.is_json)

    def _fault(self, connection: Connection, method: Method, error: Exception) -> Fault:
        if isinstance(error, ItemRefused):
            log.debug("%s: %s", self._where, error.reason)
            return fault_of(error.reason)
        try:
            return fault_of_handler(error, with_traceback=trusts(connection.peer), declared=method.errors)
        except (InvalidMessage, TooLarge) as misfit:
            return fault_of(type(misfit)(f"an exception of {method.where}: {misfit}"))

    def add_result(self, connection: Connection, id: int, method: Method, result: object) -> None:  # noqa: A002
        """Answer with a result, or with why that cannot be sent."""
        if id < 0:
            return  # one way
        if method.is_stream:
            connection.session.end(id)
            return
        try:
            if method.result.carries_attachments:
                body: bytes = self._parcel(connection, method, result)
            else:
                body = method.result.encode(result)
        except (InvalidMessage, TooLarge, LimitReached) as error:
            log.debug("%s: what %s returned cannot be sent: %s", self._where, method.where, error)
            fault = fault_of(type(error)(f"the result of {method.where}: {error}"))
            self.add_fault(connection, id, fault, is_json=method.is_json)
            return
        self.add_body(connection, id, method, body)

    def add_body(self, connection: Connection, id: int, method: Method, body: bytes) -> None:  # noqa: A002
        """Answer with an encoded result, or with why that is too long."""
        if len(body) > connection.session.their_message_bytes:
            self.add_fault(connection, id, too_large_fault(connection, method.where, body), is_json=method.is_json)
        else:
            connection.session.reply(id, body)

    def _parcel(self, connection: Connection, method: Method, result: object) -> bytes:
        parcel = make_parcel(method.result, result, consume=True)
        if not is_homeless(parcel):
            return parcel
        assert isinstance(parcel, Parcel)
        placed = connection.place(parcel)
        if placed is None:
            raise LimitReached(
                "there is no room for its payloads, as the caller still looks at those of earlier answers; let it drop "
                "them, or keep copies, or give both sides a larger Limits(payload_bytes=...)"
            )
        parcel.descriptors.take_payloads()  # they were copied: the buffer that they were in is released by this answer
        return placed

    def add_fault(self, connection: Connection, id: int, fault: Fault, *, is_json: bool) -> None:  # noqa: A002
        """Answer with an error."""
        self.counts.errors += 1
        if id < 0:
            log.debug("%s: a one-way call failed: %s", self._where, fault.message)
            return
        connection.session.fail(id, pack_fault(fault, is_json=is_json))

    def _sent(self, connection: Connection) -> None:
        self.clients.flush(connection)
        self.clients.drop_if_finished(connection)


def too_large_fault(connection: Connection, where: str, body: bytes) -> Fault:
    """The answer to a call whose result is longer than its caller accepts."""
    limit = connection.session.their_message_bytes
    return fault_of(TooLarge(f"the result of {where} is {len(body)} bytes long; the caller accepts {limit}"))


def trusts(peer: Peer) -> bool:
    """Whether somebody may see a traceback, which shows source lines and paths: who could read them anyway."""
    return peer.uid in {os.geteuid(), 0}
