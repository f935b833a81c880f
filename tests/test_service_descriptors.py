"""Services whose methods take and give open files and ends of channels, in both worlds; none is left behind."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import attrs
import pytest
import trio
import trio.testing

from namedipc import (
    Channel,
    ChannelEnd,
    Closed,
    DeclarationError,
    Fd,
    InvalidMessage,
    LimitReached,
    Limits,
    RemoteError,
    Service,
    TooLarge,
    aclosing,
    feed,
    idempotent,
    lowlevel,
    one_way,
)
from namedipc._protocol.attachments import with_count
from namedipc._protocol.frames import CALL, DESCRIPTORS_FLAG, pack_call, pack_frame
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._schema import Schema

from .conftest import Children
from .wire_client import wire_client

pytestmark = pytest.mark.usefixtures("no_leaks")


def paper(text: bytes) -> Fd:
    """An open file with a text in it."""
    number = lowlevel.create_memfd("paper", len(text))
    os.pwrite(number, text, 0)
    return adopted(number)


def adopted(number: int) -> Fd:
    """The descriptor as an Fd of its own."""
    fd = Fd(number)
    os.close(number)
    return fd


def read(fd: Fd) -> bytes:
    """What the file holds; the Fd is closed."""
    with fd:
        return os.pread(fd.fileno(), 100, 0)


@attrs.frozen
class Loan:
    """A record with an open file in it."""

    title: str
    paper: Fd | None


class Library(Protocol):
    """The interface."""

    async def lend(self, title: str) -> Loan:
        """A result with a descriptor in it."""
        ...

    async def read(self, paper: Fd, *, upper: bool = False) -> bytes:
        """An argument which is a descriptor."""
        ...

    async def keep(self, paper: Fd) -> None:
        """Keep it until the call ends, which it does not."""
        ...

    def shelf(self, count: int) -> AsyncIterator[Fd]:
        """A stream of descriptors."""
        ...

    async def sort(self, papers: AsyncIterable[Fd]) -> list[bytes]:
        """A stream of requests which are descriptors."""
        ...

    async def line(self, name: str) -> ChannelEnd[str]:
        """The end of a channel as a result."""
        ...

    async def talk(self, end: ChannelEnd[str]) -> None:
        """The end of a channel as an argument."""
        ...

    async def twice(self) -> list[Fd]:
        """Several in one result, of which one is closed already."""
        ...

    async def plain(self, number: int) -> int:
        """A method without descriptors on a connection with some."""
        ...

    @one_way
    async def leave(self, paper: Fd) -> None:
        """A one-way call with a descriptor."""
        ...


class Librarian:
    """The implementation."""

    def __init__(self) -> None:
        self.left: list[bytes] = []
        self.keeping = trio.Event()
        self.lines: list[ChannelEnd[str]] = []

    async def lend(self, title: str) -> Loan:
        return Loan(title * 1000 if title == "long" else title, paper(title.encode()))

    async def read(self, paper: Fd, *, upper: bool = False) -> bytes:
        text = read(paper)
        return text.upper() if upper else text

    async def keep(self, paper: Fd) -> None:
        with paper:
            self.keeping.set()
            await trio.sleep_forever()

    async def shelf(self, count: int) -> AsyncIterator[Fd]:
        for number in range(count):
            yield paper(str(number).encode())

    async def sort(self, papers: AsyncIterable[Fd]) -> list[bytes]:
        return sorted([read(paper) async for paper in papers])

    async def line(self, name: str) -> ChannelEnd[str]:
        mine, theirs = Channel("line", str).pair()
        self.lines.append(mine)
        return theirs

    async def talk(self, end: ChannelEnd[str]) -> None:
        async with end as line:
            await line.send("hello")

    async def twice(self) -> list[Fd]:
        good, bad = paper(b"good"), paper(b"bad")
        bad.close()
        return [good, bad]

    async def plain(self, number: int) -> int:
        return number + 1

    async def leave(self, paper: Fd) -> None:
        self.left.append(read(paper))


SCRIPT = """
    import sys
    from namedipc import Service
    from tests.test_service_descriptors import Librarian, Library
    Service(sys.argv[1], Library).run(Librarian(), ready=lambda server: print("ready", flush=True))
"""


@pytest.fixture
def library(tmp_path: Path) -> Service[Library]:
    """The name."""
    return Service(tmp_path / "library", Library)


async def test_open_files_go_both_ways(library: Service[Library]) -> None:
    """As results, arguments, by name or place, and none at all where there is none."""
    librarian = Librarian()
    async with library.serve(librarian), library.connect() as desk:
        loan = await desk.lend("Walden")
        assert loan.paper is not None
        assert read(loan.paper) == b"Walden"
        with paper(b"ode") as ode:
            assert await desk.read(ode) == b"ode"
            assert await desk.read(paper=ode, upper=True) == b"ODE"  # the caller's stays its own
            await desk.leave(ode)
        assert await desk.plain(1) == 2
        assert librarian.left == [b"ode"]


async def test_streams_of_open_files(library: Service[Library]) -> None:
    """More than the window of each, both ways; one that is left early leaves no file open."""

    async def papers() -> AsyncIterator[Fd]:
        for number in range(150):
            with paper(b"%03d" % number) as one:
                yield one

    async with library.serve(Librarian(), limits=Limits(stream_items=4)), library.connect() as desk:
        assert [read(one) async for one in desk.shelf(150)] == [str(number).encode() for number in range(150)]
        assert await desk.sort(papers()) == [b"%03d" % number for number in range(150)]
        async with aclosing(desk.shelf(1000)) as shelf:
            assert read(await anext(shelf)) == b"0"


async def test_ends_of_channels_go_both_ways(library: Service[Library]) -> None:
    """A service hands out conversations, and takes them."""
    librarian = Librarian()
    async with library.serve(librarian), library.connect() as desk:
        async with await desk.line("Ann") as here, librarian.lines.pop() as there:
            await there.send("psst")
            assert await here.receive() == "psst"
        mine, theirs = Channel("line", str).pair()
        async with trio.open_nursery() as nursery, mine as here:
            nursery.start_soon(desk.talk, theirs)
            assert await here.receive() == "hello"


def test_blocking_code(library: Service[Library], child: Children) -> None:
    """The same, with a service in another process."""
    server = child(SCRIPT, str(library.path))
    server.expect("ready")
    with library.connect(timeout=20) as desk:
        loan = desk.call(Library.lend, "Walden")
        assert loan.paper is not None
        assert read(loan.paper) == b"Walden"
        with paper(b"ode") as ode:
            assert desk.call(Library.read, ode, upper=True) == b"ODE"
            desk.call(Library.leave, ode)
        assert [read(one) for one in desk.stream(Library.shelf, 150)] == [str(n).encode() for n in range(150)]

        def papers() -> Iterator[Fd]:
            for number in range(150):
                with paper(b"%03d" % number) as one:
                    yield one

        assert desk.call(Library.sort, feed(papers())) == [b"%03d" % number for number in range(150)]
        with desk.stream(Library.shelf, 1000) as shelf:
            assert read(next(shelf)) == b"0"
        mine, theirs = Channel("line", str).pair()
        with mine as here:
            desk.call(Library.talk, theirs)
            assert here.receive(timeout=20) == "hello"
        desk.call(Library.plain, 1)  # behind all that the service has closed
        bare = lowlevel.descriptors(server.pid)
        for _ in range(20):
            loan = desk.call(Library.lend, "Walden")
            assert loan.paper is not None
            loan.paper.close()
        desk.call(Library.plain, 1)
        now = lowlevel.descriptors(server.pid)
        assert now.keys() == bare.keys(), {n: now[n] for n in now.keys() - bare.keys()}


async def test_what_a_handler_returns_is_given_away(library: Service[Library]) -> None:
    """It is sent as it is; a handler that wants to keep one returns a duplicate."""

    class Keeper(Librarian):
        async def lend(self, title: str) -> Loan:
            self.mine = paper(b"mine")
            return Loan(title, self.mine)

    keeper = Keeper()
    async with library.serve(keeper), library.connect() as desk:
        loan = await desk.lend("x")
        with pytest.raises(Closed, match="given its descriptor away"):
            keeper.mine.fileno()
        assert loan.paper is not None
        assert read(loan.paper) == b"mine"


async def test_a_result_that_cannot_leave_is_closed(library: Service[Library]) -> None:
    """Too long for the caller, or with a closed one in it: an error, and no descriptor stays open."""
    async with library.serve(Librarian()):
        async with library.connect() as desk:
            with pytest.raises(InvalidMessage, match="this Fd has been closed"):
                await desk.twice()
        with wire_client(Path(library.path)) as peer:
            await peer.send(HELLO + call("lend", 1, "long"))
            assert await peer.fault(1) == "too-large"
            await peer.send(call("plain", 2, 5))
            assert await peer.reply(2) == 6


async def test_given_up_calls_leave_none_open(library: Service[Library]) -> None:
    """A caller that is cancelled while the handler has its file, and one whose answer comes too late."""
    librarian = Librarian()
    async with library.serve(librarian) as server, library.connect() as desk:
        with paper(b"ode") as ode:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.keep, ode)
                await librarian.keeping.wait()
                nursery.cancel_scope.cancel()
            while server.statistics().in_flight:
                await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await desk.lend("late")
        assert await desk.plain(1) == 2


async def test_descriptors_where_none_are_declared(library: Service[Library]) -> None:
    """With a method that takes none: its call is refused, they are closed, and the connection goes on."""
    found = SCHEMA.by_name["plain"]
    body = with_count(1, found.arguments.encode((5,), {}))
    frame = pack_frame(CALL, body, flags=DESCRIPTORS_FLAG, method=found.index, id=1)
    async with library.serve(Librarian()) as server:
        with wire_client(Path(library.path)) as peer, paper(b"uninvited") as gift:
            await peer.send(HELLO)
            lowlevel.send_descriptors(peer.socket, frame, [gift.fileno()])
            assert await peer.fault(1) == "invalid"
            await peer.send(call("plain", 2, 5))
            assert await peer.reply(2) == 6
            lowlevel.send_descriptors(peer.socket, call("plain", 3, 5), [gift.fileno()])
            assert await peer.reply(3) == 6
            assert await peer.fault(0) == "protocol"
            await peer.end()
        assert server.statistics().clients == 0


async def test_a_declared_exception_and_a_remote_one_close_arguments(library: Service[Library]) -> None:
    """A handler that fails with a file in its hands does not keep it: it is closed with a warning of its own."""

    class Clumsy(Librarian):
        async def read(self, paper: Fd, *, upper: bool = False) -> bytes:
            paper.close()
            raise ValueError("dropped")

    async with library.serve(Clumsy()), library.connect() as desk:
        with paper(b"ode") as ode, pytest.raises(RemoteError, match="dropped"):
            await desk.read(ode)


async def test_arguments_that_are_too_long_are_closed(library: Service[Library]) -> None:
    """What was to go with them stays at home."""

    class Wordy(Protocol):
        async def file(self, name: str, paper: Fd) -> None: ...

    class Clerk:
        async def file(self, name: str, paper: Fd) -> None:
            paper.close()

    service = Service(library.path, Wordy)
    async with service.serve(Clerk(), limits=Limits(message_bytes=1000)), service.connect() as clerk:
        with paper(b"ode") as ode:
            await clerk.file("x", ode)
            with pytest.raises(TooLarge):
                await clerk.file("x" * 2000, ode)
            await clerk.file("x", ode)


def refuse_descriptors(monkeypatch: pytest.MonkeyPatch, error: OSError, *, times: int = 1 << 30) -> None:
    """Have the kernel refuse to send descriptors, so many times."""
    real = lowlevel.send_descriptors
    refusals = iter(range(times))

    def send(sock: lowlevel.Socket, data: bytes, descriptors: Sequence[int]) -> int:
        if next(refusals, None) is not None:
            raise error
        return real(sock, data, descriptors)

    monkeypatch.setattr(lowlevel, "send_descriptors", send)


TOO_MANY = OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))


async def test_too_many_on_their_way_is_the_callers_error(
    library: Service[Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In trio: nobody waits for an answer to what has not left, and nothing stays open."""
    async with library.serve(Librarian()), library.connect() as desk:
        with paper(b"ode") as ode, trio.fail_after(10):
            assert await desk.read(ode) == b"ode"
            refuse_descriptors(monkeypatch, TOO_MANY)
            with pytest.raises(LimitReached, match="too many descriptors of this user are on their way"):
                await desk.read(ode)


def test_too_many_on_their_way_in_blocking_code(
    library: Service[Library], child: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same."""
    child(SCRIPT, str(library.path)).expect("ready")
    with library.connect(timeout=20) as desk, paper(b"ode") as ode:
        assert desk.call(Library.read, ode) == b"ode"
        refuse_descriptors(monkeypatch, TOO_MANY)
        with pytest.raises(LimitReached, match="too many descriptors of this user are on their way"):
            desk.call(Library.read, ode)


async def test_what_the_kernel_does_not_take_yet_keeps_its_descriptors(
    library: Service[Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first, and also when it had said that there is room: they leave with the first byte, be that late."""
    async with library.serve(Librarian()), library.connect() as desk:
        with paper(b"ode") as ode, trio.fail_after(10):
            assert await desk.plain(1) == 2
            refuse_descriptors(monkeypatch, BlockingIOError(), times=3)
            assert await desk.read(ode) == b"ode"
            assert await desk.read(ode, upper=True) == b"ODE"


def test_declarations_that_cannot_work() -> None:
    """What is sent once cannot be sent again by itself."""

    class Again(Protocol):
        @idempotent
        async def read(self, paper: Fd) -> bytes: ...

    with pytest.raises(DeclarationError, match="takes open descriptors, which are sent only once"):
        Service("again", Again)


SCHEMA: Schema[Library] = Schema(Library, frame_globals=globals(), frame_locals={})
HELLO = Hello(SERVICE, 500, SCHEMA.fingerprint).pack()


def call(method: str, id_: int, *args: object) -> bytes:
    """A call as bytes."""
    found = SCHEMA.by_name[method]
    return pack_call(found.index, id_, found.arguments.encode(args, {}), None)
