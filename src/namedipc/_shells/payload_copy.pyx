# cython: language_level=3, boundscheck=False, wraparound=False
"""Copying a large payload past the caches, compiled: into memory which another process reads next, and not this one.

A store which goes through the cache takes the line out of that of the other core first, which read it last. That may cost
little, or 25 ns a line, as it depends on where the other core is: a MiB took 25 us, or 410. Past the caches it takes 20 to 38.

The law: all is written, and can be seen, when `copy_payload` returns. Where the processor has no such stores, it is
memcpy. Source: Intel, "64 and IA-32 Architectures Optimization Reference Manual", "Non-temporal Stores".
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>

    static void copy_past_caches(char *to, const char *from, size_t size) {
        size_t head = (size_t)(-(uintptr_t)to & 63);
        if (head > size)
            head = size;
        memcpy(to, from, head);
        to += head, from += head, size -= head;
        for (; size >= 64; to += 64, from += 64, size -= 64) {
            const __m128i *in = (const __m128i *)from;
            __m128i *out = (__m128i *)to;
            __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
            __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
            _mm_stream_si128(out, a);
            _mm_stream_si128(out + 1, b);
            _mm_stream_si128(out + 2, c);
            _mm_stream_si128(out + 3, d);
        }
        _mm_sfence();
        memcpy(to, from, size);
    }
    #else
    static void copy_past_caches(char *to, const char *from, size_t size) {
        memcpy(to, from, size);
    }
    #endif
    """
    void copy_past_caches(char *to, const char *source, size_t size) noexcept nogil


def copy_payload(memory not None, Py_ssize_t begin, payload not None):
    """As `payload_pool.copy_payload`."""
    cdef Py_buffer to, source
    PyObject_GetBuffer(payload, &source, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(memory, &to, PyBUF_WRITABLE)
        try:
            if begin < 0 or to.len - begin < source.len:
                raise ValueError(f"{source.len} bytes from {begin} on do not fit {to.len}")
            with nogil:
                copy_past_caches(<char *>to.buf + begin, <const char *>source.buf, source.len)
        finally:
            PyBuffer_Release(&to)
    finally:
        PyBuffer_Release(&source)
