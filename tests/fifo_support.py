"""What the FIFO tests share: packets written by hand, and a look at who has the readers' turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from namedipc import lowlevel
from namedipc._fifo import Fifo
from namedipc._protocol.fragments import Splitter, Writer
from namedipc._shells.process_identity import namespaces

DEADLINE_SECONDS = 20.0


def fingerprint(fifo: Fifo[str]) -> bytes:
    """What its packets are marked with."""
    return fifo._codec.fingerprint


def encode(fifo: Fifo[str], value: str) -> bytes:
    """A message as its packets carry it."""
    return fifo._codec.encode(value)


def this_process(nonce: bytes = b"by hand.") -> Writer:
    """A writer in this process."""
    pid = os.getpid()
    return Writer(nonce, pid, lowlevel.process_start_time(pid), namespaces())


@contextmanager
def packet_end(path: Path) -> Iterator[int]:
    """A descriptor to write packets to a FIFO by hand."""
    fd = lowlevel.open_fifo_for_writing(path)
    try:
        lowlevel.set_packet_mode(fd)
        yield fd
    finally:
        os.close(fd)


def packets(fifo: Fifo[str], value: str, writer: Writer | None = None) -> list[bytes]:
    """The packets of one message."""
    return list(Splitter(writer or this_process(), fingerprint(fifo)).split(encode(fifo, value)))


def turn_is_taken(path: Path) -> bool:
    """Whether a reader has the turn."""
    fd = lowlevel.open_fifo_for_reading(path)
    try:
        lowlevel.flock(fd, exclusive=True)
        lowlevel.unflock(fd)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    """Look until it is so; another process or thread is on its way to it."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.001)
