"""What a caller asks for beside the arguments of its calls, in both worlds: headers, a tracer, being repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import attrs

from ._call import Call, Trace
from ._codec import naming
from ._errors import ConnectionLost, InvalidMessage
from ._faults import pack_headers
from ._methods import Method, RequestStream
from ._protocol.attachments import Parcel, extended, make_parcel, receiving
from ._protocol.calls import NotRun
from ._protocol.frames import HEADERS_FLAG, with_headers
from ._schema import Schema
from ._shells.suspended import ActiveCall
from ._values import Peer

T = TypeVar("T")

_FOREVER = float("inf")


MOST_MOVES: Final = 16
"""From how many services that end a call moves on to the next, unless it is told to go on for ever."""


class Repeats:
    """Decides whether one call that has failed with its connection is sent again on a new one.

    A call that was not run because the service has said goodbye, or was gone before its hello: as often as services
    come and go, within reason. Otherwise, whatever is the matter with the connection: once, if its method is declared
    idempotent. `retry` is that of `Options`.
    """

    def __init__(self, retry: bool | None, *, is_idempotent: bool) -> None:
        self._retry = retry
        self._is_idempotent = is_idempotent
        self._lost = False
        self._moves = 0

    def allow(self, error: NotRun | ConnectionLost, *, may_move: bool) -> bool:
        """Whether it is sent again after this error; `may_move`: the service has said goodbye, or never hello."""
        if self._retry is False:
            return False
        if isinstance(error, NotRun) and may_move and (self._moves < MOST_MOVES or self._retry):
            self._moves += 1
            return True
        if not self._is_idempotent or (self._lost and not self._retry):
            return False
        self._lost = True
        return True


@attrs.frozen
class Options:
    """How calls are made.

    Attributes:
        headers: Sent along with each.
        retry: True: wait for the service as long as it takes, as often as it takes. None: connect again once it is
            needed. False: never.
        trace: Called with each call.
    """

    headers: Mapping[str, str] = attrs.field(factory=dict)
    retry: bool | None = None
    trace: Trace | None = None

    @property
    def are_plain(self) -> bool:
        """Whether a call has nothing beside its arguments."""
        return not self.headers and self.trace is None

    @property
    def wait_again_seconds(self) -> float | None:
        """How long to wait for a service that has gone; None for as long as the client was told to when it began."""
        return _FOREVER if self.retry else None

    def repeats(self, method: Method) -> Repeats:
        """Return what decides whether one call of this method is sent again."""
        # What it takes along has left with the first attempt.
        retry = False if method.takes_descriptors else self.retry
        return Repeats(retry, is_idempotent=method.is_idempotent)

    @contextmanager
    def tracing(self, method: Method, peer: Peer) -> Iterator[dict[str, str]]:
        """Be inside of what the tracer makes of a call; the headers which are to be sent."""
        headers = dict(self.headers)
        if self.trace is None:
            yield headers
            return
        interface = method.where.rpartition(".")[0]
        with self.trace(Call(ActiveCall(method.name, peer, None, headers, interface))):
            yield headers

    def extend(self, body: bytes, headers: dict[str, str]) -> tuple[bytes, int]:
        """Return the body of a call with its headers, and the flags of its frame."""
        if not headers:
            return body, 0
        return extended(body, partial(with_headers, pack_headers(headers))), HEADERS_FLAG


def encode_call(method: Method, where: str) -> Callable[[tuple[object, ...], dict[str, object]], bytes]:
    """Return what encodes the arguments of a method; its errors begin with the path of the service."""
    arguments = method.arguments
    encode = arguments.encode

    def encode_named(args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
        try:
            return encode(args, kwargs)
        except InvalidMessage as error:
            raise InvalidMessage(f"{where}: {error}") from error.__cause__

    def encode_parcel(args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
        try:
            encoded, descriptors = arguments.encode_with(args, kwargs)
        except InvalidMessage as error:
            raise InvalidMessage(f"{where}: {error}") from error.__cause__

        if not descriptors.numbers and not descriptors.payloads:
            return encoded
        within = partial(arguments.encode_within, args, kwargs, descriptors) if descriptors.payloads else None
        return Parcel(encoded, descriptors, within=within)

    return encode_parcel if arguments.carries_attachments else encode_named


def encode_item(method: Method, stream: RequestStream, where: str) -> Callable[[object], bytes]:
    """Return what encodes the items of a stream of requests."""
    codec = stream.item
    encode = partial(make_parcel, codec) if codec.carries_attachments else codec.encode
    return naming(f"{where}: {method.where}: an item of '{stream.name}'", encode)


def decode_result(method: Method, where: str) -> Callable[[bytes], object]:
    """Return what makes the result of a method, or an item of its stream, of a received body."""
    return naming(where, receiving(method.result))


def bare_coding(
    method: Method, where: str
) -> tuple[Callable[[tuple[object, ...], dict[str, object]], bytes], Callable[[bytes], object], str]:
    """Return what encodes the arguments and what decodes the result, and the name which their errors lack yet.

    The functions that add it (`encode_call`, `decode_result`) are felt in each call.
    """
    if method.arguments.carries_attachments or method.result.carries_attachments:
        return encode_call(method, where), decode_result(method, where), ""
    return method.arguments.encode, method.result.decode, where


def named(name: str, error: InvalidMessage) -> InvalidMessage:
    """Return an error that begins with the name, unless it does already."""
    return InvalidMessage(f"{name}: {error}") if name else error


def find_method(schema: Schema[T], method: object, verb: str) -> Method:
    """Return the interface's method for what was given to `call` and its like.

    Raises:
        TypeError: It is none of the interface, or not one for this verb.
    """
    name = getattr(method, "__name__", None)
    found = schema.by_name.get(name) if isinstance(name, str) else None
    # By name: a method of a base class, or one that an implementation overrides, is the interface's all the same.
    if found is None or not callable(method):
        example = f"{schema.name}.{next(iter(schema.by_name))}"
        raise TypeError(f"{verb}({method!r}): give a method of the interface, for example {example}")
    if found.is_stream and verb != "stream":
        raise TypeError(f"{verb}({found.where}): it is answered with a stream; write stream({found.where}, ...)")
    if not found.is_stream and verb == "stream":
        raise TypeError(f"stream({found.where}): it is answered with one result; write call({found.where}, ...)")
    if verb == "call_each" and (found.requests or found.is_one_way or found.takes_descriptors):
        what = "is one way" if found.is_one_way else "takes a stream" if found.requests else "takes open descriptors"
        raise TypeError(f"call_each({found.where}): it {what}; call it once at a time")
    return found
