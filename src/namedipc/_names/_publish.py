"""Publish: a file or a FIFO gets its name only when it is finished.

The law: whoever can open the name finds it whole, with its size allocated and its permissions exact. A file
has no name until then (`O_TMPFILE`), or, where the filesystem cannot do that, a temporary one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, final

from .. import lowlevel
from .._errors import NameNotFound, NameTaken, NotAllowed
from .._values import IfExists, StrPath
from ._attach import Owners, expected_owners, open_checked, open_file_at, refuse_other_kind
from ._place import Place, check_mode
from ._temporary import hold_temporary, sweep, unused_name
from ._trouble import translating

_NO_UNNAMED: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOSYS, errno.EINVAL}
"""How a filesystem, or an old kernel, says that it has no O_TMPFILE."""


def publish_file(path: StrPath, *, mode: int, if_exists: IfExists, size_bytes: int, fill: Callable[[int], None]) -> int:
    """Make a file under a name: allocated, filled and with its permissions before anybody can see it.

    Args:
        path: The name.
        mode: Its permissions, exactly these whatever the umask.
        if_exists: Where a file is there: `"fail"`; `"keep"` opens that one instead; `"replace"` puts the new
            one into its place in one step, and whoever has the old one open keeps the old one.
        size_bytes: How much to allocate.
        fill: Writes the content; gets the descriptor. What it raises passes, and nothing is left behind.

    Returns:
        A descriptor open to read and write, which the caller closes: of the new file, or with `"keep"` of the
        old one.

    Raises:
        NameTaken: A file is there, and `"fail"`.
        WrongKind: Something else is there; it is not touched.
        NameNotFound: The directory is missing.
        NotAllowed: The directory may not be written to, or the file there is another user's.
        TooLarge: The filesystem has no room for it. Nothing is left behind.

    Source: open(2) "O_TMPFILE", posix_fallocate(3).
    """
    check_mode(mode)
    with Place(path, make_directory=True) as place:
        while True:
            present = place.status()
            if present is not None:
                refuse_other_kind(present, "file", place.path)
                if if_exists == "fail":
                    raise NameTaken(
                        f"{place.path}: is there already; open it, remove it, or say if_exists='keep' or 'replace'"
                    )
                if if_exists == "keep":
                    with suppress(NameNotFound):  # removed since we looked
                        return open_file_at(place, writable=True)
                    continue
                _refuse_foreign(present, place.path)
            # FileExistsError: somebody was first since we looked.
            with translating(place.path, f"make a file of {size_bytes} bytes"), suppress(FileExistsError):
                return _make_file(place, mode, size_bytes, fill, replace=if_exists == "replace")


def open_fifo(
    path: StrPath, *, create: bool, mode: int = 0o600, allowed_uids: Owners = None, any_owner: bool = False
) -> int:
    """Return a descriptor that stands for the FIFO under a name, without opening either end.

    Args:
        path: The name.
        create: Make the FIFO where nothing is there.
        mode: Its permissions when it is made, exactly these; one that is there keeps its own.
        allowed_uids: User ids which may own it, besides the caller's own and root.
        any_owner: Accept whoever owns it.

    Returns:
        An `O_PATH` descriptor, which the caller closes; an end is opened by `/proc/self/fd/N`.

    Raises:
        NameNotFound: Nothing is there, or the directory is missing.
        WrongKind: Something else is there; it is not touched.
        NotAllowed: It belongs to somebody who is not expected, or cannot be made here.
    """
    check_mode(mode)
    with Place(path, make_directory=create) as place:
        while True:
            try:
                return open_checked(place, "fifo", allowed_uids, any_owner=any_owner)
            except NameNotFound:
                if not create:
                    raise
            # FileExistsError: somebody was first since we looked.
            with translating(place.path, "make the FIFO"), suppress(FileExistsError):
                _make_fifo(place, mode)


def _refuse_foreign(status: os.stat_result, path: str) -> None:
    if status.st_uid not in expected_owners(None):
        raise NotAllowed(f"{path}: belongs to uid {status.st_uid}; only that user may replace it")


def _make_fifo(place: Place, mode: int) -> None:
    if not mode & 0o077:
        lowlevel.make_fifo(place.name, mode=mode, directory_fd=place.directory_fd)
        return

    def make(name: str) -> int:
        lowlevel.make_fifo(name, mode=0o600, directory_fd=place.directory_fd)
        try:
            return place.open(name, os.O_RDWR)
        except BaseException:
            place.unlink(name)
            raise

    temporary, fd = hold_temporary(place, make)
    try:
        os.fchmod(fd, mode)
        _link(place, temporary)
    finally:
        place.unlink(temporary)
        os.close(fd)


def _make_file(place: Place, mode: int, size_bytes: int, fill: Callable[[int], None], *, replace: bool) -> int:
    with _Draft(place) as draft:
        if size_bytes:
            lowlevel.allocate(draft.fd, size_bytes)
        fill(draft.fd)
        os.fchmod(draft.fd, mode)
        if replace:
            draft.replace()
        else:
            draft.link()
        return draft.detach()


def _link(place: Place, temporary: str) -> None:
    fd = place.directory_fd
    os.link(temporary, place.name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)


@final
class _Draft:
    """A file on its way to its name. Left without `detach`, nothing of it remains."""

    def __init__(self, place: Place) -> None:
        self._place: Final = place
        self._temporary: str | None = None
        try:
            self.fd = lowlevel.open_unnamed_file(place.directory_fd, mode=0o600)
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            self._temporary, self.fd = hold_temporary(place, lambda name: place.open(name, flags))

    def __enter__(self) -> _Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        if self._temporary is not None:
            self._place.unlink(self._temporary)
        if self.fd >= 0:
            os.close(self.fd)

    def link(self) -> None:
        """Give it the name; FileExistsError where somebody else was first."""
        if self._temporary is None:
            lowlevel.link_file(self.fd, self._place.name, directory_fd=self._place.directory_fd)
        else:
            _link(self._place, self._temporary)

    def replace(self) -> None:
        """Give it the name, whoever has it now."""
        if self._temporary is None:
            sweep(self._place)
            lowlevel.flock(self.fd, exclusive=True)
            temporary = unused_name(self._place)
            lowlevel.link_file(self.fd, temporary, directory_fd=self._place.directory_fd)
            self._temporary = temporary
        fd = self._place.directory_fd
        os.rename(self._temporary, self._place.name, src_dir_fd=fd, dst_dir_fd=fd)
        self._temporary = None

    def detach(self) -> int:
        """Hand the descriptor to the caller, without the lock that held the temporary name."""
        fd, self.fd = self.fd, -1
        lowlevel.unflock(fd)
        return fd
