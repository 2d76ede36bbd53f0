/* x86-64 with AVX2: a byte shuffle looks up the counts of nibbles (Mula's method); counts are kept in bytes and widened
 * before they can overflow. */
#include "tile.h"

#include <immintrin.h>

#define TILE_ROWS 2
#define VECTORS (BITS_PANEL / 8) /* vectors of eight 32-bit lanes in a panel */
#define STEPS_A_BYTE 31          /* 31 * 8 = 248 fits a byte */

typedef uint32_t __attribute__((may_alias)) word32;

static inline __attribute__((always_inline)) __m256i counted(__m256i x)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, /* both 128-bit halves */
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(0x0f);
    const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble));
    const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
    return _mm256_add_epi8(low, high);
}

static inline __attribute__((always_inline)) void tile_of(const size_t rows, const uint64_t *a, size_t words,
                                                          const uint32_t *panel, size_t count,
                                                          uint32_t counts[TILE_ROWS][BITS_PANEL],
                                                          int first)
{
    if (first)
        for (size_t r = 0; r < rows; r++)
            for (size_t v = 0; v < VECTORS; v++)
                _mm256_store_si256((__m256i *)counts[r] + v, _mm256_setzero_si256());
    for (size_t half = 0; half < 2 * count; half += STEPS_A_BYTE) {
        const size_t end = half + STEPS_A_BYTE < 2 * count ? half + STEPS_A_BYTE : 2 * count;
        __m256i bytes[TILE_ROWS][VECTORS];
        for (size_t r = 0; r < rows; r++)
            for (size_t v = 0; v < VECTORS; v++)
                bytes[r][v] = _mm256_setzero_si256();
        for (size_t h = half; h < end; h++)
            for (size_t r = 0; r < rows; r++) {
                const __m256i value = _mm256_set1_epi32((int)((const word32 *)(a + r * words))[h]);
                for (size_t v = 0; v < VECTORS; v++) {
                    const __m256i *from = (const __m256i *)(panel + h * BITS_PANEL) + v;
                    bytes[r][v] = _mm256_add_epi8(bytes[r][v], counted(_mm256_xor_si256(_mm256_load_si256(from), value)));
                }
            }
        for (size_t r = 0; r < rows; r++)
            for (size_t v = 0; v < VECTORS; v++) { /* bytes to 16 and to 32 bits within each lane */
                const __m256i pairs = _mm256_maddubs_epi16(bytes[r][v], _mm256_set1_epi8(1));
                __m256i *into = (__m256i *)counts[r] + v;
                _mm256_store_si256(into, _mm256_add_epi32(_mm256_load_si256(into),
                                                          _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
            }
    }
}

static inline void store(const uint32_t *counts, const way_out *way, int32_t *out)
{
    const __m256i k = _mm256_set1_epi32((int)way->columns);
    size_t c = 0;
    for (; c + 8 <= way->width; c += 8) {
        const __m256i n = _mm256_load_si256((const __m256i *)(counts + c));
        _mm256_storeu_si256((__m256i *)(out + c), _mm256_sub_epi32(k, _mm256_add_epi32(n, n)));
    }
    store_plain(counts, c, way, out);
}

static inline void tile(const uint64_t *a, size_t words, const uint32_t *panel, size_t count, size_t rows,
                        uint32_t counts[TILE_ROWS][BITS_PANEL], int first, const way_out *way)
{
    if (rows == 2)
        tile_of(2, a, words, panel, count, counts, first);
    else
        tile_of(1, a, words, panel, count, counts, first);
    if (way)
        for (size_t r = 0; r < rows; r++)
            store(counts[r], way, way->out + r * way->stride);
}

#include "panels.h"

static size_t pack_f32(const float *x, size_t rows, size_t columns, uint64_t *out)
{
    const size_t words = bits_words(columns);
    size_t nans = 0;
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * columns;
        for (size_t w = 0; w < words; w++) {
            const size_t first = 64 * w, count = columns - first < 64 ? columns - first : 64;
            uint64_t word = 0;
            size_t j = 0;
            for (; j + 8 <= count; j += 8) {
                const __m256 v = _mm256_loadu_ps(row + first + j);
                word |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GE_OQ)) << j;
                nans += (size_t)_mm_popcnt_u32((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
            }
            out[r * words + w] = word | pack_plain(row + first, j, count, &nans);
        }
    }
    return nans;
}

const bits_kernels bits_avx2 = {"avx2", pack_f32, matmul};
