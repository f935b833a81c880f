# cython: language_level=3, boundscheck=False, wraparound=False
"""Receiving without waiting, and after a moment of polling, compiled: no exception where nothing is there.

The law: what is there is returned; for the end, or an error, the socket is to be asked once more: it says the same.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, errno

from ..lowlevel.system_calls cimport MSG_DONTWAIT, POLLIN, c_poll, c_recv, now, pollfd
from .short_way cimport READ_BYTES, Poll, poll_stream, tell


def receive_now(int fd):
    """Return what is there; None if nothing is; nothing at the end, and where there is an error."""
    cdef char data[READ_BYTES]
    cdef ssize_t size = c_recv(fd, data, READ_BYTES, MSG_DONTWAIT)
    if size > 0:
        return PyBytes_FromStringAndSize(data, size)
    return None if size < 0 and errno == EAGAIN else b""


def receive_soon(int fd, spinner, dozer=None):
    """As `receive_now`, once something is there; None if nothing comes soon.

    Args:
        fd: Of a stream.
        spinner: Decides how long to poll.
        dozer: Decides on sleeping for a moment where the spinner sits out; None for none.
    """
    cdef char data[READ_BYTES]
    cdef double budget = spinner.begin()
    cdef Poll poll
    cdef pollfd ready
    cdef double began
    if not budget:
        if dozer is None or not dozer.begin():
            return None
        ready.fd, ready.events = fd, POLLIN
        began = now()
        with nogil:
            poll.found = c_poll(&ready, 1, 1)  # `polling.DOZE_SECONDS`
        dozer.ended(now() - began, has_found=poll.found > 0)
        return receive_now(fd) if poll.found > 0 else None
    with nogil:
        poll = poll_stream(fd, data, READ_BYTES, budget)
    tell(spinner, &poll)
    if poll.found > 0:
        return PyBytes_FromStringAndSize(data, poll.found)
    return None if poll.found < 0 and poll.error == EAGAIN else b""
