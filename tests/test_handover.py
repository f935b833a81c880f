"""Handing a name over: no connection refused, no call lost, and one owner, whoever dies in the middle."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

import pytest
import trio

from namedipc import Channel, NameNotFound, NameTaken, RawChannel, Service, TimedOut, WrongKind, _names, lowlevel
from namedipc._card import make_card
from namedipc._shells import handover
from namedipc._shells.connecting import Pause
from namedipc._shells.handover import ACCEPT, OFFER, TAKE, YOURS, claiming, handing_over
from namedipc._shells.waiting import Clock, carry_out

from .conftest import Children
from .kitchen import SERVER_SCRIPT, Chef, Kitchen, Order
from .names_support import shared_directory

SECONDS = 20.0


@pytest.fixture(autouse=True)
def checked(no_leaks: None) -> None:
    """No test of this module leaves a descriptor open."""


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A name in an empty directory."""
    return tmp_path / "kitchen"


# --- restarts under load


TILL = """
    import sys
    from namedipc import Service
    from tests.handover_support import Till, TillService

    till = TillService()
    Service(sys.argv[1], Till).run(till, takeover=True, ready=lambda server: print("ready", flush=True))
    print(*till.numbers, flush=True)
"""

CUSTOMERS = """
    import sys
    from tests.handover_support import be_customers
    be_customers(sys.argv[1])
"""


def test_restarts_under_load_refuse_no_connection_and_lose_no_call(name: Path, child: Children) -> None:
    """Five owners, one after the other; every number that a customer was told of was booked by one of them, once."""
    servers = [child(TILL, str(name))]
    servers[0].expect("ready")
    customers = child(CUSTOMERS, str(name))
    customers.expect("busy")
    booked: list[int] = []
    for _ in range(4):
        servers.append(child(TILL, str(name)))
        servers[-1].expect("ready")
        customers.say("more")
        customers.expect("busy")  # each of them has been answered by the new owner
        booked += map(int, servers[-2].read_line().split())
        assert servers[-2].wait() == 0
    customers.say("enough")
    answered = sorted(map(int, customers.read_line().split()))
    customers.expect("refused: []")
    os.kill(servers[-1].pid, signal.SIGTERM)
    booked += map(int, servers[-1].read_line().split())
    assert sorted(booked) == answered
    assert len(set(booked)) == len(booked) > 100
    assert os.listdir(name.parent) == []


# --- services


async def test_calls_in_flight_are_finished_by_the_old_owner_and_new_ones_run_by_the_new(name: Path) -> None:
    """The old one says goodbye and ends once it has answered; the name stays, and is the new one's."""
    service = Service(name, Kitchen)
    old_chef, new_chef = Chef(), Chef()
    async with service.serve(old_chef) as old, service.connect() as kitchen, trio.open_nursery() as nursery:
        arrived = old_chef.arrived
        answers: list[str] = []

        async def simmer() -> None:
            answers.append(await kitchen.simmer("stew"))

        nursery.start_soon(simmer)
        await arrived.wait()
        async with service.serve(new_chef, takeover=True) as new, service.connect() as other:
            assert await other.cook(Order(1, "pie")) == "pie for 1"
            assert (old.statistics().in_flight, new.statistics().calls) == (1, 1)
            for event in old_chef.waiting["stew"]:
                event.set()
            await old.wait_closed()
            assert answers == ["stew"]
            assert name.exists()
            await old.drain()
            assert await other.cook(Order(2, "pie")) == "pie for 2"
        assert os.listdir(name.parent) == []


async def test_takeover_of_a_free_name_is_a_claim(name: Path) -> None:
    """Nobody is there, or the last owner has been killed."""
    service = Service(name, Kitchen)
    for _ in range(2):
        async with service.serve(Chef(), takeover=True), service.connect() as kitchen:
            assert await kitchen.cook(Order(1, "pie")) == "pie for 1"
        assert os.listdir(name.parent) == []
        if (pid := os.fork()) == 0:
            _names.claim_socket(name, card=b"")
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)


async def test_without_takeover_a_living_owner_is_left_alone(name: Path) -> None:
    """As ever."""
    service = Service(name, Kitchen)
    async with service.serve(Chef()), service.connect() as kitchen:
        with pytest.raises(NameTaken, match=f"owned by process {os.getpid()}"):
            async with service.serve(Chef()):
                pass
        assert await kitchen.cook(Order(1, "pie")) == "pie for 1"


def test_a_blocking_program_takes_over_and_hands_over(name: Path, child: Children) -> None:
    """From a `run` and to a `run`: the kernel names the owner of now to whoever connects."""
    before = child(SERVER_SCRIPT, str(name))
    before.expect("ready")
    service = Service(name, Kitchen)
    with service.serve(Chef(), takeover=True) as server:
        before.expect("drained")
        assert before.wait() == 0
        with service.connect(timeout=SECONDS) as kitchen:
            assert kitchen.call(Kitchen.pid) == kitchen.peer.pid == os.getpid()
        after = child(SERVER_SCRIPT.replace(".run(Chef(), ", ".run(Chef(), takeover=True, "), str(name))
        after.expect("ready")
        server.wait_closed(timeout=SECONDS)
        with service.connect(timeout=SECONDS) as kitchen:
            assert kitchen.call(Kitchen.pid) == kitchen.peer.pid == after.pid
    with service.connect(timeout=SECONDS) as kitchen:
        assert kitchen.call(Kitchen.pid) == after.pid
    os.kill(after.pid, signal.SIGTERM)
    after.expect("drained")
    assert os.listdir(name.parent) == []


async def test_a_draining_owner_hands_over_no_more(name: Path) -> None:
    """It has given the name up already: the successor claims it."""
    service = Service(name, Kitchen)
    async with service.serve(Chef()) as old:
        await old.drain()
        async with service.serve(Chef(), takeover=True), service.connect() as kitchen:
            assert await kitchen.cook(Order(1, "pie")) == "pie for 1"


def test_an_owner_that_is_stopped_keeps_the_name(name: Path, child: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    """The successor says so in time, and the owner goes on as if nobody had asked."""
    owner = child(SERVER_SCRIPT, str(name))
    owner.expect("ready")
    os.kill(owner.pid, signal.SIGSTOP)
    monkeypatch.setattr(handover, "ANSWER_SECONDS", 0.05)
    service = Service(name, Kitchen)
    with (
        pytest.raises(TimedOut, match=f"{name}: its owner, process {owner.pid}, has not handed it over"),
        service.serve(Chef(), takeover=True),
    ):
        pass
    os.kill(owner.pid, signal.SIGCONT)
    with service.connect(timeout=SECONDS) as kitchen:
        assert kitchen.call(Kitchen.pid) == owner.pid
    os.kill(owner.pid, signal.SIGTERM)
    owner.expect("drained")


# --- channels


async def test_a_channel_is_taken_over_and_its_connections_go_on(name: Path) -> None:
    """Accepting ends for the old listener, `serve` with its last handler; whoever waits is accepted by the new one."""
    channel = Channel(name, str)

    async def tell(who: str) -> None:
        async with channel.listen(takeover=True) as listener:
            ready[who].set()

            async def talk(connection: object) -> None:
                assert isinstance(connection, Talk)
                async for message in connection:
                    await connection.send(f"{who} has heard {message}")

            await listener.serve(talk)
        ended[who].set()

    from namedipc import Connection as Talk

    ready = {who: trio.Event() for who in ("old", "new")}
    ended = {who: trio.Event() for who in ("old", "new")}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell, "old")
        await ready["old"].wait()
        async with channel.connect() as first:
            await first.send("one")
            assert await first.receive() == "old has heard one"
            nursery.start_soon(tell, "new")
            await ready["new"].wait()
            async with channel.connect() as second:
                await second.send("two")
                assert await second.receive() == "new has heard two"
            await first.send("three")
            assert await first.receive() == "old has heard three"
        await ended["old"].wait()
        nursery.cancel_scope.cancel()
    assert os.listdir(name.parent) == []


@pytest.mark.parametrize("accepting", [True, False])
def test_a_blocking_listener_hands_over_whatever_it_does(name: Path, accepting: bool) -> None:
    """Whether it accepts or not; who waits in the backlog is accepted by the successor."""
    channel = RawChannel(name)
    with channel.listen() as old:
        thread = threading.Thread(target=old.serve, args=(lambda end: None,))
        if accepting:
            thread.start()
        else:
            waiting = lowlevel.unix_connect(name)
        with channel.listen(takeover=True) as new:
            if accepting:
                thread.join(SECONDS)
                waiting = lowlevel.unix_connect(name)
            with new.accept(timeout=SECONDS) as end, waiting:
                end.send_all(b"served")
                assert waiting.recv(100) == b"served"
            assert list(old) == []
            assert name.exists()
        assert os.listdir(name.parent) == []


def test_another_kind_of_name_is_not_taken_over(name: Path) -> None:
    """The owner serves what it serves, and goes on."""
    service = Service(name, Kitchen)
    with service.serve(Chef()):
        for other in (Channel(name, str), RawChannel(name)):
            with pytest.raises(WrongKind, match="serves a service there"), other.listen(takeover=True):
                pass
        with service.connect(timeout=SECONDS) as kitchen:
            assert kitchen.call(Kitchen.cook, Order(1, "pie")) == "pie for 1"


# --- word by word


class Owner:
    """A claim and a thread that hands it over, and records whether it accepts."""

    def __init__(self, path: Path) -> None:
        self.claim = _names.claim_socket(path, card=make_card("service"))
        self.events: list[str] = []
        self.handed_over: bool | None = None
        self.thread = threading.Thread(target=self._run)
        self._idle = False

    def _run(self) -> None:
        self.handed_over = carry_out(self._watched(), Clock(SECONDS), "no successor")

    def _watched(self) -> Generator[Pause, None, bool]:
        plan = handing_over(self.claim, lambda: self.events.append("pause"), lambda: self.events.append("resume"))
        try:
            while True:
                pause = next(plan)
                self._idle = pause.seconds == inf and not self.claim._given
                yield pause
                self._idle = False
        except StopIteration as done:
            return bool(done.value)

    def settle(self) -> None:
        """Wait until whoever has asked and died is dealt with."""
        asked = lowlevel.poll_readable(self.claim.handover.fileno())
        while self.thread.is_alive() and (asked.poll(0) or not self._idle):
            time.sleep(0.001)

    def accepts(self, path: Path) -> bool:
        """Whether a connection that is made now comes to it, and shows it."""
        sock, credentials = _names.connect_socket(path)
        with sock:
            lowlevel.accept(self.claim.listener).close()
        return credentials.pid == os.getpid()


@pytest.fixture
def owner(name: Path) -> Iterator[Owner]:
    """The owner of the name, who waits for successors."""
    owner = Owner(name)
    owner.thread.start()
    yield owner
    if owner.thread.is_alive():
        take_over(name).close()
    owner.thread.join(SECONDS)
    owner.claim.close()
    assert os.listdir(name.parent) == []


def take_over(path: Path, *, card: bytes = make_card("service")) -> _names.Claim:
    """Take the name over, as a program does."""
    plan = claiming(path, kind="service", card=card, mode=0o600, takeover=True)
    return carry_out(plan, Clock(SECONDS), "not taken over")


@contextmanager
def asking(path: Path) -> Iterator[lowlevel.Socket]:
    """A connection to the owner's socket for successors."""
    with lowlevel.unix_connect(path.with_name(f".{path.name}.handover")) as sock:
        yield sock


def offered(sock: lowlevel.Socket) -> list[int]:
    """Ask for the name, and return the descriptors which come."""
    lowlevel.send(sock, TAKE)
    word, descriptors = lowlevel.receive_descriptors(sock, 8)
    assert word == OFFER
    assert not any(os.get_inheritable(fd) for fd in descriptors)
    return descriptors


def close_all(descriptors: list[int]) -> None:
    """Close them."""
    for fd in descriptors:
        os.close(fd)


def test_the_successor_owns_the_name_with_its_own_card_and_mode(name: Path, owner: Owner) -> None:
    """The old claim removes nothing when it is closed, and the new one everything."""
    plan = claiming(name, kind="service", card=make_card("service", b"new"), mode=0o660, takeover=True)
    claim = carry_out(plan, Clock(SECONDS), "not taken over")
    owner.thread.join(SECONDS)
    assert (owner.handed_over, owner.events) == (True, ["pause"])
    owner.claim.close()
    assert _names.read_card(name) == make_card("service", b"new")
    assert name.stat().st_mode & 0o777 == 0o660
    assert sorted(os.listdir(name.parent)) == [".kitchen.handover", ".kitchen.lock", "kitchen"]
    with pytest.raises(NameTaken):
        _names.claim_socket(name, card=b"")
    sock, _ = _names.connect_socket(name)
    with sock, lowlevel.accept(claim.listener):
        pass
    claim.close()


@pytest.mark.parametrize("last", ["nothing", "nonsense", "take", "accept", "listen"])
def test_a_successor_that_dies_leaves_the_owner_serving(name: Path, owner: Owner, last: str) -> None:
    """After any of its words, and also after it has begun to listen."""
    with asking(name) as sock:
        if last == "nonsense":
            lowlevel.send(sock, b"nonsense")
        elif last != "nothing":
            descriptors = offered(sock)
            if last != "take":
                lowlevel.send(sock, ACCEPT)
                assert sock.recv(8) == YOURS
            if last == "listen":
                with lowlevel.adopt_socket(os.dup(descriptors[0])) as listener:
                    listener.listen(1)
            close_all(descriptors)
    with asking(name) as sock:  # answered only after the one before
        close_all(offered(sock))
    assert owner.accepts(name)
    assert owner.events == (["pause", "resume"] if last in {"accept", "listen"} else [])
    with pytest.raises(NameTaken):
        _names.claim_socket(name, card=b"")


def test_a_successor_which_says_nothing_does_not_keep_others_waiting(
    name: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its time, and then the next one is asked what it wants."""
    monkeypatch.setattr(handover, "PATIENCE_SECONDS", 0.05)
    with asking(name):
        claim = take_over(name)
    owner.thread.join(SECONDS)
    assert owner.handed_over
    claim.close()


def test_of_two_successors_at_once_one_is_refused(name: Path, owner: Owner) -> None:
    """Who asks while the name is being handed over is too late."""
    with asking(name) as first:
        close_all(offered(first))
        plan = claiming(name, kind="service", card=make_card("service"), mode=0o600, takeover=True)
        next(plan)  # it has asked, and waits for its answer
        lowlevel.send(first, ACCEPT)
        assert first.recv(8) == YOURS
        with pytest.raises(NameTaken, match="handing it over to another process already"):
            carry_out(plan, Clock(SECONDS), "not taken over")
    assert owner.accepts(name)


def test_an_owner_that_dies_in_the_middle_leaves_a_name_to_claim(name: Path) -> None:
    """Before it has offered anything, after it has, and after it was accepted: the successor claims the name anew."""
    for words in (0, 1, 2):
        claim = _names.claim_socket(name, card=make_card("service"))
        plan = claiming(name, kind="service", card=make_card("service"), mode=0o600, takeover=True)
        next(plan)
        with lowlevel.accept(claim.handover) as sock:
            assert lowlevel.poll_readable(sock.fileno()).poll(SECONDS * 1000)
            sock.setblocking(True)
            if words > 0:
                assert sock.recv(8) == TAKE
                lowlevel.send_descriptors(sock, OFFER, claim.descriptors())
            if words > 1:
                next(plan)
                assert sock.recv(8) == ACCEPT
        claim._forget()  # what is left of a killed process
        successor = carry_out(plan, Clock(SECONDS), "not taken over")
        sock, _ = _names.connect_socket(name)
        with sock, lowlevel.accept(successor.listener):
            pass
        successor.close()
        assert os.listdir(name.parent) == []


def test_an_owner_that_talks_nonsense_is_asked_again(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the time is over: whatever came with it is closed, and the name is its own."""
    monkeypatch.setattr(handover, "ANSWER_SECONDS", 0.05)
    claim = _names.claim_socket(name, card=make_card("service"))
    plan = claiming(name, kind="service", card=make_card("service"), mode=0o600, takeover=True)
    next(plan)
    with lowlevel.accept(claim.handover) as sock:
        lowlevel.send_descriptors(sock, b"nonsense", claim.descriptors())
    claim.handover.close()
    with pytest.raises(NameTaken, match="owned by process"):
        carry_out(plan, Clock(SECONDS), "not taken over")
    claim.close()


def test_an_owner_out_of_descriptors_hands_over_a_little_later(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks waits in the backlog meanwhile."""
    claim = _names.claim_socket(name, card=make_card("service"))
    giving = handing_over(claim)
    taking = claiming(name, kind="service", card=make_card("service"), mode=0o600, takeover=True)
    next(giving)
    next(taking)
    with monkeypatch.context() as patch:
        patch.setattr(lowlevel, "accept", fail_with_emfile)
        assert next(giving).fd is None
    thread = threading.Thread(target=carry_out, args=(giving, Clock(SECONDS), "no successor"))
    thread.start()
    successor = carry_out(taking, Clock(SECONDS), "not taken over")
    thread.join(SECONDS)
    claim.close()
    successor.close()
    assert os.listdir(name.parent) == []


def fail_with_emfile(listener: lowlevel.Socket) -> lowlevel.Socket:
    """No descriptor is left."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_what_cannot_be_inherited_is_closed(name: Path) -> None:
    """Also where there is not even a directory."""
    claim = _names.claim_socket(name, card=make_card("service"))
    one, two, three = map(os.dup, claim.descriptors())
    with pytest.raises(NameNotFound):
        _names.inherit_claim(name.parent / "missing" / "kitchen", (one, two, three), card=b"")
    claim.close()


def test_an_owner_that_ends_in_the_middle_leaves_a_name_to_claim(name: Path) -> None:
    """It has offered its descriptors, and then removes the name before it is answered."""
    claim = _names.claim_socket(name, card=make_card("service"))
    taking = claiming(name, kind="service", card=make_card("service"), mode=0o600, takeover=True)
    giving = handing_over(claim)
    next(giving)
    next(taking)
    next(giving)  # the offer
    claim.close()
    giving.close()
    successor = carry_out(taking, Clock(SECONDS), "not taken over")
    assert name.exists()
    successor.close()


def test_what_is_offered_is_looked_at(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors which are not the owner's lock and sockets, or a name that somebody has replaced, are not taken."""
    monkeypatch.setattr(handover, "ANSWER_SECONDS", 0.05)
    claim = _names.claim_socket(name, card=make_card("service"))
    listener, hand, lock = claim.descriptors()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for offer in ((null, hand, lock), (listener, null, lock), (listener, hand, null)):
        with pytest.raises(NameTaken):
            listener_fd, hand_fd, lock_fd = map(os.dup, offer)
            _names.inherit_claim(name, (listener_fd, hand_fd, lock_fd), card=b"")
    os.close(null)
    name.rename(name.with_name("moved"))
    lowlevel.unix_listen(name).close()
    with pytest.raises(NameTaken, match="somebody has replaced"):
        listener_fd, hand_fd, lock_fd = map(os.dup, claim.descriptors())
        _names.inherit_claim(name, (listener_fd, hand_fd, lock_fd), card=b"")
    claim.close()
    assert sorted(os.listdir(name.parent)) == ["kitchen", "moved"]


def test_an_owner_without_a_socket_for_successors_keeps_the_name(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has removed it: the successor tries for a time, and says whose the name is."""
    monkeypatch.setattr(handover, "ANSWER_SECONDS", 0.05)
    claim = _names.claim_socket(name, card=make_card("service"))
    name.with_name(".kitchen.handover").unlink()
    with pytest.raises(NameTaken, match=f"owned by process {os.getpid()}"):
        take_over(name)
    claim.close()


STRANGER_ASKS = """
    import os, socket, sys

    def ask():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(sys.argv[1])
            sock.send(b"take   1")
            return sock.recv(8)

    os.setuid(65_534)
    try:
        ask()
    except PermissionError:
        print("PermissionError", flush=True)
    input()
    try:
        print(ask(), flush=True)
    except (BrokenPipeError, ConnectionResetError):
        print(b"", flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_another_user_takes_nothing_over(child: Children) -> None:
    """The socket for successors is its owner's only, and the owner looks at who asks."""
    with shared_directory(0o777) as directory:
        owner = Owner(directory / "kitchen")
        owner.thread.start()
        stranger = child(STRANGER_ASKS, str(directory / ".kitchen.handover"))
        stranger.expect("PermissionError")
        (directory / ".kitchen.handover").chmod(0o666)
        stranger.say()
        stranger.expect("b''")
        take_over(directory / "kitchen").close()
        owner.thread.join(SECONDS)
        owner.claim.close()


KILLED_SUCCESSOR = """
    import os, signal, sys
    from namedipc._card import make_card
    from namedipc._shells.handover import claiming
    from namedipc._shells.waiting import Clock, carry_out

    def take_over(last_step):
        step = 0

        def trace(frame, event, argument):
            nonlocal step
            if "namedipc" not in frame.f_code.co_filename:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                step += 1
                if step == last_step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        plan = claiming(sys.argv[1], kind="service", card=make_card("service"), mode=0o600, takeover=True)
        sys._getframe().f_trace_opcodes = True  # Python 3.12 looks at it when the trace is set
        sys.settrace(trace)
        claim = carry_out(plan, Clock(20), "not taken over")
        sys.settrace(None)
        return step

    print("ready", flush=True)
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, str(take_over(int(line))).encode())
            os._exit(0)
        os.close(writer)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, os.read(reader, 100).decode() or 0, flush=True)
        os.close(reader)
"""


def test_a_successor_may_be_killed_at_any_step(name: Path, child: Children) -> None:
    """Either the owner serves on, or the name is free to be claimed: never is there nobody who could."""
    starter = child(KILLED_SUCCESSOR, str(name))
    starter.expect("ready")
    steps, endings = 0, set()
    for point in range(20):
        owner = Owner(name)
        owner.thread.start()
        starter.say(str(steps * point // 19))
        status, reached = map(int, starter.read_line().split())
        steps = steps or reached
        assert status in {0, -9}
        owner.settle()
        if owner.thread.is_alive():
            endings.add("the owner's")
            assert owner.accepts(name)
            claim = take_over(name)
            owner.thread.join(SECONDS)
            owner.claim.close()
        else:
            endings.add("free")
            owner.claim.close()
            claim = _names.claim_socket(name, card=b"")
        claim.close()
        assert os.listdir(name.parent) == []
    assert steps > 500
    assert endings == {"the owner's", "free"}
