"""Channel.pair, and ends of channels in messages: each is opened once, wherever it is then, and none is left behind."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from namedipc import ChannelEnd, DeclarationError, Fifo, Opening, lowlevel
from namedipc._channel import Channel
from namedipc._channel_blocking import BlockingConnection
from namedipc._channel_trio import Connection
from namedipc._codec import Codec
from namedipc._errors import Closed, ConnectionLost, EndOfChannel, InvalidMessage, SchemaMismatch, TooLarge
from namedipc._fd import Fd
from namedipc._types import describe, difference
from namedipc._values import Limits

from .channel_support import blocking_ends, run_in_fork, trio_ends
from .conftest import Children, open_descriptors

pytestmark = pytest.mark.usefixtures("no_leaks")

NUMBERS = Channel("numbers", int)


@attrs.frozen
class Visit:
    """A message that brings an end, or several."""

    name: str
    talk: ChannelEnd[int]
    more: list[ChannelEnd[int | str] | None] = attrs.field(factory=list)
    padding: bytes = b""


@attrs.frozen
class Question:
    """A message with a way back for messages like itself."""

    text: str
    back: ChannelEnd[Question] | None = None


@pytest.fixture
def door(tmp_path: Path) -> Channel[Visit]:
    """Where ends are handed over."""
    return Channel(tmp_path / "door", Visit)


async def test_in_trio() -> None:
    """Both ends are ordinary connections."""
    one, other = NUMBERS.pair()
    async with one as here, other as there:
        assert isinstance(here, Connection)
        await here.send(3)
        assert await there.receive() == 3
        await there.send(4)
        assert await here.receive() == 4
        assert here.peer.pid == there.peer.pid == os.getpid()
        await there.send_eof()
        with pytest.raises(trio.EndOfChannel, match=r"^numbers: "):
            await here.receive()


def test_in_blocking_code() -> None:
    """The same; and what is sent before the other end is opened lies ready."""
    one, other = NUMBERS.pair()
    with one as here:
        assert isinstance(here, BlockingConnection)
        here.send(3)
    with other as there:
        assert there.receive(timeout=20) == 3
        with pytest.raises(EndOfChannel):
            there.receive(timeout=20)


async def test_one_end_in_each_world() -> None:
    """They speak the same."""
    one, other = NUMBERS.pair()

    def answer() -> None:
        with other as there:
            there.send(there.receive(timeout=20) + 1, timeout=20)

    async with one as here, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, answer)
        await here.send(3)
        assert await here.receive() == 4


async def test_each_is_opened_once() -> None:
    """Another time it is Closed, be it while it is open or later; in trio it is trio's error, too."""
    one, other = NUMBERS.pair()
    assert repr(one) == ("<Channel('numbers', int).pair(): not opened yet; enter it by 'async with' (trio) or 'with'>")
    async with one, other:
        with pytest.raises(trio.ClosedResourceError, match=r"pair\(\): this end has been opened before"):
            await one.__aenter__()
    with pytest.raises(trio.ClosedResourceError):
        await other.__aenter__()

    def blocking() -> None:
        with pytest.raises(Closed, match="an end of a pair is opened once"):
            one.__enter__()

    await trio.to_thread.run_sync(blocking)
    assert repr(one).endswith("this end has been opened before; an end of a pair is opened once>") or "opened" in repr(
        one
    )


def test_dropped_unopened() -> None:
    """It is closed at once, with a warning; the other end sees that nobody is there."""
    one, other = NUMBERS.pair()
    before = open_descriptors()
    with pytest.warns(
        ResourceWarning, match=r"^Channel\('numbers', int\).pair\(\): an end was dropped, neither opened"
    ):
        del other
    assert len(open_descriptors()) == len(before) - 1
    with one as here, pytest.raises(ConnectionLost):
        here.receive(timeout=20)


def test_a_forked_child() -> None:
    """It opens one end, its parent the other; each drops the one that it does not use, without a warning."""
    one, other = NUMBERS.pair()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                del one
                with other as there:
                    there.send(there.receive(timeout=20) + 1)
                    os._exit(0)
        finally:
            os._exit(1)
    del other
    with one as here:
        here.send(3, timeout=20)
        assert here.receive(timeout=20) == 4
        with pytest.raises(ConnectionLost):
            here.receive(timeout=20)
    assert os.waitpid(pid, 0)[1] == 0


async def test_sent_to_another(door: Channel[Visit]) -> None:
    """It arrives as an unopened end, which speaks to the one that was kept; the sender's is gone."""
    words = Channel("words", int | str)
    async with trio_ends(door) as (server, client):
        mine, theirs = NUMBERS.pair()
        mine_too, theirs_too = words.pair()
        await client.send(Visit("ann", theirs, [theirs_too, None]))
        for gone in (theirs, theirs_too):
            with pytest.raises(trio.ClosedResourceError, match="this end has been sent; its receiver opens it"):
                await gone.__aenter__()
            with pytest.raises(InvalidMessage, match="this end has been sent"):
                await client.send(Visit("ann", theirs))
        visit = await server.receive()
        assert repr(visit.talk).startswith("<ChannelEnd[int]: not opened yet")
        assert visit.more[1] is None
        second = visit.more[0]
        assert second is not None
        async with mine as here, visit.talk as there, mine_too as here_too, second as there_too:
            await here.send(3)
            assert await there.receive() == 3
            await there_too.send("word")
            assert await here_too.receive() == "word"


def test_sent_on(door: Channel[Visit]) -> None:
    """What was received can be sent again, and opened at the end of its way."""
    with blocking_ends(door) as (server, client):
        mine, theirs = NUMBERS.pair()
        client.send(Visit("ann", theirs))
        for _ in range(3):
            server.send(Visit("bob", server.receive(timeout=20).talk))
            client.send(Visit("ann", client.receive(timeout=20).talk))
        with mine as here, server.receive(timeout=20).talk as there:
            here.send(3)
            assert there.receive(timeout=20) == 3


def test_messages_with_a_way_back(tmp_path: Path) -> None:
    """A type may contain ends for messages of its own kind."""
    questions = Channel(tmp_path / "questions", Question)
    with blocking_ends(questions) as (server, client):
        mine, theirs = questions.pair()
        client.send(Question("how?", theirs))
        question = server.receive(timeout=20)
        assert question.back is not None
        deep, deeper = questions.pair()
        with mine as here, question.back as there:
            there.send(Question("so", deeper))
            answer = here.receive(timeout=20)
            assert answer.back is not None
            with deep as one, answer.back as other:
                one.send(Question("thanks"))
                assert other.receive(timeout=20) == Question("thanks")


def test_another_process(door: Channel[Visit], child: Children) -> None:
    """It opens what it was given, without any name; its death is seen at the other end."""
    with door.listen() as listener:
        other = child(
            """
            import sys
            import attrs
            from namedipc import Channel, ChannelEnd

            @attrs.frozen
            class Visit:
                name: str
                talk: ChannelEnd[int]
                more: list[ChannelEnd[int | str] | None] = attrs.field(factory=list)
                padding: bytes = b""

            with Channel(sys.argv[1], Visit).connect() as door:
                visit = door.receive(timeout=20)
            with visit.talk as talk:
                for number in talk:
                    talk.send(number * 2)
            """,
            str(door.path),
        )
        mine, theirs = NUMBERS.pair()
        with listener.accept(timeout=20) as connection:
            connection.send(Visit("ann", theirs))
        with mine as here:
            for number in range(3):
                here.send(number, timeout=20)
                assert here.receive(timeout=20) == 2 * number
            other.kill()
            with pytest.raises(ConnectionLost):
                here.receive(timeout=20)


def test_a_message_that_is_not_sent(door: Channel[Visit]) -> None:
    """The end stays here, and can be opened or sent afterwards."""
    with blocking_ends(door, Limits(message_bytes=1000)) as (server, client):
        assert server.peer == client.peer
        mine, theirs = NUMBERS.pair()
        with pytest.raises(TooLarge):
            client.send(Visit("ann", theirs, padding=bytes(2000)))
        with pytest.raises(InvalidMessage, match="is on its way in a message"):
            client.send(Visit("ann", theirs, [theirs]))  # type: ignore[list-item]  # of another type besides
        with mine as here, theirs as there:
            here.send(3)
            assert there.receive(timeout=20) == 3


def test_only_ends_of_pairs_are_sent(tmp_path: Path, door: Channel[Visit]) -> None:
    """What connects, what is open, and what carries other messages: it is said what could be sent instead."""
    strange = Channel(tmp_path / "strange", str)
    advice = r"what can be sent is an unopened end of a Channel.pair\(\) of these messages, or one that was received"
    mine, theirs = NUMBERS.pair()
    with blocking_ends(door) as (_, client), mine as open_end, theirs:
        one, other = strange.pair()
        wrong: Any
        for wrong in (NUMBERS.connect(), open_end, one, None, 3, Fd):
            with pytest.raises(
                InvalidMessage, match=rf"^{door.path}: Visit: expected ChannelEnd\[int\], got .*; {advice}"
            ):
                client.send(Visit("ann", wrong))
        with one, other:
            pass
        codec = Codec[Any](ChannelEnd[int])
        with pytest.raises(InvalidMessage, match=r"expected ChannelEnd\[int\], got"):
            codec.encode_with(NUMBERS.connect())


def test_what_arrives_is_looked_at() -> None:
    """A descriptor that is no end of a channel makes its message invalid, and is closed; as are the others."""
    codec: Codec[Any] = Codec(list[ChannelEnd[int]])
    reader, writer = lowlevel.pipe()
    one, other = lowlevel.socket_pair()
    with (
        one,
        other,
        pytest.raises(InvalidMessage, match=r"ChannelEnd\[int\]: the descriptor that has come is no end of a channel"),
    ):
        codec.decode_with(b"\x92\x00\x01", [os.dup(one.fileno()), reader])
    os.close(writer)


def test_the_other_side_means_other_messages() -> None:
    """An end speaks for itself: with its hello, when both are opened."""
    data, descriptors = Codec[Any](ChannelEnd[int]).encode_with((pair := NUMBERS.pair())[0])
    arrived = [os.dup(number) for number in descriptors.numbers]
    descriptors.sent()
    taken: Any = Codec(ChannelEnd[str]).decode_with(data, arrived)
    with pair[1] as here, taken as there:
        there.send("word")
        with pytest.raises(SchemaMismatch, match="int here, str there"):
            here.receive(timeout=20)


def test_unions_of_ends(tmp_path: Path) -> None:
    """Each is told from the other by what it carries."""
    words = Channel("words", str)
    codec: Codec[Any] = Codec(ChannelEnd[int] | ChannelEnd[str] | Fd | int)
    for channel, label in ((NUMBERS, "int"), (words, "str")):
        mine, theirs = channel.pair()
        data, descriptors = codec.encode_with(theirs)
        arrived = [os.dup(number) for number in descriptors.numbers]
        descriptors.sent()
        end = codec.decode_with(data, arrived)
        assert repr(end).startswith(f"<ChannelEnd[{label}]")
        with mine, end:
            pass


def test_declarations() -> None:
    """An annotation says what the channel carries; names that cannot carry it refuse it; it does not pickle."""
    assert Codec[Any](ChannelEnd[Question]).type_name == "ChannelEnd[Question]"
    assert Codec[Any](dict[str, ChannelEnd[int] | None]).type_name == "dict[str, ChannelEnd[int] | None]"
    with pytest.raises(DeclarationError, match=r"ChannelEnd does not say what it carries; write ChannelEnd\[int\]"):
        Codec(ChannelEnd)
    with pytest.raises(DeclarationError, match=r"Any says nothing of what is sent"):
        Codec(ChannelEnd[Any])
    with pytest.raises(DeclarationError, match="only sockets carry; use a Channel or a Service"):
        Fifo("x", Visit)
    assert issubclass(type(NUMBERS.connect()), Opening)
    assert difference(describe(ChannelEnd[int]), describe(ChannelEnd[str])) == "[message]: int here, str there"
    assert difference(describe(ChannelEnd[int]), describe(Fd)) == "ChannelEnd[int] here, Fd there"
    assert difference(describe(Visit), describe(Visit)) is None
    assert difference(describe(Question), describe(Question)) is None


def test_it_does_not_pickle() -> None:
    """It belongs to this process until it is sent."""
    one, other = NUMBERS.pair()
    for end in (one, other):
        with pytest.raises(TypeError, match="travels in a message"):
            pickle.dumps(end)
        with end:
            pass


def test_an_open_end_is_the_parents() -> None:
    """A child of a process with open ends can use neither, and hides nobody's death."""
    one, other = NUMBERS.pair()
    with one as here, other as there:

        def child() -> None:
            with pytest.raises(Closed, match="belongs to process"):
                here.send(3)

        assert run_in_fork(child) == 0
        here.send(4)
        assert there.receive(timeout=20) == 4
