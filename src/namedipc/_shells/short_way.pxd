# cython: language_level=3
"""What the short ways have in common: a frame as C sees it, and polling as `polling.Spinner` has it."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv"(int, void *, size_t, int)
    ssize_t c_send "send"(int, const void *, size_t, int)
    const int MSG_DONTWAIT
    const int MSG_NOSIGNAL

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    const int CLOCK_MONOTONIC
    int clock_gettime(int, timespec *)

cdef extern from "endian.h" nogil:
    uint32_t htole32(uint32_t)
    uint32_t le32toh(uint32_t)
    uint16_t htole16(uint16_t)
    uint16_t le16toh(uint16_t)
    uint64_t htole64(uint64_t)
    uint64_t le64toh(uint64_t)

cdef packed struct Header:  # as `frames.HEADER` has it
    uint32_t length
    uint8_t kind
    uint8_t flags
    uint16_t method
    uint32_t id

cdef enum:
    MOST_BODY = 4096  # of what is sent from here; what is larger takes long anyway
    READ_BYTES = 65536
    CALL = 1
    REPLY = 2
    DEADLINE = 1  # the flag

# `polling.TAKEN_AWAY_SECONDS`
cdef inline double taken_away() noexcept nogil:
    return 20e-6


cdef inline double now() noexcept nogil:
    """What `time.perf_counter` returns."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + t.tv_nsec * 1e-9


cdef inline void put_header(
    char *where, size_t length, uint8_t kind, uint8_t flags, uint16_t method, uint32_t id
) noexcept nogil:
    cdef Header *header = <Header *>where
    header.length = htole32(<uint32_t>length)
    header.kind = kind
    header.flags = flags
    header.method = htole16(method)
    header.id = htole32(id)


cdef inline bint is_alone(const char *data, ssize_t size, uint8_t kind, uint8_t flags) noexcept nogil:
    """Whether bytes are one whole frame of a kind, with some of these flags at most, and nothing else."""
    cdef const Header *header = <const Header *>data
    if size < <ssize_t>sizeof(Header) or header.kind != kind or header.flags & ~flags:
        return False
    return le32toh(header.length) == <size_t>size - sizeof(Header)


cdef inline void put_deadline(char *where, double deadline) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &deadline, sizeof(bits))
    bits = htole64(bits)
    memcpy(where, &bits, sizeof(bits))


cdef inline double deadline_at(const char *where) noexcept nogil:
    cdef uint64_t bits
    cdef double deadline
    memcpy(&bits, where, sizeof(bits))
    bits = le64toh(bits)
    memcpy(&deadline, &bits, sizeof(bits))
    return deadline


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


cdef inline int tell(object spinner, Poll *poll) except -1:
    if poll.won:
        spinner.won(poll.seconds)
    else:
        spinner.lost()
    return 0
