"""What fails while a value is encoded or decoded is said in words, and want of memory stays what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import msgspec
import pytest

from namedipc._codec import Codec
from namedipc._coding import make_decoder, short
from namedipc._errors import DeclarationError, InvalidMessage


def codec(tp: object) -> Codec[Any]:
    """A codec whose values may be wrong."""
    return Codec(tp)


def test_a_value_without_a_repr_is_refused_like_others() -> None:
    """The message about a wrong value does not depend on its repr."""

    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("mute")

    with pytest.raises(InvalidMessage, match=r"^expected int, got Mute \(<Mute instance at"):
        codec(int).encode(Mute())


def test_memory_errors_are_not_disguised() -> None:
    """Being out of memory is not the message's fault."""

    @attrs.frozen
    class Hungry:
        number: int = attrs.field()

        @number.validator
        def _eat(self, _: object, value: int) -> None:
            if value:
                raise MemoryError

    with pytest.raises(MemoryError):
        codec(Hungry).decode(msgspec.msgpack.encode({"number": 1}))

    class Greedy(list[int]):
        def __iter__(self) -> Iterator[int]:
            raise MemoryError

    with pytest.raises(MemoryError):
        codec(list[bytes | str]).encode(Greedy())


def test_integers_beyond_64_bits_are_not_sent_as_json() -> None:
    """JSON would take them, the type does not."""
    with pytest.raises(InvalidMessage, match="does not fit 64 bits"):
        codec(list[int]).encode_json([2**64])


def test_a_type_without_a_decoder_is_a_declaration_error() -> None:
    """What msgspec refuses is said of the declaration, by its name."""
    with pytest.raises(DeclarationError, match=r"^Odd cannot be sent: "):
        make_decoder(set[dict[str, int]] | list[int] | tuple[int, ...], "Odd")


def test_values_are_shown_in_few_characters() -> None:
    """Whatever is in the way of their repr."""
    assert short("x" * 1000) == "'xxxxxxxxxxxx...xxxxxxxxxxxxx'"
    assert len(short(list(range(10**6)))) <= 63
