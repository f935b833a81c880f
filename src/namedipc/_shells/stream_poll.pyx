# cython: language_level=3, boundscheck=False, wraparound=False
"""Receiving without waiting, and after a moment of polling, compiled: no exception where nothing is there.

The law: what is there is returned; for the end, or an error, the socket is to be asked once more: it says the same.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, errno

from ..lowlevel.system_calls cimport MSG_DONTWAIT, c_recv
from .short_way cimport READ_BYTES, Poll, poll_stream, tell


def receive_now(int fd):
    """Return what is there; None if nothing is; nothing at the end, and where there is an error."""
    cdef char data[READ_BYTES]
    cdef ssize_t size = c_recv(fd, data, READ_BYTES, MSG_DONTWAIT)
    if size > 0:
        return PyBytes_FromStringAndSize(data, size)
    return None if size < 0 and errno == EAGAIN else b""


def receive_soon(int fd, spinner):
    """As `receive_now`, once something is there; None if it is time to sleep. The spinner decides how long to poll."""
    cdef char data[READ_BYTES]
    cdef double budget = spinner.begin()
    cdef Poll poll
    if not budget:
        return None
    with nogil:
        poll = poll_stream(fd, data, READ_BYTES, budget)
    tell(spinner, &poll)
    if poll.found > 0:
        return PyBytes_FromStringAndSize(data, poll.found)
    return None if poll.found < 0 and poll.error == EAGAIN else b""
