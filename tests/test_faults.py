"""Errors on the wire: what travels, and that it arrives as the error it would have been on this side."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc import _errors
from namedipc._errors import InvalidMessage, IPCError, NotAllowed, ProtocolError, RemoteError
from namedipc._faults import (
    CANCELLED,
    DEADLINE,
    DECLARED,
    LARGEST_HEADERS_BYTES,
    REMOTE,
    Fault,
    code_of,
    connection_error_of,
    error_of,
    fault_of,
    fault_of_handler,
    pack_fault,
    pack_headers,
    unpack_headers,
)
from namedipc._protocol.frames import LONGEST_ERROR_BYTES
from namedipc._raised import LARGEST_FIELDS_BYTES, NO_ERRORS, DeclaredErrors
from namedipc._shells import trio_errors
from namedipc._texts import LONGEST_TEXT

CODES: dict[str, type[IPCError]] = {
    "remote": _errors.RemoteError,
    "cancelled": _errors.ConnectionLost,
    "deadline": _errors.TimedOut,
    "not-allowed": _errors.NotAllowed,
    "limit": _errors.LimitReached,
    "invalid": _errors.InvalidMessage,
    "too-large": _errors.TooLarge,
    "schema": _errors.SchemaMismatch,
    "kind": _errors.WrongKind,
    "protocol": _errors.ProtocolError,
    "draining": _errors.NoServer,
}
"""The wire's words: they may not change, whatever the classes are called."""


def arrived(fault: Fault) -> IPCError:
    """What a fault becomes at the other side."""
    error = error_of(pack_fault(fault), where="Kitchen.cook")
    assert isinstance(error, IPCError)
    return error


def raised(error: Exception) -> Exception:
    """The exception, with the traceback of having been raised here."""
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(("code", "kind"), CODES.items())
def test_each_code_is_an_error(code: str, kind: type[IPCError]) -> None:
    """It arrives as its class, and its text begins with the call."""
    error = arrived(Fault(code, "why"))
    assert type(error) is kind
    assert str(error).startswith("Kitchen.cook: ")
    assert str(error).endswith("why")


@pytest.mark.parametrize(("code", "kind"), [item for item in CODES.items() if item[0] != "remote"])
def test_an_error_of_the_library_arrives_as_itself(code: str, kind: type[IPCError]) -> None:
    """Its class decides the code."""
    fault = fault_of(kind("why"))
    assert fault == Fault(code, "why")
    assert code_of(pack_fault(fault)) == code
    assert str(arrived(fault)) == "Kitchen.cook: why"


def test_the_named_codes() -> None:
    """Those which other modules ask for."""
    assert (REMOTE, CANCELLED, DEADLINE) == ("remote", "cancelled", "deadline")


def test_trios_variant_is_the_same_error() -> None:
    """A subclass travels as what it is a kind of."""
    assert fault_of(trio_errors.ConnectionLost("why")) == Fault(CANCELLED, "why")


@pytest.mark.parametrize("error", [_errors.Closed("why"), _errors.OwnerDied("why"), IPCError("why")])
def test_an_error_without_a_code_is_one_of_the_protocol(error: IPCError) -> None:
    """It was not made to travel; its text does."""
    assert fault_of(error) == Fault("protocol", "why")


def test_a_code_of_a_later_version_is_one_of_the_protocol() -> None:
    """The text is told, whatever the code is."""
    error = arrived(Fault("sold-out", "no soup"))
    assert type(error) is ProtocolError
    assert str(error) == "Kitchen.cook: no soup"


# --- what a handler raises


def test_a_handlers_exception_is_remote() -> None:
    """Its class, its text and its traceback come along; the traceback is shown as a note."""
    fault = fault_of_handler(raised(ValueError("no soup")), with_traceback=True)
    assert (fault.code, fault.message, fault.type_name) == (REMOTE, "no soup", "ValueError")
    error = arrived(fault)
    assert isinstance(error, RemoteError)
    assert str(error) == "Kitchen.cook: ValueError: no soup"
    assert (error.type_name, error.message, error.traceback_text) == ("ValueError", "no soup", fault.traceback_text)
    assert "in raised\n    raise error" in error.traceback_text
    (note,) = error.__notes__
    assert note.startswith("at the other side:\nTraceback (most recent call last):")
    assert note.endswith("ValueError: no soup")


def test_a_traceback_is_for_those_who_may_see_it() -> None:
    """It shows source lines and paths: another user gets the class and the text only."""
    fault = fault_of_handler(raised(ValueError("no soup")), with_traceback=False)
    assert fault == Fault(REMOTE, "no soup", "ValueError")
    error = arrived(fault)
    assert isinstance(error, RemoteError)
    assert error.traceback_text == ""
    assert not hasattr(error, "__notes__")


def test_an_exception_without_a_text_is_its_class() -> None:
    """No colon with nothing after it."""
    assert str(arrived(fault_of_handler(KeyError(), with_traceback=False))) == "Kitchen.cook: KeyError"


def test_a_local_class_keeps_its_qualified_name() -> None:
    """Two classes of one name can be told apart."""

    class Sold(Exception):
        pass

    fault = fault_of_handler(Sold("soup"), with_traceback=False)
    assert fault.type_name == "test_a_local_class_keeps_its_qualified_name.<locals>.Sold"


def test_an_error_of_the_library_which_a_handler_raises_is_remote() -> None:
    """The handler's own trouble with some other name is not the caller's with this one."""
    error = arrived(fault_of_handler(NotAllowed("another service"), with_traceback=False))
    assert type(error) is RemoteError
    assert str(error) == "Kitchen.cook: NotAllowed: another service"


def test_an_exception_whose_text_cannot_be_told() -> None:
    """A broken `__str__` is the handler's fault, and must not be the service's end."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("broken")

        __repr__ = __str__

    fault = fault_of_handler(raised(Broken()), with_traceback=True)
    assert fault.message == "an exception whose text cannot be told"
    assert "Traceback" in fault.traceback_text
    assert isinstance(arrived(fault), RemoteError)


def test_a_group_of_exceptions_is_told_whole() -> None:
    """What a nursery raises: the text of the group, and each member in the traceback."""
    group = ExceptionGroup("two of them", [ValueError("one"), KeyError("other")])
    fault = fault_of_handler(raised(group), with_traceback=True)
    assert fault.type_name == "ExceptionGroup"
    assert "ValueError: one" in fault.traceback_text
    assert "KeyError: 'other'" in fault.traceback_text


# --- declared exceptions


@attrs.define
class Sold(Exception):
    """One with fields."""

    dish: str


class Empty(Exception):
    """One with a text."""


DECLARED_ERRORS = DeclaredErrors("Kitchen.cook", [Sold, Empty])


@pytest.mark.parametrize("error", [Sold("soup"), Empty("no soup")])
def test_a_declared_exception_arrives_as_itself(error: Exception) -> None:
    """The same class with the same text, and the traceback as a note; for those who may see it."""
    for with_traceback in (True, False):
        fault = fault_of_handler(raised(error), with_traceback=with_traceback, declared=DECLARED_ERRORS)
        assert (fault.code, fault.message, fault.type_name) == (DECLARED, str(error), type(error).__name__)
        arrived = error_of(pack_fault(fault), where="Kitchen.cook", declared=DECLARED_ERRORS)
        assert type(arrived) is type(error)
        assert str(arrived) == str(error)
        assert bool(getattr(arrived, "__notes__", ())) == with_traceback


def test_an_exception_declared_by_the_service_only_is_remote() -> None:
    """Its class and its text are there for a caller who does not know it."""
    for declared in (NO_ERRORS, DeclaredErrors("Kitchen.cook", [Empty])):
        fault = fault_of_handler(raised(Sold("soup")), with_traceback=True, declared=DECLARED_ERRORS)
        error = error_of(pack_fault(fault), where="Kitchen.cook", declared=declared)
        assert isinstance(error, RemoteError)
        assert str(error).startswith("Kitchen.cook: Sold: ")
        assert error.type_name == "Sold"
        assert error.traceback_text == fault.traceback_text


def test_another_exception_of_the_handler_is_remote() -> None:
    """Whatever is declared."""
    fault = fault_of_handler(ValueError("no soup"), with_traceback=False, declared=DECLARED_ERRORS)
    assert fault == Fault(REMOTE, "no soup", "ValueError")


def test_an_error_of_the_library_may_be_declared() -> None:
    """A method that asks another service may say so."""
    declared = DeclaredErrors("Kitchen.cook", [NotAllowed])
    fault = fault_of_handler(NotAllowed("another service"), with_traceback=False, declared=declared)
    error = error_of(pack_fault(fault), where="Kitchen.cook", declared=declared)
    assert type(error) is NotAllowed
    assert str(error) == "another service"


@pytest.mark.parametrize("fields", [b"", b"\xc1", b"\x80", b"\x91\x05"])
def test_fields_that_cannot_be_read_are_one_of_the_protocol(fields: bytes) -> None:
    """The caller gets an error of the library all the same."""
    for name in ("Sold", "Empty"):
        body = pack_fault(Fault(DECLARED, "text", name, "", fields))
        error = error_of(body, where="Kitchen.cook", declared=DECLARED_ERRORS)
        assert type(error) is ProtocolError
        assert str(error).startswith("Kitchen.cook: the peer sent an error which cannot be read: ")


def test_the_longest_declared_exception_fits_a_frame() -> None:
    """Two long texts and long fields together."""
    error = Sold("\N{PILE OF POO}" * (LARGEST_FIELDS_BYTES // 4 - 4))
    fault = fault_of_handler(raised(error), with_traceback=True, declared=DECLARED_ERRORS)
    assert len(fault.fields) > LARGEST_FIELDS_BYTES - 32
    assert len(pack_fault(fault)) <= LONGEST_ERROR_BYTES


def test_a_connection_has_no_declared_errors() -> None:
    """One of id 0 is always the library's own."""
    fault = fault_of_handler(Sold("soup"), with_traceback=False, declared=DECLARED_ERRORS)
    error = connection_error_of(pack_fault(fault), where="/run/kitchen")
    assert isinstance(error, RemoteError)
    assert str(error).startswith("/run/kitchen: Sold: ")
    assert type(connection_error_of(b"\xc1", where="/run/kitchen")) is ProtocolError


# --- headers


def test_headers_there_and_back() -> None:
    """A map of texts, an empty one too."""
    for headers in ({}, {"traceparent": "00-1-2-01", "": "é"}):
        assert unpack_headers(pack_headers(headers)) == headers


def test_headers_have_a_limit() -> None:
    """Their length has 16 bits on the wire."""
    overhead = len(pack_headers({"a": "x" * 60_000})) - 60_000
    longest = LARGEST_HEADERS_BYTES - overhead
    assert len(pack_headers({"a": "x" * longest})) == LARGEST_HEADERS_BYTES
    with pytest.raises(InvalidMessage, match=f"^headers of {LARGEST_HEADERS_BYTES + 1} bytes; a call carries 65535$"):
        pack_headers({"a": "x" * (longest + 1)})


@pytest.mark.parametrize("headers", [5, [("a", "b")], {"a": object()}, {"a": "\udcff"}])
def test_other_headers_are_refused(headers: Any) -> None:
    """Before anything is sent, with the library's own error."""
    with pytest.raises(InvalidMessage):
        pack_headers(headers)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80\x80", b"\x93\1\2\3", b"\x81\xa1a\5", b"\x81\xa1a\xa1\xff"])
def test_headers_that_cannot_be_read_are_an_offence(data: bytes) -> None:
    """They are no map of texts."""
    with pytest.raises(ProtocolError, match=r"^the headers of a call cannot be read: "):
        unpack_headers(data)


# --- every text fits


@pytest.mark.parametrize("character", ["x", "\N{PILE OF POO}", "\udc80"])
def test_texts_are_cut_and_fit_a_frame(character: str) -> None:
    """The end is kept, which says most in a traceback; four bytes a character still fit."""
    text = character * (2 * LONGEST_TEXT) + "the end"
    fault = fault_of_handler(raised(ValueError(text)), with_traceback=True)
    assert fault.message.startswith("... ")
    assert len(fault.message) == LONGEST_TEXT + 4
    assert fault.message.endswith("the end")
    assert fault.traceback_text.rstrip().endswith("the end")
    assert len(pack_fault(fault)) <= LONGEST_ERROR_BYTES
    assert len(pack_fault(fault_of(NotAllowed(text)))) <= LONGEST_ERROR_BYTES


def test_a_long_class_name_fits_too() -> None:
    """It is text of somebody else as well."""
    cls = type("X" * (4 * LONGEST_ERROR_BYTES), (Exception,), {})
    assert len(pack_fault(fault_of_handler(cls("x"), with_traceback=False))) <= LONGEST_ERROR_BYTES


def test_a_text_of_the_longest_length_is_kept() -> None:
    """Nothing is cut that need not be."""
    text = "x" * LONGEST_TEXT
    assert fault_of(NotAllowed(text)).message == text


def test_a_lone_surrogate_is_replaced() -> None:
    """File names have them, and UTF-8 does not."""
    fault = fault_of(NotAllowed("/run/\udcff"))
    assert fault.message == "/run/?"
    assert str(arrived(fault)) == "Kitchen.cook: /run/?"


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(text=st.text(max_size=200), name=st.text(max_size=20), trace=st.text(max_size=200))
def test_any_text_arrives(text: str, name: str, trace: str) -> None:
    """As it was sent."""
    error = arrived(Fault(REMOTE, text, name, trace))
    assert isinstance(error, RemoteError)
    assert (error.message, error.type_name, error.traceback_text) == (text, name, trace)


# --- what cannot be read


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x90", b"\xa3abc", b'{"code": "kind"}'])
def test_a_body_that_cannot_be_read_is_one_of_the_protocol(body: bytes) -> None:
    """And not an exception of another kind."""
    error = error_of(body, where="Kitchen.cook")
    assert type(error) is ProtocolError
    assert str(error).startswith("Kitchen.cook: the peer sent an error which cannot be read: ")
    assert code_of(body) == "protocol"


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(body=st.binary(max_size=60))
def test_any_bytes_are_an_error(body: bytes) -> None:
    """Whatever arrives, the caller gets an IPCError."""
    assert isinstance(error_of(body, where="Kitchen.cook"), IPCError)
    assert isinstance(code_of(body), str)


def arrived_in_json(error: Exception, declared: DeclaredErrors = NO_ERRORS) -> Exception:
    """What an exception of a handler becomes for a caller that speaks JSON, and has these classes."""
    fault = fault_of_handler(error, with_traceback=False, declared=DECLARED_ERRORS.in_json())
    return error_of(pack_fault(fault, is_json=True), where="Kitchen.cook", declared=declared)


def test_a_fault_in_json_is_an_object() -> None:
    """The four texts, and the fields as what they are."""
    fault = fault_of_handler(Sold("soup"), with_traceback=False, declared=DECLARED_ERRORS.in_json())
    body = json.loads(pack_fault(fault, is_json=True))
    assert body.pop("fields") == {"dish": "soup"}
    assert body.keys() == {"code", "message", "type_name", "traceback_text"}
    assert "fields" not in json.loads(pack_fault(fault_of(NotAllowed("why")), is_json=True))


def test_an_error_in_json_always_fits() -> None:
    """Control characters take six bytes each: then the traceback is left out."""
    fault = Fault(REMOTE, "\0" * LONGEST_TEXT, "E", "\0" * LONGEST_TEXT)
    assert len(pack_fault(fault, is_json=True)) <= LONGEST_ERROR_BYTES
    fault = Fault(DECLARED, "\0" * LONGEST_TEXT, "\0" * LONGEST_TEXT, "\0" * LONGEST_TEXT, b'"' + b"x" * 60_000 + b'"')
    body = pack_fault(fault, is_json=True)
    assert len(body) <= LONGEST_ERROR_BYTES
    assert json.loads(body)["traceback_text"] == ""


def test_errors_in_json_arrive() -> None:
    """As the class where there is one; as a RemoteError with the fields in a note where there is none."""
    sold = arrived_in_json(Sold("soup"), DECLARED_ERRORS.in_json())
    assert isinstance(sold, Sold)
    assert sold.dish == "soup"
    known = arrived_in_json(Empty("no spoon"), DECLARED_ERRORS.in_json())
    assert (type(known), known.args) == (Empty, ("no spoon",))
    unknown = arrived_in_json(Sold("soup"))
    assert isinstance(unknown, RemoteError)
    assert unknown.type_name == "Sold"
    assert unknown.__notes__ == ['its fields: {"dish": "soup"}']
    remote = arrived_in_json(ValueError("no"))
    assert isinstance(remote, RemoteError)
    assert remote.message == "no"
    assert not hasattr(remote, "__notes__")


@pytest.mark.parametrize("body", [b"{", b'{"code": 1}', b'{"code": "remote"}', b"{" * 100_000, b'{"\xff": 1}'])
def test_an_error_in_json_that_cannot_be_read(body: bytes) -> None:
    """A ProtocolError which says so."""
    assert isinstance(error_of(body, where="Kitchen.cook"), ProtocolError)
    assert code_of(body) == "protocol"


def test_what_declared_exceptions_look_like() -> None:
    """Their fields, or a text."""
    assert {name: node.label for name, node in DECLARED_ERRORS.nodes.items()} == {"Sold": "Sold", "Empty": "str"}


def test_a_method_is_named_once() -> None:
    """Also where the service has named it in what it says."""
    body = pack_fault(fault_of(InvalidMessage("Kitchen.cook: parameter 'order': no")))
    assert (
        str(error_of(body, where="/run/kitchen: Kitchen.cook")) == "/run/kitchen: Kitchen.cook: parameter 'order': no"
    )
