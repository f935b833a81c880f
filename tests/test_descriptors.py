"""The descriptors of a message, out and in: each reaches exactly one owner, and none is left behind."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import attrs
import msgspec
import pytest

from namedipc import Fifo, SharedRegion
from namedipc._arguments import ArgumentsCodec, Parameter
from namedipc._codec import Codec
from namedipc._descriptors import MOST_DESCRIPTORS, Descriptors, Received
from namedipc._errors import DeclarationError, InvalidMessage
from namedipc._fd import Fd

from .conftest import open_descriptors
from .lowlevel_support import fails_with

pytestmark = pytest.mark.usefixtures("no_leaks")


@attrs.frozen
class Loan:
    """A record with a descriptor in it."""

    name: str
    file: Fd
    others: list[Fd] = attrs.field(factory=list)


class Desk(TypedDict):
    """The same as a dict."""

    lamp: Fd


class Both(NamedTuple):
    """Two of them."""

    first: Fd
    second: Fd | None


@attrs.frozen
class Chain:
    """A record that contains itself."""

    link: Fd
    rest: Chain | None = None


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Fd]:
    """An open file with a word in it."""
    (tmp_path / "file").write_bytes(b"word")
    with (tmp_path / "file").open("rb") as opened, Fd(opened) as fd:
        yield fd


def codec(tp: object) -> Codec[Any]:
    """A codec whose values may be wrong."""
    return Codec(tp)


def carried(tp: object, value: object) -> Any:
    """Send a value, as a shell does: with duplicates, which are dropped once they have left."""
    tried = codec(tp)
    assert tried.carries_descriptors
    data, descriptors = tried.encode_with(value)
    arrived = [os.dup(number) for number in descriptors.numbers]
    descriptors.sent()
    return tried.decode_with(data, arrived)


def is_the_file(value: object) -> bool:
    """Whether this is an Fd of the file with the word; it is closed."""
    assert isinstance(value, Fd)
    with value:
        return os.pread(value.fileno(), 10, 0) == b"word"


def test_anywhere_in_a_message(file: Fd) -> None:
    """By itself and in every kind of container, each in its place."""
    assert is_the_file(carried(Fd, file))
    loan = carried(Loan, Loan("a", file, [file, file]))
    assert loan.name == "a"
    assert all(map(is_the_file, [loan.file, *loan.others]))
    assert all(map(is_the_file, carried(list[Fd], [file] * 3)))
    assert all(map(is_the_file, carried(tuple[Fd, ...], (file,))))
    assert all(map(is_the_file, carried(set[Fd], {file})))
    assert is_the_file(carried(dict[str, Fd], {"key": file})["key"])
    assert is_the_file(carried(Desk, {"lamp": file})["lamp"])
    assert is_the_file(carried(Both, Both(file, None)).first)
    chain = carried(Chain, Chain(file, Chain(file)))
    assert all(map(is_the_file, [chain.link, chain.rest.link]))
    assert is_the_file(file)


@pytest.mark.parametrize("other", [None, 3, 2.0, 2, True, "text", b"bytes", [1]])
def test_in_a_union(file: Fd, other: object) -> None:
    """It is told from any other member, also from the numbers that it looks like on the wire."""
    for tp in (Fd | int | None, Fd | float | None, Fd | bool | str | None, bytes | Fd | None, Fd | list[int] | None):
        assert is_the_file(carried(tp, file))
        try:
            codec(tp).check(other)
        except InvalidMessage:
            continue  # it is no member of each
        arrived = carried(tp, other)
        assert arrived == other
        assert type(arrived) in {type(other), float}


def test_a_message_without_any(file: Fd) -> None:
    """What may hold descriptors need not; the bytes are then those of any message."""
    tried = codec(Fd | None)
    data, descriptors = tried.encode_with(None)
    assert (data, len(descriptors)) == (tried.encode(None), 0)
    assert tried.decode_with(data, []) is None
    assert tried.decode(data) is None
    plain = codec(list[int])
    assert not plain.carries_descriptors
    assert plain.decode_with(plain.encode_with([1])[0], []) == [1]
    with pytest.raises(InvalidMessage, match="1 descriptors have come of which the message does not speak"):
        plain.decode_with(plain.encode([1]), [os.dup(file.fileno())])


def test_the_senders_may_be_closed_at_once(file: Fd) -> None:
    """What is on its way are duplicates, close-on-exec."""
    data, descriptors = codec(Fd).encode_with(file)
    file.close()
    (number,) = descriptors.numbers
    assert not os.get_inheritable(number)
    assert is_the_file(codec(Fd).decode_with(data, [os.dup(number)]))
    descriptors.close()
    descriptors.close()
    assert descriptors.numbers == []


def test_dropped_on_the_way(file: Fd) -> None:
    """Whoever drops them without a word leaves nothing open."""
    before = open_descriptors()
    codec(list[Fd]).encode_with([file, file])
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("data", "count", "why"),
    [
        (b"\x92\x00\x01", 1, "descriptor 1 is spoken of, and 1 have come"),
        (b"\x92\x00\x00", 2, "descriptor 0 is spoken of twice"),
        (b"\x91\x01", 3, "2 descriptors have come of which the message does not speak"),
        (b"\x90", 1, "1 descriptors have come"),
        (b"\x92\x00\xc0", 1, "Expected `int`, got `None`"),
        (b"\x91\xcc\xfd", 1, "Expected `int` <= 252"),
        (b"\x91\xff", 1, "Expected `int` >= 0"),
        (b"\x91", 2, "truncated"),
        (b"\x92\xc2\x00", 2, "Expected `int`, got `bool`"),
    ],
)
def test_what_does_not_match(file: Fd, data: bytes, count: int, why: str) -> None:
    """It is an InvalidMessage with the path of the name, and every descriptor that came is closed."""
    with pytest.raises(InvalidMessage, match=f"^/run/name: .*{why}"):
        codec(list[Fd]).named("/run/name").decode_with(data, [os.dup(file.fileno()) for _ in range(count)])


def test_a_class_that_refuses_what_came(file: Fd) -> None:
    """What its value had already taken is closed with the rest, unless the class has given it away."""
    kept: list[int] = []

    @attrs.frozen
    class Picky:
        first: Fd
        second: Fd

        def __attrs_post_init__(self) -> None:
            kept.append(self.first.detach())
            raise ValueError("not this one")

    with pytest.raises(InvalidMessage, match="not this one"):
        codec(Picky).decode_with(msgspec.msgpack.encode({"first": 0, "second": 1}), [os.dup(0), os.dup(0)])
    os.close(kept[0])


def test_what_cannot_be_sent(file: Fd) -> None:
    """Something else, a closed one, or one of the message's other fields: no duplicate is left."""
    closed = Fd(file)
    closed.close()
    for tp, value, why in (
        (Fd, 3, r"^expected Fd, got int \(3\)"),
        (list[Fd], [file, 3], "expected Fd, got int"),
        (list[Fd], [file, closed], "this Fd has been closed"),
        (tuple[Fd, int], (file, 1 << 70), "64 bits"),
    ):
        with pytest.raises(InvalidMessage, match=why):
            codec(tp).encode_with(value)


def test_the_most_that_a_message_carries(file: Fd) -> None:
    """253, and not one more."""
    tried = codec(list[Fd])
    data, descriptors = tried.encode_with([file] * MOST_DESCRIPTORS)
    for fd in tried.decode_with(data, descriptors.numbers.copy()):
        fd.detach()
    descriptors.sent()
    with pytest.raises(InvalidMessage, match="more than 253 descriptors in one message"):
        tried.encode_with([file] * (MOST_DESCRIPTORS + 1))


def test_no_descriptor_is_left_for_a_duplicate(file: Fd) -> None:
    """It is the kernel's error, and what was duplicated before is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(open_descriptors()) + 3
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
        with fails_with(errno.EMFILE):
            codec(list[Fd]).encode_with([file] * MOST_DESCRIPTORS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_way_that_carries_none(file: Fd) -> None:
    """`encode` and `decode` alone say so."""
    with pytest.raises(InvalidMessage, match="which this kind of name does not carry; Channel and Service do"):
        codec(Fd).encode(file)
    with pytest.raises(InvalidMessage, match="descriptor 0 is spoken of, and this kind of name carries none"):
        codec(Fd).decode(b"\x00")


def test_each_message_has_its_own(file: Fd) -> None:
    """Also where threads work at once, and where one is made in the middle of another."""

    @attrs.frozen
    class Nested:
        file: Fd
        number: Fd

        def __attrs_post_init__(self) -> None:
            assert is_the_file(carried(Fd, self.file))

    def work() -> None:
        for _ in range(200):
            assert all(map(is_the_file, carried(list[Fd], [file, file])))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Fd(file) as second:
        nested = carried(Nested, Nested(file, second))
    assert is_the_file(nested.file)
    assert is_the_file(nested.number)


def test_arguments(file: Fd) -> None:
    """By place, by name, and left out; the errors name the method."""
    parameters = [Parameter(name="name", type=str), Parameter(name="log", type=Fd | None, has_default=True)]
    tried = ArgumentsCodec("Desk.lend", parameters)
    assert tried.carries_descriptors
    assert not ArgumentsCodec("Desk.ping", parameters[:1]).carries_descriptors
    for args, kwargs in ((("a", file), {}), ((), {"log": file, "name": "a"})):
        data, descriptors = tried.encode_with(args, kwargs)
        arrived = [os.dup(number) for number in descriptors.numbers]
        descriptors.sent()
        (name, log), rest = tried.decode_with(data, arrived)
        assert (name, rest) == ("a", {})
        assert is_the_file(log)
    data, descriptors = tried.encode_with(("a",), {})
    assert len(descriptors) == 0
    with pytest.raises(InvalidMessage, match=r"^Desk.lend: 1 descriptors have come"):
        tried.decode_with(data, [os.dup(0)])
    with pytest.raises(TypeError, match="missing"):
        tried.encode_with((), {"log": file})
    with pytest.raises(InvalidMessage, match=r"^Desk.lend: parameter 'name': expected str, got int"):
        tried.encode_with((5, file), {})
    with pytest.raises(InvalidMessage, match="descriptor 0 is spoken of, and 0 have come"):
        tried.decode_with(b"\x92\xa1a\x00", [])


def test_names_that_carry_none() -> None:
    """They are refused where they are declared, as is JSON, with what to use instead."""
    advice = "holds open descriptors, which only sockets carry; use a Channel or a Service"
    with pytest.raises(DeclarationError, match=rf"^Fifo\('x'\): Loan {advice}"):
        Fifo("x", Loan)
    with pytest.raises(DeclarationError, match=rf"^SharedRegion\('x'\): Fd \| None {advice}"):
        SharedRegion("x", Fd | None)
    with pytest.raises(DeclarationError, match="Fd cannot be sent as JSON, which carries no descriptors"):
        Codec(list[Fd], encoding="json")


def test_bounds_say_nothing_about_it() -> None:
    """As of any type which they do not fit."""
    with pytest.raises(DeclarationError, match=r"Meta\(ge=...\) says nothing about Fd"):
        Codec(Annotated[Fd, msgspec.Meta(ge=0)])


def test_owners_by_themselves(file: Fd) -> None:
    """What has come belongs to nobody until it is taken; a second close does nothing."""
    received = Received([os.dup(file.fileno()) for _ in range(3)])
    first = received.take(1)
    assert received.unclaimed == "2 descriptors"
    received.close()
    received.close()
    assert repr(first) == "<Fd: has been closed>"
    assert len(Descriptors()) == 0
