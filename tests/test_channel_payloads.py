"""Channels whose messages carry large payloads, in both worlds: nothing is copied at the receiver, nothing is lost."""

from __future__ import annotations

import gc
import os
import tempfile
import textwrap
import threading
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pytest
import trio
import trio.testing

from namedipc import lowlevel
from namedipc._channel import Channel
from namedipc._errors import (
    Closed,
    ConnectionLost,
    EndOfChannel,
    InvalidMessage,
    ProtocolError,
    SchemaMismatch,
    TimedOut,
    TooLarge,
    WouldBlock,
)
from namedipc._fd import Fd
from namedipc._protocol.attachments import Parcel
from namedipc._protocol.frames import BUFFER, RELEASE, pack_frame
from namedipc._shells.waiting import Clock
from namedipc._values import Limits, anyone

from .channel_support import Background, BytePeer, blocking_ends, run_in_fork, trio_ends, wait_until_asleep
from .conftest import Children
from .payload_support import (
    MIB,
    SEALS,
    SMALL_POOL,
    Bytes,
    Frame,
    announcement,
    buffers_mapped,
    buffers_open,
    digest,
    memfd,
    message,
    picture,
    release,
    say,
)

pytestmark = pytest.mark.usefixtures("no_leaks")

PEER = """
    import sys, attrs, hashlib, numpy as np, numpy.typing as npt
    from namedipc import Channel, Limits

    @attrs.frozen(eq=False)
    class Frame:
        number: int
        picture: npt.NDArray[np.uint8]
        sound: memoryview = memoryview(b"")

    screen = Channel(sys.argv[1], Frame)
"""


def script(text: str) -> str:
    """Return a program that has the channel."""
    return textwrap.dedent(PEER) + textwrap.dedent(text)


@pytest.fixture
def screen(tmp_path: Path) -> Channel[Frame]:
    """Where pictures are shown."""
    return Channel(tmp_path / "screen", Frame)


# ---------------------------------------------------------------- what arrives


@attrs.frozen(eq=False)
class Album:
    """Payloads all over."""

    pages: list[Frame]
    cover: Bytes | memoryview | bytes | None = None
    extra: dict[str, npt.NDArray[np.float64]] = attrs.field(factory=dict)


def assert_same(one: Any, other: Any) -> None:
    """Compare what numpy's own equality does not, layout aside."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one, other)
    elif isinstance(one, memoryview):
        assert one == other
    elif isinstance(one, list | tuple):
        for each, its in zip(one, other, strict=True):
            assert_same(each, its)
    elif isinstance(one, dict):
        for key in one | other:
            assert_same(one[key], other[key])
    elif attrs.has(type(one)):
        for field in attrs.fields(type(one)):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


MANY = np.arange(120_000.0)


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (Bytes, picture(3)),
        (npt.NDArray[np.float64], MANY.reshape(300, 400)),
        (npt.NDArray[np.float64], np.asfortranarray(MANY.reshape(300, 400))),
        (npt.NDArray[np.float64], MANY[::2]),
        (npt.NDArray[np.float64], MANY.astype(">f8")),
        (npt.NDArray[np.float64], np.array(3.5)),
        (npt.NDArray[np.float64], np.zeros((0, 3))),
        (npt.NDArray[np.datetime64], MANY.astype("M8[s]")),
        (npt.NDArray[np.str_], np.array("x" * 80_000)),
        (memoryview, memoryview(bytes(MIB))),
        (memoryview, memoryview(bytearray(b"small"))),
        (memoryview, memoryview(b"")),
        (memoryview | bytes, memoryview(bytes(MIB))),
        (memoryview | bytes, bytes(1000)),
        (memoryview | int | None, memoryview(bytes(MIB))),
        (list[Bytes], [picture(number, 300_000) for number in range(3)]),
        (tuple[memoryview, Bytes, int], (memoryview(bytes(MIB)), picture(1), 7)),
        (Album, Album([Frame(1, picture(1)), Frame(2, picture(2, 10))], memoryview(bytes(MIB)), {"x": MANY})),
    ],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
def test_arrives_as_it_was_sent(tp: Any, value: object, tmp_path: Path) -> None:
    """Whatever the layout in the sender's memory, and wherever in the message."""
    with blocking_ends(Channel[Any](tmp_path / "name", tp)) as (server, client):
        client.send(value, timeout=20)
        assert_same(server.receive(timeout=20), value)
        client.send_many([value, value], timeout=20)
        assert_same(server.receive_many(max_messages=1, timeout=20), [value])
        assert_same(server.receive(timeout=20), value)


async def test_both_ways_in_trio(screen: Channel[Frame]) -> None:
    """One after the other, at one go, and without waiting."""
    async with trio_ends(screen) as (server, client):
        await client.send(Frame(1, picture(1), memoryview(bytes(MIB))))
        assert_same(await server.receive(), Frame(1, picture(1), memoryview(bytes(MIB))))
        await server.send_many([Frame(2, picture(2)), Frame(3, picture(3, 10)), Frame(4, picture(4))])
        for number in (2, 3, 4):
            frame = await client.receive()
            assert frame.number == number
            assert frame.picture[0] == number
        client.send_nowait(Frame(5, picture(5)))
        assert server.receive_nowait().picture[0] == 5


def test_whose_memory_it_is(screen: Channel[Frame]) -> None:
    """An array is the receiver's to change; a memoryview is to be read; and neither is the sender's any more."""
    mine = picture(1)
    with blocking_ends(screen) as (server, client):
        client.send(Frame(1, mine, mine.data))
        frame = server.receive(timeout=20)
        mine[:] = 9
        assert frame.picture[0] == frame.sound[0] == 1
        frame.picture[:] = 7
        assert mine[0] == 9
        assert frame.sound.readonly
        assert frame.sound.format == "B"


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (memoryview(bytes(16)).cast("Q"), r"of format 'Q'; send view.cast\('B'\)"),
        (memoryview(bytes(16)).cast("B", (4, 4)), r"of 2 dimensions .* send view.cast\('B'\)"),
        (memoryview(bytes(16))[::2], r"send memoryview\(bytes\(view\)\)"),
        (b"bytes", "expected memoryview, got bytes"),
    ],
)
def test_views_that_are_refused(value: Any, remedy: str, tmp_path: Path) -> None:
    """A view of anything but bytes in a row would arrive as something else. The text says what to send."""
    with (
        blocking_ends(Channel(tmp_path / "name", memoryview)) as (_, client),
        pytest.raises(InvalidMessage, match=remedy),
    ):
        client.send(value)


def test_views_of_bytes_of_every_kind(tmp_path: Path) -> None:
    """Signed ones and characters are bytes too."""
    with blocking_ends(Channel(tmp_path / "name", memoryview)) as (server, client):
        view = memoryview(b"\x01" * MIB)
        views: list[Any] = [view, view.cast("b"), view.cast("c")]
        for each in views:
            client.send(each)
            assert server.receive(timeout=20) == b"\x01" * MIB


def test_beside_descriptors(tmp_path: Path) -> None:
    """Both travel with one message."""
    desk = Channel(tmp_path / "desk", tuple[Fd, Bytes])
    (tmp_path / "file").write_bytes(b"word")
    with blocking_ends(desk) as (server, client), open(tmp_path / "file", "rb") as file, Fd(file) as fd:
        client.send((fd, picture(1)))
        arrived, array = server.receive(timeout=20)
        with arrived.open() as again:
            assert again.read() == b"word"
        assert array[-1] == 1


# ---------------------------------------------------------------- the pool


def test_another_process(screen: Channel[Frame], child: Children) -> None:
    """A hundred messages have a few buffers, mapped once on both sides; an array that is kept is never overwritten."""
    with screen.listen(limits=SMALL_POOL) as listener:
        other = child(
            script("""
            with screen.connect() as connection:
                kept = connection.receive(timeout=20)
                before = hashlib.sha256(kept.picture).hexdigest()
                for number in range(1, 100):
                    frame = connection.receive(timeout=20)
                    assert frame.number == number and frame.picture[0] == frame.picture[-1] == number
                    frame.picture[0] = 255
                print(hashlib.sha256(kept.picture).hexdigest() == before, flush=True)
                input()
                del frame
                print(kept.picture[0], flush=True)
            print(kept.picture[0], flush=True)
            input()
            """),
            str(screen.path),
        )
        with listener.accept(timeout=20) as connection:
            for number in range(100):
                connection.send(Frame(number, picture(number)), timeout=20)
            other.expect("True")
            assert buffers_mapped() == buffers_mapped(other.pid) <= 4
            assert buffers_open(os.getpid()) <= 4
            other.say()
            other.expect("0")
        other.expect("0")  # behind the end of the connection
        assert buffers_mapped(other.pid) == 1
        assert buffers_mapped() == 0
        other.say()
        assert other.wait() == 0


def test_a_sender_that_is_killed(screen: Channel[Frame], child: Children) -> None:
    """What the receiver holds stays what it is."""
    with screen.listen() as listener:
        other = child(
            script("""
            with screen.connect() as connection:
                connection.send(Frame(1, np.full(8 << 20, 5, np.uint8)))
                input()
            """),
            str(screen.path),
        )
        with listener.accept(timeout=20) as connection:
            frame = connection.receive(timeout=20)
            other.kill()
            with pytest.raises(ConnectionLost):
                connection.receive(timeout=20)
            assert digest(frame.picture) == digest(picture(5, 8 * MIB))
        assert digest(frame.picture) == digest(picture(5, 8 * MIB))
        frame.picture[0] = 1


def test_a_receiver_that_is_killed(screen: Channel[Frame], child: Children) -> None:
    """Its buffers are dropped with the connection, and the next one has its own."""
    with screen.listen() as listener:
        for _ in range(2):
            other = child(
                script("""
                with screen.connect() as connection:
                    frame = connection.receive(timeout=20)
                    print("holds", flush=True)
                    input()
                """),
                str(screen.path),
            )
            with listener.accept(timeout=20) as connection:
                connection.send(Frame(1, picture(1)))
                other.expect("holds")
                other.kill()
                with pytest.raises(ConnectionLost):
                    connection.receive(timeout=20)
                with pytest.raises(ConnectionLost):
                    for _ in range(1000):
                        connection.send(Frame(1, picture(1)), timeout=20)
            assert buffers_mapped() == 0


def test_a_hundred_megabytes(screen: Channel[Frame]) -> None:
    """In one message, whose limit they do not count for."""
    with blocking_ends(screen) as (server, client):
        large = picture(1, 100_000_000)
        client.send(Frame(1, large), timeout=20)
        frame = server.receive(timeout=20)
        assert np.array_equal(frame.picture, large)
        assert client.statistics().bytes_sent < 10_000


def keep_all(server: Any, client: Any) -> list[Frame]:
    """Have the receiver keep as many as there is room for."""
    kept = []
    for number in range(4):
        client.send(Frame(number, picture(number)), timeout=20)
        kept.append(server.receive(timeout=20))
    return kept


def test_a_receiver_that_keeps_all(screen: Channel[Frame]) -> None:
    """The sender waits until it lets go of something; nothing that is kept is overwritten."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        kept = keep_all(server, client)
        with pytest.raises(TimedOut, match="does not let go of payloads within 0 seconds"):
            client.send(Frame(9, picture(9)), timeout=0)
        with pytest.raises(WouldBlock, match="no room for its payloads"):
            client.send_nowait(Frame(9, picture(9)))
        client.send(Frame(8, picture(8, 100)))  # what is small needs no room
        sending = Background(lambda: client.send(Frame(9, picture(9)), timeout=20))
        wait_until_asleep(sending)
        del kept[2]
        sending.result()
        assert [frame.picture[0] for frame in kept] == [0, 1, 3]
        assert [server.receive(timeout=20).picture[0] for _ in range(2)] == [8, 9]


async def test_a_receiver_that_keeps_all_in_trio(screen: Channel[Frame]) -> None:
    """The same, and waiting can be cancelled."""
    async with trio_ends(screen, SMALL_POOL) as (server, client), trio.open_nursery() as nursery:
        kept = []
        for number in range(4):
            await client.send(Frame(number, picture(number)))
            kept.append(await server.receive())
        with pytest.raises(trio.WouldBlock):
            client.send_nowait(Frame(9, picture(9)))
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.send(Frame(9, picture(9)))
        assert scope.cancelled_caught
        nursery.start_soon(client.send, Frame(8, picture(8)))
        await trio.testing.wait_all_tasks_blocked()
        del kept[2]
        with trio.fail_after(20):
            assert (await server.receive()).picture[0] == 8
        assert [frame.picture[0] for frame in kept] == [0, 1, 3]


def test_what_finds_no_room_and_is_not_too_long(screen: Channel[Frame]) -> None:
    """It goes through the socket."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        kept = keep_all(server, client)
        sending = Background(lambda: client.send(Frame(9, picture(9, 300_000)), timeout=20))
        frame = server.receive(timeout=20)
        sending.result()
        assert digest(frame.picture) == digest(picture(9, 300_000))
        assert client.statistics().bytes_sent > 300_000
        assert len(kept) == 4


def test_what_never_finds_room(screen: Channel[Frame]) -> None:
    """It says so, and what to do."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        with pytest.raises(
            TooLarge, match=r"carries 4194304\. Send less at once, or .* Limits\(payload_bytes=\.\.\.\)"
        ):
            server.send(Frame(1, picture(1, 5 * MIB)))
        client.send(Frame(1, picture(1)))
        assert server.receive(timeout=20).number == 1


def test_the_lower_limit_of_both_counts(screen: Channel[Frame]) -> None:
    """The other side has said how much it maps, before anything large is sent."""
    with (
        screen.listen(limits=SMALL_POOL) as listener,
        screen.connect() as client,
        listener.accept(timeout=20) as server,
    ):
        with pytest.raises(TooLarge, match="carries 4194304"):
            client.send(Frame(1, picture(1, 5 * MIB)))
        client.send(Frame(1, picture(1)))
        assert server.receive(timeout=20).number == 1


def test_before_the_other_side_has_said_anything(screen: Channel[Frame]) -> None:
    """Something large waits for its hello: how much it maps is not known."""
    with screen.listen() as listener, screen.connect() as client:
        client.send(Frame(1, picture(1, 100)))
        with pytest.raises(WouldBlock):
            client.send_nowait(Frame(2, picture(2)))
        sending = Background(lambda: client.send(Frame(2, picture(2)), timeout=20))
        wait_until_asleep(sending)
        with listener.accept(timeout=20) as server:
            sending.result()
            assert [server.receive(timeout=20).number for _ in range(2)] == [1, 2]


def test_sizes_that_change(screen: Channel[Frame]) -> None:
    """Buffers which do not fit are given up for others: the bound holds, on both sides."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        for number, size_bytes in enumerate([MIB, MIB, 2 * MIB, 4 * MIB, 300_000, 3 * MIB, MIB] * 4):
            client.send(Frame(number, picture(number, size_bytes)), timeout=20)
            assert digest(server.receive(timeout=20).picture) == digest(picture(number, size_bytes))
        assert buffers_mapped() <= 2 * 4


# ---------------------------------------------------------------- who listens


def test_one_that_only_sends(screen: Channel[Frame]) -> None:
    """It hears what is released all the same, and keeps the messages that come meanwhile, in order."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):

        def show() -> None:
            for number in range(50):
                frame = server.receive(timeout=20)
                assert frame.picture[0] == frame.picture[-1] == number
                server.send(Frame(number, picture(0, 1)))

        showing = Background(show)
        for number in range(50):
            client.send(Frame(number, picture(number)), timeout=20)
        showing.result()
        assert [client.receive(timeout=20).number for _ in range(50)] == list(range(50))
        assert buffers_mapped() <= 2 * 4


def test_threads_both_ways(screen: Channel[Frame]) -> None:
    """Both sides send much more than there is room for, and receive in other threads."""
    with blocking_ends(screen, SMALL_POOL) as ends:

        def send(end: Any) -> None:
            for number in range(60):
                end.send(Frame(number, picture(number)), timeout=20)
            end.send_eof()

        def receive(end: Any) -> list[int]:
            return [frame.number for frame in end if digest(frame.picture) == digest(picture(frame.number))]

        sending = [Background(lambda end=end: send(end)) for end in ends]  # type: ignore[misc]  # of any end
        receiving = [Background(lambda end=end: receive(end)) for end in ends]  # type: ignore[misc]  # likewise
        for thread in sending:
            thread.result()
        assert [thread.result() for thread in receiving] == [list(range(60))] * 2


async def test_tasks_both_ways(screen: Channel[Frame]) -> None:
    """The same in trio; receiving is cancelled now and then."""
    async with trio_ends(screen, SMALL_POOL) as ends, trio.open_nursery() as nursery:
        received: list[list[int]] = [[], []]

        async def send(end: Any) -> None:
            for number in range(60):
                await end.send(Frame(number, picture(number)))
            await end.send_eof()

        async def receive(end: Any, numbers: list[int]) -> None:
            while True:
                with trio.move_on_after(0.001):
                    try:
                        frame = await end.receive()
                    except EndOfChannel:
                        return
                    assert digest(frame.picture) == digest(picture(frame.number))
                    numbers.append(frame.number)

        with trio.fail_after(60):
            for end, numbers in zip(ends, received, strict=True):
                nursery.start_soon(send, end)
                nursery.start_soon(receive, end, numbers)
    assert received == [list(range(60))] * 2


def test_behind_a_half_close(screen: Channel[Frame]) -> None:
    """Who sends no more still releases what it receives."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        server.send_eof()
        showing = Background(lambda: [server.receive(timeout=20).number for _ in range(30)])
        for number in range(30):
            client.send(Frame(number, picture(number)), timeout=20)
        assert showing.result() == list(range(30))
        with pytest.raises(EndOfChannel):
            client.receive(timeout=20)


async def test_a_send_that_is_cancelled(screen: Channel[Frame]) -> None:
    """Its buffer is free again if no byte had left, and the next message is whole in any case."""
    async with trio_ends(screen, SMALL_POOL) as (server, client):
        await client.send(Frame(0, picture(0, 1)))
        await server.receive()
        filled = 0
        with pytest.raises(trio.WouldBlock):
            while True:
                client.send_nowait(Frame(filled, picture(0, 1000)))
                filled += 1
        for _ in range(20):
            with trio.move_on_after(0.001) as scope:
                await client.send(Frame(-1, picture(1)))
            assert scope.cancelled_caught
        assert [(await server.receive()).number for _ in range(filled)] == list(range(filled))
        await client.send(Frame(7, picture(7)))
        assert (await server.receive()).number == 7
        assert buffers_mapped() <= 2


def test_closed_by_another_thread(screen: Channel[Frame]) -> None:
    """Whoever waits for room is told, on either side."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        kept = keep_all(server, client)
        sending = Background(lambda: client.send(Frame(9, picture(9)), timeout=20))
        wait_until_asleep(sending)
        server.close()
        with pytest.raises(ConnectionLost):
            sending.result()
        assert len(kept) == 4
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        kept = keep_all(server, client)
        sending = Background(lambda: client.send(Frame(9, picture(9)), timeout=20))
        wait_until_asleep(sending)
        client.close()
        with pytest.raises((ConnectionLost, Closed)):
            sending.result()
        assert len(kept) == 4


def test_a_forked_child(screen: Channel[Frame]) -> None:
    """It lets go of everything, and disturbs neither end of its parent."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        client.send(Frame(1, picture(1)))
        frame = server.receive(timeout=20)
        client.send(Frame(2, picture(2)))

        def drop() -> None:
            nonlocal frame
            del frame
            gc.collect()
            server.close()
            client.close()

        assert run_in_fork(drop) == 0
        assert frame.picture[0] == 1
        del frame
        for number in range(20):
            client.send(Frame(number, picture(number)), timeout=20)
            server.receive(timeout=20)


def test_dropped_in_another_thread(screen: Channel[Frame]) -> None:
    """Where the last view goes does not matter: the sender has its buffer back at once."""
    with blocking_ends(screen, SMALL_POOL) as (server, client):
        kept = keep_all(server, client)
        part = kept[0].picture[10:20:2]
        del kept[0]
        dropping = threading.Event()

        def drop() -> None:
            nonlocal part
            dropping.wait(20)
            del part

        thread = Background(drop)
        sending = Background(lambda: client.send(Frame(9, picture(9)), timeout=20))
        wait_until_asleep(sending)
        dropping.set()
        thread.result()
        sending.result()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_another_user() -> None:
    """What another user has sent is copied before it is looked at, and its buffer released at once."""
    directory = tempfile.TemporaryDirectory(dir="/tmp")
    os.chmod(directory.name, 0o755)  # pytest's own lets nobody else in
    screen = Channel(f"{directory.name}/screen", Frame)

    def send() -> None:
        os.setuid(65534)
        with screen.connect() as connection:
            for number in range(8):
                connection.send(Frame(number, picture(number)), timeout=20)

    with screen.listen(allow=anyone, mode=0o666, limits=SMALL_POOL) as listener:
        sending = Background(lambda: run_in_fork(send))
        with listener.accept(timeout=20) as server:
            kept = [server.receive(timeout=20) for _ in range(8)]
            assert [frame.picture[0] for frame in kept] == list(range(8))
            kept[0].picture[0] = 1
            assert kept[0].sound.readonly
        assert sending.result() == 0
    directory.cleanup()


# ---------------------------------------------------------------- peers that break the rules


def head(spans: int = 1) -> bytes:
    """Return a message with payloads, without those."""
    sound = memoryview(bytes(MIB)) if spans > 1 else memoryview(b"")
    return Channel("unused", Frame)._codec.encode_with(Frame(1, picture(1), sound))[0]


@pytest.mark.parametrize(
    ("said", "size_bytes", "problem"),
    [
        (message(head(), 7, [(0, MIB)]), MIB, "buffer 7, which is unknown"),
        (message(head(), 1, [(0, MIB + 1)]), MIB, "lie beyond buffer 1"),
        (message(head(), 1, [((1 << 64) - 1, MIB)]), MIB, "lie beyond buffer 1"),
        (message(head(2), 1, [(0, MIB), (MIB - 1, MIB)]), 2 * MIB, "overlap in buffer 1"),
        (message(head(), 1, [(0, MIB)]) * 2, MIB, "buffer 1, which is unknown or in use"),
        (message(head(), 1, [(0, MIB)]) + pack_frame(BUFFER, id=1), MIB, "given up, which is unknown or in use"),
        (pack_frame(BUFFER, id=9), MIB, "given up, which is unknown"),
        (pack_frame(BUFFER, b"short", id=9), MIB, "BUFFER has a size and one descriptor"),
        (release(1), MIB, "buffer 1 was released, and is not lent"),
        (pack_frame(RELEASE, b"odd"), MIB, "RELEASE holds a list of 32-bit numbers"),
        (pack_frame(RELEASE), MIB, "RELEASE holds a list of 32-bit numbers"),
        (message(b"", 1, []), MIB, "does not say where they are"),
        (pack_frame(6, b"\xff", flags=32), MIB, "does not say where they are"),
    ],
)
def test_what_a_peer_may_not_say(screen: Channel[Frame], said: bytes, size_bytes: int, problem: str) -> None:
    """The connection ends, and everything is closed."""
    with screen.listen() as listener, BytePeer(screen) as peer, listener.accept(timeout=20) as server:
        peer.greet()
        fd = memfd(size_bytes)
        say(peer, announcement(1, size_bytes), fd)
        os.close(fd)
        say(peer, said)
        kept = []
        with pytest.raises(ProtocolError, match=problem):
            for _ in range(3):
                kept.append(server.receive(timeout=20))
        assert len(kept) <= 1
    assert buffers_mapped() == 0


def test_buffers_that_are_none(screen: Channel[Frame], tmp_path: Path) -> None:
    """One that can be cut short, one that is smaller than it says, no memfd, no size; and more than there may be."""
    (tmp_path / "file").write_bytes(bytes(4096))
    file = os.open(tmp_path / "file", os.O_RDWR)
    good, small, loose = memfd(MIB), memfd(4096), memfd(MIB, SEALS & ~lowlevel.Seal.SHRINK)
    try:
        for first, second, problem in (
            ((1, MIB, loose), None, "could be cut short"),
            ((1, MIB, small), None, "cannot be mapped"),
            ((1, 4096, file), None, "cannot be mapped"),
            ((1, 0, good), None, "without bytes"),
            ((0, MIB, good), None, "reserved"),
            ((1, 1 << 63, good), None, "more than 4194304"),
            ((1, MIB, good), (1, MIB, good), "still in use"),
            ((1, 3 * MIB, memory := memfd(3 * MIB)), (2, 3 * MIB, memory), "more than 4194304"),
        ):
            with (
                screen.listen(limits=SMALL_POOL) as listener,
                BytePeer(screen) as peer,
                listener.accept(timeout=20) as server,
            ):
                peer.greet()
                for buffer, size_bytes, fd in filter(None, (first, second)):
                    say(peer, announcement(buffer, size_bytes), fd)
                with pytest.raises(ProtocolError, match=problem):
                    server.receive(timeout=20)
        os.close(memory)
    finally:
        for fd in (file, good, small, loose):
            os.close(fd)


def test_a_buffer_for_each_message(screen: Channel[Frame]) -> None:
    """As each costs a descriptor here, there is a bound."""
    fd = memfd(4096)
    with screen.listen() as listener, BytePeer(screen) as peer, listener.accept(timeout=20) as server:
        peer.greet()
        for buffer in range(1, 66):
            say(peer, announcement(buffer, 4096), fd)
        with pytest.raises(ProtocolError, match="more than 64 buffers"):
            server.receive(timeout=20)
    os.close(fd)


def greet_with_defaults(peer: BytePeer[Frame], screen: Channel[Frame]) -> None:
    """Say a hello by which a message of 1 MiB is too long with its payloads within."""
    peer.socket.sendall(screen._conversation.session(Limits()).opening)


def test_a_broken_rule_while_somebody_waits(screen: Channel[Frame]) -> None:
    """Whoever waits for room is told at once, as whoever receives is."""
    with (
        screen.listen(limits=SMALL_POOL) as listener,
        BytePeer(screen) as peer,
        listener.accept(timeout=20) as server,
    ):
        greet_with_defaults(peer, screen)
        for number in range(4):
            server.send(Frame(number, picture(number)), timeout=20)
        sending = Background(lambda: server.send(Frame(4, picture(4)), timeout=20))
        wait_until_asleep(sending)
        say(peer, release(99))
        with pytest.raises(ProtocolError, match="buffer 99 was released, and is not lent"):
            sending.result()
        with pytest.raises(ProtocolError, match="buffer 99"):
            server.receive(timeout=20)


async def test_a_broken_rule_while_a_task_waits(screen: Channel[Frame]) -> None:
    """The same in trio."""
    async with screen.listen(limits=SMALL_POOL) as listener:
        with BytePeer(screen) as peer:
            async with await listener.accept() as server:
                greet_with_defaults(peer, screen)
                for number in range(4):
                    await server.send(Frame(number, picture(number)))
                say(peer, release(99))
                with trio.fail_after(20), pytest.raises(ProtocolError, match="buffer 99 was released"):
                    await server.send(Frame(4, picture(4)))


def test_a_peer_that_declares_no_such_types(tmp_path: Path) -> None:
    """It says that it takes none in buffers: they go within the message, as far as that may be so long."""

    @attrs.frozen
    class Note:
        text: str

    plain = Channel(tmp_path / "name", Note)

    def richer() -> Any:
        @attrs.frozen(eq=False)
        class Note:
            text: str
            picture: Bytes | None = None

        return Note, Channel(tmp_path / "name", Note)

    note, rich = richer()
    with plain.listen() as listener, rich.connect() as client, listener.accept(timeout=20) as server:
        sending = Background(lambda: client.send(note("a", picture(1, 400_000)), timeout=20))
        assert server.receive(timeout=20) == Note("a")
        sending.result()
        with pytest.raises(TooLarge, match="carries 0"):
            client.send(note("b", picture(1, 2 * MIB)))
        client.send(note("c"))
        assert server.receive(timeout=20) == Note("c")


def test_payloads_of_another_type(tmp_path: Path) -> None:
    """Types that differ are told before anything large is looked at."""
    one, other = Channel(tmp_path / "name", Bytes), Channel(tmp_path / "name", memoryview)
    with one.listen(), pytest.raises(SchemaMismatch), other.connect():
        pass


def test_a_wrong_array(tmp_path: Path) -> None:
    """The head does not fit the payload: the message is refused, the buffer released, and the next one arrives."""
    with blocking_ends(Channel(tmp_path / "name", Bytes), SMALL_POOL) as (server, client):
        for number in range(10):
            body = client._encode(picture(number))
            wrong = body.replace(b"|u1", b"|i1") if number % 2 else body
            assert isinstance(body, Parcel)
            parcel = Parcel(wrong, body.descriptors, within=body.within)
            frame = client._pack_later(parcel, Clock(20))
            client._send_frames(frame, 1, Clock(20))
            if number % 2:
                with pytest.raises(InvalidMessage, match="expected NDArray"):
                    server.receive(timeout=20)
            else:
                assert server.receive(timeout=20)[0] == number
