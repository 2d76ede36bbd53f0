/* x86-64 with POPCNT: one instruction counts a word. Comparisons are SSE2's, which every x86-64 has. */
#include "way_out.h"

#include <immintrin.h>

#define TILE_ROWS 1

static inline void tile(const bits_rows *a, size_t begin, size_t rows, const uint32_t *panel, const bits_way_out *way)
{
    (void)rows;
    uint32_t counts[BITS_PANEL];
    for (size_t c = 0; c < BITS_PANEL; c += 4) { /* four columns at a time: their sums stay in registers */
        uint32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
        const uint32_t *from = panel + c;
        for (size_t s = 0; s < a->runs; s++) {
            const bits_half *value = (const bits_half *)(a->first + begin * a->stride + a->offsets[s]);
            for (size_t h = 0; h < 2 * a->length; h++, from += BITS_PANEL) {
                sum0 += (uint32_t)_mm_popcnt_u32(from[0] ^ value[h]);
                sum1 += (uint32_t)_mm_popcnt_u32(from[1] ^ value[h]);
                sum2 += (uint32_t)_mm_popcnt_u32(from[2] ^ value[h]);
                sum3 += (uint32_t)_mm_popcnt_u32(from[3] ^ value[h]);
            }
        }
        counts[c] = sum0, counts[c + 1] = sum1, counts[c + 2] = sum2, counts[c + 3] = sum3;
    }
    store_plain(counts, begin, way);
}

#include "loops.h"
#include "strip.h"

/* A comparison gives lanes of ones or zeros, movemask their bits. NaN compares false. */
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
                                    strip, loops};
