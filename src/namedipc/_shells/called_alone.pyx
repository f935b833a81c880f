# cython: language_level=3, boundscheck=False, wraparound=False
"""The commonest call of all at a blocking client, compiled: one frame out, and the next that comes is its answer.

The law: a short cut through `blocking_client`, never another way. It takes a call that brings nothing along, on a
connection with nothing else to do; whatever differs it leaves as it found it, or hands on at the very step where it
differs. So it knows nothing that the long way does not, and a package that was built without it does the same.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EAGAIN, errno
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from .._protocol.frame cimport CALL, DEADLINE, REPLY, Header, is_alone, le32toh, put_deadline, put_header
from ..lowlevel.system_calls cimport MSG_DONTWAIT, MSG_NOSIGNAL, POLLIN, c_poll, c_recv, c_send, now, pollfd
from .short_way cimport MOST_BODY, READ_BYTES, Poll, milliseconds, poll_stream, tell

from .._protocol.calls import LARGEST_ID, Waiter

cdef uint32_t LAST_ID = LARGEST_ID


@cython.final
cdef class CalledAlone:
    """The short way of a blocking client's calls. One belongs to a `BlockingClientLink` that carries no descriptors.

    Args:
        fd: Its socket, which blocks.
        session: Its protocol.
        lock: Its lock.
        spinner: Decides on polling; None for none.

    Attributes:
        calls: How many have gone the whole way.
    """

    cdef readonly unsigned long long calls
    cdef object session, acquire, release, spinner, waiter
    cdef dict pending
    cdef int fd
    cdef char *data

    def __cinit__(self):
        self.data = <char *>PyMem_Malloc(READ_BYTES)
        if self.data == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.data)

    def __init__(self, int fd, session, lock, spinner):
        self.fd = fd
        self.session = session
        self.pending = session.pending
        self.acquire = lock.acquire
        self.release = lock.release
        self.spinner = spinner

    def call(self, link, method, bytes body not None, clock):
        """As `BlockingClientLink.call`, for a call without flags.

        Returns:
            The body of the reply. None: nothing was done, as it is not alone, or not so common after all.
        """
        cdef object session = self.session
        cdef Py_ssize_t length = PyBytes_GET_SIZE(body)
        cdef object waiter, number, reader = session.reader
        cdef uint32_t id
        cdef ssize_t size, sent
        cdef ssize_t start = sizeof(Header)
        cdef bint has_end = clock.end is not None
        cdef double end = clock.end if has_end else 0
        if link._closed or length > MOST_BODY or length > session.their_message_bytes or not session.greeted:
            return None  # closed, also in a forked child, where the lock may be that of a thread which is not there
        waiter = self.waiter
        if waiter is None:
            waiter = Waiter(method.where)
        else:
            self.waiter = None
            waiter.where = method.where
        self.acquire()
        try:
            if (
                link._closed
                or link._abandoned
                or link._reader is not None
                or link._outbound
                or self.pending
                or session.failure is not None
                or session.last_run is not None
                or session.last_id == LAST_ID
                or reader.at != len(reader.buffer)
            ):
                return None
            number = session.last_id + 1
            id = number
            if has_end:
                put_deadline(self.data + start, end)
                start += sizeof(double)
            put_header(self.data, start - sizeof(Header) + length, CALL, DEADLINE if has_end else 0, method.index, id)
            memcpy(self.data + start, PyBytes_AS_STRING(body), length)
            size = start + length
            session.last_id = number
            self.pending[number] = waiter
            link._reader = waiter
            link._calls += 1
            sent = max(0, c_send(self.fd, self.data, size, MSG_DONTWAIT | MSG_NOSIGNAL))
            link._sent += sent
            if sent < size:
                link._write(PyBytes_FromStringAndSize(self.data + sent, size - sent))
        finally:
            self.release()
        try:
            size = self.receive(has_end, end) if sent == size else -1
            if size <= 0 or not self.is_over(link, reader, id, size):
                return link.conclude(
                    waiter, method, number, clock, None if size <= 0 else PyBytes_FromStringAndSize(self.data, size)
                )
        except BaseException:
            link.leave(waiter, number)
            raise
        self.waiter = waiter
        self.calls += 1
        return PyBytes_FromStringAndSize(self.data + sizeof(Header), size - <ssize_t>sizeof(Header))

    cdef ssize_t receive(self, bint has_end, double end) except -2:
        """What has come; 0 or below where that is none of our business: the end, an error, a signal, no time left."""
        cdef ssize_t size
        cdef pollfd ready
        cdef Poll poll
        cdef double budget = 0 if self.spinner is None else self.spinner.begin()
        if budget:
            size = c_recv(self.fd, self.data, READ_BYTES, MSG_DONTWAIT)
            if size >= 0 or errno != EAGAIN:
                return size  # what was there already is no success of polling
            with nogil:
                poll = poll_stream(self.fd, self.data, READ_BYTES, budget)
            tell(self.spinner, &poll)
            if poll.found >= 0:
                return poll.found
        PyErr_CheckSignals()  # as Python does before each step of its own: one that came since would wait for the answer
        if not has_end:
            with nogil:
                size = c_recv(self.fd, self.data, READ_BYTES, 0)
            return size
        ready.fd, ready.events = self.fd, POLLIN
        with nogil:
            size = c_poll(&ready, 1, milliseconds(end - now()))
        return c_recv(self.fd, self.data, READ_BYTES, MSG_DONTWAIT) if size > 0 else -1

    cdef bint is_over(self, link, reader, uint32_t id, ssize_t size) except -1:
        """Whether what has come is the answer only, and nobody else has anything to do; then the call is over."""
        if not is_alone(self.data, size, REPLY, 0) or le32toh((<const Header *>self.data).id) != id:
            return False
        if size - sizeof(Header) > <size_t>reader.limit_bytes:
            return False
        self.acquire()
        try:
            if (
                len(self.pending) != 1
                or link._outbound
                or link._closed
                or link._abandoned
                or self.session.greeters
                or self.session.outgoing
            ):
                return False
            self.pending.clear()
            link._reader = None
            link._received += size
            link._answers += 1
            return True
        finally:
            self.release()
