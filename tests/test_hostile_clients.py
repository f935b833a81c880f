"""Clients which mean harm, or are in a bad way: each is told or dropped, and nobody else notices.

What one connection may do and what a turn may take is in `test_service_clients` and `test_service_loop`; here the
services are whole, most of them processes of their own, whose memory, descriptors and CPU time are looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import pack

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from namedipc import BlockingClient, LimitReached, Limits, Service, TimedOut, lowlevel
from namedipc._batches import array_start, join
from namedipc._protocol.calls import LARGEST_ID
from namedipc._protocol.frames import (
    BIND,
    CALL,
    CALLS,
    ERROR,
    GOODBYE,
    REPLIES,
    REPLY,
    SCHEMA,
    Frame,
    FrameReader,
    Kind,
    pack_call,
    pack_frame,
)
from namedipc._protocol.hello import HELLO_BYTES, SERVICE, Hello
from namedipc._values import StrPath

from .conftest import Child, Children
from .kitchen import Chef, Kitchen, Mill, Order
from .lowlevel_support import needs_refusals
from .wire_client import HELLO, MILL, WireClient, call_frame, code_of, giant_frame, serving, told, wire_client
from .wire_client import SCHEMA as KITCHEN

pytestmark = pytest.mark.usefixtures("no_leaks")

FOREIGN = Hello(SERVICE, 1 << 20, bytes(16)).pack()
"""The hello of a client with another schema: its calls are held until it sends BIND."""

MIB = 1 << 20

SERVER_SCRIPT = """
    import json, sys
    from namedipc import Limits, Service
    from tests.kitchen import Chef, Kitchen, Mill, Miller
    from tests.lowlevel_support import OLD_KERNEL, refuse
    path, interface, limits, kernel = sys.argv[1:]
    if kernel == "old":
        refuse(OLD_KERNEL)
    options = {"limits": Limits(**json.loads(limits)), "ready": lambda server: print("ready", flush=True)}
    if interface == "Mill":
        Service(path, Mill).run(Miller(), **options)
    else:
        Service(path, Kitchen).run(Chef(), **options)
"""


def start(child: Children, path: Path, *, interface: str = "Kitchen", kernel: str = "this", **limits: float) -> Child:
    """A service in a process of its own."""
    server = child(SERVER_SCRIPT, str(path), interface, json.dumps(limits), kernel)
    server.expect("ready")
    return server


def descriptors(pid: int) -> dict[str, str]:
    """What a process has open."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[number] = os.readlink(f"/proc/{pid}/fd/{number}")
    return found


def most_memory_bytes(pid: int) -> int:
    """The most memory that a process has had so far. Source: proc_pid_status(5) "VmHWM"."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used. Source: proc_pid_stat(5) "utime" and "stime"."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(condition: Callable[[], bool], meanwhile: Callable[[], object]) -> None:
    """Call until the condition holds; 20 s are too long."""
    late = time.monotonic() + 20
    while not condition():
        meanwhile()
        assert time.monotonic() < late


async def until_true(condition: Callable[[], bool]) -> None:
    """Let the service do its work until the condition holds; 20 s are too long."""
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.001)


# --- bytes that no proper client sends


async def last_fault(client: WireClient) -> str:
    """The code of the connection's error, behind whatever else comes, and then the end."""
    while (frame := await client.frame()) is not None:
        if frame[0] == ERROR and frame[3] == 0:
            await client.end()
            return code_of(frame)
    raise AssertionError("the connection ended without an error")


HELD_CALLS = Limits().calls_in_flight


@pytest.mark.parametrize(
    ("offence", "code"),
    [
        (call_frame("cook", 1, Order(1, "pie" * 20)) + HELLO, "protocol"),
        (HELLO + HELLO, "protocol"),
        (HELLO + pack_frame(BIND, pack("<H", 0)), "protocol"),
        (HELLO + pack_frame(SCHEMA, b"{}"), "protocol"),
        (HELLO + pack_frame(REPLY, b"\xc0", id=1), "protocol"),
        (HELLO + pack_frame(Kind.CALL, bytes(MIB + 1), id=1), "protocol"),
        (FOREIGN + pack_frame(BIND, pack("<H", 0)) * 2, "protocol"),
        (FOREIGN + pack_frame(BIND, pack("<H", 999)), "protocol"),
        (FOREIGN + pack_frame(BIND, b"odd"), "protocol"),
        (FOREIGN + pack_frame(BIND, pack("<H", 0)) + pack_frame(CALL, b"\x90", method=1, id=1), "protocol"),
        (FOREIGN + pack_frame(SCHEMA, b"{}") * 1000, "protocol"),
        (FOREIGN + b"".join(call_frame("pid", id_) for id_ in range(1, HELD_CALLS + 2)), "limit"),
        (HELLO + pack_frame(CALLS, b"\xdd\xff\xff\xff\xff\x90", id=1), "protocol"),
        (HELLO + pack_frame(CALLS, array_start(MIB - 5) + b"\xc0" * (MIB - 5), id=1), "protocol"),
        (HELLO + pack_frame(CALLS, join([b"\x90"] * (HELD_CALLS + 1)), id=1), "protocol"),
        (HELLO + pack_frame(CALLS, b"", id=1), "protocol"),
        (HELLO + pack_frame(CALLS, b"\x90", id=1), "protocol"),
        (HELLO + pack_frame(CALLS, join([b"\x90"] * 2)), "protocol"),
        (HELLO + pack_frame(CALLS, join([b"\x90"] * 2), id=LARGEST_ID), "protocol"),
        (HELLO + pack_frame(CALLS, join([b"\x90"] * 2), method=999, id=1), "protocol"),
        (HELLO + pack_frame(CALLS, b"[[1], [2]]", flags=4, id=1), "protocol"),
        (HELLO + pack_frame(CALLS, b"\x01\x02", flags=1, id=1), "protocol"),
        (FOREIGN + pack_frame(CALLS, join([b"\x90"] * 2), id=1) + pack_frame(BIND), "protocol"),
        (HELLO + pack_frame(REPLIES, join([b"\xc0"] * 2), id=1), "protocol"),
    ],
    ids=[
        "call before hello",
        "hello twice",
        "BIND of an open session",
        "SCHEMA",
        "REPLY",
        "one byte too many",
        "BIND twice",
        "BIND of no method",
        "BIND of half a number",
        "call of an unbound method",
        "SCHEMA while held",
        "too many calls while held",
        "2**32 calls",
        "as many calls as bytes",
        "more calls than may be in flight",
        "no array of calls",
        "no calls",
        "calls of id 0",
        "calls beyond the largest id",
        "calls of no method",
        "calls in JSON",
        "calls without their deadline",
        "calls which are not bound",
        "REPLIES",
    ],
)
async def test_an_offender_is_told_and_dropped(tmp_path: Path, offence: bytes, code: str) -> None:
    """An ERROR frame of id 0 with the code, then the end."""
    async with serving(tmp_path) as (path, _, _, server):
        with wire_client(path) as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # dropped before all of it was sent
                await client.send(offence)
            assert await last_fault(client) == code
        assert server.statistics().clients == 1


async def test_held_calls_are_run_in_order_once_they_are_bound(tmp_path: Path) -> None:
    """A client that calls, cancels and then binds is answered as if it had bound first; nothing has run before."""
    cook = KITCHEN.by_name["cook"].index
    calls = [pack_frame(CALL, call_frame("cook", 1, Order(id_, "pie"))[12:], id=id_) for id_ in (1, 2, 3)]
    async with serving(tmp_path) as (path, _, _, server):
        with wire_client(path) as client:
            before = server.statistics().calls
            await client.send(FOREIGN + b"".join(calls) + pack_frame(Kind.CANCEL, id=2))
            frame = await client.frame()
            assert frame is not None
            assert frame[0] == SCHEMA
            assert server.statistics().calls == before
            await client.send(pack_frame(BIND, pack("<H", cook)))
            assert [await client.reply(id_) for id_ in (1, 2, 3)] == [f"pie for {id_}" for id_ in (1, 2, 3)]


async def test_calls_after_a_goodbye_end_with_the_connection(tmp_path: Path) -> None:
    """Who has said that no more calls come and sends some gets the end, in time, whatever has become of them."""
    async with serving(tmp_path) as (path, _, _, server):
        with wire_client(path) as client:
            await client.send(HELLO + call_frame("pid", 1) + pack_frame(GOODBYE) + call_frame("pid", 2) * 100)
            assert await client.reply(1) == os.getpid()
            while await client.frame() is not None:
                pass
        assert server.statistics().clients == 1


OFFENCES = [
    b"GET / HTTP/1.1\r\nHost: kitchen.example.org\r\n\r\n",
    HELLO + call_frame("cook", 1, Order(1, "pie")) + pack_frame(200),
    HELLO + giant_frame(),
    HELLO + pack_frame(CALL, b"\x91\x82\xa5table\x01\xa4dish\xa2\xff\xfe", id=1) + pack_frame(REPLY),
    FOREIGN + call_frame("pid", 1) + pack_frame(BIND, pack("<H", 999)),
    HELLO + pack_frame(CALLS, b"\x92\x91\x82\xa5table\x01\xa4dish\xa2\xff\xfe\x90", id=1) + pack_frame(REPLIES),
]


def test_an_offence_is_one_wherever_it_is_cut(tmp_path: Path) -> None:
    """In two pieces, at every place: the error comes once it is whole; with half of it there is only the end."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with service.serve(Chef()), service.connect(timeout=20) as witness:
        for offence in OFFENCES:
            whole = conversation(service.path, witness, offence, b"")
            assert [(frame[0], frame[3]) for frame in whole[-1:]] == [(ERROR, 0)]
            for at in range(1, len(offence)):
                assert conversation(service.path, witness, offence[:at], offence[at:]) == whole
            conversation(service.path, witness, offence[: len(offence) // 2], b"")


def test_random_bytes_harm_nobody(tmp_path: Path) -> None:
    """Behind a hello or without one, in any pieces: whole frames come back and then the end; another is served."""
    service = Service(tmp_path / "kitchen", Kitchen)
    pieces = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4)
    with service.serve(Chef()), service.connect(timeout=20) as witness:

        @settings(derandomize=True, database=None, deadline=None, max_examples=100)
        @given(st.sampled_from([b"", HELLO, FOREIGN]), pieces)
        def offend(opening: bytes, pieces: list[bytes]) -> None:
            conversation(service.path, witness, opening + pieces[0], *pieces[1:])

        offend()


def conversation(path: StrPath, witness: BlockingClient[Kitchen], *pieces: bytes) -> list[Frame]:
    """Send pieces, each once the last has been read, and no more; return the frames up to the end."""
    with lowlevel.unix_connect(path) as end:
        for piece in pieces:
            with contextlib.suppress(BrokenPipeError):
                end.sendall(piece)
            witness.call(Kitchen.pid)  # has been read by the service after what was sent before
        with contextlib.suppress(OSError):
            lowlevel.shutdown_write(end)
        reader = FrameReader(MIB)
        with contextlib.suppress(ConnectionResetError):  # it was closed with something unread
            while data := end.recv(65536):
                reader.feed(data)
    frames = []
    if reader.take(HELLO_BYTES) is not None:
        while (frame := reader.next_frame()) is not None:
            frames.append(frame)
    assert not reader.unfinished
    return frames


# --- too many


@contextmanager
def room_for_descriptors(count: int) -> Iterator[None]:
    """Inside, this process may open so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"a process may open {hard} files here; the test needs {count}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_connections_of_one_user(tmp_path: Path, child: Children) -> None:
    """The first ones are served, each other one is told why not, as the library's own client is; nothing is left."""
    service = Service(tmp_path / "kitchen", Kitchen)
    server = start(child, tmp_path / "kitchen")
    most = Limits().clients_per_uid
    with room_for_descriptors(2200), service.connect(timeout=20) as witness, ExitStack() as stack:
        assert witness.call(Kitchen.pid) == server.pid
        open_before, memory_before = descriptors(server.pid), most_memory_bytes(server.pid)
        ends = []
        for count in range(2000):
            ends.append(stack.enter_context(lowlevel.unix_connect(tmp_path / "kitchen")))
            if count < most - 1:
                ends[-1].sendall(HELLO)
        for end in ends[most - 1 :]:
            assert told(end) == ("limit", f"user {os.geteuid()} has {most} connections already")
        with (
            pytest.raises(LimitReached, match=rf"kitchen: user \d+ has {most} connections already"),
            service.connect(timeout=20) as late,
        ):
            late.call(Kitchen.pid)
        for end in ends[: most - 1]:
            end.sendall(call_frame("pid", 1))
            assert end.recv(HELLO_BYTES)
            assert end.recv(65536)[12:] == KITCHEN.by_name["pid"].result.encode(server.pid)
        assert witness.call(Kitchen.pid) == server.pid
        stack.close()
        until(lambda: descriptors(server.pid) == open_before, lambda: witness.call(Kitchen.pid))
        assert most_memory_bytes(server.pid) - memory_before < 16 * MIB
        with service.connect(timeout=20) as next_one:
            assert next_one.call(Kitchen.pid) == server.pid


def test_who_finds_the_backlog_full_waits_no_longer_than_it_will(tmp_path: Path, child: Children) -> None:
    """A service that accepts nobody: the library's client gives up after its time; it is served once the others are."""
    service = Service(tmp_path / "kitchen", Kitchen)
    server = start(child, tmp_path / "kitchen", clients_per_uid=2000, clients=2000)
    os.kill(server.pid, signal.SIGSTOP)
    with ExitStack() as stack:
        fill_backlog(tmp_path / "kitchen", stack)
        with pytest.raises(TimedOut, match="kitchen"), service.connect(timeout=0.05):
            pass
        os.kill(server.pid, signal.SIGCONT)
        with service.connect(timeout=20) as kitchen:
            assert kitchen.call(Kitchen.pid) == server.pid


def fill_backlog(path: Path, stack: ExitStack) -> None:
    """Connect until the kernel lets nobody else in."""
    name_fd = os.open(path, os.O_PATH)
    stack.callback(os.close, name_fd)
    while True:
        end = stack.enter_context(lowlevel.unix_socket())
        end.setblocking(False)
        try:
            lowlevel.connect_at(end, name_fd)
        except BlockingIOError:
            return


def test_out_of_descriptors_connections_are_told_or_wait(tmp_path: Path, child: Children) -> None:
    """Those there are served, the CPU idles, each newcomer is told; once some have left, the next is served again."""
    service = Service(tmp_path / "kitchen", Kitchen)
    server = start(child, tmp_path / "kitchen")
    with service.connect(timeout=20) as witness, ExitStack() as stack:
        assert witness.call(Kitchen.pid) == server.pid
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3 + max(map(int, descriptors(server.pid))), hard))
        with pytest.raises(LimitReached, match="kitchen: the service has no descriptor left"):
            while True:
                another = stack.enter_context(service.connect(timeout=20))
                assert another.call(Kitchen.pid) == server.pid
        cpu_before = cpu_seconds(server.pid)
        for _ in range(3):  # a pause each
            with (
                pytest.raises(LimitReached, match="no descriptor left"),
                service.connect(timeout=20) as late,
            ):
                late.call(Kitchen.pid)
            assert witness.call(Kitchen.pid) == server.pid
        assert cpu_seconds(server.pid) - cpu_before < 0.08
        stack.close()
        with service.connect(timeout=20) as kitchen:
            assert kitchen.call(Kitchen.pid) == server.pid


@pytest.mark.parametrize("kernel", ["this", pytest.param("old", marks=needs_refusals)])
def test_uninvited_descriptors_stay_outside(tmp_path: Path, child: Children, kernel: str) -> None:
    """With the first bytes and with later ones: the kernel refuses or drops them, and the calls go on."""
    server = start(child, tmp_path / "kitchen", kernel=kernel)
    with lowlevel.unix_connect(tmp_path / "kitchen") as witness:
        witness.sendall(HELLO + call_frame("pid", 1))
        assert len(witness.recv(HELLO_BYTES)) == HELLO_BYTES
        assert witness.recv(65536)
        before = descriptors(server.pid)
        refused = 0
        with lowlevel.unix_connect(tmp_path / "kitchen") as end, open("/dev/zero", "rb") as uninvited:
            for data in [HELLO, *(call_frame("pid", id_) for id_ in range(1, 51))]:
                try:
                    assert lowlevel.send_descriptors(end, data, [uninvited.fileno()] * 20) == len(data)
                except PermissionError:
                    refused += 1
                    end.sendall(data)
                assert end.recv(65536)
            # Those in the first flight may have been there before the connection was accepted.
            assert refused in ({50, 51} if kernel == "this" and kernel_can_refuse() else {0})
            inside = descriptors(server.pid)
            assert not [target for target in inside.values() if target == "/dev/zero"]
            assert len(inside) == len(before) + 1
        witness.sendall(call_frame("pid", 2))
        assert witness.recv(65536)


def kernel_can_refuse() -> bool:
    """Whether the sender is told."""
    mine, theirs = lowlevel.socket_pair()
    with mine, theirs:
        return lowlevel.refuse_descriptors(mine)


# --- those who do not read


def test_large_answers_that_are_not_read_cost_no_more_than_the_limit(tmp_path: Path, child: Children) -> None:
    """Three thousand small calls in one flight, each for a megabyte: a few are run, and the memory stays small."""
    server = start(child, tmp_path / "mill", interface="Mill")
    with Service(tmp_path / "mill", Mill).connect(timeout=20) as mill:
        mill.call(Mill.grind, 1_000_000)
        before = most_memory_bytes(server.pid)
        with lowlevel.unix_connect(tmp_path / "mill") as end:
            grind = MILL.by_name["grind"]
            arguments = grind.arguments.encode((1_000_000,), {})
            end.sendall(Hello(SERVICE, MIB, MILL.fingerprint).pack())
            end.sendall(b"".join(pack_call(grind.index, id_, arguments, None) for id_ in range(1, 3001)))
            times = [0, mill.call(Mill.ground)]
            while times[-1] != times[-2]:
                times.append([mill.call(Mill.ground) for _ in range(100)][-1])
            assert 4 < times[-1] < 10
            # What may wait, with the room in which it grows; an answer as result, as body and as frame.
            bound = Limits().outbound_bytes * 9 // 8 + 4 * MIB
            assert most_memory_bytes(server.pid) - before < bound + 4 * MIB


def test_floods_that_are_not_read_stop_by_themselves(tmp_path: Path, child: Children) -> None:
    """Twenty which call and call and read nothing: in the end none can send on; the memory is what the limits say."""
    server = start(child, tmp_path / "kitchen", outbound_bytes=200_000)
    calls = b"".join(call_frame("echo", id_, bytes(1000)) for id_ in range(1, 33))
    with Service(tmp_path / "kitchen", Kitchen).connect(timeout=20) as witness, ExitStack() as stack:
        witness.call(Kitchen.pid)
        before = most_memory_bytes(server.pid)
        floods = [Flood(stack.enter_context(lowlevel.unix_connect(tmp_path / "kitchen")), calls) for _ in range(20)]
        taken = [1]
        while any(taken):
            taken = [flood.send() for flood in floods]
            for _ in range(50):
                assert witness.call(Kitchen.pid) == server.pid
        # For each what may wait, a read and what is left of the one before, and a round of answers.
        bound = 20 * (200_000 * 9 // 8 + 2 * 65_536 + len(calls))
        assert most_memory_bytes(server.pid) - before < bound + 4 * MIB


class Flood:
    """A client which only sends."""

    def __init__(self, end: lowlevel.Socket, calls: bytes) -> None:
        end.sendall(HELLO)
        end.setblocking(False)
        self._end = end
        self._calls = calls
        self._rest = b""

    def send(self) -> int:
        """Send until the socket is full; how many bytes it took."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._rest = self._rest or self._calls
                taken = lowlevel.send(self._end, self._rest)
                self._rest = self._rest[taken:]
                sent += taken
        return sent


WAITER_SCRIPT = """
    import sys, time
    from namedipc import lowlevel
    from tests.wire_client import HELLO, call_frame
    name, count, rest = sys.argv[2] * int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
    end = lowlevel.unix_connect(sys.argv[1])
    end.sendall(HELLO + b"".join(call_frame("simmer", id_, name) for id_ in range(1, count + 1)))
    end.sendall(call_frame("simmer", count + 1, name)[:rest])
    print("sent", flush=True)
    time.sleep(3600)
"""
"""A child that calls `simmer` so often, with a name of so many letters, and sends some bytes of a further call."""


async def test_a_stopped_client_is_dropped_once_too_much_waits_for_it(tmp_path: Path, child: Children) -> None:
    """SIGSTOP with forty large answers to come: what the socket does not take waits, and not for ever."""
    async with serving(tmp_path, Limits(outbound_bytes=100_000, stalled_seconds=0.02)) as (path, witness, chef, server):
        waiter = child(WAITER_SCRIPT, str(path), "s", "50000", "40", "0")
        await trio.to_thread.run_sync(waiter.expect, "sent")
        await until_true(lambda: server.statistics().in_flight == 40)
        os.kill(waiter.pid, signal.SIGSTOP)
        assert await witness.release("s" * 50_000) == 40
        await until_true(lambda: server.statistics().clients == 1)
        assert server.statistics().in_flight == 0
        assert chef.cancelled == []


async def test_a_client_killed_in_the_middle_of_a_frame_leaves_nothing(tmp_path: Path, child: Children) -> None:
    """SIGKILL with two calls in flight and half of a third: the handlers are cancelled, the connection is gone."""
    async with serving(tmp_path) as (path, _, chef, server):
        waiter = child(WAITER_SCRIPT, str(path), "s", "1", "2", "14")
        await trio.to_thread.run_sync(waiter.expect, "sent")
        await until_true(lambda: server.statistics().in_flight == 2)
        waiter.kill()
        await until_true(lambda: server.statistics().in_flight == 0)
        assert chef.cancelled == ["s", "s"]
        assert server.statistics().clients == 1


# --- calls and cancels


async def test_thousands_of_cancelled_calls_have_one_end_each(tmp_path: Path) -> None:
    """Each is cancelled as soon as it was sent, twice: one error a call, and no task is left of them."""
    async with serving(tmp_path) as (path, _, _, server):
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        with wire_client(path) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, HELLO + b"".join(map(cancelled_call, range(1, 3001))))
                ends = {}
                for _ in range(3000):
                    frame = await client.frame()
                    assert frame is not None
                    assert frame[3] not in ends
                    ends[frame[3]] = code_of(frame)
        assert ends.keys() == set(range(1, 3001))
        assert set(ends.values()) <= {"cancelled", "limit"}
        assert server.statistics().in_flight == 0
        assert trio.lowlevel.current_statistics().tasks_living <= tasks_before + 64  # the parked ones


def cancelled_call(id_: int) -> bytes:
    """A call that would wait, and two cancels of it."""
    return call_frame("simmer", id_, "stew") + pack_frame(Kind.CANCEL, id=id_) * 2


async def test_an_id_can_be_used_again_once_it_is_answered(tmp_path: Path) -> None:
    """One id for a thousand calls, each sent behind the others: nobody minds, as long as none of them waits."""
    async with serving(tmp_path) as (path, _, _, _):
        with wire_client(path) as client:
            await client.send(HELLO + b"".join(call_frame("cook", 7, Order(n, "pie")) for n in range(1000)))
            assert [await client.reply(7) for _ in range(1000)] == [f"pie for {n}" for n in range(1000)]
