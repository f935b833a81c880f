"""The arguments of a call arrive as they were given, and what does not fit is InvalidMessage or TypeError."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._arguments import ArgumentsCodec, Parameter
from namedipc._batches import join
from namedipc._errors import DeclarationError, InvalidMessage

from .message_types import Order, json_bytes

MORE = Order(4, "soup")


COOK = ArgumentsCodec(
    "Kitchen.cook",
    [
        Parameter(name="order", type=Order),
        Parameter(name="count", type=int, has_default=True),
        Parameter(name="salt", type=bool, has_default=True, keyword_only=True),
        Parameter(name="mark", type=bytes | str, has_default=True, keyword_only=True),
    ],
)
PLAIN = ArgumentsCodec("Kitchen.seat", [Parameter(name="table", type=int), Parameter(name="name", type=str)])
ONE = ArgumentsCodec("Kitchen.note", [Parameter(name="text", type=str)])
NONE = ArgumentsCodec("Kitchen.ping", [])
NAMED = ArgumentsCodec("Kitchen.close", [Parameter(name="at", type=float, keyword_only=True)])
TAGGED = ArgumentsCodec("Kitchen.mark", [Parameter(name="mark", type=bytes | str)])
MANY = ArgumentsCodec("Kitchen.fill", [Parameter(name=f"p{i}", type=int, has_default=True) for i in range(20)])


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (ONE, ["x", "y", ""]),
        (COOK, [MORE, Order(5, "pie")]),
        (MANY, list(range(300))),
        (TAGGED, [b"x", "x"]),
    ],
)
def test_arguments_of_several_calls_are_an_array_of_them(arguments: ArgumentsCodec, values: list[object]) -> None:
    """As if each had been encoded by itself, be it that they are encoded so."""
    batches = arguments.in_batches()
    assert batches is arguments.in_batches()
    singles = [arguments.encode((value,), {}) for value in values]
    assert batches.encode(values) == join(singles)
    assert batches.decode(join(singles)) == [(value,) for value in values]


def test_arguments_of_several_calls_may_be_more_than_one_each() -> None:
    """A foreign client may give as many as it likes by position, if each call gives as many; or none."""
    two = join([PLAIN.encode((1, "a"), {}), PLAIN.encode((2, "b"), {})])
    assert PLAIN.in_batches().decode(two) == [(1, "a"), (2, "b")]
    assert NONE.in_batches().decode(join([b"\x90"] * 3)) == [(), (), ()]
    assert MANY.in_batches().decode(join([b"\x90"] * 3)) == [(), (), ()]


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (PLAIN, join([PLAIN.encode((1, "a"), {}), b"\x91\x01"])),
        (PLAIN, join([b"\x91\x01", PLAIN.encode((1, "a"), {})])),
        (ONE, join([ONE.encode(("a",), {}), b"\x91\x01"])),
        (COOK, join([COOK.encode((MORE,), {"salt": True})])),
        (NAMED, join([NAMED.encode((), {"at": 1.0})])),
        (MANY, join([MANY.encode(tuple(range(17)), {})])),
        (NONE, join([b"\x91\x01"])),
        (ONE, join([b"\x91\xa1\xff"])),
        (ONE, join([b"\x91" * 5000 + b"\x90"])),
        (ONE, b"\x92\x91\xa1a"),
        (ONE, b"\x91"),
        (ONE, b"\x91\x91\xa1aa"),
        (ONE, b""),
        (ONE, b"\x01"),
        (ONE, b"\xdd\xff\xff\xff\xff\x91\xa1a"),
    ],
)
def test_arguments_of_several_calls_which_are_not_alike_come_one_by_one(arguments: ArgumentsCodec, data: bytes) -> None:
    """What does not fit, what is damaged, and what is given by name: whoever knows better looks at each."""
    with pytest.raises(InvalidMessage):
        arguments.in_batches().decode(data)


def test_a_wrong_argument_of_several_is_named() -> None:
    """As if it had been given alone; so is a method that takes another number of arguments."""
    with pytest.raises(InvalidMessage, match=r"^Kitchen\.note: parameter 'text': expected str, got int"):
        ONE.in_batches().encode(["a", 1])
    with pytest.raises(InvalidMessage, match=r"^Kitchen\.fill: an integer does not fit 64 bits"):
        MANY.in_batches().encode([1, 1 << 64])
    with pytest.raises(TypeError, match=r"missing 1 required argument: 'name'$"):
        PLAIN.in_batches().encode([1, 2])
    with pytest.raises(TypeError, match=r"takes 0 positional arguments but 1 were given$"):
        NONE.in_batches().encode([1])


@pytest.mark.parametrize(
    ("arguments", "args", "kwargs", "wire"),
    [
        (NONE, (), {}, []),
        (ONE, ("x",), {}, ["x"]),
        (ONE, (), {"text": "x"}, ["x"]),
        (PLAIN, (1, "a"), {}, [1, "a"]),
        (PLAIN, (1,), {"name": "a"}, [1, "a"]),
        (PLAIN, (), {"name": "a", "table": 1}, [1, "a"]),
        (COOK, (MORE,), {}, [{"table": 4, "dish": "soup"}]),
        (COOK, (MORE, 2), {"salt": True}, [{"table": 4, "dish": "soup"}, 2, True]),
        (COOK, (MORE,), {"salt": True}, {"order": {"table": 4, "dish": "soup"}, "salt": True}),
        (COOK, (MORE,), {"mark": b"x"}, {"order": {"table": 4, "dish": "soup"}, "mark": ["bytes", b"x"]}),
        (COOK, (MORE, 2), {"salt": True, "mark": "x"}, [{"table": 4, "dish": "soup"}, 2, True, ["str", "x"]]),
        (NAMED, (), {"at": 1}, [1]),
        (MANY, tuple(range(17)), {}, list(range(17))),
        (MANY, (), {"p3": 4}, {"p3": 4}),
        (MANY, (), {}, []),
    ],
)
def test_arguments_on_the_wire(
    arguments: ArgumentsCodec, args: tuple[object, ...], kwargs: dict[str, object], wire: object
) -> None:
    """The first parameters are an array, others a map; omitted ones are not sent; twice gives the same."""
    for _ in range(2):
        assert msgspec.msgpack.decode(arguments.encode(args, kwargs)) == wire


@pytest.mark.parametrize(
    ("arguments", "args", "kwargs", "bound"),
    [
        (NONE, (), {}, ((), {})),
        (ONE, (), {"text": "x"}, (("x",), {})),
        (PLAIN, (), {"name": "a", "table": 1}, ((1, "a"), {})),
        (COOK, (MORE, 2), {"salt": True}, ((MORE, 2), {"salt": True})),
        (COOK, (MORE,), {"mark": b"x"}, ((MORE,), {"mark": b"x"})),
        (COOK, (), {"order": MORE, "salt": True}, ((MORE,), {"salt": True})),
        (COOK, (MORE, 2), {"salt": True, "mark": "x"}, ((MORE, 2), {"salt": True, "mark": "x"})),
        (NAMED, (), {"at": 1}, ((), {"at": 1.0})),
        (MANY, tuple(range(17)), {}, (tuple(range(17)), {})),
        (MANY, (0,), {"p3": 4}, ((0,), {"p3": 4})),
    ],
)
def test_arguments_arrive_ready_to_be_given(
    arguments: ArgumentsCodec,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    bound: tuple[tuple[object, ...], dict[str, object]],
) -> None:
    """Positional parameters come back in args, the others in kwargs; what decodes directly knows args only."""
    body = arguments.encode(args, kwargs)
    assert arguments.decode(body) == bound
    direct = arguments.direct[body[0]]
    if direct is not None:
        assert (direct(body), {}) == bound


def test_what_is_the_positional_arguments_is_decoded_directly() -> None:
    """By its first byte; not what is named, nor what has to be unpacked, nor more than there are, nor JSON."""
    assert [byte for byte, direct in enumerate(PLAIN.direct) if direct is not None] == [0x92]
    assert [byte for byte, direct in enumerate(NONE.direct) if direct is not None] == [0x90]
    assert not any(COOK.direct)
    assert not any(PLAIN.in_json().direct)


@pytest.mark.parametrize(
    ("arguments", "args", "kwargs", "message"),
    [
        (ONE, (), {}, "Kitchen.note() missing 1 required argument: 'text'"),
        (PLAIN, (), {}, "Kitchen.seat() missing 2 required arguments: 'table', 'name'"),
        (NAMED, (), {}, "Kitchen.close() missing 1 required argument: 'at'"),
        (NAMED, (1.0,), {}, "Kitchen.close() takes 0 positional arguments but 1 were given"),
        (NONE, (1,), {}, "Kitchen.ping() takes 0 positional arguments but 1 were given"),
        (ONE, ("a", "b"), {}, "Kitchen.note() takes 1 positional argument but 2 were given"),
        (COOK, (MORE, 1, True), {}, "Kitchen.cook() takes 2 positional arguments but 3 were given"),
        (ONE, ("a",), {"text": "b"}, "Kitchen.note() got multiple values for argument 'text'"),
        (NONE, (), {"text": "b"}, "Kitchen.ping() got an unexpected keyword argument 'text'"),
    ],
)
def test_arguments_are_bound_as_python_does(
    arguments: ArgumentsCodec, args: tuple[object, ...], kwargs: dict[str, object], message: str
) -> None:
    """Missing, surplus and unexpected arguments are a TypeError which names the method."""
    with pytest.raises(TypeError) as caught:
        arguments.encode(args, kwargs)
    assert str(caught.value) == message


def test_positional_only_parameters_have_no_name_for_callers() -> None:
    """A positional-only parameter cannot be given by its name."""
    arguments = ArgumentsCodec("K.m", [Parameter(name="a", type=int, positional_only=True)])
    assert arguments.decode(arguments.encode((1,), {})) == ((1,), {})
    with pytest.raises(TypeError, match="unexpected keyword argument 'a'"):
        arguments.encode((), {"a": 1})


@pytest.mark.parametrize(
    ("arguments", "args", "kwargs", "message"),
    [
        (ONE, (5,), {}, "Kitchen.note: parameter 'text': expected str, got int (5)"),
        (PLAIN, (1, 2), {}, "Kitchen.seat: parameter 'name': expected str, got int (2)"),
        (PLAIN, (True, "a"), {}, "Kitchen.seat: parameter 'table': expected int, got bool (True)"),
        (COOK, (MORE,), {"salt": 1}, "Kitchen.cook: parameter 'salt': expected bool, got int (1)"),
        (PLAIN, (2**64, "a"), {}, "Kitchen.seat: an integer does not fit 64 bits"),
        (ONE, ("\ud800",), {}, "Kitchen.note: 'utf-8' codec can't encode"),
        (COOK, (MORE,), {"mark": 2**64}, "Kitchen.cook: parameter 'mark': expected bytes | str, got int"),
        (COOK, (Order(2**64, "a"),), {"salt": True}, "Kitchen.cook: an integer does not fit 64 bits"),
    ],
)
def test_wrong_arguments_are_not_sent(
    arguments: ArgumentsCodec, args: tuple[object, ...], kwargs: dict[str, object], message: str
) -> None:
    """A value of another type is an InvalidMessage which names method and parameter, also after right ones."""
    if arguments is COOK:
        arguments.encode((MORE,), {})
    for _ in range(2):
        with pytest.raises(InvalidMessage) as caught:
            arguments.encode(args, kwargs)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "data", "message"),
    [
        (NONE, b"", "Kitchen.ping: what arrived does not fit: Input data was truncated"),
        (NONE, b"\x90\x00", "Kitchen.ping: what arrived does not fit"),
        (NONE, b"\x91\x00", "Kitchen.ping takes 0 arguments, and 1 have arrived"),
        (ONE, b"\x90", "Kitchen.note takes 1 arguments, and 0 have arrived"),
        (ONE, b"\xdc\x00\x02\x01\x01", "Kitchen.note takes 1 arguments, and 2 have arrived"),
        (ONE, b"\xdc", "Kitchen.note takes 1 arguments, and 0 have arrived"),
        (COOK, b"\x95\x01\x01\x01\x01\x01", "Kitchen.cook takes 1 to 4 arguments, and 5 have arrived"),
        (PLAIN, b"\x92\xa1x\xa1x", "Kitchen.seat: what arrived does not fit: Expected `int`, got `str` - at `table`"),
        (PLAIN, b"\x92\x01", "Kitchen.seat: what arrived does not fit: Input data was truncated"),
        (PLAIN, b"\x92\x01\xa1x\x00", "trailing characters"),
        (COOK, b"\x91\x81\xa5table\xa1x", "Expected `int`, got `str` - at `order.table`"),
        (COOK, b"\x81\xa4salt\xc3", "Kitchen.cook: parameter 'order' is required and has not arrived"),
        (COOK, b"\x81\xa1x\xc3", "Kitchen.cook has no parameter 'x'"),
        (COOK, b"\x81\xa4salt\x01", "Kitchen.cook: parameter 'salt': what arrived does not fit: Expected `bool`"),
        (COOK, b"\x81\xa4salt\xc1", "Kitchen.cook: what arrived does not fit"),
        (COOK, b"\xc0", "Kitchen.cook: what arrived does not fit: Expected `object`, got `None`"),
        (COOK, b"\xdd\x00\x00\x00\x01\x00", "Kitchen.cook: what arrived does not fit: Expected `object`, got `array`"),
        (ONE, b"\x91\xa1\xff", "UTF-8"),
    ],
)
def test_damaged_arguments_are_refused(arguments: ArgumentsCodec, data: bytes, message: str) -> None:
    """Whatever arrives is bound or is an InvalidMessage which names the method."""
    with pytest.raises(InvalidMessage) as caught:
        arguments.decode(data)
    assert message in str(caught.value)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.sampled_from([NONE, ONE, PLAIN, COOK, NAMED, MANY]), st.binary(max_size=24))
def test_no_bytes_do_more_than_an_invalid_message(arguments: ArgumentsCodec, data: bytes) -> None:
    """Random bytes, with likely first bytes among them, never raise anything else."""
    for first in (b"", b"\x90", b"\x91", b"\x81\xa5order", b"\xdc\x00\x01", struct.pack(">BH", 0xDE, 1)):
        try:
            args, kwargs = arguments.decode(first + data)
        except InvalidMessage:
            continue
        assert isinstance(args, tuple)
        assert isinstance(kwargs, dict)


@pytest.mark.parametrize(
    ("arguments", "text", "bound"),
    [
        (NONE, "", ((), {})),
        (NONE, "[]", ((), {})),
        (NONE, "{}", ((), {})),
        (ONE, '["x"]', (("x",), {})),
        (ONE, '{"text": "x"}', (("x",), {})),
        (PLAIN, ' \n[1, "a"]', ((1, "a"), {})),
        (COOK, '[{"table": 4, "dish": "soup"}, 2, true, ["bytes", "eA=="]]', ((MORE, 2), {"salt": True, "mark": b"x"})),
        (COOK, '{"mark": ["str", "x"], "order": {"table": 4, "dish": "soup"}}', ((MORE,), {"mark": "x"})),
        (NAMED, "[1]", ((), {"at": 1.0})),
        (MANY, "", ((), {})),
        (MANY, "[0, 1]", ((0, 1), {})),
        (MANY, '{"p0": 0, "p3": 4}', ((0,), {"p3": 4})),
    ],
)
def test_arguments_arrive_from_json(
    arguments: ArgumentsCodec, text: str, bound: tuple[tuple[object, ...], dict[str, object]]
) -> None:
    """An array of the first ones, an object of names, or nothing at all; twice gives the same."""
    for _ in range(2):
        assert arguments.decode_json(text.encode()) == bound


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (NONE, "[0]", "Kitchen.ping takes 0 arguments, and more have arrived"),
        (ONE, "", "Kitchen.note takes 1 arguments, and 0 have arrived"),
        (ONE, f"[{'0,' * 1000}0]", "Kitchen.note: what arrived does not fit: Expected `str`, got `int` - at `text`"),
        (COOK, '[{"table": 4, "dish": "soup"}, 1, true, ["str", ""], 0, 0]', "takes 1 to 4 arguments, and more have"),
        (PLAIN, '["x", "x"]', "Kitchen.seat: what arrived does not fit: Expected `int`, got `str` - at `table`"),
        (PLAIN, "[1", "Kitchen.seat: what arrived does not fit: Input data was truncated"),
        (PLAIN, '[1, "x"]]', "malformed"),
        (COOK, '[{"table": "x"}]', "Expected `int`, got `str` - at `order.table`"),
        (COOK, '{"salt": true}', "Kitchen.cook: parameter 'order' is required and has not arrived"),
        (COOK, '{"x": true}', "Kitchen.cook has no parameter 'x'"),
        (COOK, '{"salt": 1}', "Kitchen.cook: parameter 'salt': what arrived does not fit: Expected `bool`"),
        (COOK, "null", "Kitchen.cook: what arrived does not fit: Expected `object`, got `null`"),
        (COOK, " ", "Kitchen.cook: what arrived does not fit: Input data was truncated"),
        (MANY, f"[{2**64}]", "Kitchen.fill: what arrived does not fit: an integer does not fit 64 bits"),
        (MANY, f'{{"p1": {2**64}}}', "parameter 'p1': what arrived does not fit: an integer does not fit 64 bits"),
        (ONE, "[" * 100_000, "Kitchen.note: what arrived"),
        (ONE, '{"text":' * 100_000, "Kitchen.note: what arrived is nested too deep"),
    ],
)
def test_damaged_arguments_in_json_are_refused(arguments: ArgumentsCodec, text: str, message: str) -> None:
    """In the words of msgpack's arguments; an array that is too long is not counted."""
    with pytest.raises(InvalidMessage) as caught:
        arguments.decode_json(text.encode())
    assert message in str(caught.value)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.sampled_from([NONE, ONE, PLAIN, COOK, NAMED, MANY]), json_bytes)
def test_no_text_does_more_than_an_invalid_message(arguments: ArgumentsCodec, data: bytes) -> None:
    """Random bytes and random words of JSON never raise anything else."""
    for text in (data, b"[" + data, b'{"text":' + data):
        try:
            args, kwargs = arguments.decode_json(text)
        except InvalidMessage:
            continue
        assert isinstance(args, tuple)
        assert isinstance(kwargs, dict)


def test_arguments_are_described_with_their_order_and_defaults() -> None:
    """A description of parameters says what may be left out and what is given by name."""
    described = ArgumentsCodec(
        "K.m", [Parameter(name="a", type=int), Parameter(name="b", type=str, has_default=True, keyword_only=True)]
    ).description
    assert described == {
        "parameters": [
            {"name": "a", "type": {"type": "int"}, "default": False, "keyword_only": False},
            {"name": "b", "type": {"type": "str"}, "default": True, "keyword_only": True},
        ],
        "records": {},
    }


def test_more_parameters_than_a_person_writes_are_refused() -> None:
    """A method with hundreds of parameters is refused at declaration."""
    with pytest.raises(DeclarationError, match="gather them in a record"):
        ArgumentsCodec("K.m", [Parameter(name=f"p{i}", type=int) for i in range(256)])


def test_what_is_inside_an_argument_is_found_before_it_is_sent() -> None:
    """Where an argument has to be packed, what is wrong inside of it is found on this side."""
    marks = ArgumentsCodec("K.m", [Parameter(name="marks", type=list[bytes | str])])
    assert marks.decode(marks.encode((["a", b"b"],), {})) == ((["a", b"b"],), {})
    with pytest.raises(InvalidMessage, match=r"K.m: parameter 'marks': int is none of bytes \| str"):
        marks.encode(([5],), {})


def test_what_json_cannot_carry_is_refused_when_it_is_asked_for() -> None:
    """The declaration is sound: msgpack carries it."""
    arguments = ArgumentsCodec("K.m", [Parameter(name="a", type=dict[bool, int])])
    for attempt in (lambda: arguments.decode_json(b"[]"), arguments.in_json):
        with pytest.raises(InvalidMessage, match="cannot be sent as JSON, whose keys are text"):
            attempt()


def test_json_costs_nothing_until_it_is_used() -> None:
    """Its functions are made by the first use, and kept."""
    arguments = ArgumentsCodec("K.m", [Parameter(name="a", type=Order)])
    assert arguments._decode_json is None
    arguments.decode_json(b'[{"table": 1, "dish": ""}]')
    made: object = arguments._decode_json
    assert made is not None
    arguments.decode_json(b'[{"table": 1, "dish": ""}]')
    assert arguments._decode_json is made


def test_the_twin_for_calls_in_json() -> None:
    """One that has JSON in the place of msgpack; the first one stays as it is."""
    arguments = ArgumentsCodec("K.m", [Parameter(name="a", type=Order)])
    in_json = arguments.in_json()
    assert in_json.decode(b'[{"table": 1, "dish": ""}]') == ((Order(1, ""),), {})
    assert in_json.parameters is arguments.parameters
    assert arguments.decode(arguments.encode((Order(1, ""),), {})) == ((Order(1, ""),), {})
