"""The blocking client: shared by threads, timed out, forked, closed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import pytest

from namedipc import (
    BlockingClient,
    BlockingRawConnection,
    Closed,
    InvalidMessage,
    IPCError,
    NameNotFound,
    RawChannel,
    RemoteError,
    Service,
    TimedOut,
    TooLarge,
    one_way,
)
from namedipc._protocol.calls import Waiter
from namedipc._protocol.frames import CALL, REPLY, pack_frame
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._shells.waiting import Clock

from .conftest import Child, Children
from .kitchen import SERVER_SCRIPT, Kitchen, Order

pytestmark = pytest.mark.usefixtures("no_leaks")

T = TypeVar("T")


class Shouting(Protocol):
    """Talks to somebody who does not listen."""

    async def ask(self) -> int: ...

    @one_way
    async def shout(self, data: bytes) -> None: ...


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the kitchen of this module is served."""
    return tmp_path_factory.mktemp("blocking") / "kitchen"


@pytest.fixture(scope="module")
def owner(place: Path) -> Iterator[Child]:
    """A process that serves the kitchen to all tests here."""
    owner = Child(SERVER_SCRIPT, str(place))
    owner.expect("ready")
    yield owner
    owner.close()


@pytest.fixture
def kitchen(place: Path, owner: Child) -> Iterator[BlockingClient[Kitchen]]:
    """A client of it; at the end its connection must still be sound."""
    with Service(place, Kitchen).connect() as client:
        yield client
        assert client.call(Kitchen.cook, Order(9, "pie")) == "pie for 9"


def test_calls_are_typed_and_answered(kitchen: BlockingClient[Kitchen], owner: Child) -> None:
    """Arguments by place and by name; errors as in trio; the server's identity."""
    assert kitchen.call(Kitchen.cook, Order(1, "soup"), salt=True) == "soup for 1 with salt"
    assert kitchen.call(Kitchen.pid) == owner.pid == kitchen.peer.pid
    with pytest.raises(RemoteError, match="too hot"):
        kitchen.call(Kitchen.burn, "too hot")
    with pytest.raises(InvalidMessage, match="order"):
        kitchen.call(Kitchen.cook, "soup")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="give a method of the interface"):
        kitchen.call("cook", Order(1, "soup"))  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TooLarge, match="the service accepts"):
        kitchen.call(Kitchen.echo, b"x" * 2_000_000)


def test_many_threads_share_a_connection(kitchen: BlockingClient[Kitchen]) -> None:
    """Eight threads, each with its own answers; one of them reads for all at any moment."""
    wrong: list[object] = []

    def work(table: int) -> None:
        for _ in range(200):
            answer = kitchen.call(Kitchen.cook, Order(table, "pie"))
            if answer != f"pie for {table}":
                wrong.append(answer)

    run_all([threading.Thread(target=work, args=(table,)) for table in range(8)])
    assert wrong == []
    assert kitchen.statistics().messages_sent == 1600


def run_all(threads: list[threading.Thread]) -> None:
    """Start and join."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_hello_that_another_thread_has_just_taken_is_not_waited_for(kitchen: BlockingClient[Kitchen]) -> None:
    """A thread may be interrupted between its look at the session and the lock."""
    link = kitchen._links.link
    kitchen.call(Kitchen.pid)
    link._session.greeted = False  # as the thread has seen it
    link._until_greeted("Kitchen.cook", Clock(5))
    link._session.greeted = True


def test_a_call_that_waits_does_not_hold_up_other_threads(kitchen: BlockingClient[Kitchen]) -> None:
    """The thread that reads waits long; the others' calls are answered, and one of them releases it."""
    answers: list[str] = []
    waiter = threading.Thread(target=lambda: answers.append(kitchen.call(Kitchen.simmer, "stew")))
    waiter.start()
    while not kitchen.call(Kitchen.release, "stew"):
        pass
    waiter.join(30)
    assert answers == ["stew"]


def test_a_timeout_cancels_the_call_and_leaves_the_connection(kitchen: BlockingClient[Kitchen]) -> None:
    """TimedOut in the reader and in a follower; later calls have their own answers."""
    impatient = kitchen.with_options(timeout=0.05)
    with pytest.raises(TimedOut, match=r"0\.05 seconds|deadline"):
        impatient.call(Kitchen.simmer, "alone")
    waiter = threading.Thread(target=kitchen.call, args=(Kitchen.simmer, "stew"))
    waiter.start()
    with pytest.raises(TimedOut, match=r"0\.05 seconds|deadline"):
        impatient.call(Kitchen.simmer, "follower")
    while not kitchen.call(Kitchen.release, "stew"):
        pass
    waiter.join(30)
    assert kitchen.call(Kitchen.release, "alone") == 0


def test_a_call_that_is_given_up_is_not_made_the_reader(
    kitchen: BlockingClient[Kitchen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower times out; before it has left, the reader is answered and looks for who reads on."""
    reader = threading.Thread(target=kitchen.call, args=(Kitchen.simmer, "stew"))
    link = kitchen._links.link
    give_up = link._give_up

    def give_up_late(id: int) -> None:  # noqa: A002  # as it is named there
        while not release.call(Kitchen.release, "stew"):
            pass
        reader.join(30)
        give_up(id)

    # The service knows no deadline here: its answer must not come before the timeout.
    monkeypatch.setattr("namedipc._shells.blocking_client._deadline", lambda clock: None)
    monkeypatch.setattr(link, "_give_up", give_up_late)
    with Service(kitchen._links.where, Kitchen).connect() as release:
        reader.start()
        while link._reader is None:
            pass
        with pytest.raises(TimedOut):
            kitchen.with_options(timeout=0.05).call(Kitchen.simmer, "follower")
    assert not reader.is_alive()
    assert kitchen.with_options(timeout=20).call(Kitchen.cook, Order(1, "pie")) == "pie for 1"


def test_a_reader_that_is_interrupted_hands_the_reading_on(kitchen: BlockingClient[Kitchen]) -> None:
    """Control-C in the thread that reads for all: another one, which waits for its answer, gets it."""
    link = kitchen._links.link
    answers: list[str] = []
    follower = threading.Thread(target=lambda: answers.append(kitchen.call(Kitchen.simmer, "soup")))

    def interrupt(main: int) -> None:
        until(lambda: link._reader is not None)
        follower.start()
        until(lambda: any(waiter.sleeper is not None for waiter in list(link._session.pending.values())))
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt, args=(threading.get_ident(),))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            kitchen.call(Kitchen.simmer, "stew")
    finally:
        signal.signal(signal.SIGINT, before)
    interrupter.join()
    assert kitchen.call(Kitchen.release, "soup") == 1
    follower.join(10)
    assert answers == ["soup"]


def until(is_so: Callable[[], bool]) -> None:
    """Wait for it."""
    while not is_so():
        time.sleep(0.001)


def test_large_calls_from_many_threads_go_through(kitchen: BlockingClient[Kitchen]) -> None:
    """Megabytes both ways at once: the reader also writes, so that neither side waits for the other."""
    data = os.urandom(1_000_000)
    same: list[bool] = []

    def work() -> None:
        same.extend(kitchen.call(Kitchen.echo, data) == data for _ in range(3))

    run_all([threading.Thread(target=work) for _ in range(4)])
    assert same == [True] * 12


def test_closing_from_another_thread_ends_the_calls(place: Path, owner: Child) -> None:
    """The reader sleeps in the kernel; close() wakes it with Closed, and so the followers."""
    with Service(place, Kitchen).connect() as client:
        ended: list[BaseException] = []

        def work() -> None:
            try:
                client.call(Kitchen.simmer, "stew")
            except Closed as error:
                ended.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        while client.statistics().messages_sent < 3:
            pass
        client.close()
        client.close()
        for thread in threads:
            thread.join(30)
        assert len(ended) == 3
        with pytest.raises(Closed):
            client.call(Kitchen.pid)


def test_a_forked_child_does_not_touch_the_parent_s_connection(kitchen: BlockingClient[Kitchen]) -> None:
    """In the child every call is Closed with the way out; its end leaves the parent's connection alive."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kitchen.call(Kitchen.pid)
        except Closed as error:
            os.write(write, str(error).encode())
        kitchen.close()
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    assert b"connect again in the child" in os.read(read, 4096)
    os.close(read)
    assert kitchen.call(Kitchen.cook, Order(1, "soup")) == "soup for 1"


def test_connecting_can_be_waited_for_and_timed_out(tmp_path: Path, child: Children) -> None:
    """No name: NameNotFound at once; with `wait_seconds` the child may come later; `timeout` bounds the wait."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with pytest.raises(NameNotFound, match="kitchen"), service.connect():
        pass
    with pytest.raises(NameNotFound), service.connect(wait_seconds=0.02):
        pass
    with pytest.raises(TimedOut, match="not connected within"), service.connect(wait_seconds=60, timeout=0.02):
        pass
    owner = child(SERVER_SCRIPT, str(service.path))
    with service.connect(wait_seconds=60) as client:
        assert client.call(Kitchen.pid) == owner.pid


def test_polling_ends_by_itself_on_a_shared_core(place: Path, owner: Child) -> None:
    """Where client and server have one core, polling is no help: it is tried ever more rarely. Counted, not timed."""
    mine, theirs = os.sched_getaffinity(0), os.sched_getaffinity(owner.pid)
    core = {min(mine)}
    os.sched_setaffinity(0, core)
    os.sched_setaffinity(owner.pid, core)
    try:
        with Service(place, Kitchen).connect() as client:
            for _ in range(2000):
                client.call(Kitchen.pid)
            spinner = client._links.link._spinner
            assert spinner is not None
            assert spinner.wins + spinner.losses < 100
    finally:
        os.sched_setaffinity(0, mine)
        os.sched_setaffinity(owner.pid, theirs)


def test_polling_can_be_switched_off(place: Path, owner: Child) -> None:
    """`spin=False`: nothing is polled, and calls are answered."""
    with Service(place, Kitchen).connect(spin=False) as client:
        assert client.call(Kitchen.pid) == owner.pid
        assert client._links.link._spinner is None


@contextmanager
def deaf(service: Service[T]) -> Iterator[tuple[BlockingClient[T], BlockingRawConnection]]:
    """A client of what has said a service's hello, and then does as the test says."""
    name = Path(service.path)
    with RawChannel(name).listen() as listener:
        name.with_name(f".{name.name}.lock").write_bytes(b"")  # no card: this is no channel of ours
        with service.connect(timeout=20) as client, listener.accept(timeout=20) as end:
            end.send_all(Hello(SERVICE, 16 << 20, service._schema.fingerprint, 64, 1 << 18).pack())
            yield client, end


def one_reads_and_one_writes(client: BlockingClient[T], reads: threading.Thread, writes: threading.Thread) -> None:
    """Start both: the first one waits for its answer, the other one for room to write."""
    link = client._links.link
    reads.start()
    until(lambda: link._reader is not None and bool(link._session.pending))
    writes.start()
    until(lambda: bool(link._writing))


def test_a_thread_that_writes_reads_once_nobody_else_does(tmp_path: Path) -> None:
    """A service may not read on before its answers are read: who is left with the writing, alone, takes them."""
    found: list[object] = []
    with deaf(Service(tmp_path / "deaf", Kitchen)) as (client, end):
        reads = threading.Thread(target=lambda: found.append(client.call(Kitchen.pid)))
        writes = threading.Thread(target=lambda: found.append(client.call(Kitchen.echo, b"x" * 4_000_000)))
        one_reads_and_one_writes(client, reads, writes)
        end.send_all(pack_frame(REPLY, msgspec.msgpack.encode(7), id=1))
        reads.join(20)
        assert found == [7]
        end.send_all(pack_frame(REPLY, msgspec.msgpack.encode(b"early"), id=2))
        writes.join(20)
        assert found == [7, b"early"]


def test_a_one_way_writer_is_not_left_alone_with_it(tmp_path: Path) -> None:
    """The same where no answer is waited for: it learns that the service has gone wrong, by reading."""
    found: list[object] = []
    with deaf(Service(tmp_path / "deaf", Shouting)) as (client, end):

        def shout() -> None:
            try:
                client.call(Shouting.shout, b"x" * 4_000_000)
            except IPCError as error:
                found.append(type(error))

        reads = threading.Thread(target=lambda: found.append(client.call(Shouting.ask)))
        writes = threading.Thread(target=shout)
        one_reads_and_one_writes(client, reads, writes)
        end.send_all(pack_frame(REPLY, msgspec.msgpack.encode(7), id=1))
        reads.join(20)
        assert found == [7]
        end.send_all(pack_frame(CALL, id=9))
        until(lambda: client._links.link._session.failure is not None)
        end.close()
        writes.join(20)
        assert len(found) == 2


def test_what_the_short_way_has_read_is_taken_while_another_frame_waits(tmp_path: Path) -> None:
    """A thread that shares the connection may have written meanwhile, and not all of it may have found room."""
    with deaf(Service(tmp_path / "deaf", Kitchen)) as (client, _):
        link = client._links.link
        session = link._session
        link._until_greeted("", Clock(20))
        waiter: Waiter[threading.Lock] = Waiter("")
        method = client._schema.by_name["pid"]
        id_, _ = session.begin(waiter, method.index, b"", None, 0)
        link._reader = waiter
        link._outbound.append(b"what another thread has to say")
        link._outbound_bytes = len(link._outbound[0])
        assert link.conclude(waiter, method, id_, Clock(10), pack_frame(REPLY, b"7", id=id_)) == b"7"
        assert link._reader is None
