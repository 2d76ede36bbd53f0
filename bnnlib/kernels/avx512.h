/* What the two AVX-512 kernels share: packing and the way out. */
#include "tile.h"

#include <immintrin.h>

typedef uint32_t __attribute__((may_alias)) word32;

#define VECTORS (BITS_PANEL / 16) /* vectors of sixteen 32-bit lanes in a panel */

/* One row of a tile on its way out: K - 2 * count, as far as the panel has columns. */
static inline __attribute__((always_inline)) void store(const __m512i sums[VECTORS], size_t row, const way_out *way)
{
    int32_t *out = way->out + row * way->stride;
    for (size_t v = 0; v < VECTORS; v++) {
        const __m512i value = _mm512_sub_epi32(_mm512_set1_epi32((int)way->columns), _mm512_add_epi32(sums[v], sums[v]));
        if (way->width >= 16 * (v + 1)) {
            if (way->past_caches)
                _mm512_stream_si512((void *)(out + 16 * v), value);
            else
                _mm512_storeu_si512(out + 16 * v, value);
        } else if (way->width > 16 * v)
            _mm512_mask_storeu_epi32(out + 16 * v, (__mmask16)((1u << (way->width - 16 * v)) - 1), value);
    }
}

/* A comparison of sixteen floats is sixteen bits; the tail of a row is loaded under a mask as zeros and masked away. */
static size_t pack_f32(const float *x, size_t rows, size_t columns, uint64_t *out)
{
    const size_t words = bits_words(columns);
    const __m512 zero = _mm512_setzero_ps();
    size_t nans = 0;
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * columns;
        for (size_t w = 0; w < words; w++) {
            const size_t first = 64 * w, count = columns - first < 64 ? columns - first : 64;
            uint64_t word = 0, undefined = 0;
            for (size_t j = 0; j < count; j += 16) {
                const __mmask16 inside = count - j < 16 ? (__mmask16)((1u << (count - j)) - 1) : (__mmask16)0xffff;
                const __m512 v = _mm512_maskz_loadu_ps(inside, row + first + j);
                word |= (uint64_t)_mm512_mask_cmp_ps_mask(inside, v, zero, _CMP_GE_OQ) << j;
                undefined |= (uint64_t)_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) << j;
            }
            out[r * words + w] = word;
            nans += (size_t)_mm_popcnt_u64(undefined);
        }
    }
    return nans;
}
