"""What a call costs in system calls and in allocations: counts, which say when something was added to the hot path.

A small library, preloaded into both processes, counts what each asks of the kernel and of the allocator
(`PYTHONMALLOC=malloc`, so that each object that no free list has is a call of malloc). Nothing is timed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from .c_compiler import c_compiler

SOURCE = Path(__file__).parent / "c" / "cost_counter.c"
SCRIPT = """
    import ctypes
    import os
    import sys
    from collections.abc import Callable
    from typing import Protocol

    import attrs

    from namedipc import Service

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core for both: each waits for the other, every time
    count = ctypes.CDLL(None).cost_count
    count.restype = ctypes.c_ulong


    def counts() -> list[int]:
        return [count(0), count(1)]


    @attrs.frozen
    class Order:
        table: int
        dish: str
        price: float
        paid: bool


    class Counted(Protocol):
        async def count(self) -> list[int]: ...


    class Counter:
        async def count(self) -> list[int]:
            return counts()


    class Kitchen(Counted, Protocol):
        async def cook(self, order: Order) -> Order: ...


    class Chef(Counter):
        async def cook(self, order: Order) -> Order:
            return order


    class Gallery(Counted, Protocol):
        async def echo(self, picture: memoryview) -> memoryview: ...


    class Painter(Counter):
        async def echo(self, picture: memoryview) -> memoryview:
            return picture


    KITCHEN = Service(sys.argv[1], Kitchen)
    GALLERY = Service(sys.argv[1] + "-gallery", Gallery)
    ORDER = Order(4, "soup", 2.5, False)
    CALLS = 200
    WINDOWS = 12


    def costs(before: list[int], after: list[int]) -> list[float]:
        return [(b - a) / CALLS for a, b in zip(before, after)]


    def measure(ask: Callable[[], list[int]], work: Callable[[], object]) -> None:
        windows = []
        for _ in range(WINDOWS):
            there, here = ask(), counts()
            work()
            after = counts()
            windows.append(costs(there, ask()) + costs(here, after))
        report(windows)


    def report(windows: list[list[float]]) -> None:
        # The least of each: where the machine is busy a call may wait once more; what is added for good is in all.
        print(*map(min, zip(*windows[2:])), flush=True)
"""
SERVER = """
    from namedipc._shells import service_loop

    service_loop.ROUND_SECONDS = 60.0  # or answers to calls which came together leave in more pieces on a slow machine
    with GALLERY.serve(Painter(), spin=False):  # in a thread, which sleeps while nobody calls
        KITCHEN.run(Chef(), spin=False, ready=lambda server: print("ready", flush=True))
"""
BLOCKING = """
    with KITCHEN.connect(spin=False) as kitchen:

        def work() -> None:
            for _ in range(CALLS):
                kitchen.call(Kitchen.cook, ORDER)

        measure(lambda: kitchen.call(Kitchen.count), work)
"""
PAYLOAD = """
    with GALLERY.connect(spin=False) as gallery:
        picture = memoryview(bytes(1 << 20))

        def work() -> None:
            for _ in range(CALLS):
                gallery.call(Gallery.echo, picture)

        measure(lambda: gallery.call(Gallery.count), work)
"""
TRIO = """
    import trio


    async def main() -> None:
        async with KITCHEN.connect(spin=False) as kitchen:
            windows = []
            for _ in range(WINDOWS):
                there, here = await kitchen.count(), counts()
                for _ in range(CALLS):
                    await kitchen.cook(ORDER)
                after = counts()
                windows.append(costs(there, await kitchen.count()) + costs(here, after))
            report(windows)


    trio.run(main)
"""
BATCH = """
    with KITCHEN.connect(spin=False) as kitchen:
        measure(
            lambda: kitchen.call(Kitchen.count),
            lambda: kitchen.call_each(Kitchen.cook, [ORDER] * CALLS),
        )
"""
TASKS = """
    import trio


    async def main() -> None:
        async with KITCHEN.connect(spin=False) as kitchen:

            async def task() -> None:
                for _ in range(CALLS // 40):
                    await kitchen.cook(ORDER)

            windows = []
            for _ in range(WINDOWS):
                there, here = await kitchen.count(), counts()
                async with trio.open_nursery() as nursery:
                    for _ in range(40):
                        nursery.start_soon(task)
                after = counts()
                windows.append(costs(there, await kitchen.count()) + costs(here, after))
            report(windows)


    trio.run(main)
"""
MOST = {
    # The way: allocations and system calls of the server, then of the client, for one call at most. Who needs the most
    # of CPython 3.11 to 3.13 needs from 3 % (clients) to a tenth (a server that sleeps in between) less than this.
    "a blocking call": (BLOCKING, (46, 6, 25.5, 2.1)),
    "a call with a large payload": (PAYLOAD, (260, 4.7, 275, 4.4)),
    "a call in trio": (TRIO, (56, 6, 61, 5)),
    "a call of many tasks": (TASKS, (29.5, 0.5, 48, 0.6)),
    "a call of a batch": (BATCH, (21, 0.3, 11.5, 0.2)),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Compile the counter; what has to be set for it to count."""
    library = str(tmp_path_factory.mktemp("c") / "cost_counter.so")
    subprocess.run([*c_compiler(), "-O2", "-shared", "-fPIC", "-o", library, str(SOURCE), "-ldl"], check=True)
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**unmeasured, "LD_PRELOAD": library, "PYTHONMALLOC": "malloc"}


@pytest.fixture
def server(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    """A kitchen in a process of its own; its path."""
    path = str(tmp_path / "kitchen")
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT) + textwrap.dedent(SERVER), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield path
        process.terminate()
    assert process.returncode == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the counter needs glibc's malloc")
@pytest.mark.parametrize("way", MOST)
def test_a_call_costs_no_more_than_it_did(way: str, server: str, environment: dict[str, str]) -> None:
    """Whoever adds an allocation or a system call to the hot path learns of it here, and says why it is worth it."""
    script, most = MOST[way]
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT) + textwrap.dedent(script), server]
    process = subprocess.run(command, stdout=subprocess.PIPE, env=environment, text=True, check=True, timeout=50)
    found = [float(count) for count in process.stdout.split()]
    assert len(found) == len(most)
    assert all(count > 0 for count in found), "the counter counts nothing"
    named = ("the server's allocations", "its system calls", "the client's allocations", "its system calls")
    excess = [f"{name}: {count}" for name, count, bound in zip(named, found, most, strict=True) if count > bound]
    assert not excess, f"{way} costs more than {most}: {excess}"
