"""A named pipe: two processes which share nothing but the name `office_hours`.

The parent makes the FIFO; a child opens it for writing, the parent for reading. Each open waits for the
other, so neither can miss the other; and neither can do anything else meanwhile.

Prints what the reader heard:

    What I hear at office hours is "halp!".
"""

from __future__ import annotations

import os
from pathlib import Path

from _children import run, say, stage

from namedipc import lowlevel


def ask(path: Path) -> None:
    """The chapter's `proc1`."""
    fifo = lowlevel.open_fifo_for_writing(path, blocking=True)
    lowlevel.write_pipe(fifo, b"halp!")
    os.close(fifo)


def listen(path: Path) -> None:
    """The chapter's `proc2`."""
    fifo = lowlevel.open_fifo_for_reading(path, blocking=True)
    message = os.read(fifo, 5)
    os.close(fifo)
    say(f'What I hear at office hours is "{message.decode()}".')
    path.unlink()


def main() -> None:
    with stage() as (directory, children):
        path = directory / "office_hours"
        lowlevel.make_fifo(path)
        children.fork(ask, path)
        listen(path)
        children.wait()


if __name__ == "__main__":
    run(main)
