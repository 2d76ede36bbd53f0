/* x86-64 with POPCNT: one instruction counts a word, the rest is plain C. */
#include "tile.h"

#include <immintrin.h>

#define TILE_ROWS 1

static inline void tile(const uint64_t *a, size_t words, const uint32_t *panel, size_t count, size_t rows,
                        uint32_t counts[TILE_ROWS][BITS_PANEL], int first, const way_out *way)
{
    (void)words, (void)rows;
    for (size_t c = 0; c < BITS_PANEL; c++)
        counts[0][c] = first ? 0 : counts[0][c];
    for (size_t c = 0; c < BITS_PANEL; c += 4) { /* four columns at a time: their sums stay in registers */
        uint32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
        for (size_t h = 0; h < 2 * count; h++) {
            const uint32_t value = (uint32_t)(a[h / 2] >> (32 * (h % 2)));
            const uint32_t *from = panel + h * BITS_PANEL + c;
            sum0 += (uint32_t)_mm_popcnt_u32(from[0] ^ value);
            sum1 += (uint32_t)_mm_popcnt_u32(from[1] ^ value);
            sum2 += (uint32_t)_mm_popcnt_u32(from[2] ^ value);
            sum3 += (uint32_t)_mm_popcnt_u32(from[3] ^ value);
        }
        counts[0][c] += sum0, counts[0][c + 1] += sum1, counts[0][c + 2] += sum2, counts[0][c + 3] += sum3;
    }
    if (way)
        store_plain(counts[0], 0, way, way->out);
}

#include "panels.h"

/* SSE2, which every x86-64 has: the comparison gives four lanes of ones or zeros, movemask their bits. NaN compares false. */
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
            for (; j + 4 <= count; j += 4) {
                const __m128 v = _mm_loadu_ps(row + first + j);
                word |= (uint64_t)(unsigned)_mm_movemask_ps(_mm_cmpge_ps(v, _mm_setzero_ps())) << j;
                nans += (size_t)_mm_popcnt_u32((unsigned)_mm_movemask_ps(_mm_cmpunord_ps(v, v)));
            }
            out[r * words + w] = word | pack_plain(row + first, j, count, &nans);
        }
    }
    return nans;
}

const bits_kernels bits_popcnt = {"popcnt", pack_f32, matmul};
