"""The blocking caller: streams, batches, one-way calls, connecting again; shared by threads, and after a fork."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from namedipc import (
    BlockingClient,
    BlockingServer,
    Busy,
    Closed,
    ConnectionLost,
    InvalidMessage,
    Limits,
    NotAllowed,
    RemoteError,
    Service,
    TimedOut,
    TooLarge,
    feed,
)
from namedipc._shells import blocking_client
from namedipc._shells.waiting import Clock

from .conftest import Child, Children
from .orchestra import SERVER_SCRIPT, Band, Orchestra, OutOfTune, StringBroke
from .test_blocking_client import run_all
from .test_trio_streams import ENDLESS

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def band() -> Band:
    """What answers."""
    return Band()


@pytest.fixture
def server(tmp_path: Path, band: Band) -> Iterator[BlockingServer]:
    """An orchestra, in a thread of this process."""
    with Service(tmp_path / "orchestra", Orchestra).serve(band) as server:
        yield server


@pytest.fixture
def client(tmp_path: Path, server: BlockingServer) -> Iterator[BlockingClient[Orchestra]]:
    """A client of it; at the end nothing is in flight, and the connection is sound."""
    with Service(tmp_path / "orchestra", Orchestra).connect(timeout=20) as client:
        yield client
        quiet(server)
        assert client.call(Orchestra.double, 21) == 42
        assert client._links.link._session.pending == {}


def quiet(server: BlockingServer, in_flight: int = 0) -> None:
    """Wait until so many handlers run."""
    soon(lambda: server.statistics().in_flight == in_flight)


def soon(what: Callable[[], bool]) -> None:
    """Wait until a function says True."""
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def endless() -> Iterator[bytes]:
    """A source."""
    while True:
        yield b"a"


# ---------------------------------------------------------------- streams


async def parts() -> AsyncIterator[bytes]:
    """A source for trio."""
    yield b""


def test_streams_in_both_directions(client: BlockingClient[Orchestra]) -> None:
    """All items, in order; errors behind them; what is no stream is told so."""
    assert list(client.stream(Orchestra.play, 500)) == list(range(500))
    assert client.call(Orchestra.weigh, feed([b"ab"] * 500), factor=2) == 2000
    assert list(client.stream(Orchestra.echo, feed("abc"))) == ["A", "B", "C"]
    assert client.call(Orchestra.sip, feed(endless()), 100) == 100
    assert client.call(Orchestra.merge, feed(range(0, 300, 2)), low=feed(range(1, 300, 2))) == list(range(300))
    numbers = client.stream(Orchestra.falter, 150)
    assert [next(numbers) for _ in range(150)] == list(range(150))
    with pytest.raises(RemoteError, match="a string broke"):
        next(numbers)
    with pytest.raises(StopIteration):
        next(numbers)
    with pytest.raises(TypeError, match=r"give feed\(\.\.\.\)"):
        client.call(Orchestra.weigh, parts())
    with pytest.raises(TypeError, match="write call"):
        client.stream(Orchestra.double, 1)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="write stream"):
        client.call(Orchestra.play, 1)  # type: ignore[arg-type]  # the mistake under test


def test_a_source_s_own_error_is_the_caller_s(
    client: BlockingClient[Orchestra], band: Band, server: BlockingServer
) -> None:
    """It arrives as itself, and the handler is cancelled; likewise an item that cannot be sent."""

    def failing() -> Iterator[bytes]:
        yield b"a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        client.call(Orchestra.glance, feed(failing()), "never")
    quiet(server)
    with pytest.raises(InvalidMessage, match="an item of 'parts'"):
        client.call(Orchestra.weigh, feed(["text"]))  # type: ignore[list-item]  # the mistake under test
    with pytest.raises(TooLarge):
        client.call(Orchestra.weigh, feed([b"", bytes(2_000_000)]))
    words = client.stream(Orchestra.echo, feed(["a", 7]))  # type: ignore[list-item]  # the mistake under test
    with pytest.raises(InvalidMessage, match="an item of 'words'"):
        list(words)
    assert list(words) == []


def test_a_source_s_own_timeout_is_no_timeout_of_the_stream(client: BlockingClient[Orchestra]) -> None:
    """What a source raises ends the stream, whatever it is."""

    def failing() -> Iterator[str]:
        yield "a"
        raise TimedOut("of another call")

    words = client.stream(Orchestra.echo, feed(failing()))
    with pytest.raises(TimedOut, match="of another call"):
        list(words)
    assert list(words) == []


def test_a_stream_left_early_is_cancelled(
    client: BlockingClient[Orchestra], band: Band, server: BlockingServer
) -> None:
    """By `with`, by `close`, and dropped, here and in another thread; other calls go on."""
    with client.stream(Orchestra.play, ENDLESS) as numbers:
        for number in numbers:
            if number > 200:
                break
    quiet(server)
    numbers = client.stream(Orchestra.play, ENDLESS)
    assert next(numbers) == 0
    numbers.close()
    numbers.close()
    with pytest.raises(StopIteration):
        next(numbers)
    quiet(server)
    numbers = client.stream(Orchestra.play, ENDLESS)
    assert next(numbers) == 0
    del numbers
    gc.collect()
    quiet(server)
    kept = [client.stream(Orchestra.play, ENDLESS)]
    assert next(kept[0]) == 0
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    quiet(server)
    assert band.log == ["closed"] * 4


def test_a_finalizer_in_the_middle_of_something_else(client: BlockingClient[Orchestra], server: BlockingServer) -> None:
    """It may run in a thread that holds the lock, at any line: it waits for nothing, and the stream is left later."""
    link = client._links.link
    numbers = client.stream(Orchestra.play, ENDLESS)
    assert next(numbers) == 0
    with link._lock:
        del numbers
    assert server.statistics().in_flight == 1
    assert client.call(Orchestra.double, 1) == 2
    quiet(server)


def test_timeouts_of_items(tmp_path: Path, server: BlockingServer, band: Band) -> None:
    """Each item has the timeout anew; one that comes too late is there afterwards, and none is lost."""
    service = Service(tmp_path / "orchestra", Orchestra)
    with service.connect(timeout=0.05) as impatient, service.connect() as other:
        with impatient.stream(Orchestra.hum, "tune") as numbers:
            for number in range(3):
                with pytest.raises(TimedOut):
                    next(numbers)
                assert other.call(Orchestra.cue, "tune") == 1
                while True:
                    try:
                        assert next(numbers) == number
                        break
                    except TimedOut:
                        pass
        quiet(server)


def test_two_threads_at_one_stream(client: BlockingClient[Orchestra], server: BlockingServer) -> None:
    """The second is told Busy; one which waits while another closes the stream gets Closed."""
    for with_leader in (False, True):
        numbers = client.stream(Orchestra.hum, "tune")
        got: list[object] = []

        def take(numbers: Iterator[int] = numbers, got: list[object] = got) -> None:
            try:
                got.append(next(numbers))
                got.append(next(numbers))
            except Closed as error:
                got.append(type(error))

        leader = threading.Thread(target=client.call, args=(Orchestra.rest, "leader"))
        if with_leader:
            leader.start()
            quiet(server, 1)
        taker = threading.Thread(target=take)
        taker.start()
        quiet(server, 2 if with_leader else 1)
        with pytest.raises(Busy):
            next(numbers)
        assert client.call(Orchestra.cue, "tune") == 1
        soon(lambda got=got: got == [0])  # type: ignore[misc]  # bound now
        soon(lambda numbers=numbers: numbers._turn.locked())  # type: ignore[misc]  # bound now
        numbers.close()
        taker.join(20)
        assert got == [0, Closed]
        if with_leader:
            client.call(Orchestra.cue, "leader")
            leader.join(20)
        quiet(server)


def test_streams_in_several_threads(client: BlockingClient[Orchestra]) -> None:
    """Eight threads, streams both ways and calls: each has its own items."""
    wrong: list[object] = []

    def work(name: int) -> None:
        for _ in range(5):
            words = [f"{name} x {number}" for number in range(150)]
            if list(client.stream(Orchestra.echo, feed(words))) != [word.upper() for word in words]:
                wrong.append(name)
            if client.call(Orchestra.weigh, feed([b"abc"] * 100)) != 300:
                wrong.append(name)
            if client.call(Orchestra.double, name) != 2 * name:
                wrong.append(name)

    run_all([threading.Thread(target=work, args=(name,)) for name in range(8)])
    assert wrong == []


def test_a_follower_s_large_items_are_written_while_the_leader_sleeps(tmp_path: Path, child: Children) -> None:
    """The leader sleeps in the kernel, and does not know that there is something to be written."""
    path = tmp_path / "orchestra"
    owner = child(SERVER_SCRIPT, str(path))
    owner.expect("ready")
    with Service(path, Orchestra).connect() as client:
        leader = threading.Thread(target=client.call, args=(Orchestra.rest, "leader"))
        leader.start()
        soon(lambda: client.statistics().messages_sent == 1)
        assert client.call(Orchestra.weigh, feed([bytes(900_000)] * 20)) == 18_000_000
        assert sum(map(len, client.stream(Orchestra.echo, feed(["a" * 400_000] * 10)))) == 4_000_000
        assert client.call_each(Orchestra.reverse, [bytes(900_000)] * 10) == [bytes(900_000)] * 10
        client.call(Orchestra.note, "x" * 900_000)
        assert len(client.call(Orchestra.notes)[0]) == 900_000
        while not client.call(Orchestra.cue, "leader"):
            pass
        leader.join(20)


def test_what_a_stream_has_begun_to_send_is_sent(tmp_path: Path, child: Children) -> None:
    """An item that the socket takes in part is written to its end before the caller goes on to do something else."""
    path = tmp_path / "orchestra"
    owner = child(SERVER_SCRIPT, str(path))
    owner.expect("ready")
    with Service(path, Orchestra).connect() as client:
        for word in client.stream(Orchestra.echo, feed(["a" * 900_000] * 4)):
            assert len(word) == 900_000
            assert client._links.link._outbound_bytes == 0


def test_a_thread_that_gives_up_is_not_made_the_reader(
    client: BlockingClient[Orchestra], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has timed out, and has not said so yet, when the leader looks for a successor."""
    # The service knows of no deadline: its own word of it would be there before the follower has looked at its clock.
    monkeypatch.setattr(blocking_client, "_deadline", lambda _clock: None)
    link = client._links.link
    leader = threading.Thread(target=client.call, args=(Orchestra.rest, "leader"))
    leader.start()
    soon(lambda: link._reader is not None)
    give_up = link._give_up

    def late(id_: int) -> None:
        link._give_up = give_up  # type: ignore[method-assign]  # as if the thread had been interrupted here
        assert client_without_timeout.call(Orchestra.cue, "leader") == 1
        leader.join(20)
        give_up(id_)

    client_without_timeout = client.with_options()
    link._give_up = late  # type: ignore[method-assign, assignment]  # it has another name for the id
    with pytest.raises(TimedOut):
        client.with_options(timeout=0.05).call(Orchestra.rest, "follower")
    assert not leader.is_alive()
    assert link._reader is None


def test_a_fork_while_streams_are_open(client: BlockingClient[Orchestra], server: BlockingServer) -> None:
    """In the child a stream is Closed, also one with items at hand; the parent goes on."""
    silent = client.stream(Orchestra.hum, "tune")
    numbers = client.stream(Orchestra.play, ENDLESS)
    assert next(numbers) == 0
    with pytest.raises(TimedOut):
        client.with_options(timeout=0.02).stream(Orchestra.hum, "other").__next__()
    silent._call._open(Clock(5))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for stream in (silent, numbers):
                try:
                    next(stream)
                except Closed:
                    os.write(write, b"C")
            client.close()
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    assert os.read(read, 10) == b"CC"
    os.close(read)
    assert [next(numbers) for _ in range(200)] == list(range(1, 201))
    numbers.close()
    silent.close()
    quiet(server)


def test_closing_the_client_ends_its_streams(tmp_path: Path, server: BlockingServer) -> None:
    """A thread that waits for an item gets Closed; the handler is cancelled."""
    ended: list[type[BaseException]] = []
    with Service(tmp_path / "orchestra", Orchestra).connect() as client:

        def take() -> None:
            try:
                next(client.stream(Orchestra.hum, "silent"))
            except Closed as error:
                ended.append(type(error))

        thread = threading.Thread(target=take)
        thread.start()
        quiet(server, 1)
    thread.join(20)
    assert ended == [Closed]
    quiet(server)


# ---------------------------------------------------------------- batches, one way, marks


def test_batches(tmp_path: Path, band: Band) -> None:
    """In order; the first error in order; none at all; large; several threads with one connection; a timeout."""
    service = Service(tmp_path / "orchestra", Orchestra)
    with service.serve(band, limits=Limits(calls_in_flight=8)) as server, service.connect(timeout=20) as client:
        results: list[list[int]] = []

        def batch() -> None:
            results.append(client.call_each(Orchestra.patient, range(300)))

        def singles() -> None:
            for number in range(100):
                assert client.call(Orchestra.patient, number) == 2 * number

        run_all([threading.Thread(target=work) for work in (batch, batch, singles, batch, singles)])
        assert results == [[2 * number for number in range(300)]] * 3
        assert client.call_each(Orchestra.double, []) == []
        for _ in range(10):
            with pytest.raises(RemoteError, match="-3 is below 0"):
                client.call_each(Orchestra.patient, [2, 2, -3, -1, 2])
        with pytest.raises(InvalidMessage):
            client.call_each(Orchestra.double, [1, "2"])  # type: ignore[arg-type]  # the mistake under test
        with pytest.raises(TooLarge):
            client.call_each(Orchestra.reverse, [b"", bytes(2_000_000)])
        quiet(server)
        with pytest.raises(TimedOut):
            client.with_options(timeout=0.05).call_each(Orchestra.rest, ["a", "b"])
        quiet(server)
        assert sorted(band.log) == ["cancelled a", "cancelled b"]


def test_one_way_calls_wait_for_a_service_that_does_not_read(tmp_path: Path, child: Children) -> None:
    """A stopped service: TimedOut once the socket is full; what was sent arrives, in order, and whole."""
    path = tmp_path / "orchestra"
    owner = child(SERVER_SCRIPT, str(path))
    owner.expect("ready")
    with Service(path, Orchestra).connect(timeout=20) as client:
        impatient = client.with_options(timeout=0.1)
        assert client.call(Orchestra.pid) == owner.pid
        os.kill(owner.pid, signal.SIGSTOP)
        sent = 0
        with pytest.raises(TimedOut):
            while True:
                impatient.call(Orchestra.note, f"{sent} " + "x" * 50_000)
                sent += 1
        os.kill(owner.pid, signal.SIGCONT)
        client.call(Orchestra.note, "end")
        notes = [note.split()[0] for note in client.call(Orchestra.notes)]
        assert notes == [*map(str, range(sent + 1)), "end"]


def test_marks(client: BlockingClient[Orchestra]) -> None:
    """Declared exceptions, rules, threads, headers."""
    with pytest.raises(StringBroke) as broke:
        client.call(Orchestra.break_something, "string")
    assert (broke.value.string, broke.value.left) == ("e", 2)
    with pytest.raises(OutOfTune, match="a little"):
        client.call(Orchestra.break_something, "tune")
    with pytest.raises(RemoteError):
        client.call(Orchestra.break_something, "other")
    for method in (Orchestra.secret, Orchestra.broken_rule):
        with pytest.raises(NotAllowed):
            client.call(method)
    with_header = client.with_options(timeout=20, headers={"who": "me"})
    assert with_header.call(Orchestra.worker, "work").startswith("worker me ")
    assert list(with_header.stream(Orchestra.headers_stream)) == [{"who": "me"}] * 2


# ---------------------------------------------------------------- connecting again


def started(child: Children, path: Path) -> Child:
    """A process that serves."""
    owner = child(SERVER_SCRIPT, str(path))
    owner.expect("ready")
    return owner


def test_idempotent_calls_survive_a_killed_service(tmp_path: Path, child: Children) -> None:
    """In flight, in many threads: connected once; other calls get ConnectionLost with what was in flight."""
    path = tmp_path / "orchestra"
    owner = started(child, path)
    with Service(path, Orchestra).connect(wait_seconds=20, timeout=20) as client:
        pids: list[int] = []
        lost: list[ConnectionLost] = []

        def lull() -> None:
            pids.append(client.call(Orchestra.lull, "now"))

        def rest() -> None:
            try:
                client.call(Orchestra.rest, "a")
            except ConnectionLost as error:
                lost.append(error)

        threads = [threading.Thread(target=work) for work in [lull] * 8 + [rest]]
        for thread in threads:
            thread.start()
        soon(lambda: client.statistics().messages_sent == 9)
        stream = client.stream(Orchestra.play, ENDLESS)
        assert next(stream) == 0
        owner.kill()
        owner = started(child, path)
        with Service(path, Orchestra).connect(timeout=20) as other:
            soon(lambda: other.call(Orchestra.cue, "now") >= 0 and len(pids) == 8)
        for thread in threads:
            thread.join(20)
        assert pids == [owner.pid] * 8
        (error,) = lost
        assert sorted(error.calls) == ["Orchestra.lull"] * 8 + ["Orchestra.play", "Orchestra.rest"]
        with pytest.raises(ConnectionLost):
            list(stream)
        assert client.call(Orchestra.pid) == owner.pid


def test_after_an_orderly_end_calls_go_to_the_successor(tmp_path: Path) -> None:
    """Calls, one-way calls, batches and streams; with `retry=False` an error."""
    service = Service(tmp_path / "orchestra", Orchestra)
    bands = [Band() for _ in range(5)]
    with service.serve(bands[0]) as first, service.connect(timeout=20) as client:
        client.call(Orchestra.note, "first")
        assert client.call(Orchestra.notes) == ["first"]
        first.drain()
        with pytest.raises(ConnectionLost, match="has shut down"):
            client.with_options(timeout=20, retry=False).call(Orchestra.double, 1)
        with service.serve(bands[1]):
            client.call(Orchestra.note, "second")
            assert client.call(Orchestra.notes) == ["second"]
        with service.serve(bands[2]):
            assert client.call_each(Orchestra.double, range(10)) == list(range(0, 20, 2))
        with service.serve(bands[3]):
            assert client.call(Orchestra.double, 1) == 2
        answers: list[int] = []
        patient = client.with_options(timeout=20, retry=True)
        thread = threading.Thread(target=lambda: answers.append(patient.call(Orchestra.double, 4)))
        thread.start()
        with service.serve(bands[4]):
            thread.join(20)
            assert answers == [8]
            assert list(client.stream(Orchestra.play, 3)) == [0, 1, 2]
    assert [band.written for band in bands] == [["first"], ["second"], [], [], []]
