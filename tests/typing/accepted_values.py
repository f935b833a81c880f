"""Values and errors: what both checkers accept, with the exact type."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, assert_type

from namedipc import (
    Closed,
    ConnectionLost,
    DeclarationError,
    Fd,
    HasFileno,
    InvalidMessage,
    IPCError,
    Limits,
    NameNotFound,
    NameTaken,
    NoServer,
    NotAllowed,
    Peer,
    RemoteError,
    TimedOut,
    TooLarge,
    WrongKind,
    runtime_path,
)

assert_type(runtime_path("app", "kitchen"), Path)
assert_type(Limits(clients=3).message_bytes, int)
assert_type(Limits().handshake_seconds, float)

taken: FileExistsError = NameTaken()
missing: FileNotFoundError = NameNotFound()
refused: ConnectionRefusedError = NoServer()
forbidden: PermissionError = NotAllowed()
late: TimeoutError = TimedOut()
lost: ConnectionResetError = ConnectionLost()
other: OSError = WrongKind()
undeclarable: TypeError = DeclarationError()
unfit: ValueError = InvalidMessage()
large: ValueError = TooLarge()
ours: list[IPCError] = [NameTaken(), Closed(), RemoteError()]
assert_type(ConnectionLost().calls, tuple[str, ...])
assert_type(RemoteError().type_name, str)


def who(peer: Peer) -> bool:
    """A rule of one's own is a function of the peer."""
    assert_type(peer.groups, tuple[int, ...])
    assert_type(peer.executable, Path | None)
    assert_type(peer.start_time, float | None)
    assert_type(peer.pidfd(), Fd)
    return peer.uid == 0


def lend(file: BinaryIO) -> None:
    """A descriptor comes of a number, or of whatever has one."""
    with Fd(file) as fd, Fd(fd), Fd(0):
        something: HasFileno = fd
        assert_type(something.fileno(), int)
        assert_type(fd.open(), BinaryIO)
        assert_type(fd.detach(), int)
