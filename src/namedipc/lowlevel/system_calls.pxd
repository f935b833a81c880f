# cython: language_level=3
"""The system calls of the short ways, which are compiled: recv(2), send(2), pread(2), poll(2), epoll_wait(2), clock_gettime(2)."""

from libc.stdint cimport uint32_t

cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv"(int, void *, size_t, int)
    ssize_t c_send "send"(int, const void *, size_t, int)
    const int MSG_DONTWAIT
    const int MSG_NOSIGNAL

cdef extern from "unistd.h" nogil:
    ssize_t c_pread "pread"(int, void *, size_t, ssize_t)

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
    const short POLLIN
    int c_poll "poll"(pollfd *, unsigned long, int)

cdef extern from "sys/epoll.h" nogil:
    const uint32_t EPOLLIN
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_wait(int, epoll_event *, int, int)

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    const int CLOCK_MONOTONIC
    int clock_gettime(int, timespec *)


cdef inline double now() noexcept nogil:
    """What `time.perf_counter` returns."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + t.tv_nsec * 1e-9
