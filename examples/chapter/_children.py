"""What the chapter's programs leave to chance: how children end, and who removes the files.

The law: whatever ends the program, be it its end, an error or Ctrl-C, its children are dead and waited for
and its directory is gone before it goes. A program of the chapter says `with stage() as (directory,
children)`, makes its names in the directory, and calls `children.fork(...)` where the chapter calls fork().
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from typing_extensions import TypeVarTuple, Unpack

from namedipc import lowlevel

Arguments = TypeVarTuple("Arguments")

CHILDREN_SECONDS = 10.0
"""How long `wait` gives the children; far longer than any of these programs needs."""


class Children:
    """The processes that were forked and not waited for yet."""

    def __init__(self) -> None:
        self._running: set[int] = set()

    def fork(self, program: Callable[[Unpack[Arguments]], None], *arguments: *Arguments) -> int:
        """Run a function in a process of its own, which ends with it; return its pid."""
        sys.stdout.flush()  # or the child would print once more what is still in the buffer
        # Ctrl-C between fork() and the next line would lose the pid.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            _run_and_exit(program, *arguments)
        self._running.add(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return pid

    def wait(self) -> None:
        """Wait until every child has ended: `while (wait(NULL) != -1);`, but not for ever."""
        for pid in sorted(self._running):
            process = lowlevel.open_pidfd(pid)
            try:
                if not lowlevel.wait_ready(process, timeout_seconds=CHILDREN_SECONDS):
                    raise SystemExit(f"process {pid} does not end")
            finally:
                os.close(process)
            if self._reap(pid) != 0:
                raise SystemExit(f"process {pid} has failed")

    def freeze(self) -> None:
        """Let nobody live to complain of the others' end."""
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):  # Ctrl-C in the midst of reaping it
                os.kill(pid, signal.SIGSTOP)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send every child a signal, as the chapter's `kill(pids[i], SIGTERM)`, and wait for its end."""
        for pid in self._running:
            os.kill(pid, number)
        for pid in sorted(self._running):
            self._reap(pid)

    def _reap(self, pid: int) -> int:
        # Ctrl-C between the two would leave a pid which is nobody's any more. All that come here end soon.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            _, status = os.waitpid(pid, 0)
            self._running.discard(pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return status


def _run_and_exit(program: Callable[[Unpack[Arguments]], None], *arguments: *Arguments) -> None:
    """End the child here: nothing of the parent's cleaning up is the child's to do."""
    status = 1
    try:
        program(*arguments)
        sys.stdout.flush()
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(status)


_on_stage: list[Children] = []
"""Whose processes a Ctrl-C freezes at once, before this process closes an end that they use."""


class Gate:
    """Where children wait until all are there, so that they start together: the end of a pipe."""

    def __init__(self) -> None:
        self._inside, self._outside = lowlevel.pipe()

    def pass_through(self) -> None:
        """In a child: wait for the gate to open."""
        os.close(self._outside)  # the end comes when nobody can write any more
        os.read(self._inside, 1)
        os.close(self._inside)

    def open(self) -> None:
        """In the parent, once: let all through."""
        os.close(self._inside)
        os.close(self._outside)


def say(line: str) -> None:
    """Print a line at once and in one piece, so that lines of several processes do not mix."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def stage() -> Iterator[tuple[Path, Children]]:
    """Yield a directory for the names, and nobody in it yet; leave nothing of either."""
    children = Children()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    directory = Path(tempfile.mkdtemp(prefix="chapter-"))
    try:
        try:
            _on_stage.append(children)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            yield directory, children
        finally:
            # From here on there is nothing left to interrupt. A Ctrl-C just before this line has been the one.
            interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        children.freeze()
        children.end()
        _on_stage.clear()
        shutil.rmtree(directory)
    signal.signal(signal.SIGINT, interrupted)


def run(main: Callable[[], None]) -> None:
    """Run a program's `main`; Ctrl-C ends it with status 130, after it has cleaned up, and says nothing."""
    signal.signal(signal.SIGINT, _interrupt_once)
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


def _interrupt_once(_number: int, _frame: FrameType | None) -> None:
    """A second Ctrl-C must not interrupt the cleaning up after the first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for children in _on_stage:
        children.freeze()
    raise KeyboardInterrupt
