/* The portable kernels: C11 without any instruction set assumed, and the fallback everywhere.
 *
 * Bits are counted in all 32-bit lanes of a panel at once, with plain 64-bit arithmetic that a compiler turns into
 * whatever vectors its target has. */
#include "tile.h"

#define TILE_ROWS 1

static size_t pack_f32(const float *x, size_t rows, size_t columns, uint64_t *out)
{
    const size_t words = bits_words(columns);
    size_t nans = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t w = 0; w < words; w++) {
            const size_t first = 64 * w, count = columns - first < 64 ? columns - first : 64;
            out[r * words + w] = pack_plain(x + r * columns + first, 0, count, &nans);
        }
    return nans;
}

/* A byte holds the counts of 31 bytes: 31 * 8 = 248. */
#define STEPS_A_BYTE 31
/* Columns counted together: their sums stay in the registers of a machine with vectors of 128 bits. */
#define TOGETHER 16

static inline void tile(const uint64_t *a, size_t words, const uint32_t *panel, size_t count, size_t rows,
                        uint32_t counts[TILE_ROWS][BITS_PANEL], int first, const way_out *way)
{
    (void)words, (void)rows;
    for (size_t c = 0; c < BITS_PANEL; c++)
        counts[0][c] = first ? 0 : counts[0][c];
    for (size_t half = 0; half < 2 * count; half += STEPS_A_BYTE) {
        const size_t end = half + STEPS_A_BYTE < 2 * count ? half + STEPS_A_BYTE : 2 * count;
        for (size_t group = 0; group < BITS_PANEL; group += TOGETHER) {
            uint32_t bytes[TOGETHER] = {0};
            for (size_t h = half; h < end; h++) {
                const uint32_t value = (uint32_t)(a[h / 2] >> (32 * (h % 2)));
                const uint32_t *from = panel + h * BITS_PANEL + group;
                for (size_t c = 0; c < TOGETHER; c++) {
                    /* Hacker's Delight, section 5-1: sums in pairs, nibbles, bytes */
                    uint32_t x = from[c] ^ value;
                    x -= (x >> 1) & 0x55555555u;
                    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
                    bytes[c] += (x + (x >> 4)) & 0x0f0f0f0fu;
                }
            }
            for (size_t c = 0; c < TOGETHER; c++) {
                const uint32_t pairs = (bytes[c] & 0x00ff00ffu) + ((bytes[c] >> 8) & 0x00ff00ffu);
                counts[0][group + c] += (pairs & 0xffffu) + (pairs >> 16);
            }
        }
    }
    if (way)
        store_plain(counts[0], 0, way, way->out);
}

#include "panels.h"

const bits_kernels bits_portable = {"portable", pack_f32, matmul};
