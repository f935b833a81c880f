"""The error tree. This layer knows nothing of the others, and imports nothing.

Every error of the library is an `IPCError`; those with a counterpart in the standard library are also that.

* IPCError
    * NameTaken (FileExistsError): the name has an owner already
    * NameNotFound (FileNotFoundError): nothing stands under the name
    * WrongKind (OSError): something else stands under the name
    * NoServer (ConnectionRefusedError): the name is there, its owner is gone
    * NotAllowed (PermissionError): one side's rules refuse the other
    * TimedOut (TimeoutError): `timeout` or `wait_seconds` has passed
    * ConnectionLost (ConnectionResetError): the other process went away without a goodbye
    * DeclarationError (TypeError): a type or an interface cannot be what a name promises
    * InvalidMessage (ValueError): a value does not fit the declared type
    * TooLarge (ValueError): a value does not fit a limit
    * SchemaMismatch: both sides declare different types under one name
    * ProtocolError: the peer does not speak the protocol
    * LimitReached: a limit of the other side
    * RemoteError: the handler at the other side raised
    * OwnerDied: the last holder of a lock died while it changed what the lock protects
    * EndOfChannel: the peer has closed, and everything it sent has been received
    * Closed: this end was closed by its own side
    * Busy: this end is in use by another task or thread
    * WouldBlock: a `..._nowait` would have to wait

In trio, `ConnectionLost`, `EndOfChannel`, `Closed`, `Busy` and `WouldBlock` are raised as subclasses which are
also trio's own (`_shells/trio_errors.py`). None has an `__init__` of its own, so that all pickle.
"""

from __future__ import annotations


class IPCError(Exception):
    """The base of every error of namedipc."""


class NameTaken(IPCError, FileExistsError):
    """The name has a living owner, or is already there and was to be made anew."""


class NameNotFound(IPCError, FileNotFoundError):
    """Nothing stands under the name, or its directory is missing."""


class WrongKind(IPCError, OSError):
    """Something of another kind stands under the name. It has not been touched."""


class NoServer(IPCError, ConnectionRefusedError):
    """The name is there, but nobody listens: its owner has died or is not listening."""


class NotAllowed(IPCError, PermissionError):
    """The file's permissions, its owner, or a rule given as `allow=` refuse it."""


class TimedOut(IPCError, TimeoutError):
    """A time given by the caller has passed. What had already been sent is not taken back."""


class ConnectionLost(IPCError, ConnectionResetError):
    """The other process went away without a goodbye. In trio also a `trio.BrokenResourceError`.

    Attributes:
        calls: The methods of the calls that were in flight, whose fate is unknown; empty where there were none.
    """

    calls: tuple[str, ...] = ()


class DeclarationError(IPCError, TypeError):
    """A type or an interface cannot be carried as declared. The message says what to write instead."""


class InvalidMessage(IPCError, ValueError):
    """A value does not fit the declared type: one's own before a byte has left, or one that was received."""


class TooLarge(IPCError, ValueError):
    """A value is larger than the limit allows. Nothing of it has been sent."""


class SchemaMismatch(IPCError):
    """The two sides declare different types or interfaces under one name; the message has the first difference."""


class ProtocolError(IPCError):
    """The peer sent what the protocol does not allow. The connection cannot be used any more."""


class LimitReached(IPCError):
    """The other side refuses for a limit of its own: too many clients, or too many calls in flight."""


class RemoteError(IPCError):
    """The handler at the other side raised.

    Attributes:
        type_name: The exception's class there, for example `ValueError`.
        message: Its text.
        traceback_text: The traceback there, as text.
    """

    type_name: str = ""
    message: str = ""
    traceback_text: str = ""


class OwnerDied(IPCError):
    """The last holder of a lock died while it changed what the lock protects."""


class EndOfChannel(IPCError):
    """The peer has closed in order, and everything it sent has been received. In trio also a `trio.EndOfChannel`."""


class Closed(IPCError):
    """This end was closed by its own side. In trio also a `trio.ClosedResourceError`."""


class Busy(IPCError):
    """Another task or thread uses this end for the same purpose. In trio also a `trio.BusyResourceError`."""


class WouldBlock(IPCError):
    """A `..._nowait` operation would have to wait. In trio also a `trio.WouldBlock`."""


def renewed(error: IPCError, kind: type[IPCError] | None = None) -> IPCError:
    """Return a new exception with the text, attributes, notes and cause of another; of its class, or of `kind`.

    One object raised in several tasks or threads would mix their tracebacks, and one list of notes their notes.
    """
    fresh = (kind or type(error))(*error.args)
    fresh.__dict__.update(error.__dict__)
    if "__notes__" in fresh.__dict__:
        fresh.__notes__ = list(fresh.__notes__)
    fresh.__cause__ = error.__cause__
    return fresh
