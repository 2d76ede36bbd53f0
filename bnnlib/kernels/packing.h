/* Packing, the same for every instruction set except for the 64 comparisons of a full word.
 *
 * An including file defines, before including:
 *   word_f32(x, nans), word_f64(x, nans)   the word of 64 values; NaNs are added to *nans
 *   word_i8(x), word_bool(x)
 * and gets pack_f32(), pack_f64(), pack_i8(), pack_bool(), pack_channels_f32() and read_words(). */
#include "bits.h"

/* The tail of a row, fewer than 64 values. */
static inline uint64_t tail_f32(const float *x, size_t count, size_t *nans)
{
    uint64_t word = 0;
    for (size_t j = 0; j < count; j++) {
        word |= (uint64_t)(x[j] >= 0.0f) << j;
        *nans += x[j] != x[j];
    }
    return word;
}

static inline uint64_t tail_f64(const double *x, size_t count, size_t *nans)
{
    uint64_t word = 0;
    for (size_t j = 0; j < count; j++) {
        word |= (uint64_t)(x[j] >= 0.0) << j;
        *nans += x[j] != x[j];
    }
    return word;
}

static inline uint64_t tail_i8(const int8_t *x, size_t count)
{
    uint64_t word = 0;
    for (size_t j = 0; j < count; j++)
        word |= (uint64_t)(x[j] >= 0) << j;
    return word;
}

static inline uint64_t tail_bool(const uint8_t *x, size_t count)
{
    uint64_t word = 0;
    for (size_t j = 0; j < count; j++)
        word |= (uint64_t)(x[j] != 0) << j;
    return word;
}

static uint64_t read_words(const uint64_t *x, size_t n)
{
    uint64_t any[32] = {0}; /* in registers, as vectors */
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (size_t j = 0; j < 32; j++)
            any[j] |= x[i + j];
    for (; i < n; i++)
        any[0] |= x[i];
    for (size_t j = 1; j < 32; j++)
        any[0] |= any[j];
    return any[0];
}

static size_t pack_f32(const float *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out)
{
    size_t nans = 0;
    for (size_t r = 0; r < rows; r++, x += stride) {
        for (size_t w = 0; w < columns / 64; w++)
            *out++ = word_f32(x + 64 * w, &nans);
        if (columns % 64)
            *out++ = tail_f32(x + columns / 64 * 64, columns % 64, &nans);
    }
    return nans;
}

static size_t pack_f64(const double *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out)
{
    size_t nans = 0;
    for (size_t r = 0; r < rows; r++, x += stride) {
        for (size_t w = 0; w < columns / 64; w++)
            *out++ = word_f64(x + 64 * w, &nans);
        if (columns % 64)
            *out++ = tail_f64(x + columns / 64 * 64, columns % 64, &nans);
    }
    return nans;
}

static void pack_i8(const int8_t *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out)
{
    for (size_t r = 0; r < rows; r++, x += stride) {
        for (size_t w = 0; w < columns / 64; w++)
            *out++ = word_i8(x + 64 * w);
        if (columns % 64)
            *out++ = tail_i8(x + columns / 64 * 64, columns % 64);
    }
}

static void pack_bool(const uint8_t *x, size_t rows, size_t columns, ptrdiff_t stride, uint64_t *out)
{
    for (size_t r = 0; r < rows; r++, x += stride) {
        for (size_t w = 0; w < columns / 64; w++)
            *out++ = word_bool(x + 64 * w);
        if (columns % 64)
            *out++ = tail_bool(x + columns / 64 * 64, columns % 64);
    }
}

/* The words of sixteen pixels stay in registers while the loop runs over the channels; compilers vectorise it. */
#define PIXELS 16

static size_t pack_channels_f32(const float *x, size_t channels, size_t pixels, size_t stride, uint64_t *out,
                                size_t out_stride)
{
    size_t nans = 0;
    for (size_t p = 0; p < pixels; p += PIXELS)
        for (size_t half = 0; half < 2 * bits_words(channels); half++) {
            const size_t first = 32 * half, count = pixels - p < PIXELS ? pixels - p : PIXELS;
            const size_t end = channels < first + 32 ? channels : first + 32; /* less than first if the half is empty */
            uint32_t word[PIXELS] = {0}, undefined[PIXELS] = {0};
            for (size_t c = first; c < end; c++) {
                const float *row = x + c * stride + p;
                const uint32_t bit = (uint32_t)1 << (c - first);
                if (count == PIXELS) /* a constant bound */
                    for (size_t i = 0; i < PIXELS; i++) {
                        word[i] |= row[i] >= 0.0f ? bit : 0;
                        undefined[i] += row[i] != row[i];
                    }
                else
                    for (size_t i = 0; i < count; i++) {
                        word[i] |= row[i] >= 0.0f ? bit : 0;
                        undefined[i] += row[i] != row[i];
                    }
            }
            for (size_t i = 0; i < count; i++) {
                ((bits_half *)(out + (p + i) * out_stride))[half] = word[i];
                nans += undefined[i];
            }
        }
    return nans;
}
