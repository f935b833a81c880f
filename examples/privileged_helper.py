"""A privileged helper: it has the right to open a file, and hands the open file out to whom its rules let through.

The helper opens the file when it starts, and nobody but root can open it after that. Whoever asks is known by what the
kernel says of it, and `@allow` is asked before a method runs; what the method returns is an open descriptor, with no
more rights than it was opened with. The reader is `nobody` if this program is root's, and otherwise the same user.

Prints what the reader comes to:

    opens the file itself: Permission denied
    asks to read it: Ann 100, Bob 200
    writes into what was handed out to be read: Bad file descriptor
    asks to write into it: NotAllowed
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol

from _company import run, say, stage

from namedipc import Fd, NotAllowed, Service, allow, anyone, users

NOBODY = 65534
READER = NOBODY if os.geteuid() == 0 else os.geteuid()


class Safe(Protocol):
    """What can be asked of the helper."""

    async def for_reading(self) -> Fd: ...
    async def for_writing(self) -> Fd: ...


class Helper:
    """Has the file open both ways."""

    def __init__(self, reading: BinaryIO, writing: BinaryIO) -> None:
        self._reading = reading
        self._writing = writing

    @allow(users(READER))
    async def for_reading(self) -> Fd:
        return Fd(self._reading)

    @allow(users("root"))
    async def for_writing(self) -> Fd:
        return Fd(self._writing)


SAFE = Service("safe", Safe)


def serve(directory: Path) -> None:
    """Be the helper, until SIGTERM. All users may connect; each method says who may call it."""
    accounts = directory / "accounts"
    with accounts.open("rb") as reading, accounts.open("ab") as writing:
        accounts.chmod(0)
        SAFE.at(directory / "safe").run(Helper(reading, writing), allow=anyone, mode=0o666)


def read(directory: Path) -> None:
    """Be the reader."""
    os.chdir(directory)  # its parents may be closed to another user
    become_reader()
    with SAFE.connect(wait_seconds=10, timeout=10) as safe:
        try:
            Path("accounts").open("rb").close()
        except PermissionError as error:
            say(f"opens the file itself: {error.strerror}")
        with safe.call(Safe.for_reading) as file:
            # By offset: all who have it share one position.
            say(f"asks to read it: {os.pread(file.fileno(), 1000, 0).decode()}")
            try:
                os.pwrite(file.fileno(), b"Eve 900", 0)
            except OSError as error:
                say(f"writes into what was handed out to be read: {error.strerror}")
        try:
            safe.call(Safe.for_writing).close()
        except NotAllowed as error:
            say(f"asks to write into it: {type(error).__name__}")


def become_reader() -> None:
    """Give up root's rights, if this process has them, for good."""
    if os.geteuid() != READER:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(READER)


def main() -> None:
    with stage() as (directory, company):
        directory.chmod(0o755)
        (directory / "accounts").write_text("Ann 100, Bob 200")
        helper = company.start(serve, directory)
        company.wait(company.start(read, directory))
        company.stop(helper)


if __name__ == "__main__":
    run(main)
