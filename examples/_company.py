"""Processes which begin together and end together.

The law: whatever ends the program, be it its end, an error or Ctrl-C, its processes are dead and its directory is
gone before it goes. What the processes say to each other is not this module's business: all that they share is a
path.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from typing_extensions import TypeVarTuple, Unpack

Arguments = TypeVarTuple("Arguments")

PROCESS_SECONDS = 20.0
"""How long a process may take to its end; far longer than any of these needs."""

FORK = multiprocessing.get_context("fork")


class Company:
    """The processes that were started."""

    def __init__(self) -> None:
        self._processes: list[BaseProcess] = []

    def start(self, program: Callable[[Unpack[Arguments]], None], *arguments: *Arguments) -> BaseProcess:
        """Run a function in a process of its own, which ends with it."""
        sys.stdout.flush()
        process = FORK.Process(target=_run, args=(program, *arguments))
        # Ctrl-C between the start and the next line would lose the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
            self._processes.append(process)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return process

    def wait(self, *processes: BaseProcess) -> None:
        """Wait until these have ended by themselves."""
        for process in processes:
            process.join(PROCESS_SECONDS)
            if process.exitcode is None:
                raise SystemExit(f"process {process.pid} does not end")
            if process.exitcode != 0:
                raise SystemExit(f"process {process.pid} has failed")

    def stop(self, process: BaseProcess) -> None:
        """Ask a server to end by SIGTERM: it answers what it has begun, and removes its name."""
        process.terminate()
        self.wait(process)

    def freeze(self) -> None:
        """Let nobody live to complain of the others' end."""
        self._signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End whoever is still there."""
        self.freeze()
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.join()

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            if process.is_alive() and process.pid is not None:
                with contextlib.suppress(ProcessLookupError):  # Ctrl-C in the midst of reaping it
                    os.kill(process.pid, number)


_on_stage: list[Company] = []
"""The companies whose processes a Ctrl-C freezes at once, before this process closes an end that they use."""


def _run(program: Callable[[Unpack[Arguments]], None], *arguments: *Arguments) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    program(*arguments)


def say(line: str) -> None:
    """Print a line at once and in one piece, so that lines of several processes do not mix."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def stage() -> Iterator[tuple[Path, Company]]:
    """Yield a directory for the names, and nobody in it yet; leave nothing of either."""
    company = Company()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    directory = Path(tempfile.mkdtemp(prefix="namedipc-"))
    try:
        try:
            _on_stage.append(company)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            yield directory, company
        finally:
            # From here on there is nothing left to interrupt. A Ctrl-C just before this line has been the one.
            interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        company.kill()
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
    for company in _on_stage:
        company.freeze()
    raise KeyboardInterrupt
