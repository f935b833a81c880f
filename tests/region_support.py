"""What the tests of regions and broadcasts share: a value that shows whether it is whole, work in a forked child."""

from __future__ import annotations

import os
import textwrap
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import attrs

from namedipc._broadcast import Broadcast
from namedipc._region import SharedRegion


@attrs.frozen
class Entry:
    """A number, and a text that follows from it: a mixture of two is not `whole`."""

    number: int
    text: str

    @staticmethod
    def of(number: int) -> Entry:
        """The entry of this number, some kilobytes long."""
        return Entry(number, f"{number}," * 500)

    @property
    def whole(self) -> bool:
        """Whether it is the entry of its number."""
        return self == Entry.of(self.number)


BOARD = SharedRegion("board", Entry)
NEWS = Broadcast("news", Entry)


def advance(entry: Entry) -> Entry:
    """The next entry."""
    return Entry.of(entry.number + 1)


def fill(directory: Path) -> None:
    """Leave no room in the filesystem of a directory."""
    room = os.statvfs(directory)
    (directory / "filler").write_bytes(bytes(room.f_bavail * room.f_bsize))


def script(text: str) -> str:
    """The text of a child's program that may import the tests' modules, wherever it is started."""
    return f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[1])!r})\n" + textwrap.dedent(text)


def forked(work: Callable[[], object]) -> int:
    """Do some work in a forked child; return its exit status: 0, or 1 where it raised, or minus a signal."""
    with warnings.catch_warnings():
        # Other tests may have left idle threads of trio's behind; what the child does needs none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
