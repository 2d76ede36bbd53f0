# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled half of bnnlib.kernels: typed memory in, one C call without the GIL, typed memory out.

The Python modules beside this one check dtypes, values and overlaps, in words made for users. Here every size is compared
with those that the C code will read and write, so that no call, however wrong, leaves its arrays: a ValueError says which
size does not fit. `naive_matmul` is written here, in Cython, because it is what a first extension looks like.
"""

from cpython.buffer cimport PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from "bits.h":
    ctypedef struct bits_kernels:
        const char *name
        size_t (*pack_f32)(const float *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out) nogil
        size_t (*pack_f64)(const double *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out) nogil
        void (*pack_i8)(const int8_t *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out) nogil
        void (*pack_bool)(const uint8_t *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out) nogil
        size_t (*pack_channels_f32)(const float *x, size_t channels, size_t pixels, size_t stride, uint64_t *out,
                                    size_t out_stride) nogil
        uint64_t (*read)(const uint64_t *x, size_t n) nogil
        void (*pointwise)(const float *x, const int32_t *sums, size_t count, size_t period, const bits_pointwise *steps,
                          size_t step_count, float *out) nogil
        void (*to_bytes)(const float *x, size_t n, float low, uint8_t *out) nogil
        void (*loops)(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out) nogil
    ctypedef struct bits_shifted:
        const void *x
        int half
        size_t samples, pixels, channels
    ctypedef struct bits_thresholds:
        const int32_t *thresholds
        const uint8_t *flips
    ctypedef struct bits_planes:
        size_t count
        const int32_t *weights
        const int32_t *sums
    ctypedef struct bits_convolution:
        size_t images, height, width, groups, channels, filters
        size_t kernel[2]
        size_t stride[2]
        size_t dilation[2]
        size_t padding[2]
        int pad_value
    ctypedef struct bits_pointwise:
        int kind
        const float *a
        const float *b
        float low
        float high
    ctypedef struct bits_window:
        size_t images, height, width, channels
        size_t kernel[2]
        size_t stride[2]
        size_t dilation[2]
        size_t before[2]
        size_t after[2]
    ctypedef struct bits_reals_compare:
        const float *thresholds
        const uint32_t *flips
    ctypedef struct bits_results:
        const int32_t *base
        size_t steps
        const int32_t *thresholds
        const uint32_t *flips
        int signs
    size_t bits_available(const bits_kernels **found)
    size_t BITS_PANEL
    size_t bits_words(size_t columns) nogil
    size_t bits_panels(size_t rows) nogil
    size_t bits_panel_size(size_t words) nogil
    size_t bits_convolution_size(const bits_convolution *c, int axis) nogil
    size_t bits_filter_words(const bits_convolution *c) nogil
    void bits_to_panels(const uint64_t *b, size_t rows, size_t words, size_t stride, uint32_t *panels) nogil
    int bits_matmul(const bits_kernels *kernels, const uint64_t *a, size_t a_stride, const uint32_t *panels, size_t m,
                    size_t n, size_t columns, const bits_thresholds *compare, void *out, int threads) nogil
    int bits_matmul_i8(const bits_kernels *kernels, const int8_t *a, size_t a_stride, const uint32_t *panels, size_t m,
                       size_t n, size_t columns, const bits_thresholds *compare, void *out, int threads) nogil
    int bits_matmul_planes(const bits_kernels *kernels, const uint64_t *a, const bits_planes *a_planes,
                           const uint32_t *panels, const bits_planes *b_planes, size_t m, size_t n, size_t columns,
                           int32_t *out, int threads) nogil
    ctypedef struct bits_border:
        pass
    bits_border *bits_border_make(const bits_convolution *c, const int32_t *tap_sums) nogil
    void bits_border_free(bits_border *border) nogil
    int bits_convolve(const bits_kernels *kernels, const bits_convolution *c, const uint64_t *x, const uint32_t *panels,
                      const int32_t *tap_sums, const bits_border *border, const bits_thresholds *compare, void *out,
                      int threads) nogil
    size_t bits_window_size(const bits_window *w, int axis) nogil
    int bits_convolve_reals(const bits_kernels *kernels, const bits_window *w, const float *x, float pad_value,
                            size_t filters, const void *panels, int codes, const bits_reals_compare *compare, void *out,
                            int threads) nogil
    int bits_convolve_bytes(const bits_kernels *kernels, const bits_window *w, const uint8_t *x, uint8_t pad_value,
                            size_t filters, const int8_t *panels, const bits_results *results, void *out,
                            int threads) nogil
    void bits_max_pool_bytes(const bits_window *w, const uint8_t *x, uint8_t steps, const uint8_t *inverted,
                             uint8_t *out) nogil
    void bits_max_pool(const bits_kernels *kernels, const bits_window *w, const float *x, float *out) nogil
    void bits_or_pool(const bits_window *w, const uint64_t *x, const uint64_t *inverted, uint64_t *out) nogil
    void bits_compare(const bits_kernels *kernels, const int32_t *sums, size_t pixels, size_t outputs,
                      const bits_results *results, void *out) nogil
    int bits_shifted_signs(const bits_kernels *kernels, const bits_shifted *maps, const float *shift, void *out,
                           int threads) nogil
    int bits_shifted_gradient(const bits_kernels *kernels, const bits_shifted *maps, const float *shift, float t,
                              float epsilon, const void *upstream, void *out, float *of_shift, int threads) nogil
    void bits_unpack_i8(const uint64_t *bits, size_t rows, size_t columns, int8_t *out) nogil
    void bits_unpack_f32(const uint64_t *bits, size_t rows, size_t columns, float *out) nogil
    void bits_count_rows(const uint64_t *bits, size_t rows, size_t words, int32_t *out) nogil
    void bits_dependent_additions(size_t n) nogil
    int bits_port_instructions(int kind, size_t n) nogil
    int bits_set_past_end(const uint64_t *bits, size_t rows, size_t columns, size_t stride) nogil

cdef extern from *:
    """
    #ifdef _OPENMP
    #define BNNLIB_OPENMP 1
    #else
    #define BNNLIB_OPENMP 0
    #endif
    """
    const bint BNNLIB_OPENMP

cdef const bits_kernels *sets[8]
cdef size_t count = bits_available(sets)
cdef const bits_kernels *chosen = sets[count - 1]

threaded = bool(BNNLIB_OPENMP)


def available():
    """The names of the instruction sets that this processor has, plainest first."""
    return [sets[i].name.decode() for i in range(count)]


def choose(str name):
    """Makes all later calls use that set."""
    global chosen
    for i in range(count):
        if sets[i].name.decode() == name:
            chosen = sets[i]
            return
    raise ValueError(f"no instruction set {name!r} on this processor; it has {', '.join(available())}")


def current():
    """The set that calls use."""
    return chosen.name.decode()


# Sizes.

cdef int expect(str what, Py_ssize_t received, double wanted) except -1:
    """`wanted` is a double because products of sizes may exceed an integer; those of arrays are exact in it."""
    if <double>received != wanted:
        raise ValueError(f"{what} must be {wanted:.0f}, received {received}")
    return 0


cdef int expect_rows_in_place(str what, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t row_stride,
                              Py_ssize_t column_stride, Py_ssize_t size, bint reversible) except -1:
    """Values side by side within a row, rows a whole number of values apart; backwards only if `reversible`."""
    if columns > 1 and column_stride != size:
        raise ValueError(f"the values of a row of {what} must lie side by side, received a stride of {column_stride} bytes")
    if rows > 1 and (row_stride % size or (row_stride < 0 and not reversible)):
        raise ValueError(f"the rows of {what} lie {row_stride} bytes apart, which cannot be read in place")
    return 0


cdef int expect_words(str what, const uint64_t[:, :] bits, size_t rows, size_t columns) except -1:
    """A packed matrix in place."""
    expect(f"rows of {what}", bits.shape[0], rows)
    expect(f"words in a row of {what}", bits.shape[1], bits_words(columns))
    return expect_rows_in_place(what, bits.shape[0], bits.shape[1], bits.strides[0], bits.strides[1], 8, False)


cdef int expect_panels(const uint32_t[::1] panels, double matrices, size_t rows, double words) except -1:
    expect("values in panels", panels.shape[0], matrices * bits_panels(rows) * bits_panel_size(1) * words)
    if panels.shape[0] and <uintptr_t>&panels[0] % 64:
        raise ValueError("panels must start at an address divisible by 64")
    return 0


# Overlaps.

cdef int extent(object array, uintptr_t *low, uintptr_t *high) except -1:
    """The addresses from the first byte of an array to the one past its last; equal if it has none."""
    cdef Py_buffer view
    cdef Py_ssize_t axis, first = 0, last
    cdef bint no_values = False
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED_RO)
    last = view.itemsize
    for axis in range(view.ndim):
        if view.shape[axis] == 0:
            no_values = True
        elif view.strides[axis] < 0:
            first += view.strides[axis] * (view.shape[axis] - 1)
        else:
            last += view.strides[axis] * (view.shape[axis] - 1)
    low[0] = <uintptr_t>view.buf + first
    high[0] = low[0] if no_values else <uintptr_t>view.buf + last
    PyBuffer_Release(&view)
    return 0


def may_overlap(out not None, operands):
    """Whether the addresses of `out` and of an operand interleave: those of an array, or those of all its `arrays`;
    what has neither is passed over. Here and not in Python, where looking takes as long as a small product."""
    cdef uintptr_t out_low, out_high, low, high
    extent(out, &out_low, &out_high)
    for operand in operands:
        for array in (operand,) if PyObject_CheckBuffer(operand) else getattr(operand, "arrays", ()):
            extent(array, &low, &high)
            if out_low < high and low < out_high:
                return True
    return False


# Packing.

def pack_f32(const float[:, :] x not None, uint64_t[:, ::1] out not None):
    cdef size_t rows = x.shape[0], columns = x.shape[1], nans
    expect_rows_in_place("x", rows, columns, x.strides[0], x.strides[1], 4, True)
    expect_words("out", out, rows, columns)
    if rows == 0 or columns == 0:
        return 0
    with nogil:
        nans = chosen.pack_f32(&x[0, 0], rows, columns, x.strides[0] // 4, &out[0, 0])
    return nans


def pack_f64(const double[:, :] x not None, uint64_t[:, ::1] out not None):
    cdef size_t rows = x.shape[0], columns = x.shape[1], nans
    expect_rows_in_place("x", rows, columns, x.strides[0], x.strides[1], 8, True)
    expect_words("out", out, rows, columns)
    if rows == 0 or columns == 0:
        return 0
    with nogil:
        nans = chosen.pack_f64(&x[0, 0], rows, columns, x.strides[0] // 8, &out[0, 0])
    return nans


def pack_i8(const int8_t[:, :] x not None, uint64_t[:, ::1] out not None):
    cdef size_t rows = x.shape[0], columns = x.shape[1]
    expect_rows_in_place("x", rows, columns, x.strides[0], x.strides[1], 1, True)
    expect_words("out", out, rows, columns)
    if rows and columns:
        with nogil:
            chosen.pack_i8(&x[0, 0], rows, columns, x.strides[0], &out[0, 0])
    return 0


def pack_bool(const uint8_t[:, :] x not None, uint64_t[:, ::1] out not None):
    cdef size_t rows = x.shape[0], columns = x.shape[1]
    expect_rows_in_place("x", rows, columns, x.strides[0], x.strides[1], 1, True)
    expect_words("out", out, rows, columns)
    if rows and columns:
        with nogil:
            chosen.pack_bool(&x[0, 0], rows, columns, x.strides[0], &out[0, 0])
    return 0


def pack_channels_f32(const float[:, :, :, ::1] x not None, uint64_t[:, :, :, ::1] out not None):
    """(images, groups, channels of a group, pixels) to (images, pixels, groups, words)."""
    cdef size_t images = x.shape[0], groups = x.shape[1], channels = x.shape[2], pixels = x.shape[3]
    cdef size_t image, group, nans = 0
    expect("images of out", out.shape[0], images)
    expect("pixels of out", out.shape[1], pixels)
    expect("groups of out", out.shape[2], groups)
    expect("words of a group of out", out.shape[3], bits_words(channels))
    if images == 0 or groups == 0 or channels == 0 or pixels == 0:
        return 0
    with nogil:
        for image in range(images):
            for group in range(groups):
                nans += chosen.pack_channels_f32(&x[image, group, 0, 0], channels, pixels, pixels,
                                                 &out[image, 0, group, 0], groups * bits_words(channels))
    return nans


def unpack_i8(const uint64_t[:, ::1] bits not None, size_t columns, int8_t[:, ::1] out not None):
    cdef size_t rows = bits.shape[0]
    expect_words("bits", bits, rows, columns)
    expect("rows of out", out.shape[0], rows)
    expect("columns of out", out.shape[1], columns)
    if rows and columns:
        with nogil:
            bits_unpack_i8(&bits[0, 0], rows, columns, &out[0, 0])


def unpack_f32(const uint64_t[:, ::1] bits not None, size_t columns, float[:, ::1] out not None):
    cdef size_t rows = bits.shape[0]
    expect_words("bits", bits, rows, columns)
    expect("rows of out", out.shape[0], rows)
    expect("columns of out", out.shape[1], columns)
    if rows and columns:
        with nogil:
            bits_unpack_f32(&bits[0, 0], rows, columns, &out[0, 0])


def count_rows(const uint64_t[:, ::1] bits not None, int32_t[::1] out not None):
    cdef size_t rows = bits.shape[0], words = bits.shape[1]
    expect("values of out", out.shape[0], rows)
    if rows:
        with nogil:
            bits_count_rows(&bits[0, 0] if words else NULL, rows, words, &out[0])


def set_past_end(const uint64_t[:, :] bits not None, size_t columns):
    """Whether any row has bits set past its last column."""
    cdef size_t rows = bits.shape[0]
    cdef int found
    expect_words("bits", bits, rows, columns)
    if rows == 0 or columns == 0:
        return False
    with nogil:
        found = bits_set_past_end(&bits[0, 0], rows, columns, bits.strides[0] // 8)
    return found != 0


def to_panels(const uint64_t[:, ::1] b not None, uint32_t[::1] panels not None):
    cdef size_t rows = b.shape[0], words = b.shape[1]
    expect_panels(panels, 1, rows, words)
    if rows and words:
        with nogil:
            bits_to_panels(&b[0, 0], rows, words, words, &panels[0])


# Products and convolutions.

def matmul(const uint64_t[:, :] a not None, const uint32_t[::1] panels not None, size_t columns,
           int32_t[:, ::1] out not None, int threads):
    cdef size_t m = out.shape[0], n = out.shape[1]
    expect_words("a", a, m, columns)
    expect_panels(panels, 1, n, bits_words(columns))
    if m and n:
        with nogil:
            bits_matmul(chosen, &a[0, 0], a.strides[0] // 8, &panels[0], m, n, columns, NULL, &out[0, 0], threads)


cdef bint fits(uintptr_t x, size_t x_bytes, const uint32_t[::1] panels, size_t rows, size_t columns,
               int32_t[:, ::1] out) noexcept:
    """Whether a product fits as it is: the panels are those of (rows, columns), and `out` has as many columns and shares no
    memory with them nor with the bytes from x on."""
    cdef size_t m = out.shape[0], n = out.shape[1], words = bits_words(columns)
    if (m == 0 or n == 0 or n != rows or columns == 0 or columns > 0x7fffffff
            or <double>panels.shape[0] != <double>bits_panels(n) * bits_panel_size(1) * words):
        return False
    cdef uintptr_t weights = <uintptr_t>&panels[0], to = <uintptr_t>&out[0, 0]
    cdef uintptr_t past_weights = weights + 4 * <size_t>panels.shape[0], past = to + 4 * m * n
    return (weights % 64 == 0 and to % 4 == 0 and (past <= x or x + x_bytes <= to)
            and (past <= weights or past_weights <= to))


def matmul_if_it_fits(const uint64_t[:, ::1] a not None, const uint32_t[::1] panels not None, size_t rows, size_t columns,
                      int32_t[:, ::1] out not None):
    """:func:`matmul` on one thread if the operands fit as they are; else False, and nothing is done. For products that take
    no longer than looking at their operands in Python does."""
    cdef size_t m = out.shape[0], words = bits_words(columns)
    if m == 0 or a.shape[0] != out.shape[0] or words == 0 or <size_t>a.shape[1] != words:
        return False
    if <uintptr_t>&a[0, 0] % 8 or not fits(<uintptr_t>&a[0, 0], 8 * m * words, panels, rows, columns, out):
        return False
    if bits_set_past_end(&a[0, 0], m, columns, words):
        return False
    with nogil:
        bits_matmul(chosen, &a[0, 0], words, &panels[0], m, rows, columns, NULL, &out[0, 0], 1)
    return True


def sign_matmul_if_it_fits(const float[:, ::1] x not None, const uint32_t[::1] panels not None, size_t rows,
                           size_t columns, int32_t[:, ::1] out not None):
    """The same with float32 values to pack; also False where one of them is NaN, and `out` is then untouched."""
    cdef size_t m = out.shape[0], words = bits_words(columns), nans
    cdef uint64_t *a
    if m == 0 or x.shape[0] != out.shape[0] or columns == 0 or <size_t>x.shape[1] != columns:
        return False
    if <uintptr_t>&x[0, 0] % 4 or not fits(<uintptr_t>&x[0, 0], 4 * m * columns, panels, rows, columns, out):
        return False
    a = <uint64_t *>malloc(8 * m * words)
    if a == NULL:
        return False
    with nogil:
        nans = chosen.pack_f32(&x[0, 0], m, columns, <ptrdiff_t>columns, a)
        if nans == 0:
            bits_matmul(chosen, a, words, &panels[0], m, rows, columns, NULL, &out[0, 0], 1)
    free(a)
    return nans == 0


def matmul_loops(const uint64_t[:, ::1] a not None, const uint64_t[:, ::1] b not None, size_t columns,
                 int32_t[:, ::1] out not None):
    cdef size_t m = out.shape[0], n = out.shape[1]
    expect_words("a", a, m, columns)
    expect_words("b", b, n, columns)
    if m and n:
        with nogil:
            chosen.loops(&a[0, 0], &b[0, 0], m, n, columns, &out[0, 0])


def matmul_threshold(const uint64_t[:, :] a not None, const uint32_t[::1] panels not None, size_t columns,
                     const int32_t[::1] thresholds not None, const uint8_t[::1] flips not None,
                     uint64_t[:, ::1] out not None, int threads):
    cdef size_t m = out.shape[0], n = thresholds.shape[0]
    cdef bits_thresholds compare
    cdef int failed
    expect_words("a", a, m, columns)
    expect_panels(panels, 1, n, bits_words(columns))
    expect("flips", flips.shape[0], n)
    expect("words in a row of out", out.shape[1], bits_words(n))
    if m == 0 or n == 0:
        return
    compare.thresholds = &thresholds[0]
    compare.flips = &flips[0]
    with nogil:
        failed = bits_matmul(chosen, &a[0, 0], a.strides[0] // 8, &panels[0], m, n, columns, &compare, &out[0, 0], threads)
    if failed:
        raise MemoryError(f"no memory for the thresholds of {n} outputs")


def matmul_i8(const int8_t[:, :] a not None, const uint32_t[::1] panels not None, int32_t[:, ::1] out not None,
              int threads):
    cdef size_t m = out.shape[0], n = out.shape[1], columns = a.shape[1]
    cdef int failed
    expect("rows of a", a.shape[0], m)
    expect_rows_in_place("a", m, columns, a.strides[0], a.strides[1], 1, False)
    expect_panels(panels, 1, n, bits_words(columns))
    if m and n:
        with nogil:
            failed = bits_matmul_i8(chosen, &a[0, 0] if columns else NULL, a.strides[0], &panels[0] if columns else NULL, m,
                                    n, columns, NULL, &out[0, 0], threads)
        if failed:
            raise MemoryError(f"no memory for {columns} columns")


def matmul_i8_threshold(const int8_t[:, :] a not None, const uint32_t[::1] panels not None,
                        const int32_t[::1] thresholds not None, const uint8_t[::1] flips not None,
                        uint64_t[:, ::1] out not None, int threads):
    cdef size_t m = out.shape[0], n = thresholds.shape[0], columns = a.shape[1]
    cdef bits_thresholds compare
    cdef int failed
    expect("rows of a", a.shape[0], m)
    expect_rows_in_place("a", m, columns, a.strides[0], a.strides[1], 1, False)
    expect_panels(panels, 1, n, bits_words(columns))
    expect("flips", flips.shape[0], n)
    expect("words in a row of out", out.shape[1], bits_words(n))
    if m == 0 or n == 0:
        return
    compare.thresholds = &thresholds[0]
    compare.flips = &flips[0]
    with nogil:
        failed = bits_matmul_i8(chosen, &a[0, 0] if columns else NULL, a.strides[0], &panels[0] if columns else NULL, m, n,
                                columns, &compare, &out[0, 0], threads)
    if failed:
        raise MemoryError(f"no memory for {columns} columns")


def matmul_planes(const uint64_t[:, :, ::1] a not None, const int32_t[::1] a_weights not None,
                  const int32_t[::1] a_sums not None, const uint32_t[::1] panels not None,
                  const int32_t[::1] b_weights not None, const int32_t[::1] b_sums not None, size_t columns,
                  int32_t[:, ::1] out not None, int threads):
    cdef size_t m = out.shape[0], n = out.shape[1]
    cdef bits_planes left, right
    cdef int failed
    expect("planes of a", a.shape[0], a_weights.shape[0])
    expect("rows of a", a.shape[1], m)
    expect("words in a row of a", a.shape[2], bits_words(columns))
    expect("sums of a", a_sums.shape[0], m)
    expect("sums of b", b_sums.shape[0], n)
    expect_panels(panels, b_weights.shape[0], n, bits_words(columns))
    if m == 0 or n == 0:
        return
    left.count, left.weights, left.sums = a_weights.shape[0], &a_weights[0], &a_sums[0]
    right.count, right.weights, right.sums = b_weights.shape[0], &b_weights[0], &b_sums[0]
    with nogil:
        failed = bits_matmul_planes(chosen, &a[0, 0, 0], &left, &panels[0], &right, m, n, columns, &out[0, 0], threads)
    if failed:
        raise MemoryError(f"no memory for the sums of {m} x {n} outputs")


def convolve(x, tuple shape, panels, tap_sums, thresholds, flips, out, int threads):
    """See Convolution."""
    Convolution(x, shape, panels, tap_sums, thresholds, flips, out, threads)()


# Calls whose arrays are bound once, and whose sizes are compared then: what networks are made of. Calling one runs it.

cdef class Convolution:
    """`shape`: groups, channels, filters, kernel (2), stride (2), dilation (2), padding (2), pad_value. Sums without
    thresholds and flips, bits with both."""
    cdef bits_convolution c
    cdef bits_thresholds compare
    cdef bits_border *border
    cdef const uint64_t *first
    cdef void *to
    cdef bint compares, empty
    cdef int threads
    cdef const uint64_t[:, :, :, ::1] x
    cdef const uint32_t[::1] panels
    cdef const int32_t[::1] thresholds
    cdef const uint8_t[::1] flips
    cdef int32_t[:, :, :, ::1] sums
    cdef uint64_t[:, :, :, ::1] bits

    def __init__(self, const uint64_t[:, :, :, ::1] x not None, tuple shape not None, const uint32_t[::1] panels not None,
                 const int32_t[::1] tap_sums not None, const int32_t[::1] thresholds, const uint8_t[::1] flips,
                 out not None, int threads):
        cdef Py_ssize_t *received
        cdef double taps, outputs
        cdef int i
        cdef Py_ssize_t number[12]
        cdef bits_convolution c
        c.images, c.height, c.width = x.shape[0], x.shape[1], x.shape[2]
        if len(shape) != 12:
            raise ValueError(f"a convolution's shape has 12 numbers, received {shape}")
        for i in range(12):
            number[i] = shape[i]
            if number[i] < (1 if i < 9 else 0 if i < 11 else -1) or number[i] > (2**31 - 1 if i < 11 else 1):
                raise ValueError(f"no convolution has the shape {shape}: received {number[i]} at index {i}")
        c.groups, c.channels, c.filters, c.pad_value = number[0], number[1], number[2], <int>number[11]
        for i in range(2):
            c.kernel[i], c.stride[i] = number[3 + i], number[5 + i]
            c.dilation[i], c.padding[i] = number[7 + i], number[9 + i]
        if 8.0 * c.images * (c.height + 2 * c.padding[0]) * (c.width + 2 * c.padding[1]) * x.shape[3] >= 2.0**47:
            raise ValueError(f"padded images {tuple(x.shape)} of the shape {shape} are more than a process can address")
        taps, outputs = <double>c.kernel[0] * c.kernel[1], <double>c.groups * c.filters
        expect("words of a pixel of x", x.shape[3], <double>c.groups * bits_words(c.channels))
        expect_panels(panels, c.groups, c.filters, <double>bits_filter_words(&c))
        expect("sums of taps", tap_sums.shape[0], c.groups * taps * bits_panels(c.filters) * BITS_PANEL)
        self.compares = thresholds is not None
        if not self.compares:
            self.sums = out
            received = self.sums.shape
        else:
            if flips is None or (c.groups > 1 and c.filters % 64):
                raise ValueError("thresholds need flips, and groups of whole words of filters if there are several")
            self.bits = out
            received = self.bits.shape
            expect("thresholds", thresholds.shape[0], outputs)
            expect("flips", flips.shape[0], outputs)
        expect("images of out", received[0], c.images)
        expect("height of out", received[1], bits_convolution_size(&c, 0))
        expect("width of out", received[2], bits_convolution_size(&c, 1))
        expect("values of a pixel of out", received[3], bits_words(c.groups * c.filters) if self.compares else outputs)
        self.empty = received[0] == 0 or received[1] == 0 or received[2] == 0
        self.c, self.x, self.panels, self.threads = c, x, panels, threads
        if self.empty:
            return
        if self.compares:
            self.thresholds, self.flips = thresholds, flips
            self.compare.thresholds, self.compare.flips = &thresholds[0], &flips[0]
            self.to = &self.bits[0, 0, 0, 0]
        else:
            self.to = &self.sums[0, 0, 0, 0]
        self.first = &x[0, 0, 0, 0] if x.shape[1] and x.shape[2] else NULL # padding alone can be an image
        if c.pad_value == 0 and (c.padding[0] or c.padding[1]):
            self.border = bits_border_make(&c, &tap_sums[0])
            if self.border == NULL:
                raise MemoryError(f"no memory for the border of images {tuple(x.shape)[:3]}")

    def __dealloc__(self):
        bits_border_free(self.border)

    def __call__(self):
        cdef int failed
        if self.empty:
            return
        with nogil:
            failed = bits_convolve(chosen, &self.c, self.first, &self.panels[0], NULL, self.border,
                                   &self.compare if self.compares else NULL, self.to, self.threads)
        if failed:
            raise MemoryError(f"no memory for the padded images {tuple(self.x.shape)[:3]}")


cdef int window_of(bits_window *w, tuple x_shape, tuple window) except -1:
    """`window`: kernel, stride, dilation (2 each), padding (top, bottom, left, right); x is (N, H, W, C)."""
    cdef int i
    cdef Py_ssize_t number[10]
    if len(window) != 10:
        raise ValueError(f"a window has 10 numbers, received {window}")
    for i in range(10):
        number[i] = window[i]
        if number[i] < (1 if i < 6 else 0) or number[i] > 2**31 - 1:
            raise ValueError(f"no window is {window}: received {number[i]} at index {i}")
    w.images, w.height, w.width, w.channels = x_shape
    for i in range(2):
        w.kernel[i], w.stride[i], w.dilation[i] = number[i], number[2 + i], number[4 + i]
        w.before[i], w.after[i] = number[6 + 2 * i], number[7 + 2 * i]
    if 8.0 * w.images * (<double>w.height + w.before[0] + w.after[0]) * (<double>w.width + w.before[1] + w.after[1]) * (
            w.channels) >= 2.0**47:
        raise ValueError(f"padded maps {x_shape} under the window {window} are more than a process can address")
    return 0


cdef int expect_map(const bits_window *w, Py_ssize_t *received, double values) except -1:
    expect("images of out", received[0], w.images)
    expect("height of out", received[1], bits_window_size(w, 0))
    expect("width of out", received[2], bits_window_size(w, 1))
    return expect("values of a pixel of out", received[3], values)


cdef int expect_windows(const bits_window *w) except -1:
    """Every window has something of the map under it."""
    cdef size_t o, u, taps, at, length
    cdef int axis
    for axis in range(2):
        length = w.width if axis else w.height
        for o in range(bits_window_size(w, axis)):
            taps = 0
            for u in range(w.kernel[axis]):
                at = o * w.stride[axis] + u * w.dilation[axis]
                taps += w.before[axis] <= at < w.before[axis] + length
            if taps == 0:
                raise ValueError("a window lies outside the map")
    return 0


cdef class RealConvolution:
    """Of float32 maps (N, H, W, C) with weights in panels, float32 or int8: float32 (N, OH, OW, O), or with thresholds
    (float32, whole panels) and flips (uint32, a bit for each) packed bits."""
    cdef bits_window w
    cdef bits_reals_compare compare
    cdef const void *weights
    cdef void *to
    cdef size_t filters
    cdef float pad_value
    cdef bint codes, compares, empty
    cdef int threads
    cdef const float[:, :, :, ::1] x
    cdef const float[::1] real_panels
    cdef const int8_t[::1] code_panels
    cdef const float[::1] thresholds
    cdef const uint32_t[::1] flips
    cdef float[:, :, :, ::1] sums
    cdef uint64_t[:, :, :, ::1] bits

    def __init__(self, const float[:, :, :, ::1] x not None, tuple window not None, size_t filters, panels not None,
                 float pad_value, const float[::1] thresholds, const uint32_t[::1] flips, out not None, int threads):
        cdef double values
        window_of(&self.w, tuple(x.shape)[:4], window)
        values = <double>self.w.kernel[0] * self.w.kernel[1] * self.w.channels * bits_panels(filters) * BITS_PANEL
        self.codes = panels.dtype.kind == "i"
        if self.codes:
            self.code_panels = panels
            expect("weights in panels", self.code_panels.shape[0], values)
            self.weights = &self.code_panels[0] if values else NULL
        else:
            self.real_panels = panels
            expect("weights in panels", self.real_panels.shape[0], values)
            self.weights = &self.real_panels[0] if values else NULL
        self.compares = thresholds is not None
        self.x, self.filters, self.pad_value, self.threads = x, filters, pad_value, threads
        if self.compares:
            if flips is None:
                raise ValueError("thresholds need flips")
            self.bits = out
            expect_map(&self.w, self.bits.shape, bits_words(filters))
            expect("thresholds", thresholds.shape[0], bits_panels(filters) * BITS_PANEL)
            expect("flips", flips.shape[0], bits_panels(filters))
            self.thresholds, self.flips = thresholds, flips
        else:
            self.sums = out
            expect_map(&self.w, self.sums.shape, filters)
        self.empty = values == 0 or x.shape[0] == 0 or x.shape[1] == 0 or x.shape[2] == 0
        if self.empty:
            raise ValueError(f"a convolution of nothing: x of shape {tuple(x.shape)[:4]}, {filters} filters")
        if self.compares:
            self.compare.thresholds, self.compare.flips = &thresholds[0], &flips[0]
            self.to = &self.bits[0, 0, 0, 0]
        else:
            self.to = &self.sums[0, 0, 0, 0]

    def __call__(self):
        cdef int failed
        with nogil:
            failed = bits_convolve_reals(chosen, &self.w, &self.x[0, 0, 0, 0], self.pad_value, self.filters, self.weights,
                                         self.codes, &self.compare if self.compares else NULL, self.to, self.threads)
        if failed:
            raise MemoryError(f"no memory for the padded maps {tuple(self.x.shape)[:4]}")


cdef class Pointwise:
    """Steps from value to value, (kind, a, b, low, high) each, with a and b float32 of one period or None; x is float32 or
    int32, out float32 of as many values."""
    cdef bits_pointwise steps[16]
    cdef size_t step_count, period
    cdef bint whole
    cdef const float[::1] x
    cdef const int32_t[::1] sums
    cdef float[::1] out
    cdef list arrays

    def __init__(self, x not None, list steps not None, size_t period, float[::1] out not None):
        cdef const float[::1] a
        cdef const float[::1] b
        cdef size_t i
        self.whole = x.dtype.kind == "i"
        if self.whole:
            self.sums = x
            expect("values of x", self.sums.shape[0], out.shape[0])
        else:
            self.x = x
            expect("values of x", self.x.shape[0], out.shape[0])
        if period == 0 or out.shape[0] == 0 or len(steps) > 16:
            raise ValueError(f"steps over {out.shape[0]} values with a period of {period}, {len(steps)} of at most 16")
        self.arrays, self.out, self.period, self.step_count = [], out, period, len(steps)
        for i, (kind, a, b, low, high) in enumerate(steps):
            if not 0 <= kind <= 6 or (a is None) != (kind > 3) or (b is None) != (kind != 2):
                raise ValueError(f"no step of kind {kind} takes these numbers")
            self.steps[i].kind, self.steps[i].low, self.steps[i].high = kind, low, high
            self.steps[i].a = self.steps[i].b = NULL
            if a is not None:
                expect("numbers of a step", a.shape[0], period)
                self.steps[i].a = &a[0]
            if b is not None:
                expect("numbers of a step", b.shape[0], period)
                self.steps[i].b = &b[0]
            self.arrays += [a, b]

    def __call__(self):
        with nogil:
            chosen.pointwise(NULL if self.whole else &self.x[0], &self.sums[0] if self.whole else NULL, self.out.shape[0],
                             self.period, self.steps, self.step_count, &self.out[0])


cdef class MaxPool:
    """Of float32 maps (N, H, W, C)."""
    cdef bits_window w
    cdef const float[:, :, :, ::1] x
    cdef float[:, :, :, ::1] out

    def __init__(self, const float[:, :, :, ::1] x not None, tuple window not None, float[:, :, :, ::1] out not None):
        window_of(&self.w, tuple(x.shape)[:4], window)
        expect_map(&self.w, out.shape, self.w.channels)
        expect_windows(&self.w)
        if out.shape[0] == 0 or out.shape[1] == 0 or out.shape[2] == 0 or out.shape[3] == 0:
            raise ValueError("a pool of nothing")
        self.x, self.out = x, out

    def __call__(self):
        with nogil:
            bits_max_pool(chosen, &self.w, &self.x[0, 0, 0, 0], &self.out[0, 0, 0, 0])


cdef class OrPool:
    """Of packed maps (N, H, W, words); then an xor with `inverted`, (words,) or None."""
    cdef bits_window w
    cdef const uint64_t[:, :, :, ::1] x
    cdef const uint64_t[::1] inverted
    cdef bint inverts
    cdef uint64_t[:, :, :, ::1] out

    def __init__(self, const uint64_t[:, :, :, ::1] x not None, tuple window not None, const uint64_t[::1] inverted,
                 uint64_t[:, :, :, ::1] out not None):
        window_of(&self.w, tuple(x.shape)[:4], window)
        expect_map(&self.w, out.shape, self.w.channels)
        expect_windows(&self.w)
        if inverted is not None:
            expect("words to invert", inverted.shape[0], self.w.channels)
        if out.shape[0] == 0 or out.shape[1] == 0 or out.shape[2] == 0 or out.shape[3] == 0:
            raise ValueError("a pool of nothing")
        self.inverts = inverted is not None
        self.x, self.inverted, self.out = x, inverted, out

    def __call__(self):
        with nogil:
            bits_or_pool(&self.w, &self.x[0, 0, 0, 0], &self.inverted[0] if self.inverts else NULL,
                         &self.out[0, 0, 0, 0])


cdef class Results:
    """What becomes of sums: thresholds (steps, padded outputs) and flips in the layout of panels, or None for the sums
    themselves; `signs`: as bits."""
    cdef bits_results as_c
    cdef const int32_t[::1] base
    cdef const int32_t[:, ::1] thresholds
    cdef const uint32_t[::1] flips

    def __cinit__(self, size_t outputs, const int32_t[::1] base, const int32_t[:, ::1] thresholds,
                  const uint32_t[::1] flips, bint signs):  # once: others keep its sizes
        cdef double padded = <double>bits_panels(outputs) * BITS_PANEL
        if outputs == 0:
            raise ValueError("results of no outputs")
        if base is not None:
            expect("bases", base.shape[0], padded)
            self.as_c.base = &base[0]
        if (thresholds is None) != (flips is None):
            raise ValueError("thresholds need flips, and flips thresholds")
        if thresholds is not None:
            expect("thresholds", thresholds.shape[1], padded)
            expect("flips", flips.shape[0], bits_panels(outputs))
            if signs:
                expect("steps", thresholds.shape[0], 1)
            if not 1 <= thresholds.shape[0] <= 255:
                raise ValueError(f"codes in a byte have 1 to 255 steps, received {thresholds.shape[0]}")
            self.as_c.steps, self.as_c.thresholds, self.as_c.flips = thresholds.shape[0], &thresholds[0, 0], &flips[0]
        self.as_c.signs = signs
        self.base, self.thresholds, self.flips = base, thresholds, flips


cdef class ByteConvolution:
    """Of maps of bytes (N, H, W, C) with int8 weights in panels: as the results say int32 or uint8 (N, OH, OW, O), or packed
    bits."""
    cdef bits_window w
    cdef Results results
    cdef void *to
    cdef size_t filters
    cdef uint8_t pad_value
    cdef int threads
    cdef const uint8_t[:, :, :, ::1] x
    cdef const int8_t[::1] panels
    cdef int32_t[:, :, :, ::1] sums
    cdef uint8_t[:, :, :, ::1] codes
    cdef uint64_t[:, :, :, ::1] bits

    def __init__(self, const uint8_t[:, :, :, ::1] x not None, tuple window not None, size_t filters,
                 const int8_t[::1] panels not None, uint8_t pad_value, Results results not None, out not None, int threads):
        cdef double run, runs
        window_of(&self.w, tuple(x.shape)[:4], window)
        joined = self.w.dilation[1] == 1
        run = <double>self.w.channels * (self.w.kernel[1] if joined else 1)
        runs = <double>self.w.kernel[0] * (1 if joined else self.w.kernel[1])
        run += (4 - run % 4) % 4
        expect("weights in panels", panels.shape[0], run * runs * bits_panels(filters) * BITS_PANEL)
        if results.base is None:
            raise ValueError("the results need a base")
        expect("bases", results.base.shape[0], bits_panels(filters) * BITS_PANEL)
        if results.as_c.steps == 0:
            self.sums = out
            expect_map(&self.w, self.sums.shape, filters)
        elif results.as_c.signs:
            self.bits = out
            expect_map(&self.w, self.bits.shape, bits_words(filters))
        else:
            self.codes = out
            expect_map(&self.w, self.codes.shape, filters)
        if panels.shape[0] == 0 or x.shape[0] == 0 or x.shape[1] == 0 or x.shape[2] == 0:
            raise ValueError(f"a convolution of nothing: x of shape {tuple(x.shape)[:4]}, {filters} filters")
        if results.as_c.steps == 0:
            self.to = &self.sums[0, 0, 0, 0]
        elif results.as_c.signs:
            self.to = &self.bits[0, 0, 0, 0]
        else:
            self.to = &self.codes[0, 0, 0, 0]
        self.x, self.panels, self.filters, self.pad_value = x, panels, filters, pad_value
        self.results, self.threads = results, threads

    def __call__(self):
        cdef int failed
        with nogil:
            failed = bits_convolve_bytes(chosen, &self.w, &self.x[0, 0, 0, 0], self.pad_value, self.filters, &self.panels[0],
                                         &self.results.as_c, self.to, self.threads)
        if failed:
            raise MemoryError(f"no memory for the padded maps {tuple(self.x.shape)[:4]}")


cdef class BytePool:
    """Of maps of bytes (N, H, W, C): the largest of each window; where `inverted`, (C,) or None, is not 0, `steps` less it."""
    cdef bits_window w
    cdef uint8_t steps
    cdef bint inverts
    cdef const uint8_t[:, :, :, ::1] x
    cdef const uint8_t[::1] inverted
    cdef uint8_t[:, :, :, ::1] out

    def __init__(self, const uint8_t[:, :, :, ::1] x not None, tuple window not None, uint8_t steps,
                 const uint8_t[::1] inverted, uint8_t[:, :, :, ::1] out not None):
        window_of(&self.w, tuple(x.shape)[:4], window)
        expect_map(&self.w, out.shape, self.w.channels)
        expect_windows(&self.w)
        if inverted is not None:
            expect("channels to invert", inverted.shape[0], self.w.channels)
        if out.shape[0] == 0 or out.shape[1] == 0 or out.shape[2] == 0 or out.shape[3] == 0:
            raise ValueError("a pool of nothing")
        self.inverts = inverted is not None
        self.steps, self.x, self.inverted, self.out = steps, x, inverted, out

    def __call__(self):
        with nogil:
            bits_max_pool_bytes(&self.w, &self.x[0, 0, 0, 0], self.steps, &self.inverted[0] if self.inverts else NULL,
                                &self.out[0, 0, 0, 0])


cdef class ToBytes:
    """x - low of whole numbers in float32, as bytes."""
    cdef float low
    cdef const float[::1] x
    cdef uint8_t[::1] out

    def __init__(self, const float[::1] x not None, float low, uint8_t[::1] out not None):
        expect("values of out", out.shape[0], x.shape[0])
        if x.shape[0] == 0:
            raise ValueError("no values")
        self.x, self.low, self.out = x, low, out

    def __call__(self):
        with nogil:
            chosen.to_bytes(&self.x[0], self.x.shape[0], self.low, &self.out[0])


ctypedef fused real:
    float
    uint16_t # bfloat16


cdef int expect_shifted(bits_shifted *maps, const real[:, :, ::1] x, const float[::1] shift, real[:, :, ::1] out) except -1:
    for axis in range(3):
        expect("values of out", out.shape[axis], x.shape[axis])
    expect("shifts", shift.shape[0], x.shape[2])
    if x.shape[0] == 0 or x.shape[1] == 0 or x.shape[2] == 0:
        raise ValueError("maps without values")
    maps.x, maps.half = &x[0, 0, 0], real is uint16_t
    maps.samples, maps.pixels, maps.channels = x.shape[0], x.shape[1], x.shape[2]
    return 0


def shifted_signs(const real[:, :, ::1] x not None, const float[::1] shift not None, real[:, :, ::1] out not None,
                  int threads):
    """out (samples, pixels, channels): 1 where x + shift >= 0, else -1; float32, or bfloat16 as uint16."""
    cdef bits_shifted maps
    cdef int rc
    expect_shifted(&maps, x, shift, out)
    with nogil:
        rc = bits_shifted_signs(chosen, &maps, &shift[0], &out[0, 0, 0], threads)
    if rc:
        raise MemoryError


def shifted_gradient(const real[:, :, ::1] x not None, const float[::1] shift not None, float t, float epsilon,
                     const real[:, :, ::1] upstream not None, real[:, :, ::1] out not None,
                     float[:, ::1] of_shift not None, int threads):
    """out: the gradient of x by IE-Net's estimator in training; of_shift (samples, channels): its sums over pixels."""
    cdef bits_shifted maps
    cdef int rc
    expect_shifted(&maps, x, shift, out)
    for axis in range(3):
        expect("values of upstream", upstream.shape[axis], x.shape[axis])
    expect("samples of of_shift", of_shift.shape[0], x.shape[0])
    expect("channels of of_shift", of_shift.shape[1], x.shape[2])
    with nogil:
        rc = bits_shifted_gradient(chosen, &maps, &shift[0], t, epsilon, &upstream[0, 0, 0], &out[0, 0, 0], &of_shift[0, 0],
                                   threads)
    if rc:
        raise MemoryError


cdef class Comparison:
    """int32 sums (pixels, outputs) to codes, uint8 (pixels, outputs), or to packed bits (pixels, words)."""
    cdef Results results
    cdef void *to
    cdef const int32_t[:, ::1] sums
    cdef uint8_t[:, ::1] codes
    cdef uint64_t[:, ::1] bits

    def __init__(self, const int32_t[:, ::1] sums not None, Results results not None, out not None):
        cdef size_t outputs = sums.shape[1]
        if results.thresholds is None:
            raise ValueError("a comparison needs thresholds")
        expect("thresholds", results.thresholds.shape[1], bits_panels(outputs) * BITS_PANEL)
        if results.as_c.signs:
            self.bits = out
            expect("pixels of out", self.bits.shape[0], sums.shape[0])
            expect("words of a pixel of out", self.bits.shape[1], bits_words(outputs))
        else:
            self.codes = out
            expect("pixels of out", self.codes.shape[0], sums.shape[0])
            expect("codes of a pixel of out", self.codes.shape[1], outputs)
        if sums.shape[0] == 0 or outputs == 0:
            raise ValueError("a comparison of nothing")
        self.to = <void *>&self.bits[0, 0] if results.as_c.signs else <void *>&self.codes[0, 0]
        self.sums, self.results = sums, results

    def __call__(self):
        with nogil:
            bits_compare(chosen, &self.sums[0, 0], self.sums.shape[0], self.sums.shape[1], &self.results.as_c, self.to)


# Baselines for bnnlib.bench.

def read(const float[:, ::1] x not None):
    """Reads an array of an even number of values once."""
    cdef size_t words = x.shape[0] * x.shape[1] // 2
    cdef uint64_t any = 0
    if words:
        with nogil:
            any = chosen.read(<const uint64_t *>&x[0, 0], words)
    return any


def dependent_additions(size_t n):
    with nogil:
        bits_dependent_additions(n)


def port_instructions(int kind, size_t n):
    """Runs n 512-bit instructions: xor (0), popcount (1), addition (2). False if the processor has none."""
    cdef int failed
    with nogil:
        failed = bits_port_instructions(kind, n)
    return failed == 0


def naive_matmul(const float[:, ::1] a not None, const float[:, ::1] b not None, float[:, ::1] out not None):
    """Three loops over floats, as in a first extension: no packing, no blocks, no explicit vectors."""
    cdef size_t i, j, k
    cdef size_t m = a.shape[0], n = b.shape[0], columns = a.shape[1]
    cdef float total
    expect("columns of b", b.shape[1], columns)
    expect("rows of out", out.shape[0], m)
    expect("columns of out", out.shape[1], n)
    with nogil:
        for i in range(m):
            for j in range(n):
                total = 0
                for k in range(columns):
                    total += a[i, k] * b[j, k]
                out[i, j] = total
