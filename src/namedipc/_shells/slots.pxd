# cython: language_level=3
"""Attributes which `__slots__` names, taken from their place in the object, without a search through its class.

The law: of an object whose class is known to be the very one that the place was asked of.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member


cdef inline Py_ssize_t place_of(cls, str name) except -1:
    """Where in its instances an attribute is."""
    cdef object descriptor = cls.__dict__[name]
    if type(descriptor).__name__ != "member_descriptor":
        raise TypeError(f"{cls.__qualname__}.{name} has no slot")
    return (<PyMemberDescrObject *>descriptor).d_member.offset


cdef inline object taken(object instance, Py_ssize_t place):
    return <object>(<PyObject **>(<char *><void *>instance + place))[0]


cdef inline void put(object instance, Py_ssize_t place, object value) noexcept:
    cdef PyObject **slot = <PyObject **>(<char *><void *>instance + place)
    cdef PyObject *before = slot[0]
    Py_INCREF(value)
    slot[0] = <PyObject *>value
    Py_XDECREF(before)
