"""Transparent: does a program take part which was not changed, and does not know?

The program is `cat`. It reads its standard input and writes its standard output, and stands where a client
would: what the server says it should send back. Where the mechanism is inherited it gets it so. Where it has
a name, that has to be opened for it, as by a shell's `<` and `>`, and a watch on the directory sees it. The
mechanism is transparent if the message comes back, and nobody had to open a name.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from namedipc import lowlevel

from ._observation import Observation
from ._sides import ServerSide

MESSAGE = b"penny"
PROGRAM_SECONDS = 5.0
PAUSE_SECONDS = 0.001


def is_transparent(server: ServerSide, directory: Path) -> Observation:
    """Put `cat` in a client's place, and see what comes back and what had to be opened."""
    watch = lowlevel.create_inotify()
    try:
        lowlevel.add_watch(watch, directory, lowlevel.Watch.OPEN)
        came, complaint = _through_cat(server)
        opened = _opened(watch)
    finally:
        os.close(watch)
    if came != MESSAGE:
        return Observation(False, f"`cat` cannot take part: {complaint or f'{came!r} came back'}")
    if opened:
        names = " and ".join(opened)
        return Observation(False, f"`cat` takes part only once {names} are opened for it, by name")
    return Observation(True, "an unchanged `cat` has answered, and nothing had to be opened by name")


def _through_cat(server: ServerSide) -> tuple[bytes, str]:
    """Say something and hear what `cat` makes of it; its complaint, if it cannot run."""
    said = _say(server)  # into a file, or a pipe; others need somebody there first
    process = _start_cat(server)
    end = time.monotonic() + PROGRAM_SECONDS
    came = b""
    try:
        while not came and time.monotonic() < end:
            ended = process.poll() is not None
            said = said or _say(server)
            came = server.take()
            if ended:
                break
            time.sleep(PAUSE_SECONDS)
    finally:
        process.kill()
        _, complaint = process.communicate()
    return came, complaint.strip()


def _say(server: ServerSide) -> bool:
    """Say it if there is anybody to say it to."""
    with suppress(OSError):
        server.put(MESSAGE)
        return True
    return False


def _start_cat(server: ServerSide) -> subprocess.Popen[str]:
    if server.inherited:
        output, source = server.inherited
        return subprocess.Popen(["cat"], stdin=source, stdout=output, stderr=subprocess.PIPE, text=True)
    # `<>`, because `>` would cut what others have mapped.
    line = ["sh", "-c", 'exec cat <"$1" 1<>"$2"', "sh", *server.names]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True)


def _opened(watch: int) -> list[str]:
    """The names that were opened in the directory."""
    with suppress(BlockingIOError):
        return sorted({event.name for event in lowlevel.read_watch(watch) if event.name})
    return []
