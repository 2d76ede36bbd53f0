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
    const size_t tiles = (m + TILE_ROWS - 1) / TILE_ROWS, rows = tiles ? m / tiles : 0, larger = tiles ? m % tiles : 0;
    for (size_t t = 0, begin = 0; t < tiles; t++) {
        const size_t now = rows + (t < larger);
        tile(a, begin, now, panel, way);
        begin += now;
    }
}
