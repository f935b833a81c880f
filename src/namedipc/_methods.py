"""One method of an interface: how it is called, and how what it takes and gives is carried."""

from __future__ import annotations

import functools
from collections.abc import (
    Callable,
)
from typing import final

import attrs

from ._arguments import Arguments, ArgumentsCodec
from ._codec import Codec
from ._errors import InvalidMessage
from ._raised import DeclaredErrors


@final
@attrs.frozen(eq=False)
class RequestStream:
    """A parameter which is a stream.

    Attributes:
        name: Of the parameter.
        place: Its index among those which may be given by position; None where it may not.
        item: Encodes and decodes an item.
    """

    name: str
    place: int | None
    item: Codec[object]


@final
@attrs.frozen(eq=False, kw_only=True)
class Method:
    """One method of an interface, ready for use.

    Attributes:
        name: Its name.
        index: Its place in the interface: its identity on the wire between equal fingerprints.
        where: How messages call it: `Kitchen.cook`.
        arguments: Binds and encodes arguments; decodes and binds them at the other side. In place of a stream it has
            the number of that stream.
        requests: The parameters which are streams; their order is their number.
        result: Encodes and decodes the result; of a stream of results, an item.
        is_stream: Whether it is answered with a stream.
        is_one_way: Whether it is not answered at all.
        is_idempotent: Whether it may be run twice.
        errors: The exceptions which it declares.
        is_json: Whether all this is JSON on the wire.
    """

    name: str
    index: int
    where: str
    arguments: ArgumentsCodec
    requests: tuple[RequestStream, ...]
    result: Codec[object]
    is_stream: bool
    is_one_way: bool
    is_idempotent: bool
    errors: DeclaredErrors
    is_json: bool = False

    @functools.cached_property
    def in_json(self) -> Method:
        """The same method for a caller that speaks JSON.

        Raises:
            InvalidMessage: JSON cannot carry one of its types.
        """
        return attrs.evolve(
            self,
            arguments=self.arguments.in_json(),
            requests=tuple(attrs.evolve(stream, item=stream.item.in_json()) for stream in self.requests),
            result=self.result.in_json(),
            errors=self.errors.in_json(),
            is_json=True,
        )

    @property
    def is_plain(self) -> bool:
        """Whether a call of it is one body, and its answer one."""
        return not (self.requests or self.is_stream or self.arguments.carries_attachments)

    @property
    def takes_descriptors(self) -> bool:
        """Whether its arguments, or the items of a stream of requests, may hold descriptors."""
        return self.arguments.carries_descriptors or any(stream.item.carries_descriptors for stream in self.requests)

    @property
    def description(self) -> dict[str, object]:
        """What the other side must know of it; what is as usual is left out."""
        described: dict[str, object] = {
            "parameters": self.arguments.description,
            "result": self.result.description,
        }
        if self.requests:
            described["requests"] = {stream.name: stream.item.description for stream in self.requests}
        if self.is_stream:
            described["stream"] = True
        if self.is_one_way:
            described["one_way"] = True
        if self.errors.description:
            described["raises"] = self.errors.description
        return described

    def split_streams(self, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[Arguments, dict[int, object]]:
        """Take the streams out of the arguments; return what remains, with numbers in their place, and the streams."""
        values = list(args)
        named = dict(kwargs)
        streams: dict[int, object] = {}
        for number, stream in enumerate(self.requests):
            if stream.place is not None and stream.place < len(values):
                streams[number], values[stream.place] = values[stream.place], number
            elif stream.name in named:
                streams[number], named[stream.name] = named[stream.name], number
        for number, given in streams.items():
            if not hasattr(given, "__aiter__"):
                raise TypeError(
                    f"{self.where}: parameter '{self.requests[number].name}' is a stream, and a "
                    f"{type(given).__name__} is none; write feed(...) around an iterable"
                )
        return (tuple(values), named), streams

    def join_streams(
        self, args: tuple[object, ...], kwargs: dict[str, object], make: Callable[[int], object]
    ) -> Arguments:
        """Put streams in the place of their numbers.

        Args:
            args: As decoded.
            kwargs: As decoded.
            make: Makes the stream of a number.

        Raises:
            InvalidMessage: Where a stream should be there is not its number.
        """
        values = list(args)
        named = dict(kwargs)
        for number, stream in enumerate(self.requests):
            if stream.place is not None and stream.place < len(values):
                self._check_number(values[stream.place], number)
                values[stream.place] = make(number)
            elif stream.name in named:
                self._check_number(named[stream.name], number)
                named[stream.name] = make(number)
        return tuple(values), named

    def _check_number(self, found: object, number: int) -> None:
        if found != number:
            name = self.requests[number].name
            raise InvalidMessage(f"{self.where}: parameter '{name}': expected the number of its stream, {number}")
