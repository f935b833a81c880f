"""Descriptors beside frames: how many a frame says are its own, and which of those that came they are.

The kernel hands descriptors over with the first byte of what they were sent with. The law: a frame with descriptors is
sent from its first byte on together with them, so that what has come is matched to frames by order and count alone; and
what matches no frame is closed. Numbers only: nothing here waits for a descriptor, or uses one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self, TypeVar, final

from .._codec import Codec
from .._descriptors import MOST_DESCRIPTORS, Descriptors, close_all
from .._errors import ProtocolError
from .frames import DESCRIPTORS_FLAG, Frame, pack_frame

T = TypeVar("T")


def with_count(count: int, body: bytes) -> bytes:
    """Return the body of a frame with flag DESCRIPTORS: the count of its descriptors is before everything else."""
    return bytes((count,)) + body


def split_count(flags: int, body: bytes) -> tuple[int, bytes]:
    """Return how many descriptors a frame has, and the rest of its body.

    Raises:
        ProtocolError: It announces some and does not say how many, or more than a frame can have.
    """
    if not flags & DESCRIPTORS_FLAG:
        return 0, body
    if not body or not 1 <= body[0] <= MOST_DESCRIPTORS:
        raise ProtocolError(f"a frame with descriptors says that they are {body[0] if body else 'nothing'}")
    return body[0], body[1:]


@final
class Arrivals:
    """Descriptors that have come on a connection and wait for their frame. Owns them.

    `add` what a read brought, `take` those of each whole frame, and `settle` when there is no further whole frame: so
    it never holds more than one frame may have, and one read may bring.
    """

    __slots__ = ("_overflowed", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._overflowed = False

    def add(self, descriptors: list[int]) -> None:
        """Take over what came with a read."""
        self._waiting += descriptors
        if len(self._waiting) > 2 * MOST_DESCRIPTORS:
            self._overflowed = True
            self.close()

    def take(self, count: int) -> list[int]:
        """Return the descriptors of the next frame; they belong to the caller.

        Raises:
            ProtocolError: Fewer have come than it says. All are closed.
        """
        if count > len(self._waiting):
            there = len(self._waiting)
            self.close()
            raise ProtocolError(f"a frame says that it has {count} descriptors; {there} have come")
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def settle(self, *, unfinished: bool) -> None:
        """Say that no whole frame is left.

        Args:
            unfinished: Whether the beginning of one is there.

        Raises:
            ProtocolError: There are descriptors which no frame can have. All are closed.
        """
        if self._overflowed or len(self._waiting) > (MOST_DESCRIPTORS if unfinished else 0):
            self.close()
            raise ProtocolError("descriptors have come which belong to no frame")

    def close(self) -> None:
        """Close what waits."""
        waiting, self._waiting = self._waiting, []
        close_all(waiting)


@final
class Parcel(bytes):
    """A frame's body together with its descriptors."""

    descriptors: Descriptors

    def __new__(cls, body: bytes, descriptors: Descriptors) -> Self:
        parcel = super().__new__(cls, body)
        parcel.descriptors = descriptors
        return parcel


@final
class Shipment(bytes):
    """Whole frames, and the descriptors which have to leave with the first byte of some of them.

    Attributes:
        attached: Where in the bytes such a frame begins, and its descriptors; in order.
    """

    attached: list[tuple[int, Descriptors]]

    def __new__(cls, frames: bytes, attached: list[tuple[int, Descriptors]]) -> Self:
        shipment = super().__new__(cls, frames)
        shipment.attached = attached
        return shipment

    def release(self) -> list[tuple[int, Descriptors]]:
        """Return what is attached; it belongs to the caller then."""
        attached, self.attached = self.attached, []
        return attached

    def close(self) -> None:
        """Close the descriptors which still belong to this."""
        for _, descriptors in self.release():
            descriptors.close()


def pack_parcel(kind: int, body: bytes, *, flags: int = 0, method: int = 0, id: int = 0) -> bytes:  # noqa: A002
    """Return one frame; a `Shipment` of a `Parcel` with descriptors."""
    if type(body) is not Parcel or not body.descriptors:
        return pack_frame(kind, body, flags=flags, method=method, id=id)
    counted = with_count(len(body.descriptors), body)
    frame = pack_frame(kind, counted, flags=flags | DESCRIPTORS_FLAG, method=method, id=id)
    return Shipment(frame, [(0, body.descriptors)])


def descriptors_of(body: bytes) -> list[int]:
    """Take the descriptors out of a body; they belong to the caller."""
    return body.descriptors.detach() if isinstance(body, Parcel) else []


def receiving(codec: Codec[T]) -> Callable[[bytes], T]:
    """Return what makes a value of a received body, with its descriptors if the type may hold any."""
    if not codec.carries_descriptors:
        return codec.decode
    return lambda body: codec.decode_with(body, descriptors_of(body))


def replaced(parcel: bytes, body: bytes) -> bytes:
    """Return another body with the descriptors of a parcel, if it is one."""
    return Parcel(body, parcel.descriptors) if isinstance(parcel, Parcel) else body


def close_frame(frame: bytes) -> None:
    """Close the descriptors of a frame which will not leave."""
    if isinstance(frame, Shipment):
        frame.close()


def join_frames(frames: Iterable[bytes]) -> bytes:
    """Return several frames as one piece; a `Shipment` if one of them is."""
    attached: list[tuple[int, Descriptors]] = []
    pieces: list[bytes] = []
    at = 0
    for frame in frames:
        if isinstance(frame, Shipment):
            attached += [(at + offset, descriptors) for offset, descriptors in frame.release()]
        pieces.append(frame)
        at += len(frame)
    joined = b"".join(pieces)
    return Shipment(joined, attached) if attached else joined


def open_parcel(frame: Frame, arrivals: Arrivals | None) -> Frame:
    """Return a received frame with a `Parcel` as its body.

    Raises:
        ProtocolError: It has descriptors where there are none, or others than it says.
    """
    kind, flags, method, id_, body = frame
    count, body = split_count(flags, body)
    if arrivals is None:
        raise ProtocolError("a frame says that it has descriptors, and this side takes none")
    return kind, flags & ~DESCRIPTORS_FLAG, method, id_, Parcel(body, Descriptors(arrivals.take(count)))
