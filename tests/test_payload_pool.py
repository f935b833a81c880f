"""The memory of large payloads at both ends, joined without a connection."""

from __future__ import annotations

import gc
import os
import weakref
from typing import TypeVar

import numpy as np
import pytest

from namedipc._codec import Codec
from namedipc._descriptors import MOST_PAYLOADS, Descriptors
from namedipc._errors import InvalidMessage, ProtocolError, TooLarge
from namedipc._fd import Fd
from namedipc._protocol.attachments import (
    Arrivals,
    Parcel,
    is_homeless,
    make_parcel,
    open_parcel,
    pack_parcel,
    receiving,
)
from namedipc._protocol.frames import MESSAGE, FrameReader
from namedipc._protocol.payloads import take_payload_frame
from namedipc._shells.payloads import Payloads
from namedipc._values import Peer

from .payload_support import MIB, Bytes, buffers_mapped, picture

pytestmark = pytest.mark.usefixtures("no_leaks")

T = TypeVar("T")
CODEC: Codec[list[Bytes]] = Codec(list[Bytes])


def parcel_of(codec: Codec[T], value: T, *, consume: bool = False) -> Parcel:
    """A value with something that travels beside it."""
    parcel = make_parcel(codec, value, consume=consume)
    assert isinstance(parcel, Parcel)
    return parcel


class Joined:
    """What one side sends to the other, frame by frame."""

    def __init__(self, limit_bytes: int = 4 * MIB, *, uid: int | None = None) -> None:
        self.sender = Payloads("/run/name", limit_bytes)
        self.receiver = Payloads("/run/name", limit_bytes)
        self.sender.pool.greeted(limit_bytes)
        self.receiver.trust(Peer(1, os.geteuid() if uid is None else uid, 0, ()))
        self.due = 0
        self.receiver.windows.when_due = self._count

    def _count(self) -> None:
        self.due += 1

    def send(self, *arrays: Bytes) -> list[Bytes] | None:
        """Send arrays and return what arrives; None if there is no room."""
        placed: bytes | None = make_parcel(CODEC, list(arrays))
        if isinstance(placed, Parcel):
            placed = self.sender.pool.place(placed, MIB)
        if placed is None:
            return None
        for frame in [*self.sender.unsaid(), pack_parcel(MESSAGE, placed)]:
            value = self._receive(frame)
        return value

    def _receive(self, frame: bytes) -> list[Bytes]:
        arrivals = Arrivals()
        for _, descriptors in getattr(frame, "attached", []):
            arrivals.add([os.dup(number) for number in descriptors.numbers])
            descriptors.sent()
        reader = FrameReader(1 << 24)
        reader.feed(bytes(frame))
        found = reader.next_frame()
        assert found is not None
        opened = open_parcel(found, arrivals, self.receiver.windows)
        if opened[0] != MESSAGE:
            take_payload_frame(opened, self.receiver)
            return []
        return receiving(CODEC)(opened[4])

    def release(self) -> None:
        """Bring back what the receiver has let go of."""
        for frame in self.receiver.unsaid():
            self.sender.pool.released([int.from_bytes(frame[at : at + 4], "little") for at in range(12, len(frame), 4)])

    def close(self) -> None:
        """Let go of all."""
        self.sender.close()
        self.receiver.close()


def test_one_buffer_goes_to_and_fro() -> None:
    """It is released as soon as the last view of all payloads of its message has gone."""
    joined = Joined()
    for number in range(10):
        arrived = joined.send(picture(number), picture(number + 1))
        assert arrived is not None
        part = arrived[1][5:10]
        del arrived
        assert not joined.receiver.has_unsaid
        assert part[0] == number + 1
        del part
        assert joined.due == number + 1
        joined.release()
    assert buffers_mapped() == 2
    joined.close()
    assert buffers_mapped() == 0


def test_small_ones_stay_within() -> None:
    """And so do those beyond the count that a table has."""
    joined = Joined(512 * MIB)
    arrived = joined.send(picture(1, 100), picture(2, 131_071))
    assert arrived is not None
    assert buffers_mapped() == 0
    parcel = parcel_of(CODEC, [picture(1, 131_072)] * (MOST_PAYLOADS + 1))
    assert len(parcel.descriptors.payloads) == MOST_PAYLOADS
    assert len(parcel) > 131_072
    joined.close()


def test_a_message_that_does_not_leave() -> None:
    """Its buffer is lent again, also if it was only dropped."""
    joined = Joined(MIB)
    for _ in range(5):
        placed = joined.sender.pool.place(parcel_of(CODEC, [picture(1)]), 0)
        assert placed is not None
        placed.descriptors.close()
        dropped = joined.sender.pool.place(parcel_of(CODEC, [picture(1)]), 0)
        assert dropped is not None
        del placed, dropped
    joined.close()


def test_no_room() -> None:
    """None until something is released, or within the message; and never is an error."""
    joined = Joined(MIB)
    kept = joined.send(picture(1))
    assert joined.send(picture(2)) is None
    within = joined.send(picture(3, 300_000))
    assert within is not None
    assert within[0][0] == 3
    with pytest.raises(TooLarge, match=r"payloads of 1048640 bytes .* carries 1048576"):
        joined.send(picture(1, MIB + 64))
    del kept
    joined.release()
    assert joined.send(picture(4)) is not None
    joined.close()


def test_another_user_is_copied() -> None:
    """And released at once: what is looked at can no longer be changed by it."""
    joined = Joined(MIB, uid=os.geteuid() + 1)
    kept = []
    for number in range(5):
        arrived = joined.send(picture(number))
        assert arrived is not None
        kept += arrived
        joined.release()
    assert [array[0] for array in kept] == list(range(5))
    kept[0][0] = 9
    joined.close()


def test_what_is_kept_outlives_both_ends() -> None:
    """And tells nobody when it goes."""
    joined = Joined()
    arrived = joined.send(picture(5))
    assert arrived is not None
    joined.close()
    joined.close()
    assert buffers_mapped() == 1
    assert np.array_equal(arrived[0], picture(5))
    before = joined.due
    del arrived
    assert joined.due == before
    assert buffers_mapped() == 0


def test_a_payload_is_spoken_of_once() -> None:
    """What the head says must fit what is beside it."""
    two = parcel_of(CODEC, [picture(1), picture(2)])
    views = [memoryview(bytearray(MIB)) for _ in range(2)]
    for head, payloads, problem in (
        (two, views[:1], "payload 1 is spoken of, and 1 have come"),
        (two, [*views, views[0]], "1 payloads have come of which the message does not speak"),
        (two[:-1] + b"\x00", views, "payload 0 is spoken of twice"),
    ):
        with pytest.raises(InvalidMessage, match=problem):
            CODEC.decode_with(bytes(head), [], payloads)


def test_encoding_again_takes_no_descriptor_twice() -> None:
    """A value whose payloads find no room is encoded once more, with the descriptors it has given already."""
    both: Codec[tuple[Fd, Bytes, Fd]] = Codec(tuple[Fd, Bytes, Fd])
    numbers = os.pipe()
    with Fd(numbers[0]) as one, Fd(numbers[1]) as other:
        parcel = parcel_of(both, (one, picture(1), other), consume=True)
        assert parcel.within is not None
        within = parcel.within()
        assert len(within) > MIB
        arrived = both.decode_with(within, parcel.descriptors.detach())
        assert arrived[1][0] == 1
        for fd in (arrived[0], arrived[2]):
            fd.close()
    for number in numbers:
        os.close(number)


def test_a_view_is_no_cycle() -> None:
    """It goes by itself, whether the garbage collector comes or not."""
    joined = Joined()
    gc.collect()
    gc.disable()
    try:
        arrived = joined.send(picture(1))
        assert arrived is not None
        gone = weakref.ref(arrived[0])
        del arrived
        assert gone() is None
        assert joined.due == 1
    finally:
        gc.enable()
    joined.close()


def test_a_frame_with_payloads_where_none_are_taken() -> None:
    """The other side was told so."""
    frame = (MESSAGE, 32, 0, 0, b"\x01\x01\x00\x00\x00" + bytes(16))
    with pytest.raises(ProtocolError, match="in a buffer, and this side takes none"):
        open_parcel(frame, Arrivals(), None)
    with pytest.raises(ProtocolError, match="this side takes none"):
        open_parcel(frame, None, None)
    assert not is_homeless(b"")
    assert not is_homeless(Parcel(b"", Descriptors()))


def test_a_value_with_nothing_beside_it_is_no_parcel() -> None:
    """It is plain bytes, as those of other types are."""
    assert type(make_parcel(CODEC, [])) is bytes
