"""Channel and RawChannel: their names, both worlds, other processes, and who is refused before or after connecting."""

from __future__ import annotations

import os
import pickle
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import assert_type

import attrs
import pytest
import trio
import trio.testing

from namedipc import lowlevel
from namedipc._channel import Channel, RawChannel
from namedipc._channel_blocking import BlockingConnection, BlockingListener
from namedipc._channel_trio import Connection, Listener
from namedipc._errors import (
    Closed,
    ConnectionLost,
    DeclarationError,
    EndOfChannel,
    IPCError,
    LimitReached,
    NameNotFound,
    NameTaken,
    NoServer,
    NotAllowed,
    ProtocolError,
    SchemaMismatch,
    TimedOut,
    TooLarge,
    WrongKind,
)
from namedipc._values import Limits, anyone

from .channel_support import Background, blocking_ends, remove_card, run_in_fork
from .conftest import Children
from .names_support import NOBODY, make_file, shared_directory

pytestmark = pytest.mark.usefixtures("no_leaks")


@attrs.frozen
class Order:
    """A message."""

    table: int
    dish: str


class Elsewhere:
    """Another program."""

    @attrs.frozen
    class Order:
        """What it takes a message for."""

        table: str
        dish: str


@pytest.fixture
def numbers(tmp_path: Path) -> Channel[int]:
    """A channel of numbers."""
    return Channel(tmp_path / "numbers", int)


# ------------------------------------------------------------ names


def test_names_are_values(tmp_path: Path) -> None:
    """Equal for the same path and type, moved by at(), and they pickle."""
    orders = Channel(tmp_path / "orders", Order)
    assert_type(orders, Channel[Order])
    assert orders == Channel(tmp_path / "orders", Order)
    assert orders != Channel(tmp_path / "orders", str)
    assert orders != RawChannel(tmp_path / "orders")
    assert orders.at("elsewhere") == Channel("elsewhere", Order)
    assert pickle.loads(pickle.dumps(orders)) == orders
    assert pickle.loads(pickle.dumps(RawChannel("x"))) == RawChannel(Path("x").absolute())
    assert not orders.exists()


def test_what_cannot_be_a_channel(tmp_path: Path) -> None:
    """It is told where the channel is declared, with the path."""
    with pytest.raises(DeclarationError, match=str(tmp_path)):
        Channel(tmp_path / "any", object)
    with pytest.raises(DeclarationError):
        Channel("", int)
    with pytest.raises(DeclarationError):
        RawChannel("nul\0")


def test_a_union_of_messages(tmp_path: Path) -> None:
    """Each arrives as what it was."""
    channel: Channel[Order | int | str] = Channel(tmp_path / "union", Order | int | str)
    with blocking_ends(channel) as (server, client):
        said: list[Order | int | str] = [Order(1, "soup"), 2, "three"]
        client.send_many(said)
        assert server.receive_many(max_messages=3) == said


def test_the_name_while_it_is_owned(numbers: Channel[int]) -> None:
    """It has the permissions that were asked for, a second owner is refused, and nothing is left."""
    for mode in (0o600, 0o666):
        with numbers.listen(mode=mode):
            assert stat.S_IMODE(os.lstat(numbers.path).st_mode) == mode
            with pytest.raises(NameTaken, match=str(numbers.path)):
                numbers.listen().__enter__()
    assert os.listdir(numbers.path.parent) == []


@pytest.mark.parametrize("kind", ["listen", "connect"])
def test_used_again(numbers: Channel[int], kind: str) -> None:
    """An opening is one end: not twice at once, and again after it was left."""
    listening = numbers.listen()
    opening = listening if kind == "listen" else numbers.connect()
    if kind == "connect":
        listening.__enter__()
    for _ in range(2):
        with opening, pytest.raises(RuntimeError, match=rf"{kind}\(\): already entered"):
            opening.__enter__()
    if kind == "connect":
        listening.__exit__(None, None, None)


async def test_the_wrong_with(numbers: Channel[int]) -> None:
    """`with` in a trio task is refused before anything is opened."""
    for verb in (numbers.listen, numbers.connect, RawChannel(numbers.path).listen, RawChannel(numbers.path).connect):
        with pytest.raises(RuntimeError, match="async with"):
            verb().__enter__()
    assert not numbers.exists()


# ------------------------------------------------------------ both worlds


async def test_a_trio_listener_and_a_blocking_client(numbers: Channel[int]) -> None:
    """They speak the same."""

    def client() -> list[int]:
        with numbers.connect() as end:
            assert_type(end, BlockingConnection[int])
            end.send_many([1, 2])
            end.send_eof()
            return list(end)

    async def double(end: Connection[int]) -> None:
        async for number in end:
            await end.send(2 * number)

    async with numbers.listen() as listener, trio.open_nursery() as nursery:
        assert_type(listener, Listener[Connection[int]])
        nursery.start_soon(listener.serve, double)
        assert await trio.to_thread.run_sync(client) == [2, 4]
        await listener.aclose()


async def test_a_blocking_listener_and_a_trio_client(numbers: Channel[int]) -> None:
    """They speak the same; the listener is closed from this thread."""

    def double(end: BlockingConnection[int]) -> None:
        for number in end:
            end.send(2 * number)

    opening = numbers.listen()
    listener = await trio.to_thread.run_sync(opening.__enter__)
    assert_type(listener, BlockingListener[BlockingConnection[int]])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, partial(listener.serve, double))
        async with numbers.connect() as end:
            assert_type(end, Connection[int])
            await end.send(3)
            assert await end.receive() == 6
            assert end.peer.pid == os.getpid()
        await trio.to_thread.run_sync(listener.close)
    await trio.to_thread.run_sync(opening.__exit__, None, None, None)


async def test_a_client_does_not_wait_to_be_accepted(numbers: Channel[int]) -> None:
    """What it sent, and that it left again, lies ready."""
    async with numbers.listen() as listener:
        async with numbers.connect() as client:
            await client.send(1)
        async with await listener.accept() as end:
            assert await end.receive() == 1
            with pytest.raises(EndOfChannel):
                await end.receive()


# ------------------------------------------------------------ other processes

CLIENT = """
    import sys
    from namedipc import Channel

    name, start = sys.argv[1], int(sys.argv[2])
    with Channel(name, int).connect(wait_seconds=20) as end:
        for step in range(200):
            end.send(start + step)
            assert end.receive() == -start - step
    print("done", flush=True)
"""


async def test_many_processes_at_once(numbers: Channel[int], child: Children) -> None:
    """Each has its own conversation, whether it was there before the name or not."""
    received: list[int] = []

    async def negate(end: Connection[int]) -> None:
        async for number in end:
            received.append(number)
            await end.send(-number)

    starts = [1000, 2000, 3000]
    children = [child(CLIENT, str(numbers.path), str(start)) for start in starts]
    async with numbers.listen() as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, negate)
        for other in children:
            await trio.to_thread.run_sync(other.expect, "done")
        await listener.aclose()
    for start in starts:
        mine = [number for number in received if start <= number < start + 1000]
        assert mine == list(range(start, start + 200))
    assert len(received) == 600


KILLED_CLIENT = """
    import sys
    from namedipc import Channel

    with Channel(sys.argv[1], bytes).connect() as end:
        for number in range(3):
            end.send(b"%d" % number)
        end.send_nowait(bytes(1_000_000))
        print("sent", flush=True)
        input()
"""


@pytest.mark.parametrize("world", ["trio", "blocking"])
def test_a_client_that_is_killed(tmp_path: Path, child: Children, world: str) -> None:
    """Every whole message it had sent is received, then the loss; what had begun is none."""
    channel = Channel(tmp_path / "channel", bytes)

    async def in_trio() -> list[bytes]:
        async with channel.listen() as listener:
            other = child(KILLED_CLIENT, str(channel.path))
            await trio.to_thread.run_sync(other.expect, "sent")
            async with await listener.accept() as end:
                other.kill()
                received = [await end.receive() for _ in range(3)]
                with pytest.raises(trio.BrokenResourceError, match="in the middle of a message") as caught:
                    await end.receive()
                assert isinstance(caught.value, ConnectionLost)
        return received

    def in_blocking_code() -> list[bytes]:
        with channel.listen() as listener:
            other = child(KILLED_CLIENT, str(channel.path))
            other.expect("sent")
            with listener.accept() as end:
                other.kill()
                received = [end.receive() for _ in range(3)]
                with pytest.raises(ConnectionLost, match="in the middle of a message"):
                    end.receive()
        return received

    assert (trio.run(in_trio) if world == "trio" else in_blocking_code()) == [b"0", b"1", b"2"]


LISTENER = """
    import sys
    from namedipc import Channel

    print("ready", flush=True)
    input()
    with Channel(sys.argv[1], int).listen() as listener:
        ends = []
        for end in listener:
            end.send(end.receive() + 1)
            ends.append(end)
            print("served", flush=True)
"""


async def test_a_listener_that_comes_late_and_is_killed(numbers: Channel[int], child: Children) -> None:
    """Both worlds wait for it and are woken by its coming; when it dies both lose it, and its name is free at once."""
    owner = child(LISTENER, str(numbers.path))
    await trio.to_thread.run_sync(owner.expect, "ready")

    def blocking() -> None:
        with numbers.connect(wait_seconds=20) as end:
            end.send(1)
            assert end.receive(timeout=20) == 2
            with pytest.raises(ConnectionLost):
                end.receive(timeout=20)

    async def in_trio() -> None:
        async with numbers.connect(wait_seconds=20) as end:
            await end.send(3)
            assert await end.receive() == 4
            with pytest.raises(trio.BrokenResourceError):
                await end.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, blocking)
        nursery.start_soon(in_trio)
        await trio.testing.wait_all_tasks_blocked()
        owner.say()
        for _ in range(2):
            await trio.to_thread.run_sync(owner.expect, "served")
        owner.kill()
    with pytest.raises(NoServer, match=str(numbers.path)):
        await numbers.connect().__aenter__()
    async with numbers.listen(), numbers.connect():
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user(child: Children) -> None:
    """The permissions let it through, the listener's rule does not: it is told why; with `anyone` it is welcome."""
    script = f"""
        import os, sys
        from namedipc import BlockingConnection, Channel, IPCError, users  # all of it is loaded while it can be read

        os.setgroups([])
        os.setgid({NOBODY})
        os.setuid({NOBODY})
        for name in sys.argv[1:]:
            try:
                with Channel(name, int).connect(allow=users(0)) as end:
                    print("connected", flush=True)
                    end.receive()
            except IPCError as error:
                print(type(error).__name__, flush=True)
    """
    with shared_directory(0o755) as directory:
        closed, wide_open = Channel(directory / "closed", int), Channel(directory / "open", int)
        with closed.listen(mode=0o666) as strict, wide_open.listen(mode=0o666, allow=anyone) as listener:
            other = child(script, str(closed.path), str(wide_open.path))
            other.expect("connected")
            with pytest.raises(TimedOut):
                strict.accept(timeout=0)
            other.expect("NotAllowed")
            with listener.accept(timeout=20) as end:
                assert (end.peer.uid, end.peer.gid, end.peer.groups) == (NOBODY, NOBODY, ())
            other.expect("connected")
            other.expect("EndOfChannel")


# ------------------------------------------------------------ forks


def test_a_forked_child(numbers: Channel[int]) -> None:
    """It can use neither the connection nor the listener, and leaving their `with` harms neither."""
    with numbers.listen() as listener, numbers.connect() as client, listener.accept() as server:

        def forked() -> None:
            uses: list[Callable[[], object]] = [
                partial(client.send, 1),
                client.receive,
                client.receive_nowait,
                client.send_eof,
                partial(listener.accept, timeout=5),
            ]
            for use in uses:
                with pytest.raises(Closed):
                    use()
            client.close()
            server.close()
            listener.close()

        assert run_in_fork(forked) == 0
        client.send(1)
        assert server.receive(timeout=20) == 1
        with numbers.connect(), listener.accept(timeout=20):
            pass
    with pytest.raises(NameNotFound):
        numbers.connect().__enter__()


# ------------------------------------------------------------ refused before anything is sent


def test_another_type(tmp_path: Path) -> None:
    """The first difference is said before the listener has seen anybody."""
    orders = Channel(tmp_path / "orders", Order)
    with orders.listen() as listener:
        other = Channel(orders.path, Elsewhere.Order)
        with pytest.raises(SchemaMismatch, match=f"{orders.path}: Order.table: str here, int there"):
            other.connect().__enter__()
        with pytest.raises(TimedOut):
            listener.accept(timeout=0)


async def test_another_type_in_trio(tmp_path: Path) -> None:
    """As in blocking code."""
    async with Channel(tmp_path / "orders", Order).listen() as listener:
        with pytest.raises(SchemaMismatch, match="table"):
            await Channel(tmp_path / "orders", Elsewhere.Order).connect().__aenter__()
        with pytest.raises(BlockingIOError):
            lowlevel.accept(listener._reception.claim.listener)


async def test_another_kind_of_channel(tmp_path: Path) -> None:
    """The name says what it is, in both worlds; also one that appears while it is waited for."""
    raw, typed = RawChannel(tmp_path / "name"), Channel(tmp_path / "name", int)
    async with raw.listen():
        with pytest.raises(WrongKind, match="its owner serves a raw channel there, not a channel"):
            await typed.connect().__aenter__()
        with pytest.raises(WrongKind):
            await trio.to_thread.run_sync(typed.connect().__enter__)


@pytest.mark.parametrize("late", [RawChannel, partial(Channel, message=str)])
async def test_a_name_that_becomes_another_one(tmp_path: Path, late: Callable[[Path], RawChannel]) -> None:
    """While it is waited for; then too it is told before anything is sent, in both worlds."""
    raised: list[BaseException] = []

    async def in_trio() -> None:
        with pytest.raises((WrongKind, SchemaMismatch), match=str(tmp_path)) as caught:
            await late(tmp_path / "name").connect(wait_seconds=20).__aenter__()
        raised.append(caught.value)

    def blocking() -> None:
        with pytest.raises((WrongKind, SchemaMismatch), match=str(tmp_path)) as caught:
            late(tmp_path / "name").connect(wait_seconds=20).__enter__()
        raised.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_trio)
        nursery.start_soon(trio.to_thread.run_sync, blocking)
        await trio.testing.wait_all_tasks_blocked()
        assert raised == []
        opening = Channel(tmp_path / "name", int).listen()
        await opening.__aenter__()
    await opening.__aexit__(None, None, None)
    assert len(raised) == 2


@pytest.mark.parametrize("make", [make_file, os.mkfifo, Path.mkdir])
def test_something_else(numbers: Channel[int], make: Callable[[Path], object]) -> None:
    """It is told for what it is, and not touched."""
    make(numbers.path)
    before = os.lstat(numbers.path)
    for verb in (numbers.listen, numbers.connect, RawChannel(numbers.path).listen, RawChannel(numbers.path).connect):
        with pytest.raises(WrongKind, match=str(numbers.path)):
            verb().__enter__()
    assert os.lstat(numbers.path) == before


async def test_nothing_there(numbers: Channel[int]) -> None:
    """At once, or when the time to wait is over."""
    for wait_seconds in (0.0, 0.02):
        with pytest.raises(NameNotFound, match=str(numbers.path)):
            await numbers.connect(wait_seconds=wait_seconds).__aenter__()
        with pytest.raises(NameNotFound, match=str(numbers.path)):
            await trio.to_thread.run_sync(RawChannel(numbers.path).connect(wait_seconds=wait_seconds).__enter__)


async def test_waiting_is_cancelled(numbers: Channel[int]) -> None:
    """Nothing is left open."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(numbers.connect(wait_seconds=1000).__aenter__)
        nursery.start_soon(RawChannel(numbers.path).connect(wait_seconds=1000).__aenter__)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------ refused by the other side


def test_another_type_without_a_card(tmp_path: Path) -> None:
    """Each side learns it with its first receive, whoever sends; then it can send no more."""
    orders, other = Channel(tmp_path / "orders", Order), Channel(tmp_path / "orders", Elsewhere.Order)
    with orders.listen() as listener:
        remove_card(orders.path)
        with other.connect() as client, listener.accept() as server:
            client.send(Elsewhere.Order("one", "soup"))
            for receive in (server.receive, client.receive, server.receive_many):
                with pytest.raises(SchemaMismatch, match=f"{orders.path}: .*table"):
                    receive(timeout=20)
            with pytest.raises(SchemaMismatch):
                server.send(Order(1, "soup"))


def test_the_same_type_without_a_card(tmp_path: Path) -> None:
    """It goes on as ever."""
    orders = Channel(tmp_path / "orders", Order)
    with orders.listen() as listener:
        remove_card(orders.path)
        with orders.connect() as client, listener.accept() as server:
            client.send(Order(1, "soup"))
            assert server.receive() == Order(1, "soup")


def test_another_program_without_a_card(tmp_path: Path) -> None:
    """It listens under the name, and is no channel."""
    numbers = Channel(tmp_path / "name", int)
    with RawChannel(numbers.path).listen() as listener:
        remove_card(numbers.path)
        with numbers.connect() as client, listener.accept() as server:
            server.send_all(b"220 mail.example ESMTP\r\n")
            with pytest.raises(IPCError, match=f"{numbers.path}: the peer does not speak namedipc"):
                client.receive(timeout=20)


@pytest.mark.parametrize(
    ("allow", "limits", "error"),
    [
        ("once", Limits(), NotAllowed),
        ("anyone", Limits(clients=1, message_bytes=1), LimitReached),
        ("anyone", Limits(clients_per_uid=1), LimitReached),
    ],
)
async def test_who_is_turned_away(numbers: Channel[int], allow: str, limits: Limits, error: type[IPCError]) -> None:
    """It is told why, in either world; who was let in before is not harmed, and makes room when it leaves."""
    asked: list[object] = []

    def once(peer: object) -> bool:
        asked.append(peer)
        return len(asked) != 2

    async def echo(end: Connection[int]) -> None:
        async for number in end:
            await end.send(number)

    rule = once if allow == "once" else anyone
    async with numbers.listen(allow=rule, limits=limits) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, echo)
        async with numbers.connect() as first:
            await first.send(1)
            assert await first.receive() == 1
            async with numbers.connect() as second:
                with pytest.raises(error, match=f"{numbers.path}: "):
                    await second.receive()
            await first.send(2)
            assert await first.receive() == 2
        while listener._reception._of_uid:
            await trio.lowlevel.checkpoint()
        async with numbers.connect() as third:
            await third.send(3)
            assert await third.receive() == 3
        nursery.cancel_scope.cancel()


def test_the_listeners_limit_is_known_before_it_accepts(tmp_path: Path) -> None:
    """The card says it, where it can be read; otherwise this side's own limit holds until the hello is there."""
    texts = Channel(tmp_path / "texts", str)
    with texts.listen(limits=Limits(message_bytes=100)) as listener:
        with texts.connect() as client:
            with pytest.raises(TooLarge, match=r"a message of 1\d\d bytes; the other side accepts 100"):
                client.send("x" * 120)
            client.send("fits")
        with listener.accept(timeout=20) as server:
            assert list(server) == ["fits"]
        remove_card(texts.path)
        with texts.connect() as client:
            client.send("x" * 120)
            with pytest.raises(TooLarge):
                client.send("x" * (1 << 20))
            with listener.accept(timeout=20) as server, pytest.raises(ProtocolError, match="the limit is 100"):
                server.receive(timeout=20)


async def test_the_listeners_limit_is_known_in_trio(tmp_path: Path) -> None:
    """As in blocking code; a limit above one's own is known, too."""
    texts = Channel(tmp_path / "texts", str)
    async with texts.listen(limits=Limits(message_bytes=100)), texts.connect() as client:
        with pytest.raises(TooLarge):
            await client.send("x" * 120)
    small = Limits(message_bytes=10)
    async with texts.listen() as listener, texts.connect(limits=small) as client, await listener.accept() as server:
        await client.send("x" * 120)
        assert await server.receive() == "x" * 120


def test_who_is_turned_away_in_blocking_code(numbers: Channel[int]) -> None:
    """As in trio."""
    with numbers.listen(limits=Limits(clients=1)) as listener, numbers.connect() as first, listener.accept() as server:
        with numbers.connect() as second:
            with pytest.raises(TimedOut):
                listener.accept(timeout=0)
            with pytest.raises(LimitReached, match="1 connections already"):
                second.receive()
            with pytest.raises(LimitReached):
                second.send(1)
        first.send(1)
        assert server.receive() == 1


def test_who_is_turned_away_from_a_raw_channel(tmp_path: Path) -> None:
    """It sees the end, in both worlds."""
    raw = RawChannel(tmp_path / "raw")

    async def in_trio() -> None:
        async with (
            raw.listen(allow=lambda _: False) as listener,
            raw.connect() as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(listener.accept)
            assert await client.receive_some() == b""
            nursery.cancel_scope.cancel()

    with raw.listen(allow=lambda _: False) as listener, raw.connect() as client:
        with pytest.raises(TimedOut):
            listener.accept(timeout=0)
        assert client.receive_some() == b""
    trio.run(in_trio)


def test_the_listener_is_not_allowed(numbers: Channel[int]) -> None:
    """The client's own rule decides before it has sent anything."""
    with numbers.listen() as listener:
        for verb in (numbers.connect, RawChannel(numbers.path).connect):
            remove_card(numbers.path)
            with pytest.raises(NotAllowed, match=f"process {os.getpid()}"):
                verb(allow=lambda _: False).__enter__()
        with listener.accept() as end, pytest.raises(ConnectionLost):
            end.receive()


def test_more_than_one_connection(numbers: Channel[int]) -> None:
    """Forty at once, closed in any order, each with its own messages."""
    with numbers.listen() as listener:
        openings = [numbers.connect() for _ in range(40)]
        clients = [opening.__enter__() for opening in openings]
        servers = [listener.accept(timeout=20) for _ in clients]
        for number, client in enumerate(clients):
            client.send(number)
        for number, server in reversed(list(enumerate(servers))):
            assert server.receive() == number
            server.send(-number)
        for number, client in enumerate(clients):
            assert client.receive() == -number
        for opening, server in zip(openings, servers, strict=True):
            server.close()
            opening.__exit__(None, None, None)


def test_a_full_backlog(numbers: Channel[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client waits until there is room, without having asked for a wait."""
    listen = lowlevel.Socket.listen
    monkeypatch.setattr(lowlevel.Socket, "listen", lambda sock, _backlog: listen(sock, 1))
    with numbers.listen() as listener:

        def talk(number: int) -> None:
            with numbers.connect() as client:
                client.send(number)
                assert client.receive(timeout=20) == number

        talking = [Background(partial(talk, number)) for number in range(6)]
        for _ in talking:
            with listener.accept(timeout=20) as end:
                end.send(end.receive())
        for thread in talking:
            thread.result()
