"""Errors on the wire: the body of an ERROR frame, and the exception it becomes at the other side.

The law: what a peer can cause arrives at the peer as the error it would have had on this side.
"""

from __future__ import annotations

import json
import traceback
from typing import Final

import attrs

from . import _errors
from ._codec import Codec
from ._errors import InvalidMessage, IPCError, ProtocolError, RemoteError
from ._protocol.frames import LONGEST_ERROR_BYTES
from ._raised import NO_ERRORS, DeclaredErrors
from ._texts import cut, text_of


@attrs.frozen
class Fault:
    """The body of an ERROR frame.

    Attributes:
        code: Which error it is; one of the codes in `docs/wire.md`.
        message: Its text.
        type_name: For `remote` and `declared`: the class of the handler's exception.
        traceback_text: For `remote`: the traceback; empty where the peer is another user.
        fields: For `declared`: the fields of the exception, or its text; encoded as the call is.
    """

    code: str
    message: str
    type_name: str = ""
    traceback_text: str = ""
    fields: bytes = b""


REMOTE: Final = "remote"
DECLARED: Final = "declared"
CANCELLED: Final = "cancelled"
DEADLINE: Final = "deadline"
DRAINING: Final = "draining"

_ERRORS: Final[dict[str, type[IPCError]]] = {
    REMOTE: RemoteError,
    DECLARED: RemoteError,
    CANCELLED: _errors.ConnectionLost,
    DEADLINE: _errors.TimedOut,
    "not-allowed": _errors.NotAllowed,
    "limit": _errors.LimitReached,
    "invalid": InvalidMessage,
    "too-large": _errors.TooLarge,
    "schema": _errors.SchemaMismatch,
    "kind": _errors.WrongKind,
    "protocol": ProtocolError,
    DRAINING: _errors.NoServer,
}
_CODES: Final = {error: code for code, error in _ERRORS.items() if code != DECLARED}
_CODEC: Final[Codec[Fault]] = Codec(Fault)
_TEXTS: Final = ("code", "message", "type_name", "traceback_text")
_HEADERS: Final[Codec[dict[str, str]]] = Codec(dict[str, str])
LARGEST_HEADERS_BYTES: Final = (1 << 16) - 1


def pack_fault(fault: Fault, *, is_json: bool = False) -> bytes:
    """Return the body of an ERROR frame; as JSON it is an object, in which the fields are JSON themselves."""
    if not is_json:
        return _CODEC.encode(fault)
    members: dict[str, object] = {name: getattr(fault, name) for name in _TEXTS}
    if fault.fields:
        members["fields"] = json.loads(fault.fields)
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
    if len(body) > LONGEST_ERROR_BYTES and fault.traceback_text:  # escaped, a control character takes six bytes
        return pack_fault(attrs.evolve(fault, traceback_text=""), is_json=True)
    return body


def _is_json(body: bytes) -> bool:
    return body[:1] == b"{"  # no map of msgpack begins so


def _read_fault(body: bytes) -> Fault:
    """Read the body of an ERROR frame.

    Raises:
        InvalidMessage: It is none.
    """
    if not _is_json(body):
        return _CODEC.decode(body)
    try:
        found: dict[str, object] = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"an error in JSON: {error}") from None
    texts = [text for name in _TEXTS if isinstance(text := found.get(name), str)]
    if len(texts) != len(_TEXTS):
        raise InvalidMessage(f"an error in JSON has the texts {', '.join(_TEXTS)}")
    code, message, type_name, traceback_text = texts
    fields = json.dumps(found["fields"]).encode() if "fields" in found else b""
    return Fault(code, message, type_name, traceback_text, fields)


def fault_of(error: IPCError) -> Fault:
    """Return how an error of the library itself travels."""
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), "protocol")
    return Fault(code, cut(str(error)))


def fault_of_handler(error: Exception, *, with_traceback: bool, declared: DeclaredErrors = NO_ERRORS) -> Fault:
    """Return how an exception of a handler travels: as what it is if it is declared, and else as `remote`.

    Raises:
        InvalidMessage: A field of a declared exception does not fit its type.
        TooLarge: Its fields do not fit into an ERROR frame.
    """
    text = "".join(traceback.format_exception(error)) if with_traceback else ""
    packed = declared.pack(error)
    if packed is not None:
        label, fields = packed
        return Fault(DECLARED, cut(text_of(error)), label, cut(text), fields)
    return Fault(REMOTE, cut(text_of(error)), cut(type(error).__qualname__), cut(text))


def unpack_headers(data: bytes) -> dict[str, str]:
    """Return the headers of a call.

    Raises:
        ProtocolError: They are no map of texts.
    """
    try:
        return _HEADERS.decode(data)
    except InvalidMessage as error:
        raise ProtocolError(f"the headers of a call cannot be read: {error}") from None


def pack_headers(headers: dict[str, str]) -> bytes:
    """Return headers as a call carries them.

    Raises:
        InvalidMessage: They are no map of texts, or longer than a call can carry.
    """
    data = _HEADERS.encode(headers)
    if len(data) > LARGEST_HEADERS_BYTES:
        raise InvalidMessage(f"headers of {len(data)} bytes; a call carries {LARGEST_HEADERS_BYTES}")
    return data


def code_of(body: bytes) -> str:
    """Return the code of a received ERROR frame."""
    try:
        return _read_fault(body).code
    except InvalidMessage:
        return "protocol"


def error_of(body: bytes, *, where: str, declared: DeclaredErrors = NO_ERRORS) -> Exception:
    """Return the exception that a received ERROR frame stands for; `where` names the call or the path in its text."""
    try:
        fault = _read_fault(body)
        found = declared.unpack(fault.type_name, fault.fields) if fault.code == DECLARED else None
    except InvalidMessage as misfit:
        return ProtocolError(f"{where}: the peer sent an error which cannot be read: {misfit}")
    if found is None:
        error = _library_error(fault, where)
        if fault.fields and _is_json(body):
            error.add_note(f"its fields: {fault.fields.decode()}")
        return error
    _tell_traceback(found, fault)
    return found


def connection_error_of(body: bytes, *, where: str) -> IPCError:
    """Return the exception for an ERROR frame about the connection itself."""
    try:
        return _library_error(_read_fault(body), where)
    except InvalidMessage as error:
        return ProtocolError(f"{where}: the peer sent an error which cannot be read: {error}")


def _library_error(fault: Fault, where: str) -> IPCError:
    kind = _ERRORS.get(fault.code, ProtocolError)
    if kind is not RemoteError:
        method = where.rpartition(": ")[2]  # the other side may have named it, too
        return kind(f"{where}: {fault.message.removeprefix(f'{method}: ')}")
    text = f"{fault.type_name}: {fault.message}" if fault.message else fault.type_name
    remote = RemoteError(f"{where}: {text}")
    remote.type_name = fault.type_name
    remote.message = fault.message
    remote.traceback_text = fault.traceback_text
    _tell_traceback(remote, fault)
    return remote


def _tell_traceback(error: Exception, fault: Fault) -> None:
    if fault.traceback_text:
        error.add_note(f"at the other side:\n{fault.traceback_text.rstrip()}")
