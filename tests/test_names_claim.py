"""Claims: one owner a name, whatever dies and whoever else comes at the same moment."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from namedipc import lowlevel
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
from namedipc._names import Claim, claim_socket, connect_socket, read_card, remove_name
from namedipc._names._place import Place

from .conftest import Child, Children
from .lowlevel_support import umask, without_privileges
from .names_support import give_away, make_file, make_link, mode_of, shared_directory

OWNER = """
    import sys
    from namedipc._names import claim_socket
    claim = claim_socket(sys.argv[1], card=b"the card")
    print("owner", flush=True)
    input()
    claim.close()
    print("closed", flush=True)
"""


@pytest.fixture(autouse=True)
def checked(no_leaks: None) -> None:
    """No test of this module leaves a descriptor open."""


@pytest.fixture
def name(tmp_path: Path) -> Path:
    """A name in an empty directory."""
    return tmp_path / "kitchen"


def answers(path: Path) -> bool:
    """Whether somebody listens under the name."""
    try:
        sock, _ = connect_socket(path)
    except NoServer:
        return False
    sock.close()
    return True


def test_a_claimed_name_listens_and_nothing_is_left_after_close(name: Path) -> None:
    """While it is open there are the socket and its lock, afterwards there is nothing."""
    claim = claim_socket(name, card=b"")
    assert claim.path == str(name)
    assert claim.listener.getblocking() is False
    assert sorted(os.listdir(name.parent)) == [".kitchen.handover", ".kitchen.lock", "kitchen"]
    assert answers(name)
    claim.close()
    claim.close()
    assert os.listdir(name.parent) == []


def test_a_relative_name_is_claimed_from_the_working_directory(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is absolute in the claim, and removed where it was made even after a change of the directory."""
    monkeypatch.chdir(name.parent)
    claim = claim_socket("kitchen", card=b"")
    assert claim.path == str(name)
    monkeypatch.chdir("/")
    claim.close()
    assert os.listdir(name.parent) == []


def test_without_a_descriptor_for_successors_nothing_is_claimed(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second socket cannot be made: the first is closed again."""
    unix_socket, left = lowlevel.unix_socket, [1]

    def scarce() -> lowlevel.Socket:
        if not left:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        left.pop()
        return unix_socket()

    monkeypatch.setattr(lowlevel, "unix_socket", scarce)
    with pytest.raises(IPCError, match="no descriptor left"):
        claim_socket(name, card=b"")
    assert os.listdir(name.parent) == []


def test_a_second_owner_is_refused(name: Path, child: Children) -> None:
    """In another process, and in this one; the error names the path and the owner."""
    owner = child(OWNER, str(name))
    owner.expect("owner")
    for _ in range(2):
        with pytest.raises(NameTaken, match=rf"{name}: owned by process {owner.pid};"):
            claim_socket(name, card=b"")
    assert answers(name)
    owner.say()
    owner.expect("closed")
    with_this = claim_socket(name, card=b"")
    with pytest.raises(NameTaken, match="owned by process"):
        claim_socket(name, card=b"")
    with_this.close()


def test_the_name_of_a_killed_owner_is_claimed_again_at_once(name: Path, child: Children) -> None:
    """The stale socket says NoServer, and is taken over."""
    owner = child(OWNER, str(name))
    owner.expect("owner")
    owner.kill()
    assert sorted(os.listdir(name.parent)) == [".kitchen.handover", ".kitchen.lock", "kitchen"]
    with pytest.raises(NoServer, match=str(name)):
        connect_socket(name)
    claim = claim_socket(name, card=b"")
    assert answers(name)
    claim.close()
    assert os.listdir(name.parent) == []


KILLED_AT = """
    import os, signal, sys
    from namedipc._names import claim_socket

    def claim_and_close(last_step):
        step = 0

        def trace(frame, event, argument):
            nonlocal step
            if "namedipc" not in frame.f_code.co_filename:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                step += 1
                if step == last_step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys._getframe().f_trace_opcodes = True  # Python 3.12 looks at it when the trace is set
        sys.settrace(trace)
        claim_socket(sys.argv[1], card=b"the card").close()
        sys.settrace(None)
        return step

    print(claim_and_close(None), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            claim_and_close(int(line))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_an_owner_may_be_killed_at_any_step(name: Path, child: Children) -> None:
    """The next claim succeeds at once, also after a second one which is killed while it takes over."""
    starter = child(KILLED_AT, str(name))
    steps = int(starter.read_line())
    assert steps > 500
    for point in range(26):
        # The second finds left-overs, so it has another number of steps and may end before it is killed.
        for share, endings in ((point, {-9}), (point * 7 % 26, {-9, 0})):
            starter.say(str(1 + steps * share // 26))
            assert int(starter.read_line()) in endings
            assert set(os.listdir(name.parent)) <= {".kitchen.handover", ".kitchen.lock", ".kitchen.new", "kitchen"}
        claim = claim_socket(name, card=b"")
        assert answers(name)
        with pytest.raises(NameTaken):
            claim_socket(name, card=b"")
        claim.close()
        assert os.listdir(name.parent) == []


RACER = """
    import os, signal, sys, time
    from namedipc._errors import NameTaken
    from namedipc._names import claim_socket

    path = sys.argv[1]

    def die_owning():
        child = os.fork()
        if child == 0:
            claim_socket(path, card=b"")
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        return "stale"

    def claim_at(moment):
        global claim
        while time.monotonic() < moment:
            pass
        try:
            claim = claim_socket(path, card=b"")
            return "owner"
        except NameTaken:
            return "taken"

    def churn(times):
        doubles = 0
        while times:
            try:
                claim = claim_socket(path, card=b"")
            except NameTaken:
                continue
            try:
                os.close(os.open(path + ".witness", os.O_CREAT | os.O_EXCL))
                os.unlink(path + ".witness")
            except FileExistsError:
                doubles += 1
            claim.close()
            times -= 1
        return f"{doubles} doubles"

    print("ready", flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "die":
            answer = die_owning()
        elif word == "claim":
            answer = claim_at(float(rest[0]))
        elif word == "churn":
            answer = churn(int(rest[0]))
        else:
            claim.close()
            answer = "closed"
        print(answer, flush=True)
"""


@pytest.fixture
def racers(name: Path, child: Children) -> Iterator[list[Child]]:
    """Four processes which claim the name when they are told."""
    started = [child(RACER, str(name)) for _ in range(4)]
    for racer in started:
        racer.expect("ready")
    yield started
    assert os.listdir(name.parent) == []


def test_of_many_who_claim_a_stale_name_at_once_one_owns_it(name: Path, racers: list[Child]) -> None:
    """In each of 40 rounds there is exactly one owner, and he is the one who answers."""
    for round_ in range(40):
        racers[round_ % 4].say("die")
        racers[round_ % 4].expect("stale")
        moment = time.monotonic() + 0.002
        for racer in racers:
            racer.say(f"claim {moment}")
        answer = [racer.read_line() for racer in racers]
        assert sorted(answer) == ["owner", "taken", "taken", "taken"]
        assert answers(name)
        owner = racers[answer.index("owner")]
        owner.say("close")
        owner.expect("closed")


@pytest.mark.usefixtures("name")
def test_there_are_never_two_owners_while_lock_files_come_and_go(racers: list[Child]) -> None:
    """Each owner removes the lock file at its end, while the others open it."""
    for racer in racers:
        racer.say("churn 120")
    assert [racer.read_line() for racer in racers] == ["0 doubles"] * 4


def test_a_lock_file_that_was_exchanged_while_it_was_locked_is_not_enough(
    name: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder closes between our open and our lock: the claim starts again with the new file."""
    first = claim_socket(name, card=b"")
    flock = lowlevel.flock
    seen: list[int] = []

    def late(fd: int, *, exclusive: bool) -> None:
        seen.append(os.fstat(fd).st_nlink)
        first.close()
        flock(fd, exclusive=exclusive)

    monkeypatch.setattr(lowlevel, "flock", late)
    claim = claim_socket(name, card=b"")
    assert seen == [1, 1]
    assert sorted(os.listdir(name.parent)) == [".kitchen.handover", ".kitchen.lock", "kitchen"]
    claim.close()


@pytest.mark.parametrize("make", [make_file, Path.mkdir, os.mkfifo, make_link])
def test_something_else_under_the_name_is_never_touched(name: Path, make: Callable[[Path], None]) -> None:
    """It is still the same afterwards, and no lock file is left."""
    make(name)
    before = os.lstat(name)
    with pytest.raises(WrongKind, match=rf"{name}: is .*, not a socket; it was not touched"):
        claim_socket(name, card=b"")
    with pytest.raises(WrongKind, match="not a socket"):
        connect_socket(name)
    with pytest.raises(WrongKind, match="not a socket"):
        remove_name(name, kind="socket")
    assert os.lstat(name)[:9] == before[:9]
    assert os.listdir(name.parent) == ["kitchen"]


@pytest.mark.parametrize("make", [make_file, Path.mkdir, os.mkfifo])
def test_something_else_where_the_socket_is_made_is_not_touched(name: Path, make: Callable[[Path], None]) -> None:
    """A left-over of ours is a socket; anything else stays, and the error names it."""
    left_over = name.with_name(".kitchen.new")
    make(left_over)
    with pytest.raises(WrongKind, match=r"\.kitchen\.new: is "):
        claim_socket(name, card=b"")
    assert os.listdir(name.parent) == [".kitchen.new"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, make_link])
def test_something_else_where_the_lock_file_should_be_is_not_touched(name: Path, make: Callable[[Path], None]) -> None:
    """A directory, a FIFO, a link: refused without following, waiting or removing."""
    make(name.with_name(".kitchen.lock"))
    with pytest.raises(WrongKind, match=r"\.kitchen\.lock"):
        claim_socket(name, card=b"")
    assert os.listdir(name.parent) == [".kitchen.lock"]


def test_a_file_of_ours_linked_to_the_lock_name_is_not_overwritten(name: Path, tmp_path: Path) -> None:
    """A second name elsewhere gives the trap away."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    os.link(precious, name.with_name(".kitchen.lock"))
    with pytest.raises(WrongKind, match="second name"):
        claim_socket(name, card=b"")
    assert precious.read_text() == "precious"


def test_the_lock_file_of_another_user_is_refused(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns the lock file could hold the name for ever."""
    lock = name.with_name(".kitchen.lock")
    lock.touch(0o666)
    give_away(lock, monkeypatch)
    with pytest.raises(NotAllowed, match="belongs to uid"):
        claim_socket(name, card=b"")


def test_a_living_program_without_a_lock_keeps_its_name(name: Path) -> None:
    """A C server knows no lock: who answers is not replaced, not even when its backlog is full."""
    with lowlevel.unix_listen(name, backlog=0) as server, lowlevel.unix_connect(name):
        for _ in range(2):
            with pytest.raises(NameTaken, match="a program listens there"):
                claim_socket(name, card=b"")
            with pytest.raises(NameTaken, match="a program listens there"):
                remove_name(name, kind="socket")
        assert os.listdir(name.parent) == ["kitchen"]
        server.close()
    claim = claim_socket(name, card=b"")  # nobody answers any more
    claim.close()
    assert os.listdir(name.parent) == []


def test_a_socket_of_another_type_is_somebody_elses(name: Path) -> None:
    """A datagram socket answers in its own way: taken, and no channel."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(name))
        with pytest.raises(NameTaken, match="a program listens there"):
            claim_socket(name, card=b"")
        with pytest.raises(WrongKind, match="another type than SOCK_STREAM"):
            connect_socket(name)
    assert os.listdir(name.parent) == ["kitchen"]


def test_a_socket_that_may_not_be_asked_is_not_replaced() -> None:
    """Whether its owner lives cannot be known without permission to connect."""
    with shared_directory(0o777) as directory:
        lowlevel.unix_listen(directory / "kitchen", mode=0o000).close()
        with without_privileges(), pytest.raises(NotAllowed, match="cannot claim it: permission denied"):
            claim_socket(directory / "kitchen", card=b"")
        assert os.listdir(directory) == ["kitchen"]


def test_a_strange_socket_that_vanishes_while_it_is_asked_is_no_obstacle(
    name: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the question its program removed it."""
    lowlevel.unix_listen(name).close()
    take = Place.open

    def vanishing(self: Place, entry: str, flags: int, mode: int = 0o600) -> int:
        if entry == self.name:
            self.unlink(entry)
        return take(self, entry, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "open", vanishing)
        claim = claim_socket(name, card=b"")
    assert answers(name)
    claim.close()


def test_a_lock_that_changes_hands_all_the_time_is_given_up(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a thousand tries: an error, not an endless loop."""
    monkeypatch.setattr(Place, "is_same", lambda *_: False)
    with pytest.raises(NameTaken, match="changes all the time; try again"):
        claim_socket(name, card=b"")


def test_a_living_program_on_a_stale_name_keeps_it(name: Path, child: Children) -> None:
    """A killed owner's lock file says nothing about the socket that another program has put there since."""
    owner = child(OWNER, str(name))
    owner.expect("owner")
    owner.kill()
    name.unlink()
    with lowlevel.unix_listen(name):
        assert read_card(name) is None
        with pytest.raises(NameTaken, match="a program listens there"):
            claim_socket(name, card=b"")
        assert name.is_socket()


def test_an_owner_keeps_its_name_though_somebody_removes_its_lock_file(name: Path) -> None:
    """Whoever claims then finds it answering; and the owner's close leaves a strange lock file alone."""
    claim = claim_socket(name, card=b"")
    name.with_name(".kitchen.lock").unlink()
    with pytest.raises(NameTaken):
        claim_socket(name, card=b"")
    name.with_name(".kitchen.lock").touch()
    claim.close()
    assert os.listdir(name.parent) == [".kitchen.lock"]


def test_an_owner_removes_only_its_own_socket(name: Path) -> None:
    """Another program has put its socket there meanwhile: it stays."""
    claim = claim_socket(name, card=b"")
    name.unlink()
    with lowlevel.unix_listen(name):
        claim.close()
        assert os.listdir(name.parent) == ["kitchen"]


def test_an_owner_closes_though_its_directory_is_gone(tmp_path: Path) -> None:
    """Nothing is left to remove, and everything is closed."""
    directory = tmp_path / "shop"
    directory.mkdir()
    claim = claim_socket(directory / "kitchen", card=b"")
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    claim.close()
    assert claim.listener.fileno() == -1


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o000, 0o622])
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_the_mode_is_exact_whatever_the_umask_and_never_looser(
    name: Path, mode: int, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between bind and rename it has no more than the owner's bits; the name appears with the final ones."""
    bind_at = lowlevel.bind_at
    rename = os.rename
    modes: list[int] = []

    def bind(sock: lowlevel.Socket, directory_fd: int, new: str) -> None:
        bind_at(sock, directory_fd, new)
        if new == ".kitchen.new":
            modes.append(mode_of(name.with_name(new)))

    def renaming(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        modes.append(mode_of(name.with_name(old)))
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(lowlevel, "bind_at", bind)
    monkeypatch.setattr(os, "rename", renaming)
    with umask(mask):
        claim = claim_socket(name, card=b"", mode=mode)
    assert modes == [mode & 0o600 & ~mask, mode]
    assert mode_of(name) == mode
    assert mode_of(name.with_name(".kitchen.lock")) == 0o600
    claim.close()


def test_the_socket_listens_before_it_has_its_name(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no instant in which the name is there and nobody listens."""
    rename = os.rename

    def renaming(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        assert answers(name.with_name(old))
        assert not name.exists()
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", renaming)
    claim_socket(name, card=b"").close()


def test_a_path_of_any_length_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond sun_path, beyond PATH_MAX, and with the longest last part."""
    part = "d" * 250
    monkeypatch.chdir(tmp_path)
    for _ in range(17):
        os.mkdir(part)
        os.chdir(part)
    path = tmp_path.joinpath(*[part] * 17, "k" * 249)
    assert len(str(path)) > 4096
    for form in (path, Path("k" * 249)):
        claim = claim_socket(form, card=b"long")
        assert claim.path == str(path)
        assert read_card(form) == b"long"
        sock, _ = connect_socket(form)
        sock.close()
        claim.close()
        assert os.listdir() == []
    with pytest.raises(DeclarationError, match="250 bytes, 249 are allowed, for the lock file"):
        claim_socket(tmp_path / ("k" * 250), card=b"")
    # What pytest cannot remove by its full path.
    for _ in range(17):
        os.chdir("..")
        os.rmdir(part)


def test_a_missing_directory_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Nothing is made."""
    with pytest.raises(NameNotFound, match=rf"{tmp_path}/no/kitchen: .* mkdir -p {tmp_path}/no$") as caught:
        claim_socket(tmp_path / "no" / "kitchen", card=b"")
    assert caught.value.errno is None or caught.value.errno == errno.ENOENT
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    make_file(tmp_path / "file")
    with pytest.raises(NameNotFound, match="not a directory"):
        claim_socket(tmp_path / "file" / "kitchen", card=b"")
    assert os.listdir(tmp_path) == ["file"]


def test_a_directory_that_may_not_be_written_to_is_refused() -> None:
    """The error names the path, and nothing has changed."""
    with shared_directory(0o555) as directory, without_privileges():
        with pytest.raises(NotAllowed, match=rf"{directory}/kitchen: .*permission"):
            claim_socket(directory / "kitchen", card=b"")
        assert os.listdir(directory) == []


@pytest.mark.parametrize("call", ["bind_at", "flock", "listen", "write", "rename"])
def test_a_claim_that_fails_half_way_leaves_nothing(name: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails: no name, no lock, no descriptor; a full disk says so."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def listening() -> lowlevel.Socket:
        class Failing(lowlevel.Socket):
            def listen(self, backlog: int = 0, /) -> None:
                fail()

        sock = unix_socket()
        return Failing(fileno=sock.detach())

    unix_socket = lowlevel.unix_socket
    where: dict[str, tuple[object, str, object]] = {
        "bind_at": (lowlevel, "bind_at", fail),
        "flock": (lowlevel, "flock", fail),
        "listen": (lowlevel, "unix_socket", listening),
        "write": (os, "pwrite", fail),
        "rename": (os, "rename", fail),
    }
    with monkeypatch.context() as patch:
        patch.setattr(*where[call])
        with pytest.raises(TooLarge, match=rf"{name}: .*no room"):
            claim_socket(name, card=b"")
    assert set(os.listdir(name.parent)) <= ({".kitchen.lock"} if call == "flock" else set())
    claim_socket(name, card=b"").close()
    assert os.listdir(name.parent) == []


def test_the_card_is_read_without_the_lock(name: Path) -> None:
    """The owner's own, as long as it owns the name."""
    assert read_card(name) is None
    card = bytes(range(256)) * 40
    claim = claim_socket(name, card=card)
    assert read_card(name) == card
    claim.close()
    assert read_card(name) is None
    claim = claim_socket(name, card=b"")
    assert read_card(name) is None
    claim.close()
    with pytest.raises(DeclarationError, match="the card has"):
        claim_socket(name, card=bytes((1 << 20) + 1))


def test_a_damaged_card_is_no_card(name: Path) -> None:
    """Cut short, overwritten, or garbage: not an error, for the name may be connected to all the same."""
    claim = claim_socket(name, card=b"the card")
    lock = name.with_name(".kitchen.lock")
    whole = lock.read_bytes()
    for content in (b"", whole[:-1], whole.replace(b"card", b"crad"), b"x" * 100, b"a b c d e f\ng", b"\n"):
        lock.write_bytes(content)
        assert read_card(name) is None
    lock.write_bytes(whole)
    assert read_card(name) == b"the card"
    claim.close()


def test_a_card_of_another_user_is_not_believed(name: Path) -> None:
    """Who plants a card could make a client refuse a good server."""
    claim = claim_socket(name, card=b"the card")
    with pytest.MonkeyPatch.context() as patch:
        give_away(name.with_name(".kitchen.lock"), patch)
        assert read_card(name) is None
    claim.close()


FORKER = """
    import os, signal, sys
    from namedipc._names import claim_socket
    claim = claim_socket(sys.argv[1], card=b"the card")
    child = os.fork()
    if child == 0:
        # The parent's descriptors are closed here; closing the claim removes nothing.
        assert claim.listener.fileno() == -1
        claim.close()
        print(os.getpid(), flush=True)
        signal.pause()
    input()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    claim.close()
    print("closed", flush=True)
"""


def test_a_child_made_by_fork_owns_nothing(name: Path, child: Children) -> None:
    """Its close removes nothing, its end neither; the parent's close does."""
    owner = child(FORKER, str(name))
    owner.read_line()
    assert answers(name)
    owner.say()
    owner.expect("closed")
    assert os.listdir(name.parent) == []


def test_a_child_made_by_fork_does_not_keep_the_name_of_its_killed_parent(name: Path, child: Children) -> None:
    """The lock dies with the owner, though a child of it lives on."""
    owner = child(FORKER, str(name))
    forked = int(owner.read_line())
    owner.kill()
    try:
        claim_socket(name, card=b"").close()
        assert lowlevel.process_start_time(forked) > 0
    finally:
        os.kill(forked, 9)


def test_a_claim_of_a_process_that_has_forked_by_other_means_is_only_closed(
    name: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no hook ran in the child, the remembered process id protects the name."""
    claim = claim_socket(name, card=b"")
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        claim.close()
    assert sorted(os.listdir(name.parent)) == [".kitchen.handover", ".kitchen.lock", "kitchen"]


def test_a_stale_socket_is_removed_and_a_living_one_is_not(name: Path, child: Children) -> None:
    """`remove` takes the claim lock, and leaves nothing."""
    owner = child(OWNER, str(name))
    owner.expect("owner")
    with pytest.raises(NameTaken, match="owned by process"):
        remove_name(name, kind="socket")
    assert answers(name)
    owner.kill()
    remove_name(name, kind="socket")
    assert os.listdir(name.parent) == []
    with pytest.raises(NameNotFound, match="missing_ok=True"):
        remove_name(name, kind="socket")
    remove_name(name, kind="socket", missing_ok=True)
    assert os.listdir(name.parent) == []


def test_what_an_owner_killed_early_has_left_is_removed_too(name: Path) -> None:
    """A lock file and a socket that never got its name."""
    name.with_name(".kitchen.lock").touch(0o600)
    lowlevel.unix_listen(name.with_name(".kitchen.new")).close()
    remove_name(name, kind="socket", missing_ok=True)
    assert os.listdir(name.parent) == []


@pytest.mark.parametrize("mode", [-1, 0o1777, 0o7000])
def test_a_mode_is_permission_bits(name: Path, mode: int) -> None:
    """Refused before anything is made."""
    with pytest.raises(DeclarationError, match="permissions are between"):
        claim_socket(name, card=b"", mode=mode)
    assert os.listdir(name.parent) == []


def test_every_refusal_is_an_error_of_the_library(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An errno that nobody thought of keeps its text, the path and its cause."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(lowlevel, "bind_at", fail)
    with pytest.raises(IPCError, match=rf"{name}: cannot claim it: .*Input/output error") as caught:
        claim_socket(name, card=b"")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_claim_is_dropped_from_the_hook_when_it_is_closed(name: Path) -> None:
    """The hook for children keeps no claim alive."""
    claim = claim_socket(name, card=b"")
    assert isinstance(claim, Claim)
    claim.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        claim.listener.getsockname()
