"""Many clients, the same for every contender: what one real client said, said again over many sockets.

Python clients by the hundred would be the slower side, and what is asked here is how a server bears them. So one client
of the contender's own makes a few calls through a go-between, which writes down who said what; then `baseline.c`, or
for clients which only stay connected this module, repeats it word for word on many sockets: the beginning once, the
last call again and again.

The law: bytes only; nothing in here knows a protocol. It suits those in which a call's bytes may be the same each time.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import attrs

from .figures import Sample
from .sides import Place, Run, connecting

Connected = Callable[[Place], AbstractContextManager[Callable[[], object]]]
"""A client of the contender's own, connected: what is called makes a call."""
CALLS = 4
"""So many are recorded: with some the first ones differ, as they introduce themselves."""
IDLE_TENTHS = 30
"""The tenths of a second that a server is watched."""


@attrs.frozen
class Step:
    """What a client sends, and how many bytes then come."""

    up: bytes
    down: int


class Recorder:
    """A go-between of one client and a server."""

    def __init__(self, listener: socket.socket, server: str) -> None:
        self._listener = listener
        self._server = server
        self._steps: list[Step] = []
        threading.Thread(target=self._carry, daemon=True).start()

    def steps(self) -> list[Step]:
        """What was said so far."""
        return list(self._steps)

    def _carry(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        with client, server, suppress(OSError):
            while True:
                for stream in select.select([client, server], [], [])[0]:
                    data = stream.recv(65536)
                    if not data:
                        return
                    self._note(data, up=stream is client)
                    (server if stream is client else client).sendall(data)

    def _note(self, data: bytes, *, up: bool) -> None:
        if not self._steps or (up and self._steps[-1].down):
            self._steps.append(Step(b"", 0))
        last = self._steps[-1]
        self._steps[-1] = Step(last.up + data, last.down) if up else Step(last.up, last.down + len(data))


def recorded(place: Place, connected: Connected) -> list[Step]:
    """What a client says from its first byte to the last byte of the answer to its last call."""
    between = place.directory / "between"
    between.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(between / "s"))
        listener.listen()
        recorder = Recorder(listener, place.path)
        with connected(attrs.evolve(place, directory=between)) as call:
            for _ in range(CALLS):
                call()
            return recorder.steps()


def replayed(connected: Connected) -> Callable[[Place], AbstractContextManager[Run]]:
    """How fast many clients are answered: this process becomes the program which is them."""

    def client(place: Place) -> AbstractContextManager[Run]:
        steps = recorded(place, connected)
        words = [struct.pack("@II", len(step.up), step.down) + step.up for step in steps]
        (place.directory / "conversation").write_bytes(struct.pack("@I", len(steps)) + b"".join(words))
        program = place.directory / "baseline"
        if not program.exists():
            raise SystemExit("no C compiler for the program which is the many clients")
        os.dup2(place.output, 1)
        os.execv(program, ["baseline", "clients", "client", str(place.directory), str(place.argument), "0"])

    return client


@contextmanager
def many(place: Place, steps: list[Step]) -> Iterator[Callable[[int], None]]:
    """Connect more and more clients, each of which has been answered and then says nothing; they stay until the end."""
    with ExitStack() as stack:

        def connect(count: int) -> None:
            for _ in range(count):
                stream = stack.enter_context(socket.socket(socket.AF_UNIX))
                connecting(lambda stream=stream: stream.connect(place.path))  # type: ignore[misc]  # bound at once
                for step in steps:
                    stream.sendall(step.up)
                    left = step.down
                    while left:
                        data = stream.recv(min(left, 65536))
                        if not data:
                            raise ConnectionResetError("the server has closed the connection")
                        left -= len(data)

        yield connect


def holding(connected: Connected) -> Callable[[Place], AbstractContextManager[Run]]:
    """How much memory a connected client takes at the server, in KiB: once, as memory is seldom given back."""

    @contextmanager
    def client(place: Place) -> Iterator[Run]:
        with many(place, recorded(place, connected)) as connect:
            connect(max(1, place.argument // 10))  # what the first ones need is not for each

            def run(_: int) -> Sample:
                before = resident_kib(place.server_pid())
                connect(place.argument)
                return Sample((resident_kib(place.server_pid()) - before) / place.argument, 0.0)

            yield run

    return client


def idling(connected: Connected) -> Callable[[Place], AbstractContextManager[Run]]:
    """How many ticks of the CPU a server takes in so many tenths of a second, with clients who say nothing."""

    @contextmanager
    def client(place: Place) -> Iterator[Run]:
        with many(place, recorded(place, connected)) as connect:
            connect(place.argument)
            time.sleep(0.3)  # what it has to do after the last of them is done

            def run(tenths: int) -> Sample:
                before = ticks(place.server_pid())
                time.sleep(tenths / 10)
                return Sample(ticks(place.server_pid()) - before, tenths / 10)

            yield run

    return client


def resident_kib(pid: int) -> float:
    """What a process has in memory, in KiB. Source: proc(5) "statm"."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def ticks(pid: int) -> int:
    """The CPU's ticks that a process has had. Source: proc(5) "stat", utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
