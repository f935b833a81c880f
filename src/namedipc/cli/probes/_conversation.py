"""A participant, as the probes talk to it: a process of its own which knows its handle and nothing else."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Protocol, Self

from ._sides import Mechanism, ServerSide

END_SECONDS = 10.0


class Failed(Exception):
    """The participant could not do it; the text is its reason."""


class Client(Protocol):
    """Whoever can be told to send and to read."""

    def put(self, message: str) -> None:
        """Send a message."""

    def take(self) -> str:
        """Read what is there now; nothing is ""."""


class Participant:
    """Starts the process when made, ends it with the `with`. It inherits the mechanism's ends, or nothing."""

    def __init__(self, mechanism: Mechanism, server: ServerSide, *, inherits: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.participant", mechanism.title, server.handle],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(server.inherited or ()) if inherits else (),
        )

    def wait_ready(self) -> None:
        """Wait until it has joined."""
        self._answer()

    def put(self, message: str) -> None:
        """Let it send a message."""
        self._say(f"put {message}")
        self._answer()

    def take(self) -> str:
        """Let it read what is there now; nothing is ""."""
        self._say("take")
        return self._answer().removeprefix("took").strip()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().rstrip("\n")
        if not answer:
            raise Failed("the process has ended")
        if answer.startswith("failed"):
            raise Failed(answer.removeprefix("failed").strip())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if kind is not None:
            self._process.kill()
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(END_SECONDS)
        finally:
            self._process.kill()
