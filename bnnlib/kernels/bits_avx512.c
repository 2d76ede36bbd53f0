/* x86-64 with AVX-512 F, BW and VL, without the vector popcount (Skylake-X): the byte shuffle of AVX2, twice as wide. */
#include "avx512.h"

#define TILE_ROWS 4
#define STEPS_A_BYTE 31 /* 31 * 8 = 248 fits a byte */

static inline __attribute__((always_inline)) __m512i counted(__m512i x)
{
    const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i nibble = _mm512_set1_epi8(0x0f);
    const __m512i low = _mm512_shuffle_epi8(table, _mm512_and_si512(x, nibble));
    const __m512i high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble));
    return _mm512_add_epi8(low, high);
}

static inline __attribute__((always_inline)) void tile_of(const size_t rows, const uint64_t *a, size_t words,
                                                          const uint32_t *panel, size_t count,
                                                          uint32_t counts[TILE_ROWS][BITS_PANEL], int first,
                                                          const way_out *way)
{
    for (size_t r = 0; first && r < rows; r++)
        for (size_t v = 0; v < VECTORS; v++)
            _mm512_store_si512(counts[r] + 16 * v, _mm512_setzero_si512());
    for (size_t half = 0; half < 2 * count; half += STEPS_A_BYTE) {
        const size_t end = half + STEPS_A_BYTE < 2 * count ? half + STEPS_A_BYTE : 2 * count;
        __m512i bytes[TILE_ROWS][VECTORS];
        for (size_t r = 0; r < rows; r++)
            for (size_t v = 0; v < VECTORS; v++)
                bytes[r][v] = _mm512_setzero_si512();
        for (size_t h = half; h < end; h++)
            for (size_t r = 0; r < rows; r++) {
                const __m512i value = _mm512_set1_epi32((int)((const word32 *)(a + r * words))[h]);
                for (size_t v = 0; v < VECTORS; v++) {
                    const __m512i differing = _mm512_xor_si512(_mm512_load_si512(panel + h * BITS_PANEL + 16 * v), value);
                    bytes[r][v] = _mm512_add_epi8(bytes[r][v], counted(differing));
                }
            }
        for (size_t r = 0; r < rows; r++)
            for (size_t v = 0; v < VECTORS; v++) { /* bytes to 16 and to 32 bits within each lane */
                const __m512i pairs = _mm512_maddubs_epi16(bytes[r][v], _mm512_set1_epi8(1));
                uint32_t *into = counts[r] + 16 * v;
                _mm512_store_si512(into, _mm512_add_epi32(_mm512_load_si512(into),
                                                          _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))));
            }
    }
    for (size_t r = 0; way && r < rows; r++) {
        const __m512i sums[VECTORS] = {_mm512_load_si512(counts[r]), _mm512_load_si512(counts[r] + 16)};
        store(sums, r, way);
    }
}

static inline void tile(const uint64_t *a, size_t words, const uint32_t *panel, size_t count, size_t rows,
                        uint32_t counts[TILE_ROWS][BITS_PANEL], int first, const way_out *way)
{
    switch (rows) { /* a constant number of rows keeps all sums in registers */
    case 4: tile_of(4, a, words, panel, count, counts, first, way); break;
    case 3: tile_of(3, a, words, panel, count, counts, first, way); break;
    case 2: tile_of(2, a, words, panel, count, counts, first, way); break;
    default: tile_of(1, a, words, panel, count, counts, first, way);
    }
}

#include "panels.h"

const bits_kernels bits_avx512 = {"avx512", pack_f32, matmul};
