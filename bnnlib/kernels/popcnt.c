/* x86-64 with POPCNT: one instruction counts a word. Comparisons are SSE2's, which every x86-64 has. */
#include "epilogue.h"

#include <immintrin.h>
#include <string.h>

#define TILE_ROWS 4

/* Four rows by two columns at a time: the eight sums stay in registers, and the words of the two columns, whose halves a
 * panel stores apart, are joined once for all rows. */
static inline __attribute__((always_inline)) void tile_of(const size_t rows, const bits_rows *a, size_t begin,
                                                          const uint32_t *panel, const bits_epilogue *epilogue)
{
    uint32_t counts[TILE_ROWS][BITS_PANEL];
    for (size_t c = 0; c < BITS_PANEL; c += 2) {
        uint64_t sums[TILE_ROWS][2] = {{0}};
        const uint32_t *from = panel + c;
        for (size_t s = 0; s < a->runs; s++) {
            const uint64_t *words = a->first + begin * a->stride + a->offsets[s];
            for (size_t w = 0; w < a->length; w++, from += 2 * BITS_PANEL) {
                uint64_t low, high; /* halves of the words of columns c and c + 1 */
                memcpy(&low, from, sizeof low);
                memcpy(&high, from + BITS_PANEL, sizeof high);
                const uint64_t left = (uint32_t)low | high << 32, right = low >> 32 | (high & 0xffffffff00000000u);
#pragma GCC unroll 4
                for (size_t r = 0; r < rows; r++) {
                    sums[r][0] += (uint64_t)_mm_popcnt_u64(words[r * a->stride + w] ^ left);
                    sums[r][1] += (uint64_t)_mm_popcnt_u64(words[r * a->stride + w] ^ right);
                }
            }
        }
        for (size_t r = 0; r < rows; r++)
            counts[r][c] = (uint32_t)sums[r][0], counts[r][c + 1] = (uint32_t)sums[r][1];
    }
    for (size_t r = 0; r < rows; r++)
        store_plain(counts[r], begin + r, epilogue);
}

static inline void tile(const bits_rows *a, size_t begin, size_t rows, const uint32_t *panel, const bits_epilogue *epilogue)
{
    switch (rows) { /* with a constant number of rows all sums stay in registers */
    case 4: tile_of(4, a, begin, panel, epilogue); break;
    case 3: tile_of(3, a, begin, panel, epilogue); break;
    case 2: tile_of(2, a, begin, panel, epilogue); break;
    default: tile_of(1, a, begin, panel, epilogue);
    }
}

#include "loops.h"
#include "strip.h"
#include "int8_portable.h"
#include "reals_portable.h"
#include "bytes_portable.h"
#include "pointwise.h"
#include "shifted.h"

/* A comparison sets whole lanes to ones or zeros, and movemask collects one bit of each. NaN compares false. */
static inline uint64_t word_f32(const float *x, size_t *nans)
{
    uint64_t word = 0, undefined = 0;
    for (size_t j = 0; j < 64; j += 4) {
        const __m128 v = _mm_loadu_ps(x + j);
        word |= (uint64_t)(unsigned)_mm_movemask_ps(_mm_cmpge_ps(v, _mm_setzero_ps())) << j;
        undefined |= (uint64_t)(unsigned)_mm_movemask_ps(_mm_cmpunord_ps(v, v)) << j;
    }
    *nans += (size_t)_mm_popcnt_u64(undefined);
    return word;
}

static inline uint64_t word_f64(const double *x, size_t *nans)
{
    uint64_t word = 0, undefined = 0;
    for (size_t j = 0; j < 64; j += 2) {
        const __m128d v = _mm_loadu_pd(x + j);
        word |= (uint64_t)(unsigned)_mm_movemask_pd(_mm_cmpge_pd(v, _mm_setzero_pd())) << j;
        undefined |= (uint64_t)(unsigned)_mm_movemask_pd(_mm_cmpunord_pd(v, v)) << j;
    }
    *nans += (size_t)_mm_popcnt_u64(undefined);
    return word;
}

static inline uint64_t word_i8(const int8_t *x)
{
    uint64_t negative = 0;
    for (size_t j = 0; j < 64; j += 16)
        negative |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(x + j))) << j;
    return ~negative;
}

static inline uint64_t word_bool(const uint8_t *x)
{
    uint64_t zeros = 0;
    for (size_t j = 0; j < 64; j += 16) {
        const __m128i v = _mm_loadu_si128((const __m128i *)(x + j));
        zeros |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128())) << j;
    }
    return ~zeros;
}

#include "packing.h"

const bits_kernels bits_popcnt = {"popcnt", pack_f32, pack_f64, pack_i8, pack_bool, pack_channels_f32, read_words,
                                    strip, strip_i8, strip_reals, strip_codes, strip_bytes, coded, pointwise, larger, compared,
                                    to_bytes, shifted_signs, shifted_gradient, loops};
