# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled half of bnnlib.kernels: typed memory in, one C call without the GIL, typed memory out.

The Python modules beside this one check dtypes, values and overlaps, in words made for users. Here every size is compared
with those that the C code will read and write, so that no call, however wrong, leaves its arrays: a ValueError says which
size does not fit. `naive_matmul` is written here, in Cython, because it is what a first extension looks like.
"""

from cpython.buffer cimport PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t, uint8_t, uint32_t, uint64_t, uintptr_t

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
        void (*loops)(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out) nogil
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
    size_t bits_available(const bits_kernels **found)
    size_t BITS_PANEL
    size_t bits_words(size_t columns) nogil
    size_t bits_panels(size_t rows) nogil
    size_t bits_panel_size(size_t words) nogil
    size_t bits_convolution_size(const bits_convolution *c, int axis) nogil
    void bits_to_panels(const uint64_t *b, size_t rows, size_t words, size_t stride, uint32_t *panels) nogil
    int bits_matmul(const bits_kernels *kernels, const uint64_t *a, size_t a_stride, const uint32_t *panels, size_t m,
                    size_t n, size_t columns, const bits_thresholds *compare, void *out, int threads) nogil
    int bits_matmul_i8(const bits_kernels *kernels, const int8_t *a, size_t a_stride, const uint32_t *panels, size_t m,
                       size_t n, size_t columns, const bits_thresholds *compare, void *out, int threads) nogil
    int bits_matmul_planes(const bits_kernels *kernels, const uint64_t *a, const bits_planes *a_planes,
                           const uint32_t *panels, const bits_planes *b_planes, size_t m, size_t n, size_t columns,
                           int32_t *out, int threads) nogil
    int bits_convolve(const bits_kernels *kernels, const bits_convolution *c, const uint64_t *x, const uint32_t *panels,
                      const int32_t *tap_sums, const bits_thresholds *compare, void *out, int threads) nogil
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


def convolve(const uint64_t[:, :, :, ::1] x not None, tuple shape not None, const uint32_t[::1] panels not None,
             const int32_t[::1] tap_sums not None, const int32_t[::1] thresholds, const uint8_t[::1] flips,
             out not None, int threads):
    """`shape`: groups, channels, filters, kernel (2), stride (2), dilation (2), padding (2), pad_value. Sums without
    thresholds and flips, bits with both."""
    cdef bits_convolution c
    cdef bits_thresholds compare
    cdef const bits_thresholds *comparison = NULL
    cdef int32_t[:, :, :, ::1] sums
    cdef uint64_t[:, :, :, ::1] bits
    cdef void *to = NULL
    cdef Py_ssize_t *received
    cdef double taps, outputs
    cdef int failed, i
    c.images, c.height, c.width = x.shape[0], x.shape[1], x.shape[2]
    cdef Py_ssize_t number[12]
    if len(shape) != 12:
        raise ValueError(f"a convolution's shape has 12 numbers, received {shape}")
    for i in range(12):
        number[i] = shape[i]
        if number[i] < (1 if i < 9 else 0 if i < 11 else -1) or number[i] > (2**31 - 1 if i < 11 else 1):
            raise ValueError(f"no convolution has the shape {shape}: received {number[i]} at index {i}")
    c.groups, c.channels, c.filters, c.pad_value = number[0], number[1], number[2], <int>number[11]
    for i in range(2):
        c.kernel[i], c.stride[i], c.dilation[i], c.padding[i] = number[3 + i], number[5 + i], number[7 + i], number[9 + i]
    if 8.0 * c.images * (c.height + 2 * c.padding[0]) * (c.width + 2 * c.padding[1]) * x.shape[3] >= 2.0**47:
        raise ValueError(f"padded images {tuple(x.shape)} of the shape {shape} are more than a process can address")
    taps, outputs = <double>c.kernel[0] * c.kernel[1], <double>c.groups * c.filters
    expect("words of a pixel of x", x.shape[3], <double>c.groups * bits_words(c.channels))
    expect_panels(panels, c.groups, c.filters, taps * bits_words(c.channels))
    expect("sums of taps", tap_sums.shape[0], c.groups * taps * bits_panels(c.filters) * BITS_PANEL)
    if thresholds is None:
        sums = out
        received = sums.shape
    else:
        if flips is None or (c.groups > 1 and c.filters % 64):
            raise ValueError("thresholds need flips, and groups of whole words of filters if there are several")
        bits = out
        received = bits.shape
        expect("thresholds", thresholds.shape[0], outputs)
        expect("flips", flips.shape[0], outputs)
        comparison = &compare
    expect("images of out", received[0], c.images)
    expect("height of out", received[1], bits_convolution_size(&c, 0))
    expect("width of out", received[2], bits_convolution_size(&c, 1))
    expect("values of a pixel of out", received[3], outputs if comparison == NULL else bits_words(c.groups * c.filters))
    if received[0] == 0 or received[1] == 0 or received[2] == 0:
        return
    if comparison == NULL:
        to = &sums[0, 0, 0, 0]
    else:
        to = &bits[0, 0, 0, 0]
        compare.thresholds, compare.flips = &thresholds[0], &flips[0]
    cdef const uint64_t *first = &x[0, 0, 0, 0] if x.shape[1] and x.shape[2] else NULL # padding alone can be an image
    with nogil:
        failed = bits_convolve(chosen, &c, first, &panels[0], &tap_sums[0], comparison, to, threads)
    if failed:
        raise MemoryError(f"no memory for the padded images {tuple(x.shape)[:3]}")


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
