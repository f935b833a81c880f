# cython: language_level=3, boundscheck=False, wraparound=False
"""How long the messages of an array are, compiled: `_batches` has msgspec take it apart, here it is looked through.

The law: an array that `Batches` has made. Of anything else the answer is the size of it all, as if it were one message.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t

cdef enum:
    ARRAY_16 = 0xDC
    ARRAY_32 = 0xDD
    MAP_16 = 0xDE

cdef extern from *:
    """
    /* Of the kinds 0xC0 to 0xDF: how many bytes their length has, and how many bytes follow beside that. */
    static const unsigned char LENGTH_BYTES[32] = {
        0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    static const unsigned char OTHER_BYTES[32] = {
        0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0};
    """
    const uint8_t LENGTH_BYTES[32]
    const uint8_t OTHER_BYTES[32]


def longest_of(bytes array not None):
    """As `_batches.longest_of`."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(array)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(array)
    cdef Py_ssize_t start, at, longest = 0
    if not size:
        return 0
    at = 5 if data[0] == ARRAY_32 else 3 if data[0] == ARRAY_16 else 1
    while at < size:
        start = at
        at = behind(data, start, size)
        longest = max(longest, at - start)
    return longest if at == size else size


cdef Py_ssize_t behind(const uint8_t *data, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where a value of msgpack ends, with all that is in it; beyond the end where it is not whole."""
    cdef size_t values = 1  # that are still to be passed over
    cdef size_t length
    cdef uint8_t kind
    cdef int i
    while values:
        if at >= size:
            return size + 1
        kind = data[at]
        at += 1
        values -= 1
        if kind < 0x80 or kind >= 0xE0:  # a small integer
            continue
        if kind < 0x90:  # a small map, array or text
            values += 2 * (kind & 0x0F)
        elif kind < 0xA0:
            values += kind & 0x0F
        elif kind < 0xC0:
            at += kind & 0x1F
        else:
            kind &= 0x1F
            if size - at < LENGTH_BYTES[kind]:
                return size + 1
            length = 0
            for i in range(LENGTH_BYTES[kind]):
                length = length << 8 | data[at + i]
            at += LENGTH_BYTES[kind] + OTHER_BYTES[kind]
            if kind < (ARRAY_16 & 0x1F):
                at += length
            else:
                values += length if kind < (MAP_16 & 0x1F) else 2 * length
    return at
