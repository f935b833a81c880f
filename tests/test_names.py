"""Names: places, attaching, publishing, watching, removing, and the user's private directory.

The claim of a socket has `test_names_claim.py`.
"""

from __future__ import annotations

import errno
import os
import pickle
import stat
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Literal

import pytest

from namedipc import _names, lowlevel
from namedipc._errors import (
    DeclarationError,
    IPCError,
    NameNotFound,
    NameTaken,
    NoServer,
    NotAllowed,
    TooLarge,
    WrongKind,
)
from namedipc._names import _place, _temporary
from namedipc._names._place import Place

from .conftest import Children
from .lowlevel_support import umask, without_privileges
from .names_support import NOBODY, STRANGER, give_away, make_file, make_link, mode_of, shared_directory

Make = Callable[[Path], object]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture(autouse=True)
def checked(no_leaks: None) -> None:
    """No test of this module leaves a descriptor open."""


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A name in an empty directory."""
    return tmp_path / "board"


def make_socket(path: Path) -> None:
    """A socket nobody listens at."""
    lowlevel.unix_listen(path).close()


def publish(
    path: Path,
    content: bytes = b"content",
    *,
    mode: int = 0o600,
    if_exists: Literal["fail", "keep", "replace"] = "fail",
) -> int:
    """Publish a file of 8192 bytes which begins with this content."""
    return _names.publish_file(
        path, mode=mode, if_exists=if_exists, size_bytes=8192, fill=lambda fd: write(fd, content)
    )


def write(fd: int, content: bytes) -> None:
    """Write at the beginning."""
    assert os.pwrite(fd, content, 0) == len(content)


# ---------------------------------------------------------------- paths and places


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "may not be empty"),
        ("a\0b", "NUL"),
        ("/", "is a directory"),
        ("shop/..", "is a directory"),
        (".", "is a directory"),
        (b"board", "not bytes"),
        (7, "not int"),
        (None, "not NoneType"),
        ("d" * 256 + "/board", "256 bytes, 255 are allowed"),
        ("ä" * 128, "256 bytes, 255 are allowed"),
        ("\ud800", "has no utf-8 form"),
    ],
)
def test_what_cannot_be_a_name_is_refused_by_every_entry(path: object, why: str) -> None:
    """Before anything is opened; the message says what to write instead."""
    with pytest.raises(DeclarationError, match=why):
        _names.check_path(path)
    entries: list[Callable[[str], object]] = [
        lambda it: _names.claim_socket(it, card=b""),
        _names.connect_socket,
        lambda it: _names.open_fifo(it, create=True),
        lambda it: _names.open_file(it, writable=False),
        lambda it: _names.publish_file(it, mode=0o600, if_exists="fail", size_bytes=1, fill=lambda _: None),
        lambda it: _names.name_exists(it, kind="file"),
        lambda it: _names.remove_name(it, kind="file"),
        _names.NameWatch,
    ]
    for entry in entries:
        with pytest.raises(DeclarationError, match=why):
            entry(path)  # type: ignore[arg-type]  # what a program without a type checker does


def test_the_longest_part_is_accepted(tmp_path: Path) -> None:
    """255 bytes for a FIFO, 249 where a lock file may stand beside the name."""
    path = tmp_path / ("f" * 255)
    os.close(_names.open_fifo(path, create=True, mode=0o622))
    os.close(publish(tmp_path / ("p" * 255), mode=0o644, if_exists="replace"))
    _names.check_path("k" * 249, kind="socket")
    with pytest.raises(DeclarationError, match="250 bytes, 249 are allowed, for the lock file"):
        _names.check_path("k" * 250, kind="file")
    assert len(os.listdir(tmp_path)) == 2


def test_a_place_survives_a_rename_of_its_directory(tmp_path: Path) -> None:
    """A path is looked up once."""
    (tmp_path / "old").mkdir()
    with Place(tmp_path / "old" / "board") as place:
        (tmp_path / "old").rename(tmp_path / "new")
        os.close(place.open("board", os.O_CREAT | os.O_RDWR))
        assert place.status() is not None
        place.unlink("board")
        place.unlink("board")
        assert place.status() is None
    assert os.listdir(tmp_path / "new") == []


def test_a_removed_working_directory_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path has nothing to begin from."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(NameNotFound, match="the working directory has been removed"):
        _names.open_file("board", writable=False)


def test_a_directory_that_may_not_be_entered_is_refused() -> None:
    """Not found would be a wrong answer."""
    with shared_directory(0o700) as directory:
        directory.chmod(0o000)
        with without_privileges():
            with pytest.raises(NotAllowed, match="check the permissions"):
                _names.open_file(directory / "shop" / "board", writable=False)
            with pytest.raises(NotAllowed, match="check the permissions"):
                _names.name_exists(directory / "board", kind="file")


def test_a_part_that_is_too_long_for_the_filesystem_is_explained(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some filesystems have less than 255 bytes; there the kernel finds out."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    monkeypatch.setattr(lowlevel, "make_fifo", fail)
    with pytest.raises(DeclarationError, match=rf"{name}: cannot make the FIFO: a part of the path is too long"):
        _names.open_fifo(name, create=True)


# ---------------------------------------------------------------- attaching


@pytest.mark.parametrize(
    "attach",
    [
        _names.connect_socket,
        lambda path: _names.open_fifo(path, create=False),
        lambda path: _names.open_file(path, writable=True),
        lambda path: _names.open_file(path, writable=False),
    ],
)
def test_attaching_to_nothing_makes_nothing(name: Path, attach: Make) -> None:
    """NameNotFound names the path and the remedy."""
    with pytest.raises(NameNotFound, match=rf"{name}: .*wait_seconds") as caught:
        attach(name)
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(NameNotFound, match=rf"mkdir -p {name}"):
        attach(name / "inner")
    assert os.listdir(name.parent) == []


@pytest.mark.parametrize("make", [make_file, make_socket, make_link, os.mkfifo, Path.mkdir])
@pytest.mark.parametrize(
    ("attach", "wanted"),
    [
        (_names.connect_socket, make_socket),
        (lambda path: _names.open_fifo(path, create=True), os.mkfifo),
        (lambda path: _names.open_file(path, writable=True), make_file),
        (publish, None),
        (lambda path: publish(path, if_exists="keep"), make_file),
        (lambda path: publish(path, if_exists="replace"), make_file),
        (lambda path: _names.remove_name(path, kind="socket"), make_socket),
        (lambda path: _names.remove_name(path, kind="fifo"), os.mkfifo),
        (lambda path: _names.remove_name(path, kind="file"), make_file),
    ],
)
def test_something_of_another_kind_is_never_touched(name: Path, make: Make, attach: Make, wanted: Make | None) -> None:
    """Each verb on each kind that is not its own: WrongKind, and the thing is still the same."""
    if make is wanted or (wanted is None and make is make_file):
        return  # its own kind
    make(name)
    before = os.lstat(name)
    with pytest.raises(WrongKind, match=rf"{name}: is .*, not .*; it was not touched"):
        attach(name)
    assert os.lstat(name)[:9] == before[:9]
    assert os.listdir(name.parent) == ["board"]


def test_a_link_to_the_right_kind_is_refused_too(name: Path, tmp_path: Path) -> None:
    """Who plants a link chooses what is opened."""
    os.mkfifo(tmp_path / "real")
    name.symlink_to("real")
    with pytest.raises(WrongKind, match="a symbolic link"):
        _names.open_fifo(name, create=True)


def test_the_listener_is_who_the_kernel_says(name: Path) -> None:
    """The socket is connected, does not block, and its credentials are the listener's."""
    with lowlevel.unix_listen(name):
        sock, credentials = _names.connect_socket(name)
        with sock:
            assert not sock.getblocking()
            assert credentials == lowlevel.Credentials(os.getpid(), os.geteuid(), os.getegid())


def test_a_full_backlog_is_left_to_the_caller(name: Path) -> None:
    """BlockingIOError as it is: to be tried again, unlike every other failure."""
    with lowlevel.unix_listen(name, backlog=0), lowlevel.unix_connect(name):
        with pytest.raises(BlockingIOError) as caught:
            _names.connect_socket(name)
        assert not isinstance(caught.value, IPCError)


def test_a_socket_nobody_listens_at_has_no_server(name: Path) -> None:
    """ECONNREFUSED becomes NoServer with the path."""
    make_socket(name)
    with pytest.raises(NoServer, match=rf"{name}: cannot connect: nobody listens") as caught:
        _names.connect_socket(name)
    assert caught.value.errno == errno.ECONNREFUSED


def test_permissions_refuse_an_ordinary_user() -> None:
    """EACCES becomes NotAllowed, for a socket and for a file."""
    with shared_directory(0o755) as directory, lowlevel.unix_listen(directory / "socket", mode=0o000):
        os.close(publish(directory / "file", mode=0o000))
        with without_privileges():
            with pytest.raises(NotAllowed, match=r"socket: cannot connect: permission denied"):
                _names.connect_socket(directory / "socket", any_owner=True)
            for writable, verb in ((True, "write"), (False, "read")):
                with pytest.raises(NotAllowed, match=rf"file: cannot open it to {verb}: permission denied"):
                    _names.open_file(directory / "file", writable=writable, any_owner=True)


def test_a_planted_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory like /tmp a name of somebody unexpected is used only if the caller says so."""
    with shared_directory(0o1777) as directory, lowlevel.unix_listen(directory / "socket", mode=0o666):
        os.mkfifo(directory / "fifo")
        (directory / "file").touch()
        for path in directory.iterdir():
            give_away(path, monkeypatch)
        owner = os.lstat(directory / "socket").st_uid

        def attach(kind: str, allowed_uids: set[int] | None, *, any_owner: bool) -> None:
            path = directory / kind
            if kind == "socket":
                _names.connect_socket(path, allowed_uids=allowed_uids, any_owner=any_owner)[0].close()
            elif kind == "fifo":
                os.close(_names.open_fifo(path, create=True, allowed_uids=allowed_uids, any_owner=any_owner))
            else:
                os.close(_names.open_file(path, writable=False, allowed_uids=allowed_uids, any_owner=any_owner))

        for kind in ("socket", "fifo", "file"):
            with pytest.raises(NotAllowed, match=rf"uid {owner}, who is not expected; .*users\({owner}\)"):
                attach(kind, None, any_owner=False)
            attach(kind, {owner}, any_owner=False)
            attach(kind, None, any_owner=True)
        with pytest.raises(NotAllowed, match=f"belongs to uid {owner}"):
            publish(directory / "file", if_exists="replace")
        assert sorted(os.listdir(directory)) == ["fifo", "file", "socket"]


@needs_root
def test_a_strange_listener_behind_ones_own_name_is_refused(name: Path) -> None:
    """The file is checked, and then who listens."""
    os.chmod(name.parent, 0o755)
    with lowlevel.unix_listen(name) as listener:
        os.seteuid(NOBODY)
        try:
            listener.listen(5)  # the kernel takes the credentials of now
        finally:
            os.seteuid(0)
        with pytest.raises(NotAllowed, match=rf"process {os.getpid()} of uid {NOBODY} listens there"):
            _names.connect_socket(name)
        sock, credentials = _names.connect_socket(name, allowed_uids=[NOBODY])
        sock.close()
        assert credentials.uid == NOBODY


@needs_root
def test_a_directory_which_only_root_can_write_to_vouches_for_its_files(tmp_path: Path) -> None:
    """Nobody can have planted a FIFO or a file there; for a socket the listener decides."""
    for kind, make in (("fifo", os.mkfifo), ("file", Path.touch), ("socket", make_socket)):
        make(tmp_path / kind)
        os.chown(tmp_path / kind, NOBODY, NOBODY)
    os.close(_names.open_fifo(tmp_path / "fifo", create=False))
    os.close(_names.open_file(tmp_path / "file", writable=False))
    with pytest.raises(NotAllowed, match="not expected"):
        _names.connect_socket(tmp_path / "socket")
    tmp_path.chmod(0o770)
    with pytest.raises(NotAllowed, match="not expected"):
        _names.open_fifo(tmp_path / "fifo", create=False)


@needs_root
def test_only_a_files_user_or_root_removes_it() -> None:
    """A directory of mode 0777 would let anybody."""
    with shared_directory(0o777) as directory:
        make_file(directory / "board")
        with (
            without_privileges(),
            pytest.raises(NotAllowed, match="belongs to uid 0; only that user or root"),
        ):
            _names.remove_name(directory / "board", kind="file")
        assert os.listdir(directory) == ["board"]
        os.chown(directory / "board", NOBODY, NOBODY)
        _names.remove_name(directory / "board", kind="file")
        assert os.listdir(directory) == []


def test_what_was_looked_at_is_what_is_opened(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is exchanged between the look and the opening: the old file is opened, not the planted one."""
    os.close(publish(name, b"good"))
    fstat = os.fstat

    def exchange(fd: int) -> os.stat_result:
        status = fstat(fd)
        if stat.S_ISREG(status.st_mode):
            name.unlink()
            name.write_bytes(b"evil")
        return status

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", exchange)
        fd = _names.open_file(name, writable=False)
    assert os.pread(fd, 4, 0) == b"good"
    os.close(fd)


# ---------------------------------------------------------------- publishing


@pytest.fixture(params=["unnamed", "temporary"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to publish a file: with O_TMPFILE, and on a filesystem without it."""

    def fail(directory_fd: int, *, mode: int = 0o600) -> int:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if request.param == "temporary":
        monkeypatch.setattr(lowlevel, "open_unnamed_file", fail)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o000])
@pytest.mark.parametrize("if_exists", ["fail", "keep", "replace"])
def test_a_file_appears_whole(
    name: Path, mode: int, if_exists: Literal["fail", "keep", "replace"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is not there before its size, its content and its mode are what they should be."""
    seen: list[list[str]] = []

    def fill(fd: int) -> None:
        assert not name.exists()
        assert stat.S_IMODE(os.fstat(fd).st_mode) & 0o077 == 0
        assert os.fstat(fd).st_size == 8192
        assert os.fstat(fd).st_blocks * 512 >= 8192
        seen.append(os.listdir(name.parent))
        write(fd, b"content")

    def appearing(call: Callable[..., None]) -> Callable[..., None]:
        def checked_call(source: str | int, *arguments: object, **options: object) -> None:
            inner = os.stat(source) if isinstance(source, int) else os.lstat(name.with_name(source))
            assert stat.S_IMODE(inner.st_mode) == mode
            call(source, *arguments, **options)

        return checked_call

    monkeypatch.setattr(lowlevel, "link_file", appearing(lowlevel.link_file))
    monkeypatch.setattr(os, "rename", appearing(os.rename))
    with umask(0o077):
        fd = _names.publish_file(name, mode=mode, if_exists=if_exists, size_bytes=8192, fill=fill)
    assert len(seen) == 1
    assert os.listdir(name.parent) == ["board"]
    assert mode_of(name) == mode
    assert os.path.samestat(os.lstat(name), os.fstat(fd))
    write(fd, b"changed")
    assert os.pread(fd, 7, 0) == b"changed"
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.usefixtures("way")
def test_a_published_file_is_locked_by_nobody(name: Path) -> None:
    """The lock which held the temporary name does not outlive it."""
    fd = publish(name)
    other = _names.open_file(name, writable=True)
    lowlevel.flock(other, exclusive=True)
    os.close(other)
    os.close(fd)


@pytest.mark.usefixtures("way")
def test_where_a_file_is_there_the_caller_has_said_what_to_do(name: Path) -> None:
    """Fail leaves it, keep opens it, replace puts another in its place in one step."""
    first = publish(name, b"first")
    with pytest.raises(NameTaken, match=rf"{name}: is there already; .*'keep' or 'replace'"):
        publish(name, b"second")
    kept = publish(name, b"third", if_exists="keep")
    assert os.path.samestat(os.fstat(kept), os.fstat(first))
    assert os.pread(kept, 5, 0) == b"first"
    replaced = publish(name, b"fourth", if_exists="replace")
    assert os.path.samestat(os.lstat(name), os.fstat(replaced))
    assert name.read_bytes()[:6] == b"fourth"
    assert os.pread(first, 5, 0) == b"first"
    assert os.listdir(name.parent) == ["board"]
    for fd in (first, kept, replaced):
        os.close(fd)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("if_exists", ["fail", "keep"])
def test_who_comes_second_by_a_moment_does_as_if_he_had_seen_the_first(
    name: Path, if_exists: Literal["fail", "keep"]
) -> None:
    """Somebody publishes between the look and the link: the link decides."""

    def fill(fd: int) -> None:
        write(fd, b"late")
        os.close(publish(name, b"soon"))

    if if_exists == "fail":
        with pytest.raises(NameTaken, match="is there already"):
            _names.publish_file(name, mode=0o600, if_exists="fail", size_bytes=8, fill=fill)
    else:
        fd = _names.publish_file(name, mode=0o600, if_exists="keep", size_bytes=8, fill=fill)
        assert os.pread(fd, 4, 0) == b"soon"
        os.close(fd)
    assert name.read_bytes()[:4] == b"soon"
    assert os.listdir(name.parent) == ["board"]


def test_a_kept_file_that_vanishes_meanwhile_is_made(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the opening somebody removes it: look again."""
    os.close(publish(name, b"first"))
    status = Place.status

    def vanish(self: Place, beside: str | None = None) -> os.stat_result | None:
        found = status(self, beside)
        if found is not None and beside is None:
            self.unlink(self.name)
        return found

    monkeypatch.setattr(Place, "status", vanish)
    fd = publish(name, b"second", if_exists="keep")
    assert os.pread(fd, 6, 0) == b"second"
    os.close(fd)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("error", [ValueError("of the caller"), KeyboardInterrupt()])
def test_an_error_while_a_file_is_filled_leaves_nothing(name: Path, error: BaseException) -> None:
    """It passes as it is, and neither a name nor a descriptor is left."""

    def fill(fd: int) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        _names.publish_file(name, mode=0o600, if_exists="replace", size_bytes=8, fill=fill)
    assert caught.value is error
    assert os.listdir(name.parent) == []


@pytest.mark.usefixtures("way")
def test_a_full_disk_leaves_nothing(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC comes before the name, and says how much was asked for."""

    def fail(fd: int, size_bytes: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(lowlevel, "allocate", fail)
    with pytest.raises(TooLarge, match=rf"{name}: cannot make a file of 8192 bytes: no room is left"):
        publish(name)
    assert os.listdir(name.parent) == []


@pytest.mark.usefixtures("way")
def test_a_full_tmpfs_leaves_nothing(tmp_path: Path) -> None:
    """A real one: a mapping of a sparse file there would kill this process by SIGBUS."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(TooLarge, match=r"board: cannot make a file of 1048576 bytes: no room"):
            _names.publish_file(
                tmp_path / "board", mode=0o600, if_exists="fail", size_bytes=1 << 20, fill=lambda _: None
            )
        assert os.listdir(tmp_path) == []
        os.close(publish(tmp_path / "board"))
        assert os.listdir(tmp_path) == ["board"]
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)  # also where a test has failed


def test_a_file_is_not_published_where_one_may_not_write() -> None:
    """NotAllowed names the path, and nothing has changed."""
    with shared_directory(0o555) as directory, without_privileges():
        with pytest.raises(NotAllowed, match=rf"{directory}/board: cannot make a file"):
            publish(directory / "board")
        with pytest.raises(NotAllowed, match=rf"{directory}/fifo: cannot make the FIFO"):
            _names.open_fifo(directory / "fifo", create=True)
        assert os.listdir(directory) == []


PUBLISHER = """
    import errno, os, signal, sys
    from namedipc import lowlevel
    from namedipc._names import open_fifo, publish_file

    path, what, last_call = sys.argv[1:]
    if what == "temporary":
        def fail(directory_fd, *, mode=0o600):
            raise OSError(errno.EOPNOTSUPP, "")
        lowlevel.open_unnamed_file = fail

    def dying(module, call):
        original = getattr(module, call)
        def die(*arguments, **options):
            original(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(module, call, die)

    dying({"flock": lowlevel, "link_file": lowlevel, "link": os}[last_call], last_call)
    if what == "fifo":
        open_fifo(path, create=True, mode=0o622)
    else:
        if_exists = "replace" if what == "replace" else "fail"
        publish_file(path, mode=0o644, if_exists=if_exists, size_bytes=8192, fill=lambda fd: None)
"""


@pytest.mark.parametrize(
    ("what", "last_call", "appeared"),
    [
        ("temporary", "flock", False),
        ("temporary", "link", True),
        ("replace", "link_file", False),
        ("fifo", "flock", False),
        ("fifo", "link", True),
    ],
)
def test_what_a_killed_maker_leaves_is_removed_by_the_next(
    name: Path, child: Children, what: str, last_call: str, appeared: bool
) -> None:
    """One temporary name, beside nothing or beside the finished file; and `remove` takes it away too."""
    for way_out in ("make", "remove"):
        maker = child(PUBLISHER, str(name), what, last_call)
        assert maker.wait() == -9
        left = os.listdir(name.parent)
        assert len(left) == 1 + appeared
        assert sum(entry.startswith(".board.") and entry.endswith(".new") for entry in left) == 1
        if way_out == "make" and what == "fifo" and not appeared:
            os.close(_names.open_fifo(name, create=True, mode=0o622))
        elif way_out == "make" and what != "fifo":
            os.close(publish(name, if_exists="replace"))
        if way_out == "make" and not (what == "fifo" and appeared):
            assert os.listdir(name.parent) == ["board"]
        _names.remove_name(name, kind="fifo" if what == "fifo" else "file", missing_ok=True)
        assert os.listdir(name.parent) == []


def test_a_living_makers_temporary_name_is_left_alone(name: Path) -> None:
    """It is held by flock; and files which only look similar are never touched."""
    others = {".board.new", ".board.0123456789abcdef.new.x", ".boards.0123456789abcdef.new"}
    for other in others:
        (name.parent / other).touch()

    def make(temporary: str) -> int:
        return place.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    with Place(name) as place:
        temporary, fd = _temporary.hold_temporary(place, make)
        _temporary.sweep(place)
        assert set(os.listdir(name.parent)) == others | {temporary}
        os.close(fd)
        _temporary.sweep(place)
        assert set(os.listdir(name.parent)) == others


def test_a_second_name_of_something_finished_is_swept_without_opening_it(name: Path) -> None:
    """Its maker was killed between the link and the unlink; whoever has it locked or waits for it hears nothing."""
    os.mkfifo(name)
    os.link(name, name.with_name(".board.0123456789abcdef.new"))
    reader = lowlevel.open_fifo_for_reading(name)
    lowlevel.flock(reader, exclusive=True)
    with Place(name) as place:
        _temporary.sweep(place)
    assert os.listdir(name.parent) == ["board"]
    os.close(reader)


def test_a_temporary_name_that_is_swept_before_it_is_held_is_made_again(
    name: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the instant between making and locking it looks like a left-over."""
    made: list[str] = []

    def make(temporary: str) -> int:
        fd = place.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        made.append(temporary)
        if len(made) == 1:
            _temporary.sweep(place)
        if len(made) == 2:
            sweeper.append(place.open(temporary, os.O_RDWR))
            lowlevel.flock(sweeper[0], exclusive=True)
        return fd

    sweeper: list[int] = []
    with Place(name) as place:
        temporary, fd = _temporary.hold_temporary(place, make)
        assert made == [made[0], made[1], temporary]
        os.close(fd)
        os.close(sweeper[0])
        _temporary.sweep(place)
    assert os.listdir(name.parent) == []


@pytest.mark.parametrize("mode", [0o644, 0o622])
def test_a_directory_that_may_not_be_listed_is_published_in_all_the_same(mode: int) -> None:
    """Only left-overs cannot be found there."""
    with shared_directory(0o777) as directory, without_privileges():
        (directory / "inner").mkdir(0o300)
        os.close(publish(directory / "inner" / "board", mode=mode, if_exists="replace"))
        os.close(_names.open_fifo(directory / "inner" / "fifo", create=True, mode=mode))
        (directory / "inner").chmod(0o700)
        assert sorted(os.listdir(directory / "inner")) == ["board", "fifo"]


def test_left_overs_of_other_users_are_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what no maker of ours makes, a directory for instance, is not looked at."""
    with shared_directory(0o777) as directory:
        strange = directory / ".board.0123456789abcdef.new"
        strange.touch()
        give_away(strange, monkeypatch)
        (directory / ".board.fedcba9876543210.new").mkdir()
        with Place(directory / "board") as place:
            _temporary.sweep(place)
        assert len(os.listdir(directory)) == 2


@pytest.mark.parametrize("call", ["flock", "open"])
def test_a_fifo_that_fails_half_way_leaves_nothing(name: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Neither the temporary name nor a descriptor."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    take = Place.open
    with monkeypatch.context() as patch:
        if call == "flock":
            patch.setattr(lowlevel, "flock", fail)
        else:
            patch.setattr(
                Place, "open", lambda it, entry, flags: take(it, entry, flags) if entry == it.name else fail()
            )
        with pytest.raises(IPCError, match=rf"{name}: cannot make the FIFO: .*ulimit"):
            _names.open_fifo(name, create=True, mode=0o622)
    assert os.listdir(name.parent) == []


def test_a_temporary_name_that_is_swept_before_it_is_opened_is_made_again(name: Path) -> None:
    """But not for ever: the directory may have gone."""
    made: list[str] = []

    def make(temporary: str) -> int:
        made.append(temporary)
        if len(made) < 3:
            raise FileNotFoundError(errno.ENOENT, "swept")
        return place.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def never(temporary: str) -> int:
        raise FileNotFoundError(errno.ENOENT, "no directory")

    with Place(name) as place:
        temporary, fd = _temporary.hold_temporary(place, make)
        os.close(fd)
        assert os.listdir(name.parent) == [temporary] == [made[2]]
        with pytest.raises(FileNotFoundError):
            _temporary.hold_temporary(place, never)
    assert os.listdir(name.parent) == []


# ---------------------------------------------------------------- FIFOs


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o622, 0o666])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_fifo_appears_with_its_mode(name: Path, mode: int, mask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask; a wider one is set before the name is there, and nothing else is left."""
    link = os.link

    def linking(old: str, new: str, **options: object) -> None:
        assert mode_of(name.with_name(old)) == mode
        link(old, new, **options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(os, "link", linking)
    with umask(mask):
        fd = _names.open_fifo(name, create=True, mode=mode)
    assert stat.S_ISFIFO(os.fstat(fd).st_mode)
    assert mode_of(name) == mode
    assert os.listdir(name.parent) == ["board"]
    os.close(fd)


def test_a_fifo_is_opened_by_its_descriptor(name: Path) -> None:
    """The descriptor opens neither end; /proc does, and the name may have gone by then."""
    fd = _names.open_fifo(name, create=True)
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        lowlevel.open_fifo_for_writing(f"/proc/self/fd/{fd}")
    name.unlink()
    reader = lowlevel.open_fifo_for_reading(f"/proc/self/fd/{fd}")
    writer = lowlevel.open_fifo_for_writing(f"/proc/self/fd/{fd}")
    os.write(writer, b"soup")
    assert os.read(reader, 10) == b"soup"
    for number in (fd, reader, writer):
        os.close(number)


@pytest.mark.parametrize("mode", [0o600, 0o622])
def test_two_who_make_a_fifo_at_once_get_the_same(name: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other is first, between the look and the making."""
    make_fifo = lowlevel.make_fifo

    def late(path: str, *, mode: int = 0o600, directory_fd: int | None = None) -> None:
        if not name.exists():
            os.mkfifo(name)
        make_fifo(path, mode=mode, directory_fd=directory_fd)

    monkeypatch.setattr(lowlevel, "make_fifo", late)
    fd = _names.open_fifo(name, create=True, mode=mode)
    assert os.path.samestat(os.fstat(fd), os.lstat(name))
    assert os.listdir(name.parent) == ["board"]
    os.close(fd)


def test_a_fifo_that_is_there_keeps_its_mode(name: Path) -> None:
    """The mode is for the maker."""
    os.close(_names.open_fifo(name, create=True, mode=0o622))
    os.close(_names.open_fifo(name, create=True, mode=0o600))
    assert mode_of(name) == 0o622


# ---------------------------------------------------------------- waiting for a name


def appears_by_link(path: Path) -> None:
    """As a published file does."""
    os.close(publish(path))


def appears_by_rename(path: Path) -> None:
    """As a claimed socket does; made outside, where the watch does not hear it."""
    outside = path.parent.with_name(f"{path.parent.name}-outside")
    outside.touch()
    outside.rename(path)


def becomes_readable(watch: _names.NameWatch, seconds: float) -> bool:
    """Whether something has happened within that time."""
    return lowlevel.wait_ready(watch.fileno(), timeout_seconds=seconds)


@pytest.mark.parametrize("appear", [appears_by_link, appears_by_rename, os.mkfifo, make_socket, Path.touch])
def test_a_watch_wakes_when_the_name_appears(name: Path, appear: Make) -> None:
    """Also when that was before one waits; and after drain only for something new."""
    with _names.NameWatch(name) as watch:
        assert not watch.is_polling
        assert not becomes_readable(watch, 0)
        watch.drain()
        appear(name)
        assert becomes_readable(watch, 10)
        watch.drain()
        assert not becomes_readable(watch, 0)
    watch.close()


def test_a_watch_wakes_when_the_name_is_claimed_or_replaced(name: Path) -> None:
    """A new owner on a stale name, and a new file in the place of an old one."""
    os.close(publish(name))
    with _names.NameWatch(name) as watch:
        os.close(publish(name, if_exists="replace"))
        assert becomes_readable(watch, 10)
    name.unlink()
    make_socket(name)
    with _names.NameWatch(name) as watch:
        _names.claim_socket(name, card=b"").close()
        assert becomes_readable(watch, 10)


def test_a_watch_for_opens_wakes_when_a_reader_opens_a_fifo(name: Path) -> None:
    """What a writer waits for; without `opens` it is not heard."""
    os.mkfifo(name)
    with _names.NameWatch(name, opens=True) as watch, _names.NameWatch(name) as other:
        os.close(lowlevel.open_fifo_for_reading(name))
        assert becomes_readable(watch, 10)
        assert not becomes_readable(other, 0)


def test_the_watched_directory_may_be_anywhere(tmp_path: Path, child: Children) -> None:
    """Another process makes the name, in a directory whose path is longer than sun_path."""
    directory = tmp_path.joinpath(*["d" * 100] * 3)
    directory.mkdir(parents=True)
    with _names.NameWatch(directory / "board") as watch:
        maker = child("import os, sys; os.mkfifo(sys.argv[1])", str(directory / "board"))
        assert becomes_readable(watch, 20)
        assert maker.wait() == 0


@pytest.mark.parametrize("call", ["create_inotify", "add_watch"])
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOSPC])
def test_without_inotify_there_is_still_something_to_wait_for(
    name: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    """The 128 instances of the user are in use: never readable, and the caller's polling finds the name."""

    def fail(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(lowlevel, call, fail)
    with _names.NameWatch(name) as watch:
        assert watch.is_polling
        name.touch()
        watch.drain()
        assert not becomes_readable(watch, 0.01)
    assert list(islice(_names.poll_delays(), 7)) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize("call", ["create_inotify", "add_watch"])
def test_another_failure_of_inotify_is_an_error(name: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A directory that may be entered but not read cannot be watched."""

    def fail(*_: object) -> int:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(lowlevel, call, fail)
    with pytest.raises(NotAllowed, match="cannot watch its directory"):
        _names.NameWatch(name)


def test_a_missing_directory_is_not_waited_for(name: Path) -> None:
    """NameNotFound at once."""
    with pytest.raises(NameNotFound, match="mkdir"):
        _names.NameWatch(name / "inner")


# ---------------------------------------------------------------- looking, removing, listing


def test_existence_is_a_question_of_the_kind(name: Path) -> None:
    """Another kind, a link, nothing, or no directory: it does not exist, and that is no error."""
    makers: dict[_names.Kind, Make] = {"file": make_file, "fifo": os.mkfifo, "socket": make_socket}
    for kind, make in makers.items():
        assert not _names.name_exists(name, kind=kind)
        make(name)
        assert [it for it in makers if _names.name_exists(name, kind=it)] == [kind]
        name.unlink()
    make_link(name)
    assert not _names.name_exists(name, kind="file")
    assert not _names.name_exists(name.parent / "no" / "board", kind="file")
    name.unlink()
    make_file(name)
    assert not _names.name_exists(name / "inner", kind="file")


@pytest.mark.parametrize(("kind", "make"), [("file", make_file), ("fifo", os.mkfifo), ("socket", make_socket)])
def test_a_name_is_removed_once(name: Path, kind: _names.Kind, make: Make) -> None:
    """Then it is not found, which may be all right."""
    make(name)
    _names.remove_name(name, kind=kind)
    assert os.listdir(name.parent) == []
    with pytest.raises(NameNotFound, match=rf"{name}: nothing is there to remove"):
        _names.remove_name(name, kind=kind)
    _names.remove_name(name, kind=kind, missing_ok=True)
    with pytest.raises(NameNotFound, match="its directory is missing"):
        _names.remove_name(name / "inner", kind=kind)
    _names.remove_name(name / "inner", kind=kind, missing_ok=True)


def test_a_name_is_not_removed_where_one_may_not_write() -> None:
    """A plain refusal, and it is still there."""
    with shared_directory(0o755) as directory:
        os.mkfifo(directory / "board")
        if os.geteuid() == 0:
            os.chown(directory / "board", NOBODY, NOBODY)
        directory.chmod(0o555)
        with without_privileges(), pytest.raises(NotAllowed, match="cannot remove it"):
            _names.remove_name(directory / "board", kind="fifo")
        assert os.listdir(directory) == ["board"]


def test_a_maker_removes_its_file_unless_it_was_replaced(name: Path) -> None:
    """Compared with the open file, whose inode number nobody else can have."""
    first = publish(name)
    second = publish(name, if_exists="replace")
    assert not _names.remove_published(name, first)
    assert name.exists()
    assert _names.remove_published(name, second)
    assert not name.exists()
    assert not _names.remove_published(name, second)
    assert not _names.remove_published(name / "inner", second)
    os.close(first)
    os.close(second)


def test_names_are_listed_with_what_their_owners_say(tmp_path: Path) -> None:
    """Sockets, FIFOs and files in order; lock files, directories and links are not names."""
    os.close(publish(tmp_path / "board"))
    os.close(_names.open_fifo(tmp_path / "orders", create=True))
    make_socket(tmp_path / "stale")
    (tmp_path / "directory").mkdir()
    make_link(tmp_path / "link")
    claim = _names.claim_socket(tmp_path / "kitchen", card=b"the card")
    assert [(Path(it.path).name, it.kind, it.card) for it in _names.list_names(tmp_path)] == [
        ("board", "file", None),
        ("kitchen", "socket", b"the card"),
        ("orders", "fifo", None),
        ("stale", "socket", None),
    ]
    claim.close()
    with pytest.raises(NameNotFound, match="cannot list it"):
        _names.list_names(tmp_path / "no")


def test_a_name_that_vanishes_while_it_is_listed_is_not_listed(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner closed between the two looks."""
    os.mkfifo(name)
    os.mkfifo(name.with_name("other"))
    listdir = os.listdir

    def vanishing(path: str) -> list[str]:
        names = listdir(path)
        name.unlink()
        return names

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", vanishing)
        listed = _names.list_names(name.parent)
    assert [it.path for it in listed] == [str(name.with_name("other"))]


# ---------------------------------------------------------------- the user's private directory


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user who has no runtime directory yet; what /tmp/namedipc-UID is for him."""

    fallback = tmp_path / "namedipc-1000"
    monkeypatch.setattr(_place, "_fallback_directory", lambda: str(fallback))
    monkeypatch.setattr(_place, "_system_directory", lambda: str(tmp_path / "run-user"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return fallback


def test_the_runtime_directory_is_the_first_that_is_private(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mine and 0700, or it is passed over; nothing is made."""
    assert _names.runtime_directory() == str(user)
    (tmp_path / "run-user").mkdir(0o700)
    assert _names.runtime_directory() == str(tmp_path / "run-user")
    given = tmp_path / "given"
    given.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{given}/")
    assert _names.runtime_directory() == str(given)
    given.chmod(0o755)
    assert _names.runtime_directory() == str(tmp_path / "run-user")
    given.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: STRANGER)
        assert _names.runtime_directory() == str(user)
    (tmp_path / "link").symlink_to(given)
    for unusable in (tmp_path / "link", tmp_path / "missing", "given", ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(unusable))
        assert _names.runtime_directory() == str(tmp_path / "run-user")
    assert not user.exists()


def test_the_last_resort_is_a_directory_of_the_user_in_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named after the user id; never the abstract namespace."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    assert _names.runtime_path("shop", "board") == Path("/tmp/namedipc-4000000000/shop/board")


@pytest.mark.parametrize("part", ["/etc", "..", "a/../../b"])
def test_a_runtime_path_stays_inside(part: str) -> None:
    """A part which leads out is refused."""
    with pytest.raises(DeclarationError, match="leads out of the runtime directory"):
        _names.runtime_path("shop", part)


def test_a_runtime_path_is_made_by_the_verb_that_makes_the_name(user: Path) -> None:
    """Private at every step, whatever the umask; a verb which attaches makes nothing."""
    path = _names.runtime_path("shop", "kitchen")
    assert path == user / "shop" / "kitchen"
    for attach in (_names.connect_socket, lambda it: _names.open_fifo(it, create=False)):
        with pytest.raises(NameNotFound):
            attach(path)
    assert not user.exists()
    with umask(0o777):
        claim = _names.claim_socket(path, card=b"")
    assert mode_of(user) == mode_of(user / "shop") == 0o700
    claim.close()
    os.close(_names.open_fifo(user / "fifo" / "orders", create=True))
    os.close(publish(user / "file" / "board"))
    _names.NameWatch(user / "watch" / "board").close()
    assert sorted(os.listdir(user)) == ["fifo", "file", "shop", "watch"]
    with pytest.raises(NameNotFound, match="mkdir"):
        publish(user.parent / "namedipc-1000x" / "board")
    with pytest.raises(NameNotFound, match="mkdir"):
        publish(user / ".." / "elsewhere" / "board")


def test_a_planted_runtime_directory_is_refused(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open to others, a link, a file, or somebody else's: neither used nor repaired."""
    user.mkdir()
    user.chmod(0o755)
    for verb in (publish, lambda path: _names.open_file(path, writable=False)):
        with pytest.raises(NotAllowed, match=rf"{user}: its mode is 0o755, not 0o700, .*XDG_RUNTIME_DIR"):
            verb(user / "board")
    assert mode_of(user) == 0o755
    user.rmdir()
    for make, what in ((make_link, "a symbolic link"), (make_file, "a regular file")):
        make(user)
        with pytest.raises(NotAllowed, match=f"it is {what}"):
            publish(user / "board")
        user.unlink()
    user.mkdir(0o700)
    give_away(user, monkeypatch)
    with pytest.raises(NotAllowed, match="it belongs to uid"):
        publish(user / "board")
    assert os.listdir(user) == []


def test_a_private_directory_needs_its_parent(tmp_path: Path) -> None:
    """Only the last step is made."""
    with pytest.raises(NameNotFound, match="cannot make the directory"):
        _names.make_private_directory(tmp_path / "no" / "inner")
    _names.make_private_directory(tmp_path / "inner")
    _names.make_private_directory(tmp_path / "inner")
    assert mode_of(tmp_path / "inner") == 0o700


# ---------------------------------------------------------------- errors


def test_errors_of_names_survive_pickling(name: Path) -> None:
    """Class and message arrive in another process."""
    with pytest.raises(NameNotFound) as caught:
        _names.open_file(name, writable=False)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is NameNotFound
    assert str(copy) == str(caught.value)


def test_no_descriptor_left_is_explained(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EMFILE names the remedy."""

    def fail() -> lowlevel.Socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    make_socket(name)
    monkeypatch.setattr(lowlevel, "unix_socket", fail)
    with pytest.raises(IPCError, match=r"ulimit -n"):
        _names.connect_socket(name)
    with pytest.raises(IPCError, match=r"ulimit -n"):
        _names.claim_socket(name, card=b"")
