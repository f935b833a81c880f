"""What `import namedipc` gives: every public name, nothing else, and no trio."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import namedipc
from namedipc import Service

from .conftest import Children
from .kitchen import Chef, Kitchen

SURFACE = """
    Service Channel RawChannel Fifo RawFifo Broadcast SharedRegion SharedStruct Name
    Opening ChannelEnd Client BlockingClient BlockingStream Server BlockingServer
    Connection BlockingConnection Listener BlockingListener RawConnection BlockingRawConnection
    FifoWriter FifoReader BlockingFifoWriter BlockingFifoReader
    RawFifoWriter RawFifoReader BlockingRawFifoWriter BlockingRawFifoReader
    BroadcastWriter BroadcastReader BlockingBroadcastWriter BlockingBroadcastReader
    Region RegionView Draft BlockingRegion BlockingRegionView Memory BlockingMemory
    Fd HasFileno Peer Call Trace Limits ServiceStatistics ConnectionStatistics StrPath Allow IfExists Framing
    runtime_path current_call same_user anyone users groups
    feed aclosing raises idempotent one_way allow in_thread
    IPCError NameTaken NameNotFound WrongKind NoServer NotAllowed TimedOut ConnectionLost DeclarationError
    InvalidMessage TooLarge SchemaMismatch ProtocolError LimitReached RemoteError OwnerDied EndOfChannel
    Closed Busy WouldBlock
"""
"""The surface of this version, name by name."""

NAMES = SURFACE.split()
WITHOUT_A_DOCSTRING = {"StrPath", "Allow", "IfExists", "Framing", "Trace"}  # aliases of types


@pytest.mark.parametrize("name", NAMES)
def test_each_name_can_be_imported(name: str) -> None:
    """By its name from the package, whichever module it lives in; and it is explained."""
    value = getattr(importlib.import_module("namedipc"), name)
    assert value is not None
    if name not in WITHOUT_A_DOCSTRING:
        assert value.__name__ == name
        assert inspect.getdoc(value)


def test_importing_loads_nothing_else(child: Children) -> None:
    """Each name loads its own modules when it is first asked for, `lowlevel` too, and no more than it needs."""
    other = child(
        """
        import sys
        def loaded():
            return sorted(m for m in sys.modules if m.split(".")[0] in ("namedipc", "trio", "msgspec", "attrs"))
        import namedipc
        print(*loaded(), flush=True)
        namedipc.lowlevel.send_now
        print("namedipc._service" in loaded(), flush=True)
        namedipc.Fifo
        print("namedipc._fifo" in loaded(), "namedipc._service" in loaded(), flush=True)
        """
    )
    assert other.read_line() == "namedipc"
    assert other.read_line() == "False"
    assert other.read_line() == "True False"


def test_a_service_is_a_name_until_it_is_declared(child: Children) -> None:
    """What reads interfaces comes with the first declaration, and what its verbs need with it; trio does not."""
    other = child(
        """
        import sys
        from typing import Protocol
        LATER = ["msgspec", "namedipc._schema", "namedipc._client_blocking", "namedipc._serving", "trio"]
        def loaded():
            return [name for name in LATER if name in sys.modules]
        from namedipc import Service
        print(*loaded(), flush=True)
        class Desk(Protocol):
            async def sign(self, text: str) -> str: ...
        Service("desk", Desk)
        print(*loaded(), flush=True)
        """
    )
    other.expect("")
    other.expect("msgspec namedipc._schema namedipc._client_blocking namedipc._serving")


AS_IF_UNREADABLE = """
    import sys

    class Unreadable:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "namedipc":
                raise ImportError(f"{name} cannot be read any more")

    def drop_rights():
        sys.meta_path.insert(0, Unreadable())

    from typing import AsyncIterator, Protocol
    import trio
    from namedipc import RemoteError, Service, TimedOut

    class Desk(Protocol):
        async def sign(self, text: str) -> str: ...
        async def fail(self) -> None: ...
        async def sleep(self) -> None: ...
        def count(self, to: int) -> AsyncIterator[int]: ...

    class Clerk:
        async def sign(self, text): return text
        async def fail(self): raise ValueError("no")
        async def sleep(self): await trio.sleep_forever()
        async def count(self, to):
            for number in range(to):
                yield number

    desk = Service(sys.argv[1], Desk)

    def call_all(client):
        assert client.call(Desk.sign, "a") == "a"
        assert client.call_each(Desk.sign, ["a", "b"]) == ["a", "b"]
        assert list(client.stream(Desk.count, 3)) == [0, 1, 2]
        try:
            client.call(Desk.fail)
        except RemoteError as error:
            assert error.message == "no"
        try:
            client.with_options(timeout=0.01).call(Desk.sleep)
        except TimedOut:
            pass
        client.statistics()

    async def await_all(client):
        assert await client.sign("a") == "a"
        assert [number async for number in client.count(3)] == [0, 1, 2]
        try:
            await client.fail()
        except RemoteError as error:
            assert error.message == "no"
        with trio.move_on_after(0.01):
            await client.sleep()
"""


@pytest.mark.usefixtures("no_leaks")
def test_who_drops_its_rights_has_all_that_it_needs(tmp_path: Path, child: Children) -> None:
    """A declared service is connected to, an open one works, and nothing of the package is loaded for that any more."""
    blocking = """
    with desk.serve(Clerk()) as server:
        drop_rights()
        with desk.connect() as client:
            call_all(client)
        server.statistics(), server.peers()
    print("done", flush=True)
    """
    in_trio = """
    async def main():
        async with desk.serve(Clerk()) as server, desk.connect() as client:
            drop_rights()
            await await_all(client)
            server.statistics(), server.peers()
        print("done", flush=True)

    trio.run(main)
    """
    for program in (blocking, in_trio):
        child(AS_IF_UNREADABLE + program, str(tmp_path / "desk")).expect("done")


def test_the_names_for_checkers_are_those_that_can_be_had() -> None:
    """What the facade imports for type checkers, and what it loads when asked, are written down twice: alike."""
    source = ast.parse(inspect.getsource(namedipc))
    block = next(node for node in source.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }
    assert imported == namedipc._HOMES


def test_names_are_kept() -> None:
    """The module is loaded once; afterwards the name is an ordinary one."""
    first = namedipc.Connection
    assert vars(namedipc)["Connection"] is first
    assert namedipc.Connection is first


def test_dir_lists_exactly_the_surface() -> None:
    """Also what has not been loaded yet; no helper of the facade itself, and nothing else."""
    listed = dir(namedipc)
    assert listed == sorted(listed)
    public = {name for name in listed if not name.startswith("_")}
    modules = {name for name in public if isinstance(getattr(namedipc, name), ModuleType)}
    assert public - modules == set(NAMES)
    assert "lowlevel" in modules
    assert "importlib" not in modules
    assert "__version__" in listed


@pytest.mark.parametrize("name", ["nonsense", "_channel_nonsense", "TRIO"])
def test_anything_else_is_an_attribute_error(name: str) -> None:
    """In Python's own words, so that `hasattr` and `from namedipc import` do as they should."""
    assert not hasattr(namedipc, name)
    with pytest.raises(AttributeError, match=rf"^module 'namedipc' has no attribute '{name}'$"):
        getattr(namedipc, name)
    with pytest.raises(ImportError, match=f"cannot import name '{name}'"):
        exec(f"from namedipc import {name}")


def test_the_version_is_a_version() -> None:
    """Numbers and dots."""
    assert all(part.isdigit() for part in namedipc.__version__.split("."))


BLOCKING_SCRIPT = """
    import sys

    def without_trio(after):
        assert not [name for name in sys.modules if name.split(".")[0] in ("trio", "asyncio")], after

    import namedipc
    without_trio("import")
    from typing import Protocol
    from namedipc import Channel, Fifo, RawFifo, RemoteError, Service, SharedRegion
    dir(namedipc)

    class Kitchen(Protocol):
        async def pid(self) -> int: ...
        async def echo(self, data: bytes) -> bytes: ...
        async def burn(self, text: str) -> None: ...

    directory = sys.argv[1]
    with Service(directory + "/kitchen", Kitchen).connect(timeout=20) as kitchen:
        assert kitchen.call(Kitchen.pid) == int(sys.argv[2])
        assert kitchen.call(Kitchen.echo, b"crumbs") == b"crumbs"
        try:
            kitchen.call(Kitchen.burn, "toast")
        except RemoteError as error:
            assert error.message == "toast"
        else:
            raise AssertionError("not burnt")
        print(kitchen.peer.pid, flush=True)
    without_trio("calls")

    channel = Channel(directory + "/pass", str)
    with channel.listen() as listener, channel.connect() as here, listener.accept(timeout=20) as there:
        here.send("soup", timeout=20)
        assert there.receive(timeout=20) == "soup"
    without_trio("a channel")

    orders = Fifo(directory + "/orders", int)
    with orders.reader() as reader, orders.writer(wait_seconds=20) as writer:
        writer.send(4, timeout=20)
        assert reader.receive(timeout=20) == 4
    without_trio("a FIFO")

    with SharedRegion(directory + "/board", int).create(1) as board:
        board.write(2)
        assert board.read() == 2
    without_trio("a region")
    print("done", flush=True)
"""


@pytest.mark.usefixtures("no_leaks")
def test_blocking_programs_never_import_trio(tmp_path: Path, child: Children) -> None:
    """A program of the blocking world: imports, calls, a channel, a FIFO and a region, all without trio or asyncio."""
    with Service(tmp_path / "kitchen", Kitchen).serve(Chef()):
        program = child(BLOCKING_SCRIPT, str(tmp_path), str(os.getpid()))
        program.expect(str(os.getpid()))
        program.expect("done")
        assert program.wait() == 0


def test_trio_comes_with_what_needs_it(child: Children) -> None:
    """The names of trio's side load it when they are asked for: the test above could fail."""
    program = child(
        """
        import sys
        import namedipc
        assert "trio" not in sys.modules
        from namedipc import Connection
        print("trio" in sys.modules, flush=True)
        """
    )
    program.expect("True")
    assert program.wait() == 0


def test_a_value_of_another_type_is_refused_with_the_path_of_the_name(tmp_path: Path) -> None:
    """Whatever the kind of name: InvalidMessage begins with the path, before anything has been sent or written."""
    wrong: Any = "seven"
    channel, fifo = namedipc.Channel(tmp_path / "c", int), namedipc.Fifo(tmp_path / "f", int)
    region = namedipc.SharedRegion(tmp_path / "r", int)
    service = namedipc.Service(tmp_path / "s", Kitchen)
    with (
        channel.listen(),
        channel.connect() as connection,
        fifo.reader(),
        fifo.writer() as writer,
        region.create(7) as numbers,
        service.serve(Chef()),
        service.connect() as kitchen,
    ):
        for name, attempt in (
            ("c", lambda: connection.send(wrong)),
            ("f", lambda: writer.send(wrong)),
            ("r", lambda: numbers.write(wrong)),
            ("r", lambda: numbers.update(lambda _: wrong)),
            ("s", lambda: kitchen.call(Kitchen.cook, wrong)),
        ):
            with pytest.raises(namedipc.InvalidMessage, match=f"^{tmp_path / name}: "):
                attempt()
        assert numbers.read() == 7


def test_the_import_of_a_service_leaves_ctypes_out() -> None:
    """It takes long to load, and few system calls need it; it comes with what a declaration loads."""
    script = "import sys\nfrom namedipc import Service\nprint('ctypes' in sys.modules)\n"
    script += "from namedipc import lowlevel\nprint(lowlevel.structure_size.__module__, 'ctypes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, timeout=30)
    assert done.stdout == "False\nnamedipc.lowlevel._structures True\n"
    with pytest.raises(AttributeError, match=r"'namedipc\.lowlevel' has no attribute 'structure_colour'"):
        getattr(namedipc.lowlevel, "structure_colour")  # noqa: B009  # a checker refuses it, too
