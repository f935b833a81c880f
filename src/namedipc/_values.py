"""Values of the public surface: who the peer is, who is allowed, and every limit by its name."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, final
from weakref import ref

import attrs

from . import lowlevel
from ._fd import Fd, adopt

StrPath: TypeAlias = str | os.PathLike[str]
"""A filesystem path, as the standard library takes it."""

IfExists: TypeAlias = Literal["fail", "keep", "replace"]
"""What to do where the name is already there."""


class _Seen:
    """What is known of a process besides the values by which it is compared: not a part of what is sent."""

    __slots__ = ("_socket", "_start_ticks")
    _socket: ref[lowlevel.Socket]
    _start_ticks: int


@final
@attrs.frozen
class Peer(_Seen):
    """Whom the kernel vouches for at the other end, as of the moment it connected or began to listen.

    Attributes:
        pid: Process id; 0 where it lives in a pid namespace that cannot be seen from here.
        uid: Effective user id.
        gid: Effective group id.
        groups: Supplementary group ids.

    Source: unix(7), SO_PEERCRED and SO_PEERGROUPS.
    """

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def executable(self) -> Path | None:
        """The program it runs now; None where this may not be known, or it has ended."""
        try:
            return Path(lowlevel.process_executable(self.pid))
        except OSError:
            return None

    @property
    def start_time(self) -> float | None:
        """When the process began, in seconds since the epoch, to about a hundredth; None where this may not be known.

        Together with the pid it names one process.
        """
        ticks: int | None = getattr(self, "_start_ticks", None)
        if ticks is None:
            return None
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return boot + ticks / os.sysconf("SC_CLK_TCK")

    def pidfd(self) -> Fd:
        """Open the process: unlike its pid, the descriptor never comes to mean another one.

        It is readable once the process has ended, and `signal.pidfd_send_signal` sends to nobody else.

        Returns:
            The descriptor; the caller closes it.

        Raises:
            ProcessLookupError: The process has ended; or it cannot be told from a later one with its pid, as that of a
                `Peer` which was not made by a connection.

        Source: SO_PEERPIDFD (Linux 6.5) while the connection is open, otherwise pidfd_open(2) and the start time.
        """
        fd = self._pidfd_of_connection() or self._pidfd_of_number()
        if not lowlevel.wait_ready(fd.fileno(), timeout_seconds=0):
            return fd
        fd.close()
        raise self._has_ended()

    def _pidfd_of_connection(self) -> Fd | None:
        socket = self._socket() if hasattr(self, "_socket") else None
        if socket is None:
            return None
        try:
            return adopt(lowlevel.peer_pidfd(socket))
        except OSError:  # it is closed, the process has ended, or the kernel has no such option
            return None

    def _pidfd_of_number(self) -> Fd:
        ticks: int | None = getattr(self, "_start_ticks", None)
        if ticks is None:
            raise ProcessLookupError(f"process {self.pid} cannot be told from a later one with the same number")
        try:
            fd = adopt(lowlevel.open_pidfd(self.pid))
        except ProcessLookupError:
            raise self._has_ended() from None
        # Looked at behind it: while this very process is there, the number meant no other before.
        if not lowlevel.process_alive(self.pid, ticks):
            fd.close()
            raise self._has_ended()
        return fd

    def _has_ended(self) -> ProcessLookupError:
        return ProcessLookupError(f"process {self.pid}, the peer, has ended")

    def __reduce__(self) -> tuple[Callable[..., Peer], tuple[object, ...]]:
        return _restore, (self.pid, self.uid, self.gid, self.groups, getattr(self, "_start_ticks", None))


def seen(peer: Peer, socket: lowlevel.Socket) -> Peer:
    """Return a peer of which more is remembered: when it began, and by which connection it is known."""
    object.__setattr__(peer, "_socket", ref(socket))
    with suppress(OSError):  # it has ended, or is hidden from this user
        object.__setattr__(peer, "_start_ticks", lowlevel.process_start_time(peer.pid))
    return peer


def _restore(pid: int, uid: int, gid: int, groups: tuple[int, ...], start_ticks: int | None) -> Peer:
    peer = Peer(pid, uid, gid, groups)
    if start_ticks is not None:
        object.__setattr__(peer, "_start_ticks", start_ticks)
    return peer


Allow: TypeAlias = Callable[[Peer], bool]
"""A rule: whether this peer may."""


def same_user(peer: Peer, /) -> bool:
    """Allow processes of this process's user, and root's. The default everywhere."""
    return peer.uid in {os.geteuid(), 0}


def anyone(peer: Peer, /) -> bool:
    """Allow every process which the file's permissions let through."""
    return True


def users(*who: int | str) -> Allow:
    """Allow these users.

    Args:
        who: User ids, or user names, which are looked up now.

    Raises:
        ValueError: There is no user of that name.
    """
    allowed = frozenset(_user_id(user) for user in who)

    def rule(peer: Peer, /) -> bool:
        return peer.uid in allowed

    return rule


def groups(*which: int | str) -> Allow:
    """Allow members of these groups, be it their own or a supplementary one.

    Args:
        which: Group ids, or group names, which are looked up now.

    Raises:
        ValueError: There is no group of that name.
    """
    allowed = frozenset(_group_id(group) for group in which)

    def rule(peer: Peer, /) -> bool:
        return peer.gid in allowed or not allowed.isdisjoint(peer.groups)

    return rule


def _user_id(user: int | str) -> int:
    if isinstance(user, int):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"there is no user named {user!r} on this machine; give its number instead") from None


def _group_id(group: int | str) -> int:
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"there is no group named {group!r} on this machine; give its number instead") from None


Number = TypeVar("Number", int, float)


def _positive(_: object, attribute: attrs.Attribute[Number], value: Number) -> None:
    if not value > 0:  # nor a NaN
        raise ValueError(f"Limits({attribute.name}={value!r}): must be above 0")


def _at_most_wire(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value > LARGEST_MESSAGE_BYTES:
        raise ValueError(f"Limits({attribute.name}={value!r}): the protocol allows {LARGEST_MESSAGE_BYTES} at most")


def _fits_u32(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value >= 1 << 32:
        raise ValueError(f"Limits({attribute.name}={value!r}): the protocol has 32 bits for it")


LARGEST_MESSAGE_BYTES = 16 << 20
"""The longest body a frame may have, whatever the limits say: 16 MiB."""


@final
@attrs.frozen(kw_only=True)
class Limits:
    """Every bound of a name. One object, so that an editor lists them all.

    Calls, streams, `outbound_bytes` and `stalled_seconds` belong to services alone. A channel has no queue in which
    something could wait: a peer that does not read holds up the sender, who says for how long. The times of a channel
    count only while somebody waits to receive. Infinity is no limit of time.

    Attributes:
        clients: Connections at once.
        clients_per_uid: Connections at once of one user.
        calls_in_flight: Calls of one connection which have begun and not ended; more are refused.
        message_bytes: The longest message, in bytes of its encoded form. Large payloads do not count.
        payload_bytes: How many bytes the buffers for large payloads of one connection may have, in each direction: as
            whole MiB, and no more than the other side has. So much one message may carry.
        stream_items: How many items of a stream may be on their way, or wait to be taken; its sender then waits.
        stream_bytes: How many bytes may; one item may go beyond it.
        outbound_bytes: What may wait for a peer that does not read; beyond it the peer is not read either.
        handshake_seconds: Until a peer that was accepted has said its hello; on a channel its type as well.
        midframe_seconds: Until a frame that has begun is whole.
        stalled_seconds: Until a peer with too much waiting for it has read on.
    """

    clients: int = attrs.field(default=1024, validator=_positive)
    clients_per_uid: int = attrs.field(default=128, validator=_positive)
    calls_in_flight: int = attrs.field(default=256, validator=[_positive, _fits_u32])
    message_bytes: int = attrs.field(default=1 << 20, validator=[_positive, _at_most_wire])
    payload_bytes: int = attrs.field(default=512 << 20, validator=_positive)
    stream_items: int = attrs.field(default=64, validator=[_positive, _fits_u32])
    stream_bytes: int = attrs.field(default=256 << 10, validator=[_positive, _fits_u32])
    outbound_bytes: int = attrs.field(default=4 << 20, validator=_positive)
    handshake_seconds: float = attrs.field(default=5.0, validator=_positive)
    midframe_seconds: float = attrs.field(default=30.0, validator=_positive)
    stalled_seconds: float = attrs.field(default=30.0, validator=_positive)
