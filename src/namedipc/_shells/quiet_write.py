"""Writing into a file in shared memory without waking those who wait for it to change.

Each write(2) is an event for whoever watches the file (`bell.py`), and only the one that commits something should be:
who is woken by the bytes before it finds nothing, and goes to sleep again. A store into a mapping is no event; but
where somebody has cut the file short it is SIGBUS, and ends the process. So the store is the kernel's: it reads the
bytes from a file of our own into the mapping, and says EFAULT where there is no memory.

The law: nothing but that call touches the mapping.
"""

from __future__ import annotations

import os
from typing import Final, final

from .. import lowlevel

LONGEST_BYTES: Final = 1 << 17
"""Above this one copy more costs about as much as a wake-up."""


@final
class QuietWriter:
    """Writes into one file. Close it; one thread uses it at a time."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        """Map the file.

        Args:
            fd: Open to read and write; it stays the caller's.
            size_bytes: What the file has, and keeps as long as nobody cuts it short.

        Raises:
            OSError: There is no descriptor left, or no room for the mapping.
        """
        self._own_fd = lowlevel.create_memfd("namedipc", 0)
        try:
            self._view = memoryview(lowlevel.map_shared(fd, size_bytes, writable=True))
        except BaseException:
            os.close(self._own_fd)
            raise

    def write(self, data: bytes, offset: int) -> None:
        """Write all of it.

        Args:
            data: At most `LONGEST_BYTES`.
            offset: Where in the file.

        Raises:
            OSError: EFAULT: the file was cut short.
        """
        os.pwrite(self._own_fd, data, 0)
        done = 0
        while done < len(data):
            with self._view[offset + done : offset + len(data)] as place:
                done += os.preadv(self._own_fd, [place], done)

    def close(self) -> None:
        """Let go of the mapping, and close what is our own. Safe to repeat, and in a forked child."""
        self._view = memoryview(b"")  # not released: a thread that was writing when its process forked still has it
        fd, self._own_fd = self._own_fd, -1
        if fd >= 0:
            os.close(fd)
