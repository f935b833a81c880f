"""What travels beside frames: which descriptors are a frame's own, and where its large payloads are.

The kernel hands descriptors over with the first byte of what they were sent with. The law: a frame with descriptors is
sent from its first byte on together with them, so that what has come is matched to frames by order and count alone; and
what matches no frame is closed. Numbers only: nothing here waits for a descriptor, or uses one. A frame with payloads
says where in which buffer they are; what buffers are is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol, Self, TypeAlias, TypeVar, final

from .._codec import Codec
from .._descriptors import MOST_DESCRIPTORS, Descriptors, close_all
from .._errors import ProtocolError
from .frames import ATTACHMENT_FLAGS, CALLS, DESCRIPTORS_FLAG, PAYLOAD_FLAG, REPLIES, SPAN, TABLE, Frame, pack_frame

T = TypeVar("T")

Span: TypeAlias = tuple[int, int]
"""Where a payload begins in its buffer, and how many bytes it has."""


class Views(Protocol):
    """Gives out what is in the buffers of the other side."""

    def views(self, id: int, spans: Sequence[Span]) -> list[memoryview]:  # noqa: A002
        """Return the payloads of a message, which may be written to until the last view of them is gone.

        Raises:
            ProtocolError: There is no such buffer, or they are not in it.
        """
        ...


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


def pack_table(buffer: int, spans: Sequence[Span]) -> bytes:
    """Return what the body of a frame with flag PAYLOAD begins with, behind the count of its descriptors."""
    return TABLE.pack(len(spans), buffer) + b"".join(SPAN.pack(*span) for span in spans)


def split_table(flags: int, body: bytes) -> tuple[int, list[Span], bytes]:
    """Return which buffer the payloads of a frame are in, where, and the rest of its body.

    Raises:
        ProtocolError: It announces some, and is too short to say where all are; or has none.
    """
    if not flags & PAYLOAD_FLAG:
        return 0, [], body
    count, buffer = TABLE.unpack_from(body) if len(body) >= TABLE.size else (0, 0)
    end = TABLE.size + count * SPAN.size
    if not count or len(body) < end:
        raise ProtocolError("a frame with payloads does not say where they are")
    return buffer, list(SPAN.iter_unpack(body[TABLE.size : end])), body[end:]


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
    """A frame's body together with what travels beside it.

    Attributes:
        descriptors: Its descriptors and its large payloads.
        within: Encodes it once more, with the payloads within; None for what has arrived, or has none.
        table: What the frame says of where its payloads are; None until they have a place.
    """

    descriptors: Descriptors
    within: Callable[[], bytes] | None
    table: bytes | None

    def __new__(
        cls,
        body: bytes,
        descriptors: Descriptors,
        *,
        within: Callable[[], bytes] | None = None,
        table: bytes | None = None,
    ) -> Self:
        parcel = super().__new__(cls, body)
        parcel.descriptors = descriptors
        parcel.within = within
        parcel.table = table
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
    """Return one frame; a `Shipment` of a `Parcel` with descriptors, or with payloads that have a place."""
    if type(body) is not Parcel or not (body.descriptors or body.table):
        return pack_frame(kind, body, flags=flags, method=method, id=id)
    whole: bytes = body
    if body.table:
        whole = body.table + whole
        flags |= PAYLOAD_FLAG
    if body.descriptors:
        whole = with_count(len(body.descriptors), whole)
        flags |= DESCRIPTORS_FLAG
    return Shipment(pack_frame(kind, whole, flags=flags, method=method, id=id), [(0, body.descriptors)])


def descriptors_of(body: bytes) -> list[int]:
    """Take the descriptors out of a body; they belong to the caller."""
    return body.descriptors.detach() if isinstance(body, Parcel) else []


def payloads_of(body: bytes) -> list[memoryview]:
    """Take the payloads out of a body that has arrived: only what is made of them keeps them."""
    return body.descriptors.take_payloads() if isinstance(body, Parcel) else []


def is_homeless(body: bytes) -> bool:
    """Whether a body has payloads which have no place yet."""
    return type(body) is Parcel and body.table is None and body.within is not None


def make_parcel(codec: Codec[T], value: T, *, consume: bool = False) -> bytes:
    """Return a value as a parcel, or plainly where nothing travels beside it. See `Codec.encode_with`."""
    body, descriptors = codec.encode_with(value, consume=consume)
    if not descriptors.numbers and not descriptors.payloads:
        return body
    within = partial(codec.encode_within, value, descriptors) if descriptors.payloads else None
    return Parcel(body, descriptors, within=within)


def receiving(codec: Codec[T]) -> Callable[[bytes], T]:
    """Return what makes a value of a received body, with what came beside it if the type may hold any."""
    if not codec.carries_attachments:
        return codec.decode

    def receive(body: bytes) -> T:
        return codec.decode_with(body, descriptors_of(body), payloads_of(body))

    return receive


def replaced(parcel: bytes, body: bytes) -> bytes:
    """Return another body with what travels beside a parcel, if it is one."""
    return Parcel(body, parcel.descriptors, table=parcel.table) if isinstance(parcel, Parcel) else body


def extended(parcel: bytes, extend: Callable[[bytes], bytes]) -> bytes:
    """Return a body which says more than that of a parcel, or of what is none, before it gets a place."""
    body = extend(parcel)
    if not isinstance(parcel, Parcel):
        return body
    encode_within = parcel.within
    within = None if encode_within is None else lambda: extend(encode_within())
    return Parcel(body, parcel.descriptors, within=within)


def close_parcel(body: bytes) -> None:
    """Close what travels beside a body which will not leave."""
    if isinstance(body, Parcel):
        body.descriptors.close()


def close_frame(frame: bytes | memoryview) -> None:
    """Close the descriptors of a frame which will not leave."""
    if isinstance(frame, Shipment):
        frame.close()


def has_descriptors(frame: bytes | memoryview) -> bool:
    """Whether descriptors have to leave with a frame."""
    return isinstance(frame, Shipment) and any(descriptors.numbers for _, descriptors in frame.attached)


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


def open_parcel(frame: Frame, arrivals: Arrivals | None, views: Views | None) -> Frame:
    """Return a received frame with a `Parcel` as its body.

    Raises:
        ProtocolError: It has descriptors or payloads where there are none, or others than it says.
    """
    kind, flags, method, id_, body = frame
    if kind in {CALLS, REPLIES}:
        raise ProtocolError("calls that come together, and their answers, have nothing beside them")
    if arrivals is None:
        raise ProtocolError("a frame says that it has descriptors or payloads, and this side takes none")
    count, body = split_count(flags, body)
    descriptors = Descriptors(arrivals.take(count))
    buffer, spans, body = split_table(flags, body)
    if spans:
        if views is None:
            raise ProtocolError("a frame says that it has payloads in a buffer, and this side takes none")
        descriptors.payloads = views.views(buffer, spans)
    return kind, flags & ~ATTACHMENT_FLAGS, method, id_, Parcel(body, descriptors)
