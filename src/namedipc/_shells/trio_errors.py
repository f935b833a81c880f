"""The errors which in trio are trio's own as well. Raised by everything that runs inside a trio task."""

from __future__ import annotations

import trio

from .. import _errors


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
