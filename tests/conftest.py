"""Fixtures which all tests may use.

* `child(script, *arguments)` starts a python process which runs `script` (its text) and speaks by lines: what
  it prints (`flush=True`) is `read_line()` here, `say(line)` here is its `input()`. `kill()` is SIGKILL.
  Every child is killed and reaped at the end of the test; every wait fails after 20 s, so that no test hangs.
  The methods block: where the child talks to a server in this very loop, call them in a worker thread,
  `await trio.to_thread.run_sync(other.read_line)`.
* `no_leaks` fails the test if it ends with more open descriptors than it began with.
* `unshare` is the beginning of a command line for a program that is to live in a pid namespace of its own.
* `small_tmpfs` is a directory with room for 256 KiB.

Their types, for annotations: `from .conftest import Child, Children`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

HANDSHAKE_SECONDS = 20.0
INOTIFY = "anon_inode:inotify"

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Started in the background of a shell: the programs that tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Child:
    """A python process of a test: lines from it, lines to it, and its end."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._unread = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def read_line(self) -> str:
        """Wait for the next line it prints. An end without one is an error, as is a silence of 20 s."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        while b"\n" not in self._unread:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"child {self.pid} printed no line, only {self._unread!r}")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise EOFError(f"child {self.pid} ended without a line, after {self._unread!r}")
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def expect(self, line: str) -> None:
        """Wait for the next line, which must be this one."""
        assert self.read_line() == line

    def say(self, line: str = "") -> None:
        """Give it a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL it and wait until it is gone."""
        self.process.kill()
        self.process.wait(HANDSHAKE_SECONDS)

    def wait(self) -> int:
        """Wait until it ends by itself; its exit status, or minus the signal."""
        return self.process.wait(HANDSHAKE_SECONDS)

    def close(self) -> None:
        """Kill it if it still runs, and close both pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # what had been said to a dead child
                pipe.close()
        self.kill()


class Children(Protocol):
    """The type of the fixture `child`."""

    def __call__(self, script: str, /, *arguments: str) -> Child: ...


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[Children]:
    """Start python children which end with the test."""
    if "no_leaks" in request.fixturenames:
        request.getfixturevalue("no_leaks")  # looks last, when the children's pipes are closed
    started: list[Child] = []

    def start(script: str, /, *arguments: str) -> Child:
        started.append(Child(script, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.close()


def open_descriptors() -> dict[int, str]:
    """What this process has open: each descriptor, and what it refers to."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
    return found


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail the test if it leaves descriptors open."""
    before = open_descriptors()
    yield
    after = open_descriptors()
    if after.keys() - before.keys():
        gc.collect()  # a reference cycle is no leak; ResourceWarning tells of what was not closed explicitly
        after = open_descriptors()
    deadline = time.monotonic() + HANDSHAKE_SECONDS
    while INOTIFY in [after[number] for number in after.keys() - before.keys()] and time.monotonic() < deadline:
        time.sleep(0.001)  # a thread is about to close it
        after = open_descriptors()
    leaked = {number: after[number] for number in sorted(after.keys() - before.keys())}
    assert not leaked, f"left open: {leaked}"


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A directory with a filesystem of its own, which a test may fill. Skipped where none can be mounted."""
    if os.geteuid():
        pytest.skip("needs root, to mount a small tmpfs")
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)  # lazy: a failed test's frames may hold a mapping


@pytest.fixture
def unshare() -> list[str]:
    """`unshare(1)` with a pid namespace, in which the program is number 1, and is killed with unshare. Or a skip."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-current-user"]
    command = ["unshare", *rights, "--pid", "--fork", "--kill-child"]
    try:
        tried = subprocess.run([*command, "true"], check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("unshare(1) is not installed")
    if tried.returncode:
        pytest.skip(f"no pid namespace can be made here: {tried.stderr.strip()}")
    return command
