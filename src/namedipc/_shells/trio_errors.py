"""The errors which in trio are trio's own as well. Raised by everything that runs inside a trio task."""

from __future__ import annotations

from typing import Final

import trio

from .. import _errors
from .._errors import IPCError, renewed


class ConnectionLost(_errors.ConnectionLost, trio.BrokenResourceError):
    """The other process went away without a goodbye."""


class EndOfChannel(_errors.EndOfChannel, trio.EndOfChannel):
    """The peer has closed in order, and everything it sent has been received."""


class Closed(_errors.Closed, trio.ClosedResourceError):
    """This end was closed by its own side."""


class Busy(_errors.Busy, trio.BusyResourceError):
    """Another task uses this end for the same purpose."""


class WouldBlock(_errors.WouldBlock, trio.WouldBlock):
    """A `..._nowait` operation would have to wait."""


_VARIANTS: Final[dict[type[IPCError], type[IPCError]]] = {
    _errors.ConnectionLost: ConnectionLost,
    _errors.EndOfChannel: EndOfChannel,
    _errors.Closed: Closed,
    _errors.Busy: Busy,
    _errors.WouldBlock: WouldBlock,
}


def translate(error: IPCError) -> IPCError:
    """Return a new exception of the same kind and text, which in trio is also trio's."""
    return renewed(error, _VARIANTS.get(type(error)))


def without_cancelled(error: BaseException) -> BaseException | None:
    """Return what an error is beside being a cancellation, of which a nursery makes a group; None if nothing."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error


class translating:  # noqa: N801  # reads as a verb: with translating()
    """Errors of what both worlds share leave the body as those which are trio's as well."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> None:
        if isinstance(error, IPCError) and type(error) in _VARIANTS:
            raise translate(error) from error.__cause__
