# cython: language_level=3, boundscheck=False, wraparound=False
"""What a reader of a broadcast finds as a rule, compiled: one batch is new, whole, and is handed out altogether.

The law: a short cut through `ring_messages`, never another way. It takes the next batch where that is the newest one;
whatever differs it leaves as it found it. So it knows nothing that the long way does not, and a package that was built
without it does the same.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint64_t

from .._protocol.ring_entry cimport CHECKED_BYTES, Entry, le32toh, le64toh
from ..lowlevel.system_calls cimport c_pread, epoll_event, epoll_wait, now
from .short_way cimport Poll, goes_on, milliseconds, tell

from .._errors import InvalidMessage
from .._protocol import ring
from .._protocol.checksum import crc32

cdef enum:
    LOOKED_AT = 2
    EVENTS = 2  # the bell of the process, and the listener's own

cdef enum Found:
    NOTHING
    ONE
    OTHERWISE

cdef Py_ssize_t MOST_BYTES = ring.MOST_BATCH_BYTES

assert sizeof(Entry) == ring.ENTRY_BYTES


@cython.final
cdef class HeardAlone:
    """The short way of a reader. One belongs to a `BroadcastReceiver`, and speaks for it, to one thread at a time.

    Args:
        header: Of the file.
        codec: Of its messages.
        spinner: Decides on polling; None for none.
    """

    cdef object decode, decode_batch, spinner
    cdef uint64_t slots, data_bytes
    cdef Py_ssize_t header_bytes, data_start
    cdef Entry entries[LOOKED_AT]

    def __init__(self, header, codec, spinner):
        self.decode = codec.decode
        self.decode_batch = codec.in_batches().decode
        self.spinner = spinner
        self.slots = header.slots
        self.header_bytes = header.header_bytes
        self.data_start = header.data_start
        self.data_bytes = header.data_bytes

    cpdef list take(self, receiver):
        """Take the next batch from the ring, if it is there, and nothing else is to be done.

        Returns:
            Its values; none where nothing is new. None: it is not so common after all.
        """
        cdef object file = receiver.file
        cdef object cursor = receiver.cursor
        cdef int fd = file._fd
        cdef uint64_t number = cursor.number
        cdef Found found = self.look(fd, number)
        if found is not ONE:
            return [] if found is NOTHING else None
        cdef Entry *entry = self.entries
        cdef char *start = <char *>entry
        cdef Py_ssize_t length = le32toh(entry.length)
        cdef uint64_t first = le64toh(entry.first)
        cdef uint64_t messages = le32toh(entry.messages)
        if (
            crc32(PyBytes_FromStringAndSize(start, CHECKED_BYTES)) != le32toh(entry.entry_crc)
            or first != <uint64_t>cursor.first
            or length > MOST_BYTES
        ):
            return None
        cdef bytes payload = PyBytes_FromStringAndSize(NULL, length)
        cdef Py_ssize_t place = self.data_start + <Py_ssize_t>(le64toh(entry.position) % self.data_bytes)
        if c_pread(fd, PyBytes_AS_STRING(payload), length, place) != length:
            return None
        if crc32(payload) != le32toh(entry.payload_crc):
            return None
        cdef list values
        try:
            values = [self.decode(payload)] if messages == 1 else self.decode_batch(payload)
        except InvalidMessage:
            return None
        cursor.number = number + 1
        cursor.first = first + messages
        return values

    cdef Found look(self, int fd, uint64_t number) noexcept nogil:
        """As `RingFile.look`, for the first of all new batches; with that in `entries`."""
        cdef uint64_t place = (number - 1) % self.slots
        if place == self.slots - 1:
            return OTHERWISE  # its neighbour is in the first place
        cdef Py_ssize_t size = sizeof(self.entries)
        if fd < 0 or c_pread(fd, self.entries, size, self.header_bytes + place * sizeof(Entry)) != size:
            return OTHERWISE
        cdef uint64_t there = le64toh(self.entries[0].number)
        cdef uint64_t behind = le64toh(self.entries[1].number)
        if there > number or behind > number:
            return OTHERWISE
        return ONE if there == number else NOTHING

    def receive(self, receiver, double end):
        """Take the next batch as `take` does, and wait for it.

        Args:
            receiver: Whose it is; it has nothing left.
            end: Until when to wait for it, of the monotonic clock.

        Returns:
            Its values. None: the time is over, or it is not so common after all.
        """
        cdef list values
        cdef object listener = receiver.listener
        cdef epoll_event events[EVENTS]
        cdef int count, epoll = -1 if listener.is_polling else listener.fileno()
        while not listener.is_stopped and epoll >= 0:
            values = self.take(receiver)
            if values is None or values:
                return values
            if receiver.cursor.is_at_end():
                return None
            if self.poll(receiver):
                continue
            with nogil:
                count = epoll_wait(epoll, events, EVENTS, milliseconds(end - now()))
            if count > 0:
                listener.drain()
            elif count < 0:
                if errno != EINTR:
                    return None
                PyErr_CheckSignals()
            elif now() >= end:
                return None
        return None

    cdef bint poll(self, receiver) except -1:
        """Look again and again for a moment, where that pays; whether something has come."""
        cdef double budget = 0 if self.spinner is None else self.spinner.begin()
        cdef int fd = receiver.file._fd
        cdef uint64_t number = receiver.cursor.number
        cdef Poll poll = Poll(0, 0, 0, False)
        cdef double start, last
        if not budget:
            return False
        with nogil:
            start = last = now()
            while True:
                poll.found = self.look(fd, number)
                if not goes_on(&poll, poll.found != NOTHING, start, &last, budget):
                    break
        tell(self.spinner, &poll)
        return poll.found != NOTHING
