/* x86-64 with AVX-512 VPOPCNTDQ (Ice Lake, Zen 4 and later): xor, count and add, sixteen outputs at a time.
 *
 * Twelve rows by two vectors are 24 sums; with the two vectors of the panel and the broadcast value that fills the 32
 * registers. Each step of 32 columns of K takes 24 xors, counts and additions for 14 loads. */
#include "avx512.h"

#define TILE_ROWS 12

static inline __attribute__((always_inline)) void tile_of(const size_t rows, const uint64_t *a, size_t words,
                                                          const uint32_t *panel, size_t count,
                                                          uint32_t counts[TILE_ROWS][BITS_PANEL], int first,
                                                          const way_out *way)
{
    __m512i sums[TILE_ROWS][VECTORS];
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < VECTORS; v++)
            sums[r][v] = first ? _mm512_setzero_si512() : _mm512_load_si512(counts[r] + 16 * v);
    for (size_t h = 0; h < 2 * count; h++) {
        const __m512i left = _mm512_load_si512(panel + h * BITS_PANEL);
        const __m512i right = _mm512_load_si512(panel + h * BITS_PANEL + 16);
#pragma GCC unroll 12
        for (size_t r = 0; r < rows; r++) {
            const __m512i value = _mm512_set1_epi32((int)((const word32 *)(a + r * words))[h]);
            sums[r][0] = _mm512_add_epi32(sums[r][0], _mm512_popcnt_epi32(_mm512_xor_si512(left, value)));
            sums[r][1] = _mm512_add_epi32(sums[r][1], _mm512_popcnt_epi32(_mm512_xor_si512(right, value)));
        }
    }
#pragma GCC unroll 12
    for (size_t r = 0; r < rows; r++)
        if (way)
            store(sums[r], r, way);
        else
            for (size_t v = 0; v < VECTORS; v++)
                _mm512_store_si512(counts[r] + 16 * v, sums[r][v]);
}

static inline void tile(const uint64_t *a, size_t words, const uint32_t *panel, size_t count, size_t rows,
                        uint32_t counts[TILE_ROWS][BITS_PANEL], int first, const way_out *way)
{
    switch (rows) { /* a constant number of rows keeps all sums in registers */
    case 12: tile_of(12, a, words, panel, count, counts, first, way); break;
    case 11: tile_of(11, a, words, panel, count, counts, first, way); break;
    case 10: tile_of(10, a, words, panel, count, counts, first, way); break;
    case 9: tile_of(9, a, words, panel, count, counts, first, way); break;
    case 8: tile_of(8, a, words, panel, count, counts, first, way); break;
    case 7: tile_of(7, a, words, panel, count, counts, first, way); break;
    case 6: tile_of(6, a, words, panel, count, counts, first, way); break;
    case 5: tile_of(5, a, words, panel, count, counts, first, way); break;
    case 4: tile_of(4, a, words, panel, count, counts, first, way); break;
    case 3: tile_of(3, a, words, panel, count, counts, first, way); break;
    case 2: tile_of(2, a, words, panel, count, counts, first, way); break;
    default: tile_of(1, a, words, panel, count, counts, first, way);
    }
}

#include "panels.h"

const bits_kernels bits_avx512_vpopcntdq = {"avx512-vpopcntdq", pack_f32, matmul};
