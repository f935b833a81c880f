"""What comes out equals what went in, and what does not fit is an InvalidMessage."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from namedipc._codec import Codec
from namedipc._errors import DeclarationError, InvalidMessage

from .message_types import (
    SAMPLES,
    Card,
    Color,
    Left,
    Odd,
    Order,
    Page,
    Plate,
    Refund,
    Right,
    Seat,
    Size,
    Ticket,
    Tree,
    json_bytes,
    message_types,
    same,
    union,
)

MORE = Order(4, "soup")


def codec(tp: object) -> Codec[Any]:
    """A codec whose values may be wrong."""
    return Codec(tp)


def error(tp: object, value: object) -> str:
    """Why a value cannot be sent."""
    with pytest.raises(InvalidMessage) as caught:
        codec(tp).encode(value)
    return str(caught.value)


def damage(tp: object, data: bytes) -> str:
    """Why bytes cannot be read."""
    with pytest.raises(InvalidMessage) as caught:
        codec(tp).decode(data)
    return str(caught.value)


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(message_types, st.data())
def test_values_arrive_as_they_were_sent(made: tuple[Any, st.SearchStrategy[Any]], data: st.DataObject) -> None:
    """Values of any type, unions of any members included, arrive equal and of the same classes."""
    tp, values = made
    value = data.draw(values)
    tried = codec(tp)
    body = tried.encode(value)
    assert same(tried.decode(body), value)
    if type(value) in tried.exact:
        assert tried.encode_wire(value) == body


def test_every_pair_of_types_can_be_told_apart() -> None:
    """Each union of two types brings the values of both back as what they were, whatever msgspec makes of it."""
    for one, one_value in SAMPLES:
        for other, other_value in SAMPLES:
            tried = codec(union([one, other]))
            for value in (one_value, other_value):
                assert same(tried.decode(tried.encode(value)), value)


@pytest.mark.parametrize(
    ("tp", "value", "wire"),
    [
        (Order, MORE, {"table": 4, "dish": "soup"}),
        (Order | str, MORE, {"table": 4, "dish": "soup"}),
        (Order | str, "soup", "soup"),
        (Order | Refund, MORE, ["Order", {"table": 4, "dish": "soup"}]),
        (Refund | Order, MORE, ["Order", {"table": 4, "dish": "soup"}]),
        (Order | Refund | None, None, None),
        (bytes | str, b"x", ["bytes", b"x"]),
        (bytes | str | None, "x", ["str", "x"]),
        (list[bytes | str], ["x"], [["str", "x"]]),
        (datetime.date | str, datetime.date(2026, 1, 2), ["date", "2026-01-02"]),
        (list[int] | set[int], {1}, ["set[int]", [1]]),
        (list[int] | list[str], ["x"], ["list[str]", ["x"]]),
        (Page[int] | Page[bytes | str], Page([b"x"]), ["Page[bytes | str]", {"items": [["bytes", b"x"]]}]),
        (Plate, Plate("x"), {"mark": ["str", "x"], "count": 1}),
        (dict[bytes | str, int], {b"x": 1}, {("bytes", b"x"): 1}),
        (set[Odd], {Odd.ONE}, ["ONE"]),
        (dict[str, bytes | str], {"x": b"y"}, {"x": ["bytes", b"y"]}),
        (Left | Right, Left(1), {"type": "Left", "number": 1}),
        (Left | Right | Ticket, Left(1), ["Left", {"type": "Left", "number": 1}]),
        (Seat | None, Seat(1), [1, "free"]),
        (Card, {"note": "x"}, {"note": ["str", "x"]}),
        (Color, Color.RED, "red"),
        (Odd, Odd.TWO, "TWO"),
        (Literal[b"x", Odd.ONE], Odd.ONE, "Odd.ONE"),
        (Size | int, Size.LARGE, ["Size", 2]),
        (int | float | None, 2, 2),
    ],
)
def test_the_wire(tp: object, value: object, wire: object) -> None:
    """Records are maps, what looks alike is tagged by its name, all else travels as itself."""
    assert msgspec.msgpack.decode(codec(tp).encode(value)) == wire


def test_an_empty_list_of_a_union_of_lists_is_the_first_of_them() -> None:
    """What belongs to several members belongs to the first one; the value is the same."""
    tried = codec(list[int] | list[str])
    assert tried.decode(tried.encode([])) == []


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (Sequence[int], [1]),
        (Mapping[str, int], {"a": 1}),
        (AbstractSet[bytes | str], {b"a"}),
        (Sequence[bytes | str], [b"a"]),
    ],
)
def test_abstract_collections_arrive_as_the_usual_ones(tp: object, value: object) -> None:
    """A Sequence arrives as a list, a Mapping as a dict, a Set as a set."""
    tried = codec(tp)
    assert same(tried.decode(tried.encode(value)), value)


def test_a_tuple_is_a_sequence() -> None:
    """A tuple may be sent as a Sequence; text may not, though Python calls it one."""
    tried = codec(Sequence[int])
    assert tried.decode(tried.encode((1, 2))) == [1, 2]
    assert error(Sequence[str], "text") == "expected list[str], got str ('text')"


@pytest.mark.parametrize(
    ("tp", "value", "message"),
    [
        (Order, Refund(1, "a"), "expected Order, got Refund (Refund(table=1, dish='a'))"),
        (Order | None, 5, "expected Order | None, got int (5)"),
        (int, None, "expected int, got None"),
        (int, True, "expected int, got bool (True); a bool is kept apart from int and float, write int(...)"),
        (datetime.date, datetime.datetime(2026, 1, 2), "expected date, got datetime"),
        (bytes, bytearray(b"x"), "expected bytes, got bytearray"),
        (Literal["a", "b"], "c", "expected Literal['a', 'b'], got str ('c')"),
        (Literal[1], True, "expected Literal[1], got bool (True)"),
        (tuple[int, str], (1,), "expected tuple[int, str], got tuple ((1,))"),
        (Color, "red", "expected Color, got str ('red')"),
        (int, 2**64, "int: an integer does not fit 64 bits (-2**63 to 2**64 - 1)"),
        (list[int], [-(2**63) - 1], "list[int]: an integer does not fit 64 bits"),
        (str, "\ud800", "str: 'utf-8' codec can't encode character"),
        (list[int], [object()], "list[int]: Encoding objects of type object is unsupported"),
        (list[Order | Refund], [5], "list[Order | Refund]: int is none of Order | Refund"),
        (list[Order | Refund], None, "expected list[Order | Refund], got None"),
        (dict[str, bytes | str], {"a": 5}, "dict[str, bytes | str]: int is none of bytes | str"),
        (dict[bytes | str, int] | None, 5, "expected dict[bytes | str, int] | None, got int (5)"),
        (Tree, Tree("x", None), "Tree: expected list[Tree], got NoneType"),  # type: ignore[arg-type]  # wrong on purpose
        (list[Plate], [MORE], "list[Plate]: expected Plate, got Order"),
        (list[Odd], [Color.RED], "list[Odd]: <Color.RED: 'red'> is none of ONE, TWO"),
        (list[tuple[bytes | str, int]], [b"x"], "list[tuple[bytes | str, int]]: expected tuple"),
        (list[dict[bytes | str, int]], [[]], "expected dict[bytes | str, int], got list"),
        (list[dict[str, bytes | str]], [[]], "expected dict[str, bytes | str], got list"),
    ],
)
def test_what_does_not_fit_is_not_sent(tp: object, value: object, message: str) -> None:
    """A value of another type, and one that cannot be carried, is refused with the declared type's name."""
    assert message in error(tp, value)


def test_a_subclass_is_sent_as_what_was_declared() -> None:
    """A subclass of a declared class belongs to it, as type checkers have it; it arrives as the declared class."""

    @attrs.frozen
    class Large(Order):
        size: int = 2

    tried = codec(Order | Refund)
    assert tried.decode(tried.encode(Large(1, "a"))) == Order(1, "a")
    assert codec(Order).decode(codec(Order).encode(Large(1, "a"))) == Order(1, "a")


def test_a_struct_s_subclass_is_refused() -> None:
    """A subclass of a struct may be laid out otherwise, so it is not taken for its base."""

    class Tagged(Ticket, tag=True, frozen=True):
        pass

    assert "expected Ticket, got Tagged" in error(Ticket, Tagged(1))


def test_an_int_is_a_float() -> None:
    """An int may be sent where a float is declared, and arrives as a float."""
    for tp in (float, float | str):
        value = codec(tp).decode(codec(tp).encode(3))
        assert value == 3.0
        assert type(value) is float


def test_floats_of_every_kind_arrive() -> None:
    """Infinities, the negative zero and NaN are floats like others."""
    tried = codec(float)
    assert tried.decode(tried.encode(-math.inf)) == -math.inf
    assert math.copysign(1, tried.decode(tried.encode(-0.0))) == -1
    assert math.isnan(tried.decode(tried.encode(math.nan)))


def test_an_aware_moment_arrives_in_utc() -> None:
    """A datetime keeps its moment, not the name of its zone; a naive one stays naive."""
    zone = datetime.timezone(datetime.timedelta(hours=2))
    tried = codec(datetime.datetime)
    moment = tried.decode(tried.encode(datetime.datetime(2026, 1, 2, tzinfo=zone)))
    assert moment == datetime.datetime(2026, 1, 2, tzinfo=zone)
    assert moment.tzinfo == datetime.UTC
    assert tried.decode(tried.encode(datetime.datetime(2026, 1, 2))).tzinfo is None


@pytest.mark.parametrize(
    ("tp", "data", "message"),
    [
        (Order, b"", "Order: what arrived does not fit: Input data was truncated"),
        (
            Order,
            b"\x82\xa5table\xa1x\xa4dish\xa1x",
            "Order: what arrived does not fit: Expected `int`, got `str` - at `$.table`",
        ),
        (int, b"\x01\x01", "trailing characters"),
        (str, b"\xa1\xff", "UTF-8"),
        (list[bytes | str], b"\x91\x92\xa3str\xa1\xff", "UTF-8"),
        (bytes | str, b"\x92\xa4list\x90", "Invalid value 'list'"),
        (bytes | str, b"\x93\xa3str\xa1x\x01", "bytes | str: what arrived does not fit"),
        (int | None, b"\xc1", "int | None: what arrived does not fit"),
        (Annotated[int, msgspec.Meta(ge=0)], b"\xff", "Expected `int` >= 0"),
        (Annotated[bytes | str, msgspec.Meta(max_length=1)], b"\x92\xa3str\xa2xx", "length <= 1"),
        (Literal["a"], b"\xa1b", "Invalid enum value 'b'"),
        (Odd, b"\xa5THREE", "Invalid enum value 'THREE'"),
    ],
)
def test_what_arrives_damaged_is_refused(tp: object, data: bytes, message: str) -> None:
    """Bytes which are no value of the type raise InvalidMessage, with what is wrong and where."""
    assert message in damage(tp, data)


def test_nesting_without_end_is_refused() -> None:
    """Neither a hostile depth, nor a value which contains itself, is more than an InvalidMessage."""

    @attrs.define
    class Chain:
        link: Chain | None = None

    deep = b"\x81\xa4link" * 100_000 + b"\xc0"
    endless = Chain()
    endless.link = endless
    from namedipc._types import resolve_message

    resolve_message(Chain, frame_locals={"Chain": Chain})
    assert damage(Chain, deep) == "Chain: what arrived is nested too deep"
    assert error(Chain, endless) == "Chain: nested too deep, or it contains itself"
    assert damage(Tree, b"\x83\xa4mark\x92\xa3str\xa0\xa5other\xc0\xa8children\x91" * 100_000).startswith("Tree: ")


@attrs.frozen
class _Checked:
    number: int = attrs.field()

    @number.validator
    def _check(self, _: object, value: int) -> None:
        if value == 1:
            raise KeyError("one")
        if value < 0:
            raise ValueError("below zero")


@pytest.mark.parametrize(("number", "message"), [(-1, "below zero"), (1, "'one'")])
def test_a_class_s_own_checks_count(number: int, message: str) -> None:
    """Whatever a validator raises when a message arrives is an InvalidMessage."""
    data = msgspec.msgpack.encode({"number": number})
    assert message in damage(_Checked, data)


def test_defaults_are_the_class_s_own() -> None:
    """A field which has not arrived has the default of the receiving class, also where a shadow stands in."""
    assert codec(Plate).decode(msgspec.msgpack.encode({"mark": ["str", "x"]})) == Plate("x", 1)
    assert codec(Tree).decode(msgspec.msgpack.encode({"mark": ["str", "x"]})) == Tree("x")


def test_unknown_fields_are_ignored() -> None:
    """A newer sender may have more fields."""
    data = msgspec.msgpack.encode({"mark": ["str", "x"], "new": [1]})
    assert codec(Plate).decode(data) == Plate("x", 1)


ARRAYS: list[tuple[Any, Any]] = [
    (npt.NDArray[np.float64], np.arange(6.0).reshape(2, 3)),
    (npt.NDArray[np.float64], np.arange(6.0).reshape(2, 3).T),
    (npt.NDArray[np.float64], np.arange(6.0, dtype=">f8")[::2]),
    (npt.NDArray[np.float64], np.array(3.0)),
    (npt.NDArray[np.int32], np.zeros((0, 3), np.int32)),
    (npt.NDArray[np.bool_], np.array([True, False])),
    (npt.NDArray[np.complex128], np.array([1 + 2j])),
    (npt.NDArray[np.str_], np.array(["ab", "c"])),
    (npt.NDArray[np.datetime64], np.array(["2026-01-02"], dtype="M8[D]")),
    (np.ndarray[tuple[int, int], np.dtype[np.uint8]], np.ones((2, 2), np.uint8)),
]


@pytest.mark.parametrize(("tp", "value"), ARRAYS)
def test_arrays_arrive_as_copies(tp: object, value: npt.NDArray[Any]) -> None:
    """An array arrives with its dtype, shape and numbers, in memory of its own that can be written."""
    tried = codec(tp)
    arrived = tried.decode(tried.encode(value))
    assert arrived.dtype == value.dtype
    assert arrived.shape == value.shape
    assert np.array_equal(arrived, value)
    assert arrived.flags.writeable
    assert arrived.base is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3, np.int64), "expected NDArray[float64], got ndarray of int64"),
        (np.ma.masked_array([1.0], [True]), "expected NDArray[float64], got MaskedArray of float64"),
        ([1.0], "expected NDArray[float64], got list"),
    ],
)
def test_other_arrays_are_not_sent(value: object, message: str) -> None:
    """Arrays of other numbers, and subclasses which hold more than numbers, are refused."""
    assert message in error(npt.NDArray[np.float64], value)
    assert "expected NDArray[float64]" in error(list[npt.NDArray[np.float64]], [value])


def test_dimensions_are_checked_where_declared() -> None:
    """A declared shape fixes how many dimensions there are."""
    matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
    assert "expected NDArray[float64]" in error(matrix, np.zeros(3))
    data = codec(npt.NDArray[np.float64]).encode(np.zeros(3))
    assert "1 dimensions" in damage(matrix, data)


@pytest.mark.parametrize(
    "packed",
    [
        ["<f8", [2], b"\0" * 8],
        ["<f8", [-1], b"\0" * 8],
        ["<f8", [1] * 40, b"\0" * 8],
        ["<f8", [2**40, 2**40], b"\0" * 8],
        ["<i8", [1], b"\0" * 8],
        ["O", [1], b"\0" * 8],
        ["|O8", [1], b"\0" * 8],
        ["<f8,<f8", [1], b"\0" * 16],
        ["(9,9,9)f8", [1], b"\0" * 8],
        ["f8" * 40, [1], b"\0" * 8],
        ["<f3", [1], b"\0" * 3],
        ["<U0", [5], b""],
    ],
)
def test_hostile_arrays_are_refused(packed: list[object]) -> None:
    """A shape which does not match the bytes, and dtypes that were not declared, never reach numpy's parser."""
    damage(npt.NDArray[np.float64], msgspec.msgpack.encode(packed))


def test_fingerprints() -> None:
    """Equal declarations have equal fingerprints of 16 bytes; a union's order does not count."""
    assert len(codec(Order).fingerprint) == 16
    assert codec(Order | Refund).fingerprint == codec(Refund | Order).fingerprint
    assert codec(Order).fingerprint != codec(Refund).fingerprint
    assert codec(Page[Order]).type_name == "Page[Order]"


def test_check_asks_for_the_top_level_only() -> None:
    """`check` refuses what `encode` refuses at the top, and looks no deeper."""
    codec(list[int]).check(["not looked at"])
    with pytest.raises(InvalidMessage, match="expected int, got str"):
        codec(int).check("x")


def test_json_for_text_tools() -> None:
    """As JSON the same types travel as text; what JSON has no word for is refused instead of turned into null."""
    tried: Codec[Any] = Codec(Page[Order | Refund | float | None], encoding="json")
    value = Page([MORE, None, 1.5])
    assert tried.encode(value) == b'{"items":[["Order",{"dish":"soup","table":4}],null,["float",1.5]]}'
    assert tried.decode(tried.encode(value)) == value
    with pytest.raises(InvalidMessage, match="not JSON compliant"):
        tried.encode(Page([math.nan]))
    with pytest.raises(InvalidMessage, match="truncated"):
        tried.decode(b"{")


def as_json(tp: object) -> Codec[Any] | None:
    """The JSON codec of a type; None where JSON cannot carry it."""
    try:
        return Codec(tp, encoding="json")
    except DeclarationError:
        return None


@settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(message_types, st.data())
def test_values_arrive_from_json_as_they_were_sent(
    made: tuple[Any, st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    """As JSON as well, for every type that is taken: equal, of the same classes, and valid JSON."""
    tp, values = made
    tried = as_json(tp)
    value = data.draw(values)
    if tried is None:
        return
    try:
        text = tried.encode(value)
    except InvalidMessage as error:
        if "not JSON compliant" not in str(error):  # a float without end
            raise
        return
    json.loads(text)
    assert same(tried.decode(text), value)


def test_every_pair_of_types_can_be_told_apart_in_json() -> None:
    """Unions keep their members apart in JSON as in msgpack."""
    for one, one_value in SAMPLES:
        for other, other_value in SAMPLES:
            tried = Codec[Any](union([one, other]), encoding="json")
            for value in (one_value, other_value):
                assert same(tried.decode(tried.encode(value)), value)


@pytest.mark.parametrize(
    ("tp", "value", "text"),
    [
        (bytes, b"red", b'"cmVk"'),
        (bytes | str, b"red", b'["bytes","cmVk"]'),
        (datetime.datetime, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), b'"2026-01-02T00:00:00Z"'),
        (Odd, Odd.TWO, b'"TWO"'),
        (Size, Size.LARGE, b"2"),
        (dict[int, bytes], {1: b""}, b'{"1":""}'),
        (dict[Odd, int], {Odd.ONE: 1}, b'{"ONE":1}'),
        (int, 2**64 - 1, b"18446744073709551615"),
        (int, -(2**63), b"-9223372036854775808"),
        (float, 1e30, b"1e30"),
        (npt.NDArray[np.uint8], np.array([1, 2], np.uint8), b'["|u1",[2],"AQI="]'),
    ],
)
def test_the_wire_in_json(tp: object, value: Any, text: bytes) -> None:
    """The same shapes as in msgpack; bytes as base64, times as ISO 8601."""
    tried = codec(tp)
    assert tried.encode_json(value) == text
    assert np.array_equal(tried.decode_json(text), value)
    assert tried.named("here").encode_json(value) == text


@pytest.mark.parametrize(
    ("tp", "instead"),
    [
        (dict[bool, int], "list[tuple[bool, int]]"),
        (list[dict[int | str, Order]], "list[tuple[int | str, Order]]"),
        (dict[tuple[int, int], None], "list[tuple[tuple[int, int], None]]"),
        (dict[Literal["1", 1], int], "list[tuple[Literal['1', 1], int]]"),
    ],
)
def test_keys_that_text_would_mix_up_are_refused(tp: object, instead: str) -> None:
    """At the declaration of a JSON codec; by a codec of msgpack when JSON is first asked of it."""
    with pytest.raises(DeclarationError, match=f"write {re.escape(instead)}$"):
        Codec(tp, encoding="json")
    with pytest.raises(InvalidMessage, match="cannot be sent as JSON, whose keys are text"):
        codec(tp).decode_json(b"{}")


@pytest.mark.parametrize(
    ("tp", "text", "message"),
    [
        (int, str(2**64), "int: what arrived does not fit: an integer does not fit 64 bits"),
        (list[int], f"[{-(2**63) - 1}]", "an integer does not fit 64 bits"),
        (dict[int, int], f'{{"{2**64}": 1}}', "an integer does not fit 64 bits"),
        (int, "1" * 5000, "int: what arrived does not fit: "),
        (float, "NaN", "malformed"),
        (float, "1e999", "out of range"),
        (Tree, '{"mark":["str",""],"children":[' * 20_000, "nested too deep"),
        (list[bytes | str], "[" * 100_000, "list[bytes | str]: what arrived"),
        (str, '"\\ud800"', "str: what arrived"),
        (bytes, '"?"', "base64"),
        (int, "1 2", "trailing"),
        (int, "", "truncated"),
    ],
)
def test_json_that_does_not_fit_is_refused(tp: object, text: str, message: str) -> None:
    """Long integers, floats without end, nesting, halves of characters: an InvalidMessage each."""
    with pytest.raises(InvalidMessage) as caught:
        codec(tp).decode_json(text.encode())
    assert message in str(caught.value)


def test_bad_utf_8_is_refused_in_json() -> None:
    """It is no JSON."""
    with pytest.raises(InvalidMessage, match="UTF-8"):
        codec(str).decode_json(b'"\xff"')


def test_a_type_that_msgspec_refuses_is_a_declaration_error() -> None:
    """What neither side foresaw is refused at declaration, and never reaches a caller as a TypeError of msgspec."""
    with pytest.raises(DeclarationError):
        codec(Annotated[int, msgspec.Meta(ge=0), msgspec.Meta(gt=0)])


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.sampled_from(SAMPLES), json_bytes)
def test_no_text_does_more_than_an_invalid_message_to_a_value(sample: tuple[Any, Any], data: bytes) -> None:
    """The same for the values of every type."""
    with contextlib.suppress(InvalidMessage):
        codec(sample[0]).decode_json(data)


def test_json_costs_nothing_until_it_is_used() -> None:
    """Its functions are made by the first use, and kept."""
    result = codec(Order)
    assert result._json is None
    result.encode_json(MORE)
    assert result._json is not None


def test_the_twin_in_json() -> None:
    """It is made once; where JSON cannot carry the type that is told at once."""
    result = codec(Order)
    assert result.in_json() is result.in_json()
    assert result.in_json().encode(Order(1, "")) == result.encode_json(Order(1, ""))
    with pytest.raises(InvalidMessage, match="list"):
        codec(dict[bool, int]).in_json()


def test_decimals_keep_their_places() -> None:
    """A Decimal travels as text, with every digit."""
    tried = codec(decimal.Decimal | float)
    assert str(tried.decode(tried.encode(decimal.Decimal("1.50")))) == "1.50"


def test_the_errors_of_a_name_begin_with_its_path() -> None:
    """`named` changes nothing but the messages, which keep their cause."""
    codec: Codec[int] = Codec(int)
    named = codec.named("/run/numbers")
    assert (named.fingerprint, named.description, named.type_name) == (
        codec.fingerprint,
        codec.description,
        codec.type_name,
    )
    assert named.decode(named.encode(7)) == 7
    text: Any = "x"
    for wrong in (lambda: named.encode(text), lambda: named.check(text), lambda: named.decode(b"\xa1x")):
        with pytest.raises(InvalidMessage, match=r"^/run/numbers: "):
            wrong()
