"""namedipc.testing: what stands in for a service is a service, and what is relocated is found again."""

from __future__ import annotations

import os
import pickle
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pytest
import trio
import trio.testing

from namedipc import (
    Channel,
    ConnectionLost,
    DeclarationError,
    Fifo,
    InvalidMessage,
    NameNotFound,
    NameTaken,
    NoServer,
    RemoteError,
    Service,
    SharedRegion,
    TimedOut,
    TooLarge,
    runtime_path,
)
from namedipc.testing import local, relocated, substitute

from .conftest import Children
from .kitchen import Chef, Kitchen, Order

pytestmark = pytest.mark.usefixtures("no_leaks")

NOWHERE = Service("/nowhere/at/all", Kitchen)


class Diner(Chef):
    """Another kitchen, which is told by its answer."""

    async def pid(self) -> int:
        """Not the process's."""
        return -1


# ---------------------------------------------------------------- local


async def test_a_local_client_is_a_client() -> None:
    """Arguments are bound and copied, the caller is this process, and the call has a context of its own."""
    client = local(Kitchen, Chef())
    assert "local(Kitchen, ...)" in repr(client)
    async with client as kitchen:
        assert await kitchen.cook(Order(4, "soup"), salt=True) == "soup for 4 with salt"
        assert (await kitchen.ask())[:2] == ("ask", os.getpid())
        assert client.peer.pid == os.getpid()
        assert await kitchen.remember("a") == await kitchen.remember("b") == "none"
        assert client.statistics().messages_sent == 4


async def test_errors_of_a_local_handler_arrive_as_from_afar() -> None:
    """As RemoteError with the handler's traceback; the original does not get through."""
    async with local(Kitchen, Chef()) as kitchen:
        with pytest.raises(RemoteError, match="toast") as caught:
            await kitchen.burn("toast")
        assert caught.value.type_name == "ValueError"
        assert "raise ValueError(text)" in caught.value.traceback_text
        wrong: Any = "not an order"
        with pytest.raises(InvalidMessage, match=r"^local Kitchen: "):
            await kitchen.cook(wrong)
        with pytest.raises(TooLarge):
            await kitchen.echo(bytes(2 << 20))


async def test_deadlines_and_cancellation_reach_a_local_handler() -> None:
    """The handler's scope is cancelled; the connection goes on."""
    chef = Chef()
    async with local(Kitchen, chef) as kitchen:
        with trio.fail_after(1000):
            assert (await kitchen.ask())[2] < float("inf")
        async with trio.open_nursery() as nursery:
            arrived = chef.arrived
            nursery.start_soon(kitchen.simmer, "stock")
            await arrived.wait()
            nursery.cancel_scope.cancel()
        assert await kitchen.pid() == os.getpid()
        await trio.testing.wait_all_tasks_blocked()
        assert chef.cancelled == ["stock"]


async def test_leaving_a_local_client_ends_its_calls() -> None:
    """Handlers are cancelled, and the body's own error is no group."""
    chef = Chef()
    with pytest.raises(KeyError, match="mine"):
        async with trio.open_nursery() as nursery:
            with pytest.raises(KeyError, match="mine"):
                async with local(Kitchen, chef) as kitchen:
                    arrived = chef.arrived
                    nursery.start_soon(_until_closed, kitchen)
                    await arrived.wait()
                    raise KeyError("mine")
            assert chef.cancelled == ["stock"]
        raise KeyError("mine")


async def _until_closed(kitchen: Kitchen) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await kitchen.simmer("stock")


async def test_local_under_a_clock_that_jumps(autojump_clock: trio.testing.MockClock) -> None:
    """Virtual time passes at once, and a deadline of it reaches the handler as a cancellation."""
    chef = Chef()
    async with local(Kitchen, chef) as kitchen:
        with pytest.raises(trio.TooSlowError), trio.fail_after(3600):
            await kitchen.simmer("stock")
        await trio.sleep(3600)
        assert chef.cancelled == ["stock"]
        assert await kitchen.pid() == os.getpid()


def test_a_local_client_of_blocking_code() -> None:
    """Served by a thread; entered again it is served anew."""
    chef = Chef()
    client = local(Kitchen, chef)
    for _ in range(2):
        with client as kitchen:
            assert kitchen.call(Kitchen.cook, Order(4, "soup")) == "soup for 4"
            assert kitchen.peer.pid == os.getpid()
            with pytest.raises(RemoteError, match="toast"):
                kitchen.call(Kitchen.burn, "toast")
            while not chef.cancelled:  # the deadline may have passed before the call was there
                with pytest.raises(TimedOut):
                    kitchen.with_options(timeout=0.01).call(Kitchen.simmer, "stock")
                assert kitchen.call(Kitchen.pid) == os.getpid()
        chef.cancelled.clear()


def test_a_local_interface_may_be_local_to_a_function() -> None:
    """Its annotations are evaluated where `local` is called."""

    class Slip:
        pass

    class Bell(Protocol):
        async def ring(self, times: Times) -> int: ...

    Times: TypeAlias = int

    class Brass:
        async def ring(self, times: Times) -> int:
            return times

    with local(Bell, Brass()) as bell:
        assert bell.call(Bell.ring, 3) == 3
    with pytest.raises(DeclarationError, match=r"Slip does not implement Bell\.ring"):
        local(Bell, Slip())


# ---------------------------------------------------------------- substitute


async def test_a_substitute_is_reached_in_trio() -> None:
    """Through each equal name, at no other path, and no longer than it lasts; nothing has to be there."""
    equal = Service("/nowhere/at/all", Kitchen)
    with substitute(NOWHERE, Diner()):
        for service in (NOWHERE, equal, pickle.loads(pickle.dumps(NOWHERE))):
            async with service.connect() as kitchen:
                assert await kitchen.pid() == -1
        with pytest.raises(NameNotFound):
            async with NOWHERE.at("/nowhere/else").connect():
                pass
        with pytest.raises(RemoteError, match=r"^/nowhere/at/all: "):
            async with NOWHERE.connect() as kitchen:
                await kitchen.burn("toast")
        assert not NOWHERE.exists()
    with pytest.raises(NameNotFound):
        async with NOWHERE.connect():
            pass


def test_a_substitute_is_reached_in_blocking_code() -> None:
    """Two clients meet in one implementation, which one thread runs."""
    diner = Diner()
    with substitute(NOWHERE, diner):
        with NOWHERE.connect(timeout=20) as one, NOWHERE.connect(timeout=20) as other:
            waiting = threading.Thread(target=one.call, args=(Kitchen.simmer, "stock"))
            waiting.start()
            while not other.call(Kitchen.release, "stock"):
                pass
            waiting.join()
        with NOWHERE.connect() as again:
            assert again.call(Kitchen.pid) == -1
    with pytest.raises(NameNotFound), NOWHERE.connect():
        pass


async def test_threads_of_a_trio_program_reach_a_substitute() -> None:
    """Blocking code in a worker thread, inside of a `with` that a task of trio leaves."""

    def blocking() -> int:
        with NOWHERE.connect(timeout=20) as kitchen:
            return kitchen.call(Kitchen.pid)

    with substitute(NOWHERE, Diner()):
        assert await trio.to_thread.run_sync(blocking) == -1


def test_the_path_is_never_touched(tmp_path: Path) -> None:
    """Neither by a substitute beside a living service, which is not asked, nor by one alone."""
    service = Service(tmp_path / "kitchen", Kitchen)
    with substitute(service, Diner()), service.connect() as kitchen:
        assert kitchen.call(Kitchen.pid) == -1
        assert list(tmp_path.iterdir()) == []
    with service.serve(Chef()) as server:
        with substitute(service, Diner()), service.connect() as kitchen:
            assert kitchen.call(Kitchen.pid) == -1
        assert server.statistics().clients == server.statistics().calls == 0
        with service.connect() as kitchen:
            assert kitchen.call(Kitchen.pid) == os.getpid()


def test_substitutes_nest_and_overlap() -> None:
    """The last one that is still there counts, in whatever order they end, also by an error."""

    def answer() -> int:
        with NOWHERE.connect(timeout=20) as kitchen:
            return kitchen.call(Kitchen.pid)

    with pytest.raises(KeyError), substitute(NOWHERE, Chef()):
        with substitute(NOWHERE, Diner()):
            assert answer() == -1
        assert answer() == os.getpid()
        raise KeyError
    first, second = ExitStack(), ExitStack()
    first.enter_context(substitute(NOWHERE, Chef()))
    second.enter_context(substitute(NOWHERE, Diner()))
    first.close()
    assert answer() == -1
    second.close()
    with pytest.raises(NameNotFound):
        answer()


def test_leaving_a_substitute_ends_the_calls_of_blocking_clients() -> None:
    """They get an error and do not hang."""
    chef = Chef()
    with ExitStack() as stack:
        with substitute(NOWHERE, chef):
            kitchen = stack.enter_context(NOWHERE.connect())
            assert kitchen.call(Kitchen.pid) == os.getpid()
        with pytest.raises((ConnectionLost, NoServer)):
            kitchen.call(Kitchen.pid)


def test_what_cannot_stand_in_is_refused_at_once() -> None:
    """Before the `with` is entered."""
    wrong: Any = object()
    with pytest.raises(DeclarationError, match="object does not implement"):
        substitute(NOWHERE, wrong)


# ---------------------------------------------------------------- relocated


def test_names_of_every_kind_are_relocated(tmp_path: Path) -> None:
    """They are made, found and removed there; the path of a name stays as it was given."""
    service, channel, fifo = Service("kitchen", Kitchen), Channel("pass", str), Fifo("orders", int)
    region = SharedRegion("board", int)
    with (
        relocated(tmp_path),
        service.serve(Chef()) as server,
        channel.listen() as listener,
        fifo.reader() as reader,
        region.create(7),
    ):
        assert sorted(path.name for path in tmp_path.glob("[!.]*") if path.is_socket()) == ["kitchen", "pass"]
        assert service.path == Path("kitchen")
        assert server.path == tmp_path / "kitchen"
        with (
            service.connect() as kitchen,
            channel.connect() as here,
            listener.accept() as there,
            fifo.writer() as orders,
        ):
            assert kitchen.call(Kitchen.pid) == os.getpid()
            here.send("soup")
            assert there.receive() == "soup"
            orders.send(4)
            assert reader.receive() == 4
        with region.open() as board:
            assert board.read() == 7
        assert all(name.exists() for name in (service, channel, fifo, region))
        with pytest.raises(NameTaken, match=str(tmp_path / "kitchen")), service.serve(Chef()):
            pass
    with relocated(tmp_path):
        fifo.remove()
        assert not fifo.exists()
    assert [path.name for path in tmp_path.iterdir()] == []


def test_absolute_names_stay_where_they_are(tmp_path: Path) -> None:
    """Also those of the runtime directory, and those that were open before."""
    (tmp_path / "elsewhere").mkdir()
    inner, outer = SharedRegion(tmp_path / "board", int), runtime_path("x")
    with inner.create(1) as board, relocated(tmp_path / "elsewhere"):
        with inner.open() as same:
            same.write(2)
        assert board.read() == 2
        assert runtime_path("x") == outer


def test_a_relocated_name_does_not_leave_its_directory(tmp_path: Path) -> None:
    """`..` ends at the directory, as it does at the root; a directory below must be there."""
    (tmp_path / "names").mkdir()
    with relocated(tmp_path / "names"):
        with SharedRegion("../../board", int).create(1):
            assert (tmp_path / "names" / "board").exists()
        with (
            pytest.raises(NameNotFound, match=f"mkdir -p {tmp_path}/names/below"),
            SharedRegion("below/x", int).create(1),
        ):
            pass


def test_children_inherit_the_relocation(tmp_path: Path, child: Children) -> None:
    """A process that is started inside looks there, and pickled names lead there from anywhere."""
    script = """
        import pickle, sys
        from namedipc import Service
        from tests.kitchen import Kitchen
        for service in (Service("kitchen", Kitchen), pickle.loads(bytes.fromhex(sys.argv[1]))):
            with service.connect(timeout=20) as kitchen:
                print(kitchen.call(Kitchen.pid), flush=True)
    """
    service = Service("kitchen", Kitchen)
    with relocated(tmp_path), service.serve(Chef()):
        pickled = pickle.dumps(service)
        started = child(script, pickled.hex())
        started.expect(str(os.getpid()))
        started.expect(str(os.getpid()))
        assert started.wait() == 0
    assert pickle.loads(pickled).path == tmp_path / "kitchen"


def test_relocations_nest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inner one counts; leaving one restores the one before, also after an error."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    board = SharedRegion("board", int)
    with pytest.raises(KeyError), relocated("one"):
        with relocated(tmp_path / "two"), board.create(2):
            assert (tmp_path / "two" / "board").exists()
        with board.create(1):
            assert (tmp_path / "one" / "board").exists()
        raise KeyError
    with board.create(0):
        assert (tmp_path / "board").exists()


def test_relocation_needs_a_directory(tmp_path: Path) -> None:
    """It is not made: a mistyped one would be a surprise."""
    with pytest.raises(NameNotFound, match="make it first"):
        relocated(tmp_path / "missing")
