"""UNIX domain sockets: names of any length, credentials, descriptors in ancillary data.

Sockets are `socket.socket` objects, because they are the only kernel objects for which Python has one. Every
socket is SOCK_STREAM and close-on-exec from birth, and no write raises SIGPIPE.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import stat
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from ._paths import StrPath, errors_naming, parent_directory, set_exact_mode

if TYPE_CHECKING:
    from typing_extensions import Buffer

Socket: TypeAlias = socket.socket
"""A socket, as Python has it."""

_ADDRESS_BYTES_MAX = 107  # unix(7): sun_path holds 108 bytes, the last of them NUL
# Plain integers: an operation on members of socket's enumerations costs more than the system call's own overhead.
_NO_SIGNAL: Final = int(socket.MSG_NOSIGNAL)
_DONT_WAIT: Final = int(socket.MSG_DONTWAIT)
_CLOSE_ON_EXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_CUT_SHORT: Final = int(socket.MSG_CTRUNC)
_SEND_NOW: Final = _NO_SIGNAL | _DONT_WAIT

# <asm-generic/socket.h>; Python names none of these.
_SO_PEERGROUPS = 59  # Linux 4.13
_SO_PEERPIDFD = 77  # Linux 6.5
_SO_PASSRIGHTS = 83  # Linux 6.16

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_ID_BYTES = 4  # sizeof(gid_t), and of a descriptor in SCM_RIGHTS
_DESCRIPTORS_ROOM = socket.CMSG_SPACE(253 * _ID_BYTES)  # unix(7): SCM_MAX_FD, the most that one message carries
_GETSOCKOPT_BYTES_MAX = 1024  # Python's getsockopt takes no larger buffer


def unix_socket() -> Socket:
    """Create a stream socket in the UNIX domain.

    Returns:
        A blocking socket, not bound to a name; the caller closes it.

    Raises:
        OSError: EMFILE or ENFILE, no descriptor is left.

    Source: socket(2), unix(7).
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(True)  # whatever socket.setdefaulttimeout() says
    return sock


def unix_listen(path: StrPath, *, backlog: int = 128, mode: int = 0o600) -> Socket:
    """Create the server end of the channel that `path` names: `domain_socket_server_create` of the chapter.

    The path may have any length. The socket's file has exactly `mode`, whatever the umask, and never more of
    it for an instant. Nothing that stands under the path is removed, not even the socket of a server that was
    killed; on failure a file that was just made may be left, as after a kill.

    Args:
        path: Where the socket's file is made.
        backlog: Clients that may wait to be accepted before another has to wait to connect.
        mode: Permission bits; a client needs write permission.

    Returns:
        A blocking, listening socket; the caller closes it and removes the file. `getsockname` of it tells an
            address in /proc instead of `path`.

    Raises:
        OSError: EADDRINUSE where something stands under the path; ENOENT, EACCES, ENAMETOOLONG and the like
            of the path. `filename` is the path.

    Source: socket(2), bind(2), listen(2), unix(7).
    """
    sock = unix_socket()
    try:
        with errors_naming(path), parent_directory(path) as (directory_fd, name):
            # bind(2) takes the mode of the socket itself, less the umask; fchmod(2) after it changes nothing.
            os.fchmod(sock.fileno(), mode)
            bind_at(sock, directory_fd, name)
            set_exact_mode(name, mode, stat.S_IFSOCK, directory_fd=directory_fd)
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def unix_connect(path: StrPath) -> Socket:
    """Create the client end of the channel that `path` names: `domain_socket_client_create` of the chapter.

    The path may have any length. Waits while the server's backlog is full.

    Args:
        path: The socket's file; a symbolic link is followed.

    Returns:
        A blocking, connected socket; the caller closes it.

    Raises:
        OSError: ENOENT where nothing stands under the path; ECONNREFUSED where nobody listens, or where it is
            no socket at all; EACCES without write permission. `filename` is the path.

    Source: socket(2), connect(2), unix(7).
    """
    sock = unix_socket()
    try:
        with errors_naming(path):
            name_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                connect_at(sock, name_fd)
            finally:
                os.close(name_fd)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_at(sock: Socket, directory_fd: int, name: str) -> None:
    """Bind a socket to a name in an open directory, without changing the working directory.

    A name of more than about 85 bytes does not fit the address even so: the socket is then bound to a short
    name beside it, which becomes `name` by link(2). A kill between the two leaves the short name (`.` and 16
    digits).

    Args:
        sock: An unbound socket. Its mode (fchmod(2)) less the umask becomes the file's.
        directory_fd: The directory; O_PATH is enough.
        name: One path component.

    Raises:
        OSError: EADDRINUSE where the name is taken; EACCES, ENAMETOOLONG and the like.

    Source: bind(2), unix(7), proc(5) "/proc/PID/fd".
    """
    address = f"/proc/self/fd/{directory_fd}/{name}"
    if len(os.fsencode(address)) <= _ADDRESS_BYTES_MAX:
        sock.bind(address)
        return
    short_name = f".{os.urandom(8).hex()}"
    sock.bind(f"/proc/self/fd/{directory_fd}/{short_name}")
    try:
        # link(2), unlike rename(2), never replaces what stands there.
        os.link(short_name, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd, follow_symlinks=False)
    except FileExistsError as error:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), name) from error
    finally:
        os.unlink(short_name, dir_fd=directory_fd)


def connect_at(sock: Socket, name_fd: int) -> None:
    """Connect a socket to the socket file behind an O_PATH descriptor.

    What was looked at by fstat(2) is what is connected to, whatever has happened to the name since.

    Args:
        sock: An unconnected socket.
        name_fd: The file, opened with O_PATH.

    Raises:
        BlockingIOError: The socket is non-blocking and the server's backlog is full. It is not connected; try
            again.
        ConnectionRefusedError: Nobody listens, or the file is no socket.
        PermissionError: No write permission on the file.

    Source: connect(2), unix(7), proc(5) "/proc/PID/fd".
    """
    sock.connect(f"/proc/self/fd/{name_fd}")


def adopt_socket(fd: int) -> Socket:
    """Make a socket of a descriptor which was received from another process, or inherited.

    It is close-on-exec from here on. Its blocking mode stays, for that belongs to all who have it.

    Args:
        fd: A stream socket of the UNIX domain.

    Returns:
        The socket, which owns the descriptor now; the caller closes it.

    Raises:
        OSError: EBADF, ENOTSOCK, or EPROTOTYPE where it is a socket of another kind; the descriptor stays as it was,
            and the caller's.

    Source: socket(7) SO_DOMAIN and SO_TYPE, fcntl(2) FD_CLOEXEC.
    """
    blocking = os.get_blocking(fd)
    sock = socket.socket(fileno=fd)
    if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        sock.detach()
        raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))
    sock.setblocking(blocking)  # whatever socket.setdefaulttimeout() says
    os.set_inheritable(fd, False)
    return sock


def listening_path(fd: int) -> str | None:
    """Tell the path that a listening stream socket in the UNIX domain was bound to.

    Returns:
        The path as it was given to bind(2); empty for an abstract or missing one. None where the descriptor is
            closed, or is anything else.

    Source: getsockname(2), socket(7) SO_ACCEPTCONN, unix(7).
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
            return None
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return None
        address = sock.getsockname()
        return address if isinstance(address, str) else ""
    finally:
        sock.detach()


def accept(listener: Socket) -> Socket:
    """Accept one connection.

    Returns:
        The connected socket, in the blocking mode of the listener; the caller closes it.

    Raises:
        BlockingIOError: The listener is non-blocking and nobody waits.
        OSError: EMFILE or ENFILE: no descriptor is left, also where nobody waits.

    Source: accept4(2) SOCK_CLOEXEC.
    """
    sock, _ = listener.accept()
    sock.setblocking(listener.getblocking())
    return sock


def socket_pair() -> tuple[Socket, Socket]:
    """Create two connected stream sockets without a name.

    Returns:
        Two blocking sockets; the caller closes both.

    Raises:
        OSError: EMFILE or ENFILE, no descriptor is left.

    Source: socketpair(2).
    """
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for sock in pair:
        sock.setblocking(True)
    return pair


def shutdown_write(sock: Socket) -> None:
    """Half-close: the peer reads what was sent and then the end; it can still answer.

    It holds for every process that has the socket. One that is not connected, or no longer, is no error.

    Source: shutdown(2) SHUT_WR.
    """
    sock.shutdown(socket.SHUT_WR)


def send(sock: Socket, data: Buffer) -> int:
    """Send as much of `data` as fits, without SIGPIPE.

    Returns:
        The bytes taken, 1 or more for data that is not empty.

    Raises:
        BlockingIOError: The socket is non-blocking and nothing fits.
        BrokenPipeError: The peer has gone.

    Source: send(2) MSG_NOSIGNAL.
    """
    return sock.send(data, _NO_SIGNAL)


def send_now(sock: Socket, data: Buffer) -> int:
    """Send as much of `data` as fits, without SIGPIPE and without waiting, also where the socket is blocking.

    Returns:
        The bytes taken, 1 or more for data that is not empty.

    Raises:
        BlockingIOError: Nothing fits.
        BrokenPipeError: The peer has gone.

    Source: send(2) MSG_DONTWAIT, MSG_NOSIGNAL.
    """
    return sock.send(data, _SEND_NOW)


def send_pieces(sock: Socket, pieces: Sequence[Buffer]) -> int:
    """Send as much of some pieces as fits, one behind the other, without SIGPIPE and without waiting.

    Args:
        sock: Of either kind; never waited for, also where it is blocking.
        pieces: 1,024 at most.

    Returns:
        The bytes taken, 1 or more for pieces that are not all empty.

    Raises:
        BlockingIOError: Nothing fits.
        BrokenPipeError: The peer has gone.

    Source: sendmsg(2) MSG_DONTWAIT, MSG_NOSIGNAL.
    """
    return sock.sendmsg(pieces, (), _SEND_NOW)


def receive_now(sock: Socket, max_bytes: int) -> bytes:
    """Receive what is there, without waiting, also where the socket is blocking.

    Returns:
        At most `max_bytes`; empty at the end.

    Raises:
        BlockingIOError: Nothing is there.
        ConnectionResetError: The peer has closed with bytes of ours unread.

    Source: recv(2) MSG_DONTWAIT.
    """
    return sock.recv(max_bytes, _DONT_WAIT)


def shutdown(sock: Socket) -> None:
    """Close both directions for every process that holds the socket; wakes whoever waits for it.

    One that is not connected, or no longer, is no error.

    Source: shutdown(2) SHUT_RDWR.
    """
    sock.shutdown(socket.SHUT_RDWR)


@attrs.frozen
class Credentials:
    """Who was at the other end when the connection was made; frozen then by the kernel.

    Attributes:
        pid: The process, 0 where it is outside this pid namespace.
        uid: Its effective user.
        gid: Its effective group.
    """

    pid: int
    uid: int
    gid: int


def peer_credentials(sock: Socket) -> Credentials:
    """Tell who connected, or at the client who listens.

    They are those of connect(2), listen(2) or socketpair(2): who drops privileges later still shows the old
    ones. A socket without a peer has pid 0 and the ids -1, read as 4294967295.

    Source: unix(7) "SO_PEERCRED".
    """
    return Credentials(*_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)))


def peer_groups(sock: Socket) -> tuple[int, ...]:
    """Tell the supplementary groups of the peer, frozen when the connection was made.

    Raises:
        OSError: ENODATA where the socket has no peer.

    Source: SO_PEERGROUPS, Linux 4.13; setgroups(2).
    """
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GETSOCKOPT_BYTES_MAX)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        data = _long_peer_groups(sock)
    return tuple(array.array("I", data))


def _long_peer_groups(sock: Socket) -> bytes:
    """Read more than 256 groups, for which Python's getsockopt has no room."""
    import ctypes

    from ._libc import LIBC, succeed

    groups_max = 65_536  # setgroups(2): NGROUPS_MAX
    buffer = ctypes.create_string_buffer(groups_max * _ID_BYTES)
    size = ctypes.c_uint32(len(buffer))
    succeed(
        LIBC.getsockopt(sock.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, buffer, ctypes.byref(size)),
    )
    return buffer.raw[: size.value]


def peer_pidfd(sock: Socket) -> int:
    """Open the process that connected: unlike its pid, the descriptor never comes to mean another process.

    Returns:
        A pidfd, close-on-exec; the caller closes it.

    Raises:
        OSError: ENOPROTOOPT where the kernel has no such option (before Linux 6.5); ENODATA where the socket
            has no peer; ESRCH or EINVAL where the peer has gone and the kernel does not open the dead (before
            Linux 6.16).

    Source: SO_PEERPIDFD, Linux 6.5.
    """
    return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)


def refuse_descriptors(sock: Socket) -> bool:
    """Let the kernel refuse descriptors that are sent to this socket.

    The sender gets EPERM instead of filling this process's table. Connections made to a listener afterwards
    inherit it, those which wait in its backlog already do not.

    Returns:
        False where the kernel has no such option (before Linux 6.16): nothing has changed, and what recv(2)
            does not ask for is dropped by the kernel anyway.

    Raises:
        OSError: EOPNOTSUPP where it is no UNIX domain socket.

    Source: SO_PASSRIGHTS, Linux 6.16.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return False
    return True


def send_descriptors(sock: Socket, data: Buffer, descriptors: Sequence[int]) -> int:
    """Send bytes, and with the first of them duplicates of descriptors.

    After a partial send the descriptors have left with the part: send the rest without them. The sender's own
    descriptors stay open.

    Args:
        sock: A connected socket.
        data: At least one byte: a stream carries no descriptors without.
        descriptors: At most 253.

    Returns:
        The bytes taken.

    Raises:
        OSError: EINVAL for no data, or for too many descriptors; EBADF for a closed one; EPERM where the peer
            refuses descriptors; ETOOMANYREFS where too many are in flight.
        BlockingIOError: The socket is non-blocking and nothing fits. No descriptor has left.
        BrokenPipeError: The peer has gone.

    Source: sendmsg(2) MSG_NOSIGNAL, unix(7) "SCM_RIGHTS".
    """
    view = memoryview(data)
    if not view.nbytes:
        raise OSError(errno.EINVAL, "a stream socket sends descriptors only with at least one byte of data")
    rights = array.array("i", descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    return sock.sendmsg([view], ancillary, _NO_SIGNAL)


def receive_descriptors(sock: Socket, max_bytes: int) -> tuple[bytes, list[int]]:
    """Receive bytes and the descriptors that came with them.

    Bytes of before may come first in one piece with those which carried the descriptors; what was sent after
    these is never merged to them.

    Args:
        sock: A connected socket.
        max_bytes: The most bytes to take, 1 or more.

    Returns:
        The data, empty at the end; and the descriptors, close-on-exec, which the caller closes.

    Raises:
        BlockingIOError: The socket is non-blocking and nothing is there.
        OSError: EMSGSIZE where the kernel could not deliver every descriptor, as at this process's limit of
            them: those that arrived are closed and the bytes are lost, so the connection is of no more use.

    Source: recvmsg(2) MSG_CMSG_CLOEXEC and MSG_CTRUNC, unix(7) "SCM_RIGHTS".
    """
    data, ancillary, flags, _ = sock.recvmsg(max_bytes, _DESCRIPTORS_ROOM, _CLOSE_ON_EXEC)
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors += array.array("i", payload[: len(payload) // _ID_BYTES * _ID_BYTES])
    if not flags & _CUT_SHORT:
        return data, descriptors
    for fd in descriptors:
        os.close(fd)
    raise OSError(errno.EMSGSIZE, "descriptors of a message were lost: no room, or no descriptor left here")
