# cython: language_level=3
"""An entry of a broadcast's index as C sees it: `ring.py` says what it is. Who is compiled with it checks that."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "endian.h" nogil:
    uint32_t le32toh(uint32_t)
    uint64_t le64toh(uint64_t)

cdef enum:
    CHECKED_BYTES = 36


cdef packed struct Entry:  # as `ring.Entry` has it
    uint64_t number
    uint64_t position
    uint64_t first
    uint32_t messages
    uint32_t length
    uint32_t payload_crc
    uint32_t entry_crc
    uint8_t zeros[24]
