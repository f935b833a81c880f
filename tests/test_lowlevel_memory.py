"""Shared memory on the real kernel: seals, mappings, files without a name."""

from __future__ import annotations

import errno
import mmap
import os
import platform
import stat
import sys
import textwrap
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from namedipc import lowlevel
from namedipc.lowlevel import Seal

from .conftest import Children
from .lowlevel_support import fails_with, needs_refusals, run_python, umask

pytestmark = pytest.mark.usefixtures("no_leaks")

SIZE_BYTES = 4 * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def memfd() -> Iterator[int]:
    """An anonymous file of `SIZE_BYTES`."""
    fd = lowlevel.create_memfd("test", SIZE_BYTES)
    yield fd
    os.close(fd)


def test_a_memfd_has_a_size_and_zeros(memfd: int) -> None:
    """It is close-on-exec, and its name is seen in /proc only."""
    assert os.fstat(memfd).st_size == SIZE_BYTES
    assert os.pread(memfd, SIZE_BYTES, 0) == bytes(SIZE_BYTES)
    assert not os.get_inheritable(memfd)
    assert lowlevel.descriptors()[memfd] == "/memfd:test (deleted)"


def test_a_memfd_that_cannot_be_leaves_nothing_open() -> None:
    """A name that is too long, and a negative size, which fails only after the file was made."""
    with fails_with(errno.EINVAL):
        lowlevel.create_memfd("x" * 250, 1)
    with fails_with(errno.EINVAL):
        lowlevel.create_memfd("x", -1)


def test_seals_hold_for_everybody(memfd: int) -> None:
    """Each seal forbids what it is named for, also to the one who set it."""
    assert not lowlevel.seals(memfd) & (Seal.SEAL | Seal.SHRINK | Seal.GROW | Seal.WRITE)
    lowlevel.add_seals(memfd, Seal.SHRINK | Seal.GROW)
    for size in (SIZE_BYTES - 1, SIZE_BYTES + 1):
        with fails_with(errno.EPERM):
            os.ftruncate(memfd, size)
    os.pwrite(memfd, b"x", 0)
    lowlevel.add_seals(memfd, Seal.WRITE)
    with fails_with(errno.EPERM):
        os.pwrite(memfd, b"x", 0)
    lowlevel.add_seals(memfd, Seal.SEAL)
    with fails_with(errno.EPERM):
        lowlevel.add_seals(memfd, Seal.SHRINK)
    everything = Seal.SEAL | Seal.SHRINK | Seal.GROW | Seal.WRITE
    assert lowlevel.seals(memfd) & everything == everything


def test_an_older_mapping_writes_through_the_seal_of_the_future(memfd: int) -> None:
    """The owner keeps on writing, others get memory that only they cannot write."""
    with lowlevel.map_shared(memfd, SIZE_BYTES, writable=True) as mine:
        with fails_with(errno.EBUSY):
            lowlevel.add_seals(memfd, Seal.WRITE)
        lowlevel.add_seals(memfd, Seal.FUTURE_WRITE)
        with fails_with(errno.EPERM):
            lowlevel.map_shared(memfd, SIZE_BYTES, writable=True)
        with fails_with(errno.EPERM):
            os.pwrite(memfd, b"x", 0)
        with lowlevel.map_shared(memfd, SIZE_BYTES, writable=False) as theirs:
            mine[0:3] = b"new"
            assert theirs[0:3] == b"new"


def test_a_memfd_without_seals_cannot_be_sealed() -> None:
    """Asked for so at its birth."""
    fd = lowlevel.create_memfd("open", 1, sealable=False)
    assert Seal.SEAL in lowlevel.seals(fd)
    with fails_with(errno.EPERM):
        lowlevel.add_seals(fd, Seal.SHRINK)
    os.close(fd)


def test_an_ordinary_file_has_no_seals(tmp_path: Path) -> None:
    """EINVAL: by this a receiver tells a memfd from a file that its owner may shorten."""
    with (tmp_path / "file").open("w") as file:
        with fails_with(errno.EINVAL):
            lowlevel.seals(file.fileno())
        with fails_with(errno.EINVAL):
            lowlevel.add_seals(file.fileno(), Seal.SHRINK)


@needs_refusals
def test_an_older_kernel_makes_a_memfd_all_the_same() -> None:
    """Linux 5.10 knows no memfd that cannot be executed."""
    printed = run_python("""
import os
import platform
from tests.lowlevel_support import OLD_KERNEL, refuse
from namedipc import lowlevel
refuse(OLD_KERNEL)
for sealable in (True, False):
    fd = lowlevel.create_memfd("old", 100, sealable=sealable)
    print(lowlevel.seals(fd) & lowlevel.Seal.SEAL == 0, os.fstat(fd).st_size)
""")
    assert printed == "True 100\nFalse 100\n"


def test_a_store_is_seen_in_another_process(memfd: int, child: Children) -> None:
    """Both ways, without a system call between."""
    with lowlevel.map_shared(memfd, SIZE_BYTES, writable=True) as memory:
        memory[0:5] = b"hello"
        other = child(
            """
            import os, sys
            from namedipc import lowlevel
            fd = os.open(f"/proc/{os.getppid()}/fd/{sys.argv[1]}", os.O_RDWR)
            memory = lowlevel.map_shared(fd, int(sys.argv[2]), writable=True)
            os.close(fd)
            print(memory[0:5].decode(), flush=True)
            memory[0:5] = b"world"
            print("stored", flush=True)
            """,
            str(memfd),
            str(SIZE_BYTES),
        )
        other.expect("hello")
        other.expect("stored")
        assert memory[0:5] == b"world"


def test_a_mapping_keeps_no_descriptor_where_python_can(memfd: int) -> None:
    """From Python 3.13 none, before one, which is close-on-exec. It outlives the file's descriptor."""
    before = lowlevel.descriptors()
    fd = os.dup(memfd)
    with lowlevel.map_shared(fd, 1, writable=True) as memory:
        os.close(fd)
        memory[0] = 7
        kept = lowlevel.descriptors().keys() - before.keys()
        assert len(kept) == (0 if sys.version_info >= (3, 13) else 1)
        assert not any(os.get_inheritable(fd) for fd in kept)
    assert os.pread(memfd, 1, 0) == b"\x07"


def test_memory_for_reading_cannot_be_written(memfd: int) -> None:
    """Python refuses the store, before the kernel would kill the process."""
    with lowlevel.map_shared(memfd, SIZE_BYTES, writable=False) as memory, pytest.raises(TypeError):
        memory[0] = 1


@pytest.mark.parametrize("size_bytes", [0, -1, SIZE_BYTES + 1])
def test_a_mapping_covers_what_is_there(memfd: int, size_bytes: int) -> None:
    """Nothing, less than nothing, and more than the file are refused: touching the last would be SIGBUS."""
    with fails_with(errno.EINVAL):
        lowlevel.map_shared(memfd, size_bytes, writable=True)


def test_a_mapping_may_begin_at_a_later_page(memfd: int) -> None:
    """At a whole page, and as far as the file goes; what lies before it is out of reach."""
    page_bytes = mmap.PAGESIZE
    os.ftruncate(memfd, 2 * page_bytes)
    os.pwrite(memfd, b"second", page_bytes)
    with lowlevel.map_shared(memfd, page_bytes, writable=True, offset_bytes=page_bytes) as memory:
        assert memory[:6] == b"second"
    for size_bytes, offset_bytes in ((page_bytes + 1, page_bytes), (1, 2 * page_bytes), (1, 1)):
        with fails_with(errno.EINVAL):
            lowlevel.map_shared(memfd, size_bytes, writable=True, offset_bytes=offset_bytes)


def test_a_descriptor_for_reading_gives_no_memory_for_writing(tmp_path: Path) -> None:
    """EACCES, by the kernel."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        with fails_with(errno.EACCES):
            lowlevel.map_shared(file.fileno(), 7, writable=True)
        with lowlevel.map_shared(file.fileno(), 7, writable=False) as memory:
            assert memory[:] == b"content"


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_a_file_appears_whole_under_its_name(tmp_path: Path, mask: int) -> None:
    """Until it is linked nobody sees it; then it has its contents and its exact permissions."""
    directory_fd = os.open(tmp_path, os.O_PATH)
    with umask(mask):
        fd = lowlevel.open_unnamed_file(directory_fd, mode=0o644)
    assert not os.get_inheritable(fd)
    os.write(fd, b"whole")
    assert os.listdir(tmp_path) == []
    lowlevel.link_file(fd, "name", directory_fd=directory_fd)
    assert (tmp_path / "name").read_bytes() == b"whole"
    assert stat.S_IMODE((tmp_path / "name").stat().st_mode) == 0o644
    with fails_with(errno.EEXIST):
        lowlevel.link_file(fd, "name", directory_fd=directory_fd)
    for opened in (fd, directory_fd):
        os.close(opened)


def test_a_file_without_a_name_is_gone_with_its_descriptor(tmp_path: Path) -> None:
    """And only its owner may use it by default."""
    directory_fd = os.open(tmp_path, os.O_PATH)
    fd = lowlevel.open_unnamed_file(directory_fd)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.close(fd)
    os.close(directory_fd)
    assert os.listdir(tmp_path) == []


@needs_refusals
def test_a_file_whose_mode_cannot_be_set_is_closed(tmp_path: Path) -> None:
    """A half-made file leaves neither a name nor a descriptor."""
    printed = run_python(
        """
import errno, os, sys
from tests.lowlevel_support import Refusal, refuse
from namedipc import lowlevel
directory_fd = os.open(sys.argv[1], os.O_PATH)
before = lowlevel.descriptors()
refuse([Refusal("fchmod", errno.EIO, argument=1, value=0o604)])
try:
    lowlevel.open_unnamed_file(directory_fd, mode=0o604)
except OSError as error:
    print(errno.errorcode[error.errno], lowlevel.descriptors() == before, os.listdir(sys.argv[1]))
""",
        str(tmp_path),
    )
    assert printed == "EIO True []\n"


def test_room_is_reserved(tmp_path: Path) -> None:
    """The file becomes as large, never smaller, and has its blocks."""
    with (tmp_path / "file").open("w+b") as file:
        fd = file.fileno()
        lowlevel.allocate(fd, 100_000)
        assert os.fstat(fd).st_size == 100_000
        assert os.fstat(fd).st_blocks * 512 >= 100_000
        lowlevel.allocate(fd, 1)
        assert os.fstat(fd).st_size == 100_000
        with fails_with(errno.EINVAL):
            lowlevel.allocate(fd, 0)


def test_a_sealed_memfd_takes_no_more_room(memfd: int) -> None:
    """EPERM, by the seal."""
    lowlevel.add_seals(memfd, Seal.GROW)
    lowlevel.allocate(memfd, SIZE_BYTES)
    with fails_with(errno.EPERM):
        lowlevel.allocate(memfd, SIZE_BYTES + 1)


def test_lent_mappings_tell_when_nobody_looks_any_more() -> None:
    """Slices and casts keep it; and each loan tells of its own views only."""
    fd = lowlevel.create_memfd("lent", 4096)
    mapping = lowlevel.map_shared(fd, 4096, writable=True)
    reading = lowlevel.map_shared(fd, 4096, writable=False)
    os.close(fd)
    with pytest.raises(TypeError, match="not writable"):
        lowlevel.lend_mapping(reading)
    reading.close()
    lent, other = lowlevel.lend_mapping(mapping), lowlevel.lend_mapping(mapping)
    gone, there = weakref.ref(lent), weakref.ref(other)
    view = memoryview(lent).cast("B")[8:16]
    del lent
    view[0] = 7
    part = view[:4].toreadonly()
    del view
    assert gone() is not None
    assert part[0] == mapping[8] == 7
    del part
    assert gone() is None
    assert there() is not None
    del other
    mapping.close()
    with pytest.raises(ValueError, match="closed"):
        lowlevel.lend_mapping(mapping)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have their own ways")
def test_freed_blocks_are_kept() -> None:
    """Blocks of a MiB, a few at a time, again and again: their pages are new each time, and then they are not."""
    script = """
        import resource
        from namedipc import lowlevel


        def faults() -> int:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(10):
                blocks = [bytearray(b"x") * (1 << 20) for _ in range(3)]
                del blocks
            return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10


        faults()
        print(faults())
        for _ in range(2):
            lowlevel.keep_heap(4 << 20)
            faults()
            print(faults())
        lowlevel.keep_heap(1)
        lowlevel.keep_heap(1 << 60)
        lowlevel.keep_heap(1 << 61)
        faults()
        print(faults())
    """
    new, kept, again, at_last = map(int, run_python(textwrap.dedent(script)).split())
    assert new > 400, "of 768 pages"
    assert max(kept, again, at_last) < 20
