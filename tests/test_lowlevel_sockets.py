"""Sockets on the real kernel: names of any length, exact permissions, credentials, descriptors."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import lowlevel
from namedipc.lowlevel import _paths

from .conftest import Children
from .lowlevel_support import fails_with, needs_refusals, run_python, umask

pytestmark = pytest.mark.usefixtures("no_leaks")

CONNECT_AND_WAIT = """
import sys
from namedipc import lowlevel
with lowlevel.unix_connect(sys.argv[1]):
    sys.stdin.readline()
"""


@pytest.fixture
def pair() -> Iterator[tuple[lowlevel.Socket, lowlevel.Socket]]:
    """Two connected sockets."""
    left, right = lowlevel.socket_pair()
    with left, right:
        yield left, right


def mode_of(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def pidfd_or_skip(sock: lowlevel.Socket) -> int:
    """Open the peer, where the kernel can do that."""
    try:
        return lowlevel.peer_pidfd(sock)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        pytest.skip("this kernel has no SO_PEERPIDFD, which came with Linux 6.5")


def long_path(directory: Path) -> Path:
    """Return a path of more than 500 bytes, whose last component has as many as a filesystem takes."""
    for number in range(3):
        directory /= f"{number}" * 100
        directory.mkdir()
    return directory / ("name" * 64)[:255]


def test_server_and_client_talk(tmp_path: Path) -> None:
    """What the client sends arrives at the connection that the server accepts, and the answer goes back."""
    path = tmp_path / "pennys_channel"
    with lowlevel.unix_listen(path) as listener, lowlevel.unix_connect(path) as client:
        server = lowlevel.accept(listener)
        assert lowlevel.send(client, b"pennies") == 7
        assert server.recv(100) == b"pennies"
        assert lowlevel.send(server, b"a lot") == 5
        assert client.recv(100) == b"a lot"
        server.close()


def test_every_socket_is_close_on_exec_and_blocking(tmp_path: Path) -> None:
    """No socket reaches a program that is executed, and each blocks, whatever the default timeout is."""
    path = tmp_path / "name"
    socket.setdefaulttimeout(5)
    try:
        listener = lowlevel.unix_listen(path)
        client = lowlevel.unix_connect(path)
        server = lowlevel.accept(listener)
        sockets = [lowlevel.unix_socket(), listener, client, server, *lowlevel.socket_pair()]
    finally:
        socket.setdefaulttimeout(None)
    for sock in sockets:
        with sock:
            assert not sock.get_inheritable()
            assert sock.gettimeout() is None
            assert os.get_blocking(sock.fileno())
            assert sock.type == socket.SOCK_STREAM


def test_a_path_may_have_any_length(tmp_path: Path) -> None:
    """A path of 500 bytes with a last component of 255 is served, and leaves nothing but itself."""
    path = long_path(tmp_path)
    assert len(str(path)) > 500
    with lowlevel.unix_listen(path, mode=0o620) as listener, lowlevel.unix_connect(path) as client:
        server = lowlevel.accept(listener)
        lowlevel.send(client, b"x")
        assert server.recv(1) == b"x"
        server.close()
    assert os.listdir(path.parent) == [path.name]
    assert mode_of(path) == 0o620


def test_a_relative_path_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path without a directory means the working directory, which nothing changes."""
    monkeypatch.chdir(tmp_path)
    with lowlevel.unix_listen("here"), lowlevel.unix_connect("here"):
        assert (tmp_path / "here").is_socket()
    assert Path.cwd() == tmp_path


def test_a_name_that_is_not_utf8_is_served(tmp_path: Path) -> None:
    """A filename is bytes; those which are no text work as everywhere in Python."""
    path = os.path.join(tmp_path, os.fsdecode(b"caf\xe9"))
    with lowlevel.unix_listen(path), lowlevel.unix_connect(path):
        assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9"]


def test_connecting_follows_a_symbolic_link(tmp_path: Path) -> None:
    """As connect(2) does, also where the link's name is long."""
    path, link = tmp_path / "name", tmp_path / ("link" * 40)
    link.symlink_to(path)
    with lowlevel.unix_listen(path), lowlevel.unix_connect(link) as client:
        assert client.getpeername()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177])
@pytest.mark.parametrize("mode", [0o600, 0o666, 0o777])
@pytest.mark.parametrize("name", ["short", "long" * 50])
def test_the_mode_is_exact_whatever_the_umask(tmp_path: Path, mask: int, mode: int, name: str) -> None:
    """The umask neither withholds a bit nor lets one through."""
    path = tmp_path / name
    with umask(mask), lowlevel.unix_listen(path, mode=mode):
        assert mode_of(path) == mode


@pytest.mark.parametrize("name", ["short", "long" * 50])
def test_the_mode_is_never_looser_for_an_instant(tmp_path: Path, name: str) -> None:
    """With the umask out of the way, bind itself makes the file with the mode of the socket."""
    with umask(0), lowlevel.unix_socket() as sock:
        os.fchmod(sock.fileno(), 0o600)
        directory_fd = os.open(tmp_path, os.O_PATH)
        lowlevel.bind_at(sock, directory_fd, name)
        os.close(directory_fd)
        assert mode_of(tmp_path / name) == 0o600


def test_a_node_of_another_kind_keeps_its_mode(tmp_path: Path) -> None:
    """Where somebody has put a file in the place of the new socket, the file's permissions stay."""
    path = tmp_path / "planted"
    path.touch(0o600)
    with fails_with(errno.ESTALE, filename=str(path)):
        _paths.set_exact_mode(str(path), 0o666, stat.S_IFSOCK, directory_fd=None)
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("name", ["short", "long" * 50])
def test_what_stands_under_the_path_is_not_touched(tmp_path: Path, name: str) -> None:
    """Listening where a file stands fails with EADDRINUSE, names the path, and leaves the file alone."""
    path = tmp_path / name
    path.write_text("mine")
    with fails_with(errno.EADDRINUSE, filename=str(path)):
        lowlevel.unix_listen(path)
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing/name", errno.ENOENT),
        ("name/", errno.ENOENT),
        ("x" * 256, errno.ENAMETOOLONG),
        ("..", errno.EADDRINUSE),
    ],
)
def test_a_path_that_cannot_be_made_says_why(tmp_path: Path, name: str, code: int) -> None:
    """The errno is the kernel's, the filename is the caller's, and nothing is left behind."""
    path = f"{tmp_path}/{name}"
    with fails_with(code, filename=path):
        lowlevel.unix_listen(path)
    assert os.listdir(tmp_path) == []


def test_nobody_there_and_nobody_listening_differ(tmp_path: Path) -> None:
    """No name is ENOENT; a socket without a listener, and what is no socket, are ECONNREFUSED."""
    with fails_with(errno.ENOENT, filename=str(tmp_path / "missing")):
        lowlevel.unix_connect(tmp_path / "missing")
    lowlevel.unix_listen(tmp_path / "stale").close()
    (tmp_path / "file").touch()
    for name in ("stale", "file"):
        with fails_with(errno.ECONNREFUSED, filename=str(tmp_path / name)):
            lowlevel.unix_connect(tmp_path / name)


def test_connect_at_reaches_what_was_looked_at(tmp_path: Path) -> None:
    """A name that is replaced after it was opened leads to the first socket still."""
    path = tmp_path / "name"
    with lowlevel.unix_listen(path) as first, lowlevel.unix_listen(tmp_path / "other") as second:
        first.setblocking(False)
        second.setblocking(False)
        name_fd = os.open(path, os.O_PATH)
        (tmp_path / "other").rename(path)
        with lowlevel.unix_socket() as client:
            lowlevel.connect_at(client, name_fd)
            lowlevel.accept(first).close()
            with pytest.raises(BlockingIOError):
                lowlevel.accept(second)
        os.close(name_fd)


def test_a_full_backlog_is_told_to_a_non_blocking_socket(tmp_path: Path) -> None:
    """The socket is not connected then; once somebody was accepted it connects."""
    path = tmp_path / "name"
    with lowlevel.unix_listen(path, backlog=0) as listener, lowlevel.unix_connect(path):
        name_fd = os.open(path, os.O_PATH)
        with lowlevel.unix_socket() as client:
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                lowlevel.connect_at(client, name_fd)
            lowlevel.accept(listener).close()
            lowlevel.connect_at(client, name_fd)
        os.close(name_fd)


@pytest.mark.parametrize("blocking", [True, False])
def test_an_accepted_socket_blocks_as_its_listener_does(tmp_path: Path, blocking: bool) -> None:
    """In Python and in the kernel."""
    path = tmp_path / "name"
    with lowlevel.unix_listen(path) as listener, lowlevel.unix_connect(path):
        listener.setblocking(blocking)
        with lowlevel.accept(listener) as server:
            assert server.getblocking() is blocking
            assert os.get_blocking(server.fileno()) is blocking


def test_half_close_ends_one_direction(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """The peer reads what was sent, then the end, and can still answer."""
    left, right = pair
    lowlevel.send(left, b"last words")
    lowlevel.shutdown_write(left)
    assert right.recv(100) == b"last words"
    assert right.recv(100) == b""
    lowlevel.send(right, b"noted")
    assert left.recv(100) == b"noted"


def test_shutdown_ends_both_directions(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """Both ends read the end at once, and nothing can be sent any more."""
    left, right = pair
    lowlevel.shutdown(left)
    assert (left.recv(1), right.recv(1)) == (b"", b"")
    with fails_with(errno.EPIPE):
        lowlevel.send(right, b"x")
    lowlevel.shutdown(right)


def test_a_blocking_socket_need_not_wait(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """The functions which end in `_now` say that nothing is there, or that nothing fits."""
    left, right = pair
    with fails_with(errno.EAGAIN):
        lowlevel.receive_now(right, 1)
    with fails_with(errno.EAGAIN):
        while lowlevel.send_now(left, bytes(100_000)):
            pass
    assert lowlevel.receive_now(right, 10) == bytes(10)
    right.close()
    with fails_with(errno.EPIPE):
        lowlevel.send_now(left, b"x")


def test_pieces_leave_one_behind_the_other(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """As many as fit, in part if need be; a blocking socket need not wait, and a lost peer raises no signal."""
    left, right = pair
    assert lowlevel.send_pieces(left, [b"ab", memoryview(b"cde"), bytearray(b"f"), b""]) == 6
    assert right.recv(10) == b"abcdef"
    sent = lowlevel.send_pieces(left, [b"ab", bytes(10_000_000)])
    assert 2 < sent < 10_000_000
    with fails_with(errno.EAGAIN):
        while lowlevel.send_pieces(left, [b"x"]):
            pass
    right.close()
    with fails_with(errno.EPIPE):
        lowlevel.send_pieces(left, [b"x"])


def test_sending_takes_what_fits(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """A non-blocking send takes a part, then says that nothing fits."""
    left, _ = pair
    left.setblocking(False)
    assert 0 < lowlevel.send(left, bytes(10_000_000)) < 10_000_000
    with fails_with(errno.EAGAIN):
        while lowlevel.send(left, b"x"):
            pass


def test_no_write_to_a_lost_peer_raises_the_signal() -> None:
    """Where SIGPIPE kills, both ways to send raise BrokenPipeError instead."""
    printed = run_python("""
import signal
from namedipc import lowlevel
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
left, right = lowlevel.socket_pair()
right.close()
for send in (lambda: lowlevel.send(left, b"x"), lambda: lowlevel.send_descriptors(left, b"x", [1])):
    try:
        send()
    except BrokenPipeError:
        print("alive")
""")
    assert printed == "alive\nalive\n"


def test_credentials_tell_who_connected(tmp_path: Path, child: Children) -> None:
    """Process, user and group of the client at the server, and of the server at the client."""
    path = tmp_path / "name"
    with lowlevel.unix_listen(path) as listener:
        other = child(CONNECT_AND_WAIT, str(path))
        with lowlevel.accept(listener) as server:
            who = lowlevel.Credentials(other.pid, os.geteuid(), os.getegid())
            assert lowlevel.peer_credentials(server) == who
        with lowlevel.unix_connect(path) as client:
            assert lowlevel.peer_credentials(client).pid == os.getpid()


def test_a_socket_without_a_peer_has_nobody(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """No process, no user; and no groups."""
    nobody = lowlevel.Credentials(0, 0xFFFFFFFF, 0xFFFFFFFF)
    with lowlevel.unix_socket() as sock:
        assert lowlevel.peer_credentials(sock) == nobody
        with fails_with(errno.ENODATA):
            lowlevel.peer_groups(sock)
    assert sorted(lowlevel.peer_groups(pair[0])) == sorted(os.getgroups())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can join groups")
@pytest.mark.parametrize("count", [0, 256, 257, 3_000])
def test_any_number_of_groups_is_told(count: int) -> None:
    """Also more than fit the largest buffer that Python's getsockopt takes."""
    before = os.getgroups()
    os.setgroups(range(1_000, 1_000 + count))
    try:
        left, right = lowlevel.socket_pair()
    finally:
        os.setgroups(before)
    with left, right:
        assert lowlevel.peer_groups(left) == tuple(range(1_000, 1_000 + count))


def test_a_pidfd_of_the_peer_tells_its_end(tmp_path: Path, child: Children) -> None:
    """It is close-on-exec, and readable once the client has died."""
    path = tmp_path / "name"
    with lowlevel.unix_listen(path) as listener:
        other = child(CONNECT_AND_WAIT, str(path))
        with lowlevel.accept(listener) as server:
            pidfd = pidfd_or_skip(server)
    assert not os.get_inheritable(pidfd)
    assert not lowlevel.wait_ready(pidfd, timeout_seconds=0)
    lowlevel.signal_pidfd(pidfd, signal.SIGKILL)
    assert lowlevel.wait_ready(pidfd, timeout_seconds=30)
    assert other.wait() == -signal.SIGKILL
    os.close(pidfd)


def test_descriptors_can_be_refused(tmp_path: Path) -> None:
    """Whoever connects afterwards gets EPERM for a descriptor, and can still send bytes."""
    path = tmp_path / "name"
    with lowlevel.unix_listen(path) as listener:
        if not lowlevel.refuse_descriptors(listener):
            pytest.skip("this kernel has no SO_PASSRIGHTS, which came with Linux 6.16")
        with lowlevel.unix_connect(path) as client, lowlevel.accept(listener) as server:
            with pytest.raises(PermissionError):
                lowlevel.send_descriptors(client, b"gift", [0])
            lowlevel.send(client, b"word")
            assert lowlevel.receive_descriptors(server, 100) == (b"word", [])


def test_only_the_missing_option_is_an_older_kernel() -> None:
    """Any failure but the missing option is raised, not taken for an older kernel."""
    closed = lowlevel.unix_socket()
    closed.close()
    with fails_with(errno.EBADF):
        lowlevel.refuse_descriptors(closed)


@needs_refusals
def test_an_older_kernel_is_told_apart() -> None:
    """Linux 5.10 cannot refuse descriptors, which is False, and opens no peer, which is an error."""
    printed = run_python("""
import errno
from tests.lowlevel_support import OLD_KERNEL, refuse
from namedipc import lowlevel
refuse(OLD_KERNEL)
left, right = lowlevel.socket_pair()
print(lowlevel.refuse_descriptors(left), lowlevel.peer_credentials(left).pid > 0)
try:
    lowlevel.peer_pidfd(left)
except OSError as error:
    print(errno.errorcode[error.errno])
""")
    assert printed == "False True\nENOPROTOOPT\n"


@pytest.mark.parametrize("count", [0, 1, 253])
def test_descriptors_arrive_with_the_data(
    pair: tuple[lowlevel.Socket, lowlevel.Socket], count: int, tmp_path: Path
) -> None:
    """Up to 253 at once; they are duplicates, close-on-exec, of what the sender has."""
    left, right = pair
    path = tmp_path / "file"
    path.write_text("content")
    with path.open() as file:
        assert lowlevel.send_descriptors(left, b"here", [file.fileno()] * count) == 4
    data, received = lowlevel.receive_descriptors(right, 100)
    try:
        assert data == b"here"
        assert len(set(received)) == count
        for fd in received:
            assert not os.get_inheritable(fd)
            assert os.pread(fd, 100, 0) == b"content"
    finally:
        for fd in received:
            os.close(fd)


def test_what_cannot_be_sent_is_refused(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """Too many descriptors, a closed one, and none of the data that has to carry them."""
    left, right = pair
    closed = os.dup(0)
    os.close(closed)
    cases: list[tuple[bytes, list[int], int]] = [
        (b"x", [0] * 254, errno.EINVAL),
        (b"x", [closed], errno.EBADF),
        (b"", [0], errno.EINVAL),
    ]
    for data, descriptors, code in cases:
        with fails_with(code):
            lowlevel.send_descriptors(left, data, descriptors)
    left.close()
    assert lowlevel.receive_descriptors(right, 1) == (b"", [])


def test_descriptors_come_with_other_ancillary_data(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """Credentials that were asked for do not stand in the way."""
    left, right = pair
    right.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    lowlevel.send_descriptors(left, b"x", [0, 0])
    data, received = lowlevel.receive_descriptors(right, 1)
    for fd in received:
        os.close(fd)
    assert (data, len(received)) == (b"x", 2)


def test_lost_descriptors_are_an_error_and_leak_nothing(
    pair: tuple[lowlevel.Socket, lowlevel.Socket],
) -> None:
    """With room for 2 of 5 in this process's table the 2 are closed again, and the loss is told."""
    left, right = pair
    lowlevel.send_descriptors(left, b"x", [0] * 5)
    before = lowlevel.descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [number for number in range(len(before) + 3) if number not in before]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[2], hard))
    try:
        with fails_with(errno.EMSGSIZE):
            lowlevel.receive_descriptors(right, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert lowlevel.descriptors() == before


def test_nothing_to_receive_is_told_to_a_non_blocking_socket(
    pair: tuple[lowlevel.Socket, lowlevel.Socket],
) -> None:
    """As by recv."""
    _, right = pair
    right.setblocking(False)
    with pytest.raises(BlockingIOError):
        lowlevel.receive_descriptors(right, 1)


# --- sockets that were passed


def test_a_descriptor_becomes_a_socket(pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """It keeps its blocking mode, for others have it too, and is close-on-exec; what is no socket stays as it was."""
    left, right = pair
    for blocking in (True, False):
        left.setblocking(blocking)
        fd = os.dup(left.fileno())
        os.set_inheritable(fd, True)
        with lowlevel.adopt_socket(fd) as adopted:
            assert adopted.getblocking() is blocking
            assert not adopted.get_inheritable()
            lowlevel.send(adopted, b"x")
        assert right.recv(1) == b"x"
    null = os.open(os.devnull, os.O_RDONLY)
    with fails_with(errno.ENOTSOCK):
        lowlevel.adopt_socket(null)
    os.close(null)
    with fails_with(errno.EBADF):
        lowlevel.adopt_socket(null)


def test_the_path_of_a_listening_socket(tmp_path: Path, pair: tuple[lowlevel.Socket, lowlevel.Socket]) -> None:
    """As it was given to bind(2), for a stream socket that listens, and for nothing else."""
    with (
        lowlevel.unix_socket() as sock,
        lowlevel.unix_socket() as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets,
        socket.socket(socket.AF_INET) as foreign,
    ):
        parent = os.open(tmp_path, os.O_PATH)
        address = f"/proc/self/fd/{parent}/door"
        sock.bind(address)
        os.close(parent)
        assert lowlevel.listening_path(sock.fileno()) is None
        sock.listen(1)
        assert lowlevel.listening_path(sock.fileno()) == address
        for other in (abstract, packets):
            other.bind("")  # the kernel chooses an abstract address
        for other in (abstract, packets, foreign):
            other.listen(1)
        assert lowlevel.listening_path(abstract.fileno()) == ""
        for other in (packets, foreign, pair[0]):
            assert lowlevel.listening_path(other.fileno()) is None
        closed = sock.fileno()
    assert lowlevel.listening_path(closed) is None
    null = os.open(os.devnull, os.O_RDONLY)
    assert lowlevel.listening_path(null) is None
    os.close(null)


def test_only_a_stream_of_the_unix_domain_is_adopted() -> None:
    """Anything else stays with the caller."""
    reader, writer = lowlevel.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        with fails_with(errno.EPROTOTYPE):
            lowlevel.adopt_socket(datagrams.fileno())
        with fails_with(errno.ENOTSOCK):
            lowlevel.adopt_socket(reader)
        for fd in (reader, writer, datagrams.fileno()):
            os.fstat(fd)
    for fd in (reader, writer):
        os.close(fd)
