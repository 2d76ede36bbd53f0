# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled half of bnnlib.kernels: typed memory in, one C call without the GIL, typed memory out.

Arguments are checked in bnnlib/kernels/__init__.py; nothing here is called from anywhere else.
"""

from libc.stdint cimport int32_t, uint64_t

cdef extern from "bits.h":
    size_t bits_pack_f32(const float *x, size_t rows, size_t columns, uint64_t *out) nogil
    void bits_matmul(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out) nogil


def pack_f32(const float[:, ::1] x, uint64_t[:, ::1] out):
    cdef size_t rows = x.shape[0], columns = x.shape[1], nans
    if rows == 0 or columns == 0:
        return 0
    with nogil:
        nans = bits_pack_f32(&x[0, 0], rows, columns, &out[0, 0])
    return nans


def matmul(const uint64_t[:, ::1] a, const uint64_t[:, ::1] b, size_t columns, int32_t[:, ::1] out):
    cdef size_t m = a.shape[0], n = b.shape[0]
    if m == 0 or n == 0:
        return
    if columns == 0:
        out[:, :] = 0
        return
    with nogil:
        bits_matmul(&a[0, 0], &b[0, 0], m, n, columns, &out[0, 0])
