"""Which buffers there are, who may write them, and what is believed of them; without any memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from namedipc import lowlevel
from namedipc._descriptors import Descriptors
from namedipc._errors import ProtocolError
from namedipc._protocol.attachments import Parcel, Span, pack_table, split_table
from namedipc._protocol.frames import BUFFER, PAYLOAD_FLAG, RELEASE, Frame
from namedipc._protocol.payloads import (
    MOST_BUFFERS,
    Borrowing,
    Lending,
    lay_out,
    pack_release,
    pack_size,
    rounded,
    take_payload_frame,
)

pytestmark = pytest.mark.usefixtures("no_leaks")

MIB = 1 << 20


def lending(limit_bytes: int = 8 * MIB, theirs: int = 1 << 40) -> Lending:
    """Return one whose other side has said its hello."""
    made = Lending(limit_bytes)
    made.greeted(theirs)
    return made


def test_payloads_lie_one_behind_the_other() -> None:
    """Each begins where processors like it best."""
    assert lay_out([10, 64, 0, 7]) == ([(0, 10), (64, 64), (128, 0), (128, 7)], 135)
    assert lay_out([]) == ([], 0)


@pytest.mark.parametrize("size", [1, 4096, 4097, 262_144, 300_000, MIB, MIB + 1, 100_000_000, (1 << 40) + 1])
def test_sizes_are_rounded_up_by_little(size: int) -> None:
    """To whole pages, and so that at most an eighth is wasted of what is large."""
    assert size <= rounded(size) <= max(4096, size * 9 // 8 + 4096)
    assert rounded(size) % 4096 == 0
    assert rounded(rounded(size)) == rounded(size)


def test_a_table_is_read_as_it_was_written() -> None:
    """With the rest of the body behind it."""
    spans: list[Span] = [(0, 5), (1 << 40, (1 << 64) - 1)]
    assert split_table(PAYLOAD_FLAG, pack_table(7, spans) + b"rest") == (7, spans, b"rest")
    assert split_table(0, b"rest") == (0, [], b"rest")
    for cut in range(5 + 32):
        with pytest.raises(ProtocolError, match="does not say where they are"):
            split_table(PAYLOAD_FLAG, pack_table(7, spans)[:cut])


# ---------------------------------------------------------------- the sending end


def test_nothing_is_lent_before_the_hello() -> None:
    """How much the other side maps is not known."""
    silent = Lending(8 * MIB)
    assert silent.limit_bytes is None
    assert silent.lend(MIB) is None


def test_the_lower_limit_counts() -> None:
    """That of this side, or of the other."""
    assert lending(8 * MIB, 2 * MIB).limit_bytes == 2 * MIB
    assert lending(2 * MIB, 8 * MIB).limit_bytes == 2 * MIB
    assert lending(8 * MIB, 0).lend(1) is None


def test_a_buffer_is_used_again() -> None:
    """Once it has been released, or has come back."""
    pool = lending()
    first = pool.lend(MIB)
    assert first is not None
    assert first.is_new
    second = pool.lend(MIB)
    assert second is not None
    assert second.id != first.id
    pool.released([first.id])
    again = pool.lend(MIB - 5)
    assert again is not None
    assert (again.id, again.is_new, again.given_up) == (first.id, False, ())
    pool.back(second.id)
    pool.back(second.id)
    again = pool.lend(MIB)
    assert again is not None
    assert again.id == second.id


def test_growing_can_be_forbidden() -> None:
    """Until what the other side has released was heard."""
    pool = lending()
    assert pool.lend(MIB, may_grow=False) is None
    lent = pool.lend(MIB)
    assert lent is not None
    pool.released([lent.id])
    assert pool.lend(MIB, may_grow=False) is not None


def test_the_smallest_that_fits_is_taken() -> None:
    """But none that is far too large, as long as there is room."""
    pool = lending()
    sizes = [2 * MIB, MIB, 4 * MIB]
    lents = [pool.lend(size) for size in sizes]
    pool.released([lent.id for lent in lents if lent is not None])
    small = pool.lend(MIB // 8)
    assert small is not None
    assert small.is_new
    fitting = pool.lend(MIB)
    assert fitting is not None
    assert fitting.size_bytes == MIB
    assert not fitting.is_new


def test_what_does_not_fit_goes() -> None:
    """Free ones, and no more than is needed; then a far too large one is better than none."""
    pool = lending(4 * MIB)
    lents = [pool.lend(MIB) for _ in range(4)]
    ids = [lent.id for lent in lents if lent is not None]
    assert pool.lend(1) is None
    pool.released(ids)
    large = pool.lend(2 * MIB)
    assert large is not None
    assert large.given_up == tuple(ids[:2])
    assert pool.lend(3 * MIB) is None
    pool.released([large.id])
    whole = pool.lend(4 * MIB)
    assert whole is not None
    assert set(whole.given_up) == {*ids[2:], large.id}
    pool.released([whole.id])
    tiny = pool.lend(1)
    assert tiny is not None
    assert tiny.given_up == (whole.id,)


def test_there_are_not_too_many() -> None:
    """Each costs the other side a descriptor."""
    pool = lending(1 << 40)
    for _ in range(MOST_BUFFERS):
        assert pool.lend(1) is not None
    assert pool.lend(1) is None


def test_one_that_could_not_be_made() -> None:
    """It takes no room."""
    pool = lending(MIB)
    for _ in range(3):
        lent = pool.lend(MIB)
        assert lent is not None
        pool.unmade(lent.id)


def test_a_release_of_what_is_not_lent() -> None:
    """The other side is wrong."""
    pool = lending()
    lent = pool.lend(MIB)
    assert lent is not None
    pool.released([lent.id])
    with pytest.raises(ProtocolError, match=f"buffer {lent.id} was released, and is not lent"):
        pool.released([lent.id])


# ---------------------------------------------------------------- frames


class Ends:
    """Writes down what is asked of it."""

    limit_bytes = MIB

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.pool = self.windows = self

    def greeted(self, their_bytes: int) -> None:
        raise NotImplementedError

    def released(self, ids: Sequence[int]) -> None:
        self.seen.append(("released", *ids))

    def announced(self, id: int, size_bytes: int, fd: int) -> None:  # noqa: A002  # as it is called
        os.close(fd)
        self.seen.append(("announced", id, size_bytes))

    def given_up(self, id: int) -> None:  # noqa: A002  # likewise
        self.seen.append(("given up", id))

    def views(self, id: int, spans: Sequence[Span]) -> list[memoryview]:  # noqa: A002  # likewise
        raise NotImplementedError


def buffer_frame(body: bytes, count: int) -> Frame:
    """Return a BUFFER of id 3 with descriptors."""
    return BUFFER, 0, 0, 3, Parcel(body, Descriptors([lowlevel.eventfd() for _ in range(count)]))


def test_frames_say_what_has_become_of_buffers() -> None:
    """New, gone, released."""
    ends = Ends()
    take_payload_frame(buffer_frame(pack_size(MIB), 1), ends)
    take_payload_frame(buffer_frame(b"", 0), ends)
    take_payload_frame((BUFFER, 0, 0, 4, b""), ends)
    take_payload_frame((RELEASE, 0, 0, 0, pack_release([5, (1 << 32) - 1])[12:]), ends)
    assert ends.seen == [("announced", 3, MIB), ("given up", 3), ("given up", 4), ("released", 5, (1 << 32) - 1)]


@pytest.mark.parametrize(("body", "count"), [(pack_size(1), 0), (pack_size(1), 2), (b"", 1), (b"seven b", 1)])
def test_a_buffer_that_is_malformed(body: bytes, count: int) -> None:
    """What has come with it is closed."""
    with pytest.raises(ProtocolError, match=rf"not {len(body)} bytes and {count}$"):
        take_payload_frame(buffer_frame(body, count), Ends())


def test_the_receiving_end_believes_what_fits() -> None:
    """What hostile peers say besides is in the tests of channels."""
    book = Borrowing(2 * MIB)
    book.announced(1, MIB)
    book.announced(2, MIB)
    book.used(1, [(MIB - 1, 1), (0, MIB - 1)])
    book.released(1)
    book.given_up(1)
    book.announced(1, MIB)
