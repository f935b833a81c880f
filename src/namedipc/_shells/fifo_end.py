"""One open end of a FIFO: its descriptors, and what to wait for. What both shells share.

The law: nothing here waits. Whoever has to wait does so for one of two descriptors: `fileno()` is readable
when the FIFO is ready for this end, the bell when somebody has rung; closing ends both waits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from math import inf
from threading import Lock
from typing import Final, final

from .. import _names, lowlevel
from .._errors import Closed, ConnectionLost, EndOfChannel
from .connecting import Pause
from .in_child import forget_in_child

HUNG_UP_POLL_SECONDS: Final = 0.1
"""How often a FIFO without a writer is looked at by a reader which may not write to it. See `ReadingEnd`."""


class End:
    """The descriptors of one end, open until it is closed and nobody uses them any more.

    Attributes:
        path: What messages call the FIFO; absolute.
        is_closed: Whether its own side has closed it. The last user lets go of the descriptors.
        before_release: Called once, right before that.
    """

    def __init__(self, path: str, fd: int, events: int) -> None:
        """Take over a non-blocking descriptor.

        Args:
            path: The name.
            fd: Belongs to the end from now on, also if this raises.
            events: What epoll is to wait for.
        """
        self.path: Final = path
        self.is_closed: bool = False
        self.before_release: Callable[[], object] | None = None
        self._fd = fd
        self._events: Final = events
        self._users = 0
        self._gate = Lock()
        self._bell_fd = -1
        self._epoll: lowlevel.Epoll | None = None
        try:
            self._bell_fd = lowlevel.eventfd()
            self._epoll = lowlevel.Epoll()
            self._epoll.register(self._bell_fd, lowlevel.EPOLLIN)
            self._epoll.register(fd, events)
        except BaseException:
            self._close_descriptors()
            raise
        forget_in_child(self)

    @property
    def fd(self) -> int:
        """The FIFO's descriptor, which stays the end's."""
        return self._fd

    def fileno(self) -> int:
        """Return the descriptor to wait for, by reading, until the FIFO is ready or the bell rings."""
        assert self._epoll is not None
        return self._epoll.fileno()

    def bell_fileno(self) -> int:
        """Return the descriptor to wait for until the bell rings, whatever happens in the FIFO."""
        return self._bell_fd

    def ring(self) -> None:
        """Wake whoever waits."""
        with suppress(BlockingIOError):
            os.eventfd_write(self._bell_fd, 1)

    def pause(self) -> Pause:
        """Say what to wait for until the FIFO is ready."""
        return Pause(self.fileno(), inf)

    def hear(self) -> None:
        """Look why a wait has ended.

        Raises:
            Closed: The end was closed meanwhile.
        """
        if self.is_closed:
            raise self._closed()
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell_fd)

    def enter(self) -> None:
        """Begin to use the end. `leave` it.

        Raises:
            Closed: It was closed, or is the parent's of this forked process.
        """
        with self._gate:
            if self.is_closed:
                raise self._closed()
            self._users += 1

    def leave(self) -> None:
        """Use it no more."""
        with self._gate:
            self._users -= 1
            is_last = self.is_closed and not self._users
        if is_last:
            self._release()

    def close(self, *, at_once: bool = False) -> None:
        """Close the end. Safe to repeat.

        Args:
            at_once: Let go of the descriptors even though somebody waits for them: he has been told. Otherwise
                whoever uses the end is rung, and lets go of them himself.
        """
        with self._gate:
            if self.is_closed:
                return
            self.is_closed = True
            is_used = self._users > 0 and not at_once
        if is_used:
            self.ring()
        else:
            self._release()

    def forget(self) -> None:
        """Close the descriptors in a forked child, where no other thread has survived."""
        self.is_closed = True
        self._gate = Lock()
        self.before_release = None
        self._close_descriptors()

    def events_now(self) -> int:
        """Return what epoll says of the FIFO at this moment."""
        assert self._epoll is not None
        return dict(self._epoll.poll(0)).get(self._fd, 0)

    def _closed(self) -> Closed:
        return Closed(f"{self.path}: this end was closed here; open another by the name's verb")

    def _release(self) -> None:
        callback, self.before_release = self.before_release, None
        try:
            if callback is not None:
                callback()
        finally:
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            epoll.close()
        for fd in (self._bell_fd, self._fd):
            if fd >= 0:
                os.close(fd)
        self._bell_fd = self._fd = -1


@final
class ReadingEnd(End):
    """The end to read from.

    It keeps a writing end of its own as well: without a writer the kernel reports a hang-up for ever, which
    would wake the reader for nothing (`docs/fifo.md`). Not so where the last writer's leaving is to be seen.
    """

    def __init__(self, path: str, fd: int, *, until_writers_gone: bool, remove: bool = False) -> None:
        """Take over a reading descriptor.

        Args:
            path: The name.
            fd: Belongs to the end from now on, also if this raises.
            until_writers_gone: Whether to end when the last writer has left.
            remove: Whether to remove the name at the close.
        """
        super().__init__(path, fd, lowlevel.EPOLLIN)
        self._until_writers_gone: Final = until_writers_gone
        self._has_ended = False
        self._is_hung_up = False
        self._keep_alive_fd = -1
        self._removes = False  # nothing that has not been opened whole
        if not until_writers_gone:
            self._keep_alive()
        self._removes = remove

    def read(self, max_bytes: int, how: Callable[[int, int], bytes] = os.read) -> bytes | None:
        """Read what is there; None where nothing is.

        Args:
            max_bytes: How much at most.
            how: Takes it, or only looks at it.

        Raises:
            EndOfChannel: The last writer has left, everything was read, and this end was to end then.
        """
        if self._is_hung_up:
            self._watch_again()
        while not self._has_ended:
            try:
                data = how(self._fd, max_bytes)
            except BlockingIOError:
                return None
            if data:
                return data
            events = self.events_now()
            if not events & lowlevel.EPOLLHUP:
                return None  # no writer yet: epoll is silent until the first has come
            if events & lowlevel.EPOLLIN:
                continue  # one has come, written and gone since
            if not self._until_writers_gone:
                self._is_hung_up = True
                return None
            self._has_ended = True
        raise EndOfChannel(f"{self.path}: the last writer has left, and everything was received")

    def unread_bytes(self) -> int:
        """Return how much lies in the FIFO."""
        return lowlevel.unread_bytes(self._fd)

    def pause(self) -> Pause:
        """Say what to wait for until there is something to read, or the end."""
        if not self._is_hung_up:
            return super().pause()
        assert self._epoll is not None
        self._epoll.unregister(self._fd)  # epoll cannot be kept from reporting a hang-up
        return Pause(self.fileno(), HUNG_UP_POLL_SECONDS)

    def close(self, *, at_once: bool = False) -> None:
        """Close the end as every `End`, and remove the name before, if asked for, unless it is another FIFO's now.

        Raises:
            NotAllowed: The directory may not be written to. The end is closed.
        """
        removes, self._removes = self._removes and not self.is_closed, False
        try:
            if removes:
                _names.remove_published(self.path, self._fd)
        finally:
            super().close(at_once=at_once)

    def _keep_alive(self) -> None:
        try:
            self._keep_alive_fd = lowlevel.open_fifo_for_writing(own_path(self._fd))
        except PermissionError:
            pass  # it is looked at now and then instead
        except BaseException:
            self.close()
            raise

    def _watch_again(self) -> None:
        assert self._epoll is not None
        self._is_hung_up = False
        with suppress(FileExistsError):
            self._epoll.register(self._fd, self._events)

    def _close_descriptors(self) -> None:
        super()._close_descriptors()
        fd, self._keep_alive_fd = getattr(self, "_keep_alive_fd", -1), -1
        if fd >= 0:
            os.close(fd)


@final
class WritingEnd(End):
    """The end to write to."""

    def __init__(self, path: str, fd: int) -> None:
        """Take over a writing descriptor, also if this raises."""
        super().__init__(path, fd, lowlevel.EPOLLOUT)

    def write(self, data: bytes | memoryview) -> int:
        """Write what fits, and return how much; 0 where the FIFO is full. Up to 4096 bytes all or nothing.

        Raises:
            ConnectionLost: Nobody has it open for reading.
        """
        try:
            return lowlevel.write_pipe(self._fd, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            raise ConnectionLost(
                f"{self.path}: nobody reads any more; what was sent and not received is lost, "
                "unless another reader comes while this writer stays"
            ) from error

    def is_writable(self) -> bool:
        """Whether a write would not have to wait, be it that it would fail."""
        return bool(self.events_now())

    def wish_capacity(self, capacity_bytes: int) -> None:
        """Ask the kernel for another capacity; it may say no, for a user's pipes are bounded together."""
        with suppress(OSError):
            lowlevel.set_pipe_capacity(self._fd, capacity_bytes)

    def use_packets(self) -> None:
        """Make each write of at most 4096 bytes a packet, which one read takes whole."""
        lowlevel.set_packet_mode(self._fd)


def own_path(fd: int) -> str:
    """Return the path by which the file behind a descriptor is opened once more, whatever its name is now."""
    return f"/proc/self/fd/{fd}"
