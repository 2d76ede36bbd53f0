/* A strip: many rows against one panel, cut into tiles whose sums stay in registers.
 *
 * An including file defines, before including:
 *   TILE_ROWS                        rows that one tile takes at most
 *   tile(a, begin, rows, panel, way) `rows` (1 .. TILE_ROWS) rows from row `begin` on against the panel
 * and gets strip(). */
#include "bits.h"

static void strip(const bits_rows *a, size_t m, const uint32_t *panel, const bits_way_out *way)
{
    /* Tiles as equal as can be: 14 rows are 7 + 7, not 12 + 2, which would be bound by the loads of the panel. */
    for (size_t begin = 0, tiles = (m + TILE_ROWS - 1) / TILE_ROWS; tiles; tiles--) {
        const size_t rows = (m - begin + tiles - 1) / tiles;
        tile(a, begin, rows, panel, way);
        begin += rows;
    }
}
