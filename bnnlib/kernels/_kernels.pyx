# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled half of bnnlib.kernels: typed memory in, one C call without the GIL, typed memory out.

Arguments are checked in bnnlib/kernels/__init__.py; nothing here is called from anywhere else.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef extern from "bits.h":
    ctypedef struct bits_kernels:
        const char *name
        size_t (*pack_f32)(const float *x, size_t rows, size_t columns, uint64_t *out) nogil
        void (*matmul)(const uint64_t *a, const uint32_t *panels, size_t m, size_t n, size_t columns, int32_t *out) nogil
    size_t bits_available(const bits_kernels **found)
    size_t bits_panel_values(size_t rows, size_t columns) nogil
    void bits_to_panels(const uint64_t *b, size_t rows, size_t columns, uint32_t *panels) nogil

cdef const bits_kernels *sets[8]
cdef size_t count = bits_available(sets)
cdef const bits_kernels *chosen = sets[count - 1]


def available():
    """Names of the instruction sets that this processor has, plainest first."""
    return [sets[i].name.decode() for i in range(count)]


def choose(str name):
    """Makes every further call use that set."""
    global chosen
    for i in range(count):
        if sets[i].name.decode() == name:
            chosen = sets[i]
            return
    raise ValueError(name)


def current():
    """The set that calls use."""
    return chosen.name.decode()


def pack_f32(const float[:, ::1] x, uint64_t[:, ::1] out):
    cdef size_t rows = x.shape[0], columns = x.shape[1], nans
    if rows == 0 or columns == 0:
        return 0
    with nogil:
        nans = chosen.pack_f32(&x[0, 0], rows, columns, &out[0, 0])
    return nans


def panel_values(size_t rows, size_t columns):
    """Values of 32 bits that the panels take."""
    return bits_panel_values(rows, columns)


def to_panels(const uint64_t[:, ::1] b, size_t columns, uint32_t[::1] panels):
    cdef size_t rows = b.shape[0]
    if rows == 0 or columns == 0:
        return
    with nogil:
        bits_to_panels(&b[0, 0], rows, columns, &panels[0])


def matmul(const uint64_t[:, ::1] a, const uint32_t[::1] panels, size_t columns, int32_t[:, ::1] out):
    cdef size_t m = out.shape[0], n = out.shape[1]
    if m == 0 or n == 0:
        return
    if columns == 0:
        out[:, :] = 0
        return
    with nogil:
        chosen.matmul(&a[0, 0], &panels[0], m, n, columns, &out[0, 0])
