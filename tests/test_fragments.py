"""Fragments of FIFO messages: bytes only."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc._errors import TooLarge
from namedipc._protocol import fragments
from namedipc._protocol.fragments import OtherType, Reassembler, Splitter, Writer

TYPE = b"\1\2\3\4 and more"
few = settings(max_examples=60, derandomize=True, deadline=None)


def writer(number: int = 1) -> Writer:
    """A writer that is told from others by its number."""
    return Writer(number.to_bytes(8, "big"), 100 + number, 7, 0)


def splitter(number: int = 1, fingerprint: bytes = TYPE) -> Splitter:
    """The splitter of a numbered writer."""
    return Splitter(writer(number), fingerprint)


def feed_all(reader: Reassembler, packets: Iterable[bytes], now: float = 0.0) -> list[object]:
    """Feed packets one by one."""
    return [event for packet in packets for event in reader.feed(packet, now)]


def test_packets_are_cut_when_they_are_due() -> None:
    """Those that are left are told by their number; none is cut before it is asked for."""
    cut: list[int] = []

    def cutting(index: int) -> bytes:
        cut.append(index)
        return b"%d" % index

    left = fragments.Packets(4, cutting)
    assert len(left) == 4
    assert cut == []
    left.popleft()
    assert left[0] == b"1"
    assert cut == [1]
    assert list(left) == [b"1", b"2", b"3"]
    with pytest.raises(IndexError):
        left[3]
    left.clear()
    assert not left
    assert list(left) == []


@pytest.mark.parametrize("length", [0, 1, fragments.PIECE_BYTES, fragments.PIECE_BYTES + 1, 20_000, 1_000_003])
def test_round_trip(length: int) -> None:
    """A message of any length comes out as it went in, in packets that a pipe never splits."""
    message = random.Random(length).randbytes(length)
    packets = splitter().split(message)
    assert len(packets) == max(1, -(-length // fragments.PIECE_BYTES))
    assert all(len(packet) <= 4096 for packet in packets)
    reader = Reassembler(TYPE)
    assert feed_all(reader, packets) == [message]
    assert not reader.is_open
    assert reader.dropped == 0


def test_largest_message() -> None:
    """The limit itself passes, one byte more is refused."""
    message = bytes(fragments.LARGEST_MESSAGE_BYTES)
    assert feed_all(Reassembler(TYPE), splitter().split(message)) == [message]
    with pytest.raises(TooLarge, match="16777217"):
        splitter().split(message + b"\0")


def test_layout() -> None:
    """A packet's bytes are those of the documented layout."""
    (packet,) = Splitter(Writer(b"NONCE123", 0x01020304, 0x1112131415161718, 0x21222324), b"typeXXXX").split(b"hi")
    assert packet[:48].hex(" ", 4) == (
        "894e4946 01000000 01000200 00000000 02000000 74797065 4e4f4e43 45313233 04030201 24232221 18171615 14131211"
    )
    assert packet[52:] == b"hi"


@few
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 20_000)), min_size=1, max_size=12), st.randoms())
def test_any_interleaving(plan: list[tuple[int, int]], chooser: random.Random) -> None:
    """Whatever the mixture of packets, each writer's messages come out whole and in its order."""
    splitters = {number: splitter(number) for number in range(1, 5)}
    sent: dict[int, list[bytes]] = {number: [] for number in splitters}
    queues: dict[int, deque[bytes]] = {number: deque() for number in splitters}
    for serial, (number, length) in enumerate(plan):
        message = bytes([number, serial]) + bytes(length)
        sent[number].append(message)
        queues[number].extend(splitters[number].split(message))
    reader = Reassembler(TYPE)
    received: list[bytes] = []
    while waiting := [queue for queue in queues.values() if queue]:
        for event in reader.feed(chooser.choice(waiting).popleft(), 0.0):
            assert isinstance(event, bytes)
            received.append(event)
    for number, messages in sent.items():
        assert [message for message in received if message[0] == number] == messages
    assert not reader.is_open


@few
@given(
    st.lists(st.integers(0, 15_000), min_size=1, max_size=8),
    st.sets(st.integers(0, 30)),
)
def test_lost_packets(lengths: list[int], lost: set[int]) -> None:
    """Packets that never arrive cost the messages they belong to, and no other."""
    cutter = splitter()
    reader = Reassembler(TYPE)
    number = itertools.count()
    complete = []
    received: list[object] = []
    for serial, length in enumerate(lengths):
        message = bytes([serial]) + bytes(length)
        whole = cutter.split(message)
        packets = [packet for packet in whole if next(number) not in lost]
        if len(packets) == len(whole):
            complete.append(message)
        received += feed_all(reader, packets)
    assert received == complete


@few
@given(st.binary(max_size=300), st.integers(0, 5000), st.binary(max_size=300))
def test_foreign_bytes_around(before: bytes, length: int, after: bytes) -> None:
    """What somebody else has written into the same pipe page is skipped, and the message between is found."""
    message = bytes(length)
    packets = splitter().split(message)
    reader = Reassembler(TYPE)
    assert feed_all(reader, [before + packet + after for packet in packets]) == [message]
    assert reader.dropped >= bool(before)


@few
@given(st.lists(st.binary(max_size=5000), max_size=20))
def test_noise(noise: list[bytes]) -> None:
    """Bytes that are no packets never become a message, and never an exception."""
    reader = Reassembler(TYPE)
    assert feed_all(reader, noise + [fragments.MAGIC + piece for piece in noise]) == []
    assert not reader.is_open


@few
@given(st.integers(0, 20_000), st.data())
def test_damage(length: int, data: st.DataObject) -> None:
    """A message with any byte changed is not delivered, and the next one is."""
    cutter = splitter()
    packets = list(cutter.split(bytes(length)))
    which = data.draw(st.integers(0, len(packets) - 1))
    at = data.draw(st.integers(0, len(packets[which]) - 1))
    damaged = bytearray(packets[which])
    damaged[at] ^= data.draw(st.integers(1, 255))
    packets[which] = bytes(damaged)
    reader = Reassembler(TYPE)
    assert feed_all(reader, packets) == []
    assert feed_all(reader, cutter.split(b"next")) == [b"next"]
    assert reader.dropped >= 1


def test_numbers_that_do_not_agree() -> None:
    """A packet with a valid checksum whose numbers contradict each other is dropped."""
    cutter = splitter()
    reader = Reassembler(TYPE)
    for index, total, length, piece in [
        (0, 2, 10, b"0123456789"),
        (1, 1, 10, b"0123456789"),
        (0, 1, 11, b"0123456789"),
        (0, 0, 0, b""),
        (0, 5000, fragments.LARGEST_MESSAGE_BYTES + 1, bytes(fragments.PIECE_BYTES)),
    ]:
        assert reader.feed(cutter._packet(0, index, total, length, piece), 0.0) == []
    assert not reader.is_open
    assert reader.dropped == 4  # the second one is only the rest of something


def test_other_type() -> None:
    """A message of another type is told once, however long it is, and nothing of it is kept."""
    reader = Reassembler(TYPE)
    events = feed_all(reader, splitter(fingerprint=b"else").split(bytes(20_000)))
    assert events == [OtherType(b"else", writer())]
    assert not reader.is_open


def test_writer_begins_another() -> None:
    """What a writer left unfinished is dropped when its next message begins."""
    cutter = splitter()
    reader = Reassembler(TYPE)
    assert feed_all(reader, list(cutter.split(bytes(20_000)))[:2]) == []
    assert reader.writers() == [writer()]
    assert feed_all(reader, cutter.split(b"next")) == [b"next"]
    assert not reader.is_open
    assert reader.dropped == 1


def test_rest_without_a_beginning() -> None:
    """Fragments whose beginning went to a reader that has died are skipped."""
    cutter = splitter()
    reader = Reassembler(TYPE)
    assert feed_all(reader, list(cutter.split(bytes(20_000)))[2:]) == []
    assert not reader.is_open
    assert feed_all(reader, cutter.split(b"next")) == [b"next"]


def test_drop() -> None:
    """A writer that is known to be dead is forgotten, and only that one."""
    reader = Reassembler(TYPE)
    packets = {number: list(splitter(number).split(bytes(10_000))) for number in (1, 2)}
    feed_all(reader, [packets[1][0], packets[2][0]])
    reader.drop(writer(1))
    reader.drop(writer(3))
    assert reader.writers() == [writer(2)]
    assert feed_all(reader, packets[2][1:]) == [bytes(10_000)]
    assert reader.dropped == 1


def test_expire() -> None:
    """A message is given up after 30 s without a fragment, not after 30 s altogether."""
    reader = Reassembler(TYPE)
    packets = splitter().split(bytes(10_000))
    reader.feed(packets[0], 0.0)
    reader.expire(29.0)
    reader.feed(packets[1], 29.0)
    reader.expire(58.0)
    assert reader.writers() == [writer()]
    reader.expire(59.0)
    assert reader.writers() == []
    assert reader.feed(packets[2], 60.0) == []


def test_cap_on_open_messages() -> None:
    """The 65th message that begins costs the one which has been silent for longest."""
    reader = Reassembler(TYPE)
    packets = {number: list(splitter(number).split(bytes(10_000))) for number in range(1, 66)}
    for number in range(1, 65):
        reader.feed(packets[number][0], 0.0)
    reader.feed(packets[1][1], 0.0)
    reader.feed(packets[65][0], 0.0)
    assert len(reader.writers()) == fragments.OPEN_PARTIALS
    assert writer(2) not in reader.writers()
    assert feed_all(reader, packets[1][2:]) == [bytes(10_000)]


def test_cap_on_bytes() -> None:
    """Messages that have begun hold a bounded number of bytes together."""
    reader = Reassembler(TYPE)
    for number in range(1, 7):
        feed_all(reader, list(splitter(number).split(bytes(fragments.LARGEST_MESSAGE_BYTES)))[:-1])
    assert 1 <= len(reader.writers()) <= 4
    assert writer(6) in reader.writers()


def test_message_ids_wrap() -> None:
    """A writer may send more messages than its numbers count."""
    cutter = splitter()
    cutter._next_id = 0xFFFF_FFFF
    reader = Reassembler(TYPE)
    for message in (bytes(5000), bytes(6000)):
        assert feed_all(reader, cutter.split(message)) == [message]
