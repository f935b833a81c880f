"""A broadcast's open file: read without a lock, written under it. What the trio and the blocking ends share.

Both the index and the messages are read by pread, many at once: 64 batches of 64 bytes cost two calls of 0.65 us,
their checksums 15 us. A mapping would save one of these microseconds, for the price of SIGBUS where the file is cut.

The law: a batch is published by one write, of its entry; nothing before it can be seen, nothing after it is needed.
That write is also the bell (`bell.py`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, final

from .._errors import ProtocolError, TooLarge
from .._protocol import ring
from .._protocol.file_header import Flag
from .._protocol.ring import ENTRY_BYTES, INDEX_ENTRIES, NOTHING, Entry, Header, Look
from .shared_file import SharedFile, World, write_all
from .shared_lock import FileLock

READ_ATTEMPTS: Final = 16
"""How often a batch is looked for at once, while writers overtake the reader or something seems to be damaged."""

READ_BYTES: Final = 1 << 17
"""How many bytes of batches are read at once, unless one is longer."""


@final
class RingFile(SharedFile[Header]):
    """One open broadcast. Opened to write, it holds a mark, which it shares with the other writers."""

    def __init__(self, path: str, fd: int, header: Header, lock: FileLock | None, *, world: World) -> None:
        super().__init__(path, fd, header, lock, world=world)
        self._newest = NOTHING
        self._is_writer = False
        self._is_over = False

    def refuse_larger(self, payload: bytes) -> None:
        """Raise where a message does not fit.

        Raises:
            TooLarge: It is longer than `message_bytes`.
        """
        if len(payload) > self.header.message_bytes:
            raise TooLarge(
                f"{self.path}: the message has {len(payload)} bytes encoded, the broadcast takes "
                f"{self.header.message_bytes}; make it anew with a larger message_bytes"
            )

    # --- writing

    def publish(self, payload: bytes, messages: int = 1) -> None:
        """Make some messages the newest. The caller holds the lock.

        Args:
            payload: A message; or an array of several, of `batch_bytes` at most.
            messages: How many they are.

        Raises:
            ProtocolError: The file was cut short; nothing has changed.
            Closed: It was closed.
        """
        with self.gate:
            if self._is_over:
                raise self.closed()
            self.whole_fd()
            data, commit, newest = ring.make_batch(self.header, self._go_to_newest(), payload, messages)
            self.write_quietly(data.data, data.offset)
            write_all(self._fd, commit.data, commit.offset)  # the only commit, and the bell
            self._newest = newest

    def join(self) -> bool:
        """Become one of the writers, which `close` ends. Does not wait.

        Returns:
            False where somebody is about to end the broadcast, or has ended or replaced it.
        """
        self._is_writer = self.lock.share() and self.ended_after() is None and self.has_name()
        return self._is_writer

    def joined(self) -> RingFile:
        """Note that this handle has its mark from the beginning: it has made the file."""
        self._is_writer = True
        return self

    def end_if_unused(self) -> None:
        """Say that no message will follow, if nobody writes. This handle has not joined, or is the last that has."""
        with suppress(ProtocolError):  # cut short: every reader is told so
            if self.lock.own() and self.ended_after() is None:
                self._end()

    def close(self) -> None:
        """Close it. The last writer says that this is the end, and removes the name, unless it is to stay.

        Raises:
            NotAllowed: The name may not be removed any more.
        """
        is_writer, self._is_writer = self._is_writer, False
        try:
            if is_writer and self._fd >= 0 and not self._is_to_stay() and self.lock.own_or_leave():
                self.take_name()
                self.end_if_unused()
        finally:
            super().close()

    def forget(self) -> None:
        """Close the descriptor in a forked child; the mark and the name stay the parent's."""
        self._is_writer = False
        super().forget()

    def _is_to_stay(self) -> bool:
        return bool(self.header.flags & Flag.PERSIST) and self.has_name()

    def _end(self) -> None:
        with self.gate:
            self.whole_fd()
            self._is_over = True
            os.pwrite(self._fd, ring.pack_end(self._go_to_newest().number), ring.END_OFFSET)

    def _go_to_newest(self) -> Entry:
        """Return the newest batch. The caller holds the lock, so that it stays that."""
        self._newest = self._newest_from(self._found_newest() if self._newest is NOTHING else self._newest)
        return self._newest

    # --- reading

    def newest(self) -> Entry:
        """Return the newest batch; `NOTHING` where there is none."""
        return self._newest_from(self._found_newest())

    def oldest_number(self, newest: Entry) -> int:
        """Return the number of the oldest batch that is kept."""
        return ring.find_oldest(self.header, newest, self._entry)

    def first_message(self, number: int, newest: Entry) -> int:
        """Return the number of the first message of a batch; where it is not there any more, of the one behind all."""
        entry = self._entry(number)
        return newest.last + 1 if entry is None else entry.first

    def keeps(self, entry: Entry) -> bool:
        """Whether the bytes of a batch whose entry is there are not written over."""
        return self.header.is_kept(entry.position, self.newest().end)

    def _newest_from(self, newest: Entry) -> Entry:
        return ring.follow(newest, lambda number: self.look(number, INDEX_ENTRIES), self._found_newest)

    def look(self, number: int, most: int) -> Look:
        """Look for a batch and those which follow it, at most `most`.

        Raises:
            ProtocolError: The file was cut short.
            Closed: It was closed.
        """
        # Two at least: where the first is damaged, the second shows that. The second of the last place is the first
        # of all. That is read before it, so that no message falls between, which would look like damage.
        in_a_row = self.header.entries_in_a_row(number)
        second = self._read(ENTRY_BYTES, self.header.entry_offset(number + 1)) if in_a_row == 1 else b""
        index = self._read(min(max(most, 2), in_a_row) * ENTRY_BYTES, self.header.entry_offset(number))
        entries, ahead = ring.look(index + second, number)
        return Look(entries[:most], ahead)

    def payloads(self, entries: Sequence[Entry]) -> list[bytes]:
        """Return the bytes of the first of some batches: as many as lie side by side, and are whole."""
        near = ring.in_one_piece(self.header, entries, READ_BYTES)
        start = near[0].position
        data = self._read(near[-1].end - start, self.header.data_offset(start))
        if len(near) == 1:  # not to copy it once more
            return [data] if near[0].matches(data) else []
        found: list[bytes] = []
        for entry in near:
            payload = data[entry.position - start : entry.end - start]
            if not entry.matches(payload):
                break
            found.append(payload)
        return found

    def ended_after(self) -> int | None:
        """Return the number of the last batch, if no other will follow."""
        return ring.unpack_end(self._read(ring.END_BYTES, ring.END_OFFSET))

    def _found_newest(self) -> Entry:
        number = ring.find_newest(self.header.slots, self._number_at)
        if not number:
            return NOTHING
        return self._entry(number) or NOTHING._replace(number=number)

    def _entry(self, number: int) -> Entry | None:
        """Return the entry of a number; None where it is not there, or not any more."""
        found = self.look(number, 1).entries
        return found[0] if found else None

    def _number_at(self, place: int) -> int:
        offset = self.header.header_bytes + place * ENTRY_BYTES
        for _ in range(READ_ATTEMPTS):
            data = self._read(ENTRY_BYTES, offset)
            entry = ring.unpack_entry(data)
            if entry is not None:
                return entry.number
            if not any(data):
                break
        return 0

    def _read(self, size_bytes: int, offset: int) -> bytes:
        fd = self._fd
        if fd < 0:
            raise self.closed()
        data = os.pread(fd, size_bytes, offset)
        if len(data) < size_bytes:
            raise self._cut_short()
        return data


@final
class Cursor:
    """Where a reader is in a broadcast.

    Attributes:
        number: Of the next batch.
        first: Of its first message, if none is missed.
        missed: How many messages were.
    """

    def __init__(self, file: RingFile, *, oldest: bool) -> None:
        """Begin behind the newest batch, or with the oldest one that is kept."""
        newest = file.newest()
        self.missed: int = 0
        self._file = file
        self.number: int = newest.number + 1
        self.first: int = newest.last + 1
        if oldest and newest.number:
            self.number = file.oldest_number(newest)
            self.first = file.first_message(self.number, newest)

    def take(self, most: int) -> list[tuple[bytes, int]]:
        """Return the next batches, at most `most`, each with how many messages it is; none where nothing is new.

        Where the reader was lapped, they are the oldest that are there, and `missed` has become more.

        Raises:
            ProtocolError: A batch is damaged; the next call goes on behind it. Or the file was cut short.
            Closed: It was closed.
        """
        laps = 0
        is_damaged = False
        for _ in range(READ_ATTEMPTS):
            found = self._file.look(self.number, min(most, INDEX_ENTRIES))
            if found.entries:
                payloads = self._file.payloads(found.entries)
                if payloads:
                    return self._taken(found.entries, payloads)
                is_damaged = self._file.look(self.number, 1).entries == found.entries[:1]
                is_lapped = is_damaged and not self._file.keeps(found.entries[0])
            elif found.ahead:
                is_damaged = True
                is_lapped = ring.is_lapped(self._file.header.slots, self.number, found.ahead)
            else:
                return []
            if is_lapped:
                self._resume(laps)
                laps += 1
                is_damaged = False
        if is_damaged:
            self.number += 1
            raise ProtocolError(
                f"{self._file.path}: a message is damaged, and left out; somebody else has written to the file"
            )
        # Writers have overtaken this reader over and over: by that they have rung the bell, too.
        return []

    def is_at_end(self) -> bool:
        """Whether every batch has been taken, and no other will follow."""
        last = self._file.ended_after()
        return last is not None and last < self.number

    def _taken(self, entries: Sequence[Entry], payloads: Sequence[bytes]) -> list[tuple[bytes, int]]:
        """Note what is taken; what lies between it and what was taken before has been missed."""
        self.missed += max(0, entries[0].first - self.first)
        last = entries[len(payloads) - 1]
        self.number = last.number + 1
        self.first = last.last + 1
        return [(payload, entry.messages) for payload, entry in zip(payloads, entries, strict=False)]

    def _resume(self, laps: int) -> None:
        """Go on with the oldest batch, or nearer to the newest."""
        newest = self._file.newest()
        number = ring.resume_at(self._file.oldest_number(newest), newest.number, laps, READ_ATTEMPTS)
        self.number = max(self.number, number)
