"""Ask any service what it is, and call it, without its interface: by its path, in JSON.

Everything here is blocking, and connects for itself. The law: what is asked goes the same way as a typed client's
calls, by one link and one protocol; only the values are JSON, in place of the interface's types.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import time
from collections.abc import AsyncIterable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias, cast

import attrs

from ._card import check_card
from ._client_blocking import BlockingLinks, FedCall, source
from ._codec import naming
from ._errors import InvalidMessage, ProtocolError, SchemaMismatch
from ._opening import in_trio_task
from ._protocol.calls import ClientSession, NotRun
from ._protocol.frames import FIRST_RESERVED, JSON_FLAG, Reserved
from ._protocol.hello import FINGERPRINT_BYTES, SERVICE, Hello
from ._raised import NO_ERRORS, DeclaredErrors
from ._shells.blocking_client import BlockingClientLink
from ._shells.connecting import Plan, connecting
from ._shells.reserved import IDENTITY, STATISTICS
from ._shells.waiting import Clock
from ._statistics import Identity, ServiceStatistics
from ._values import LARGEST_MESSAGE_BYTES, Limits, StrPath, same_user

__all__ = ["Identity", "JsonValue", "call", "identity", "ping", "schema", "statistics", "stream"]

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""What JSON can say."""

_ANY_INTERFACE: Final = bytes(FINGERPRINT_BYTES)


@attrs.frozen(kw_only=True)
class _Method:
    """A method as its service describes it, or one of the reserved interface.

    Attributes:
        where: How messages call it: `Kitchen.cook`.
        index: Its number on the wire.
        order: The names of its parameters.
        requests: The names of those which are streams; their order is their number.
        is_stream: Whether it is answered with a stream.
        is_one_way: Whether it is not answered at all.
        errors: None: no exception has a class here.
    """

    where: str
    index: int
    order: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    is_stream: bool = False
    is_one_way: bool = False
    errors: DeclaredErrors = NO_ERRORS


def ping(path: StrPath, *, timeout: float | None = None, wait_seconds: float = 0.0) -> float:
    """Ask a service to answer; connecting to it is not measured.

    Args:
        path: The name of the service.
        timeout: Seconds for connecting and answering; None is for ever.
        wait_seconds: How long to wait for a name that is not there, or that nobody serves yet.

    Returns:
        How long the answer took, in seconds.

    Raises:
        TimedOut: No answer within `timeout`.
        NameNotFound: And what else `Service.connect` raises.
        RuntimeError: Called inside of a trio task.
    """
    clock = Clock(timeout)
    with _connected(path, clock, wait_seconds) as link:
        _ask(link, Reserved.PING, clock)
        began = time.perf_counter()
        _ask(link, Reserved.PING, clock)
        return time.perf_counter() - began


def identity(path: StrPath, *, timeout: float | None = None, wait_seconds: float = 0.0) -> Identity:
    """Ask a service who it is.

    Args:
        path: The name of the service.
        timeout: Seconds for connecting and answering; None is for ever.
        wait_seconds: How long to wait for a name that is not there, or that nobody serves yet.

    Returns:
        What it says of itself.

    Raises:
        TimedOut: And what else `ping` raises.
    """
    clock = Clock(timeout)
    with _connected(path, clock, wait_seconds) as link:
        return naming(link.where, IDENTITY.decode_json)(_ask(link, Reserved.IDENTITY, clock))


def schema(path: StrPath, *, timeout: float | None = None, wait_seconds: float = 0.0) -> dict[str, JsonValue]:
    """Ask a service what it can be asked.

    Args:
        path: The name of the service.
        timeout: Seconds for connecting and answering; None is for ever.
        wait_seconds: How long to wait for a name that is not there, or that nobody serves yet.

    Returns:
        A JSON Schema document (draft 2020-12). Its `methods` have, by name: `parameters`, an object schema; `order`,
            their names; and `result`, or the `items` of a stream, or neither, one way. Where there are any: `requests`,
            the items of each parameter that is a stream; and `raises`, the fields of each declared exception.

    Raises:
        TimedOut: And what else `ping` raises.
    """
    clock = Clock(timeout)
    with _connected(path, clock, wait_seconds) as link:
        return _document(link, clock)


def statistics(path: StrPath, *, timeout: float | None = None, wait_seconds: float = 0.0) -> ServiceStatistics:
    """Ask a service what it has done since it began; this connection is one of its clients.

    Args:
        path: The name of the service.
        timeout: Seconds for connecting and answering; None is for ever.
        wait_seconds: How long to wait for a name that is not there, or that nobody serves yet.

    Returns:
        As `statistics()` of the server.

    Raises:
        TimedOut: And what else `ping` raises.
    """
    clock = Clock(timeout)
    with _connected(path, clock, wait_seconds) as link:
        return naming(link.where, STATISTICS.decode_json)(_ask(link, Reserved.STATISTICS, clock))


def call(
    path: StrPath,
    method: str,
    /,
    *args: JsonValue | AsyncIterable[JsonValue],
    timeout: float | None = None,
    wait_seconds: float = 0.0,
    **kwargs: JsonValue | AsyncIterable[JsonValue],
) -> JsonValue:
    """Call a method which is answered with one result, or not at all.

    Args:
        path: The name of the service.
        method: The name of the method.
        args: Its arguments, as JSON has them: bytes as base64, a record as an object, and so on. For a stream of
            requests give `feed(iterable)`.
        timeout: Seconds for all of it; None is for ever. A parameter of this name, or of the next one's, is given by
            its place.
        wait_seconds: How long to wait for a name that is not there, or that nobody serves yet.
        kwargs: Its arguments by name.

    Returns:
        The result as JSON has it; None where there is none.

    Raises:
        RemoteError: The handler raised; also an exception which the interface declares, whose fields are in a note.
        InvalidMessage: An argument is no JSON, or does not fit its type.
        SchemaMismatch: There is no such method.
        TypeError: It takes fewer arguments, or is answered with a stream.
        TimedOut: And what else `ping` raises.
    """
    clock = Clock(timeout)
    with _connected(path, clock, wait_seconds) as link:
        found = _find(link, method, "call", clock)
        body, sources = _arguments(found, args, kwargs)
        if found.is_one_way:
            link.call_one_way(found, body, clock, JSON_FLAG)
            return None
        if not sources:
            return _value(link.call(found, body, clock, JSON_FLAG), found.where)
        with _begun(link, found, body, sources) as fed:
            return _value(fed.result(clock), found.where)


def stream(
    path: StrPath,
    method: str,
    /,
    *args: JsonValue | AsyncIterable[JsonValue],
    timeout: float | None = None,
    wait_seconds: float = 0.0,
    **kwargs: JsonValue | AsyncIterable[JsonValue],
) -> Generator[JsonValue, None, None]:
    """Call a method which is answered with a stream.

    The connection is made with the first item that is asked for. Left early (`close`, or dropped), the call is
    cancelled at once.

    Args:
        path: The name of the service.
        method: The name of the method.
        args: Its arguments, see `call`.
        timeout: Seconds until the call has begun, and for each item; None is for ever.
        wait_seconds: How long to wait for a name that is not there, or that nobody serves yet.
        kwargs: Its arguments by name.

    Returns:
        The items as JSON has them.

    Raises:
        RemoteError: And what else `call` raises, when an item is asked for.
    """
    clock = Clock(timeout)
    with _connected(path, clock, wait_seconds) as link:
        found = _find(link, method, "stream", clock)
        body, sources = _arguments(found, args, kwargs)
        with _begun(link, found, body, sources) as fed:
            while (item := fed.next_item(Clock(timeout))) is not None:
                yield _value(item, found.where)


# ------------------------------------------------------------ the connection


@contextmanager
def _connected(path: StrPath, clock: Clock, wait_seconds: float) -> Iterator[BlockingClientLink]:
    if in_trio_task():
        raise RuntimeError(
            f"namedipc.inspect: asking {os.fspath(path)} would block every task of trio's loop; write "
            "'await trio.to_thread.run_sync(...)' around it"
        )

    def connect(_wait_seconds: float | None = None, /) -> Plan:
        check_card(path, "service")
        return connecting(path, wait_seconds=wait_seconds, allow=same_user)

    links = BlockingLinks(os.fspath(path), connect, lambda: _session(path), spin=False)
    links.open(clock)
    try:
        yield links.link
    except NotRun as error:
        raise error.reason from None
    finally:
        links.close()


def _session(path: StrPath) -> ClientSession[threading.Lock]:
    limits = Limits()
    hello = Hello(SERVICE, LARGEST_MESSAGE_BYTES, _ANY_INTERFACE, limits.stream_items, limits.stream_bytes)
    return ClientSession(os.fspath(path), hello, _every_method)


def _every_method(theirs: bytes) -> list[int] | str:
    """What BIND says: each method of the service has its own number here."""
    try:
        methods: object = json.loads(theirs)
    except (ValueError, RecursionError) as error:
        return f"the service's schema cannot be read: {error}"
    if not isinstance(methods, dict) or len(methods) > FIRST_RESERVED:
        return "the service's schema is no object of methods"
    return list(range(len(methods)))


def _ask(link: BlockingClientLink, number: Reserved, clock: Clock) -> bytes:
    return link.call(_Method(where=number.name.lower(), index=number), b"", clock, JSON_FLAG)


@contextmanager
def _begun(
    link: BlockingClientLink, method: _Method, body: bytes, sources: dict[int, Iterator[bytes]]
) -> Iterator[FedCall]:
    fed = FedCall(lambda clock: link.open_call(method, body, clock, JSON_FLAG), sources)
    try:
        yield fed
    finally:
        fed.close()


# ------------------------------------------------------------ the service's description of itself


def _document(link: BlockingClientLink, clock: Clock) -> dict[str, JsonValue]:
    document = _value(_ask(link, Reserved.SCHEMA, clock), "schema")
    if not isinstance(document, dict) or not isinstance(document.get("methods"), dict):
        raise ProtocolError(f"{link.where}: the service's description of itself cannot be read")
    return document


def _find(link: BlockingClientLink, name: str, verb: Literal["call", "stream"], clock: Clock) -> _Method:
    """Find a method in the service's description of itself.

    Raises:
        SchemaMismatch: It is not there.
        TypeError: It is not one for this verb.
    """
    document = _document(link, clock)
    methods = cast("dict[str, JsonValue]", document["methods"])
    names = sorted(methods)  # their order is their number
    where = f"{document.get('title')}.{name}"
    if name not in methods:
        raise SchemaMismatch(f"{link.where}: {where}: the service has no such method (it has {', '.join(names)})")
    described = methods[name]
    if not isinstance(described, dict):
        raise ProtocolError(f"{link.where}: the service's description of {where} cannot be read")
    found = _Method(
        where=where,
        index=names.index(name),
        order=_texts(described.get("order")),
        requests=_texts(described.get("requests")),
        is_stream="items" in described,
        is_one_way="items" not in described and "result" not in described,
    )
    if found.is_stream != (verb == "stream"):
        what, right = ("a stream", "stream") if found.is_stream else ("one result", "call")
        raise TypeError(f"{verb}({where}): it is answered with {what}; write {right}(...)")
    return found


def _texts(found: JsonValue) -> tuple[str, ...]:
    return tuple(map(str, found)) if isinstance(found, list | dict) else ()


# ------------------------------------------------------------ values


def _arguments(
    method: _Method, args: Sequence[object], kwargs: Mapping[str, object]
) -> tuple[bytes, dict[int, Iterator[bytes]]]:
    """The arguments in JSON, by name, numbers in the place of streams; and what the streams are drawn from."""
    if len(args) > len(method.order):
        raise TypeError(f"{method.where}() takes {len(method.order)} arguments but {len(args)} were given")
    given: dict[str, object] = dict(zip(method.order, args, strict=False))
    twice = next(iter(given.keys() & kwargs.keys()), None)
    if twice is not None:
        raise TypeError(f"{method.where}() got multiple values for argument {twice!r}")
    given.update(kwargs)
    sources = {}
    for number, name in enumerate(method.requests):
        if name in given:
            encode = functools.partial(_text, where=f"{method.where}: an item of '{name}'")
            sources[number] = source(method.where, name, given[name], encode)
            given[name] = number
    return _text(given, method.where), sources


def _text(value: object, where: str) -> bytes:
    try:
        return json.dumps(value, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(f"{where}: {error}") from error


def _value(body: bytes, where: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"{where}: what arrived is no JSON: {error}") from error
    return value
