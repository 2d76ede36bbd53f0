/* x86-64 with AVX-512 VPOPCNTDQ (Ice Lake, Zen 4 and later): xor, count and add, sixteen outputs at a time.
 *
 * Twelve rows by two vectors are 24 sums; with the two vectors of the panel and the broadcast value that fills the 32
 * registers. Each step of 32 columns of K takes 24 xors, counts and additions for 14 loads. */
#include "avx512.h"

#define TILE_ROWS 12

static inline __attribute__((always_inline)) void tile_of(const size_t rows, const bits_rows *a, size_t begin,
                                                          const uint32_t *panel, const bits_way_out *way)
{
    __m512i sums[TILE_ROWS][VECTORS];
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
        sums[r][0] = sums[r][1] = _mm512_setzero_si512();
    for (size_t s = 0; s < a->runs; s++) {
        const bits_half *values = (const bits_half *)(a->first + begin * a->stride + a->offsets[s]);
        for (size_t h = 0; h < 2 * a->length; h++, panel += BITS_PANEL) {
            const __m512i left = _mm512_load_si512(panel), right = _mm512_load_si512(panel + 16);
#pragma GCC unroll 12
            for (size_t r = 0; r < rows; r++) {
                const __m512i value = _mm512_set1_epi32((int)values[2 * r * a->stride + h]);
                sums[r][0] = _mm512_add_epi32(sums[r][0], _mm512_popcnt_epi32(_mm512_xor_si512(left, value)));
                sums[r][1] = _mm512_add_epi32(sums[r][1], _mm512_popcnt_epi32(_mm512_xor_si512(right, value)));
            }
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
        store(sums[r], begin + r, way);
}

static inline void tile(const bits_rows *a, size_t begin, size_t rows, const uint32_t *panel, const bits_way_out *way)
{
    switch (rows) { /* a constant number of rows keeps all sums in registers */
    case 12: tile_of(12, a, begin, panel, way); break;
    case 11: tile_of(11, a, begin, panel, way); break;
    case 10: tile_of(10, a, begin, panel, way); break;
    case 9: tile_of(9, a, begin, panel, way); break;
    case 8: tile_of(8, a, begin, panel, way); break;
    case 7: tile_of(7, a, begin, panel, way); break;
    case 6: tile_of(6, a, begin, panel, way); break;
    case 5: tile_of(5, a, begin, panel, way); break;
    case 4: tile_of(4, a, begin, panel, way); break;
    case 3: tile_of(3, a, begin, panel, way); break;
    case 2: tile_of(2, a, begin, panel, way); break;
    default: tile_of(1, a, begin, panel, way);
    }
}

#include "strip.h"

const bits_kernels bits_avx512_vpopcntdq = {"avx512-vpopcntdq", pack_f32, pack_f64, pack_i8, pack_bool, pack_channels_f32,
                                            read_words, strip};
