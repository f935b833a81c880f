"""Service: serving in both worlds, what its name promises, and how it ends."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import stat
import threading
import time
from pathlib import Path
from typing import Protocol

import attrs
import pytest
import trio
import trio.testing

from namedipc import (
    Channel,
    Closed,
    ConnectionLost,
    DeclarationError,
    LimitReached,
    Limits,
    NameNotFound,
    NameTaken,
    NoServer,
    NotAllowed,
    RemoteError,
    SchemaMismatch,
    Service,
    TooLarge,
    WrongKind,
    current_call,
    one_way,
    raises,
)

from .conftest import Children
from .kitchen import SERVER_SCRIPT, Chef, Kitchen, Order

pytestmark = pytest.mark.usefixtures("no_leaks")


def kitchen_at(tmp_path: Path) -> Service[Kitchen]:
    """The kitchen of a test."""
    return Service(tmp_path / "kitchen", Kitchen)


async def test_a_call_goes_there_and_back(tmp_path: Path) -> None:
    """Arguments by place, by name and left out arrive as they are; the result comes back typed."""
    service = kitchen_at(tmp_path)
    async with service.serve(Chef()), service.connect() as kitchen:
        assert await kitchen.cook(Order(4, "soup")) == "soup for 4"
        assert await kitchen.cook(order=Order(4, "soup"), salt=True) == "soup for 4 with salt"


async def test_the_name_lives_as_long_as_the_with(tmp_path: Path) -> None:
    """The socket has mode 0600 while it is served, and nothing is left afterwards."""
    service = kitchen_at(tmp_path)
    assert not service.exists()
    async with service.serve(Chef()) as server:
        assert service.exists()
        assert server.path == tmp_path / "kitchen"
        assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o600
    assert os.listdir(tmp_path) == []


async def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    """The name of a living owner is NameTaken, and the owner notices nothing."""
    service = kitchen_at(tmp_path)
    async with service.serve(Chef()), service.connect() as kitchen:
        with pytest.raises(NameTaken, match="kitchen"):
            async with service.serve(Chef()):
                pass
        assert await kitchen.pid() == os.getpid()


def test_a_killed_owner_leaves_a_name_that_can_be_claimed_at_once(tmp_path: Path, child: Children) -> None:
    """SIGKILL of the owner: its client learns it at once, and the next owner has the name."""
    service = kitchen_at(tmp_path)
    owner = child(SERVER_SCRIPT, str(service.path))
    owner.expect("ready")
    with service.connect() as kitchen:
        assert kitchen.call(Kitchen.pid) == owner.pid
        owner.kill()
        with pytest.raises(ConnectionLost, match="went away"):
            kitchen.call(Kitchen.pid)
    with pytest.raises(NoServer, match="kitchen"), service.connect():
        pass
    with service.serve(Chef()), service.connect() as kitchen:
        assert kitchen.call(Kitchen.pid) == os.getpid()


def test_a_lost_server_fails_every_call_in_flight(tmp_path: Path, child: Children) -> None:
    """Each of several calls in flight ends with ConnectionLost, which names the calls whose fate is unknown."""
    service = kitchen_at(tmp_path)
    owner = child(SERVER_SCRIPT, str(service.path))
    owner.expect("ready")
    lost: list[tuple[str, ...]] = []

    async def wait(kitchen: Kitchen) -> None:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await kitchen.simmer("never")
        assert isinstance(caught.value, ConnectionLost)
        lost.append(caught.value.calls)

    async def main() -> None:
        async with service.connect() as kitchen, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait, kitchen)
            await trio.testing.wait_all_tasks_blocked()
            assert await kitchen.cook(Order(1, "soup")) == "soup for 1"
            owner.kill()

    trio.run(main)
    assert len(lost) == 3
    assert lost[0] == ("Kitchen.simmer",) * 3


PATIENT_SCRIPT = """
    import sys
    import trio
    from namedipc import Service
    from tests.kitchen import Chef, Kitchen

    class Patient(Chef):
        async def simmer(self, name):
            print("simmering", flush=True)
            return await trio.to_thread.run_sync(input)

    Service(sys.argv[1], Kitchen).run(Patient(), ready=lambda server: print("ready", flush=True))
    print("drained", flush=True)
"""


def test_sigterm_drains_a_main_program(tmp_path: Path, child: Children) -> None:
    """SIGTERM: the call in flight is answered, later ones are not run, the name is removed, the status is 0."""
    service = kitchen_at(tmp_path)
    owner = child(PATIENT_SCRIPT, str(service.path))
    owner.expect("ready")

    async def main() -> None:
        results: list[str] = []

        async def simmer(kitchen: Kitchen) -> None:
            results.append(await kitchen.simmer("stew"))

        async with service.connect() as kitchen:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(simmer, kitchen)
                await trio.to_thread.run_sync(owner.expect, "simmering")
                os.kill(owner.pid, signal.SIGTERM)
                with trio.fail_after(10):
                    while service.exists():
                        await trio.sleep(0.001)
                with pytest.raises(NoServer, match="not run"):
                    await kitchen.pid()
                owner.say("done")
            assert results == ["done"]

    trio.run(main)
    owner.expect("drained")
    assert owner.wait() == 0
    assert os.listdir(tmp_path) == []


async def test_leaving_the_with_lets_calls_in_flight_finish(tmp_path: Path) -> None:
    """A call that is being handled when the body ends is answered before the connection closes."""
    service = kitchen_at(tmp_path)
    chef = Chef()
    answers: list[str] = []
    done = trio.Event()

    async def call() -> None:
        async with service.connect() as kitchen:
            answers.append(await kitchen.simmer("stew"))
        done.set()

    async with trio.open_nursery() as nursery:
        async with service.serve(chef):
            nursery.start_soon(call)
            await chef.arrived.wait()
            nursery.start_soon(release_when_gone, service, chef)
        await done.wait()
    assert answers == ["stew"]
    assert chef.cancelled == []


async def release_when_gone(service: Service[Kitchen], chef: Chef) -> None:
    """Let the stew go once the service has begun to drain, which removes the name."""
    while service.exists():
        await trio.sleep(0.001)
    await chef.release("stew")


async def test_calls_that_outlive_the_grace_are_cancelled(tmp_path: Path) -> None:
    """After `drain_seconds` the handler is cancelled and its caller learns that."""
    service = kitchen_at(tmp_path)
    chef = Chef()

    async def call() -> None:
        async with service.connect() as kitchen:
            with pytest.raises(ConnectionLost, match="cancelled"):
                await kitchen.simmer("stew")

    async with trio.open_nursery() as nursery, service.serve(chef, drain_seconds=0.01):
        nursery.start_soon(call)
        await chef.arrived.wait()
    assert chef.cancelled == ["stew"]


async def test_an_error_of_the_body_comes_out_as_it_is(tmp_path: Path) -> None:
    """No group around the body's exception, and no grace: the handler is cancelled at once."""
    service = kitchen_at(tmp_path)
    chef = Chef()
    error = KeyError("mine")
    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError) as caught:  # the body is the test
            async with service.serve(chef, drain_seconds=60):
                nursery.start_soon(expect_lost, service)
                await chef.arrived.wait()
                raise error
    assert caught.value is error
    assert chef.cancelled == ["stew"]
    assert os.listdir(tmp_path) == []


async def expect_lost(service: Service[Kitchen]) -> None:
    """A call whose server goes away."""
    async with service.connect() as kitchen:
        with pytest.raises(ConnectionLost):
            await kitchen.simmer("stew")


async def test_a_stray_cancellation_is_an_error_of_its_call(tmp_path: Path) -> None:
    """A Cancelled that belongs to no scope around the handler ends its call only, and says where such come from."""

    class Stray(Chef):
        async def burn(self, text: str) -> None:
            stray = None
            with trio.CancelScope() as scope:
                scope.cancel()
                try:
                    await trio.lowlevel.checkpoint()
                except trio.Cancelled as error:
                    stray = error
                    raise
            await trio.lowlevel.checkpoint()
            assert stray is not None
            raise stray

    service = kitchen_at(tmp_path)
    async with service.serve(Stray()), service.connect() as kitchen:
        with pytest.raises(RemoteError, match="as_safe_channel"):
            await kitchen.burn("")
        assert await kitchen.pid() == os.getpid()


@pytest.mark.parametrize("waits", [False, True])
async def test_an_interrupt_in_a_handler_comes_out(tmp_path: Path, waits: bool) -> None:
    """KeyboardInterrupt is nobody's answer: it ends the service, and comes out of the `with` as it is."""

    class Interrupted(Chef):
        async def pid(self) -> int:
            if waits:
                await trio.lowlevel.checkpoint()
            raise KeyboardInterrupt

    service = kitchen_at(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        async with service.serve(Interrupted()), service.connect() as kitchen:
            await kitchen.pid()
    assert os.listdir(tmp_path) == []


async def test_a_cancelled_body_leaves_nothing(tmp_path: Path) -> None:
    """A deadline around the `with` ends the service, quietly and completely."""
    service = kitchen_at(tmp_path)
    with trio.move_on_after(0.01) as scope:
        async with service.serve(Chef()):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert os.listdir(tmp_path) == []


async def test_draining_does_not_cancel_the_body(tmp_path: Path) -> None:
    """After `drain` the body goes on; `wait_closed` returns; a client is told."""
    service = kitchen_at(tmp_path)
    async with service.serve(Chef()) as server:
        async with service.connect() as kitchen:
            assert await kitchen.pid() == os.getpid()
            await server.drain()
            with pytest.raises(ConnectionLost, match="shut down"):
                await kitchen.pid()
        await server.wait_closed()
        await trio.lowlevel.checkpoint()
        assert os.listdir(tmp_path) == []


def test_serving_in_a_thread_of_blocking_code(tmp_path: Path) -> None:
    """`with service.serve(...)`: served by a thread, asked and drained from here; several threads call."""
    service = kitchen_at(tmp_path)
    with service.serve(Chef()) as server:
        assert server.path == tmp_path / "kitchen"
        with service.connect(timeout=10) as kitchen:
            results: list[str] = []

            def work(table: int) -> None:
                results.extend(kitchen.call(Kitchen.cook, Order(table, "pie")) for _ in range(50))

            threads = [threading.Thread(target=work, args=(table,)) for table in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(results) == sorted(f"pie for {table}" for table in range(4) for _ in range(50))
            assert [peer.pid for peer in server.peers()] == [os.getpid()]
            statistics = server.statistics()
            assert (statistics.clients, statistics.calls, statistics.errors) == (1, 200, 0)
            server.drain()
            server.wait_closed(timeout=10)
            with pytest.raises(ConnectionLost):
                kitchen.call(Kitchen.pid)
    assert os.listdir(tmp_path) == []


def test_a_forked_child_leaves_the_parent_s_service_alone(tmp_path: Path) -> None:
    """A child that was forked inside of the `with`, and leaves it: the parent's service and name go on."""
    service = kitchen_at(tmp_path)
    with service.serve(Chef()) as server:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with contextlib.suppress(Closed):
                    server.statistics()
                    os._exit(2)
                server.drain()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with service.connect() as kitchen:
            assert kitchen.call(Kitchen.pid) == os.getpid()


FORKING_SCRIPT = """
    import os, sys, threading
    from namedipc import Service
    from tests.kitchen import Kitchen
    with Service(sys.argv[1], Kitchen).connect() as kitchen:
        kitchen.call(Kitchen.pid)
        if os.fork() == 0:
            sys.stdin.readline()
            os._exit(0)
        threading.Thread(target=kitchen.call, args=(Kitchen.simmer, "forked")).start()
        while not kitchen.statistics().messages_sent > 1:
            pass
        kitchen.call(Kitchen.pid)
        print("simmering", flush=True)
        sys.stdin.readline()
"""


def test_a_fork_does_not_hide_the_parent_s_end(tmp_path: Path, child: Children) -> None:
    """A client is killed whose forked child lives on: the service sees it go, and cancels its call, at once."""
    service = kitchen_at(tmp_path)
    chef = Chef()
    with service.serve(chef):
        client = child(FORKING_SCRIPT, str(service.path))
        client.expect("simmering")
        client.kill()
        deadline = time.monotonic() + 20
        while chef.cancelled != ["forked"]:
            assert time.monotonic() < deadline, "the forked child's copy of the socket keeps the connection open"
            time.sleep(0.001)


def test_an_error_in_the_blocking_body_comes_out_as_it_is(tmp_path: Path) -> None:
    """The body's own exception, not one of the thread's."""
    service = kitchen_at(tmp_path)
    with pytest.raises(KeyError, match="mine"), service.serve(Chef()):
        raise KeyError("mine")
    assert os.listdir(tmp_path) == []


def test_what_opening_raises_in_the_thread_is_raised_here(tmp_path: Path) -> None:
    """A name in a missing directory, served from blocking code."""
    service = Service(tmp_path / "missing" / "kitchen", Kitchen)
    with pytest.raises(NameNotFound, match="missing"), service.serve(Chef()):
        pass


async def test_an_implementation_is_checked_when_it_is_served(tmp_path: Path) -> None:
    """A class instead of an object, a missing method, another signature: said before the name is touched."""

    class Lazy(Kitchen):
        pass

    class Short(Chef):
        async def cook(self, order: Order) -> str:  # type: ignore[override]  # the mistake under test
            return ""

    service = kitchen_at(tmp_path)
    for wrong, text in (
        (Chef, r"give an instance: Chef\(\)"),
        (Lazy(), "inherits the interface's empty body"),  # type: ignore[abstract]  # the mistake under test
        (object(), "there is no method of that name"),
        (Short(), "cook does not take what Kitchen.cook declares"),
    ):
        with pytest.raises(DeclarationError, match=text):
            service.serve(wrong)  # type: ignore[arg-type]  # the mistake under test
    assert os.listdir(tmp_path) == []


async def test_who_is_not_allowed_is_told(tmp_path: Path) -> None:
    """A rule of the service refuses with NotAllowed before a handler runs; so does a rule of the client."""
    service = kitchen_at(tmp_path)
    chef = Chef()
    async with service.serve(chef, allow=lambda peer: False):
        async with service.connect() as kitchen:
            with pytest.raises(NotAllowed, match="does not serve user"):
                await kitchen.ask()
        with pytest.raises(NotAllowed, match="'allow' rule refuses"):
            async with service.connect(allow=lambda peer: False):
                pass
    assert chef.seen == []


async def test_one_client_too_many_is_told_and_the_others_notice_nothing(tmp_path: Path) -> None:
    """LimitReached for the client above `clients`, and a place is free again when one leaves."""
    service = kitchen_at(tmp_path)
    async with service.serve(Chef(), limits=Limits(clients=1)):
        async with service.connect() as first:
            assert await first.pid() == os.getpid()
            async with service.connect() as second:
                with pytest.raises(LimitReached, match="1 clients already"):
                    await second.pid()
            assert await first.pid() == os.getpid()
        async with service.connect() as third:
            assert await third.pid() == os.getpid()


async def test_arguments_and_results_above_the_limit_are_refused(tmp_path: Path) -> None:
    """TooLarge before a byte leaves, in the very first call too; the connection goes on."""
    service = kitchen_at(tmp_path)
    async with service.serve(Chef(), limits=Limits(message_bytes=8192)), service.connect() as kitchen:
        with pytest.raises(TooLarge, match="the service accepts 8192"):
            await kitchen.echo(b"x" * 9000)
        assert await kitchen.echo(b"x" * 8000) == b"x" * 8000


async def test_messages_of_a_megabyte_go_both_ways(tmp_path: Path) -> None:
    """What does not fit into the socket's buffer arrives whole."""
    service = kitchen_at(tmp_path)
    data = os.urandom(1_000_000)
    async with service.serve(Chef()), service.connect() as kitchen:
        async with trio.open_nursery() as nursery:

            async def one() -> None:
                assert await kitchen.echo(data) == data

            for _ in range(4):
                nursery.start_soon(one)
        assert await kitchen.pid() == os.getpid()


async def test_each_call_has_a_context_of_its_own(tmp_path: Path) -> None:
    """A context variable that a handler sets is not seen by the next call, also after it has waited."""
    service = kitchen_at(tmp_path)
    async with service.serve(Chef()), service.connect() as kitchen:
        assert [await kitchen.remember(value) for value in ("a", "b", "c")] == ["none"] * 3


async def test_a_handler_knows_who_calls_and_until_when(tmp_path: Path) -> None:
    """current_call() has the method, the caller's identity and its deadline; outside of a handler it is an error."""
    service = kitchen_at(tmp_path)
    async with service.serve(Chef()), service.connect() as kitchen:
        assert await kitchen.ask() == ("ask", os.getpid(), float("inf"))
        with trio.fail_after(50):
            _, _, deadline = await kitchen.ask()
        assert deadline != float("inf")
    with pytest.raises(RuntimeError, match="no call is being handled"):
        current_call()


async def test_a_remote_exception_is_a_remote_error(tmp_path: Path) -> None:
    """It has the class's name, the text and the traceback there, and pickles."""
    service = kitchen_at(tmp_path)
    async with service.serve(Chef()), service.connect() as kitchen:
        with pytest.raises(RemoteError, match=r"Kitchen.burn: ValueError: too hot") as caught:
            await kitchen.burn("too hot")
        copy = pickle.loads(pickle.dumps(caught.value))
        for error in (caught.value, copy):
            assert (error.type_name, error.message) == ("ValueError", "too hot")
            assert "raise ValueError(text)" in error.traceback_text
        assert await kitchen.pid() == os.getpid()


@attrs.define
class Refusal(Exception):
    """An exception with fields."""

    why: str
    times: int = 1


async def test_a_declared_exception_arrives_with_its_fields(tmp_path: Path) -> None:
    """One whose fields do not fit says so, and a text of any length arrives; the connection goes on."""

    class Counter(Protocol):
        @raises(Refusal, ValueError)
        async def ask(self, why: str) -> int: ...

    class Refuses:
        async def ask(self, why: str) -> int:
            if not why:
                raise ValueError("\udcff" + "x" * 100_000)
            raise Refusal(why, 3)

    service = Service(tmp_path / "counter", Counter)
    async with service.serve(Refuses()), service.connect() as counter:
        with pytest.raises(TooLarge, match=r"an exception of Counter\.ask: the fields of Refusal take 700\d\d bytes"):
            await counter.ask("x" * 70_000)
        with pytest.raises(ValueError, match=r"^\.\.\. x+") as long:
            await counter.ask("")
        assert type(long.value) is ValueError
        with pytest.raises(Refusal) as caught:
            await counter.ask("closed")
        assert (caught.value.why, caught.value.times) == ("closed", 3)


async def test_a_result_of_another_type_is_the_service_s_mistake(tmp_path: Path) -> None:
    """The caller gets InvalidMessage which names the method; nothing of a wrong type comes out."""

    class Wrong(Chef):
        async def pid(self) -> int:
            return "not a number"  # type: ignore[return-value]  # the mistake under test

    service = kitchen_at(tmp_path)
    async with service.serve(Wrong()), service.connect() as kitchen:
        with pytest.raises(ValueError, match=r"the result of Kitchen\.pid"):
            await kitchen.pid()


class Older(Protocol):
    """What a client knows that was written before the kitchen grew."""

    async def pid(self) -> int:
        """Tell."""
        ...

    async def cook(self, order: Order) -> str:
        """Cook."""
        ...


class Newer(Kitchen, Protocol):
    """What a client expects that the kitchen does not have yet."""

    async def dance(self) -> None:
        """Dance."""
        ...


class Different(Protocol):
    """Another interface under the same name."""

    async def pid(self) -> str:
        """Tell."""
        ...


async def test_a_compatible_client_connects(tmp_path: Path) -> None:
    """Fewer methods, and fewer optional parameters, than the service has: the calls find their methods."""
    path = tmp_path / "kitchen"
    async with Service(path, Kitchen).serve(Chef()), Service(path, Older).connect() as kitchen:
        assert await kitchen.pid() == os.getpid()
        assert await kitchen.cook(Order(1, "soup")) == "soup for 1"


@pytest.mark.parametrize("with_card", [True, False])
async def test_a_mismatch_names_the_method(tmp_path: Path, with_card: bool) -> None:
    """SchemaMismatch at connect where the owner's card can be read, at the first call where it cannot."""
    path = tmp_path / "kitchen"
    newer, different = Service(path, Newer), Service(path, Different)
    async with Service(path, Kitchen).serve(Chef()):
        if not with_card:
            (tmp_path / ".kitchen.lock").write_bytes(b"")
        with pytest.raises(SchemaMismatch, match=r"Newer\.dance: the service has no such method"):
            async with newer.connect() as client:
                await client.dance()
        with pytest.raises(SchemaMismatch, match=r"Different\.pid.*str.*int"):
            async with different.connect() as other:
                await other.pid()


async def test_a_channel_under_the_name_is_the_wrong_kind(tmp_path: Path) -> None:
    """A client of a service says so before it sends, and touches nothing."""
    path = tmp_path / "name"
    async with Channel(path, str).listen():
        with pytest.raises(WrongKind, match="serves a channel there, not a service"):
            async with Service(path, Kitchen).connect():
                pass


def test_a_service_is_a_value_that_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal by path and interface; the pickled copy has the path made absolute."""
    monkeypatch.chdir(tmp_path)
    service = Service("kitchen", Kitchen)
    assert service == Service("kitchen", Kitchen)
    assert service != Service("kitchen", Older)
    assert service.at("other").path == Path("other")
    assert pickle.loads(pickle.dumps(service)) == Service(tmp_path / "kitchen", Kitchen)


async def test_run_inside_of_trio_is_refused(tmp_path: Path) -> None:
    """`run` starts trio itself, and says what to write instead."""
    with pytest.raises(RuntimeError, match="run_until_signal"):
        kitchen_at(tmp_path).run(Chef())


async def test_handlers_may_be_of_a_plain_class_and_locally_declared(tmp_path: Path) -> None:
    """A local interface with local types and postponed annotations works."""

    @attrs.frozen
    class Point:
        x: int

    class Plane(Protocol):
        async def flip(self, point: Point) -> Point: ...

    class Impl:
        async def flip(self, point: Point) -> Point:
            return Point(-point.x)

    service = Service(tmp_path / "plane", Plane)
    async with service.serve(Impl()), service.connect() as plane:
        assert await plane.flip(Point(3)) == Point(-3)


class Bell(Protocol):
    """What is never answered."""

    @one_way
    async def ring(self, number: int) -> None: ...


async def test_one_way_calls_of_a_client_that_has_left_are_run(tmp_path: Path) -> None:
    """All of them, although the service finds at its first answer, the hello, that nobody is there to read it."""
    service = Service(tmp_path / "bell", Bell)
    rung: list[int] = []
    all_rung = trio.Event()

    class Ringer:
        async def ring(self, number: int) -> None:
            rung.append(number)
            if number == 99:
                all_rung.set()

    def ring() -> None:
        with service.connect(timeout=5) as client:
            for number in range(100):
                client.call(Bell.ring, number)

    async with service.serve(Ringer()) as server:
        thread = threading.Thread(target=ring)
        thread.start()
        thread.join()  # this blocks trio, and with it the service
        with trio.fail_after(5):
            await all_rung.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().clients == 0
    assert rung == list(range(100))
