"""Run an example as a user does, to its end or until Ctrl-C, and look at what it leaves behind.

The example leads a process group of its own and has a TMPDIR of its own: what it leaves is seen there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
EXAMPLE_SECONDS = 30.0
ROUNDS = {
    "chapter/file_channel.py": 20,
    "chapter/instructor.py": 10,
    "chapter/shared_mapping.py": 2000,
    "counter.py": 50,
    "instructor_service.py": 10,
    "postbox.py": 20,
}
"""How often the tests let an example run a race; as a program it does so more often."""
PIPE_BYTES = 4096  # the least that a pipe holds


def command(example: str, *arguments: str) -> list[str]:
    """The command line of an example; `example` is its path under examples/."""
    return [sys.executable, "-W", "error", str(EXAMPLES / example), *arguments]


@functools.cache  # one run is enough for all who look at it
def output_of(example: str) -> str:
    """Run an example to its end, with few rounds where it counts, and return what it printed.

    It must end with status 0, complain of nothing, and leave nothing behind.
    """
    rounds = ("--rounds", str(ROUNDS[example])) if example in ROUNDS else ()
    with (
        tempfile.TemporaryDirectory() as name,
        example_process(example, *rounds, directory=Path(name), stdout=subprocess.PIPE) as process,
    ):
        directory = Path(name)
        printed, complaints = process.communicate(timeout=EXAMPLE_SECONDS)
        assert complaints == "", complaints
        assert process.returncode == 0, process.returncode
        assert_nothing_left(process, directory)
    return str(printed)


def interrupt(example: str, *arguments: str, directory: Path, whole_group: bool) -> None:
    """Interrupt an example in the middle; it must end quietly, with status 130, and leave nothing in `directory`.

    Its standard output is a full pipe, so that it cannot come to its end before it is interrupted.
    """
    if not waiting_is_visible():
        pytest.skip("/proc/PID/syscall cannot be read here: no telling when to interrupt")
    reader, writer = full_pipe()
    with example_process(example, *arguments, directory=directory, stdout=writer) as process:
        os.close(writer)
        try:
            wait_until_stuck(process)
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
            complaints = drain_until_end(process, reader)
        finally:
            os.close(reader)
        assert complaints == "", complaints
        assert process.returncode == 128 + signal.SIGINT, process.returncode
        assert_nothing_left(process, directory)


@contextlib.contextmanager
def example_process(example: str, *arguments: str, directory: Path, stdout: int) -> Iterator[subprocess.Popen[str]]:
    """Start an example; at the end its whole process group is killed, whatever it was doing."""
    process = subprocess.Popen(
        command(example, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(directory), "XDG_RUNTIME_DIR": str(directory)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=EXAMPLE_SECONDS)


def assert_nothing_left(process: subprocess.Popen[str], directory: Path) -> None:
    """Check that no process of the example lives, and that it has removed what it made."""
    left = list(directory.iterdir())
    assert not left, left
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 0)
        raise AssertionError("processes are left")


def full_pipe() -> tuple[int, int]:
    """A pipe in which there is no room for a line."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * PIPE_BYTES)
    os.set_blocking(writer, True)
    return reader, writer


def wait_until_stuck(process: subprocess.Popen[str]) -> None:
    """Wait until a process of the group waits for room in its standard output."""
    deadline = time.monotonic() + EXAMPLE_SECONDS
    while not any(waits_for_room(pid) for pid in members(process.pid)):
        assert process.poll() is None, "it has ended without printing"
        assert time.monotonic() < deadline, "it prints nothing"
        select.select([], [], [], 0.001)


def members(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(ProcessLookupError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                found.append(int(entry.name))
    return found


def waiting_is_visible() -> bool:
    """Whether the kernel tells in which system call a process waits."""
    return os.access("/proc/self/syscall", os.R_OK)


def waits_for_room(pid: int) -> bool:
    """Whether a process sleeps in write(2) to descriptor 1."""
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return len(call) > 1 and call[1] == "0x1" and call[0] in {"1", "64"}  # write(2) on x86-64, and on ARM


def drain_until_end(process: subprocess.Popen[str], reader: int) -> str:
    """Make room for what it still prints, and return what it complained of."""
    while select.select([reader], [], [], EXAMPLE_SECONDS)[0] and os.read(reader, 65536):
        pass
    _, complaints = process.communicate(timeout=EXAMPLE_SECONDS)
    return complaints
