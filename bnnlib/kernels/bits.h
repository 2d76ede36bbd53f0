/* Kernels on bits. Plain C: no Python here, so that the same files serve any caller and any special build.
 *
 * Convention: bit 1 stands for +1, bit 0 for -1; bit j of word w is column 64*w + j (least significant bit first).
 * The bits behind the last column of a row are 0 in every packed matrix, so that they cancel in an xor.
 *
 * The house, from the top down:
 *   matmul.c, convolution.c, planes.c   which rows meet which weights; the same for every processor; parallel.c shares it out
 *   bits_kernels (below)                what an instruction set provides: packing, and many rows against one panel (strip)
 *   portable.c, popcnt.c, avx2.c, ...   one file for each instruction set; strip.h, carry_save.h, packing.h, loops.h are what they share
 *   reference.c                         the same functions by their definitions, which all others equal
 *
 * Panels are the layout of weights that all strips want: PANEL rows of a packed matrix side by side, the 32-bit halves of
 * their words interleaved, so that one vector load takes the same 32 columns of K of many rows. A value of the other operand
 * is broadcast against it, no lane is ever shuffled, and each lane counts for one output. */
#ifndef BNNLIB_BITS_H
#define BNNLIB_BITS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bnnlib's packed words are read in halves: a little-endian processor is needed"
#endif

#define BITS_PANEL 32 /* rows of a panel: two 512-bit or four 256-bit vectors of 32-bit lanes */

/* Half a packed word, read or written where whole words lie. */
typedef uint32_t __attribute__((may_alias)) bits_half;

/* Words of 64 bits that a row of `columns` bits takes. */
static inline size_t bits_words(size_t columns) { return columns / 64 + (columns % 64 != 0); }

/* Panels that `rows` rows take. */
static inline size_t bits_panels(size_t rows) { return rows / BITS_PANEL + (rows % BITS_PANEL != 0); }

/* Values of 32 bits in one panel of rows of `words` words. */
static inline size_t bits_panel_size(size_t words) { return 2 * words * BITS_PANEL; }

/* Rows of words that lie a stride apart, each in `runs` pieces of `length` words: piece s of row r starts at
 * first + r * stride + offsets[s]. A matrix has one run; a convolution has one for each row of its filter. */
typedef struct {
    const uint64_t *first;
    size_t stride, runs, length;
    const size_t *offsets;
} bits_rows;

/* Where the results of a strip go: value = base - 2 * popcount, for `width` columns of the panel. */
typedef struct {
    const int32_t *base;         /* BITS_PANEL values; the number of columns K, plus what padding changes */
    const int32_t *const *bases; /* if not NULL: one base for each row, `base_at` values into it, instead of base */
    size_t base_at;
    size_t width;   /* 1 .. BITS_PANEL columns that exist */
    int32_t *out;   /* of the first row: row r goes to out + r * stride */
    size_t stride;
    int past_caches; /* the output is large and its rows lie on 64 bytes: write it around the caches */
    /* If thresholds is not NULL, one bit for each value goes to bits + r * bits_stride instead of out:
     * (value >= threshold) xor flip. */
    const int32_t *thresholds; /* BITS_PANEL values */
    uint32_t flips;            /* bit c is for column c */
    bits_half *bits;
    size_t bits_stride; /* halves of words */
} bits_way_out;

/* What each instruction set provides. */
typedef struct {
    const char *name;

    /* Packs the signs of `rows` rows of `columns` values that lie `stride` values apart: bit = (x >= 0), so that +0 and -0
     * both give 1. A NaN packs as 0; the number of NaNs is returned, and the caller decides whether that is an error. */
    size_t (*pack_f32)(const float *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out);
    size_t (*pack_f64)(const double *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out);
    void (*pack_i8)(const int8_t *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out);
    void (*pack_bool)(const uint8_t *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out); /* bit = (x != 0) */

    /* Packs down the columns of a (channels, pixels) matrix, as images in channels-first layout need it: bit c of pixel p
     * is x[c * stride + p] >= 0, and pixel p takes bits_words(channels) words from out + p * out_stride. Returns NaNs. */
    size_t (*pack_channels_f32)(const float *x, size_t channels, size_t pixels, size_t stride, uint64_t *out,
                                size_t out_stride);

    /* Reads n words and does next to nothing with them: what packing can be measured against. */
    uint64_t (*read)(const uint64_t *x, size_t n);

    /* m rows against one panel. */
    void (*strip)(const bits_rows *a, size_t m, const uint32_t *panel, const bits_way_out *way);

    /* The whole product by three plain loops over words, b row-major: no blocks, no panels. To be compared with. */
    void (*loops)(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out);
} bits_kernels;

/* The instruction sets, from the plainest up. */
extern const bits_kernels bits_portable;
#if defined(__x86_64__)
extern const bits_kernels bits_popcnt, bits_avx2, bits_avx512, bits_avx512_vpopcntdq;
#elif defined(__aarch64__)
extern const bits_kernels bits_neon;
#endif

/* Those that this processor has, plainest first; returns their number (at most 8). */
size_t bits_available(const bits_kernels *found[8]);

/* Rows of a packed matrix, `words` words each and `stride` words apart, to panels. Rows missing in the last panel are 0.
 * The address of the panels must be a multiple of 64. */
void bits_to_panels(const uint64_t *b, size_t rows, size_t words, size_t stride, uint32_t *panels);

/* Comparison with a threshold for each output, for the functions below; NULL for the sums themselves. */
typedef struct {
    const int32_t *thresholds; /* one for each output */
    const uint8_t *flips;      /* one for each output, not 0 if its bit is to be reversed; or NULL */
} bits_thresholds;

/* out[m, n] = sum over k of a[m, k] * b[n, k] for rows of +-1: columns - 2 * popcount(a xor b). a is row-major with
 * `a_stride` words to a row, b in panels, out row-major, n to a row. With `compare`, out is uint64 instead,
 * bits_words(n) to a row. Returns 0, or -1 if there is no memory (for thresholds only); out is then untouched. */
int bits_matmul(const bits_kernels *kernels, const uint64_t *a, size_t a_stride, const uint32_t *panels, size_t m, size_t n,
                size_t columns, const bits_thresholds *compare, void *out, int threads);

/* The product of integer codes kept in bit planes: code = sum over p of weight[p] * bit[p]. Plane p of the m rows of a
 * starts at a + p * m * bits_words(columns); b has its planes in panels, one after the other. Returns 0, or -1 if there
 * is no memory; out is then incomplete. */
typedef struct {
    size_t count; /* planes: 1 .. 8 */
    const int32_t *weights;
    const int32_t *sums; /* of the codes of each row */
} bits_planes;
int bits_matmul_planes(const bits_kernels *kernels, const uint64_t *a, const bits_planes *a_planes, const uint32_t *panels,
                       const bits_planes *b_planes, size_t m, size_t n, size_t columns, int32_t *out, int threads);

/* A two-dimensional convolution of bits (cross-correlation, as the field calls it). One of length 1 in height is 1-D. */
typedef struct {
    size_t images, height, width;    /* of the input */
    size_t groups, channels, filters; /* channels and filters of one group */
    size_t kernel[2], stride[2], dilation[2], padding[2]; /* height, width */
    int pad_value;                   /* -1, 0 or +1 */
} bits_convolution;

/* Height or width (axis 0 or 1) of the output; 0 if the filter does not fit. */
size_t bits_convolution_size(const bits_convolution *c, int axis);

/* x is (images, height, width, groups, words) with words = bits_words(channels). The filters are panels, for each group
 * those of its (filters, kernel height, kernel width, words) rows; tap_sums (groups, kernel height * kernel width,
 * panels of a group * BITS_PANEL) are the sums of their weights at each tap, needed where padding is 0. out is int32
 * (images, out height, out width, groups * filters); with `compare` (groups = 1 or filters a multiple of 64) it is uint64,
 * bits_words(groups * filters) to a pixel. Returns 0, or -1 if there is no memory; out is then untouched. */
int bits_convolve(const bits_kernels *kernels, const bits_convolution *c, const uint64_t *x, const uint32_t *panels,
                  const int32_t *tap_sums, const bits_thresholds *compare, void *out, int threads);

/* +1 and -1 from packed rows. */
void bits_unpack_i8(const uint64_t *bits, size_t rows, size_t columns, int8_t *out);
void bits_unpack_f32(const uint64_t *bits, size_t rows, size_t columns, float *out);

/* Number of ones of each row. */
void bits_count_rows(const uint64_t *bits, size_t rows, size_t words, int32_t *out);

/* Whether some row of `columns` bits, `stride` words apart, has bits set behind its last column. */
int bits_set_behind(const uint64_t *bits, size_t rows, size_t columns, size_t stride);

/* Calls body(context, begin, end) so that the parts cover 0 .. jobs, on up to `threads` threads. */
void bits_in_parallel(int threads, size_t jobs, void (*body)(void *context, size_t begin, size_t end), void *context);

/* n additions that wait for each other, a cycle each: what a clock can be measured by. */
void bits_dependent_additions(size_t n);

/* n independent 512-bit instructions: xor (kind 0), count of bits (1) or addition (2). Returns -1 where there are none. */
int bits_port_instructions(int kind, size_t n);

/* By their definitions, one loop for each index; what all others equal. b and the filters are row-major. */
void bits_reference_pack(const float *x, size_t rows, size_t columns, uint64_t *out);
void bits_reference_matmul(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out);
void bits_reference_planes(const uint64_t *a, const bits_planes *a_planes, const uint64_t *b, const bits_planes *b_planes,
                           size_t m, size_t n, size_t columns, int32_t *out);
void bits_reference_convolve(const bits_convolution *c, const uint64_t *x, const uint64_t *filters, int32_t *out);
/* (value >= threshold) xor flip of n values to a row. */
void bits_reference_compare(const int32_t *values, size_t rows, size_t n, const bits_thresholds *compare, uint64_t *out);

#endif
