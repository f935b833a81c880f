"""An open mapped memory: the content of its file in this process, and the marks of a change. For both worlds.

The content is changed in place, so a change that does not come to its end cannot be taken back. It is marked instead,
before the first store; the commit at its end takes the mark off (`_protocol/records.py`). Whoever gets the lock next
and finds the mark is told.

The law: the mapping lives as long as somebody has the content, or a part of it. It is never unmapped under a view; to
close lets go of it, and no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar, final

from .. import lowlevel
from .._errors import OwnerDied
from .._names._trouble import translating
from .._protocol import records
from .in_child import forget_in_child
from .region_file import RegionFile

C = TypeVar("C")


@final
class MappedFile(Generic[C]):
    """The content of one open memory. Owns the file, and closes it where it cannot be mapped."""

    def __init__(self, file: RegionFile, view: Callable[[lowlevel.Mapping], C]) -> None:
        """Map the content.

        Args:
            file: A region of one slot, open to write.
            view: Puts the content over the mapping, which it has to keep alive.
        """
        self.file: Final = file
        self._content: C | None = None
        header = file.header
        try:
            with file.gate, translating(file.path, f"map its {header.capacity_bytes} bytes"):
                mapping = lowlevel.map_shared(
                    file.whole_fd(), header.capacity_bytes, writable=True, offset_bytes=header.header_bytes
                )
            self._content = view(mapping)
        except BaseException:
            file.close()
            raise
        forget_in_child(self)

    @property
    def content(self) -> C:
        """The memory itself."""
        content = self._content
        if content is None:
            raise self.file.closed()
        return content

    def newer(self, version: int) -> tuple[int, int] | None:
        """Return the latest version, twice, if it is newer than this one; errors as those of `RegionFile.newer`."""
        with self.file.gate:
            self.file.whole_fd()  # an accident is met here, and not by touching the content
        latest = self.file.newer(version)
        return None if latest is None else (latest, latest)

    @contextmanager
    def reading(self) -> Iterator[C]:
        """Give out the content to be read. The caller holds the lock, which may be shared.

        Raises:
            OwnerDied: The last change did not come to its end.
            ProtocolError: The file was cut short.
            Closed: The memory was closed.
        """
        self._refuse_unfinished()
        yield self.content

    @contextmanager
    def changing(self) -> Iterator[C]:
        """Give out the content to be changed. The caller holds the lock alone; errors are those of `reading`."""
        self._refuse_unfinished()
        with self.recovering() as content:
            yield content

    @contextmanager
    def recovering(self) -> Iterator[C]:
        """Give out the content to be changed, even if the last change did not come to its end."""
        content = self.content
        begun = records.pack_dirty(self.file.version() + 1)
        with self.file.gate:
            self.file.whole_fd()
            self.file.write_quietly(begun, records.DIRTY_OFFSET)
        yield content
        self.file.publish(b"")  # a commit of no bytes: its version alone takes the mark off, and it is the bell

    def _refuse_unfinished(self) -> None:
        version = self.file.version()
        with self.file.gate:
            mark = os.pread(self.file.whole_fd(), records.DIRTY_BYTES, records.DIRTY_OFFSET)
        if records.begun(mark, version):
            raise OwnerDied(
                f"{self.file.path}: whoever changed it last was killed, or failed, before the end of the change; the "
                "content may be half changed: look at it, and mend it or set it anew, within recover()"
            )

    def close(self) -> None:
        """Let go of the content, and close the file. Safe to repeat."""
        self._content = None
        self.file.close()

    def forget(self) -> None:
        """Let go of the content in a forked child."""
        self._content = None
