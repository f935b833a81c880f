"""Channel.meet: whoever comes first, exactly two become a pair, and the name is free again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import pytest
import trio
import trio.testing

from namedipc import _names, lowlevel
from namedipc._channel import Channel, RawChannel
from namedipc._channel_blocking import BlockingConnection
from namedipc._errors import (
    ConnectionLost,
    EndOfChannel,
    LimitReached,
    NameNotFound,
    NotAllowed,
    SchemaMismatch,
    TimedOut,
    WrongKind,
)
from namedipc._protocol.hello import SERVICE, Hello
from namedipc._shells import meeting as module
from namedipc._shells.connecting import Pause
from namedipc._shells.meeting import Rules
from namedipc._shells.message_link import MessageLink
from namedipc._shells.waiting import Clock, carry_out
from namedipc._values import Allow, Limits, same_user, users

from .channel_support import DEFAULT, Background, fork, run_in_fork
from .conftest import Children
from .kill_support import killed_at
from .names_support import NOBODY, make_file, shared_directory

pytestmark = pytest.mark.usefixtures("no_leaks")

Plan = Generator[Pause, None, MessageLink]
M = TypeVar("M")

KILL_STEP = 1000
"""Bytecodes from one point of a kill to the next; the whole way has some thousands."""


@pytest.fixture
def numbers(tmp_path: Path) -> Channel[int]:
    """A channel of numbers, alone in its directory."""
    return Channel(tmp_path / "numbers", int)


def beside(channel: Channel[M]) -> list[str]:
    """What stands in the directory of the name."""
    return sorted(os.listdir(channel.path.parent))


def plan_of(
    channel: Channel[M], *, wait_seconds: float = 1000.0, allow: Allow = same_user, limits: Limits = DEFAULT
) -> Plan:
    """Return one side's plan, to be carried out step by step."""
    return channel._meeting(Rules(wait_seconds, allow, limits, 0o600))


def outcome(plan: Plan) -> MessageLink:
    """The plan has to be at its end."""
    with pytest.raises(StopIteration) as done:
        next(plan)
    link = done.value.value
    assert isinstance(link, MessageLink)
    return link


def meet_in_trio(channel: Channel[M], mine: M) -> M:
    """Meet, exchange one message, and return the other's."""

    async def main() -> M:
        async with channel.meet(wait_seconds=20) as end:
            await end.send(mine)
            return await end.receive()

    return trio.run(main)


def meet_blocking(channel: Channel[M], mine: M) -> M:
    """The same without trio."""
    with channel.meet(wait_seconds=20) as end:
        end.send(mine)
        return end.receive(timeout=20)


# ------------------------------------------------------------ pairs


@pytest.mark.parametrize(("processes", "rounds"), [(2, 6), (8, 3)])
def test_processes_become_pairs(tmp_path: Path, processes: int, rounds: int) -> None:
    """Each has one partner, which has it, in both worlds mixed; and nothing is left, for the next ones."""
    channel = Channel(tmp_path / "pairs" / "name", int)
    channel.path.parent.mkdir()
    for turn in range(rounds):
        told, tells = os.pipe()
        children = []
        for number in range(processes):
            pid = fork()
            if pid == 0:
                status = 1
                try:
                    meet = meet_in_trio if (number + turn) % 2 else meet_blocking
                    os.write(tells, b"%d %d\n" % (number, meet(channel, number)))
                    status = 0
                finally:
                    os._exit(status)
            children.append(pid)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * processes
        os.close(tells)
        with os.fdopen(told) as lines:
            partner = {int(mine): int(other) for mine, other in map(str.split, lines)}
        assert sorted(partner) == list(range(processes))
        assert all(partner[number] != number == partner[partner[number]] for number in partner)
        assert beside(channel) == []


async def test_tasks_of_one_process_meet(numbers: Channel[int]) -> None:
    """Six of them, and as many of its threads: six pairs."""
    found: dict[int, int] = {}

    async def in_task(number: int) -> None:
        async with numbers.meet() as end:
            await end.send(number)
            found[number] = await end.receive()

    async def in_thread(number: int) -> None:
        found[number] = await trio.to_thread.run_sync(meet_blocking, numbers, number)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(in_task, number)
                nursery.start_soon(in_thread, -number - 1)
    assert len(found) == 12
    assert all(found[found[number]] == number for number in found)
    assert beside(numbers) == []


def test_who_waits_behind_a_pair_begins_anew(numbers: Channel[int]) -> None:
    """The listener answers one; the other sees the end, owns the name next, and meets a fourth."""
    first, second, third, fourth = (plan_of(numbers) for _ in range(4))
    listening = next(first)
    assert listening.fd is not None
    assert not lowlevel.wait_ready(listening.fd, timeout_seconds=0)
    for plan in (second, third):
        next(plan)  # has connected, and waits for a hello
    assert lowlevel.wait_ready(listening.fd, timeout_seconds=0)
    links = [outcome(first), outcome(second)]
    assert beside(numbers) == []
    next(third)  # pauses
    next(third)
    assert beside(numbers) == [".numbers.handover", ".numbers.lock", "numbers"]
    next(fourth)
    links += [outcome(third), outcome(fourth)]
    assert beside(numbers) == []
    for link in links:
        link.close()


def test_it_meets_who_listens_or_connects(numbers: Channel[int]) -> None:
    """The verbs for those who know who comes first go together with it; the owner of the name stays the owner."""
    with numbers.listen() as listener:
        meeting = Background(partial(meet_blocking, numbers, 1))
        with listener.accept(timeout=20) as end:
            assert end.receive(timeout=20) == 1
            end.send(2)
            assert meeting.result() == 2
        assert numbers.exists()
    meeting = Background(partial(meet_blocking, numbers, 3))
    with numbers.connect(wait_seconds=20) as end:
        end.send(4)
        assert end.receive(timeout=20) == 3
    assert meeting.result() == 4
    assert beside(numbers) == []


def test_a_long_description_of_the_type(tmp_path: Path) -> None:
    """Longer than the sockets take at once: each side writes while the other reads."""
    word = "x" * 300_000
    channel: Channel[str] = Channel(tmp_path / "long", Literal[word, "y"])  # type: ignore[arg-type]  # made here
    other = Background(partial(meet_blocking, channel, "y"))
    assert meet_blocking(channel, word) == "y"
    assert other.result() == word


# ------------------------------------------------------------ nobody


def test_nobody_comes(numbers: Channel[int]) -> None:
    """An error with the path and the time, and nothing is left; also at once."""
    for seconds in (0, 0.02):
        with pytest.raises(TimedOut, match=f"^{numbers.path}: nobody to meet has come within {seconds} seconds$"):
            numbers.meet(wait_seconds=seconds).__enter__()
        assert beside(numbers) == []


def test_no_time_is_enough_for_who_is_there(numbers: Channel[int]) -> None:
    """Who waits is met, for it has the time of a handshake to answer."""
    first, second = plan_of(numbers), plan_of(numbers, wait_seconds=0.0)
    next(first)
    assert next(second).seconds > 1
    for link in (outcome(first), outcome(second)):
        link.close()


def test_who_listens_does_not_answer(numbers: Channel[int]) -> None:
    """The error says who that is."""
    limits = Limits(handshake_seconds=0.02)
    with (
        lowlevel.unix_listen(numbers.path),
        pytest.raises(TimedOut, match=f"process {os.getpid()} listens there, and has not answered within 0.02 seconds"),
    ):
        numbers.meet(wait_seconds=0, limits=limits).__enter__()
    numbers.remove()


def test_who_is_about_to_begin_or_end_is_asked_again(numbers: Channel[int]) -> None:
    """Its lock is there, and nobody to connect to: a pause, ever longer, until it is."""
    place = _names.claim_socket(numbers.path, card=b"")
    os.unlink(numbers.path)
    plan = plan_of(numbers)
    pauses = [next(plan) for _ in range(8)]
    assert {pause.fd for pause in pauses} == {None}
    assert [pause.seconds for pause in pauses] == [0.002, 0.004, 0.008, 0.016, 0.032, 0.05, 0.05, 0.05]
    place.close()
    assert next(plan).fd is not None
    plan.close()
    assert beside(numbers) == []


async def test_cancelled_while_it_waits(numbers: Channel[int], autojump_clock: trio.testing.MockClock) -> None:
    """As the first or as the second, nothing is left, and others meet."""
    with trio.move_on_after(5) as scope:
        await numbers.meet().__aenter__()
    assert scope.cancelled_caught
    assert beside(numbers) == []
    with lowlevel.unix_listen(numbers.path), trio.move_on_after(5) as scope:
        await numbers.meet().__aenter__()
    assert scope.cancelled_caught
    numbers.remove()
    first = plan_of(numbers)
    next(first)
    with trio.CancelScope() as scope:
        scope.cancel()
        await numbers.meet().__aenter__()
    second = plan_of(numbers)
    next(second)
    for link in (outcome(first), outcome(second)):
        link.close()


# ------------------------------------------------------------ who is not the partner


@pytest.mark.parametrize("words", [b"", b"N", b"GET / HTTP/1.1\r\n", bytes(100)])
def test_a_peer_that_is_no_partner(numbers: Channel[int], words: bytes) -> None:
    """Silent, slow, or speaking something else: it hears nothing but the end, and the next one is met."""
    first = plan_of(numbers, limits=Limits(handshake_seconds=0.02))
    next(first)
    with lowlevel.unix_connect(numbers.path) as stranger:
        stranger.sendall(words)
        pause = next(first)
        while pause.seconds <= 0.02:  # it waits for the rest of the hello
            assert not lowlevel.wait_ready(stranger.fileno(), timeout_seconds=pause.seconds)
            pause = next(first)
        try:
            assert stranger.recv(1) == b""
        except ConnectionResetError:
            assert len(words) > 1  # which it had not read
    second = plan_of(numbers)
    next(second)
    for link in (outcome(first), outcome(second)):
        link.close()


def test_a_peer_that_has_gone(numbers: Channel[int]) -> None:
    """Before its hello, or after: the next one is met."""
    first = plan_of(numbers)
    next(first)
    for words in (b"", numbers._conversation.session(Limits()).opening):
        with lowlevel.unix_connect(numbers.path) as stranger:
            stranger.sendall(words)
    assert next(first).seconds > 100
    second = plan_of(numbers)
    next(second)
    for link in (outcome(first), outcome(second)):
        link.close()


def test_the_rules(numbers: Channel[int]) -> None:
    """Whom the first's rule refuses is told, and waited on from there; whom the second's refuses never hears of it."""
    asked: list[object] = []

    def not_the_first(peer: object) -> bool:
        asked.append(peer)
        return len(asked) > 1

    first, second, fourth = plan_of(numbers, allow=not_the_first), plan_of(numbers), plan_of(numbers)
    next(first)
    next(second)
    next(first)
    with pytest.raises(NotAllowed, match=f"^{numbers.path}: the listener does not take user"):
        next(second)
    with pytest.raises(NotAllowed, match="which this side's 'allow' rule refuses"):
        next(plan_of(numbers, allow=lambda _: False))
    next(first)
    next(fourth)
    for link in (outcome(first), outcome(fourth)):
        link.close()


def test_who_may_not_own_the_name(numbers: Channel[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """It can still be the second; where nobody listens it is told why it cannot be the first, at once or soon."""
    monkeypatch.setattr(module, "BARRED_SECONDS", 0.02)
    first = plan_of(numbers)
    next(first)
    with monkeypatch.context() as patch:
        patch.setattr(_names, "claim_socket", may_not)
        second, third = plan_of(numbers), plan_of(numbers)
        next(second)
        next(third)
        links = [outcome(first), outcome(second)]
        assert next(third).fd is None  # whom it had found has just gone, so somebody else may come
        with pytest.raises(NotAllowed, match="may not write"):
            for pause in third:
                assert pause.fd is None
        with pytest.raises(NotAllowed, match="may not write"):
            numbers.meet(wait_seconds=0).__enter__()
    for link in links:
        link.close()


def may_not(path: Path, **_: object) -> NoReturn:
    """Stands in for the claim of a name which another user owns."""
    raise NotAllowed(f"{path}: this user may not write there")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("root_is_first", [True, False])
def test_two_users(child: Children, *, root_is_first: bool) -> None:
    """Whoever comes first, where both let each other in."""
    script = f"""
        import os, sys
        from namedipc import Channel, users

        os.setgroups([])
        os.setgid({NOBODY})
        os.setuid({NOBODY})
        print("ready", flush=True)
        with Channel(sys.argv[1], int).meet(wait_seconds=20, allow=users(0), mode=0o666) as end:
            end.send(os.geteuid())
            print(end.receive(timeout=20), flush=True)
    """
    with shared_directory(0o1777) as directory:
        channel = Channel(directory / "name", int)
        rules = Rules(20.0, users(NOBODY), DEFAULT, 0o666)
        plan = channel._meeting(rules)
        if root_is_first:
            next(plan)
        other = child(script, str(channel.path))
        other.expect("ready")
        while not channel.exists():
            os.sched_yield()
        link = carry_out(plan, Clock(None), "")
        with BlockingConnection(link, channel._codec) as end:
            assert end.peer.uid == end.receive(timeout=20) == NOBODY
            end.send(5)
            other.expect("5")
        assert other.wait() == 0
        assert beside(channel) == []


def test_a_listener_that_is_full(numbers: Channel[int]) -> None:
    """It is no other one's partner."""
    with (
        numbers.listen(limits=Limits(clients=1)) as listener,
        numbers.connect(),
        listener.accept(timeout=20),
    ):
        plan = plan_of(numbers)
        next(plan)
        with pytest.raises(TimedOut):
            listener.accept(timeout=0)
        with pytest.raises(LimitReached, match=f"{numbers.path}: the listener has 1 connections already"):
            next(plan)


def test_another_type(numbers: Channel[int]) -> None:
    """Both are told, each in its own words, whoever came first; then the name is free."""
    for texts_first in (False, True):
        of_numbers, of_texts = plan_of(numbers), plan_of(Channel(numbers.path, str))
        order = [(of_numbers, "int here, str there"), (of_texts, "str here, int there")]
        if texts_first:
            order.reverse()
        for plan, _ in order:
            next(plan)
        for plan, words in order:
            with pytest.raises(SchemaMismatch, match=f"^{numbers.path}: {words}"):
                next(plan)
        assert beside(numbers) == []


def test_another_kind(numbers: Channel[int], tmp_path: Path) -> None:
    """A file, a raw channel, and a client of a service, which finds out as well."""
    make_file(tmp_path / "file")
    with pytest.raises(WrongKind):
        numbers.at(tmp_path / "file").meet().__enter__()
    with RawChannel(numbers.path).listen(), pytest.raises(WrongKind, match="serves a raw channel there, not a channel"):
        numbers.meet().__enter__()
    first = plan_of(numbers)
    next(first)
    with lowlevel.unix_connect(numbers.path) as client:
        client.sendall(Hello(SERVICE, 1, bytes(16)).pack())
        with pytest.raises(WrongKind, match=f"^{numbers.path}: the other side is a service, this side is a channel"):
            next(first)
        assert client.recv(5) == b"NIPC\x01"


def test_no_directory(tmp_path: Path) -> None:
    """It is not waited for."""
    with pytest.raises(NameNotFound):
        Channel(tmp_path / "missing" / "name", int).meet().__enter__()


def test_out_of_descriptors(numbers: Channel[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has come waits in the backlog for a moment."""
    first, second = plan_of(numbers), plan_of(numbers)
    next(first)
    next(second)

    def fail(_: lowlevel.Socket) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(lowlevel, "accept", fail)
        pause = next(first)
    assert pause.fd is None
    assert 0 < pause.seconds < 1
    for link in (outcome(first), outcome(second)):
        link.close()


# ------------------------------------------------------------ kills


@pytest.mark.parametrize("victim_is_first", [True, False])
def test_killed_at_any_point(tmp_path: Path, *, victim_is_first: bool) -> None:
    """Who meets the victim learns that it has gone, and meets somebody else."""
    words = Channel(tmp_path / "place" / "words", str)
    words.path.parent.mkdir()

    def survive() -> None:
        while True:
            with words.meet(wait_seconds=20) as end:
                try:
                    word = end.receive(timeout=20)
                except (ConnectionLost, EndOfChannel):
                    continue
                if word == "from the third":
                    end.send("from the survivor")
                    return

    def be_killed(channel: Channel[str]) -> None:
        with channel.meet(wait_seconds=20) as end:
            end.send("from the victim")

    def start(action: Callable[[], object]) -> int:
        pid = fork()
        if pid == 0:
            os._exit(run_in_fork(action))
        return pid

    point, ended = 0, False
    while not ended:
        point += KILL_STEP
        survivor = -1 if victim_is_first else start(survive)
        while not (victim_is_first or words.exists()):
            os.sched_yield()
        victim = fork()
        if victim == 0:
            killed_at(point, be_killed, words)
            os._exit(0)
        status: tuple[int, int] = (0, 0)
        while victim_is_first and not words.exists() and not status[0]:
            status = os.waitpid(victim, os.WNOHANG)
        if victim_is_first:
            survivor = start(survive)
        if not status[0]:
            status = os.waitpid(victim, 0)
        ended = status[1] == 0
        with words.meet(wait_seconds=20) as end:
            end.send("from the third")
            assert end.receive(timeout=20) == "from the survivor"
        assert os.waitpid(survivor, 0)[1] == 0
        assert beside(words) == []
    assert point > 4 * KILL_STEP
