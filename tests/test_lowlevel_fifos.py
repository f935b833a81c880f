"""FIFOs and pipes on the real kernel: permissions, opening each way, packets, capacity."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import lowlevel

from .conftest import Children
from .lowlevel_support import fails_with, needs_refusals, run_python, umask, without_privileges

pytestmark = pytest.mark.usefixtures("no_leaks")

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: its reading and its writing end."""
    reader, writer = lowlevel.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A FIFO that nobody has open."""
    path = tmp_path / "office_hours"
    lowlevel.make_fifo(path)
    return path


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o666, 0o620])
def test_the_mode_is_exact_whatever_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    """The umask neither withholds a bit nor lets one through."""
    with umask(mask):
        lowlevel.make_fifo(tmp_path / "fifo", mode=mode)
    assert (tmp_path / "fifo").stat().st_mode == stat.S_IFIFO | mode


def test_only_the_owner_may_use_a_fifo_by_default(fifo: Path) -> None:
    """The default is 0600."""
    assert fifo.stat().st_mode == stat.S_IFIFO | 0o600


def test_what_stands_under_the_path_is_not_touched(tmp_path: Path) -> None:
    """Making a FIFO where something stands fails, and leaves that alone, its permissions too."""
    path = tmp_path / "file"
    path.touch(0o640)
    before = path.stat()
    with fails_with(errno.EEXIST, filename=str(path)):
        lowlevel.make_fifo(path, mode=0o666)
    assert path.stat() == before
    with fails_with(errno.ENOENT):
        lowlevel.make_fifo(tmp_path / "missing" / "fifo")


def test_a_directory_may_be_given_by_its_descriptor(tmp_path: Path) -> None:
    """All three functions take the name relative to it."""
    directory_fd = os.open(tmp_path, os.O_PATH)
    lowlevel.make_fifo("here", mode=0o644, directory_fd=directory_fd)
    reader = lowlevel.open_fifo_for_reading("here", directory_fd=directory_fd)
    writer = lowlevel.open_fifo_for_writing("here", directory_fd=directory_fd)
    os.write(writer, b"x")
    assert os.read(reader, 1) == b"x"
    assert (tmp_path / "here").stat().st_mode == stat.S_IFIFO | 0o644
    for fd in (reader, writer, directory_fd):
        os.close(fd)


def test_both_ends_open_without_waiting(fifo: Path) -> None:
    """A reader finds the end, a writer the reader; neither end blocks, and neither is inherited."""
    reader = lowlevel.open_fifo_for_reading(fifo)
    assert os.read(reader, 1) == b""
    writer = lowlevel.open_fifo_for_writing(fifo)
    with fails_with(errno.EAGAIN):
        os.read(reader, 1)
    for fd in (reader, writer):
        assert not os.get_inheritable(fd)
        assert not os.get_blocking(fd)
        os.close(fd)


def test_a_writer_without_a_reader_is_told(fifo: Path) -> None:
    """ENXIO, by which one tells a FIFO without a reader from a missing one."""
    with fails_with(errno.ENXIO, filename=str(fifo)):
        lowlevel.open_fifo_for_writing(fifo)
    with fails_with(errno.ENOENT):
        lowlevel.open_fifo_for_writing(fifo.parent / "missing")


def test_blocking_ends_wait_for_each_other(fifo: Path) -> None:
    """As the chapter's open does: each call returns once the other end is there. The ends then block."""
    opened: list[int] = []
    thread = threading.Thread(target=lambda: opened.append(lowlevel.open_fifo_for_reading(fifo, blocking=True)))
    thread.start()
    writer = lowlevel.open_fifo_for_writing(fifo, blocking=True)
    thread.join()
    for fd in (writer, *opened):
        assert not os.get_inheritable(fd)
        assert os.get_blocking(fd)
        os.close(fd)
    assert len(opened) == 1


def test_an_open_descriptor_is_opened_further(fifo: Path) -> None:
    """Who has looked at a FIFO by O_PATH opens exactly that one, also after its name has gone."""
    looked_at = os.open(fifo, os.O_PATH | os.O_NOFOLLOW)
    fifo.unlink()
    reader = lowlevel.open_fifo_for_reading(f"/proc/self/fd/{looked_at}")
    writer = lowlevel.open_fifo_for_writing(f"/proc/self/fd/{looked_at}")
    for fd in (reader, writer, looked_at):
        os.close(fd)


def test_a_fifo_joins_two_processes(fifo: Path, child: Children) -> None:
    """What another process writes is read here, and its end is seen."""
    other = child(
        """
        import os, sys
        from namedipc import lowlevel
        fd = lowlevel.open_fifo_for_writing(sys.argv[1], blocking=True)
        lowlevel.write_pipe(fd, b"a question")
        """,
        str(fifo),
    )
    reader = lowlevel.open_fifo_for_reading(fifo, blocking=True)
    assert os.read(reader, 100) == b"a question"
    assert os.read(reader, 100) == b""
    os.close(reader)
    assert other.wait() == 0


def test_a_pipe_blocks_and_is_not_inherited(pipe: tuple[int, int]) -> None:
    """Both ends are close-on-exec from birth."""
    for fd in pipe:
        assert not os.get_inheritable(fd)
        assert os.get_blocking(fd)


def test_a_packet_is_read_alone(pipe: tuple[int, int]) -> None:
    """Without packet mode one read takes both writes, with it only one; what it has no room for is lost."""
    reader, writer = pipe
    os.write(writer, b"one")
    os.write(writer, b"two")
    assert os.read(reader, 100) == b"onetwo"
    lowlevel.set_packet_mode(writer)
    os.write(writer, b"one")
    os.write(writer, b"two")
    assert os.read(reader, 100) == b"one"
    assert os.read(reader, 1) == b"t"
    assert lowlevel.unread_bytes(reader) == 0


def test_packet_mode_keeps_the_other_flags(pipe: tuple[int, int]) -> None:
    """A non-blocking end stays that."""
    _, writer = pipe
    lowlevel.set_blocking(writer, False)
    lowlevel.set_packet_mode(writer)
    assert not os.get_blocking(writer)


def test_the_capacity_is_what_the_kernel_gives(pipe: tuple[int, int]) -> None:
    """Sizes are rounded up to pages, and both ends tell the same."""
    reader, writer = pipe
    assert lowlevel.set_pipe_capacity(writer, 1) == PAGE_BYTES
    assert lowlevel.pipe_capacity(reader) == PAGE_BYTES
    assert lowlevel.set_pipe_capacity(reader, PAGE_BYTES + 1) == 2 * PAGE_BYTES


def test_a_capacity_that_cannot_be_is_refused(pipe: tuple[int, int], tmp_path: Path) -> None:
    """Below what is unread, above what an ordinary user may have, and of what is no pipe."""
    _, writer = pipe
    os.write(writer, bytes(2 * PAGE_BYTES))
    with fails_with(errno.EBUSY):
        lowlevel.set_pipe_capacity(writer, 1)
    most = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    with without_privileges(), fails_with(errno.EPERM):
        lowlevel.set_pipe_capacity(writer, 2 * most)
    with (tmp_path / "file").open("w") as file, fails_with(errno.EBADF):
        lowlevel.pipe_capacity(file.fileno())


def test_blocking_is_switched(pipe: tuple[int, int]) -> None:
    """Off and on again."""
    reader, _ = pipe
    lowlevel.set_blocking(reader, False)
    with fails_with(errno.EAGAIN):
        os.read(reader, 1)
    lowlevel.set_blocking(reader, blocking=True)
    assert os.get_blocking(reader)


def test_writing_takes_what_fits(pipe: tuple[int, int]) -> None:
    """A large write is taken in part, a full pipe takes nothing, and small writes are whole or not at all."""
    reader, writer = pipe
    lowlevel.set_blocking(writer, False)
    capacity = lowlevel.pipe_capacity(writer)
    assert lowlevel.write_pipe(writer, bytes(capacity + 1)) == capacity
    with fails_with(errno.EAGAIN):
        lowlevel.write_pipe(writer, b"x")
    assert lowlevel.unread_bytes(reader) == capacity
    os.read(reader, PAGE_BYTES - 1)
    with fails_with(errno.EAGAIN):
        lowlevel.write_pipe(writer, bytes(PAGE_BYTES))


def test_any_buffer_is_written(pipe: tuple[int, int]) -> None:
    """A view need not be copied to bytes before."""
    reader, writer = pipe
    assert lowlevel.write_pipe(writer, memoryview(bytearray(b"abcdef"))[2:4]) == 2
    assert os.read(reader, 10) == b"cd"


def test_writing_without_a_reader_is_an_error() -> None:
    """BrokenPipeError, as SIGPIPE is ignored in Python."""
    reader, writer = lowlevel.pipe()
    os.close(reader)
    with fails_with(errno.EPIPE):
        lowlevel.write_pipe(writer, b"x")
    os.close(writer)


WRITE_WITHOUT_A_READER = """
import os, signal, sys
from namedipc import lowlevel
if sys.argv[1] == "old":
    from tests.lowlevel_support import OLD_KERNEL, refuse
    refuse(OLD_KERNEL)
reader, writer = lowlevel.pipe()
print(lowlevel.write_pipe(writer, b"abc"), os.read(reader, 10), flush=True)
os.close(reader)
signal.signal(signal.SIGPIPE, lambda *_: print("signal", flush=True))
try:
    lowlevel.write_pipe(writer, b"x")
except BrokenPipeError:
    print("error", flush=True)
"""


def kernel_has_nosignal() -> bool:
    """Whether pwritev2(2) takes RWF_NOSIGNAL here."""
    reader, writer = lowlevel.pipe()
    try:
        os.pwritev(writer, [b"?"], -1, 0x100)
    except OSError:
        return False
    finally:
        os.close(reader)
        os.close(writer)
    return True


@pytest.mark.skipif(not kernel_has_nosignal(), reason="this kernel has no RWF_NOSIGNAL, which came with 6.18")
def test_no_signal_is_raised_where_the_kernel_can() -> None:
    """An embedder whose SIGPIPE kills is spared."""
    assert run_python(WRITE_WITHOUT_A_READER, "new") == "3 b'abc'\nerror\n"


@needs_refusals
def test_an_older_kernel_writes_all_the_same() -> None:
    """Without RWF_NOSIGNAL a plain write is done, and the signal is raised as its disposition is."""
    assert run_python(WRITE_WITHOUT_A_READER, "old") == "3 b'abc'\nsignal\nerror\n"


def test_unread_bytes_are_counted(pipe: tuple[int, int]) -> None:
    """In pipes, and in sockets too."""
    reader, writer = pipe
    assert lowlevel.unread_bytes(reader) == 0
    os.write(writer, b"abc")
    assert lowlevel.unread_bytes(reader) == 3
    left, right = lowlevel.socket_pair()
    with left, right:
        lowlevel.send(left, b"abcde")
        assert lowlevel.unread_bytes(right.fileno()) == 5


def test_tee_repeats_and_takes_nothing(fifo: Path) -> None:
    """What lies in a FIFO is seen, as much as is asked for, and can still be read."""
    reader = lowlevel.open_fifo_for_reading(fifo)
    copy_reader, copy_writer = lowlevel.pipe()
    assert lowlevel.tee(reader, copy_writer, 100) == 0  # nobody writes
    writer = lowlevel.open_fifo_for_writing(fifo)
    with fails_with(errno.EAGAIN):
        lowlevel.tee(reader, copy_writer, 100)
    os.write(writer, b"first second")
    for _ in range(2):
        assert lowlevel.tee(reader, copy_writer, 5) == 5
        assert os.read(copy_reader, 100) == b"first"
    assert os.read(reader, 6) == b"first "
    assert lowlevel.tee(reader, copy_writer, 100) == 6
    assert os.read(copy_reader, 100) == b"second"
    with fails_with(errno.EINVAL):
        lowlevel.tee(reader, writer, 100)
    for fd in (reader, writer, copy_reader, copy_writer):
        os.close(fd)
