/* Kernels on bits. Plain C: no Python here, so that the same files serve any caller and any special build.
 *
 * Convention: bit 1 stands for +1, bit 0 for -1; bit j of word w is column 64*w + j (least significant bit first).
 * Bits past the last column of a row are 0 in every packed matrix, so that they cancel in an xor.
 *
 * The files, from the top down:
 *   matmul.c, convolution.c, planes.c,  blocking, the same for every processor; parallel.c divides it among threads
 *   int8.c, maps.c, shifted.c
 *   bits_kernels (below)                what an instruction set provides: packing, and the product of many rows with one
 *                                       panel (strip)
 *   portable.c, popcnt.c, avx2.c, ...   one file for each instruction set
 *   strip.h, carry_save.h, epilogue.h,  what those files share
 *   packing.h, loops.h, int8.h,
 *   reals.h, bytes.h, pointwise.h,
 *   shifted.h
 *   reference.c                         the same functions by their definitions, which all others equal
 *
 * All strips read weights in panels: BITS_PANEL rows of a packed matrix side by side, with the 32-bit halves of their words
 * interleaved, so that one vector load takes the same 32 columns of K from many rows. A value of the other operand is
 * broadcast to all lanes, no lane is ever shuffled, and each lane counts for one output. */
#ifndef BNNLIB_BITS_H
#define BNNLIB_BITS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bnnlib's packed words are read in halves: a little-endian processor is needed"
#endif

#define BITS_PANEL 32 /* rows of a panel: two 512-bit or four 256-bit vectors of 32-bit lanes */

/* Half a packed word, for access to memory that holds whole words. */
typedef uint32_t __attribute__((may_alias)) bits_half;

/* The number of 64-bit words in a row of `columns` bits. */
static inline size_t bits_words(size_t columns) { return columns / 64 + (columns % 64 != 0); }

/* The number of panels for `rows` rows. */
static inline size_t bits_panels(size_t rows) { return rows / BITS_PANEL + (rows % BITS_PANEL != 0); }

/* The number of 32-bit values in one panel of rows of `words` words. */
static inline size_t bits_panel_size(size_t words) { return 2 * words * BITS_PANEL; }

/* Rows a stride apart, each of `runs` pieces of `length` words: piece s of row r starts at
 * first + r * stride + offsets[s]. A matrix has one run; a convolution has one for each row of its filter. */
typedef struct {
    const uint64_t *first;
    size_t stride, runs, length;
    const size_t *offsets;
} bits_rows;

/* Rows of int8 values, `stride` values apart, and the sum of each. */
typedef struct {
    const int8_t *first;
    size_t stride, columns;
    const int32_t *sums;
} bits_values;

/* The epilogue of a strip, from counts to results: value = base - 2 * popcount, for `width` columns of the panel. */
typedef struct {
    const int32_t *base;         /* BITS_PANEL values: the number of columns K, plus the correction for padding */
    const int32_t *const *bases; /* if not NULL: one for each row, from value `base_at` on, instead of base */
    size_t base_at;
    size_t width;   /* columns that exist: 1 .. BITS_PANEL */
    int32_t *out;   /* row r is stored at out + r * stride */
    size_t stride;
    int stream;     /* use streaming stores, which bypass the caches; rows then start at multiples of 64 bytes */
    /* If not NULL, one bit for each value, (value >= threshold) xor flip, is stored at bits + r * bits_stride instead. */
    const int32_t *thresholds; /* BITS_PANEL values */
    uint32_t flips;            /* bit c belongs to column c */
    bits_half *bits;
    size_t bits_stride; /* halves of words */
} bits_epilogue;

/* Rows of float32 values, as bits_rows has rows of words. */
typedef struct {
    const float *first;
    size_t stride, runs, length;
    const size_t *offsets;
} bits_reals;

/* The epilogue of a strip of reals: stores the sums, or, with thresholds, a bit for each: (sum >= threshold) xor flip. */
typedef struct {
    size_t width; /* outputs that exist: 1 .. BITS_PANEL */
    float *out;   /* row r is stored at out + r * stride */
    size_t stride;
    const float *thresholds; /* BITS_PANEL values, or NULL */
    uint32_t flips;
    bits_half *bits;
    size_t bits_stride; /* halves of words */
} bits_reals_epilogue;

/* Rows of bytes, as bits_rows has rows of words; `length` is a multiple of four, so that a piece may reach past its last value,
 * into what meets weights of 0. */
typedef struct {
    const uint8_t *first;
    size_t stride, runs, length;
    const size_t *offsets;
} bits_bytes;

/* The epilogue of a strip of bytes: stores the sums as int32; or as a bit for each, (sum >= threshold) xor flip; or as a byte for
 * each, the number of thresholds that it reaches (or, where `turned` is -1, of those that it does not). */
typedef struct {
    const int32_t *base; /* BITS_PANEL values, added to the sums */
    size_t width;        /* outputs that exist: 1 .. BITS_PANEL */
    int32_t *out;        /* row r is stored at out + r * stride */
    size_t stride;
    const int32_t *thresholds; /* BITS_PANEL values for each step, `step` values apart */
    size_t steps, step;
    uint32_t flips;        /* for bits */
    bits_half *bits;       /* if not NULL */
    size_t bits_stride;    /* halves of words */
    const int32_t *turned; /* for codes: BITS_PANEL values, 0 or -1 */
    uint8_t *codes;        /* if not NULL */
    size_t codes_stride;
} bits_bytes_epilogue;

/* One step from value to value. a and b hold a number for each value of a period, after which they begin again. */
typedef struct {
    enum {
        BITS_MULTIPLY, /* x * a */
        BITS_ADD,      /* x + a */
        BITS_NORM,     /* x * a + b, rounded once */
        BITS_BEND,     /* max(x, 0) + a * min(x, 0) */
        BITS_DIVIDE,   /* x / low */
        BITS_CLIP,     /* from low to high */
        BITS_ROUND     /* to whole numbers, half to even */
    } kind;
    const float *a, *b;
    float low, high;
} bits_pointwise;

/* IE-Net's estimator on one sample of `count` values, whose channels' shifts begin again after each `period`. */
typedef struct {
    const float *shifts;
    size_t period, count;
    float t, epsilon;
    int half; /* values are bfloat16, else float32 */
} bits_estimator;

/* What each instruction set provides. */
typedef struct {
    const char *name;

    /* Packs the signs of `rows` rows of `columns` values, `stride` values apart: bit = (x >= 0), so that +0 and -0 both
     * give 1. A NaN packs as 0; the number of NaNs is returned, and the caller decides whether that is an error. */
    size_t (*pack_f32)(const float *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out);
    size_t (*pack_f64)(const double *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out);
    void (*pack_i8)(const int8_t *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out);
    void (*pack_bool)(const uint8_t *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out); /* bit = (x != 0) */

    /* Packs the columns of a (channels, pixels) matrix, an image with channels first: bit c of pixel p is
     * x[c * stride + p] >= 0, in the bits_words(channels) words from out + p * out_stride on. Returns the number of NaNs. */
    size_t (*pack_channels_f32)(const float *x, size_t channels, size_t pixels, size_t stride, uint64_t *out,
                                size_t out_stride);

    /* Reads n words and does next to nothing with them: the upper bound of packing. */
    uint64_t (*read)(const uint64_t *x, size_t n);

    /* The product of m rows with one panel. */
    void (*strip)(const bits_rows *a, size_t m, const uint32_t *panel, const bits_epilogue *epilogue);

    /* The product of m rows of int8 values with one panel, of bytes that are 1 where a weight is -1: for each four columns,
     * four bytes for each row of the panel. The epilogue's base is the sum of a row's values. */
    void (*strip_i8)(const bits_values *a, size_t m, const uint8_t *minus, const bits_epilogue *epilogue);

    /* The product of m rows of float32 values with one panel of weights: for each value of a row, BITS_PANEL of them. */
    void (*strip_reals)(const bits_reals *a, size_t m, const float *panel, const bits_reals_epilogue *epilogue);
    void (*strip_codes)(const bits_reals *a, size_t m, const int8_t *panel, const bits_reals_epilogue *epilogue);

    /* The product of m rows of bytes with one panel of int8 weights: for each four values of a row, four for each output. */
    void (*strip_bytes)(const bits_bytes *a, size_t m, const int8_t *panel, const bits_bytes_epilogue *epilogue);

    /* For BITS_PANEL values the number of thresholds that they reach, see bits_bytes_epilogue; the first `width` are stored. */
    void (*coded)(const int32_t *values, size_t width, const int32_t *thresholds, size_t steps, size_t step,
                  const int32_t *turned, uint8_t *out);

    /* `count` values, from x or, if that is NULL, from sums, through all steps. */
    void (*pointwise)(const float *x, const int32_t *sums, size_t count, size_t period, const bits_pointwise *steps,
                      size_t step_count, float *out);

    /* most = max(most, x), n values. */
    void (*larger)(float *most, const float *x, size_t n);

    /* (value >= threshold) xor flip of up to BITS_PANEL values. */
    uint32_t (*compared)(const int32_t *values, size_t width, const int32_t *thresholds, uint32_t flips);

    /* x - low of n whole numbers, as bytes. */
    void (*to_bytes)(const float *x, size_t n, float low, uint8_t *out);

    /* The signs of x + shift, 1 or -1; and their gradient. `sums` receives the gradient of each shift of the period. */
    void (*shifted_signs)(const void *x, const float *shifts, size_t period, size_t count, void *out, int half);
    void (*shifted_gradient)(const bits_estimator *e, const void *x, const void *upstream, void *out, float *sums);

    /* The whole product by three plain loops over words, with neither blocks nor panels: a baseline. b is row-major. */
    void (*loops)(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out);
} bits_kernels;

/* The instruction sets, plainest first. */
extern const bits_kernels bits_portable;
#if defined(__x86_64__)
extern const bits_kernels bits_popcnt, bits_avx2, bits_avx512, bits_avx512_vpopcntdq;
#elif defined(__aarch64__)
extern const bits_kernels bits_neon;
#endif

/* Finds those that this processor has, plainest first; returns their number (at most 8). */
size_t bits_available(const bits_kernels *found[8]);

/* Copies rows of a packed matrix, `words` words each and `stride` words apart, into panels, which start at a multiple of 64
 * bytes. The last panel is padded with rows of 0. */
void bits_to_panels(const uint64_t *b, size_t rows, size_t words, size_t stride, uint32_t *panels);

/* A threshold for each output to compare the sums with, in the functions below; NULL returns the sums themselves. */
typedef struct {
    const int32_t *thresholds; /* one for each output */
    const uint8_t *flips;      /* one for each output, nonzero to invert its bit; or NULL */
} bits_thresholds;

/* out[m, n] = sum over k of a[m, k] * b[n, k] for rows of +-1: columns - 2 * popcount(a xor b). a is row-major with
 * `a_stride` words to a row, b in panels, out row-major, n values to a row. With `compare`, out is uint64 instead,
 * bits_words(n) to a row. Returns 0, or -1 if there is no memory (for thresholds only); out is then untouched. */
int bits_matmul(const bits_kernels *kernels, const uint64_t *a, size_t a_stride, const uint32_t *panels, size_t m, size_t n,
                size_t columns, const bits_thresholds *compare, void *out, int threads);

/* out[m, n] = sum over k of a[m, k] * b[n, k] for int8 values a, `a_stride` to a row, and signs b in panels; `columns` at most
 * 2^24 - 1. The rest as for bits_matmul, but there may be no memory without thresholds too; out is then incomplete. */
int bits_matmul_i8(const bits_kernels *kernels, const int8_t *a, size_t a_stride, const uint32_t *panels, size_t m, size_t n,
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

/* A two-dimensional convolution of bits (a cross-correlation, as usual in deep learning); of height 1, a 1-D one. */
typedef struct {
    size_t images, height, width;    /* of the input */
    size_t groups, channels, filters; /* channels and filters in one group */
    size_t kernel[2], stride[2], dilation[2], padding[2]; /* height, width */
    int pad_value;                   /* -1, 0 or +1 */
} bits_convolution;

/* Height or width (axis 0 or 1) of the output; 0 if the filter does not fit. */
size_t bits_convolution_size(const bits_convolution *c, int axis);

/* The number of words of a filter of one group. Where a pixel fills half a word (up to 32 channels), its rows lie in pairs: the
 * lower halves are those of row 2i, the upper ones those of row 2i + 1, or empty past the last row. */
size_t bits_filter_words(const bits_convolution *c);

/* What the padding with 0 of a convolution changes: K, with the weights of the taps that fall on it, for each class of output
 * positions. tap_sums (groups, kernel height * kernel width, panels of a group * BITS_PANEL) are the sums of the filters' weights at
 * each tap. NULL if there is no memory. */
typedef struct bits_border bits_border;
bits_border *bits_border_make(const bits_convolution *c, const int32_t *tap_sums);
void bits_border_free(bits_border *border);

/* x is (images, height, width, groups, words) with words = bits_words(channels). panels holds the filters, for each group
 * the panels of its rows (filters, bits_filter_words), the words of a filter row by row. Padding with 0 needs
 * tap_sums, or the border made of them, which saves making it in each call (else NULL). out is int32
 * (images, out height, out width, groups * filters); with `compare` (groups = 1 or filters a multiple of 64) it is uint64,
 * bits_words(groups * filters) to a pixel. Returns 0, or -1 if there is no memory; out is then untouched. */
int bits_convolve(const bits_kernels *kernels, const bits_convolution *c, const uint64_t *x, const uint32_t *panels,
                  const int32_t *tap_sums, const bits_border *border, const bits_thresholds *compare, void *out, int threads);

/* A window that goes over maps with channels last. */
typedef struct {
    size_t images, height, width, channels;
    size_t kernel[2], stride[2], dilation[2], before[2], after[2]; /* height, width; padding before and after */
} bits_window;

/* Height or width (axis 0 or 1) of the output; 0 if the window does not fit. */
size_t bits_window_size(const bits_window *w, int axis);

/* Thresholds in the layout of panels: the last one padded to BITS_PANEL values, flips as bits. */
typedef struct {
    const float *thresholds;
    const uint32_t *flips;
} bits_reals_compare;

/* A convolution of float32 maps. `panels` holds, for each BITS_PANEL filters and each value under the window (row by row,
 * channels last), their weights: int8 with `codes`, float32 without. out is float32 (images, out height, out width, filters);
 * with `compare` it is uint64, bits_words(filters) to a pixel. Returns 0, or -1 if there is no memory; out is then untouched. */
int bits_convolve_reals(const bits_kernels *kernels, const bits_window *w, const float *x, float pad_value, size_t filters,
                        const void *panels, int codes, const bits_reals_compare *compare, void *out, int threads);

/* What becomes of sums of bytes. In the layout of panels: the last one padded to BITS_PANEL values, flips as bits. */
typedef struct {
    const int32_t *base;       /* one for each output, added to its sums */
    size_t steps;              /* 0: the sums are the result */
    const int32_t *thresholds; /* (steps, outputs) */
    const uint32_t *flips;
    int signs; /* with one step: the result is bits, not codes */
} bits_results;

/* A convolution of maps of bytes. `panels` holds, for each BITS_PANEL filters and each four values of a run of the filter (a row
 * of it if dilation[1] = 1, else a tap; channels last, filled up with weights of 0 to a multiple of four), four weights for each
 * filter. out is (images, out height, out width, filters), int32 or, with steps, bytes; with `signs` it is uint64,
 * bits_words(filters) to a pixel. Returns 0, or -1 if there is no memory; out is then untouched. */
int bits_convolve_bytes(const bits_kernels *kernels, const bits_window *w, const uint8_t *x, uint8_t pad_value, size_t filters,
                        const int8_t *panels, const bits_results *results, void *out, int threads);

/* The largest byte of each window; where `inverted` is not 0 (one for each channel), `steps` less that. */
void bits_max_pool_bytes(const bits_window *w, const uint8_t *x, uint8_t steps, const uint8_t *inverted, uint8_t *out);

/* The largest value of each window of float32 maps; a window has at least one. */
void bits_max_pool(const bits_kernels *kernels, const bits_window *w, const float *x, float *out);

/* The OR of each window of packed maps, `channels` words to a pixel, then an xor with `inverted` if it is not NULL. */
void bits_or_pool(const bits_window *w, const uint64_t *x, const uint64_t *inverted, uint64_t *out);

/* Sums of other products, int32 (pixels, outputs), as bits or codes: as bits_convolve_bytes stores its own; base is not added. */
void bits_compare(const bits_kernels *kernels, const int32_t *sums, size_t pixels, size_t outputs, const bits_results *results,
                  void *out);

/* Maps whose channels, which lie last, are shifted before their signs are taken. */
typedef struct {
    const void *x; /* (samples, pixels, channels), float32 or bfloat16 */
    int half;
    size_t samples, pixels, channels;
} bits_shifted;

/* The signs of x + shift, 1 where that is >= 0 and -1 elsewhere, in the type of x. Here and below: 0, or -1 if there is no
 * memory; out is then untouched. */
int bits_shifted_signs(const bits_kernels *kernels, const bits_shifted *maps, const float *shift, void *out, int threads);

/* Their gradient by IE-Net's estimator in training. With v = x + shift, for each sample: its unbiased variance plus epsilon is
 * d^2; inner = upstream * max(sqrt(3) t - 1.5 t^2 |v| / d, 0); f = sum(inner * v) / (d^2 * (values - 1)); and
 * out = (inner - (v - mean(v)) * f) / d. of_shift (samples, channels) receives out's sums over the pixels. */
int bits_shifted_gradient(const bits_kernels *kernels, const bits_shifted *maps, const float *shift, float t, float epsilon,
                          const void *upstream, void *out, float *of_shift, int threads);

/* Unpacks rows to +1 and -1. */
void bits_unpack_i8(const uint64_t *bits, size_t rows, size_t columns, int8_t *out);
void bits_unpack_f32(const uint64_t *bits, size_t rows, size_t columns, float *out);

/* The number of ones in each row. */
void bits_count_rows(const uint64_t *bits, size_t rows, size_t words, int32_t *out);

/* Whether any row of `columns` bits, `stride` words apart, has bits set past its last column. */
int bits_set_past_end(const uint64_t *bits, size_t rows, size_t columns, size_t stride);

/* Calls body(context, begin, end) for parts that cover 0 .. jobs, on up to `threads` threads. */
void bits_in_parallel(int threads, size_t jobs, void (*body)(void *context, size_t begin, size_t end), void *context);

/* n dependent additions of one cycle each, to measure the clock by. */
void bits_dependent_additions(size_t n);

/* n independent 512-bit instructions: xor (kind 0), popcount (1) or addition (2). Returns -1 if the processor has none. */
int bits_port_instructions(int kind, size_t n);

/* The definitions, one loop for each index, which all others equal. b and the filters are row-major. */
void bits_reference_pack(const float *x, size_t rows, size_t columns, uint64_t *out);
void bits_reference_matmul(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out);
void bits_reference_matmul_i8(const int8_t *a, size_t a_stride, const uint64_t *b, size_t m, size_t n, size_t columns,
                              int32_t *out);
void bits_reference_planes(const uint64_t *a, const bits_planes *a_planes, const uint64_t *b, const bits_planes *b_planes,
                           size_t m, size_t n, size_t columns, int32_t *out);
void bits_reference_convolve(const bits_convolution *c, const uint64_t *x, const uint64_t *filters, int32_t *out);
/* With the filters row-major, (filters, kernel height, kernel width, channels), as float32. */
void bits_reference_convolve_reals(const bits_window *w, const float *x, float pad_value, size_t filters, const float *weights,
                                   float *out);
/* With int8 weights, row-major. */
void bits_reference_convolve_bytes(const bits_window *w, const uint8_t *x, uint8_t pad_value, size_t filters,
                                   const int8_t *weights, int32_t *out);
void bits_reference_max_pool(const bits_window *w, const float *x, float *out);
/* (value >= threshold) xor flip, for rows of n values. */
void bits_reference_compare(const int32_t *values, size_t rows, size_t n, const bits_thresholds *compare, uint64_t *out);

#endif
