/* The loops around a tile, the same for every vector instruction set.
 *
 * An including file defines, before including:
 *   TILE_ROWS                 rows of a that one tile takes
 *   tile(a, words, panel, count, rows, counts, first, way)
 *                             popcounts of `rows` (1 .. TILE_ROWS) rows of a against one panel over `count` words, added
 *                             to `counts` unless they are the first; then, if `way` is given, columns - 2 * count goes
 *                             out that way, otherwise the sums stay in `counts` for the next block of words
 * and gets matmul(). */
#include "tile.h"

/* 128 words of a panel are 32 kB, about a first-level cache; with deeper K the counts are carried from block to block. */
#define BLOCK_WORDS 128
/* 512 rows of 128 words are 512 kB: the rows of a stay in a second-level cache while every panel passes over them. */
#define BLOCK_ROWS 512

/* From this size on an output is written around the caches, where it would only push out the operands. */
#define LARGE_OUTPUT ((size_t)2 << 20)

static void matmul(const uint64_t *a, const uint32_t *panels, size_t m, size_t n, size_t columns, int32_t *out)
{
    const size_t words = bits_words(columns);
    const int past_caches = m * n * sizeof *out >= LARGE_OUTPUT && n % 16 == 0 && (uintptr_t)out % 64 == 0;
    for (size_t block = 0; block < m; block += BLOCK_ROWS) {
        const size_t end = block + BLOCK_ROWS < m ? block + BLOCK_ROWS : m;
        for (size_t j = 0; j < n; j += BITS_PANEL) {
            const uint32_t *panel = panels + j * 2 * words;
            for (size_t i = block; i < end; i += TILE_ROWS) {
                const size_t rows = end - i < TILE_ROWS ? end - i : TILE_ROWS;
                const way_out way = {columns, n - j < BITS_PANEL ? n - j : BITS_PANEL, out + i * n + j, n, past_caches};
                _Alignas(64) uint32_t counts[TILE_ROWS][BITS_PANEL];
                for (size_t w = 0; w < words; w += BLOCK_WORDS) {
                    const size_t some = words - w < BLOCK_WORDS ? words - w : BLOCK_WORDS;
                    tile(a + i * words + w, words, panel + w * 2 * BITS_PANEL, some, rows, counts, w == 0,
                         w + some == words ? &way : NULL);
                }
            }
        }
    }
}
