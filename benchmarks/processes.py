"""A process of a contender, from outside: started on its core, asked, and ended, also when it hangs.

The law: every wait has an end, and whoever has not answered by then is gone, with the reason in an `Absent`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .figures import Sample

PACKAGE_ROOT = Path(__file__).resolve().parents[len(__package__.split("."))]
"""What has to be on a child's import path, so that it finds this package under the same name."""


END_SECONDS = 2.0
"""What a process has, to end by itself."""


class Absent(Exception):
    """Who takes no part, and why."""


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started in here runs on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def environment() -> dict[str, str]:
    """For a child which is python."""
    paths = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def python_side(module: str, *arguments: str) -> list[str]:
    """The command of a side which is python."""
    return [sys.executable, "-m", f"{__package__}.sides", module, *arguments]


class Side:
    """One process: says "ready", and answers each count by a sample."""

    def __init__(self, command: Sequence[str], *, core: int, log: Path, is_server: bool) -> None:
        self._log = log
        self._is_server = is_server
        self._unread = b""
        with on_core(core), log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(),
                start_new_session=True,  # whatever it starts ends with it
            )

    def wait_ready(self, seconds: float) -> None:
        """Wait until it can do its work."""
        line = self._read_line(seconds)
        if line != "ready":
            raise Absent(f"said {line!r} instead of being ready")

    def ask(self, count: int, seconds: float) -> Sample:
        """Let it do its work so often."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"%d\n" % count)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        answer = json.loads(self._read_line(seconds))
        return Sample(**answer)

    def close(self) -> None:
        """Let it end: a client as nothing more is asked, a server by SIGTERM; then kill it, and all it has started."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        if self._is_server:
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read_line(self, seconds: float) -> str:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while b"\n" not in self._unread:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise Absent(f"gave no answer within {seconds:g} s")
            data = os.read(descriptor, 65536)
            if not data:
                raise self._ended()
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def _ended(self) -> Absent:
        """The last thing it said is most often why."""
        said = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return Absent(said[-1] if said else "ended without a word")
