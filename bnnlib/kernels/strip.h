/* A strip: many rows against one panel, cut into tiles whose sums stay in registers.
 *
 * An including file defines, before including:
 *   TILE_ROWS                               the most rows of a tile
 *   tile(a, begin, rows, panel, epilogue)   `rows` rows (1 .. TILE_ROWS) from row `begin` on against the panel
 * and gets strip(). */
#include "bits.h"

static void strip(const bits_rows *a, size_t m, const uint32_t *panel, const bits_epilogue *epilogue)
{
    /* Tiles of nearly equal height: 14 rows are 7 + 7, not 12 + 2, where loads of the panel would limit the second. */
    const size_t tiles = (m + TILE_ROWS - 1) / TILE_ROWS, rows = tiles ? m / tiles : 0, larger = tiles ? m % tiles : 0;
    for (size_t t = 0, begin = 0; t < tiles; t++) {
        const size_t now = rows + (t < larger);
        tile(a, begin, now, panel, epilogue);
        begin += now;
    }
}
