"""What the tests of channels share: connected ends in both worlds, and a peer that speaks in bytes."""

from __future__ import annotations

import os
import socket
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Generic, Protocol, Self, TypeVar

from namedipc import lowlevel
from namedipc._batches import array_count
from namedipc._channel import Channel
from namedipc._channel_blocking import BlockingConnection
from namedipc._channel_trio import Connection
from namedipc._errors import WouldBlock
from namedipc._protocol.messages import Batch, MessageSession, pack_message
from namedipc._shells.message_link import MessageLink
from namedipc._values import Limits

T = TypeVar("T")

DEFAULT = Limits()


@asynccontextmanager
async def trio_ends(
    channel: Channel[T], limits: Limits = DEFAULT
) -> AsyncIterator[tuple[Connection[T], Connection[T]]]:
    """Open a connection: the listener's end, and the one that connected."""
    async with (
        channel.listen(limits=limits) as listener,
        channel.connect() as client,
        await listener.accept() as server,
    ):
        yield server, client


@contextmanager
def blocking_ends(
    channel: Channel[T], limits: Limits = DEFAULT
) -> Iterator[tuple[BlockingConnection[T], BlockingConnection[T]]]:
    """Open a connection: the listener's end, and the one that connected."""
    with channel.listen(limits=limits) as listener, channel.connect() as client, listener.accept(timeout=20) as server:
        yield server, client


class Sends(Protocol):
    """An end of a channel of bytes, of either world."""

    def send_nowait(self, value: bytes, /) -> None: ...


def fill(end: Sends) -> int:
    """Send messages of a kilobyte until no more fits; their number. Each is its number, and zeros."""
    for number in range(100_000):
        try:
            end.send_nowait(filler(number))
        except WouldBlock:
            assert number > 1
            return number
    raise AssertionError("it is never full")


def filler(number: int) -> bytes:
    """Return the message with which `fill` fills."""
    return b"%d" % number + bytes(1000)


class BytePeer(Generic[T]):
    """The other side as bytes: it reads as much as the test says, and says what the test says."""

    def __init__(self, channel: Channel[T], sock: lowlevel.Socket | None = None) -> None:
        self._codec = channel._codec
        self.socket = sock or lowlevel.unix_connect(channel.path)
        session = channel._conversation.session(Limits(message_bytes=16 << 20))
        assert isinstance(session, MessageSession)
        self.session = session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def greet(self) -> None:
        """Say the hello and the schema."""
        self.socket.sendall(self.session.opening)

    def take(self, count: int) -> None:
        """Read exactly so many bytes."""
        while count:
            assert lowlevel.wait_ready(self.socket.fileno(), timeout_seconds=20)
            data = self.socket.recv(count)
            assert data
            self.session.feed(data)
            count -= len(data)

    def drain(self) -> int:
        """Read what is there by now; how many bytes that was."""
        count = 0
        while True:
            try:
                data = lowlevel.receive_now(self.socket, 65536)
            except BlockingIOError:
                return count
            self.session.feed(data)
            count += len(data)
            if not data:
                return count

    def messages(self) -> list[T]:
        """Return the messages that are whole by now."""
        found: list[T] = []
        while (body := self.session.next_message()) is not None:
            if isinstance(body, Batch):
                found += self._codec.in_batches().decode(body)
            else:
                found.append(self._codec.decode(body))
        return found

    def counts(self) -> list[int]:
        """Return how many messages each frame has that is there by now; 0 for a message in a frame of its own."""
        self.drain()
        found = []
        while (body := self.session.next_message()) is not None:
            found.append(array_count(body) if isinstance(body, Batch) else 0)
        return found

    def pack(self, *messages: T) -> bytes:
        """Return messages as they travel."""
        return b"".join(pack_message(self._codec.encode(message)) for message in messages)


class Background(threading.Thread):
    """Something that runs beside; `result` waits for it, and raises what it raised."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._action = action
        self._future: Future[object] = Future()
        self.start()

    def run(self) -> None:
        """Do it."""
        try:
            self._future.set_result(self._action())
        except BaseException as error:
            self._future.set_exception(error)

    def result(self) -> object:
        """Return what came of it."""
        found = self._future.result(timeout=20)
        self.join(20)
        return found


def wait_until_asleep(thread: threading.Thread) -> None:
    """Wait until the kernel has put a thread to sleep: it waits for a socket, or for a lock."""
    deadline = monotonic() + 20
    stat = Path(f"/proc/self/task/{thread.native_id}/stat")
    asleep = 0
    while asleep < 20:  # in a row: between two steps it may sleep for the interpreter
        assert monotonic() < deadline
        asleep = asleep + 1 if stat.read_text().rpartition(")")[2].split()[0] == "S" else 0
        threading.Event().wait(0.001)


def shrink(sock: lowlevel.Socket) -> lowlevel.Socket:
    """Let a socket send as little as the kernel allows before it is full."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
    return sock


def body_now(link: MessageLink) -> bytes | None:
    """Take the next message as it travelled, if it is there."""
    while (body := link.take()) is None:
        if not link.read():
            return None
    return body


def remove_card(path: Path) -> None:
    """Let a name say nothing of itself, as another user's."""
    (path.parent / f".{path.name}.lock").write_bytes(b"")


def fork() -> int:
    """Fork. Newer Pythons warn where threads run, as those that trio keeps do: these children start nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def run_in_fork(action: Callable[[], object]) -> int:
    """Call something in a forked child, which ends at once; its exit status: 0 unless an exception came."""
    pid = fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
