# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled half of bnnlib.kernels: typed memory in, one C call without the GIL, typed memory out.

Arguments are checked by the Python modules beside this one; nothing here is called from anywhere else. `naive_matmul` is
written here, in Cython, because it is what a first extension looks like.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t, uint8_t, uint32_t, uint64_t

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
    size_t bits_words(size_t columns) nogil
    void bits_to_panels(const uint64_t *b, size_t rows, size_t words, size_t stride, uint32_t *panels) nogil
    int bits_matmul(const bits_kernels *kernels, const uint64_t *a, size_t a_stride, const uint32_t *panels, size_t m,
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
    int bits_set_behind(const uint64_t *bits, size_t rows, size_t columns, size_t stride) nogil

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
    """Names of the instruction sets that this processor has, plainest first."""
    return [sets[i].name.decode() for i in range(count)]


def choose(str name):
    """Makes every further call use that set."""
    global chosen
    for i in range(count):
        if sets[i].name.decode() == name:
            chosen = sets[i]
            return
    raise ValueError(f"no instruction set {name!r} on this processor; it has {', '.join(available())}")


def current():
    """The set that calls use."""
    return chosen.name.decode()


# Rows may lie any stride apart; the values within a row lie side by side (the callers see to it).

def pack_f32(const float[:, :] x, uint64_t[:, ::1] out):
    cdef size_t rows = x.shape[0], columns = x.shape[1], nans
    if rows == 0 or columns == 0:
        return 0
    with nogil:
        nans = chosen.pack_f32(&x[0, 0], rows, columns, x.strides[0] // 4, &out[0, 0])
    return nans


def pack_f64(const double[:, :] x, uint64_t[:, ::1] out):
    cdef size_t rows = x.shape[0], columns = x.shape[1], nans
    if rows == 0 or columns == 0:
        return 0
    with nogil:
        nans = chosen.pack_f64(&x[0, 0], rows, columns, x.strides[0] // 8, &out[0, 0])
    return nans


def pack_i8(const int8_t[:, :] x, uint64_t[:, ::1] out):
    cdef size_t rows = x.shape[0], columns = x.shape[1]
    if rows and columns:
        with nogil:
            chosen.pack_i8(&x[0, 0], rows, columns, x.strides[0], &out[0, 0])
    return 0


def pack_bool(const uint8_t[:, :] x, uint64_t[:, ::1] out):
    cdef size_t rows = x.shape[0], columns = x.shape[1]
    if rows and columns:
        with nogil:
            chosen.pack_bool(&x[0, 0], rows, columns, x.strides[0], &out[0, 0])
    return 0


def pack_channels_f32(const float[:, :, :, ::1] x, uint64_t[:, :, :, ::1] out):
    """(images, groups, channels of a group, pixels) to (images, pixels, groups, words)."""
    cdef size_t images = x.shape[0], groups = x.shape[1], channels = x.shape[2], pixels = x.shape[3]
    cdef size_t image, group, nans = 0
    if images == 0 or groups == 0 or channels == 0 or pixels == 0:
        return 0
    with nogil:
        for image in range(images):
            for group in range(groups):
                nans += chosen.pack_channels_f32(&x[image, group, 0, 0], channels, pixels, pixels,
                                                 &out[image, 0, group, 0], groups * bits_words(channels))
    return nans


def unpack_i8(const uint64_t[:, ::1] bits, size_t columns, int8_t[:, ::1] out):
    cdef size_t rows = bits.shape[0]
    if rows and columns:
        with nogil:
            bits_unpack_i8(&bits[0, 0], rows, columns, &out[0, 0])


def unpack_f32(const uint64_t[:, ::1] bits, size_t columns, float[:, ::1] out):
    cdef size_t rows = bits.shape[0]
    if rows and columns:
        with nogil:
            bits_unpack_f32(&bits[0, 0], rows, columns, &out[0, 0])


def count_rows(const uint64_t[:, ::1] bits, int32_t[::1] out):
    cdef size_t rows = bits.shape[0], words = bits.shape[1]
    if rows:
        with nogil:
            bits_count_rows(&bits[0, 0] if words else NULL, rows, words, &out[0])


def set_behind(const uint64_t[:, :] bits, size_t columns):
    """Whether bits are set behind the last column of some row."""
    cdef size_t rows = bits.shape[0]
    cdef int found
    if rows == 0 or columns == 0:
        return False
    with nogil:
        found = bits_set_behind(&bits[0, 0], rows, columns, bits.strides[0] // 8)
    return found != 0


def to_panels(const uint64_t[:, ::1] b, uint32_t[::1] panels):
    cdef size_t rows = b.shape[0], words = b.shape[1]
    if rows and words:
        with nogil:
            bits_to_panels(&b[0, 0], rows, words, words, &panels[0])


cdef int check_apart(const void *out, size_t out_size, const void *x, size_t size) except -1:
    """Sizes in bytes. Here and not in Python, where the look at the addresses takes as long as a small product."""
    if <size_t>out < <size_t>x + size and <size_t>x < <size_t>out + out_size:
        raise ValueError("out shares memory with an operand, which would be overwritten while it is read")
    return 0


def matmul(const uint64_t[:, :] a, const uint32_t[::1] panels, size_t columns, int32_t[:, ::1] out, int threads):
    cdef size_t m = out.shape[0], n = out.shape[1]
    if m == 0 or n == 0:
        return
    if columns == 0:
        out[:, :] = 0
        return
    check_apart(&out[0, 0], 4 * m * n, &a[0, 0], a.strides[0] * (m - 1) + 8 * a.shape[1])
    check_apart(&out[0, 0], 4 * m * n, &panels[0], 4 * panels.shape[0])
    with nogil:
        bits_matmul(chosen, &a[0, 0], a.strides[0] // 8, &panels[0], m, n, columns, NULL, &out[0, 0], threads)


def matmul_loops(const uint64_t[:, ::1] a, const uint64_t[:, ::1] b, size_t columns, int32_t[:, ::1] out):
    cdef size_t m = out.shape[0], n = out.shape[1]
    if m == 0 or n == 0:
        return
    if columns == 0:
        out[:, :] = 0
        return
    with nogil:
        chosen.loops(&a[0, 0], &b[0, 0], m, n, columns, &out[0, 0])


def matmul_threshold(const uint64_t[:, :] a, const uint32_t[::1] panels, size_t columns, const int32_t[::1] thresholds,
                     const uint8_t[::1] flips, uint64_t[:, ::1] out, int threads):
    cdef size_t m = out.shape[0], n = thresholds.shape[0]
    cdef bits_thresholds compare
    cdef int failed
    if m == 0 or n == 0:
        return
    compare.thresholds = &thresholds[0]
    compare.flips = &flips[0]
    check_apart(&out[0, 0], 8 * m * out.shape[1], &a[0, 0], a.strides[0] * (m - 1) + 8 * a.shape[1])
    check_apart(&out[0, 0], 8 * m * out.shape[1], &panels[0], 4 * panels.shape[0])
    with nogil:
        failed = bits_matmul(chosen, &a[0, 0], a.strides[0] // 8, &panels[0], m, n, columns, &compare, &out[0, 0], threads)
    if failed:
        raise MemoryError(f"no memory for the thresholds of {n} outputs")


def matmul_planes(const uint64_t[:, :, ::1] a, const int32_t[::1] a_weights, const int32_t[::1] a_sums,
                  const uint32_t[::1] panels, const int32_t[::1] b_weights, const int32_t[::1] b_sums, size_t columns,
                  int32_t[:, ::1] out, int threads):
    cdef size_t m = out.shape[0], n = out.shape[1]
    cdef bits_planes left, right
    cdef int failed
    if m == 0 or n == 0:
        return
    if columns == 0:
        out[:, :] = 0
        return
    check_apart(&out[0, 0], 4 * m * n, &a[0, 0, 0], a.nbytes)
    check_apart(&out[0, 0], 4 * m * n, &panels[0], panels.nbytes)
    left.count, left.weights, left.sums = a_weights.shape[0], &a_weights[0], &a_sums[0]
    right.count, right.weights, right.sums = b_weights.shape[0], &b_weights[0], &b_sums[0]
    with nogil:
        failed = bits_matmul_planes(chosen, &a[0, 0, 0], &left, &panels[0], &right, m, n, columns, &out[0, 0], threads)
    if failed:
        raise MemoryError(f"no memory for the sums of {m} x {n} outputs")


def convolve(const uint64_t[:, :, :, ::1] x, tuple shape, const uint32_t[::1] panels, const int32_t[::1] tap_sums,
             const int32_t[::1] thresholds, const uint8_t[::1] flips, out, int threads):
    """`shape`: groups, channels, filters, kernel (2), stride (2), dilation (2), padding (2), pad_value."""
    cdef bits_convolution c
    cdef bits_thresholds compare
    cdef int32_t[:, :, :, ::1] sums
    cdef uint64_t[:, :, :, ::1] bits
    cdef void *to
    cdef int failed
    c.images, c.height, c.width = x.shape[0], x.shape[1], x.shape[2]
    (c.groups, c.channels, c.filters, c.kernel[0], c.kernel[1], c.stride[0], c.stride[1], c.dilation[0], c.dilation[1],
     c.padding[0], c.padding[1], c.pad_value) = shape
    if out.size == 0:
        return
    if thresholds is None:
        sums = out
        to = &sums[0, 0, 0, 0]
    else:
        bits = out
        to = &bits[0, 0, 0, 0]
        compare.thresholds = &thresholds[0]
        compare.flips = &flips[0]
    cdef const bits_thresholds *comparison = NULL if thresholds is None else &compare
    cdef const uint64_t *first = &x[0, 0, 0, 0] if x.shape[1] and x.shape[2] else NULL # padding alone can be an image
    if first != NULL:
        check_apart(to, out.nbytes, first, x.nbytes)
    check_apart(to, out.nbytes, &panels[0], panels.nbytes)
    with nogil:
        failed = bits_convolve(chosen, &c, first, &panels[0], &tap_sums[0], comparison, to, threads)
    if failed:
        raise MemoryError(f"no memory for the padded images {tuple(x.shape)[:3]}")


# What bnnlib.bench measures other things by.

def read(const float[:, ::1] x):
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
    """Runs n 512-bit instructions: xor (0), count of bits (1), addition (2). False where the processor has none."""
    cdef int failed
    with nogil:
        failed = bits_port_instructions(kind, n)
    return failed == 0


def naive_matmul(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] out):
    """Three loops over floats, as a first extension has them: no packing, no blocks, no vectors by hand."""
    cdef size_t i, j, k
    cdef size_t m = a.shape[0], n = b.shape[0], columns = a.shape[1]
    cdef float total
    with nogil:
        for i in range(m):
            for j in range(n):
                total = 0
                for k in range(columns):
                    total += a[i, k] * b[j, k]
                out[i, j] = total
