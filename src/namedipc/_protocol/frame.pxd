# cython: language_level=3
"""A frame as C sees it: `frames.py` says what it is. Those who are compiled with this check that they agree."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "endian.h" nogil:
    uint32_t htole32(uint32_t)
    uint32_t le32toh(uint32_t)
    uint16_t htole16(uint16_t)
    uint16_t le16toh(uint16_t)
    uint64_t htole64(uint64_t)
    uint64_t le64toh(uint64_t)

cdef enum:
    CALL = 1
    REPLY = 2
    DEADLINE = 1  # the flag


cdef packed struct Header:  # as `frames.HEADER` has it
    uint32_t length
    uint8_t kind
    uint8_t flags
    uint16_t method
    uint32_t id


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
