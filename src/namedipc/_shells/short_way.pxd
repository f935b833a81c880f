# cython: language_level=3
"""What the short ways have in common: polling as `polling.Spinner` has it."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.math cimport ceil

from ..lowlevel.system_calls cimport MSG_DONTWAIT, c_recv, now

cdef enum:
    MOST_BODY = 4096  # of what is sent from here; what is larger takes long anyway
    READ_BYTES = 65536


cdef inline double taken_away() noexcept nogil:
    return 20e-6  # `polling.TAKEN_AWAY_SECONDS`


cdef struct Poll:
    ssize_t found
    int error
    double seconds
    bint won


cdef inline bint goes_on(Poll *poll, bint found, double start, double *last, double budget) noexcept nogil:
    """`Spinner.wait`, after each look."""
    cdef double t = now()
    if t - last[0] > taken_away():
        return False
    if found:
        poll.won = True
        poll.seconds = t - start
        return False
    last[0] = t
    return t - start <= budget


cdef inline Poll poll_stream(int fd, char *data, size_t most, double budget) noexcept nogil:
    """Receive as soon as something comes; the end, and an error but EAGAIN, are something."""
    cdef Poll poll = Poll(-1, EAGAIN, 0, False)
    cdef double start = now()
    cdef double last = start
    cdef bint found = False
    while True:
        poll.found = c_recv(fd, data, most, MSG_DONTWAIT)
        poll.error = errno
        found = poll.found >= 0 or (poll.error != EAGAIN and poll.error != EINTR)
        if not goes_on(&poll, found, start, &last, budget):
            return poll


cdef inline int milliseconds(double seconds) noexcept nogil:
    """For poll(2) and epoll_wait(2), which round nothing themselves: not a moment less, and a day at most."""
    return 0 if seconds <= 0 else <int>min(ceil(1000 * seconds), 86_400_000.0)


cdef inline int tell(object spinner, Poll *poll) except -1:
    if poll.won:
        spinner.won(poll.seconds)
    else:
        spinner.lost()
    return 0
